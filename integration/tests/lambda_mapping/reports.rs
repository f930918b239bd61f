//! Answers to a mapping of a stream that honours them, and to one that does not (K20 to K25).

use crate::stubs::{answering, reporting, throwing};
use lanekeeper_integration::lambda::{
    Function, Journal, Mapping, OnFailure, Put, Stream, StreamMapping, Verdict,
};
use serde_json::Value;

fn stream(texts: &[&str]) -> Stream {
    let stream = Stream::new("orders", 1);
    for text in texts {
        stream.put("key", text).unwrap();
    }
    stream
}

fn strict(function: &Function, stream: &Stream) -> StreamMapping {
    Mapping::kinesis(function, stream)
        .reports_failures()
        .on_failure(OnFailure::Queue)
}

/// As it was recorded: one record, two retries.
fn recorded(function: &Function) -> Journal {
    let mapping = strict(function, &stream(&["a"]));
    mapping.batch_size(1).retries(2).run().unwrap()
}

fn condition(record: &Value) -> (&Value, &Value) {
    let context = &record["requestContext"];
    (&context["condition"], &context["approximateInvokeCount"])
}

#[test]
fn k23_what_says_nothing_of_failures_moves_the_checkpoint() {
    for answer in [
        "",
        "\"\"",
        "[]",
        "null",
        "{}",
        r#"{"batchItemFailures":[]}"#,
        r#"{"batchItemFailures":null}"#,
    ] {
        let journal = recorded(&answering(answer));
        assert_eq!(journal.verdicts(), [&Verdict::Success], "{answer}");
        assert!(journal.destinations.is_empty() && journal.losses.is_empty());
    }
}

#[test]
fn k23_what_names_nothing_of_the_batch_fails_all_of_it() {
    for answer in [
        r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":"123"}]}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":123}]}"#,
        r#"{"batchItemFailures":[{"foo":123}]}"#,
        r#"{"batchItemFailures":[{"foo":null}]}"#,
        "no JSON",
    ] {
        let journal = recorded(&answering(answer));
        assert_eq!(journal.verdicts(), [&Verdict::Failure; 3], "{answer}");
        let [record] = &journal.destinations[..] else {
            unreachable!("{answer}: {:?}", journal.destinations);
        };
        assert_eq!(
            condition(record),
            (&"RetryAttemptsExhausted".into(), &3.into())
        );
        assert_eq!(record["responseContext"]["functionError"], Value::Null);
    }
}

#[test]
fn k23_an_exception_fails_all_of_it_and_is_called_unhandled() {
    let journal = recorded(&throwing());
    assert_eq!(journal.verdicts(), [&Verdict::Failure; 3]);
    let context = &journal.destinations[0]["responseContext"];
    assert_eq!(context["functionError"], "Unhandled");
}

#[test]
fn k21_an_answer_to_a_mapping_that_does_not_ask_for_one_loses_what_it_reports() {
    let stream = stream(&["a", "b", "c"]);
    let function = reporting(|text, _| text == "b");
    let journal = Mapping::kinesis(&function, &stream).run().unwrap();
    assert_eq!(journal.batches(), [["a", "b", "c"]]);
    assert_eq!(journal.verdicts(), [&Verdict::Success]);
    assert!(!journal.deliveries[0].answer()["batchItemFailures"][0].is_null());
}

#[test]
fn k22_the_lowest_number_comes_again_with_everything_behind_it() {
    let stream = stream(&["a", "b", "c", "d"]);
    // It names d before b.
    let function = Function::stub(|event| {
        let records = crate::stubs::records(event);
        let named = ["d", "b"].map(|wanted| records.iter().find(|(_, text)| text == wanted));
        let named = named.into_iter().flatten().filter(|_| records.len() == 4);
        let named: Vec<Value> = named
            .map(|(id, _)| serde_json::json!({"itemIdentifier": id}))
            .collect();
        lanekeeper_integration::lambda::Outcome::json(
            &serde_json::json!({"batchItemFailures": named}),
        )
    });
    let journal = strict(&function, &stream).run().unwrap();
    assert_eq!(
        journal.batches(),
        [&["a", "b", "c", "d"][..], &["b", "c", "d"]]
    );
    let ids = journal.deliveries[1].ids();
    let again = Verdict::Partial(ids.into_iter().map(str::to_owned).collect());
    assert_eq!(journal.verdicts(), [&again, &Verdict::Success]);
}

#[test]
fn k22_numbers_are_compared_as_numbers() {
    let stream = Stream::new("orders", 1);
    for (number, text) in [("8", "a"), ("9", "b"), ("10", "c"), ("11", "d")] {
        stream
            .put_record(Put::new("key", text).numbered(number))
            .unwrap();
    }
    let function = reporting(|text, times| times == 1 && ["b", "c"].contains(&text));
    let journal = strict(&function, &stream).run().unwrap();
    assert_eq!(
        journal.batches(),
        [&["a", "b", "c", "d"][..], &["b", "c", "d"]]
    );
}

/// Golden scenario 1.
#[test]
fn k24_the_retries_are_counted_anew_when_the_checkpoint_moves() {
    let function = reporting(|text, _| text == "c");
    let mapping = strict(&function, &stream(&["a", "b", "c"]));
    let journal = mapping.batch_size(3).retries(3).run().unwrap();
    assert_eq!(journal.batches()[0], ["a", "b", "c"]);
    assert_eq!(journal.batches()[1..], [["c"]; 4]);
    assert_eq!(journal.deliveries_of("c").len(), 5);
    let attempts: Vec<u32> = journal.deliveries.iter().map(|d| d.attempt).collect();
    assert_eq!(attempts, [1, 1, 2, 3, 4]);
    let [record] = &journal.destinations[..] else {
        unreachable!("{:?}", journal.destinations);
    };
    assert_eq!(
        condition(record),
        (&"RetryAttemptsExhausted".into(), &4.into())
    );
    assert_eq!(record["KinesisBatchInfo"]["batchSize"], 1);
    assert_eq!(record["responseContext"]["functionError"], Value::Null);
}

#[test]
fn k25_a_first_record_that_always_fails_takes_its_batch_along() {
    let function = reporting(|text, _| text == "a");
    let mapping = strict(&function, &stream(&["a", "b"]));
    let journal = mapping.retries(2).run().unwrap();
    assert_eq!(journal.batches(), [["a", "b"]; 3]);
    assert_eq!(journal.destinations[0]["KinesisBatchInfo"]["batchSize"], 2);
    assert_eq!(condition(&journal.destinations[0]).1, &3);
}

#[test]
fn k20_with_bisecting_a_partial_answer_splits_at_its_number() {
    let function = reporting(|text, times| text == "d" && times == 1);
    let mapping = strict(&function, &stream(&["a", "b", "c", "d", "e"]));
    let journal = mapping.bisects().run().unwrap();
    let expected = [&["a", "b", "c", "d", "e"][..], &["d", "e"]];
    assert_eq!(journal.batches(), expected, "and not in the middle");
}
