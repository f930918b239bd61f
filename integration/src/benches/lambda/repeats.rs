//! Golden scenarios, played to each reader by the same mapping: what of finished work is done again, what
//! overtakes, and what is not done at all.

use super::{Bench, Kind, Reader, say};
use crate::lambda::{Clock, Journal, Mapping, Queue, Stream};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    time::Duration,
};

/// A record: its key, its name, how often it fails, how long a try takes in milliseconds.
type Scripted = (&'static str, &'static str, u32, u64);

struct Scenario {
    name: &'static str,
    kind: Kind,
    records: Vec<Scripted>,
    /// Of one invocation.
    timeout: Duration,
    deliveries_max: usize,
    /// So many answers do not arrive.
    losses: usize,
    /// How fast the queue's half minute goes by.
    speed: f64,
}

fn all() -> Vec<Scenario> {
    let plain = |name, kind, records: &[Scripted]| Scenario {
        name,
        kind,
        records: records.to_vec(),
        timeout: Duration::from_secs(10),
        deliveries_max: 6,
        losses: 0,
        speed: 1.0,
    };
    let two_keys = [
        ("A", "A1", 0, 0),
        ("B", "B1", 0, 0),
        ("A", "A2", 2, 0),
        ("B", "B2", 0, 0),
        ("A", "A3", 0, 0),
        ("B", "B3", 0, 0),
    ];
    let slow: Vec<Scripted> = ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10"]
        .map(|name| ("k", name, 0, 1_000))
        .to_vec();
    let groups = [
        ("g1", "g1m1", 2, 0),
        ("g1", "g1m2", 0, 0),
        ("g2", "g2m1", 0, 0),
    ];
    vec![
        Scenario {
            losses: 2,
            ..plain(
                "2: the answer is lost twice",
                Kind::Kinesis,
                &two_keys.map(|(key, name, _, _)| (key, name, 0, 0)),
            )
        },
        plain(
            "3: two keys, one record fails twice",
            Kind::Kinesis,
            &two_keys,
        ),
        plain(
            "6: two message groups, the first message fails twice",
            Kind::Fifo,
            &groups,
        ),
        Scenario {
            speed: 40.0,
            // AWS takes no function whose time is longer than the queue's visibility timeout: what comes late
            // has used most of it.
            timeout: Duration::from_secs(2),
            // Most of them are refused, since the function is still at work.
            deliveries_max: 60,
            ..plain(
                "8: the message is visible again before its call ends",
                Kind::Fifo,
                &[("g", "slow", 0, 1_200)],
            )
        },
        Scenario {
            timeout: Duration::from_secs(6),
            deliveries_max: 4,
            ..plain(
                "12: ten records of a second each, timeout 6 s",
                Kind::Kinesis,
                &slow,
            )
        },
    ]
}

/// What became of a scenario, by the journal of its handler.
#[derive(Default)]
struct Seen {
    deliveries: usize,
    tries: usize,
    /// Tries of records that were done.
    again: usize,
    /// Tries that began before what is before them in their key was done.
    early: usize,
    /// Records that were never done.
    undone: usize,
}

pub(super) fn run(bench: &Bench) -> io::Result<()> {
    say("\ngolden scenarios: the same mapping, the same records")?;
    for scenario in all() {
        say(&format!("  {}", scenario.name))?;
        for reader in &bench.readers {
            let seen = play(bench, &scenario, *reader)?;
            say(&format!(
                "    {:24} {} deliveries, {} tries, {} of what was done, {} out of order, {} not done",
                reader.name(),
                seen.deliveries,
                seen.tries,
                seen.again,
                seen.early,
                seen.undone
            ))?;
        }
    }
    Ok(())
}

fn play(bench: &Bench, scenario: &Scenario, reader: Reader) -> io::Result<Seen> {
    let folder = tempfile::tempdir()?;
    let tries = folder.path().join("journal");
    fs::write(&tries, "")?;
    let function = bench
        .function(
            reader,
            scenario.kind,
            &bench.tables.dynamodb().environment(),
        )
        .env("LANEKEEPER_BENCH_JOURNAL", &tries.to_string_lossy())
        .timeout(scenario.timeout)
        .reserved(1);
    function.lose_next(scenario.losses);
    let text = |(_, name, fails, takes): &Scripted| {
        json!({"name": name, "fails": fails, "takes_ms": takes}).to_string()
    };
    let journal = match scenario.kind {
        Kind::Kinesis => {
            let stream = Stream::new("orders", 1);
            for record in &scenario.records {
                stream.put(record.0, &text(record))?;
            }
            Mapping::kinesis(&function, &stream)
                .reports_failures()
                .deliveries_max(scenario.deliveries_max)
                .run()?
        }
        Kind::Fifo => {
            let queue = Queue::with_clock("orders.fifo", Clock::with_speed(scenario.speed));
            for record in &scenario.records {
                queue.send_to(record.0, &text(record));
            }
            Mapping::sqs(&function, &queue)
                .reports_failures()
                .deliveries_max(scenario.deliveries_max)
                .run()?
        }
    };
    judge(scenario, &journal, &tries)
}

fn judge(scenario: &Scenario, journal: &Journal, tries: &Path) -> io::Result<Seen> {
    let mut seen = Seen {
        deliveries: journal.deliveries.len(),
        ..Seen::default()
    };
    let mut before: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut of_key: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, name, _, _) in &scenario.records {
        let earlier = of_key.entry(key).or_default();
        before.insert(name, earlier.clone());
        earlier.push(name);
    }
    let text = fs::read_to_string(tries)?;
    let mut lines: Vec<(u128, u128, &str, bool)> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, began, took, became] = words[..] else {
            return Err(io::Error::other(format!("no line of a try: {line}")));
        };
        let number = |text: &str| text.parse::<u128>().map_err(io::Error::other);
        lines.push((number(began)?, number(took)?, name, became == "done"));
    }
    lines.sort_unstable();
    let mut done: BTreeMap<&str, u128> = BTreeMap::new();
    for (began, took, name, is_done) in &lines {
        let is_over = |name: &&str| done.get(name).is_some_and(|end| end <= began);
        seen.tries += 1;
        seen.again += usize::from(done.contains_key(name));
        seen.early += usize::from(!before.get(name).is_some_and(|all| all.iter().all(is_over)));
        if *is_done {
            done.entry(name).or_insert(began + took);
        }
    }
    let names: BTreeSet<&str> = scenario.records.iter().map(|record| record.1).collect();
    seen.undone = names
        .iter()
        .filter(|name| !done.contains_key(*name))
        .count();
    Ok(seen)
}
