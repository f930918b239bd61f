//! What the engine itself costs: time per record, bytes per buffered record, and whether memory
//! stays flat over ever new keys.
//!
//! `cargo bench -p lanekeeper-partitions --bench engine [-- [time|million|listing|bytes|flat]... [DISTINCT_KEYS]]`

#![expect(unsafe_code, reason = "counting bytes takes a global allocator")]
#![expect(clippy::print_stdout, reason = "the figures are for a person to read")]

use partitions::{
    Action, Answer, Assignment, CommitEnd, Engine, FailureRules, Item, Limits, PartitionId, Pushed,
    Rest, Resume, Stops, Then, Ticket,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// Passes everything on to the system's allocator and counts the bytes that are out.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the caller's own arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's contract is ours.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's contract is ours.
        unsafe { System.dealloc(block, layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATED.fetch_add(size, Relaxed);
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's contract is ours.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A position of 16 bytes, as the service's are.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Position {
    Offset(u64),
    #[expect(
        dead_code,
        reason = "the other kind of position takes part in the size only"
    )]
    Sequence(Arc<String>),
}

/// Positions and keys of many records, shared by their handles.
type Batch = Vec<(Position, [u8; 8])>;

/// A handle of 16 bytes, as the service's records are.
#[derive(Clone)]
struct Record {
    batch: Arc<Batch>,
    at: u32,
}

impl Item for Record {
    type Position = Position;
    fn position(&self) -> &Position {
        &self.batch[self.at as usize].0
    }
    fn key(&self) -> &[u8] {
        &self.batch[self.at as usize].1
    }
    fn weight(&self) -> u32 {
        100
    }
}

/// An endless source: `keys` keys, in an order that looks like chance.
struct Source {
    keys: u64,
    next: u64,
    batch: Arc<Batch>,
}

impl Source {
    fn new(keys: u64) -> Self {
        Self {
            keys,
            next: 0,
            batch: Arc::default(),
        }
    }

    fn record(&mut self) -> Record {
        const BATCH: u64 = 512;
        let at = self.next % BATCH;
        if at == 0 {
            let key = |n: u64| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % self.keys).to_be_bytes();
            let numbers = self.next..self.next + BATCH;
            self.batch = Arc::new(numbers.map(|n| (Position::Offset(n), key(n))).collect());
        }
        self.next += 1;
        Record {
            batch: Arc::clone(&self.batch),
            at: at as u32,
        }
    }
}

fn limits(cap: u32) -> Limits {
    Limits {
        cap,
        run_max: 1,
        failure: FailureRules {
            attempts_max: 3,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(60),
            then: Then::Stop,
            stops: Stops::Lane,
        },
        records_max: u32::MAX,
        partition_bytes_max: u64::MAX,
        unflushed_max: u64::MAX,
        append_records_max: 200,
        append_bytes_max: 256 << 10,
        park_records_max: 100_000,
        park_bytes_max: 1 << 30,
        cut_at: 1_000,
        seed: 1,
    }
}

fn assigned(cap: u32) -> (Engine<Record>, PartitionId) {
    let mut engine = Engine::new(limits(cap));
    let partition = engine.assign(Assignment {
        identity: 1,
        resume: Resume::Beginning,
        settled_to: None,
        open: &mut std::iter::empty(),
        held: &mut std::iter::empty(),
    });
    (engine, partition)
}

const DONE: Answer = Answer {
    done: u32::MAX,
    with_effects: false,
    rest: Rest::Nothing,
    quarantine: Duration::ZERO,
};

/// A shell that keeps `window` records in the engine and up to `cap` tries out, answered in the
/// order of their starts, and commits every ten thousand records.
struct Shell {
    engine: Engine<Record>,
    partition: PartitionId,
    source: Source,
    out: VecDeque<Ticket>,
    window: usize,
    buffered: usize,
    done: u64,
}

impl Shell {
    fn new(keys: u64, window: usize, cap: u32) -> Self {
        let (engine, partition) = assigned(cap);
        let source = Source::new(keys);
        Self {
            engine,
            partition,
            source,
            out: VecDeque::new(),
            window,
            buffered: 0,
            done: 0,
        }
    }

    fn fill(&mut self) {
        while self.buffered < self.window {
            let pushed = self.engine.push(self.partition, self.source.record(), 0);
            assert_eq!(pushed, Pushed::Accepted);
            self.buffered += 1;
        }
    }

    /// Runs until `records` more are done.
    fn run(&mut self, records: u64) {
        let until = self.done + records;
        while self.done < until {
            self.fill();
            while let Some(action) = self.engine.poll() {
                if let Action::Start { ticket, .. } = action {
                    self.out.push_back(ticket);
                }
            }
            for _ in 0..self.out.len().div_ceil(2) {
                let Some(ticket) = self.out.pop_front() else {
                    break;
                };
                assert_eq!(self.engine.records(ticket).len(), 1);
                self.engine.complete(ticket, DONE);
                self.buffered -= 1;
                self.done += 1;
                if self.done.is_multiple_of(10_000) {
                    let _ = self.engine.begin_commit(self.partition, &[]);
                    self.engine.end_commit(self.partition, CommitEnd::Durable);
                }
            }
        }
    }
}

