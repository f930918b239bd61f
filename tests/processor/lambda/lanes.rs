//! Stop, park, release, as in the service, acted on at the next delivery.

use super::world::{Say, World, kinesis, named, position, sequence};
use lanekeeper::{
    record::OrderBy,
    store::{LaneState, Verb},
};
use partitions::Then;
use serde_json::Value;
use std::time::Duration;

/// The acceptance of every front end.
#[tokio::test(start_paused = true)]
async fn g3_acceptance_the_answer_names_five() {
    let mut world = World::new();
    world.settings.order.by = OrderBy::Partition;
    world.always("r5", Say::Reject);
    let values: Vec<String> = (1..=10).map(|n| format!("r{n}")).collect();
    let from = |first: usize| {
        let records: Vec<(u64, &str, &str)> = { (1..).zip(&values).skip(first - 1) }
            .map(|(n, value)| (n, "any", value.as_str()))
            .collect();
        kinesis(&records)
    };
    assert_eq!(world.invoke(&from(1)).await, [sequence(5)]);
    assert_eq!(world.calls(), values[..5]);
    world.always("r5", Say::Done);
    assert_eq!(
        world.invoke(&from(5)).await,
        [sequence(5)],
        "a delivery alone begins nothing"
    );
    assert_eq!(world.calls(), Vec::<String>::new());
    world.decide(Verb::Retry).await;
    assert_eq!(world.invoke(&from(5)).await, Vec::<Value>::new());
    assert_eq!(world.calls(), values[4..]);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_head_is_skipped_by_decision() {
    let world = World::new();
    world.always("a2", Say::Reject);
    let batch = kinesis(&[(1, "a", "a1"), (2, "a", "a2"), (3, "a", "a3")]);
    assert_eq!(world.invoke(&batch).await, [sequence(2)]);
    world.decide(Verb::Skip).await;
    world.calls();
    assert_eq!(world.invoke(&batch).await, Vec::<Value>::new());
    assert_eq!(world.calls(), ["a3"]);
    // And does not come back.
    assert_eq!(world.invoke(&batch).await, Vec::<Value>::new());
    assert_eq!(world.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn g1_a_parked_lane_takes_arrivals_and_is_released_in_order() {
    let world = World::new().then(Then::Park);
    world.always("a1", Say::Reject);
    let first = kinesis(&[(1, "a", "a1"), (2, "b", "b1"), (3, "a", "a2")]);
    assert_eq!(world.invoke(&first).await, Vec::<Value>::new());
    let mut calls = world.calls();
    calls.sort();
    assert_eq!(calls, ["a1", "b1"]);
    let parked = world.lane("a").await.expect("stands");
    assert_eq!((parked.state, parked.count), (LaneState::Parked, 2));
    // Delivered again, and with more.
    let second = kinesis(&[(3, "a", "a2"), (4, "a", "a3"), (5, "b", "b2")]);
    assert_eq!(world.invoke(&second).await, Vec::<Value>::new());
    assert_eq!(world.calls(), ["b2"]);
    let parked = world.lane("a").await.expect("stands");
    assert_eq!((parked.count, parked.tail), (3, Some(position(4))));
    // Released: the chain runs first, whatever has arrived with it.
    world.always("a1", Say::Done);
    world.decide(Verb::Release).await;
    let third = kinesis(&[(6, "a", "a4"), (7, "b", "b3")]);
    assert_eq!(world.invoke(&third).await, Vec::<Value>::new());
    let calls = world.calls();
    let of_a: Vec<&str> = { calls.iter().map(String::as_str) }
        .filter(|call| call.starts_with('a'))
        .collect();
    assert_eq!(of_a, ["a1", "a2", "a3", "a4"]);
    assert_eq!(world.lane("a").await, None, "live again");
    // What comes again of it is done.
    assert_eq!(world.invoke(&second).await, Vec::<Value>::new());
    assert_eq!(world.invoke(&third).await, Vec::<Value>::new());
    assert_eq!(world.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_fails_in_its_release_parks_again() {
    let world = World::new().then(Then::Park);
    world.always("a1", Say::Reject);
    world.always("a2", Say::Reject);
    let first = kinesis(&[(1, "a", "a1"), (2, "a", "a2"), (3, "a", "a3")]);
    world.invoke(&first).await;
    world.calls();
    world.always("a1", Say::Done);
    world.decide(Verb::Release).await;
    assert_eq!(
        world.invoke(&kinesis(&[(4, "b", "b1")])).await,
        Vec::<Value>::new()
    );
    assert_eq!(world.calls(), ["b1", "a1", "a2"]);
    let parked = world.lane("a").await.expect("stands");
    assert_eq!(
        (parked.state, parked.head, parked.count, parked.decision),
        (LaneState::Parked, position(2), 2, None)
    );
    world.always("a2", Say::Done);
    world.decide(Verb::Release).await;
    world.invoke(&kinesis(&[(5, "b", "b2")])).await;
    assert_eq!(world.calls(), ["b2", "a2", "a3"]);
}

/// Two instances have the same records of a lane that is parked: its chain has each once.
/// Each invocation has the time for one try of a released chain's head: together they use it up.
#[tokio::test(start_paused = true)]
async fn g3_tries_of_a_released_chain_add_up_over_invocations() {
    let mut world = World::new().then(Then::Park);
    world.settings.failure.backoff_max = Duration::from_secs(3_600);
    world.says("a1", &[Say::Reject, Say::Later, Say::Later, Say::Later]);
    world
        .invoke(&kinesis(&[(1, "a", "a1"), (2, "a", "a2")]))
        .await;
    world.decide(Verb::Release).await;
    world.calls();
    for n in [11, 21] {
        world.invoke(&kinesis(&[(n, "b", "b")])).await;
        assert_eq!(world.calls(), ["b", "a1"]);
        // Not before its time, whoever comes.
        world.invoke(&kinesis(&[(n + 1, "c", "c")])).await;
        assert_eq!(world.calls(), ["c"]);
        let decision = world.lane("a").await.and_then(|lane| lane.decision);
        assert!(decision.is_some_and(|decision| decision.lease.is_none()));
        tokio::time::advance(Duration::from_secs(3_600)).await;
    }
    world.invoke(&kinesis(&[(31, "b", "b")])).await;
    assert_eq!(world.calls(), ["b", "a1"]);
    let parked = world.lane("a").await.expect("stands");
    let (state, head, attempts) = (parked.state, parked.head, parked.attempts);
    assert_eq!((state, head, attempts), (LaneState::Parked, position(1), 3));
    assert_eq!(parked.decision, None, "it is for an operator again");
    assert_eq!(parked.first_error, "later");
    world.decide(Verb::Release).await;
    world.invoke(&kinesis(&[(32, "b", "b")])).await;
    assert_eq!(world.calls(), ["b", "a1", "a2"]);
}

/// The same where the mapping brings what the chain has, since a record before it is unfinished: what is
/// tried out of the chain is not taken for what is tried out of the batch.
#[tokio::test(start_paused = true)]
async fn g3_tries_of_a_chain_add_up_beside_a_batch_that_has_its_records() {
    let mut world = World::new().then(Then::Park);
    world.settings.failure.backoff_max = Duration::from_secs(3_600);
    world.settings.failure.attempts_max = 4;
    world.says("a1", &[Say::Reject, Say::Later, Say::Later, Say::Later]);
    world.always("b1", Say::Target);
    let batch = kinesis(&[(1, "b", "b1"), (5, "a", "a1"), (6, "a", "a2")]);
    world.invoke(&batch).await;
    world.decide(Verb::Release).await;
    let of_a = || { world.calls().into_iter() }.filter(|call| call.starts_with('a'));
    let _parked = of_a().count();
    for _ in 0..3 {
        world.invoke(&batch).await;
        assert_eq!(of_a().collect::<Vec<_>>(), ["a1"]);
        // Not before its time.
        world.invoke(&batch).await;
        assert_eq!(of_a().count(), 0);
        tokio::time::advance(Duration::from_secs(3_600)).await;
    }
    let note = world.lane("a").await.and_then(|lane| lane.decision);
    assert_eq!(
        note.and_then(|note| note.tried).map(|tried| tried.attempts),
        Some(3)
    );
    world.says("a1", &[Say::Later]);
    world.invoke(&batch).await;
    let parked = world.lane("a").await.expect("stands");
    assert_eq!((parked.attempts, parked.decision), (4, None));
}

#[tokio::test(start_paused = true)]
async fn g6_two_instances_append_each_record_once() {
    let world = World::new().then(Then::Park);
    world.always("a1", Say::Reject);
    world.invoke(&kinesis(&[(1, "a", "a1")])).await;
    let batch = kinesis(&[(2, "a", "a2"), (3, "a", "a3"), (4, "a", "a4")]);
    let (one, two) = (world.function(), world.function());
    let (one, two) = tokio::join!(
        world.try_invoke(&one, &batch, 60),
        world.try_invoke(&two, &batch, 60)
    );
    assert_eq!(named(&one.expect("starts")), Vec::<Value>::new());
    assert_eq!(named(&two.expect("starts")), Vec::<Value>::new());
    let parked = world.lane("a").await.expect("stands");
    assert_eq!((parked.count, parked.tail), (4, Some(position(4))));
    let contents = world.store.snapshot();
    let chain = contents.chains.values().next().expect("a chain");
    let positions: Vec<_> = chain.keys().cloned().collect();
    assert_eq!(positions, [1, 2, 3, 4].map(position));
}

/// Two instances see one released chain: one of them runs it.
#[tokio::test(start_paused = true)]
async fn g1_two_instances_run_a_released_chain_once() {
    let world = World::new().then(Then::Park);
    world.always("a1", Say::Reject);
    world
        .invoke(&kinesis(&[(1, "a", "a1"), (2, "a", "a2"), (3, "a", "a3")]))
        .await;
    world.calls();
    world.always("a1", Say::Done);
    world.decide(Verb::Release).await;
    let (one, two) = (world.function(), world.function());
    let batches = [kinesis(&[(4, "b", "b1")]), kinesis(&[(5, "a", "a4")])];
    let began = tokio::time::Instant::now();
    let (one, two) = tokio::join!(
        world.try_invoke(&one, &batches[0], 60),
        world.try_invoke(&two, &batches[1], 60)
    );
    assert_eq!(named(&one.expect("starts")), Vec::<Value>::new());
    assert_eq!(named(&two.expect("starts")), Vec::<Value>::new());
    // Who cannot act on what it has seen decided does not wait for it.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let ran = |calls: &[String]| -> Vec<String> {
        let of_a = calls.iter().filter(|call| call.starts_with('a'));
        of_a.cloned().collect()
    };
    let mut calls = ran(&world.calls());
    // What joined the chain while it ran may be left for whoever comes next.
    if calls.len() == 3 {
        world.invoke(&kinesis(&[(6, "b", "b2")])).await;
        calls.extend(ran(&world.calls()));
    }
    assert_eq!(calls, ["a1", "a2", "a3", "a4"]);
    assert_eq!(world.lane("a").await, None);
}

/// Behind a ParallelizationFactor above 1, batches of a shard interleave: a head that was decided on is
/// run by the invocation that has it, and by no other.
#[tokio::test(start_paused = true)]
async fn g1_a_decided_head_is_run_by_whoever_it_is_delivered_to() {
    let world = World::new();
    world.always("a3", Say::Reject);
    let of_a = kinesis(&[(3, "a", "a3"), (5, "a", "a5")]);
    assert_eq!(world.invoke(&of_a).await, [sequence(3)]);
    world.always("a3", Say::Done);
    world.decide(Verb::Retry).await;
    world.calls();
    for of_b in [
        kinesis(&[(1, "b", "b1"), (2, "b", "b2")]),
        kinesis(&[(4, "b", "b4"), (6, "b", "b6")]),
    ] {
        let began = tokio::time::Instant::now();
        assert_eq!(world.invoke(&of_b).await, Vec::<Value>::new());
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    assert_eq!(world.calls(), ["b1", "b2", "b4", "b6"]);
    assert_eq!(world.invoke(&of_a).await, Vec::<Value>::new());
    assert_eq!(world.calls(), ["a3", "a5"]);
}

/// Another invocation had the same batch, and has done what this one parked.
#[tokio::test(start_paused = true)]
async fn g6_what_is_applied_does_not_run_again_out_of_a_chain() {
    let world = World::new().then(Then::Park);
    world.says("a1", &[Say::Reject, Say::Effect]);
    let values = ["a1", "a2", "a3", "a4"];
    let records: Vec<(u64, &str, &str)> = { (1..).zip(values) }
        .map(|(n, value)| (n, "a", value))
        .collect();
    world.invoke(&kinesis(&records)).await;
    world.calls();
    let partition = world.partition();
    world.store.tamper(|contents| {
        for n in [2, 4] {
            contents.done.insert((partition.clone(), 0, position(n)));
        }
    });
    world.decide(Verb::Release).await;
    world.invoke(&kinesis(&[(5, "b", "b1")])).await;
    assert_eq!(world.calls(), ["b1", "a1", "a3"]);
    assert_eq!(world.lane("a").await, None, "live again");
    world.invoke(&kinesis(&[(6, "a", "a5")])).await;
    assert_eq!(world.calls(), ["a5"]);
}
