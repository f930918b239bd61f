//! Marks: what is done does not run again, and attempts add up over invocations.

use super::world::{Say, World, fifo, kinesis, named, position, sequence};
use lanekeeper::store::{LaneState, Verb};
use serde_json::Value;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn attempts_add_up_over_invocations_and_used_up_is_for_good() {
    let mut world = World::new();
    // One try fits into an invocation: the wait is longer than what is left of it.
    world.settings.failure.backoff_max = Duration::from_secs(3_600);
    world.always("a1", Say::Later);
    let batch = kinesis(&[(1, "a", "a1"), (2, "a", "a2")]);
    for attempt in 1..=3 {
        let began = tokio::time::Instant::now();
        assert_eq!(world.invoke(&batch).await, [sequence(1)]);
        // What waits for longer than the invocation has is not waited for.
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(world.calls(), ["a1"], "attempt {attempt}");
        let stopped = world.lane("a").await;
        assert_eq!(stopped.is_some(), attempt == 3, "attempt {attempt}");
        // Delivered again at once, it is not tried before its time, nor is that an attempt.
        assert_eq!(world.invoke(&batch).await, [sequence(1)]);
        assert_eq!(world.calls(), Vec::<String>::new());
        tokio::time::advance(Duration::from_secs(3_600)).await;
    }
    let stopped = world.lane("a").await.expect("stands");
    assert_eq!((stopped.state, stopped.attempts), (LaneState::Stopped, 3));
    // A restart alone begins nothing.
    assert_eq!(world.invoke(&batch).await, [sequence(1)]);
    assert_eq!(world.calls(), Vec::<String>::new());
    // Tried anew, its attempts are forgotten.
    world.decide(Verb::Retry).await;
    for _ in 1..=3 {
        assert_eq!(world.invoke(&batch).await, [sequence(1)]);
        assert_eq!(world.calls(), ["a1"]);
        tokio::time::advance(Duration::from_secs(3_600)).await;
    }
    world.always("a1", Say::Done);
    world.decide(Verb::Retry).await;
    assert_eq!(world.invoke(&batch).await, Vec::<Value>::new());
    assert_eq!(world.calls(), ["a1", "a2"]);
}

/// The attempts of a record are used up by tries of several invocations, of which none lived to say so.
#[tokio::test(start_paused = true)]
async fn g3_what_is_used_up_is_not_tried_again_lane_item_or_not() {
    let mut world = World::new();
    world.settings.failure.backoff_max = Duration::from_secs(3_600);
    world.always("a1", Say::Later);
    let batch = kinesis(&[(1, "a", "a1"), (2, "b", "b1")]);
    for _ in 0..2 {
        world.invoke(&batch).await;
        tokio::time::advance(Duration::from_secs(3_600)).await;
    }
    // A third one, which did not come to write the lane's item.
    world.store.tamper(|contents| {
        let mark = contents
            .marks
            .values_mut()
            .find(|found| !found.mark.tried.is_empty());
        mark.expect("one says so").mark.tried[0].attempts += 1;
    });
    world.calls();
    assert_eq!(world.invoke(&batch).await, [sequence(1)]);
    assert_eq!(world.calls(), Vec::<String>::new());
    let stopped = world.lane("a").await.expect("stands");
    assert_eq!(
        (stopped.state, stopped.head),
        (LaneState::Stopped, position(1))
    );
}

#[tokio::test(start_paused = true)]
async fn g8_after_a_kill_what_was_flushed_does_not_run_again() {
    let world = World::new();
    let values: Vec<String> = (1..=8).map(|n| format!("r{n}")).collect();
    for value in &values {
        world.always(value, Say::After(Duration::from_millis(900)));
    }
    let records: Vec<(u64, &str, &str)> = { (1..).zip(&values) }
        .map(|(n, value)| (n, "k", value.as_str()))
        .collect();
    let batch = kinesis(&records);
    let function = world.function();
    // Its process is killed in the middle of the sixth.
    let killed = tokio::time::timeout(
        Duration::from_millis(5_000),
        world.try_invoke(&function, &batch, 60),
    );
    assert!(killed.await.is_err());
    assert_eq!(world.calls().len(), 6);
    let answer = world.try_invoke(&function, &batch, 60).await;
    assert_eq!(named(&answer.expect("starts")), Vec::<Value>::new());
    let again = world.calls();
    // One in flight, and what passed in the last second.
    assert!(again.len() <= 5, "{again:?}");
    assert_eq!(again.last().map(String::as_str), Some("r8"));
}

/// A batch is cut in two, and its halves come apart; then it comes whole.
#[tokio::test(start_paused = true)]
async fn bisected_batches_know_of_each_other() {
    let world = World::new();
    let all: Vec<(u64, String)> = (1..=6).map(|n| (n, format!("r{n}"))).collect();
    let part = |range: std::ops::Range<usize>| {
        let records: Vec<(u64, &str, &str)> = { all[range].iter() }
            .map(|(n, value)| (*n, "k", value.as_str()))
            .collect();
        kinesis(&records)
    };
    assert_eq!(world.invoke(&part(0..3)).await, Vec::<Value>::new());
    world.calls();
    assert_eq!(world.invoke(&part(0..6)).await, Vec::<Value>::new());
    assert_eq!(world.calls(), ["r4", "r5", "r6"]);
    assert_eq!(world.invoke(&part(2..5)).await, Vec::<Value>::new());
    assert_eq!(world.calls(), Vec::<String>::new());
}

