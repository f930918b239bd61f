//! The golden scenarios of streams, by number.

use crate::{
    target::Say,
    world::{World, named, stream},
};
use lanekeeper_integration::lambda::{Mapping, OnFailure, Put, Stream, Topics, Verdict};
use serde_json::{Value, json};

#[test]
fn s1_k24_five_deliveries_and_no_more_calls_than_attempts() {
    let stream = stream(&[("k", "a"), ("k", "b"), ("k", "c")]);
    let world = World::kinesis(&stream, &[]);
    world.target.always("c", Say::Status(500));
    let journal = Mapping::kinesis(&world.function(), &stream)
        .batch_size(3)
        .retries(3)
        .reports_failures()
        .on_failure(OnFailure::Queue)
        .run()
        .unwrap();
    assert_eq!(journal.deliveries_of("c").len(), 5);
    for delivery in &journal.deliveries {
        assert_eq!(named(delivery), ["c"]);
    }
    let [destination] = &journal.destinations[..] else {
        unreachable!("{:#?}", journal.destinations);
    };
    let context = &destination["requestContext"];
    assert_eq!(context["condition"], "RetryAttemptsExhausted");
    assert_eq!(context["approximateInvokeCount"], 4);
    assert_eq!(destination["KinesisBatchInfo"]["batchSize"], 1);
    assert_eq!(destination["responseContext"]["functionError"], Value::Null);
    // Three attempts, although the mapping has brought it five times.
    assert_eq!(world.target.texts(), ["a", "b", "c", "c", "c"]);
    let attempts = world.target.calls().into_iter().map(|call| call.attempt);
    assert_eq!(attempts.collect::<Vec<_>>(), [1, 1, 1, 2, 3]);
    let [lane] = &world.lanes()[..] else {
        unreachable!("one lane stands");
    };
    assert_eq!(
        (&lane["state"], &lane["attempts"]),
        (&json!("stopped"), &json!(3))
    );
}

#[test]
fn s2_k23_what_is_done_is_answered_by_an_empty_list_also_where_its_answer_was_lost() {
    let stream = stream(&[("k", "a"), ("j", "b")]);
    let world = World::kinesis(&stream, &[]);
    let function = world.function();
    function.lose_next(2);
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    let journal = mapping.run().unwrap();
    assert_eq!(journal.batches(), [["a", "b"]; 3]);
    let (failure, success) = (&Verdict::Failure, &Verdict::Success);
    assert_eq!(journal.verdicts(), [failure, failure, success]);
    assert_eq!(
        journal.deliveries[2].answer(),
        json!({"batchItemFailures": []})
    );
    assert_eq!(world.target.calls().len(), 2, "{:?}", world.target.texts());
}

#[test]
fn s3_the_lowest_unfinished_is_named_and_the_other_key_does_not_run_again() {
    let records = [
        ("A", "A1"),
        ("B", "B1"),
        ("A", "A2"),
        ("B", "B2"),
        ("A", "A3"),
        ("B", "B3"),
    ];
    let stream = stream(&records);
    let world = World::kinesis(&stream, &[]);
    world.target.always("A2", Say::Status(400));
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    let journal = mapping.deliveries_max(4).run().unwrap();
    assert_eq!(journal.deliveries[1].texts(), ["A2", "B2", "A3", "B3"]);
    for delivery in &journal.deliveries {
        assert_eq!(named(delivery), ["A2"]);
    }
    assert_eq!(world.target.texts_of("A"), ["A1", "A2"]);
    assert_eq!(world.target.texts_of("B"), ["B1", "B2", "B3"]);
}

#[test]
fn s4_k22_the_lowest_number_is_the_lowest_of_numbers_not_of_texts() {
    let stream = Stream::new("orders", 1);
    let (nine, ten) = (
        "9".to_owned() + &"0".repeat(50),
        "1".to_owned() + &"0".repeat(51),
    );
    for (text, number) in [("nine", nine), ("ten", ten)] {
        stream
            .put_record(Put::new(text, text).numbered(&number))
            .unwrap();
    }
    let world = World::kinesis(&stream, &[]);
    world.target.otherwise(Say::Status(400));
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    let journal = mapping.deliveries_max(2).run().unwrap();
    assert_eq!(named(&journal.deliveries[0]), ["nine"]);
    assert_eq!(journal.deliveries[1].texts(), ["nine", "ten"]);
}

