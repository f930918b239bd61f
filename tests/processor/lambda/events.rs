//! Each kind of event: what is run, and what its mapping is told.

use super::world::{Say, World, failure, fifo, kafka, kinesis, kinesis_record, named, sequence};
use lanekeeper::{
    lambda::{EventError, InvocationError},
    record::{NoKey, OrderBy},
    store::memory::{Call, Fate, Weather},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

#[tokio::test(start_paused = true)]
async fn all_is_done_and_nothing_is_named() {
    let world = World::new();
    let batch = kinesis(&[(1, "a", "a1"), (2, "b", "b1"), (3, "a", "a2")]);
    assert_eq!(world.invoke(&batch).await, Vec::<Value>::new());
    assert_eq!(world.calls().len(), 3);
    // The answer was lost: all of it comes again, and nothing of it runs.
    assert_eq!(world.invoke(&batch).await, Vec::<Value>::new());
    assert_eq!(world.calls(), Vec::<String>::new());
}

/// Scenario 3.
#[tokio::test(start_paused = true)]
async fn s3_g4_the_lowest_unfinished_is_named_and_other_keys_do_not_run_again() {
    let world = World::new();
    world.always("A2", Say::Reject);
    let batch = kinesis(&[
        (1, "A", "A1"),
        (2, "B", "B1"),
        (3, "A", "A2"),
        (4, "B", "B2"),
        (5, "A", "A3"),
        (6, "B", "B3"),
    ]);
    assert_eq!(world.invoke(&batch).await, [sequence(3)]);
    let mut calls = world.calls();
    calls.sort();
    assert_eq!(calls, ["A1", "A2", "B1", "B2", "B3"]);
    let again = kinesis(&[
        (3, "A", "A2"),
        (4, "B", "B2"),
        (5, "A", "A3"),
        (6, "B", "B3"),
        (7, "B", "B4"),
    ]);
    assert_eq!(world.invoke(&again).await, [sequence(3)]);
    assert_eq!(world.calls(), ["B4"]);
}

/// Scenario 4.
#[tokio::test(start_paused = true)]
async fn s4_sequence_numbers_compare_as_numbers() {
    let world = World::new();
    for value in ["nine", "ten"] {
        world.always(value, Say::Reject);
    }
    let nine = format!("9{}", "0".repeat(50));
    let ten = format!("1{}", "0".repeat(51));
    let records = [("nine", &nine), ("ten", &ten)];
    let records = records.map(|(value, number)| kinesis_record(number, value, value.as_bytes()));
    let batch = json!({ "Records": records });
    assert_eq!(world.invoke(&batch).await, [nine]);
}

/// Scenario 6.
#[tokio::test(start_paused = true)]
async fn s6_of_a_failed_group_the_first_failure_and_all_behind_it_are_named() {
    let world = World::new();
    world.always("g1m1", Say::Reject);
    let batch = fifo(&[
        ("g1m1", "g1", 1, 1),
        ("g1m2", "g1", 2, 1),
        ("g2m1", "g2", 3, 1),
    ]);
    assert_eq!(world.invoke(&batch).await, ["g1m1", "g1m2"]);
    let mut calls = world.calls();
    calls.sort();
    assert_eq!(calls, ["g1m1", "g2m1"]);
}

/// Scenario 9.
#[tokio::test(start_paused = true)]
async fn s9_partitions_of_one_payload_are_answered_apart() {
    let mut world = World::new();
    world.settings.order.by = OrderBy::Partition;
    world.always("7", Say::Reject);
    let records = [(0, 5), (0, 6), (0, 7), (0, 8), (0, 9), (1, 1), (1, 2)];
    let values = records.map(|(_, offset)| offset.to_string());
    let records: Vec<(u32, u64, &str, &str)> = { records.iter().zip(&values) }
        .map(|((partition, offset), value)| (*partition, *offset, "k", value.as_str()))
        .collect();
    let failed = [7, 8, 9].map(|n| json!({ "partition": "mytopic-0", "offset": n }));
    assert_eq!(world.invoke(&kafka(&records)).await, failed);
    let mut calls = world.calls();
    calls.sort();
    assert_eq!(calls, ["1", "2", "5", "6", "7"]);
}

/// Scenario 12.
#[tokio::test(start_paused = true)]
async fn s12_nothing_starts_that_cannot_end_before_the_deadline() {
    let mut world = World::new();
    world.settings.timeout = Duration::from_secs(1);
    let values: Vec<String> = (1..=10).map(|n| format!("r{n}")).collect();
    for value in &values {
        world.always(value, Say::After(Duration::from_millis(999)));
    }
    let records: Vec<(u64, &str, &str)> = { (1..).zip(&values) }
        .map(|(n, value)| (n, "k", value.as_str()))
        .collect();
    let mut function = world.function();
    function.margin = Duration::from_secs(1);
    let batch = kinesis(&records);
    let answer = world.try_invoke(&function, &batch, 6).await;
    assert_eq!(named(&answer.expect("starts")), [sequence(6)]);
    assert_eq!(world.calls(), values[..5]);
    let answer = world.try_invoke(&function, &batch, 60).await;
    assert_eq!(named(&answer.expect("starts")), Vec::<Value>::new());
    assert_eq!(world.calls(), values[5..], "nothing runs twice");
}

#[tokio::test(start_paused = true)]
async fn without_the_time_for_one_try_nothing_starts_and_the_message_says_what_to_set() {
    let world = World::new();
    let batch = kinesis(&[(1, "a", "a1")]);
    let error = world.try_invoke(&world.function(), &batch, 5).await;
    let error = error.expect_err("too short");
    assert!(
        matches!(error, InvocationError::TooShort { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("`failure.timeout`"), "{error}");
    assert_eq!(world.calls(), Vec::<String>::new());
}

/// A stream that places records by itself (`RecordDistributionStrategy=AUTO`), as it may write them.
fn unplaced() -> [Value; 3] {
    let of = |key: Option<Value>| {
        let records = (1..=4).map(|n| {
            let mut record = kinesis_record(&sequence(n), "any", format!("r{n}").as_bytes());
            let fields = record["kinesis"].as_object_mut().expect("fields");
            match &key {
                Some(key) => fields.insert("partitionKey".to_owned(), key.clone()),
                None => fields.remove("partitionKey"),
            };
            record
        });
        json!({ "Records": records.collect::<Vec<_>>() })
    };
    [of(None), of(Some(Value::Null)), of(Some("".into()))]
}

#[tokio::test(start_paused = true)]
async fn k13_a_stream_without_partition_keys_is_refused_where_the_order_is_by_key() {
    for batch in unplaced() {
        for no_key in [NoKey::Partition, NoKey::Each, NoKey::Refuse] {
            let mut world = World::new();
            world.settings.order.no_key = no_key;
            let error = world.try_invoke(&world.function(), &batch, 60).await;
            let error = error.expect_err("no order of keys");
            assert!(
                matches!(error, InvocationError::Event(EventError::Unplaced { .. })),
                "{error:?}"
            );
            let told = error.to_string();
            assert!(told.contains("`order.by` be \"partition\""), "{told}");
            assert!(told.contains(&sequence(1)), "{told}");
            assert_eq!(world.calls(), Vec::<String>::new());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn k13_where_the_order_is_by_partition_it_is_that_of_the_shard() {
    for batch in unplaced() {
        let mut world = World::new();
        world.settings.order.by = OrderBy::Partition;
        world.always("r3", Say::Reject);
        assert_eq!(world.invoke(&batch).await, [sequence(3)]);
        assert_eq!(world.calls(), ["r1", "r2", "r3"]);
    }
}

#[tokio::test(start_paused = true)]
async fn g2_the_cap_is_divided_by_the_invocations_at_once() {
    let mut world = World::new();
    world.settings.cap = 5;
    let mut function = world.function();
    function.concurrency = 6;
    let batch = kinesis(&[(1, "a", "a1")]);
    let error = world.try_invoke(&function, &batch, 60).await;
    assert!(
        matches!(error, Err(InvocationError::NoCap { .. })),
        "{error:?}"
    );
    // Two at once: 5 / 2 are 2 each.
    function.concurrency = 2;
    let values: Vec<String> = (1..=6).map(|n| format!("r{n}")).collect();
    for value in &values {
        world.always(value, Say::After(Duration::from_secs(1)));
    }
    let records: Vec<(u64, &str, &str)> = { (1..).zip(&values) }
        .map(|(n, value)| (n, value.as_str(), value.as_str()))
        .collect();
    let began = tokio::time::Instant::now();
    let answer = world.try_invoke(&function, &kinesis(&records), 60).await;
    assert_eq!(named(&answer.expect("starts")), Vec::<Value>::new());
    let took = began.elapsed();
    let expected = Duration::from_secs(3)..Duration::from_millis(3_500);
    assert!(expected.contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn g7_a_mapping_that_looks_for_no_answer_sees_the_invocation_fail() {
    let mut world = World::new();
    world.reports_failures = false;
    world.always("a1", Say::Reject);
    let batch = kinesis(&[(1, "a", "a1"), (2, "b", "b1")]);
    let answer = world.try_invoke(&world.function(), &batch, 60).await;
    let why = failure(&answer.expect("starts"));
    assert!(why.contains("lambda.reports_failures"), "{why}");
    world.always("a1", Say::Done);
    world.calls();
    let answer = world.try_invoke(&world.function(), &batch, 60).await;
    failure(&answer.expect("starts"));
    assert_eq!(
        world.calls(),
        Vec::<String>::new(),
        "it is stopped, the other is done"
    );
}

#[tokio::test(start_paused = true)]
async fn where_the_target_fails_all_the_invocation_fails_so_that_the_mapping_backs_off() {
    let world = World::new();
    let values: Vec<String> = (0..30).map(|n| format!("r{n}")).collect();
    for value in &values {
        world.always(value, Say::Target);
    }
    let records: Vec<(u64, &str, &str)> = { (1..).zip(&values) }
        .map(|(n, value)| (n, value.as_str(), value.as_str()))
        .collect();
    let answer = world
        .try_invoke(&world.function(), &kinesis(&records), 20)
        .await;
    let why = failure(&answer.expect("starts"));
    assert!(why.contains("the target fails every try"), "{why}");
    // No attempt was used up.
    world.calls();
    for value in &values {
        world.always(value, Say::Done);
    }
    assert_eq!(world.invoke(&kinesis(&records)).await, Vec::<Value>::new());
    assert_eq!(world.calls().len(), 30);
}

#[tokio::test(start_paused = true)]
async fn g7_where_marks_cannot_be_written_nothing_starts() {
    let world = World::new();
    let away = world.store.clone().with_faults(|_: &Call<'_>| Weather {
        fate: Fate::Refused,
        ..Weather::default()
    });
    let function = world.function_over(Arc::new(away));
    let batch = kinesis(&[(1, "a", "a1")]);
    let answer = world.try_invoke(&function, &batch, 20).await;
    let why = failure(&answer.expect("starts"));
    assert!(why.contains("nothing of the batch has started"), "{why}");
    assert_eq!(world.calls(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_queue_whose_messages_are_all_done_costs_no_write() {
    let world = World::new();
    let batch = fifo(&[("m1", "g1", 1, 1), ("m2", "g2", 2, 1)]);
    assert_eq!(world.invoke(&batch).await, Vec::<Value>::new());
    let contents = world.store.snapshot();
    assert!(contents.marks.is_empty() && contents.registry.is_empty());
    // What failed is remembered until it is done.
    world.says("m1", &[Say::Later]);
    world.settings_of_one_attempt_a_time().await;
}

/// Scenario 8: a message whose delete may be refused, since it has taken too long.
#[tokio::test(start_paused = true)]
async fn s8_a_message_that_took_long_does_not_run_again() {
    let world = World::new();
    world.always("m1", Say::After(Duration::from_secs(4)));
    let first = fifo(&[("m1", "g", 1, 1)]);
    let answer = world.try_invoke(&world.function(), &first, 7).await;
    assert_eq!(named(&answer.expect("starts")), Vec::<Value>::new());
    assert_eq!(world.store.snapshot().marks.len(), 1);
    let again = fifo(&[("m1", "g", 1, 2), ("m2", "g", 2, 1)]);
    assert_eq!(world.invoke(&again).await, Vec::<Value>::new());
    assert_eq!(world.calls(), ["m1", "m2"]);
}

impl World {
    async fn settings_of_one_attempt_a_time(&self) {
        let batch = fifo(&[("m1", "g1", 3, 1), ("m2", "g2", 4, 1)]);
        let mut function = self.function();
        // The backoff does not fit.
        function.settings.failure.backoff_max = Duration::from_secs(3_600);
        self.calls();
        let answer = self.try_invoke(&function, &batch, 20).await;
        assert_eq!(named(&answer.expect("starts")), ["m1"]);
        assert_eq!(self.store.snapshot().marks.len(), 1);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        let batch = fifo(&[("m1", "g1", 3, 2)]);
        assert_eq!(self.invoke(&batch).await, Vec::<Value>::new());
        assert_eq!(self.calls(), ["m1", "m2", "m1"]);
    }
}
