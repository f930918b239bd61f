//! What a source may ask of the loop whose partitions a group gives out: to be let go while a claim is
//! out, to wait with a partition that is new, and to claim anew what the store gave to another.

use crate::conformance::{Owner, change, item};
use futures_util::{FutureExt, future::BoxFuture};
use lanekeeper::{
    Done, Failure, Record,
    handler::Rust,
    history::Nowhere,
    processor::{CUT_AT, Clock, Outcome, Parts, Processor, Report, Settings, Stop},
    record::{LaneOrder, NoKey, OrderBy, PartitionName},
    source::{Event, Order, Ports, Source, SourceError, Start},
    store::{
        LaneState, Store, WorkerId,
        memory::{Call, Memory, Weather},
    },
};
use partitions::{FailureRules, Stops, Then};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout},
};
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(1);

/// A source that a test plays.
struct Played(oneshot::Sender<Ports>);

impl Source for Played {
    fn serve(self: Box<Self>, ports: Ports) -> BoxFuture<'static, Result<(), SourceError>> {
        async move {
            // The test holds them from here on.
            drop(self.0.send(ports));
            std::future::pending::<()>().await;
            Ok(())
        }
        .boxed()
    }
}

struct Since(Instant);

impl Clock for Since {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall_millis(&self) -> i64 {
        0
    }
}

fn settings() -> Settings {
    Settings {
        app: "group".to_owned(),
        cap: 1,
        memory: 1 << 20,
        drain: Duration::from_secs(10),
        order: LaneOrder {
            by: OrderBy::Key,
            no_key: NoKey::Partition,
        },
        failure: FailureRules {
            attempts_max: 1,
            backoff_min: SOON,
            backoff_max: SOON,
            then: Then::Stop,
            stops: Stops::Lane,
        },
        timeout: Duration::from_secs(4),
        settle: Some(Duration::ZERO),
        park_max: 1_000,
        cut_at: CUT_AT,
        flush_interval: Duration::from_millis(100),
        unflushed_max: 1_000,
        records_per_call: 1,
        until_idle: false,
        starts_until: None,
        seed: 1,
    }
}

/// A worker whose source the test plays.
struct Stage {
    memory: Memory,
    worker: WorkerId,
    events: mpsc::Sender<Event>,
    orders: mpsc::UnboundedReceiver<Order>,
    stop: mpsc::UnboundedSender<Stop>,
    end: JoinHandle<(Report, Outcome)>,
}

impl Stage {
    async fn new(
        memory: Memory,
        weather: impl Fn(&Call<'_>) -> Weather + Send + Sync + 'static,
    ) -> Self {
        let (played, ports) = oneshot::channel();
        let worker = WorkerId(Uuid::from_u64_pair(5, 1));
        let handler = lanekeeper::each(async |_: Record| Ok::<_, Failure>(Done));
        let processor = Processor::new(Parts {
            worker,
            settings: settings(),
            store: Arc::new(memory.clone().with_faults(weather)),
            target: Arc::new(Rust(handler)),
            history: Arc::new(Nowhere),
            dead_letter: None,
            sources: vec![("in".into(), Box::new(Played(played)))],
            clock: Arc::new(Since(Instant::now())),
        });
        let (stop, stops) = mpsc::unbounded_channel();
        let end = tokio::spawn(processor.drive(stops));
        let Ports { events, orders } = ports.await.expect("served");
        Self {
            memory,
            worker,
            events,
            orders,
            stop,
            end,
        }
    }

    async fn say(&self, event: Event) {
        self.events.send(event).await.expect("the loop listens");
    }

    async fn assign(&self, partition: &PartitionName) -> oneshot::Receiver<Option<Start>> {
        let (start, claim) = oneshot::channel();
        self.say(Event::Assigned {
            partition: partition.clone(),
            incarnation: None,
            siblings: Some("t/".into()),
            holder_is_dead: false,
            start,
        })
        .await;
        claim
    }

    async fn take_back(&self, partition: &PartitionName) -> oneshot::Receiver<()> {
        let (done, let_go) = oneshot::channel();
        self.say(Event::Revoked {
            partition: partition.clone(),
            lost: false,
            done,
        })
        .await;
        let_go
    }

    fn owner(&self, partition: &PartitionName) -> Option<WorkerId> {
        self.memory.snapshot().ownerships.get(partition)?.worker
    }

    async fn position(&self, partition: &PartitionName) {
        self.say(Event::Positioned {
            partition: partition.clone(),
            from: partitions::Resume::Beginning,
            gap: None,
            last: None,
        })
        .await;
    }
}

fn name(n: u32) -> PartitionName {
    PartitionName::new("in", &format!("t/{n}"))
}

#[tokio::test(start_paused = true)]
async fn g6_a_source_is_let_go_when_no_claim_of_ours_can_land_any_more() {
    let slow = |call: &Call<'_>| Weather {
        before: Duration::from_secs(if matches!(call, Call::Claim(..)) {
            3
        } else {
            0
        }),
        ..Weather::default()
    };
    let stage = Stage::new(Memory::new("group"), slow).await;
    let claim = stage.assign(&name(0)).await;
    tokio::time::sleep(SOON).await;
    let let_go = stage.take_back(&name(0)).await;
    let began = Instant::now();
    timeout(5 * SOON, let_go)
        .await
        .expect("in time")
        .expect("let go");
    assert!(began.elapsed() >= SOON, "a claim was out until then");
    // It landed, and was given back before the next owner may claim: that one finds a clean release.
    let epoch = stage.memory.snapshot().ownerships[&name(0)].epoch;
    assert_eq!((stage.owner(&name(0)), epoch), (None, 1));
    assert!(claim.await.is_err(), "nobody begins");
    assert!(!stage.end.is_finished());
}

