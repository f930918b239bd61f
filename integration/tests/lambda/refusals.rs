//! Bad input: a clear message within seconds, and an answer that loses nothing.

use crate::{
    target::Say,
    world::{World, stream},
};
use lanekeeper_integration::{
    lambda::{Function, Mapping, Outcome, Stream, Verdict},
    proxy::Faults,
};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What the function says to an event, within seconds.
fn refused(function: &Function, event: &str) -> (String, String) {
    let began = Instant::now();
    let invoked = function.invoke(event).unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        invoked.outcome
    );
    match invoked.outcome {
        Outcome::Failed { kind, message } => (kind, message),
        outcome @ (Outcome::Answered(_) | Outcome::Throttled) => {
            unreachable!("{outcome:?} to {event}")
        }
    }
}

/// An event of a stream as its mapping delivers it.
fn event(stream: &Stream) -> String {
    let function = Function::stub(|_| Outcome::text("null"));
    let journal = Mapping::kinesis(&function, stream).run().unwrap();
    journal.deliveries[0].event.to_string()
}

/// Of a record of a stream.
const KINESIS: &str = r#""eventSource":"aws:kinesis""#;

fn scene() -> (World, Stream) {
    let stream = stream(&[("k", "1"), ("k", "2")]);
    (World::kinesis(&stream, &[]), stream)
}

#[test]
fn a_table_that_is_missing_is_named() {
    let (mut world, stream) = scene();
    world.set("store.table", "\"lanekeeper-no-such-table\"");
    let (kind, message) = refused(&world.function(), &event(&stream));
    assert!(kind.starts_with("lanekeeper."), "{kind}: {message}");
    assert!(message.contains("lanekeeper-no-such-table"), "{message}");
    assert!(world.target.calls().is_empty());
}

/// Nothing starts whose marks cannot be read or written, and the action that is missing has its name.
#[test]
fn g7_a_permission_that_is_missing_is_named_and_nothing_starts() {
    for action in ["Query", "UpdateItem", "PutItem"] {
        let (world, stream) = scene();
        let proxy = world.proxy(Faults {
            denied: [action.to_owned()].into(),
            ..Faults::none()
        });
        let function = world.function_through(&proxy);
        let mapping = Mapping::kinesis(&function, &stream).reports_failures();
        let journal = mapping.deliveries_max(1).run().unwrap();
        assert_eq!(journal.verdicts(), [&Verdict::Failure]);
        let Outcome::Failed { message, .. } = &journal.deliveries[0].end.as_ref().unwrap().outcome
        else {
            unreachable!("{:#?}", journal.deliveries);
        };
        for part in [
            &format!("dynamodb:{action}"),
            "deploy/iam",
            "nothing of the batch has started",
        ] {
            assert!(message.contains(part), "{action}: {message}");
        }
        assert!(world.target.calls().is_empty(), "{action}");
    }
}

#[test]
fn a_stream_that_the_configuration_does_not_know_is_named_beside_what_it_knows() {
    let (mut world, stream) = scene();
    let other = "arn:aws:kinesis:us-east-1:000000000000:stream/others";
    world.set("sources.orders.arn", &format!("\"{other}\""));
    let mapping = Mapping::kinesis(&world.function(), &stream).reports_failures();
    let journal = mapping.deliveries_max(2).run().unwrap();
    assert_eq!(
        journal.verdicts(),
        [&Verdict::Failure; 2],
        "nothing is lost"
    );
    let Outcome::Failed { message, .. } = &journal.deliveries[0].end.as_ref().unwrap().outcome
    else {
        unreachable!("{:#?}", journal.deliveries);
    };
    assert!(
        message.contains(&stream.arn()) && message.contains(other),
        "{message}"
    );
    assert!(world.target.calls().is_empty());
}