/// Record ids are the same at each delivery, and by them a target tells a repeat.
#[tokio::test(start_paused = true)]
async fn g8_a_record_has_one_id_whatever_delivers_it() {
    let mut world = World::new();
    world.settings.failure.backoff_max = Duration::from_secs(3_600);
    world.says("a1", &[Say::Later, Say::Done]);
    let batch = kinesis(&[(1, "a", "a1")]);
    world.invoke(&batch).await;
    tokio::time::advance(Duration::from_secs(3_600)).await;
    world.invoke(&batch).await;
    let id = format!("orders/shardId-000000000006/{}/0", sequence(1));
    assert_eq!(world.ids(), [id.clone(), id]);
}

/// Two instances have the same batch at once: both run its records, and their effects count once.
#[tokio::test(start_paused = true)]
async fn g8_two_instances_at_once_apply_effects_once() {
    let world = World::new();
    let batch = kinesis(&[(1, "a", "x"), (2, "b", "y"), (3, "a", "z")]);
    for value in ["x", "y", "z"] {
        world.always(value, Say::Effect);
    }
    let (one, two) = (world.function(), world.function());
    let (one, two) = tokio::join!(
        world.try_invoke(&one, &batch, 60),
        world.try_invoke(&two, &batch, 60)
    );
    assert_eq!(named(&one.expect("starts")), Vec::<Value>::new());
    assert_eq!(named(&two.expect("starts")), Vec::<Value>::new());
    let sums = world.sums().await;
    assert_eq!(sums.len(), 3);
    assert!(sums.values().all(|sum| *sum == 1), "{sums:?}");
}

