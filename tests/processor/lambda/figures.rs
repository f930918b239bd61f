//! What an invocation counts of itself, for CloudWatch.

use super::world::{Say, World, kinesis};
use lanekeeper::{
    lambda::{Figures, Standstill},
    store::{
        Verb,
        memory::{Call, Fate, Weather},
    },
};
use partitions::Then;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const BATCH: [(u64, &str, &str); 6] = [
    (1, "a", "a1"),
    (2, "b", "b1"),
    (3, "a", "a2"),
    (4, "b", "b2"),
    (5, "a", "a3"),
    (6, "b", "b3"),
];

fn standing(stopped: u64, parked: u64, stopped_since: Option<i64>) -> Option<Standstill> {
    Some(Standstill {
        stopped,
        parked,
        stopped_since,
    })
}

#[tokio::test(start_paused = true)]
async fn what_is_unfinished_is_told_from_what_was_not_started_and_from_what_was_done_before() {
    let world = World::new();
    world.always("a2", Say::Reject);
    let first = world.figures(&kinesis(&BATCH)).await;
    let since = first.lanes.and_then(|lanes| lanes.stopped_since);
    assert!(since.is_some(), "it stands since now");
    let expected = Figures {
        delivered: 6,
        done: 4,
        unfinished: 2,
        not_started: 1,
        rejected: 1,
        lanes: standing(1, 0, since),
        ..Figures::default()
    };
    assert_eq!(first, expected);
    tokio::time::advance(Duration::from_secs(60)).await;
    let again = world.figures(&kinesis(&BATCH[2..])).await;
    let expected = Figures {
        delivered: 4,
        unfinished: 2,
        // What is used up is not tried again.
        not_started: 2,
        already_done: 2,
        lanes: standing(1, 0, since),
        ..Figures::default()
    };
    assert_eq!(again, expected);
    world.always("a2", Say::Done);
    world.decide(Verb::Retry).await;
    let last = world.figures(&kinesis(&BATCH[2..])).await;
    let expected = Figures {
        delivered: 4,
        done: 2,
        already_done: 2,
        lanes: standing(0, 0, None),
        ..Figures::default()
    };
    assert_eq!(last, expected);
}

#[tokio::test(start_paused = true)]
async fn a_parked_lane_counts_its_head_and_what_joins_it() {
    let world = World::new().then(Then::Park);
    world.always("a2", Say::Reject);
    let first = world.figures(&kinesis(&BATCH)).await;
    let expected = Figures {
        delivered: 6,
        done: 4,
        parked: 2,
        rejected: 1,
        lanes: standing(0, 1, None),
        ..Figures::default()
    };
    assert_eq!(first, expected);
    let again = world.figures(&kinesis(&BATCH)).await;
    assert_eq!((again.already_done, again.parked), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn a_try_that_does_not_end_has_begun() {
    let mut world = World::new();
    world.settings.cap = 1;
    world.always("a1", Say::Hang);
    let figures = world.figures(&kinesis(&BATCH)).await;
    assert_eq!(figures.unfinished - figures.not_started, 1, "{figures:?}");
    assert!(figures.retries > 0, "{figures:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_done_and_could_not_be_noted_was_started() {
    let world = World::new();
    world.always("b3", Say::Reject);
    let has_begun = AtomicBool::new(false);
    // The mark of the begin is written, and nothing after it.
    let store = world.store.clone().with_faults(move |call: &Call<'_>| {
        let is_commit = matches!(call, Call::Commit(_));
        let fate = match is_commit && has_begun.swap(true, Ordering::Relaxed) {
            true => Fate::Refused,
            false => Fate::Sound,
        };
        Weather {
            fate,
            ..Weather::default()
        }
    });
    let function = world.function_over(Arc::new(store));
    let figures = world.figures_of(&function, &kinesis(&BATCH)).await;
    assert_eq!(world.calls().len(), 6, "all were tried");
    assert_eq!((figures.unfinished, figures.not_started), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_tried_again_in_vain_has_stood_since_its_first_stop() {
    let world = World::new();
    world.always("a2", Say::Reject);
    let first = world.figures(&kinesis(&BATCH)).await;
    let since = first.lanes.and_then(|lanes| lanes.stopped_since);
    assert!(since.is_some());
    for _ in 0..2 {
        tokio::time::advance(Duration::from_secs(600)).await;
        world.calls();
        world.decide(Verb::Retry).await;
        let again = world.figures(&kinesis(&BATCH[2..])).await;
        assert_eq!(world.calls(), ["a2"]);
        assert_eq!(again.lanes, standing(1, 0, since));
    }
    // Another head of the same lane stands anew.
    world.always("a2", Say::Done);
    world.always("a3", Say::Reject);
    world.decide(Verb::Retry).await;
    let other = world.figures(&kinesis(&BATCH[2..])).await;
    let now = other.lanes.and_then(|lanes| lanes.stopped_since);
    assert!(now > since, "{now:?}");
}

#[tokio::test(start_paused = true)]
async fn lanes_are_told_as_they_stand_at_the_end() {
    let world = World::new();
    world.always("a2", Say::Reject);
    world.figures(&kinesis(&BATCH)).await;
    world.always("a2", Say::Done);
    world.always("c1", Say::After(Duration::from_secs(4)));
    let slow = async { world.figures(&kinesis(&[(7, "c", "c1")])).await };
    let mended = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.decide(Verb::Retry).await;
        world.figures(&kinesis(&BATCH[2..])).await
    };
    let (slow, mended) = tokio::join!(slow, mended);
    assert_eq!(mended.lanes, standing(0, 0, None));
    assert_eq!((slow.done, slow.lanes), (1, standing(0, 0, None)));
}
