//! A mapping with tumbling windows. A function that has nothing to say of them answers the state as it came,
//! names failures all the same, and lets windows end; one in Rust counts what was delivered.

use crate::{
    target::Say,
    world::{World, named},
};
use lanekeeper_integration::lambda::{Mapping, Put, Stream, Verdict};
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

const QUARTER: Duration = Duration::from_secs(900);

/// A record in the middle of the window before.
fn before(stream: &Stream, put: Put) -> Put {
    let now = stream.clock().now().duration_since(UNIX_EPOCH).unwrap();
    let into = Duration::from_secs(now.as_secs() % QUARTER.as_secs());
    put.aged(into + QUARTER / 2)
}

#[test]
fn k30_k31_each_answer_has_the_state_and_failures_are_named() {
    for stream in [Stream::new("orders", 1), Stream::of_table("items", 1)] {
        for (key, text) in [("k", "1"), ("k", "2"), ("k", "3"), ("j", "4")] {
            stream
                .put_record(before(&stream, Put::new(key, text)))
                .unwrap();
        }
        let kind = if stream.name() == "orders" {
            "kinesis"
        } else {
            "dynamodb-streams"
        };
        let world = World::new(&[("type", kind), ("arn", &stream.arn())], &[]);
        let both = [Say::Status(500), Say::Status(500), Say::Status(500)];
        world.target.says("2", &both);
        let function = world.function();
        let mapping = Mapping::kinesis(&function, &stream)
            .tumbling(QUARTER)
            .reports_failures();
        let journal = mapping.deliveries_max(1).run().unwrap();
        assert_eq!(named(&journal.deliveries[0]), ["2"], "{kind}");
        world.retry_all();
        let mapping = Mapping::kinesis(&function, &stream)
            .tumbling(QUARTER)
            .reports_failures();
        let journal = mapping.run().unwrap();
        assert_eq!(journal.verdicts().last(), Some(&&Verdict::Success));
        let last = journal.deliveries.last().unwrap();
        let event: Value = serde_json::from_str(&last.event).unwrap();
        assert_eq!(event["isFinalInvokeForWindow"], true, "{kind}");
        assert!(last.items.is_empty());
        for delivery in &journal.deliveries {
            assert_eq!(delivery.answer()["state"], json!({}), "{kind}");
        }
        assert_eq!(world.target.texts_of("k"), ["1", "2", "2", "2", "2", "3"]);
        assert_eq!(world.target.texts_of("j"), ["4"]);
    }
}

/// The state is as of the record that the answer names; what comes again is in it once, and the window ends
/// with all of it.
#[test]
fn k30_k31_a_function_in_rust_counts_each_record_once() {
    let stream = Stream::new("orders", 1);
    for (key, data) in [("A", &b"1"[..]), ("B", b"\xff"), ("A", b"2")] {
        stream
            .put_record(before(&stream, Put::new(key, data)))
            .unwrap();
    }
    let world = World::kinesis(&stream, &[]);
    let function = world.example("lambda_window");
    let mapping = Mapping::kinesis(&function, &stream)
        .tumbling(QUARTER)
        .reports_failures();
    let journal = mapping.deliveries_max(3).run().unwrap();
    for delivery in &journal.deliveries {
        assert_eq!(named(delivery), ["\u{fffd}"]);
        assert_eq!(delivery.answer()["state"], json!({"A": 1}));
    }
    world.lanekeeper(&["lanes", "skip", "--all", "--why", "no text"]);
    let mapping = Mapping::kinesis(&function, &stream)
        .tumbling(QUARTER)
        .reports_failures();
    // Its answer is lost once.
    function.lose_next(1);
    let journal = mapping.run().unwrap();
    let states: Vec<Value> = { journal.deliveries.iter() }
        .map(|delivery| delivery.answer()["state"].clone())
        .collect();
    let all = json!({"A": 2, "B": 1});
    assert_eq!(states[states.len() - 2..], [all.clone(), all]);
    let words = function
        .environments()
        .into_iter()
        .map(|e| e.words().unwrap());
    let words: String = words.collect();
    let ends = words.lines().filter(|line| line.starts_with("window of "));
    let end = r#"window of shardId-000000000000: {"A": 2, "B": 1}"#;
    assert_eq!(ends.collect::<Vec<_>>(), [end]);
}
