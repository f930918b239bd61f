//! Size, start, memory, and the time of a batch.

use super::{Bench, Kind, Reader, STREAM_ARN, programs::Programs, say, stub::Stub};
use crate::lambda::{Function, Outcome, Reuse};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Starts whose median is taken.
const STARTS: usize = 21;
/// Batches of one round, and rounds that take turns.
const BATCHES: usize = 40;
const ROUNDS: usize = 5;
/// What a round trip takes beside what remains, in the case that tells the two apart.
const ROUND_TRIP: Duration = Duration::from_millis(5);
/// An event just below what a function can be invoked with: so many records of a kilobyte.
const LARGE: (usize, usize) = (3_300, 1_024);

/// How large the artefact is, as it is loaded and as it is kept.
pub(super) fn artefact(programs: &Programs) -> io::Result<()> {
    let bytes = fs::metadata(&programs.bootstrap)?.len();
    let packed = std::process::Command::new("gzip")
        .args(["-9", "-c"])
        .arg(&programs.bootstrap)
        .output()?;
    say(&format!(
        "artefact: bootstrap has {:.2} MB ({:.2} MB by gzip -9)",
        bytes as f64 / 1e6,
        packed.stdout.len() as f64 / 1e6
    ))
}

/// From the start of the process to the first record's handler, on one core, with a table beside it that
/// answers at once.
pub(super) fn start(bench: &Bench) -> io::Result<()> {
    let stub = Stub::start(Duration::ZERO)?;
    say("\nstart to first record, one core")?;
    for reader in &bench.readers {
        if *reader == Reader::Idempotent {
            continue;
        }
        let folder = tempfile::tempdir()?;
        let journal = folder.path().join("journal");
        let function = bench
            .function(*reader, Kind::Kinesis, &stub.environment())
            .env("LANEKEEPER_BENCH_JOURNAL", &journal.to_string_lossy())
            .on_one_core()
            .reuse(Reuse::Never);
        let mut took = Vec::new();
        for start in 0..=STARTS {
            let script = json!({"name": "first", "fails": 0, "takes_ms": 0}).to_string();
            let event = event(start, &[("k".to_owned(), script.into_bytes())]);
            fs::write(&journal, "")?;
            let began = SystemTime::now();
            answered(&function, &event)?;
            let first = first_of(&journal)?;
            let began = began.duration_since(UNIX_EPOCH).unwrap_or_default();
            // The first start opens the runtime API, too.
            if start > 0 {
                took.push(first.saturating_sub(began));
            }
        }
        say(&format!(
            "  {:24} {}",
            reader.name(),
            milliseconds(&mut took)
        ))?;
    }
    Ok(())
}

/// When the first record began.
fn first_of(journal: &Path) -> io::Result<Duration> {
    let text = fs::read_to_string(journal)?;
    let began = text.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
    began
        .map(Duration::from_nanos)
        .ok_or_else(|| io::Error::other("the first record did not run"))
}

/// The most memory that a function had with the largest event.
pub(super) fn memory(bench: &Bench) -> io::Result<()> {
    let stub = Stub::start(Duration::ZERO)?;
    let (count, bytes) = LARGE;
    let large = event(0, &records(count, bytes));
    say(&format!(
        "\nmost resident memory, event of {count} records, {:.2} MB",
        large.len() as f64 / 1e6
    ))?;
    for reader in &bench.readers {
        if *reader == Reader::Idempotent {
            continue;
        }
        let function = bench.function(*reader, Kind::Kinesis, &stub.environment());
        answered(&function, &event(0, &records(1, 100)))?;
        let small = resident(&function)?;
        answered(&function, &large)?;
        let most = resident(&function)?;
        say(&format!(
            "  {:24} {:.1} MB; with an event of one record {:.1} MB",
            reader.name(),
            most / 1e6,
            small / 1e6
        ))?;
    }
    Ok(())
}

/// Bytes, as the kernel counts them (`VmHWM`).
fn resident(function: &Function) -> io::Result<f64> {
    let environments = function.environments();
    let id = environments.last().and_then(|one| one.id());
    let id = id.ok_or_else(|| io::Error::other("the function has ended"))?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = most.and_then(|text| text.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0)
        .ok_or_else(|| io::Error::other("the kernel does not tell `VmHWM`"))
}

/// One of those that take turns.
struct Turn {
    name: String,
    function: Function,
    /// The median of each round.
    rounds: Vec<Duration>,
}

