//! The stream of a table of DynamoDB: the golden scenarios of streams, and what its events do not say.

use crate::{
    target::Say,
    world::{World, named, table},
};
use lanekeeper_integration::lambda::{Mapping, OnFailure, Put, Stream, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn s1_k24_five_deliveries_and_no_more_calls_than_attempts() {
    let stream = table(1, &[("k", "a"), ("k", "b"), ("k", "c")]);
    let world = World::table(&stream, &[]);
    world.target.always("c", Say::Status(500));
    let journal = Mapping::dynamodb(&world.function(), &stream)
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
    assert_eq!(destination["requestContext"]["approximateInvokeCount"], 4);
    assert_eq!(destination["DDBStreamBatchInfo"]["batchSize"], 1);
    assert_eq!(destination["responseContext"]["functionError"], Value::Null);
    // Three attempts, although the mapping has brought it five times.
    assert_eq!(world.target.texts(), ["a", "b", "c", "c", "c"]);
    let [lane] = &world.lanes()[..] else {
        unreachable!("one lane stands");
    };
    let expected = (&json!("stopped"), &json!(3), &json!(r#"{"id":{"S":"k"}}"#));
    assert_eq!((&lane["state"], &lane["attempts"], &lane["key"]), expected);
}

#[test]
fn s2_k23_what_is_done_is_answered_by_an_empty_list_also_where_its_answer_was_lost() {
    let stream = table(1, &[("k", "a"), ("j", "b")]);
    let world = World::table(&stream, &[]);
    let function = world.function();
    function.lose_next(2);
    let mapping = Mapping::dynamodb(&function, &stream).reports_failures();
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
fn s3_the_lowest_unfinished_is_named_and_the_other_item_does_not_run_again() {
    let stream = table(
        1,
        &[
            ("A", "A1"),
            ("B", "B1"),
            ("A", "A2"),
            ("B", "B2"),
            ("A", "A3"),
            ("B", "B3"),
        ],
    );
    let world = World::table(&stream, &[]);
    world.target.always("A2", Say::Status(400));
    let mapping = Mapping::dynamodb(&world.function(), &stream).reports_failures();
    let journal = mapping.deliveries_max(4).run().unwrap();
    assert_eq!(journal.deliveries[1].texts(), ["A2", "B2", "A3", "B3"]);
    for delivery in &journal.deliveries {
        assert_eq!(named(delivery), ["A2"]);
    }
    assert_eq!(world.target.texts_of("A"), ["A1", "A2"]);
    assert_eq!(world.target.texts_of("B"), ["B1", "B2", "B3"]);
    // Decided on by the item's key, as it is written everywhere.
    world.target.always("A2", Say::Done);
    let key = r#"{"id":{"S":"A"}}"#;
    world.lanekeeper(&["lanes", "retry", "--key", key, "--why", "mended"]);
    let mapping = Mapping::dynamodb(&world.function(), &stream).reports_failures();
    mapping.run().unwrap();
    assert_eq!(world.target.texts_of("A"), ["A1", "A2", "A2", "A3"]);
    assert_eq!(world.target.texts_of("B"), ["B1", "B2", "B3"]);
}

/// A number is told to be a record's own within its shard alone: what one shard has done says nothing of
/// another's record of the same number.
#[test]
fn records_of_one_number_in_two_shards_both_run() {
    let stream = Stream::of_table("items", 2);
    for shard in [0, 1] {
        for n in 0..5 {
            let text = format!("{shard}-{n}");
            let put = Put::new(&text, text.as_str()).into_shard(shard);
            stream.put_record(put).unwrap();
        }
    }
    let world = World::table(&stream, &[]);
    world.target.otherwise(Say::Effect);
    let function = world.function();
    // Both shards come again, once the other one's marks are there too.
    function.lose_next(2);
    let mapping = Mapping::dynamodb(&function, &stream).reports_failures();
    let journal = mapping.run().unwrap();
    let ids = journal.deliveries.iter().flat_map(|d| &d.items);
    let ids: BTreeSet<&str> = ids.map(|item| item.id.as_str()).collect();
    assert_eq!(ids.len(), 5, "five numbers of ten records");
    assert_eq!(world.target.calls().len(), 10);
    let texts = world.target.texts();
    world.assert_applied_once(texts.iter().map(String::as_str));
}

/// A parked item stays parked when its shard ends, and what comes in the child joins its chain.
#[test]
fn k34_an_item_that_is_parked_stays_so_in_the_child_of_its_shard() {
    let stream = table(1, &[("k", "1"), ("k", "2")]);
    let world = World::table(&stream, &[("failure.then", "\"park\"")]);
    world.target.always("1", Say::Status(400));
    stream.split(0).unwrap();
    for text in ["3", "4"] {
        stream.put("k", text).unwrap();
    }
    let function = world.function();
    let mapping = Mapping::dynamodb(&function, &stream).reports_failures();
    mapping.run().unwrap();
    assert_eq!(world.target.texts(), ["1"]);
    let [lane] = &world.lanes()[..] else {
        unreachable!("one lane stands");
    };
    assert_eq!(
        (&lane["state"], &lane["count"]),
        (&json!("parked"), &json!(4))
    );
    world.target.always("1", Say::Done);
    let release = json!({"lanekeeper": {"release": {"why": "mended"}}});
    function.invoke(&release.to_string()).unwrap();
    assert_eq!(world.target.texts(), ["1", "1", "2", "3", "4"]);
    assert_eq!(world.lanes(), Vec::<Value>::new());
}
