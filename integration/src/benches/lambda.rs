//! `cargo integration bench lambda`: the artefact of a function, and functions with handlers that do
//! nothing, beside one that is made with Powertools for Python.

mod figures;
mod programs;
mod repeats;
mod stub;

use crate::{emulator::Dynamodb, lambda::Function, tables::Tables};
use programs::Programs;
use serde_json::json;
use std::{
    cell::Cell,
    io::{self, Write as _},
    time::{Duration, Instant},
};

/// Behind `cargo integration bench lambda`.
pub const USAGE: &str = "\
Usage: cargo integration bench lambda [CASE …] [--without-peers]

  CASE      artefact, start, memory, batch, repeats [default: all]
  --without-peers
            without Powertools for Python, which is fetched from PyPI for it
";

/// What can be asked for.
const CASES: [&str; 5] = ["artefact", "start", "memory", "batch", "repeats"];

/// A configuration as scenes have it: the command line makes the table by it.
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

/// Which cases, and whether with the peer.
#[derive(Debug)]
pub struct Options {
    cases: Vec<String>,
    has_peers: bool,
}

impl Options {
    /// Reads the arguments behind `bench lambda`.
    ///
    /// # Errors
    /// When one of them is none; the message says which.
    pub fn from_args(args: &[String]) -> Result<Self, String> {
        let mut options = Self {
            cases: Vec::new(),
            has_peers: true,
        };
        for arg in args {
            match arg.as_str() {
                "--without-peers" => options.has_peers = false,
                case if CASES.contains(&case) => options.cases.push(case.to_owned()),
                other => return Err(format!("`{other}` is none of {}", CASES.join(", "))),
            }
        }
        Ok(options)
    }

    fn has(&self, case: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|asked| asked == case)
    }
}

/// Who is invoked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Reader {
    /// A function of lanekeeper.
    Own,
    /// One that asks the table twice, one time after the other, and does nothing else.
    Bare,
    /// Powertools' batch processor.
    Powertools,
    /// The same with its idempotency.
    Idempotent,
}

impl Reader {
    fn name(self) -> &'static str {
        match self {
            Self::Own => "lanekeeper",
            Self::Bare => "two requests alone",
            Self::Powertools => "Powertools",
            Self::Idempotent => "Powertools, idempotent",
        }
    }
}

/// What an event is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Kinesis,
    Fifo,
}

/// Everything that the cases need.
struct Bench {
    programs: Programs,
    tables: Tables,
    /// Of the store.
    table: String,
    /// Of Powertools' idempotency.
    idempotency: String,
    readers: Vec<Reader>,
    /// Functions that were made: none knows what another has done.
    functions: Cell<u32>,
}

/// Builds the programs, starts what they talk to, and runs the cases.
///
/// # Errors
/// When something cannot be built or started.
pub fn run(options: &Options) -> io::Result<()> {
    let began = Instant::now();
    let programs = Programs::build(options.has_peers)?;
    if options.has("artefact") {
        figures::artefact(&programs)?;
    }
    let tables = Tables::start()?;
    let (_scene, table) = tables.scene(CONFIG)?;
    let idempotency = Dynamodb::table_name();
    tables.ask(
        "CreateTable",
        &json!({
            "TableName": idempotency,
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
        }),
    )?;
    let mut readers = vec![Reader::Own];
    if options.has_peers {
        readers.extend([Reader::Powertools, Reader::Idempotent]);
    }
    let bench = Bench {
        programs,
        tables,
        table,
        idempotency,
        readers,
        functions: Cell::new(0),
    };
    for (case, run) in [
        ("start", figures::start as fn(&Bench) -> io::Result<()>),
        ("memory", figures::memory),
        ("batch", figures::batch),
        ("repeats", repeats::run),
    ] {
        if options.has(case) {
            run(&bench)?;
        }
    }
    say(&format!("\nall in {} s", began.elapsed().as_secs()))
}

impl Bench {
    /// A function that talks to the emulator of DynamoDB, or, by these variables, to something else.
    fn function(
        &self,
        reader: Reader,
        kind: Kind,
        table_at: &[(&'static str, String)],
    ) -> Function {
        let function = match reader {
            Reader::Own | Reader::Bare => Function::new(&self.programs.function),
            Reader::Powertools | Reader::Idempotent => self.programs.powertools(),
        };
        let number = self.functions.get() + 1;
        self.functions.set(number);
        let kind_name = match kind {
            Kind::Kinesis => "kinesis",
            Kind::Fifo => "sqs",
        };
        let function = function
            .envs(table_at)
            .timeout(Duration::from_secs(60))
            .env("LANEKEEPER_BENCH_FUNCTION", &number.to_string())
            .env("LANEKEEPER_BENCH_KIND", kind_name);
        match reader {
            Reader::Own => { self.settings(number, kind) }
                .into_iter()
                .fold(function, |function, (name, value)| {
                    function.env(&format!("LANEKEEPER__{name}"), &value)
                }),
            Reader::Bare => function.env("LANEKEEPER_BENCH_BARE", "2"),
            Reader::Powertools => function,
            Reader::Idempotent => function.env("LANEKEEPER_BENCH_IDEMPOTENCY", &self.idempotency),
        }
    }

    fn settings(&self, number: u32, kind: Kind) -> Vec<(&'static str, String)> {
        let text = |text: &str| format!("\"{text}\"");
        let mut settings = vec![
            ("APP", text(&format!("bench-{number}"))),
            ("CAP", "256".to_owned()),
            ("STORE__TYPE", text("dynamodb")),
            ("STORE__TABLE", text(&self.table)),
            ("FAILURE__ATTEMPTS", "10".to_owned()),
            ("FAILURE__BACKOFF_MIN", text("10ms")),
            ("FAILURE__TIMEOUT", text("1500ms")),
            ("LAMBDA__REPORTS_FAILURES", "true".to_owned()),
            ("LAMBDA__PARALLELIZATION_FACTOR", "1".to_owned()),
            ("LAMBDA__MARGIN", text("200ms")),
        ];
        match kind {
            Kind::Kinesis => settings.extend([
                ("SOURCES__ORDERS__TYPE", text("kinesis")),
                ("SOURCES__ORDERS__ARN", text(STREAM_ARN)),
            ]),
            Kind::Fifo => settings.extend([
                ("SOURCES__ORDERS__TYPE", text("sqs")),
                ("SOURCES__ORDERS__ARN", text(QUEUE_ARN)),
                (
                    "SOURCES__ORDERS__QUEUE_URL",
                    text("https://sqs.us-east-1.amazonaws.com/000000000000/orders.fifo"),
                ),
            ]),
        }
        settings
    }
}

/// Of the models of tests.
const STREAM_ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/orders";
const QUEUE_ARN: &str = "arn:aws:sqs:us-east-1:000000000000:orders.fifo";

fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &str) -> Result<Options, String> {
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        Options::from_args(&args)
    }

    #[test]
    fn cases_are_told_apart_and_what_is_none_is_refused() {
        let options = read("start repeats --without-peers").unwrap();
        assert!(options.has("start") && options.has("repeats") && !options.has("batch"));
        assert!(!options.has_peers);
        assert!(read("").unwrap().has("batch"));
        assert!(read("nonsense").is_err());
    }
}
