//! Held records that fill a partition's share of the memory: the partition is paused by name, a run
//! until idle ends, and what only waits is waited for.

use lanekeeper::{
    Config, Done, Failure, Record, RunOptions, SourceConfig,
    audit::Audit,
    config::{StoreKind, Then},
    each_with,
    processor::Report,
    run_until,
    source::local::put::{BadLines, KeyFrom, Options, partition_of, put},
};
use std::{
    fmt::Write as _,
    fs,
    future::pending,
    io::Cursor,
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// What runs until idle ends within this, or not at all.
const LONG: Duration = Duration::from_secs(60);

const MEMORY: u64 = 1 << 20;
/// What a record weighs beside its bytes, about.
const OVERHEAD: usize = 160;

/// A log, a store and a history in a folder of their own.
struct World {
    folder: TempDir,
    config: Config,
    put: u64,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.db");
        let mut config = Config::new("full", 4).source(SourceConfig::local("s", &path, "orders"));
        config.memory = MEMORY;
        config.failure.attempts = 2;
        config.failure.backoff_min = Duration::from_millis(1);
        config.failure.backoff_max = Duration::from_millis(5);
        config.store.kind = StoreKind::Local { path };
        config.store.flush_interval = Duration::from_millis(20);
        Self {
            folder,
            config,
            put: 0,
        }
    }

    /// Records of these keys with these words, all values of about so many bytes.
    fn put<'a>(
        &mut self,
        partitions: u32,
        bytes: usize,
        records: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) {
        let mut text = String::new();
        for (key, word) in records {
            let fill = "x".repeat(bytes.saturating_sub(30));
            let _ = writeln!(text, "{{\"k\":\"{key}\",\"v\":\"{word} {fill}\"}}");
            self.put += 1;
        }
        let options = Options {
            path: self.folder.path().join("log.db"),
            topic: "orders".to_owned(),
            key: Some(KeyFrom::Field("k".to_owned())),
            no_key: false,
            partitions: Some(partitions),
            from_line: 1,
            bad_lines: BadLines::Fail,
        };
        put(&options, Cursor::new(text), &mut |_| {
            ControlFlow::Continue(())
        })
        .expect("put");
    }

    fn history(&self) -> std::path::PathBuf {
        self.folder.path().join("history.jsonl")
    }

    /// Runs until idle; a word of a value decides what becomes of its record.
    async fn run(&self) -> Report {
        let tries = Arc::new(AtomicU64::new(0));
        let handler = each_with(tries, async |tries: Arc<Arc<AtomicU64>>, record: Record| {
            let nth = tries.fetch_add(1, Ordering::Relaxed);
            let value = record.value().unwrap_or_default();
            let says = |word: &[u8]| value.windows(word.len()).any(|at| at == word);
            if says(b"reject") {
                return Err(Failure::reject("no such account"));
            }
            // All first tries come before any second one.
            if says(b"later") && nth < LATER {
                return Err(Failure::retry_after("not yet", BACKOFF));
            }
            Ok(Done)
        });
        let options = RunOptions {
            until_idle: true,
            history: Some(self.history()),
            ..RunOptions::default()
        };
        let run = run_until(&self.config, handler, options, pending());
        let ended = tokio::time::timeout(LONG, run).await;
        let report = ended.expect("it ends by itself").expect("idle");
        let mut audit = Audit::new();
        audit.add_file(self.history()).expect("a history");
        let verdict = audit.finish();
        assert!(verdict.passes(), "{verdict}");
        report
    }

    /// The partitions of a kind of event, in the order of the history.
    fn told(&self, event: &str) -> Vec<String> {
        events(&self.history(), event)
    }
}

fn events(history: &Path, event: &str) -> Vec<String> {
    let text = fs::read_to_string(history).expect("a history");
    let lines = text.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        (field("event"), field("partition"))
    });
    lines
        .filter(|(found, _)| found == event)
        .map(|(_, partition)| partition)
        .collect()
}

/// Records that are tried later, and how much later.
const LATER: u64 = 40;
const BACKOFF: Duration = Duration::from_millis(700);

/// Partitions that are paused at the end.
fn paused(world: &World) -> Vec<String> {
    let mut paused = world.told("paused");
    for resumed in world.told("resumed") {
        let at = paused.iter().position(|name| *name == resumed);
        paused.swap_remove(at.expect("paused before"));
    }
    paused
}

fn stopped(report: &Report) -> Vec<(&str, String)> {
    let lanes = report.stopped_lanes.iter();
    let mut stopped: Vec<_> = lanes
        .map(|lane| (&*lane.key, lane.position.to_string()))
        .collect();
    stopped.sort();
    stopped
}

/// Values of so many bytes that weigh `shares` of the memory together, at least.
fn filling(bytes: usize, shares: usize) -> usize {
    usize::try_from(MEMORY).expect("small") * shares / bytes
}

#[tokio::test]
async fn g4_held_records_that_fill_the_memory_pause_their_partition_and_the_run_ends() {
    for bytes in [40, 100, 300, 1_000, 7_000, 20_000, 70_000, 300_000, 900_000] {
        let mut world = World::new();
        world.put(1, bytes, [("a", "reject")]);
        world.put(1, bytes, vec![("a", "held"); filling(bytes, 2) + 2]);
        let began = Instant::now();
        let report = world.run().await;
        println!(
            "values of {bytes} bytes: {} held, {} ms",
            report.held,
            began.elapsed().as_millis()
        );
        assert_eq!(stopped(&report), [("a", "1".to_owned())]);
        assert_eq!((report.done, report.rejected), (0, 1));
        assert_eq!(report.partitions[0].lag, world.put);
        assert_eq!(report.partitions[0].frontier, None);
        assert!(report.held < world.put - 1, "the memory is full");
        assert_eq!(paused(&world), ["orders/0"], "values of {bytes} bytes");

        // A restart is no decision: it comes to the same end.
        let again = world.run().await;
        assert_eq!(stopped(&again), [("a", "1".to_owned())]);
        assert_eq!((again.tries, again.partitions[0].lag), (0, world.put));
    }
}

