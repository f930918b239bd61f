//! The examples in Rust, as functions: what docs/kinesis-lambda.md lets a newcomer see.

use crate::world::{World, named, stream};
use lanekeeper_integration::lambda::{Mapping, Queue};
use std::collections::BTreeMap;

fn totals<'a>(of: impl IntoIterator<Item = (&'a str, i64)>) -> BTreeMap<String, i64> {
    let totals = of.into_iter();
    totals.map(|(key, sum)| (key.to_owned(), sum)).collect()
}

#[test]
fn the_function_behind_a_stream_stops_one_customer_until_somebody_decides() {
    let wrong = r#"{"order": 3, "amount": -30}"#;
    let stream = stream(&[
        ("customer-17", r#"{"order": 1, "amount": 10}"#),
        ("customer-18", r#"{"order": 2, "amount": 20}"#),
        ("customer-17", wrong),
        ("customer-17", r#"{"order": 4, "amount": 40}"#),
    ]);
    let world = World::kinesis(&stream, &[]);
    let function = world.example("lambda_kinesis");
    let running = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .start()
        .unwrap();
    let over = |least: usize| {
        let told = running.until("deliveries", |journal| journal.verdicts().len() >= least);
        told.unwrap();
    };
    over(2);
    let journal = running.journal();
    for delivery in &journal.deliveries[..2] {
        assert_eq!(named(delivery), [wrong], "it alone holds the shard");
    }
    let [lane] = &world.lanes()[..] else {
        unreachable!("one lane stands");
    };
    assert!(
        lane["error"].as_str().unwrap().contains("negative amount"),
        "{lane:#}"
    );
    assert_eq!(
        world.values("totals"),
        totals([("customer-17", 10), ("customer-18", 20)]),
        "order 4 waits behind order 3"
    );

    world.lanekeeper(&[
        "lanes",
        "skip",
        "--key",
        "customer-17",
        "--why",
        "a typing error",
    ]);
    running.until_idle().unwrap();
    running.stop().unwrap();
    assert!(world.lanes().is_empty(), "live again");
    assert_eq!(
        world.values("totals"),
        totals([("customer-17", 50), ("customer-18", 20)]),
        "each of them once"
    );
}

#[test]
fn the_function_behind_a_fifo_queue_stops_one_account_and_serves_the_others() {
    let queue = Queue::fifo("orders");
    for (account, text) in [
        ("ann", "1"),
        ("bob", "2"),
        ("ann", "nonsense"),
        ("ann", "4"),
        ("bob", "8"),
    ] {
        queue.send_to(account, text);
    }
    let world = World::sqs(&queue, &[]);
    let function = world.example("lambda_sqs_fifo");
    let mapping = Mapping::sqs(&function, &queue).reports_failures();
    let journal = mapping.deliveries_max(1).run().unwrap();
    assert_eq!(named(&journal.deliveries[0]), ["nonsense", "4"]);
    assert_eq!(world.values("totals"), totals([("ann", 1), ("bob", 10)]));
    let [lane] = &world.lanes()[..] else {
        unreachable!("one lane stands");
    };
    assert!(
        lane["error"].as_str().unwrap().contains("no payment"),
        "{lane:#}"
    );
}