#[test]
fn events_that_are_none_are_told_from_each_other() {
    let (world, stream) = scene();
    let function = world.function();
    let sound = event(&stream);
    let without = |name: &str| sound.replacen(&format!("\"{name}\""), "\"other\"", 1);
    let mut malformed = vec![
        ("an empty object", "{}".to_owned()),
        ("no records", r#"{"Records":[]}"#.to_owned()),
        ("a text", "\"event\"".to_owned()),
        ("no sequence number", without("sequenceNumber")),
        ("no data", without("data")),
        ("base64", sound.replacen("\"MQ==\"", "\"M*==\"", 1)),
        (
            "an unknown source",
            sound.replace(KINESIS, r#""eventSource":"aws:unknown""#),
        ),
    ];
    let mixed = sound.replacen(KINESIS, r#""eventSource":"aws:sqs""#, 1);
    malformed.push(("mixed sources", mixed));
    let mut twice: Value = serde_json::from_str(&sound).unwrap();
    let first = twice["Records"][0].clone();
    twice["Records"].as_array_mut().unwrap().push(first);
    malformed.push(("an id twice", twice.to_string()));
    for (what, event) in &malformed {
        let (kind, message) = refused(&function, event);
        assert_eq!(kind, "lanekeeper.Event", "{what}: {message}");
        assert!(!message.is_empty(), "{what}");
    }
    assert!(world.target.calls().is_empty());
    // And it goes on with what is sound.
    let invoked = function.invoke(&sound).unwrap();
    let nothing = Outcome::text(r#"{"batchItemFailures":[]}"#);
    assert_eq!(invoked.outcome, nothing);
    assert_eq!(function.environments().len(), 1);
}

#[test]
fn a_configuration_that_cannot_be_used_is_told_before_anything_is_invoked() {
    let (mut world, stream) = scene();
    world.set("lambda.concurrency", "11");
    let function = world.function();
    let (kind, _) = refused(&function, &event(&stream));
    assert_eq!(kind, "Runtime.ExitError");
    let words = function.environments()[0].words().unwrap();
    assert!(words.contains("lambda.concurrency"), "{words}");
}

/// A partial answer would count as success, and what it names be lost.
#[test]
fn k21_where_the_mapping_ignores_answers_the_invocation_fails_and_nothing_is_lost() {
    let stream = stream(&[("a", "a1"), ("b", "b1"), ("a", "a2")]);
    let world = World::kinesis(&stream, &[("lambda.reports_failures", "false")]);
    world.target.always("a1", Say::Status(400));
    let running = Mapping::kinesis(&world.function(), &stream)
        .start()
        .unwrap();
    running
        .until("three deliveries", |j| j.verdicts().len() >= 3)
        .unwrap();
    for delivery in &running.journal().deliveries[..3] {
        let Outcome::Failed { message, .. } = &delivery.end.as_ref().unwrap().outcome else {
            unreachable!("{delivery:#?}");
        };
        assert!(message.contains("lambda.reports_failures"), "{message}");
    }
    world.target.always("a1", Say::Done);
    world.lanekeeper(&["lanes", "retry", "--all", "--why", "mended"]);
    running.until_idle().unwrap();
    running.stop().unwrap();
    assert_eq!(world.target.texts_of("a"), ["a1", "a1", "a2"]);
    assert_eq!(world.target.texts_of("b"), ["b1"]);
}

/// The target is sick: the mapping is told to come again later, and no attempt is used up.
#[test]
fn where_the_target_refuses_everything_the_invocation_fails_and_no_attempt_is_used_up() {
    let records: Vec<(String, String)> = (0..12)
        .map(|n| (format!("k{n}"), format!("r{n}")))
        .collect();
    let stream = Stream::new("orders", 1);
    crate::instances::put(&stream, &records);
    let world = World::kinesis(&stream, &[("failure.timeout", "\"1s\"")]);
    world.target.otherwise(Say::Status(503));
    let function = world.function().timeout(Duration::from_secs(4));
    let running = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .start()
        .unwrap();
    running
        .until("two deliveries", |j| j.verdicts().len() >= 2)
        .unwrap();
    assert_eq!(running.journal().verdicts()[0], &Verdict::Failure);
    world.target.otherwise(Say::Effect);
    running.until_idle().unwrap();
    running.stop().unwrap();
    assert!(world.lanes().is_empty());
    world.assert_applied_once(records.iter().map(|(_, text)| text.as_str()));
}
