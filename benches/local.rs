//! The embedded default as a whole: append, consume with checkpoints, effects.
//!
//! `cargo bench --bench local -- [append|consume|effects]`: thousand records per second, medians over
//! rounds, files in a fresh temporary folder.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints and may fail loudly"
)]

use lanekeeper::{
    Done, Effect, Handler, Record,
    handler::Rust,
    history::Nowhere,
    processor::{CUT_AT, Clock, Parts, Processor, Settings},
    record::{LaneOrder, NoKey, OrderBy},
    source::local::{
        Extent, LocalSource, OnGap, Settings as LogSettings, StartAt,
        lock::Lock,
        put::{BadLines, KeyFrom, Options, put},
    },
    sqlite::Access,
    store::{WorkerId, sqlite::SqliteStore},
};
use partitions::{FailureRules, Stops, Then};
use std::{
    fmt::Write as _,
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use uuid::Uuid;

const ORDER: LaneOrder = LaneOrder {
    by: OrderBy::Key,
    no_key: NoKey::Partition,
};

struct Monotonic(Instant);

impl Clock for Monotonic {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
    fn wall_millis(&self) -> i64 {
        0
    }
}

/// Lines of 200 bytes with 1,000 keys.
fn lines(records: u64) -> String {
    let mut text = String::new();
    for n in 0..records {
        let head = format!(
            "{{\"account\":\"account-{:03}\",\"n\":{n},\"pad\":\"",
            n % 1_000
        );
        let _ = writeln!(text, "{head}{}\"}}", "x".repeat(199 - 2 - head.len()));
    }
    text
}

fn append(path: &Path, text: &str) -> f64 {
    let options = Options {
        path: path.to_owned(),
        topic: "orders".to_owned(),
        key: Some(KeyFrom::Field("account".to_owned())),
        no_key: false,
        partitions: Some(8),
        from_line: 0,
        bad_lines: BadLines::Fail,
    };
    let began = Instant::now();
    let summary = put(&options, std::io::Cursor::new(text.to_owned()), &mut |_| {
        ControlFlow::Continue(())
    })
    .expect("appended");
    summary.records as f64 / began.elapsed().as_secs_f64() / 1e3
}

fn settings() -> Settings {
    Settings {
        app: "bench".to_owned(),
        cap: 256,
        memory: 256 << 20,
        drain: Duration::from_secs(30),
        order: ORDER,
        failure: FailureRules {
            attempts_max: 5,
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
            then: Then::Stop,
            stops: Stops::Lane,
        },
        timeout: Duration::from_secs(20),
        settle: None,
        park_max: 100_000,
        cut_at: CUT_AT,
        flush_interval: Duration::from_secs(1),
        unflushed_max: 10_000,
        records_per_call: 1,
        until_idle: true,
        starts_until: None,
        seed: 1,
    }
}

fn consume(path: &Path, records: u64, handler: impl Handler) -> f64 {
    let worker = WorkerId(Uuid::new_v4());
    let lock = Arc::new(Lock::acquire(path, "bench", worker.0).expect("lock"));
    let log = LogSettings {
        name: "orders".to_owned(),
        app: "bench".to_owned(),
        path: path.to_owned(),
        topic: "orders".to_owned(),
        order: ORDER,
        start: StartAt::Earliest,
        on_gap: OnGap::Refuse,
        retention: None,
        extent: Extent::Everything,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("runtime");
    let parts = Parts {
        worker,
        settings: settings(),
        store: Arc::new(SqliteStore::open(path, Access::Create, "bench").expect("store")),
        target: Arc::new(Rust(handler)),
        history: Arc::new(Nowhere),
        dead_letter: None,
        sources: vec![("orders".into(), Box::new(LocalSource::new(log, lock)))],
        clock: Arc::new(Monotonic(Instant::now())),
    };
    let (_stop, stops) = mpsc::unbounded_channel();
    let began = Instant::now();
    let (report, outcome) = runtime.block_on(Processor::new(parts).drive(stops));
    assert_eq!(report.done, records, "{outcome:?} {report:?}");
    records as f64 / began.elapsed().as_secs_f64() / 1e3
}

fn rounds(name: &str, mut one: impl FnMut() -> f64) {
    let mut figures: Vec<f64> = (0..5).map(|_| one()).collect();
    figures.sort_by(f64::total_cmp);
    println!(
        "{name}: median {:.1} (range {:.1} to {:.1})",
        figures[2], figures[0], figures[4]
    );
}

fn in_folder(one: impl Fn(&Path) -> f64) -> f64 {
    let folder = tempfile::tempdir().expect("folder");
    one(&folder.path().join("bench.db"))
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    let (many, few) = (1_000_000, 100_000);
    if wants("append") {
        let text = lines(many);
        rounds(
            "append: thousand lines of 200 bytes/s, 8 partitions",
            || in_folder(|path| append(path, &text)),
        );
    }
    if wants("consume") {
        let text = lines(many);
        rounds(
            "consume: thousand records/s, no-op handler, checkpoints on",
            || {
                in_folder(|path| {
                    append(path, &text);
                    consume(path, many, lanekeeper::each(async |_: Record| Ok(Done)))
                })
            },
        );
    }
    if wants("effects") {
        let text = lines(few);
        rounds("effects: thousand records/s with one add each", || {
            in_folder(|path| {
                append(path, &text);
                let handler = lanekeeper::each(async |record: Record| {
                    let key =
                        String::from_utf8_lossy(record.key().unwrap_or_default()).into_owned();
                    Ok(Done::with(vec![Effect::add("accounts", &key, 1)]))
                });
                consume(path, few, handler)
            })
        });
    }
}
