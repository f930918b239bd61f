//! A mapping with tumbling windows, and a function that has nothing to say of them: the state stays as it
//! comes, failures are named all the same, and windows end.

use crate::{
    target::Say,
    world::{World, named},
};
use lanekeeper_integration::lambda::{Mapping, Put, Stream, Verdict};
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

const QUARTER: Duration = Duration::from_secs(900);

#[test]
fn k30_k31_each_answer_has_the_state_and_failures_are_named() {
    for stream in [Stream::new("orders", 1), Stream::of_table("items", 1)] {
        // In the middle of the window before, all of them.
        let now = stream.clock().now().duration_since(UNIX_EPOCH).unwrap();
        let into = Duration::from_secs(now.as_secs() % QUARTER.as_secs());
        for (key, text) in [("k", "1"), ("k", "2"), ("k", "3"), ("j", "4")] {
            let put = Put::new(key, text).aged(into + QUARTER / 2);
            stream.put_record(put).unwrap();
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
