//! What befalls a worker now and then: hands in the store, a freeze within a call, a failure of very
//! many records, a stop that races a decision.

use super::{
    deeds::{Act, Deed},
    world::{Seat, World, name, secs, settings, time_if, worker_id},
};
use lanekeeper::{
    handler::Failure,
    processor::{Outcome, Settings},
    record::LaneKey,
    store::{
        CHECKPOINT_BYTES_MAX, LaneState, Store as _, Verb, checkpoint_bytes,
        memory::{Call, Weather},
    },
};
use partitions::Then;
use std::sync::{Arc, OnceLock, Weak};

fn parking() -> Settings {
    let mut rules = settings();
    rules.failure.then = Then::Park;
    rules
}

#[tokio::test(start_paused = true)]
async fn g7_a_lane_item_that_somebody_deletes_is_written_anew() {
    let world = World::new(|tried| match (tried.position, tried.nth) {
        (1, 1) => Act::fails(Failure::reject("no")),
        _ => Act::done(),
    });
    world.append([(1, "a")]);
    let worker = world.start(Seat::new(1, parking()));
    world.until("the park", |w| w.item("a").is_some()).await;
    let before = world.item("a").expect("parked");
    let lane = (name(), LaneKey::of_key(b"a"));
    let deleted = world.memory.tamper(|c| c.lanes.remove(&lane));
    assert_eq!(deleted, Some(before.clone()));
    world.append([(2, "a"), (3, "b"), (4, "a")]);
    world.until("the arrivals", |w| w.settled(4)).await;
    world.sleep(secs(5)).await;
    let item = world.item("a").expect("written anew");
    assert_eq!((item.state, item.count), (LaneState::Parked, 3));
    world.decide(&item, Verb::Release).await.expect("offered");
    world.until("the release", |w| w.item("a").is_none()).await;
    assert_eq!(world.called(), [1, 3, 1, 2, 4]);
    worker.drain().await;
    world.holds();
}

#[tokio::test(start_paused = true)]
async fn g3_a_decision_that_is_taken_during_a_drain_stays_for_the_next_owner() {
    let world = World::new(|tried| match (tried.position, tried.nth) {
        (1, 1) => Act::fails(Failure::reject("no")),
        _ => Act::done(),
    });
    world.append([(1, "a"), (2, "a")]);
    let worker = world.start(Seat::new(1, settings()));
    world.until("the stop", |w| w.item("a").is_some()).await;
    worker.weather(|call| Weather {
        after: time_if(matches!(call, Call::Take(..)), secs(3)),
        ..Weather::default()
    });
    let item = world.item("a").expect("stopped");
    world.decide(&item, Verb::Retry).await.expect("offered");
    let taken = |w: &World| w.item("a").is_some_and(|item| item.taken().is_some());
    world.until("the take", taken).await;
    let (_, outcome) = worker.drain().await;
    assert!(matches!(outcome, Outcome::Drained), "{outcome:?}");
    assert!(taken(&world), "{:?}", world.item("a"));
    assert_eq!(world.called(), [1]);
    let worker = world.start(Seat::new(2, settings()));
    world.until("all passed", |w| w.frontier() == Some(2)).await;
    assert_eq!(world.called(), [1, 1, 2]);
    worker.drain().await;
    world.holds();
}

/// The process is frozen for an hour in the middle of its first call.
async fn frozen_within_a_call(taken: bool) {
    let frozen: Arc<OnceLock<Weak<World>>> = Arc::default();
    let freezes = Arc::clone(&frozen);
    let world = World::new(move |tried| {
        let world = freezes.get().and_then(Weak::upgrade);
        if tried.position == 1
            && let Some(world) = world
        {
            world.jump(secs(3_600));
        }
        Act::done()
    });
    frozen.set(Arc::downgrade(&world)).expect("set once");
    world.append((1..=50).map(|n| (n, ["a", "b", "c"][n as usize % 3])));
    world.hide_from(Some(1));
    let worker = world.start(Seat::new(1, settings()));
    world.until("the claim", |w| w.owner().is_some()).await;
    world.sleep(secs(1)).await;
    if taken {
        let claim = world.memory.claim(&name(), worker_id(2)).await;
        claim.expect("claimed");
    }
    world.hide_from(None);
    if taken {
        let (_, outcome) = worker.ended().await;
        assert!(matches!(outcome, Outcome::Source(_)), "{outcome:?}");
        assert_eq!(world.called(), [1], "what was out when it froze");
    } else {
        world
            .until("all passed", |w| w.frontier() == Some(50))
            .await;
        let order = world.select(|_, deed| {
            if let Deed::Called(tried) = deed {
                Some(tried.position)
            } else if let Deed::Asked("ownership") = deed {
                Some(0)
            } else {
                None
            }
        });
        let first = order.iter().position(|n| *n == 1).expect("called");
        assert_eq!(order[first + 1], 0, "nothing starts before it is proven");
        worker.drain().await;
        world.holds();
    }
}

#[tokio::test(start_paused = true)]
async fn g6_nothing_starts_behind_a_call_in_which_the_process_was_frozen() {
    for taken in [false, true] {
        frozen_within_a_call(taken).await;
    }
}

#[tokio::test(start_paused = true)]
async fn g10_attempts_that_fit_into_no_checkpoint_hold_nothing_up() {
    const RECORDS: u64 = 12_000;
    let world = World::new(|tried| match tried.nth {
        1 => Act::fails(Failure::retry("later")),
        _ => Act::done(),
    });
    let keys: Vec<String> = (0..RECORDS).map(|n| n.to_string()).collect();
    world.append((1..).zip(keys.iter().map(String::as_str)));
    let mut rules = settings();
    rules.failure.backoff_min = secs(20);
    rules.drain = secs(60);
    let worker = world.start(Seat::new(1, rules));
    world.sleep(secs(100)).await;
    assert_eq!(world.frontier(), Some(RECORDS));
    let commits = world.commits();
    let sizes = commits
        .iter()
        .map(|(_, commit)| checkpoint_bytes(&commit.checkpoint));
    let most = sizes.max().expect("commits");
    let bound = CHECKPOINT_BYTES_MAX;
    assert!((bound - 100..=bound).contains(&most), "{most} of {bound}");
    worker.drain().await;
    world.holds();
}
