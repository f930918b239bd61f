//! The whole worker, as a program that embeds it starts it.
//!
//! `cargo bench --bench worker -- [start|stuck] [RECORDS]`: from the start to the first handler call;
//! what a commit and a restart cost while one record is stuck below millions that are done
//! (5,000,000 by default). Files in a fresh temporary folder.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints and may fail loudly"
)]

use lanekeeper::{
    Done, Failure, Handler, Record,
    config::{Config, SourceConfig},
    each_with,
    run::{RunOptions, run_until},
    source::local::put::{BadLines, Options, put},
};
use rustix::time::{ClockId, clock_gettime};
use std::{
    io::Cursor,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let asked = |name: &str| {
        let named = ["start", "stuck"]
            .iter()
            .any(|n| args.iter().any(|a| a == n));
        !named || args.iter().any(|a| a == name)
    };
    let records = args
        .iter()
        .find_map(|a| a.parse().ok())
        .unwrap_or(5_000_000);
    if asked("start") {
        start();
    }
    if asked("stuck") {
        stuck(records);
    }
}

/// What the handler saw.
#[derive(Default)]
struct Seen {
    calls: AtomicU64,
    first: Mutex<Option<Instant>>,
    called: Notify,
}

/// Everything is done but records with the key `stuck`, which are to be tried again much later.
fn handler(seen: &Arc<Seen>) -> impl Handler {
    each_with(
        Arc::clone(seen),
        async |seen: Arc<Arc<Seen>>, record: Record| {
            seen.first.lock().unwrap().get_or_insert_with(Instant::now);
            seen.calls.fetch_add(1, Ordering::Relaxed);
            seen.called.notify_one();
            match record.key() {
                Some(b"stuck") => Err(Failure::retry_after("not yet", Duration::from_secs(3_600))),
                Some(_) | None => Ok(Done),
            }
        },
    )
}

fn config(path: &Path) -> Config {
    let mut config =
        Config::new("bench", 256).source(SourceConfig::local("orders", path, "orders"));
    config.failure.backoff_max = Duration::from_secs(3_600);
    config.store.flush_interval = Duration::from_millis(10);
    config
}

fn append(path: &Path, lines: &str) {
    let options = Options {
        path: path.to_owned(),
        topic: "orders".to_owned(),
        key: Some("k".parse().unwrap()),
        no_key: false,
        partitions: Some(1),
        from_line: 1,
        bad_lines: BadLines::Fail,
    };
    put(&options, Cursor::new(lines.to_owned()), &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
}

/// Runs a worker until `stop` ends; gives when it was started.
fn work(path: &Path, seen: &Arc<Seen>, stop: impl Future<Output = ()>) -> Instant {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let began = Instant::now();
    let config = config(path);
    let run = run_until(&config, handler(seen), RunOptions::default(), stop);
    runtime.block_on(run).unwrap();
    began
}

async fn called(seen: &Seen, times: u64) {
    while seen.calls.load(Ordering::Relaxed) < times {
        seen.called.notified().await;
    }
}

fn first(seen: &Seen, began: Instant) -> Duration {
    seen.first.lock().unwrap().unwrap() - began
}

fn start() {
    let mut took: Vec<Duration> = (0..21)
        .map(|_| {
            let folder = tempfile::tempdir().unwrap();
            let path: PathBuf = folder.path().join("log.db");
            append(&path, "{\"k\":\"a\"}\n");
            let seen = Arc::new(Seen::default());
            let began = work(&path, &seen, called(&seen, 1));
            first(&seen, began)
        })
        .collect();
    took.sort_unstable();
    println!(
        "start to first record: median {:.1?} ({:.1?} to {:.1?})",
        took[took.len() / 2],
        took[0],
        took[took.len() - 1]
    );
}

/// Processor time of this process, all threads.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}

fn stuck(records: u64) {
    const COMMITS: u64 = 100;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    append(&path, "{\"k\":\"stuck\"}\n");
    let mut lines = String::new();
    for n in 1..records {
        lines.push_str(&format!("{{\"k\":\"{}\"}}\n", n % 1_000));
        if lines.len() > 1 << 20 {
            append(&path, &lines);
            lines.clear();
        }
    }
    append(&path, &lines);
    let seen = Arc::new(Seen::default());
    let mut commits = Duration::ZERO;
    work(&path, &seen, async {
        called(&seen, records).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = cpu();
        // Each record by itself, so that each has its commit.
        for n in 1..=COMMITS {
            append(&path, "{\"k\":\"late\"}\n");
            called(&seen, records + n).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        commits = cpu() - before;
    });
    let before = cpu();
    let other = folder.path().join("other.db");
    (0..COMMITS).for_each(|_| append(&other, "{\"k\":\"late\"}\n"));
    println!(
        "append of one record alone: {:.2?} of processor time",
        (cpu() - before) / u32::try_from(COMMITS).unwrap()
    );
    println!(
        "{records} records, the first one stuck: append, read, run and commit of one record: {:.2?} of processor time",
        commits / u32::try_from(COMMITS).unwrap()
    );
    let seen = Arc::new(Seen::default());
    let before = cpu();
    let began = work(&path, &seen, async {
        called(&seen, 1).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    });
    println!(
        "restart: first record after {:.1?}, {} calls, {:.1?} of processor time",
        first(&seen, began),
        seen.calls.load(Ordering::Relaxed),
        cpu() - before
    );
}
