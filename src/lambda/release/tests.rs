use super::*;
use crate::{
    handler::{Answer, Failure, Handler, Rust},
    history::Nowhere,
    lambda::sample,
    position::Position,
    processor::{Clock, Settings},
    record::{LaneOrder, NoKey, OrderBy, Run},
    store::{
        HeadTried, MarkStore,
        memory::{Call, Fate, Memory, Weather},
    },
};
use partitions::{FailureRules, Stops, Then};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio::time::Instant;

/// Rejects all, or none.
#[derive(Clone)]
struct Rejecting(Arc<AtomicBool>);

impl Handler for Rejecting {
    async fn handle(&self, _: Run) -> Answer {
        match self.0.load(Ordering::Relaxed) {
            true => Answer::failed(Failure::reject("never")),
            false => Answer::all(1),
        }
    }
}

struct Since(Instant);

impl Clock for Since {
    fn now(&self) -> Duration {
        Duration::from_secs(1_000) + self.0.elapsed()
    }

    fn wall_millis(&self) -> i64 {
        1_700_000_000_000 + i64::try_from(self.0.elapsed().as_millis()).expect("short")
    }
}

fn settings() -> Settings {
    Settings {
        app: "app".to_owned(),
        cap: 1,
        memory: 64 << 20,
        drain: Duration::from_secs(30),
        order: LaneOrder {
            by: OrderBy::Key,
            no_key: NoKey::Partition,
        },
        failure: FailureRules {
            attempts_max: 3,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            then: Then::Park,
            stops: Stops::Lane,
        },
        timeout: Duration::from_secs(5),
        settle: Some(Duration::ZERO),
        park_max: 1_000,
        cut_at: 1_000,
        flush_interval: Duration::from_secs(1),
        unflushed_max: 10_000,
        records_per_call: 1,
        until_idle: false,
        starts_until: None,
        seed: 7,
    }
}

fn function(store: Arc<dyn MarkStore>, rejects: &Arc<AtomicBool>, since: Instant) -> Function {
    Function {
        settings: settings(),
        concurrency: 1,
        reports_failures: true,
        parallelization_factor: 1,
        margin: Duration::from_millis(500),
        retention: Duration::from_hours(24),
        store,
        target: Arc::new(Rust(Rejecting(Arc::clone(rejects)))),
        dead_letter: None,
        aggregate: None,
        history: Arc::new(Nowhere),
        clock: Arc::new(Since(since)),
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_released_before_a_failure_is_told() {
    let minute = Duration::from_secs(60);
    let rejects = Arc::new(AtomicBool::new(true));
    let since = Instant::now();
    let store = Memory::new("app").with_clock(move || Since(since).wall_millis());
    for source in ["one", "two"] {
        let event = json!({"Records": [sample::kinesis_record("17", "a", b"x")]});
        let delivery = Arc::new(sample::delivery(&event.to_string()));
        let parking = function(Arc::new(store.clone()), &rejects, since);
        let parked = parking.invoke(&source.into(), delivery, minute).await;
        assert_eq!(parked.expect("starts").figures.parked, 1);
    }
    rejects.store(false, Ordering::Relaxed);
    let decisions = AtomicU32::new(0);
    let failing = store.clone().with_faults(move |call: &Call<'_>| {
        let is_second =
            matches!(call, Call::Decide(..)) && decisions.fetch_add(1, Ordering::Relaxed) > 0;
        let fate = if is_second {
            Fate::Refused
        } else {
            Fate::Sound
        };
        Weather {
            fate,
            ..Weather::default()
        }
    });
    let mut figures = Vec::new();
    let releasing = function(Arc::new(failing), &rejects, since);
    let released = releasing
        .release(&Release::default(), minute, &mut figures)
        .await;
    assert!(
        matches!(released, Err(ReleaseError::Store(_))),
        "{released:?}"
    );
    let told: Vec<(&str, u64)> = figures
        .iter()
        .map(|(of, told)| (&**of, told.done))
        .collect();
    assert_eq!(told, [("one", 1)]);
}

#[test]
fn a_lane_that_rests_says_until_when() {
    let now = 1_700_000_000_000;
    let partition = PartitionName::new("orders", "*");
    let left = |not_before: i64| {
        let mut decision = DecisionNote::new(Verb::Release, "ann".to_owned(), None, now);
        decision.tried = Some(HeadTried {
            head: Position::Offset(7).padded(),
            attempts: 1,
            error: "no".to_owned(),
            not_before,
        });
        let item = LaneItem {
            lane: LaneKey::of_key(b"a"),
            state: LaneState::Parked,
            head: Position::Offset(7),
            record: None,
            tail: None,
            tails: Vec::new(),
            cut: None,
            count: 2,
            bytes: 2,
            attempts: 1,
            first_error: String::new(),
            last_error: String::new(),
            since: now,
            rev: 1,
            decision: Some(decision),
        };
        serde_json::to_value(Left::new(&partition, &item, now)).expect("JSON")
    };
    assert_eq!(left(now + 1_000)["waits_until"], "2023-11-14T22:13:21Z");
    assert_eq!(left(now).get("waits_until"), None);
}
