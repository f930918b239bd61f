//! The mapping of a standard queue (S1 to S9).

use crate::stubs::{answering, meeting, outlasting, reporting, throwing};
use lanekeeper_integration::lambda::{
    Function, Journal, Mapping, MessageQueue as _, Queue, Verdict, Why,
};
use serde_json::{Value, json};
use std::time::Duration;

fn queue(count: usize) -> Queue {
    let queue = Queue::standard("orders");
    for number in 1..=count {
        queue.send(&number.to_string()).unwrap();
    }
    queue
}

/// Of one message that is received twice and then moved.
fn recorded(function: &Function) -> (Journal, Queue) {
    let dead_letters = Queue::standard("dead");
    let queue = queue(1).redrives_to(&dead_letters, 2);
    let mapping = Mapping::sqs(function, &queue).reports_failures();
    let journal = mapping.run().unwrap();
    assert!(queue.bodies().is_empty(), "{:?}", queue.bodies());
    (journal, dead_letters)
}

#[test]
fn the_event_is_as_recorded() {
    let queue = queue(1);
    let journal = Mapping::sqs(&answering("null"), &queue).run().unwrap();
    let event: Value = serde_json::from_str(&journal.deliveries[0].event).unwrap();
    let mut record = event["Records"][0].clone();
    assert!(record["receiptHandle"].take().is_string());
    let attributes = &mut record["attributes"];
    for time in ["SentTimestamp", "ApproximateFirstReceiveTimestamp"] {
        let time = attributes[time].take();
        assert_eq!(time.as_str().unwrap().len(), 13, "{time}");
    }
    assert!(attributes["SenderId"].take().is_string());
    let expected = json!({
        "messageId": journal.deliveries[0].items[0].id,
        "receiptHandle": null,
        "body": "1",
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": null,
            "SenderId": null,
            "ApproximateFirstReceiveTimestamp": null,
        },
        "messageAttributes": {},
        "md5OfBody": "c4ca4238a0b923820dcc509a6f75849b",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:orders",
        "awsRegion": "us-east-1",
    });
    assert_eq!(record, expected);
}

#[test]
fn s6_what_says_nothing_of_failures_deletes_the_batch() {
    for answer in [
        "",
        "null",
        "{}",
        r#"{"batchItemFailures":[]}"#,
        r#"{"batchItemFailures":null}"#,
    ] {
        let (journal, dead_letters) = recorded(&answering(answer));
        assert_eq!(journal.verdicts(), [&Verdict::Success], "{answer}");
        assert!(dead_letters.bodies().is_empty());
    }
}

#[test]
fn s6_what_names_nothing_of_the_batch_brings_all_of_it_again_and_then_to_the_dead_letters() {
    for answer in [
        "no JSON",
        r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":"another"}]}"#,
        r#"{"batchItemFailures":[{"foo":"notvalid"}]}"#,
    ] {
        let (journal, dead_letters) = recorded(&answering(answer));
        assert_eq!(journal.verdicts(), [&Verdict::Failure; 2], "{answer}");
        assert_eq!(dead_letters.bodies(), ["1"]);
        assert_eq!(journal.lost(Why::Redrive), ["1"]);
    }
}

#[test]
fn s7_an_exception_takes_good_messages_along() {
    let dead_letters = Queue::standard("dead");
    let queue = queue(3).redrives_to(&dead_letters, 2);
    let function = crate::stubs::throwing_at(&["2"]);
    let mapping = Mapping::sqs(&function, &queue).reports_failures();
    let journal = mapping.run().unwrap();
    assert_eq!(journal.batches(), [["1", "2", "3"]; 2]);
    assert_eq!(dead_letters.bodies(), ["1", "2", "3"]);
}

#[test]
fn s3_what_failed_comes_again_after_the_visibility_timeout_and_what_succeeded_is_gone() {
    let queue = queue(3);
    let function = reporting(|text, times| text == "2" && times == 1);
    let journal = Mapping::sqs(&function, &queue)
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(journal.batches(), [&["1", "2", "3"][..], &["2"]]);
    assert_eq!(journal.deliveries[1].items[0].receives, 2);
    let [first, second] = [0, 1].map(|number| journal.deliveries[number].began);
    // It is hidden from its receive on, a moment before it is handed out.
    let a_moment = Duration::from_secs(1);
    assert!(second + a_moment >= first + queue.visibility());
    assert!(queue.bodies().is_empty());
}