/// From the invocation to its answer, a warm function, all readers by turns.
pub(super) fn batch(bench: &Bench) -> io::Result<()> {
    let (at_once, late) = (Stub::start(Duration::ZERO)?, Stub::start(ROUND_TRIP)?);
    // As many as an event has at most, and so small that they fit into one.
    for (count, bytes) in [(100, 100), (10_000, 64)] {
        say(&format!(
            "\n{count} records of {bytes} bytes, 500 keys, no-op handler, invocation to answer"
        ))?;
        let mut turns = turns(bench, count, [&at_once, &late]);
        take_turns(&mut turns, &records(count, bytes))?;
        for mut turn in turns {
            let took = milliseconds(&mut turn.rounds);
            say(&format!("  {:60} {took}", turn.name))?;
        }
    }
    Ok(())
}

fn turns(bench: &Bench, count: usize, [at_once, late]: [&Stub; 2]) -> Vec<Turn> {
    let emulator = bench.tables.dynamodb().environment();
    let emulator_name = bench.tables.dynamodb().name();
    let turn = |name: &str, reader, table: &[(&'static str, String)]| Turn {
        name: name.to_owned(),
        function: bench.function(reader, Kind::Kinesis, table),
        rounds: Vec::new(),
    };
    let own = |where_to: &str| format!("lanekeeper, marks in {where_to}");
    let table_late = format!("a table that takes {ROUND_TRIP:?}");
    let mut turns = vec![
        turn(
            &own("a table that answers at once"),
            Reader::Own,
            &at_once.environment(),
        ),
        turn(&own(&table_late), Reader::Own, &late.environment()),
        turn(
            &format!("two requests and nothing else, {table_late}"),
            Reader::Bare,
            &late.environment(),
        ),
        turn(
            "two requests and nothing else, a table that answers at once",
            Reader::Bare,
            &at_once.environment(),
        ),
        turn(&own(emulator_name), Reader::Own, &emulator),
    ];
    if bench.readers.contains(&Reader::Powertools) {
        let table = at_once.environment();
        turns.push(turn("Powertools", Reader::Powertools, &table));
        // Two calls a record, one after the other: with ten thousand it would take minutes.
        if count == 100 {
            let name = format!("Powertools, idempotent in {emulator_name}");
            turns.push(turn(&name, Reader::Idempotent, &emulator));
        }
    }
    turns
}

fn take_turns(turns: &mut [Turn], records: &[(String, Vec<u8>)]) -> io::Result<()> {
    let batches = if records.len() > 1_000 {
        BATCHES / 8
    } else {
        BATCHES
    };
    let mut from = 0;
    for round in 0..=ROUNDS {
        for turn in &mut *turns {
            let mut took = Vec::new();
            for _ in 0..batches {
                from += records.len();
                let event = event(from, records);
                let began = Instant::now();
                answered(&turn.function, &event)?;
                took.push(began.elapsed());
            }
            took.sort_unstable();
            // In the first one everything becomes warm.
            if round > 0 {
                turn.rounds.push(took[took.len() / 2]);
            }
        }
    }
    Ok(())
}

/// Invokes it; the answer must name nothing.
fn answered(function: &Function, event: &str) -> io::Result<()> {
    let outcome = function.invoke(event)?.outcome;
    if let Outcome::Answered(body) = &outcome {
        let answer: Value = serde_json::from_slice(body)?;
        if answer["batchItemFailures"] == json!([]) {
            return Ok(());
        }
    }
    Err(io::Error::other(format!("{function:?}: {outcome:?}")))
}

/// Median and range.
fn milliseconds(took: &mut [Duration]) -> String {
    took.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    format!(
        "{:.2} ms ({:.2} to {:.2})",
        ms(took[took.len() / 2]),
        ms(took[0]),
        ms(took[took.len() - 1])
    )
}

fn records(count: usize, bytes: usize) -> Vec<(String, Vec<u8>)> {
    let filler = |n: usize| (0..bytes).map(move |i| b'a' + ((i * 31 + n * 7) % 26) as u8);
    let record = |n: usize| (format!("account-{}", n % 500), filler(n).collect());
    (0..count).map(record).collect()
}

/// An event of a Kinesis stream, whose sequence numbers begin at `from`.
fn event(from: usize, records: &[(String, Vec<u8>)]) -> String {
    let one = |(n, (key, data)): (usize, &(String, Vec<u8>))| {
        let number = format!("4959033827149025660855969253836157109592{:016}", from + n);
        json!({
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": key,
                "sequenceNumber": number,
                "data": BASE64.encode(data),
                "approximateArrivalTimestamp": 1_545_084_650.987,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": format!("shardId-000000000006:{number}"),
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::000000000000:role/lambda-role",
            "awsRegion": "us-east-1",
            "eventSourceARN": STREAM_ARN,
        })
    };
    let records: Vec<Value> = records.iter().enumerate().map(one).collect();
    json!({ "Records": records }).to_string()
}
