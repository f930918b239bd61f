//! `cargo integration bench`: benchmarks that need servers, with servers as in production. This is that of
//! Kafka.

mod cases;
#[cfg(test)]
mod harness;
pub mod lambda;
mod options;
mod programs;
mod reader;
mod table;

pub use options::{Options, USAGE};

use crate::{
    kafka::{Kafka, Setup},
    tables::Tables,
};
use cases::{Case, PARTITIONS};
use programs::{Programs, Reader};
use reader::{Bench, Figures};
use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    time::Instant,
};

/// A heap as brokers have it; compiler and collector are the JVM's own choice.
const JAVA: &str = "-Xms1g -Xmx1g";

const CONFIG: &str = r#"
app = "bench"
cap = 1

[sources.unused]
type = "local"
topic = "unused"

[handler]
type = "exec"
command = ["true"]

[store]
"#;

/// Of one case: what each reader said in each round.
type Rounds = BTreeMap<Reader, Vec<Figures>>;

/// Builds the readers, starts a broker and a table of their own, and lets the readers take turns.
///
/// # Errors
/// When something cannot be built or started, and when a reader does not see each record once, in the
/// order of its key.
pub fn kafka(options: &Options) -> io::Result<()> {
    let cases = cases::chosen(options);
    let programs = Programs::build(options)?;
    let kafka = Kafka::own(&Setup::default().with_java(JAVA))?;
    let tables = Tables::start()?;
    let (_scene, table) = tables.scene(CONFIG)?;
    let mut environment = tables.dynamodb().environment();
    environment.push(("LANEKEEPER_BENCH_TABLE", table));
    let bench = Bench::new(&programs, &kafka, environment);
    let expected: u64 = cases.iter().map(|case| case.expected(options)).sum();
    say(&format!(
        "{}, {PARTITIONS} partitions, cap {}; {} cases, about {} minutes",
        kafka.name(),
        cases::CAP,
        cases.len(),
        expected.div_ceil(60),
    ))?;
    let began = Instant::now();
    if options.readers.contains(&Reader::ParallelConsumer) {
        bench.rehearse_with()?;
    }
    bench.show_mistake(&options.readers)?;
    for case in &cases {
        say(&format!("\n{case}"))?;
        let rounds = run(&bench, case, options)?;
        say(&table::of(case, &rounds))?;
    }
    say(&format!("\nall in {} s", began.elapsed().as_secs()))
}

/// Each reader is first in its round as often as any other.
fn run(bench: &Bench<'_>, case: &Case, options: &Options) -> io::Result<Rounds> {
    let readers = case.readers(options);
    let topics = bench.fill(case, options)?;
    let mut rounds = Rounds::new();
    for round in 0..case.rounds(options) {
        for n in 0..readers.len() {
            let reader = readers[(n + round) % readers.len()];
            let figures = bench.read(case, reader, &topics, options)?;
            say(&format!("  {:22} {}", reader.name(), figures.brief(case)))?;
            rounds.entry(reader).or_default().push(figures);
        }
    }
    bench.forget(&topics)?;
    Ok(rounds)
}

fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}