#[test]
fn an_answer_to_a_mapping_that_does_not_ask_for_one_loses_what_it_reports() {
    let queue = queue(2);
    let journal = Mapping::sqs(&reporting(|_, _| true), &queue).run().unwrap();
    assert_eq!(journal.verdicts(), [&Verdict::Success]);
    assert!(queue.bodies().is_empty());
}

#[test]
fn s9_messages_that_never_ran_reach_the_dead_letters_by_throttles_alone() {
    let dead_letters = Queue::standard("dead");
    let queue = queue(1).redrives_to(&dead_letters, 2);
    let function = answering("null");
    function.throttle_next(10_000);
    let journal = Mapping::sqs(&function, &queue).run().unwrap();
    assert!(journal.verdicts().iter().all(|v| **v == Verdict::Throttled));
    assert_eq!(dead_letters.bodies(), ["1"]);
}

#[test]
fn s10_a_mapping_begins_with_five_batches_at_a_time() {
    let mapping = Mapping::sqs(&meeting(5), &queue(12)).batch_size(1);
    assert_eq!(mapping.run().unwrap().concurrency_most, 5);
    let mapping = Mapping::sqs(&meeting(2), &queue(12)).batch_size(1);
    let journal = mapping.concurrency(2).run().unwrap();
    assert_eq!(journal.concurrency_most, 2);
}

#[test]
fn s16_a_batch_shrinks_to_six_megabytes() {
    let queue = Queue::standard("orders");
    for _ in 0..10 {
        queue.send(&"x".repeat(1 << 20)).unwrap();
    }
    let journal = Mapping::sqs(&answering("null"), &queue).run().unwrap();
    let sizes: Vec<usize> = journal.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [5, 5]);
    assert!(queue.bodies().is_empty());
}

#[test]
fn a_window_gathers() {
    let queue = queue(12);
    let window = Duration::from_secs(5);
    let mapping = Mapping::sqs(&answering("null"), &queue)
        .batch_size(50)
        .window(window);
    let journal = mapping.run().unwrap();
    assert_eq!(journal.deliveries.len(), 1);
    assert_eq!(journal.deliveries[0].items.len(), 12);
}

#[test]
fn s18_what_takes_longer_than_its_visibility_timeout_runs_twice() {
    let queue = queue(1);
    let function = outlasting(queue.clock(), queue.visibility(), 2);
    let journal = Mapping::sqs(&function, &queue).run().unwrap();
    assert_eq!(journal.batches(), [["1"]; 2]);
    assert!(queue.bodies().is_empty());
}

#[test]
fn settings_that_lambda_refuses_are_refused() {
    let (function, queue) = (throwing(), queue(0));
    let refused = |mapping: lanekeeper_integration::lambda::QueueMapping| {
        mapping.start().err().unwrap().to_string()
    };
    let mapping = || Mapping::sqs(&function, &queue);
    assert_eq!(
        refused(mapping().batch_size(11)),
        "InvalidParameterValueException: Maximum batch window in seconds must be greater than 0 if \
         maximum batch size is greater than 10",
        "S1, word for word"
    );
    assert!(
        refused(mapping().concurrency(1)).contains("MaximumConcurrency"),
        "S11"
    );
    let slow = throwing().timeout(Duration::from_secs(31));
    assert!(
        refused(Mapping::sqs(&slow, &queue)).contains("visibility timeout"),
        "S4"
    );
    let fifo = Queue::fifo("orders");
    assert!(
        refused(Mapping::sqs(&function, &fifo).batch_size(11)).contains("FIFO"),
        "F14"
    );
    let window = Mapping::sqs(&function, &fifo).window(Duration::from_secs(1));
    assert!(refused(window).contains("FIFO"), "F14");
}
