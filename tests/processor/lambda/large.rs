//! Records that the store cannot take: nothing is cut short, and nothing is lost.

use super::world::{Say, World, kinesis, position, sequence};
use lanekeeper::store::{CommitBounds, LaneState, Verb};
use partitions::Then;
use serde_json::Value;

/// The store takes 4,000 bytes of a lane at once.
fn world() -> (World, String) {
    let mut world = World::new().then(Then::Park);
    world.store = world.store.clone().with_bounds(CommitBounds {
        items: 100,
        bytes: 2_000,
        record_bytes: 1_000,
    });
    (world, "x".repeat(5_000))
}

#[tokio::test(start_paused = true)]
async fn g7_a_record_that_is_too_large_to_be_parked_stops_its_lane_by_name() {
    let (world, large) = world();
    world.always(&large, Say::Reject);
    let batch = kinesis(&[(1, "a", &large), (2, "b", "b1"), (3, "a", "a2")]);
    assert_eq!(world.invoke(&batch).await, [sequence(1)]);
    let lane = world.lane("a").await.expect("stands");
    assert_eq!((lane.state, lane.record), (LaneState::Stopped, None));
    let why = lane.last_error;
    assert!(why.contains("cannot be parked"), "{why}");
    assert!(
        why.contains("5") && why.contains("4000"),
        "both sizes: {why}"
    );
    let mut calls = world.calls();
    calls.sort();
    assert_eq!(calls, ["b1".to_owned(), large.clone()]);
    // It waits in the stream, whose copy is the only one.
    assert_eq!(world.invoke(&batch).await, [sequence(1)]);
    assert_eq!(world.calls(), Vec::<String>::new());
    world.always(&large, Say::Done);
    world.decide(Verb::Retry).await;
    assert_eq!(world.invoke(&batch).await, Vec::<Value>::new());
    assert_eq!(world.calls(), [large, "a2".to_owned()]);
}

#[tokio::test(start_paused = true)]
async fn g7_a_record_that_is_too_large_to_join_a_chain_stays_unfinished_and_so_does_what_follows() {
    let (world, large) = world();
    world.always("a1", Say::Reject);
    world
        .invoke(&kinesis(&[(1, "a", "a1"), (2, "a", "a2")]))
        .await;
    let more = kinesis(&[(3, "a", &large), (4, "a", "a4"), (5, "b", "b1")]);
    assert_eq!(world.invoke(&more).await, [sequence(3)]);
    let lane = world.lane("a").await.expect("stands");
    let found = (lane.state, lane.count, lane.tail);
    assert_eq!(found, (LaneState::Parked, 2, Some(position(2))));
    assert_eq!(world.calls(), ["a1", "b1"]);
    world.always("a1", Say::Done);
    world.decide(Verb::Release).await;
    assert_eq!(world.invoke(&more).await, Vec::<Value>::new());
    assert_eq!(world.calls(), ["a1", "a2", &large, "a4"]);
    assert_eq!(world.lane("a").await, None);
}