#[test]
fn s9_a_partition_of_kafka_is_reported_from_its_failure_on_and_the_other_is_not() {
    let topics = Topics::msk();
    let other = topics.clone();
    let put = |partition, range: std::ops::RangeInclusive<u64>| {
        for offset in range {
            let record = lanekeeper_integration::lambda::TopicRecord::new(
                offset,
                other.clock().now(),
                "k",
                &format!("{partition}-{offset}"),
            );
            other.put_record("mytopic", partition, record);
        }
    };
    put(0, 5..=9);
    put(1, 1..=3);
    let source = [
        ("type", "kafka"),
        ("bootstrap_servers", "127.0.0.1:9092"),
        ("group_id", "orders"),
    ];
    let settings = [
        ("sources.orders.topics", "[\"mytopic\"]"),
        ("order.by", "\"partition\""),
    ];
    let world = World::new(&source, &settings);
    world.target.always("0-7", Say::Status(400));
    let mapping = Mapping::kafka(&world.function(), &topics).reports_failures();
    let journal = mapping.deliveries_max(2).run().unwrap();
    let failed = [7, 8, 9]
        .map(|offset| json!({"itemIdentifier": {"partition": "mytopic-0", "offset": offset}}));
    assert_eq!(
        journal.deliveries[0].answer(),
        json!({"batchItemFailures": failed})
    );
    assert_eq!(journal.deliveries[1].texts(), ["0-7", "0-8", "0-9"]);
    let mut texts = world.target.texts();
    texts.sort();
    assert_eq!(texts, ["0-5", "0-6", "0-7", "1-1", "1-2", "1-3"]);
}

#[test]
fn s10_k34_a_child_of_a_split_begins_when_its_parent_is_drained() {
    let stream = stream(&[("k", "1"), ("k", "2")]);
    let world = World::kinesis(&stream, &[]);
    world
        .target
        .says("1", &[Say::Status(500), Say::Status(500)]);
    let children = stream.split(0).unwrap();
    stream.put("k", "3").unwrap();
    for child in children {
        let text = format!("in {child}");
        stream
            .put_record(Put::new(&text, text.as_str()).into_shard(child))
            .unwrap();
    }
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    let journal = mapping.run().unwrap();
    assert_eq!(world.target.texts_of("k"), ["1", "1", "1", "2", "3"]);
    let first = &journal.deliveries[0];
    assert_eq!(first.source, "shardId-000000000000");
    let end = first.end.as_ref().unwrap().at;
    assert!(journal.deliveries[1..].iter().all(|d| d.began >= end));
    assert_eq!(world.target.calls().len(), 7);
}

#[test]
fn s10_k34_a_child_of_a_merge_begins_when_both_its_parents_are_drained() {
    let stream = stream(&[("k", "1"), ("k", "2")]);
    let world = World::kinesis(&stream, &[]);
    let [lower, upper] = stream.split(0).unwrap();
    for parent in [lower, upper] {
        let text = format!("in {parent}");
        let put = Put::new(&text, text.as_str()).into_shard(parent);
        stream.put_record(put).unwrap();
        // Both are held up for a while.
        world
            .target
            .says(&text, &[Say::Status(500), Say::Status(500)]);
    }
    stream.merge(lower, upper).unwrap();
    stream.put("k", "3").unwrap();
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    let journal = mapping.run().unwrap();
    let (child, parents) = journal.deliveries.split_last().unwrap();
    assert_eq!(child.texts(), ["3"]);
    for parent in parents {
        assert_ne!(parent.source, child.source);
        assert!(parent.end.as_ref().unwrap().at <= child.began);
    }
    assert_eq!(world.target.texts_of("k"), ["1", "2", "3"]);
    assert_eq!(world.target.calls().len(), 3 + 2 * 3);
}

/// What the other tests say of the artefact begins here for whoever deploys the command line in its place.
#[test]
fn the_command_line_serves_invocations_too() {
    let stream = stream(&[("k", "1"), ("j", "2"), ("k", "3")]);
    let world = World::kinesis(&stream, &[]);
    world.target.always("1", Say::Status(400));
    let mapping = Mapping::kinesis(&world.command_line(), &stream).reports_failures();
    let journal = mapping.deliveries_max(2).run().unwrap();
    for delivery in &journal.deliveries {
        assert_eq!(named(delivery), ["1"]);
    }
    let mut texts = world.target.texts();
    texts.sort_unstable();
    assert_eq!(texts, ["1", "2"]);
}