/// Some keys whose records come into each of so many partitions.
fn keys_of(partitions: u32) -> Vec<Vec<String>> {
    let mut keys = vec![Vec::new(); partitions as usize];
    let mut n = 0;
    while keys.iter().any(|keys: &Vec<String>| keys.len() < 3) {
        let key = format!("key{n:03}");
        let partition = partition_of(Some(key.as_bytes()), partitions);
        keys[partition as usize].push(key);
        n += 1;
    }
    keys
}

#[tokio::test]
async fn g4_a_partition_that_is_full_takes_nothing_from_the_others() {
    for (partitions, bytes) in [(2, 100), (3, 1_000), (4, 20_000), (5, 300), (8, 7_000)] {
        let mut world = World::new();
        let keys = keys_of(partitions);
        let count = filling(bytes, 2) + 3;
        // In the first two partitions a lane stops; in all of them other lanes go on beside it.
        let mut records = Vec::new();
        for key in keys.iter().take(2) {
            records.push((&*key[0], "reject"));
        }
        for n in 0..count {
            let held = [(&*keys[0][0], "held"), (&*keys[1][0], "held")];
            records.extend(held);
            let others = &keys[n % keys.len()];
            records.push((&*others[1 + n % 2], "fine"));
        }
        world.put(partitions, bytes, records);
        let report = world.run().await;
        let lanes: Vec<&str> = stopped(&report).iter().map(|(key, _)| *key).collect();
        let mut expected = [&*keys[0][0], &*keys[1][0]];
        expected.sort_unstable();
        assert_eq!(lanes, expected);
        let mut paused = paused(&world);
        paused.sort();
        assert_eq!(paused, ["orders/0", "orders/1"]);
        for (n, partition) in (0..).zip(&report.partitions) {
            assert_eq!(partition.partition, format!("orders/{n}"));
            assert_eq!(partition.lag == 0, n >= 2, "partition {n}");
        }
        let elsewhere = (0..count).filter(|n| n % keys.len() >= 2).count() as u64;
        assert!(report.done > elsewhere, "{} of {elsewhere}", report.done);
    }
}

#[tokio::test]
async fn g9_many_stopped_lanes_fill_the_memory_with_their_heads_alone_and_the_run_ends() {
    for (bytes, every) in [(100, 2), (300, 7), (1_000, 2), (7_000, 3), (20_000, 2)] {
        let mut world = World::new();
        // Twice as many stopped lanes as find room.
        let weight = bytes + OVERHEAD;
        let keys = filling(weight, 2) * every;
        let keys: Vec<String> = (0..keys).map(|n| format!("k{n}")).collect();
        let word = |n| if n % every == 0 { "reject" } else { "fine" };
        world.put(
            1,
            bytes,
            keys.iter().enumerate().map(|(n, key)| (&**key, word(n))),
        );
        let report = world.run().await;
        println!(
            "values of {bytes} bytes, one of {every} stopped: {} stopped, {} of {} not settled",
            report.stopped_lanes.len(),
            report.partitions[0].lag,
            world.put,
        );
        let held = report.stopped_lanes.len() * weight;
        let share = usize::try_from(MEMORY).expect("small");
        assert!(
            held * 4 >= share * 3,
            "stopped heads pin more than they weigh: {held} of {share} bytes"
        );
        assert_eq!(report.partitions[0].lag + report.done, world.put);
        assert_eq!(paused(&world), ["orders/0"]);
    }
}

#[tokio::test]
async fn g10_a_partition_full_of_waiting_lanes_is_not_idle() {
    let mut world = World::new();
    world.config.failure.attempts = 3;
    world.config.failure.backoff_max = 4 * BACKOFF;
    let keys: Vec<String> = (0..LATER).map(|n| format!("k{n}")).collect();
    // The lanes fill the memory, all wait long, and more of the log is behind them.
    let waiting = keys.iter().map(|key| (&**key, "later"));
    let behind: Vec<_> = { keys.iter().cycle().take(200) }
        .map(|key| (&**key, "behind"))
        .collect();
    world.put(1, 25_000, waiting.chain(behind));
    let began = Instant::now();
    let report = world.run().await;
    assert!(began.elapsed() >= BACKOFF, "it waits for them");
    assert_eq!((report.done, report.retries), (world.put, LATER));
    assert_eq!(report.partitions[0].lag, 0);
    assert!(!world.told("paused").is_empty(), "it was full meanwhile");
    assert_eq!(paused(&world), <[String; 0]>::default());
}

#[tokio::test]
async fn g9_behind_a_full_chain_records_are_held_and_the_run_ends() {
    for bytes in [100, 1_000, 20_000] {
        let mut world = World::new();
        world.config.failure.then = Then::Park;
        world.config.failure.park_max = 10;
        world.put(1, bytes, [("a", "reject"), ("b", "fine")]);
        world.put(1, bytes, vec![("a", "held"); filling(bytes, 2) + 12]);
        let report = world.run().await;
        assert_eq!(report.parked_lanes.len(), 1);
        assert_eq!((report.done, report.stopped_lanes.len()), (1, 0));
        assert_eq!(paused(&world), ["orders/0"]);
        // Parked is settled.
        assert_eq!(report.partitions[0].lag, world.put - 1 - 10);
    }
}