/// This thread's time on a processor, where the system tells: others may want the machine too.
fn now() -> Duration {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok())
        .map_or_else(|| ORIGIN.elapsed(), Duration::from_nanos)
}

/// Nanoseconds per record, the median over rounds.
fn time(name: &str, keys: u64, window: usize, cap: u32) {
    const ROUNDS: usize = 15;
    const RECORDS: u64 = 1_000_000;
    let mut shell = Shell::new(keys, window, cap);
    shell.run(RECORDS);
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = now();
            shell.run(RECORDS);
            (now() - begun).as_nanos() as f64 / RECORDS as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!(
        "{name:<44} {:>6.1} ns/record  (of {ROUNDS} rounds: {:.1} to {:.1})",
        rounds[ROUNDS / 2],
        rounds[0],
        rounds[ROUNDS - 1]
    );
}

/// The engine's bytes per buffered record, its handle counted, its payload and key not.
fn bytes(records: u64, keys: u64) {
    let mut source = Source::new(keys);
    let handles: Vec<Record> = (0..records).map(|_| source.record()).collect();
    let (mut engine, partition) = assigned(64);
    let before = ALLOCATED.load(Relaxed);
    for record in &handles {
        let record = Record {
            batch: Arc::clone(&record.batch),
            ..*record
        };
        assert_eq!(engine.push(partition, record, 0), Pushed::Accepted);
    }
    let used = ALLOCATED.load(Relaxed) - before;
    println!(
        "{:<44} {:>6.1} bytes/record",
        format!("{records} records buffered, {keys} keys"),
        used as f64 / records as f64
    );
}

/// Whether what the engine holds grows with the number of keys that it has seen.
fn flat(distinct: u64) {
    let mut shell = Shell::new(distinct, 10_000, 64);
    let before = ALLOCATED.load(Relaxed);
    shell.run(distinct / 10);
    let early = ALLOCATED.load(Relaxed) - before;
    shell.run(distinct - distinct / 10);
    let late = ALLOCATED.load(Relaxed) - before;
    println!(
        "{:<44} {:>6} KiB, then {} KiB",
        format!("after {} and {distinct} distinct keys", distinct / 10),
        early >> 10,
        late >> 10
    );
}

/// Nanoseconds per open position of listing a snapshot's.
fn listing(keys: u64, window: usize) {
    let mut shell = Shell::new(keys, window, 64);
    shell.run(1_000_000);
    let snapshot = shell.engine.begin_commit(shell.partition, &[]);
    let begun = now();
    let open = (0..100)
        .map(|_| std::hint::black_box(snapshot.open().count()))
        .sum::<usize>();
    let each = (now() - begun).as_nanos() as f64 / open as f64;
    println!(
        "{:<44} {each:>6.1} ns/position",
        format!("listing {} open positions", open / 100)
    );
}

/// What the source and the shell's queue cost without an engine.
fn harness(keys: u64) {
    const RECORDS: u64 = 10_000_000;
    let mut source = Source::new(keys);
    let mut window = VecDeque::new();
    let begun = now();
    for _ in 0..RECORDS {
        window.push_back(source.record());
        if window.len() > 10_000 {
            std::hint::black_box(window.pop_front());
        }
    }
    let each = (now() - begun).as_nanos() as f64 / RECORDS as f64;
    println!(
        "{:<44} {each:>6.1} ns/record",
        format!("of which the bench itself, {keys} keys")
    );
}

fn main() {
    // Cargo passes `--bench`.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let distinct = words.iter().find_map(|word| word.parse().ok());
    let cases: Vec<&String> = words.iter().filter(|w| w.parse::<u64>().is_err()).collect();
    let wants = |case: &str| cases.is_empty() || cases.iter().any(|word| *word == case);
    if wants("time") {
        time("10,000 keys, window 10,000, cap 64", 10_000, 10_000, 64);
        time(
            "10,000 keys, window 10,000, cap 10,000",
            10_000,
            10_000,
            10_000,
        );
        harness(10_000);
    }
    if wants("million") {
        time(
            "1,000,000 keys, window 10,000, cap 64",
            1_000_000,
            10_000,
            64,
        );
        time(
            "1,000,000 keys, window 1,000,000, cap 64",
            1_000_000,
            1_000_000,
            64,
        );
        harness(1_000_000);
    }
    if wants("listing") {
        listing(10_000, 10_000);
    }
    if wants("bytes") {
        bytes(1_000_000, 1_000);
        bytes(1_000_000, 10_000);
        bytes(10_000, 10_000);
    }
    if wants("flat") {
        flat(distinct.unwrap_or(10_000_000));
    }
}
