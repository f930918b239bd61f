//! The loop by itself: an in-memory source, a store that takes everything, Rust handlers.
//!
//! `cargo bench --bench processor -- [noop|cpu|sleep]`: figures per case, medians over rounds.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints and may fail loudly"
)]

mod burst;

use burst::{rounds, settings};
use lanekeeper::{
    Done, Handler, Record, Run,
    handler::Answer,
    processor::{Report, Settings},
    store::memory::Memory,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

fn run(
    settings: Settings,
    handler: impl Handler,
    records: u64,
    key: impl Fn(u64) -> u64 + Send + Sync + 'static,
) -> (Report, f64) {
    let store = Arc::new(Memory::new("bench"));
    burst::run(store, settings, handler, records, key)
}

/// Zipf(1.0) over `n` keys, by inversion of the cumulated weights.
fn zipf(n: u64) -> impl Fn(u64) -> u64 + Send + Sync + 'static {
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=n)
        .map(|k| {
            sum += 1.0 / k as f64;
            sum
        })
        .collect();
    move |i| {
        let mut z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let u = (z >> 11) as f64 / (1u64 << 53) as f64 * sum;
        cumulated.partition_point(|c| *c < u) as u64
    }
}

/// Counts each lane's time in the handler, call to return: the longest is a bound of any schedule.
struct Sleeper {
    lanes: Arc<Vec<AtomicU64>>,
    total: Arc<AtomicU64>,
    sleep: Duration,
}

impl Handler for Sleeper {
    async fn handle(&self, run: Run) -> Answer {
        let began = Instant::now();
        tokio::time::sleep(self.sleep).await;
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let key = std::str::from_utf8(run.first().key().unwrap_or_default()).unwrap_or_default();
        let lane: usize = key.trim_start_matches("key-").parse().unwrap_or(0);
        self.lanes[lane].fetch_add(took, Ordering::Relaxed);
        self.total.fetch_add(took, Ordering::Relaxed);
        Answer::all(run.records().len())
    }
}

fn sleeping(
    name: &str,
    keys: u64,
    records: u64,
    per_call: u32,
    key: impl Fn(u64) -> u64 + Clone + Send + Sync + 'static,
) {
    rounds(name, || {
        let lanes: Arc<Vec<AtomicU64>> = Arc::new((0..keys).map(|_| AtomicU64::new(0)).collect());
        let total = Arc::new(AtomicU64::new(0));
        let sleep = Duration::from_millis(10);
        let handler = Sleeper {
            lanes: Arc::clone(&lanes),
            total: Arc::clone(&total),
            sleep,
        };
        let (_, seconds) = run(settings(256, per_call), handler, records, key.clone());
        let longest = lanes
            .iter()
            .map(|l| l.load(Ordering::Relaxed))
            .max()
            .unwrap_or(0);
        let bound = (total.load(Ordering::Relaxed) / 256).max(longest);
        bound as f64 / 1e9 / seconds
    });
}

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str()));
    if wants("noop") {
        rounds("noop: million records/s, 1,000 keys, cap 256", || {
            let n = 4_000_000;
            let handler = lanekeeper::each(async |_: Record| Ok(Done));
            n as f64 / run(settings(256, 1), handler, n, |n| n % 1_000).1 / 1e6
        });
    }
    if wants("cpu") {
        rounds(
            "cpu: share of two cores used by a handler of 100 us",
            || {
                let n = 40_000;
                let handler = lanekeeper::each(async |_: Record| {
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_micros(100) {
                        std::hint::spin_loop();
                    }
                    Ok(Done)
                });
                n as f64 * 100e-6 / run(settings(256, 1), handler, n, |n| n % 1_000).1 / 2.0
            },
        );
    }
    if wants("sleep") {
        let n = 100_000;
        sleeping(
            "sleep: bound/makespan, 10 ms, cap 256, 1,000 uniform keys",
            1_000,
            n,
            1,
            |n| n % 1_000,
        );
        let zipf = Arc::new(zipf(10_000));
        let z = Arc::clone(&zipf);
        sleeping(
            "sleep: bound/makespan, 10 ms, cap 256, zipf(1.0) over 10,000",
            10_000,
            20_000,
            1,
            move |n| z(n),
        );
        sleeping(
            "sleep: zipf(1.0) over 10,000, 16 records per call: one-at-a-time bound/makespan",
            10_000,
            20_000,
            16,
            move |n| zipf(n),
        );
    }
}
