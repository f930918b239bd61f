//! Keys whose records go on in another shard: lanes are those of the source.

use super::world::{SHARD, Say, World, kinesis, kinesis_of, position, sequence};
use lanekeeper::{
    checkpoint::Checkpoint,
    store::{Commit, Fence, LaneChange, LaneItem, LaneState, Mark, Store as _, Verb, WorkerId},
};
use partitions::{Stops, Then};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

const CHILD: &str = "shardId-000000000011";

/// The records of one key among these values.
fn of_a(values: Vec<String>) -> Vec<String> {
    { values.into_iter() }
        .filter(|value| value.starts_with('a'))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn g1_what_a_child_shard_brings_joins_the_chain_of_its_parent() {
    let world = World::new().then(Then::Park);
    world.says("a1", &[Say::Reject]);
    let parent = kinesis(&[(1, "a", "a1"), (2, "a", "a2"), (3, "b", "b1")]);
    assert_eq!(world.invoke(&parent).await, Vec::<Value>::new());
    let child = kinesis_of(CHILD, &[(11, "a", "a3"), (12, "b", "b2")]);
    assert_eq!(world.invoke(&child).await, Vec::<Value>::new());
    assert_eq!(of_a(world.calls()), ["a1"]);
    let parked = world.lane("a").await.expect("stands");
    assert_eq!((parked.count, parked.tail), (3, Some(position(11))));
    let tails = [(SHARD, position(2)), (CHILD, position(11))];
    assert_eq!(parked.tails, tails.map(|(of, at)| (of.into(), at)));
    // Delivered again, by either.
    world.invoke(&child).await;
    world.invoke(&parent).await;
    assert_eq!(world.lane("a").await.map(|lane| lane.count), Some(3));
    world.ids();
    world.decide(Verb::Release).await;
    let next = kinesis_of(CHILD, &[(13, "a", "a4")]);
    assert_eq!(world.invoke(&next).await, Vec::<Value>::new());
    let ids = |shard, n| format!("orders/{shard}/{}/0", sequence(n));
    let wanted = [ids(SHARD, 1), ids(SHARD, 2), ids(CHILD, 11), ids(CHILD, 13)];
    assert_eq!(world.ids(), wanted, "each as its own shard has it");
    assert_eq!(world.lane("a").await, None, "live again");
    for batch in [&parent, &child, &next] {
        assert_eq!(world.invoke(batch).await, Vec::<Value>::new());
    }
    assert_eq!(world.ids(), Vec::<String>::new());
}

/// What has been applied before its lane was parked is known by the shard that it came from.
#[tokio::test(start_paused = true)]
async fn g6_effects_of_a_parents_records_apply_once_in_a_child() {
    let world = World::new().then(Then::Park);
    world.says("a1", &[Say::Reject, Say::Effect]);
    world.always("a2", Say::Effect);
    world
        .invoke(&kinesis(&[(1, "a", "a1"), (2, "a", "a2")]))
        .await;
    world.decide(Verb::Release).await;
    world.invoke(&kinesis_of(CHILD, &[(11, "b", "b1")])).await;
    let sums = world.sums().await;
    assert_eq!((&sums["a1"], &sums["a2"]), (&1.into(), &1.into()));
    let done = world.store.snapshot().done;
    let of_parent = done.iter().filter(|(name, ..)| *name.partition == *SHARD);
    assert_eq!(of_parent.count(), 2, "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn g3_a_lane_that_stopped_in_the_parent_stands_in_the_child() {
    let world = World::new();
    world.says("a1", &[Say::Reject]);
    let parent = kinesis(&[(1, "a", "a1"), (2, "b", "b1")]);
    assert_eq!(world.invoke(&parent).await, [sequence(1)]);
    // Its mapping gives it up, and goes on in the child.
    let child = kinesis_of(CHILD, &[(11, "a", "a2"), (12, "b", "b2")]);
    assert_eq!(world.invoke(&child).await, [sequence(11)]);
    assert_eq!(of_a(world.calls()), ["a1"]);
    // Tried again from its copy, which still is the parent's.
    world.decide(Verb::Retry).await;
    world.ids();
    assert_eq!(world.invoke(&child).await, Vec::<Value>::new());
    let ids = |shard, n| format!("orders/{shard}/{}/0", sequence(n));
    assert_eq!(world.ids(), [ids(SHARD, 1), ids(CHILD, 11)]);
}

/// A producer with hash keys of its own sends one key to two shards at once: none of its records is taken
/// for one that a chain has had.
#[tokio::test(start_paused = true)]
async fn g4_a_key_in_two_shards_at_once_loses_nothing() {
    let world = World::new().then(Then::Park);
    world.says("a5", &[Say::Reject]);
    world.invoke(&kinesis(&[(5, "a", "a5")])).await;
    // Behind the chain in time, and not in number: it cannot join, and waits.
    let other = kinesis_of(CHILD, &[(3, "a", "a3"), (4, "b", "b1"), (7, "a", "a7")]);
    assert_eq!(world.invoke(&other).await, [sequence(3)]);
    assert_eq!(of_a(world.calls()), ["a5"]);
    world.decide(Verb::Release).await;
    // Who has it may run the chain, and cannot go on behind it.
    assert_eq!(world.invoke(&other).await, [sequence(3)]);
    assert_eq!(of_a(world.calls()), ["a5"]);
    assert_eq!(world.invoke(&other).await, Vec::<Value>::new());
    assert_eq!(of_a(world.calls()), ["a3", "a7"]);
}

/// The same where the chain has been released: what fails then has no place in it, and stops its lane.
#[tokio::test(start_paused = true)]
async fn g4_what_has_no_place_in_a_chain_stops_its_lane() {
    let world = World::new().then(Then::Park);
    world.says("a5", &[Say::Reject]);
    world.invoke(&kinesis(&[(5, "a", "a5")])).await;
    world.decide(Verb::Release).await;
    world.invoke(&kinesis(&[(6, "b", "b1")])).await;
    world.says("a3", &[Say::Reject]);
    let other = kinesis_of(CHILD, &[(3, "a", "a3"), (4, "a", "a4"), (7, "b", "b2")]);
    assert_eq!(world.invoke(&other).await, [sequence(3)]);
    let stopped = world.lane("a").await.expect("an operator sees it");
    let (state, head) = (stopped.state, stopped.head);
    assert_eq!((state, head), (LaneState::Stopped, position(3)));
    world.calls();
    world.decide(Verb::Retry).await;
    assert_eq!(world.invoke(&other).await, Vec::<Value>::new());
    assert_eq!(world.calls(), ["a3", "a4"]);
}

/// The head of a stopped lane comes in no batch any more: until it is done, its copy stays where it is.
#[tokio::test(start_paused = true)]
async fn g7_a_copy_that_is_tried_again_is_not_lost_with_who_tries_it() {
    let mut world = World::new();
    world.settings.failure.backoff_max = Duration::from_secs(3_600);
    world.says("a1", &[Say::Reject, Say::Hang, Say::Later, Say::Reject]);
    world.invoke(&kinesis(&[(1, "a", "a1")])).await;
    let child = kinesis_of(CHILD, &[(11, "a", "a2"), (12, "b", "b1")]);
    world.decide(Verb::Retry).await;
    // Killed while it is tried; then it fails, and the wait does not fit; then it fails for good.
    let function = world.function();
    let killed = world.try_invoke(&function, &child, 60);
    let killed = tokio::time::timeout(Duration::from_secs(1), killed).await;
    assert!(killed.is_err());
    tokio::time::advance(Duration::from_secs(600)).await;
    for _ in 0..2 {
        assert_eq!(world.invoke(&child).await, [sequence(11)]);
        let stands = world.lane("a").await.expect("stands");
        assert_eq!(
            (stands.state, stands.head),
            (LaneState::Stopped, position(1))
        );
        assert!(stands.record.is_some());
        tokio::time::advance(Duration::from_secs(3_600)).await;
    }
    let decision = world.lane("a").await.and_then(|lane| lane.decision);
    assert_eq!(decision, None, "it failed for good once more");
    assert_eq!(of_a(world.calls()), ["a1"; 4]);
    world.decide(Verb::Retry).await;
    assert_eq!(world.invoke(&child).await, Vec::<Value>::new());
    assert_eq!(of_a(world.calls()), ["a1", "a2"]);
    assert_eq!(world.lane("a").await, None, "live again");
    // Its own shard, late: it is known there.
    assert_eq!(
        world.invoke(&kinesis(&[(1, "a", "a1")])).await,
        Vec::<Value>::new()
    );
    assert_eq!(of_a(world.calls()), Vec::<String>::new());
}

/// Each invocation has the time for one try of a head from its copy: together they use it up.
#[tokio::test(start_paused = true)]
async fn g3_tries_of_a_copy_add_up_over_invocations() {
    let mut world = World::new();
    world.settings.failure.backoff_max = Duration::from_secs(3_600);
    world.says("a1", &[Say::Reject, Say::Later, Say::Later, Say::Later]);
    world.invoke(&kinesis(&[(1, "a", "a1")])).await;
    let child = kinesis_of(CHILD, &[(11, "a", "a2"), (12, "b", "b1")]);
    world.decide(Verb::Retry).await;
    world.calls();
    for _ in 0..3 {
        assert_eq!(world.invoke(&child).await, [sequence(11)]);
        assert_eq!(of_a(world.calls()), ["a1"]);
        // Not before its time, whoever comes.
        assert_eq!(world.invoke(&child).await, [sequence(11)]);
        assert_eq!(of_a(world.calls()), Vec::<String>::new());
        tokio::time::advance(Duration::from_secs(3_600)).await;
    }
    let stands = world.lane("a").await.expect("stands");
    let (state, attempts) = (stands.state, stands.attempts);
    assert_eq!((state, attempts), (LaneState::Stopped, 3));
    assert_eq!(stands.decision, None, "it is for an operator again");
    world.decide(Verb::Retry).await;
    assert_eq!(world.invoke(&child).await, Vec::<Value>::new());
    assert_eq!(of_a(world.calls()), ["a1", "a2"]);
}

/// Another version has written the copy: nobody takes its record for one that is gone.
#[tokio::test(start_paused = true)]
async fn g7_a_copy_that_cannot_be_read_stands_until_it_is_skipped() {
    let world = World::new();
    world.says("a1", &[Say::Reject]);
    world.invoke(&kinesis(&[(1, "a", "a1")])).await;
    let item = world.lane("a").await.expect("stands");
    let mut copy = item.record.clone().expect("a copy");
    copy[0] = 99;
    let place = position(99);
    let change = LaneChange {
        lane: item.lane.clone(),
        expected: Some((item.rev, item.tail.clone())),
        item: Some(LaneItem {
            record: Some(copy),
            ..item
        }),
        append: Vec::new(),
        passed: None,
    };
    let fence = Fence {
        worker: WorkerId(Uuid::from_u128(1)),
        epoch: 1,
    };
    let commit = Commit {
        partition: world.partition(),
        fence,
        number: 1,
        content: [1; 16],
        checkpoint: Checkpoint::default(),
        lanes: vec![change],
        effects: Vec::new(),
        keep: false,
        settled_in: false,
        mark: Some(Mark::begun("newer", (place.clone(), place), 0)),
        failed: Vec::new(),
        lanes_at: Some(world.lanes_at()),
    };
    assert!(world.store.commit(&[commit]).await[0].is_ok());
    world.calls();
    world.decide(Verb::Retry).await;
    let child = kinesis_of(CHILD, &[(11, "a", "a2"), (12, "b", "b1")]);
    for _ in 0..2 {
        assert_eq!(world.invoke(&child).await, [sequence(11)]);
        let stands = world.lane("a").await.expect("stands");
        assert_eq!(
            (stands.state, stands.head),
            (LaneState::Stopped, position(1))
        );
    }
    world.decide(Verb::Skip).await;
    assert_eq!(world.invoke(&child).await, Vec::<Value>::new());
    assert_eq!(of_a(world.calls()), ["a2"]);
}

/// A head that ends whoever runs it: an operator can say so.
#[tokio::test(start_paused = true)]
async fn what_a_dead_invocation_has_taken_is_decided_anew() {
    let world = World::new();
    world.says("a1", &[Say::Reject, Say::Hang]);
    world.invoke(&kinesis(&[(1, "a", "a1")])).await;
    let child = kinesis_of(CHILD, &[(11, "a", "a2")]);
    world.decide(Verb::Retry).await;
    let function = world.function();
    let killed = world.try_invoke(&function, &child, 60);
    let killed = tokio::time::timeout(Duration::from_secs(1), killed).await;
    assert!(killed.is_err());
    tokio::time::advance(Duration::from_secs(600)).await;
    world.decide(Verb::Skip).await;
    assert_eq!(world.invoke(&child).await, Vec::<Value>::new());
    assert_eq!(world.calls(), ["a1", "a1", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_skipped_elsewhere_does_not_run_in_its_own_shard() {
    let world = World::new();
    world.says("a1", &[Say::Reject]);
    let parent = kinesis(&[(1, "a", "a1")]);
    world.invoke(&parent).await;
    world.decide(Verb::Skip).await;
    world.calls();
    let child = kinesis_of(CHILD, &[(11, "a", "a2")]);
    assert_eq!(world.invoke(&child).await, Vec::<Value>::new());
    assert_eq!(world.invoke(&parent).await, Vec::<Value>::new());
    assert_eq!(world.calls(), ["a2"]);
}

/// A lane of another shard that is of no concern to a batch is not looked at.
#[tokio::test(start_paused = true)]
async fn g4_where_a_failure_stops_a_partition_it_stops_no_other_shard() {
    let mut world = World::new();
    world.settings.failure.stops = Stops::Partition;
    world.says("a1", &[Say::Reject]);
    let one = kinesis(&[(1, "a", "a1"), (2, "b", "b1")]);
    assert_eq!(world.invoke(&one).await, [sequence(1)]);
    let other = kinesis_of(CHILD, &[(11, "c", "c1")]);
    assert_eq!(world.invoke(&other).await, Vec::<Value>::new());
    assert!(world.calls().contains(&"c1".to_owned()));
    // Its own stands, also where its mapping has given the head up.
    let later = kinesis(&[(3, "d", "d1")]);
    assert_eq!(world.invoke(&later).await, [sequence(3)]);
    assert_eq!(world.calls(), Vec::<String>::new());
}