#[tokio::test(start_paused = true)]
async fn g1_a_new_partition_waits_until_no_lane_of_its_topic_stands() {
    let memory = Memory::new("group");
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let mut owner = Owner::of(&store, &name(0)).await;
    let stopped = item("a", LaneState::Stopped, 4, None);
    owner
        .change(3, change("a", None, Some(stopped.clone())))
        .await;
    let stage = Stage::new(memory, |_: &Call<'_>| Weather::default()).await;
    // That one was claimed before: it stands where it stood.
    let known = stage.assign(&name(0)).await;
    assert!(
        timeout(SOON, known)
            .await
            .expect("soon")
            .expect("claimed")
            .is_some()
    );
    let mut new = stage.assign(&name(1)).await;
    let early = timeout(30 * SOON, &mut new).await;
    assert!(early.is_err(), "it began while a lane stood stopped");
    assert_eq!(stage.owner(&name(1)), None);
    let mut owner = Owner::of(&store, &name(0)).await;
    owner.change(4, change("a", Some(&stopped), None)).await;
    let start = timeout(5 * SOON, new)
        .await
        .expect("soon")
        .expect("claimed");
    assert!(start.is_some());
    assert_eq!(stage.owner(&name(1)), Some(stage.worker));
}

#[tokio::test(start_paused = true)]
async fn g1_a_new_partition_heeds_a_lane_that_stopped_right_after_another_was_let_begin() {
    let memory = Memory::new("group");
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let mut owner = Owner::of(&store, &name(0)).await;
    let stage = Stage::new(memory, |_: &Call<'_>| Weather::default()).await;
    let first = stage.assign(&name(1)).await;
    let first = timeout(SOON, first).await.expect("soon").expect("claimed");
    assert!(first.is_some(), "no lane stands yet");
    let stopped = item("a", LaneState::Stopped, 4, None);
    owner.change(3, change("a", None, Some(stopped))).await;
    let second = stage.assign(&name(2)).await;
    let early = timeout(30 * SOON, second).await;
    assert!(early.is_err(), "it began while a lane stood stopped");
    assert_eq!(stage.owner(&name(2)), None);
}

#[tokio::test(start_paused = true)]
async fn new_partitions_that_come_together_share_two_looks_at_their_topics_lanes() {
    let looks = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&looks);
    let slow = move |call: &Call<'_>| {
        let is_look = matches!(call, Call::Look);
        counted.fetch_add(usize::from(is_look), Ordering::Relaxed);
        Weather {
            during: Duration::from_millis(u64::from(is_look)),
            ..Weather::default()
        }
    };
    let stage = Stage::new(Memory::new("group"), slow).await;
    let mut claims = Vec::new();
    for n in 0..40 {
        claims.push(stage.assign(&name(n)).await);
    }
    for claim in claims {
        let start = timeout(SOON, claim).await.expect("soon").expect("claimed");
        assert!(start.is_some());
    }
    let looks = looks.load(Ordering::Relaxed);
    assert!((1..=2).contains(&looks), "{looks} looks");
}

#[tokio::test(start_paused = true)]
async fn g6_what_the_store_gave_to_another_is_told_to_the_source_and_may_be_claimed_anew() {
    let memory = Memory::new("group");
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let mut stage = Stage::new(memory, |_: &Call<'_>| Weather::default()).await;
    let claim = stage.assign(&name(0)).await;
    let start = claim.await.expect("claimed").expect("ours");
    assert_eq!(start.assignment.epoch, 1);
    stage.position(&name(0)).await;
    let other = Owner::of(&store, &name(0)).await;
    let order = timeout(60 * SOON, stage.orders.recv())
        .await
        .expect("noticed");
    assert!(
        matches!(&order, Some(Order::Fenced(partition, why)) if *partition == name(0) && why.contains(&other.fence.worker.0.to_string())),
        "{order:?}"
    );
    let claim = stage.assign(&name(0)).await;
    let start = claim.await.expect("claimed").expect("ours");
    assert_eq!(start.assignment.epoch, 3, "the other's was 2");
    assert!(!stage.end.is_finished(), "the run goes on");
    stage.stop.send(Stop::Drain).expect("it listens");
}
