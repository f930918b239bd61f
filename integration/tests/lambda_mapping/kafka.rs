//! The mapping of topics of Kafka (A1, A2, A6 to A8).

use crate::stubs::{answering, throwing};
use lanekeeper_integration::lambda::{
    Function, Mapping, OnFailure, Outcome, TopicRecord, Topics, Verdict, Why,
};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, UNIX_EPOCH},
};

/// Two partitions of a topic, with these values.
fn topics() -> Topics {
    let topics = Topics::msk();
    for offset in 5..=9 {
        let value = format!("p0/{offset}");
        let record = TopicRecord::new(offset, topics.clock().now(), "key", &value);
        topics.put_record("topic", 0, record);
    }
    topics.put("topic", 1, "key", "p1/0");
    topics.put("topic", 1, "key", "p1/1");
    topics
}

/// A function that names these once.
fn naming_once(named: Value) -> Function {
    let is_named = AtomicBool::new(false);
    Function::stub(move |_| {
        if is_named.swap(true, Ordering::Relaxed) {
            return Outcome::text("null");
        }
        Outcome::json(&json!({"batchItemFailures": named}))
    })
}

fn identifier(partition: &str, offset: u64) -> Value {
    json!({"itemIdentifier": {"partition": partition, "offset": offset}})
}

#[test]
fn the_event_is_as_documented() {
    let topics = Topics::msk();
    let time = UNIX_EPOCH + Duration::from_millis(1_545_084_650_987);
    let mut record = TopicRecord::new(15, time, "key", "value");
    record
        .headers
        .push(("header".to_owned(), vec![104, 101, 255]));
    topics.put_record("my-topic", 0, record);
    let mut tombstone = TopicRecord::new(17, time, "", "");
    (tombstone.key, tombstone.value) = (None, None);
    topics.put_record("my-topic", 0, tombstone);
    let journal = Mapping::kafka(&answering("null"), &topics).run().unwrap();
    let mut event: Value = serde_json::from_str(&journal.deliveries[0].event).unwrap();
    assert!(
        event["bootstrapServers"]
            .take()
            .as_str()
            .unwrap()
            .contains(":9092,")
    );
    let arn = event["eventSourceArn"].take();
    assert!(arn.as_str().unwrap().starts_with("arn:aws:kafka:"));
    let record = |offset: u64, key: Value, value: Value, headers: Value| {
        json!({
            "topic": "my-topic", "partition": 0, "offset": offset,
            "timestamp": 1_545_084_650_987_u64, "timestampType": "CREATE_TIME",
            "key": key, "value": value, "headers": headers,
        })
    };
    let expected = json!({
        "eventSource": "aws:kafka",
        "eventSourceArn": null,
        "bootstrapServers": null,
        "records": {"my-topic-0": [
            record(15, "a2V5".into(), "dmFsdWU=".into(), json!([{"header": [104, 101, -1]}])),
            record(17, Value::Null, Value::Null, json!([])),
        ]},
    });
    assert_eq!(event, expected);

    let own = Topics::self_managed();
    own.put("topic", 0, "key", "value");
    let journal = Mapping::kafka(&answering("null"), &own).run().unwrap();
    let event: Value = serde_json::from_str(&journal.deliveries[0].event).unwrap();
    assert_eq!(event["eventSource"], "SelfManagedKafka");
    assert!(event["eventSourceArn"].is_null());
}

#[test]
fn a1_a_mapping_waits_half_a_second_for_a_full_batch() {
    let topics = topics();
    let before = topics.clock().now();
    let journal = Mapping::kafka(&answering("null"), &topics).run().unwrap();
    let began = journal.deliveries[0].began;
    assert!(began >= before + Duration::from_millis(500));
    assert!(
        began < before + Duration::from_secs(60),
        "it was not full, and not kept"
    );
}

#[test]
fn a2_a_batch_holds_several_partitions_and_an_error_brings_all_of_them_again() {
    let topics = topics();
    let journal = Mapping::kafka(&throwing(), &topics)
        .retries(1)
        .run()
        .unwrap();
    assert_eq!(journal.deliveries.len(), 2);
    let [first, second] = [0, 1].map(|number| journal.batches()[number].clone());
    assert_eq!(first, second);
    assert!(first.contains(&"p0/9") && first.contains(&"p1/1"));
    assert_eq!(journal.lost(Why::RetryAttemptsExhausted).len(), 7);
}

/// Golden scenario 9, as the mapping sees it.
#[test]
fn a7_just_those_that_are_named_come_again() {
    let function = naming_once(json!([
        identifier("topic-0", 7),
        identifier("topic-0", 8),
        identifier("topic-0", 9),
    ]));
    let mapping = Mapping::kafka(&function, &topics()).reports_failures();
    let journal = mapping.run().unwrap();
    assert_eq!(journal.batches()[1..], [["p0/7", "p0/8", "p0/9"]]);
    let again = ["topic-0/7", "topic-0/8", "topic-0/9"].map(str::to_owned);
    assert_eq!(*journal.verdicts()[0], Verdict::Partial(again.to_vec()));
}

#[test]
fn a7_what_a_function_forgets_to_name_behind_a_failure_is_done() {
    let function = naming_once(json!([identifier("topic-0", 7)]));
    let mapping = Mapping::kafka(&function, &topics()).reports_failures();
    assert_eq!(mapping.run().unwrap().batches()[1..], [["p0/7"]]);
}

#[test]
fn a7_what_is_not_in_the_batch_fails_all_of_it() {
    for named in [
        identifier("topic-0", 4),
        identifier("topic-2", 5),
        json!({"itemIdentifier": "topic-0/5"}),
        json!({"itemIdentifier": {"partition": "topic-0"}}),
    ] {
        let function = naming_once(json!([identifier("topic-0", 7), named]));
        let mapping = Mapping::kafka(&function, &topics()).reports_failures();
        let journal = mapping.run().unwrap();
        assert_eq!(
            journal.verdicts(),
            [&Verdict::Failure, &Verdict::Success],
            "{named}"
        );
        assert_eq!(journal.batches()[1].len(), 7);
    }
}

#[test]
fn a6_with_a_destination_retries_without_end_are_ten() {
    let mapping = Mapping::kafka(&throwing(), &topics()).on_failure(OnFailure::Queue);
    let journal = mapping.run().unwrap();
    assert_eq!(journal.deliveries.len(), 11);
    let [record] = &journal.destinations[..] else {
        unreachable!("{:?}", journal.destinations);
    };
    assert_eq!(
        record["requestContext"]["condition"],
        "RetryAttemptsExhausted"
    );
    let places = &record["KafkaBatchInfo"]["recordsInfo"];
    let (first, last) = (
        &places["topic-0"]["firstRecordOffset"],
        &places["topic-0"]["lastRecordOffset"],
    );
    assert_eq!((first, last), (&json!(5), &json!(9)), "A8");
    assert_eq!(places["topic-1"]["lastRecordOffset"], 1);
}

#[test]
fn a6_without_one_a_batch_fails_for_ever() {
    let mapping = Mapping::kafka(&throwing(), &topics()).deliveries_max(40);
    let journal = mapping.run().unwrap();
    assert_eq!(journal.deliveries.len(), 40);
    assert!(journal.losses.is_empty());
}