/// A record that kills its process each time is found, and stops its lane like any other.
#[tokio::test(start_paused = true)]
async fn a_record_that_kills_its_process_is_found() {
    let world = World::new();
    world.always("killer", Say::Hang);
    let batch = kinesis(&[(1, "a", "killer"), (2, "b", "b1"), (3, "c", "c1")]);
    let mut deaths = 0;
    // Dead at the function's timeout, as the mapping sees it.
    while world.lane("a").await.is_none() {
        let mut function = world.function();
        function.settings.timeout = Duration::from_secs(50);
        let ended = tokio::time::timeout(
            Duration::from_secs(51),
            world.try_invoke(&function, &batch, 51),
        );
        if ended.await.is_err() {
            deaths += 1;
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(deaths < 12, "it goes on for ever");
    }
    let calls = world.calls();
    let ran = |value: &str| calls.iter().filter(|call| *call == value).count();
    assert!(ran("b1") <= 2 && ran("c1") <= 2, "{calls:?}");
}

/// An invocation that ended well with other records in between says nothing of what killed this one.
#[tokio::test(start_paused = true)]
async fn a_record_that_kills_is_found_though_its_neighbours_end_well() {
    let mut world = World::new();
    world.factor = 2;
    world.always("killer", Say::Hang);
    let batch = kinesis(&[(1, "a", "killer"), (2, "b", "b1"), (3, "c", "c1")]);
    let mut deaths = 0;
    while world.lane("a").await.is_none() {
        // Dead long before the try would have been over: nothing of it is known but what was announced.
        let function = world.function();
        let invoked = world.try_invoke(&function, &batch, 60);
        let ended = tokio::time::timeout(Duration::from_secs(3), invoked);
        deaths += u64::from(ended.await.is_err());
        tokio::time::advance(Duration::from_secs(60)).await;
        let neighbour = kinesis(&[(0, "z", "first"), (10 + deaths, "z", "next")]);
        assert_eq!(world.invoke(&neighbour).await, Vec::<Value>::new());
        assert!(deaths < 12, "it goes on for ever");
    }
    let calls = world.calls();
    let ran = |value: &str| calls.iter().filter(|call| *call == value).count();
    assert!(ran("b1") <= 2 && ran("c1") <= 2, "{calls:?}");
}

/// A target that does not answer: what becomes of the record is not known, and it counts all the same.
#[tokio::test(start_paused = true)]
async fn g10_a_record_that_gets_no_answer_is_used_up_like_any_other() {
    let mut world = World::new();
    world.settings.settle = Some(Duration::from_secs(5));
    world.always("a1", Say::Hang);
    let batch = kinesis(&[(1, "a", "a1"), (2, "a", "a2")]);
    // The time for one try of 5 s, for 5 s of what the target may still do, and little more.
    for attempt in 1..=3 {
        let answer = world.try_invoke(&world.function(), &batch, 11).await;
        assert_eq!(named(&answer.expect("starts")), [sequence(1)]);
        assert_eq!(world.calls(), ["a1"], "attempt {attempt}");
    }
    let stopped = world.lane("a").await.expect("stands");
    assert_eq!((stopped.state, stopped.attempts), (LaneState::Stopped, 3));
}

/// Begins an invocation that is killed after a second.
async fn killed(world: &World, batch: &Value) {
    killed_after(world, batch, 1).await;
}

async fn killed_after(world: &World, batch: &Value, seconds: u64) {
    let function = world.function();
    let invoked = world.try_invoke(&function, batch, 60);
    let ended = tokio::time::timeout(Duration::from_secs(seconds), invoked).await;
    assert!(ended.is_err(), "it was done before it was killed");
}

/// A remote does not end with who called it: the next call waits for as long as it may go on.
#[tokio::test(start_paused = true)]
async fn g2_after_a_kill_nothing_starts_that_its_target_may_still_run() {
    let mut world = World::new();
    world.settings.settle = Some(Duration::from_secs(2));
    world.says("a1", &[Say::Hang]);
    let batch = kinesis(&[(1, "a", "a1"), (2, "b", "b1")]);
    killed(&world, &batch).await;
    world.calls();
    // With no time for that, nothing starts.
    let answer = world.try_invoke(&world.function(), &batch, 9).await;
    assert_eq!(named(&answer.expect("starts")), [sequence(1)]);
    assert_eq!(world.calls(), Vec::<String>::new());
    let began = tokio::time::Instant::now();
    assert_eq!(world.invoke(&batch).await, Vec::<Value>::new());
    assert!(
        began.elapsed() >= Duration::from_secs(7),
        "timeout and settle"
    );
    assert_eq!(world.calls(), ["a1"]);
    // That one came to its end: nobody waits for it.
    let began = tokio::time::Instant::now();
    world
        .invoke(&kinesis(&[(2, "b", "b1"), (3, "a", "a2")]))
        .await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(world.calls(), ["a2"]);
}

/// Of invocations that have records in between, nobody waits for what another has.
#[tokio::test(start_paused = true)]
async fn g2_parts_of_a_shard_do_not_wait_for_each_other() {
    let mut world = World::new();
    world.settings.settle = Some(Duration::from_secs(2));
    world.factor = 2;
    world.says("a1", &[Say::Hang]);
    killed(&world, &kinesis(&[(1, "a", "a1"), (4, "a", "a2")])).await;
    let began = tokio::time::Instant::now();
    let other = kinesis(&[(2, "b", "b1"), (3, "c", "c1")]);
    assert_eq!(world.invoke(&other).await, Vec::<Value>::new());
    assert!(began.elapsed() < Duration::from_secs(1));
    world.calls();
    // Cut in two, with what is behind it: known by its key.
    world
        .invoke(&kinesis(&[(4, "a", "a2"), (5, "b", "b2")]))
        .await;
    assert!(began.elapsed() >= Duration::from_secs(7));
    assert_eq!(world.calls(), ["b2", "a2"]);
}

/// Who looks at a stopped lane sees what its head said first, in whichever invocation that was.
#[tokio::test(start_paused = true)]
async fn a_lanes_first_error_is_that_of_the_first_invocation() {
    let mut world = World::new();
    world.settings.failure.backoff_max = Duration::from_secs(3_600);
    world.says("a1", &[Say::Later, Say::Reject]);
    let batch = kinesis(&[(1, "a", "a1")]);
    assert_eq!(world.invoke(&batch).await, [sequence(1)]);
    let marks = world.store.snapshot().marks;
    let said: Vec<String> = { marks.values() }
        .flat_map(|found| found.mark.tried.iter().map(|tried| tried.error.clone()))
        .collect();
    assert_eq!(said, ["later"]);
    tokio::time::advance(Duration::from_secs(3_600)).await;
    assert_eq!(world.invoke(&batch).await, [sequence(1)]);
    let stopped = world.lane("a").await.expect("stands");
    let errors = (stopped.first_error.as_str(), stopped.last_error.as_str());
    assert_eq!(errors, ("later", "never"));
}

/// A queue's batches lie across each other: of one that is at work, another knows nothing.
#[tokio::test(start_paused = true)]
async fn g2_messages_wait_for_no_other_batch_of_their_queue() {
    let mut world = World::new();
    world.settings.settle = Some(Duration::from_secs(2));
    world.says("m1", &[Say::Hang]);
    world.always("m9", Say::Later);
    let one = fifo(&[("m1", "g", 1, 1), ("m9", "h", 9, 1)]);
    killed_after(&world, &one, 3).await;
    assert!(!world.store.snapshot().marks.is_empty(), "it has a mark");
    let began = tokio::time::Instant::now();
    let other = fifo(&[("m4", "i", 4, 2), ("m5", "j", 5, 1)]);
    assert_eq!(world.invoke(&other).await, Vec::<Value>::new());
    assert!(began.elapsed() < Duration::from_secs(1));
    // What it had itself comes again when its visibility ends, and waits for what may go on.
    let began = tokio::time::Instant::now();
    assert_eq!(
        world.invoke(&fifo(&[("m1", "g", 1, 2)])).await,
        Vec::<Value>::new()
    );
    assert!(began.elapsed() >= Duration::from_secs(7));
}
