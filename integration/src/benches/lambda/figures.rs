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

/// From the invocation to its answer, a warm function, all readers by turns.
pub(super) fn batch(bench: &Bench) -> io::Result<()> {
    let (at_once, late) = (Stub::start(Duration::ZERO)?, Stub::start(ROUND_TRIP)?);
    let emulator = bench.tables.dynamodb().environment();
    // As many as an event has at most, and so small that they fit into one.
    for (count, bytes) in [(100, 100), (10_000, 64)] {
        say(&format!(
            "\n{count} records of {bytes} bytes, 500 keys, no-op handler, invocation to answer"
        ))?;
        let mut cases = vec![
            (
                "lanekeeper, marks in a table that answers at once".to_owned(),
                Reader::Own,
                at_once.environment(),
                Vec::new(),
            ),
            (
                format!("lanekeeper, marks in a table that takes {ROUND_TRIP:?}"),
                Reader::Own,
                late.environment(),
                Vec::new(),
            ),
            (
                format!("lanekeeper, marks in {}", bench.tables.dynamodb().name()),
                Reader::Own,
                emulator.clone(),
                Vec::new(),
            ),
        ];
        if bench.readers.contains(&Reader::Powertools) {
            cases.push((
                "Powertools".to_owned(),
                Reader::Powertools,
                at_once.environment(),
                Vec::new(),
            ));
            // Two calls a record, one after the other.
            if count == 100 {
                cases.push((
                    format!(
                        "Powertools, idempotent in {}",
                        bench.tables.dynamodb().name()
                    ),
                    Reader::Idempotent,
                    emulator.clone(),
                    Vec::new(),
                ));
            }
        }
        let batches = if count == 100 { BATCHES } else { BATCHES / 8 };
        let functions: Vec<Function> = { cases.iter() }
            .map(|(_, reader, table, _)| bench.function(*reader, Kind::Kinesis, table))
            .collect();
        let records = records(count, bytes);
        let mut from = 0;
        for round in 0..=ROUNDS {
            for ((_, _, _, rounds), function) in cases.iter_mut().zip(&functions) {
                let mut took = Vec::new();
                for _ in 0..batches {
                    from += count;
                    let event = event(from, &records);
                    let began = Instant::now();
                    answered(function, &event)?;
                    took.push(began.elapsed());
                }
                took.sort_unstable();
                // In the first one everything becomes warm.
                if round > 0 {
                    rounds.push(took[took.len() / 2]);
                }
            }
        }
        for (name, _, _, mut rounds) in cases {
            say(&format!("  {name:60} {}", milliseconds(&mut rounds)))?;
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
