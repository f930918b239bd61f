//! A source in memory that hands over a burst of records, and the loop over it.

use futures_util::{FutureExt, future::BoxFuture};
use lanekeeper::{
    Handler, Position,
    handler::Rust,
    history::Nowhere,
    processor::{CUT_AT, Clock, Parts, Processor, Report, Settings},
    record::{BatchBuilder, LaneOrder, NoKey, OrderBy, PartitionName},
    source::{Event, Order, Ports, Source, SourceError, Start},
    store::{Store, WorkerId},
};
use partitions::{FailureRules, Resume, Stops, Then};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub(crate) const PARTITIONS: u32 = 8;

/// Hands over `records` records over 8 partitions; key of record n from `key`.
pub(crate) struct Burst {
    pub(crate) records: u64,
    pub(crate) key: Arc<dyn Fn(u64) -> u64 + Send + Sync>,
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
            siblings: None,
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

pub(crate) struct Monotonic(pub(crate) Instant);

impl Clock for Monotonic {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
    fn wall_millis(&self) -> i64 {
        0
    }
}

pub(crate) fn settings(cap: u32, records_per_call: u32) -> Settings {
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
        starts_until: None,
        seed: 1,
    }
}

pub(crate) fn rounds(name: &str, mut one: impl FnMut() -> f64) {
    let mut figures: Vec<f64> = (0..5).map(|_| one()).collect();
    figures.sort_by(f64::total_cmp);
    println!(
        "{name}: median {:.3} (range {:.3} to {:.3})",
        figures[2], figures[0], figures[4]
    );
}

/// Runs it to the end over a store; gives the report and the seconds.
pub(crate) fn run(
    store: Arc<dyn Store>,
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
        store,
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
