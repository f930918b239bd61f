//! How fast the embedded log appends lines of a file and how fast its source reads them:
//! `cargo bench --bench log -- [RECORDS]`, a million of 200 bytes by default.
#![expect(clippy::print_stdout, reason = "figures are what this program is for")]
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that fails may say so loudly"
)]

use lanekeeper::{
    record::{Assignment, LaneOrder, NoKey, OrderBy},
    source::{
        Budget, Event, Ports, Source, Start,
        local::{
            Extent, LocalSource, OnGap, Settings, StartAt,
            lock::Lock,
            put::{BadLines, Options, put},
        },
    },
};
use std::{
    fs::File,
    io::{BufReader, BufWriter, Write},
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

const MEMORY: u64 = 256 << 20;

fn main() {
    let count: u64 = std::env::args()
        .find_map(|a| a.parse().ok())
        .unwrap_or(1_000_000);
    let folder = tempfile::tempdir().unwrap();
    let lines = folder.path().join("lines.jsonl");
    write_lines(&lines, count);
    for key in [Some("account"), None] {
        let path = folder.path().join(format!("{}.db", key.unwrap_or("plain")));
        append(&path, &lines, key);
        if key.is_some() {
            read(&path, count);
        }
    }
}

/// 200 bytes each, 1,000 keys.
fn write_lines(path: &Path, count: u64) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    for n in 0..count {
        let key = n.wrapping_mul(2_654_435_761) % 1000;
        let head = format!("{{\"id\":{n},\"account\":\"account-{key}\",\"note\":\"");
        let fill = 198usize.saturating_sub(head.len());
        writeln!(out, "{head}{}\"}}", "x".repeat(fill)).unwrap();
    }
    out.flush().unwrap();
}

fn append(path: &Path, lines: &Path, key: Option<&str>) {
    let options = Options {
        path: path.to_owned(),
        topic: "orders".to_owned(),
        key: key.map(|key| key.parse().unwrap()),
        no_key: false,
        partitions: Some(8),
        from_line: 1,
        bad_lines: BadLines::Fail,
    };
    let input = BufReader::with_capacity(256 << 10, File::open(lines).unwrap());
    let began = Instant::now();
    let summary = put(&options, input, &mut |_| ControlFlow::Continue(())).unwrap();
    let took = began.elapsed();
    println!("append, key {key:?}: {}", rate(summary.records, took));
}

fn read(path: &Path, count: u64) {
    let lock = Arc::new(Lock::acquire(path, "bench", uuid::Uuid::new_v4()).unwrap());
    let settings = Settings {
        name: "orders".to_owned(),
        app: "bench".to_owned(),
        path: path.to_owned(),
        topic: "orders".to_owned(),
        order: LaneOrder {
            by: OrderBy::Key,
            no_key: NoKey::Partition,
        },
        start: StartAt::Earliest,
        on_gap: OnGap::Refuse,
        retention: None,
        extent: Extent::Everything,
    };
    let source = Box::new(LocalSource::new(settings, lock));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let began = Instant::now();
    let mut first = None;
    runtime.block_on(async {
        let (events, mut inbox) = mpsc::channel(64);
        let (orders, receiver) = mpsc::unbounded_channel();
        let ports = Ports {
            events,
            orders: receiver,
        };
        let serving = source.serve(ports);
        tokio::pin!(serving);
        let mut seen = 0;
        while seen < count {
            let event = tokio::select! { biased;
                event = inbox.recv() => event.unwrap(),
                end = &mut serving => panic!("{end:?}"),
            };
            let records = answer(event);
            if records > 0 {
                first.get_or_insert_with(|| began.elapsed());
            }
            seen += records;
        }
        drop(orders);
        serving.await.unwrap();
    });
    println!(
        "read: {}, first record after {:?}",
        rate(count, began.elapsed()),
        first.unwrap()
    );
}

/// Plays the processor; how many records came.
fn answer(event: Event) -> u64 {
    match event {
        Event::Records(records) => records.len() as u64,
        Event::Assigned {
            partition, start, ..
        } => {
            let assignment = Assignment {
                name: partition,
                epoch: 1,
                generation: 0,
            };
            let start = start.send(Some(Start {
                assignment: Arc::new(assignment),
                checkpoint: None,
                budget: Arc::new(Budget::new(MEMORY / 8)),
            }));
            assert!(start.is_ok());
            0
        }
        Event::Announced { .. }
        | Event::Positioned { .. }
        | Event::PassedOver { .. }
        | Event::Behind { .. }
        | Event::Revoked { .. }
        | Event::Starved { .. }
        | Event::Paused { .. }
        | Event::Retention { .. }
        | Event::Unreadable { .. }
        | Event::Ended { .. } => 0,
    }
}

fn rate(records: u64, took: Duration) -> String {
    format!(
        "{records} records in {took:.2?}, {:.0} per second",
        records as f64 / took.as_secs_f64()
    )
}
