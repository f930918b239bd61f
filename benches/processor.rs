//! The loop by itself: an in-memory source, a store that takes everything, Rust handlers.
//!
//! `cargo bench --bench processor -- [noop|cpu|sleep]`: figures per case, medians over rounds.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a benchmark prints and may fail loudly"
)]

use futures_util::{FutureExt, future::BoxFuture};
use lanekeeper::{
    Done, Handler, Position, Record, Run,
    handler::{Answer, Rust},
    history::Nowhere,
    processor::{CUT_AT, Clock, Parts, Processor, Report, Settings},
    record::{BatchBuilder, LaneOrder, NoKey, OrderBy, PartitionName},
    source::{Event, Order, Ports, Source, SourceError, Start},
    store::{WorkerId, memory::Memory},
};
use partitions::{FailureRules, Resume, Stops, Then};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

const PARTITIONS: u32 = 8;

/// Hands over `records` records over 8 partitions; key of record n from `key`.
struct Burst {
    records: u64,
    key: Arc<dyn Fn(u64) -> u64 + Send + Sync>,
}

impl Source for Burst {
    fn serve(self: Box<Self>, mut ports: Ports) -> BoxFuture<'static, Result<(), SourceError>> {
        async move {
            let starts = assign(&ports).await;
            self.hand_over(&ports, &starts).await;
            for (partition, _) in &starts {
                say(
                    &ports,
                    Event::Behind {
                        partition: partition.clone(),
                        records: 0,
                    },
                )
                .await;
            }
            while !matches!(ports.orders.recv().await, None | Some(Order::Stop)) {}
            Ok(())
        }
        .boxed()
    }
}

async fn say(ports: &Ports, event: Event) {
    ports.events.send(event).await.expect("the loop listens");
}

async fn assign(ports: &Ports) -> Vec<(PartitionName, Start)> {
    let mut starts = Vec::new();
    for n in 0..PARTITIONS {
        let partition = PartitionName::new("in", &format!("burst/{n}"));
        let (start, started) = oneshot::channel();
        let assigned = Event::Assigned {
            partition: partition.clone(),
            incarnation: None,
            holder_is_dead: true,
            start,
        };
        say(ports, assigned).await;
        let start = started.await.expect("an answer").expect("ours");
        let from = Resume::Beginning;
        say(
            ports,
            Event::Positioned {
                last: None,
                partition: partition.clone(),
                from,
                gap: None,
            },
        )
        .await;
        starts.push((partition, start));
    }
    say(
        ports,
        Event::Announced {
            source: "in".into(),
            partitions: PARTITIONS as usize,
        },
    )
    .await;
    starts
}

impl Burst {
    async fn hand_over(&self, ports: &Ports, starts: &[(PartitionName, Start)]) {
        let order = LaneOrder {
            by: OrderBy::Key,
            no_key: NoKey::Partition,
        };
        let (mut n, mut positions) = (0, [0u64; PARTITIONS as usize]);
        while n < self.records {
            let mut batches: Vec<BatchBuilder> = starts
                .iter()
                .map(|(_, s)| BatchBuilder::new(Arc::clone(&s.assignment)))
                .collect();
            for _ in 0..(512 * u64::from(PARTITIONS)).min(self.records - n) {
                let key = (self.key)(n);
                let p = (key % u64::from(PARTITIONS)) as usize;
                positions[p] += 1;
                let (position, text) = (Position::Offset(positions[p]), format!("key-{key}"));
                batches[p]
                    .push(
                        order,
                        position,
                        Some(text.as_bytes()),
                        Some(&[7; 100]),
                        [],
                        None,
                    )
                    .expect("a key");
                n += 1;
            }
            for (batch, (_, start)) in batches
                .into_iter()
                .zip(starts)
                .filter(|(b, _)| !b.is_empty())
            {
                let permit = loop {
                    match start.budget.try_acquire(batch.weight()) {
                        Some(permit) => break permit,
                        None => tokio::task::yield_now().await,
                    }
                };
                say(ports, Event::Records(batch.finish(Some(permit)))).await;
            }
        }
    }
}

struct Monotonic(Instant);

impl Clock for Monotonic {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
    fn wall_millis(&self) -> i64 {
        0
    }
}

fn settings(cap: u32, records_per_call: u32) -> Settings {
    Settings {
        app: "bench".to_owned(),
        cap,
        memory: 256 << 20,
        drain: Duration::from_secs(30),
        order: LaneOrder {
            by: OrderBy::Key,
            no_key: NoKey::Partition,
        },
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
        unflushed_max: 1_000_000,
        records_per_call,
        until_idle: true,
        seed: 1,
    }
}

fn run(
    settings: Settings,
    handler: impl Handler,
    records: u64,
    key: impl Fn(u64) -> u64 + Send + Sync + 'static,
) -> (Report, f64) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("runtime");
    let source = Burst {
        records,
        key: Arc::new(key),
    };
    let parts = Parts {
        worker: WorkerId(Uuid::new_v4()),
        settings,
        store: Arc::new(Memory::new("bench")),
        target: Arc::new(Rust(handler)),
        history: Arc::new(Nowhere),
        dead_letter: None,
        sources: vec![("in".into(), Box::new(source))],
        clock: Arc::new(Monotonic(Instant::now())),
    };
    let (_stop, stops) = mpsc::unbounded_channel();
    let began = Instant::now();
    let (report, outcome) = runtime.block_on(Processor::new(parts).drive(stops));
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(report.done, records, "{outcome:?} {report:?}");
    (report, seconds)
}

fn rounds(name: &str, mut one: impl FnMut() -> f64) {
    let mut figures: Vec<f64> = (0..5).map(|_| one()).collect();
    figures.sort_by(f64::total_cmp);
    println!(
        "{name}: median {:.3} (range {:.3} to {:.3})",
        figures[2], figures[0], figures[4]
    );
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
