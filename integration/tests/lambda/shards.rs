//! Streams that place records by themselves (K13), and what `status` says of shards.

use crate::{
    target::Say,
    world::{World, named, stream},
};
use lanekeeper_integration::lambda::{Mapping, Outcome, Put, Stream, Verdict};
use serde_json::json;

/// A stream with `RecordDistributionStrategy=AUTO`: its records have no partition key.
fn unplaced(texts: &[&str]) -> Stream {
    let stream = Stream::new("orders", 1);
    let puts = texts.iter().map(|text| Put::without_key(*text));
    for put in puts {
        stream.put_record(put).unwrap();
    }
    stream
}

#[test]
fn k13_a_stream_without_keys_is_refused_with_what_to_set_and_nothing_is_lost() {
    let stream = unplaced(&["1", "2"]);
    let world = World::kinesis(&stream, &[]);
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    let journal = mapping.deliveries_max(2).run().unwrap();
    assert_eq!(journal.verdicts(), [&Verdict::Failure; 2]);
    let end = journal.deliveries[0].end.as_ref().unwrap();
    let Outcome::Failed { kind, message } = &end.outcome else {
        unreachable!("{end:?}");
    };
    assert_eq!(kind, "lanekeeper.Event", "{message}");
    for part in [
        "RecordDistributionStrategy=AUTO",
        "`order.by` be \"partition\"",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(world.target.calls().is_empty());
}

#[test]
fn k13_where_the_order_is_by_partition_it_is_that_of_the_shard() {
    let stream = unplaced(&["1", "2", "3", "4"]);
    let world = World::kinesis(&stream, &[("order.by", "\"partition\"")]);
    world.target.always("3", Say::Status(400));
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    let journal = mapping.deliveries_max(1).run().unwrap();
    assert_eq!(named(&journal.deliveries[0]), ["3"]);
    assert_eq!(world.target.texts(), ["1", "2", "3"]);
}

#[test]
fn status_says_why_the_frontier_of_a_shard_is_not_known() {
    let stream = stream(&[("a", "a1"), ("b", "b1")]);
    let world = World::kinesis(&stream, &[]);
    world.target.always("a1", Say::Status(400));
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    mapping.deliveries_max(1).run().unwrap();
    let text = world.lanekeeper(&["status"]).output;
    let why = "orders: frontier unknown: its mapping keeps the place";
    assert!(text.contains(why), "{text}");
    let status = world.lanekeeper(&["status", "--json"]).json().unwrap();
    // The lanes of all shards are in one place of their own.
    let [lanes, shard] = &status["partitions"].as_array().unwrap()[..] else {
        unreachable!("{status:#}");
    };
    assert_eq!(shard["partition"], "shardId-000000000000", "{status:#}");
    assert_eq!(
        (&lanes["partition"], &lanes["stopped"]),
        (&json!("*"), &json!(1))
    );
    assert!(
        shard["frontier"].is_null() && shard["lag"].is_null(),
        "{status:#}"
    );
    let why = shard["frontier_unknown"].as_str().unwrap();
    assert!(why.contains("no setting declares"), "{why}");
    assert_eq!(shard["stopped"], 0);
}
