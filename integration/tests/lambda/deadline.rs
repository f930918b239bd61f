//! The deadline of an invocation.

use crate::{
    oracle::{Rules, audit},
    target::Say,
    world::{World, named, owned, stream},
};
use lanekeeper_integration::lambda::{Mapping, Outcome, Verdict};
use std::time::Duration;

const RECORDS: [(&str, &str); 8] = [
    ("k", "1"),
    ("k", "2"),
    ("k", "3"),
    ("k", "4"),
    ("k", "5"),
    ("k", "6"),
    ("k", "7"),
    ("k", "8"),
];

#[test]
fn s12_nothing_starts_that_cannot_end_and_nothing_runs_twice() {
    let stream = stream(&RECORDS);
    let settings = [
        ("failure.timeout", "\"700ms\""),
        ("lambda.margin", "\"300ms\""),
    ];
    let world = World::kinesis(&stream, &settings);
    // Starts may be in the first second of two.
    world
        .target
        .otherwise(Say::After(Duration::from_millis(400)));
    let function = world.function().timeout(Duration::from_secs(2));
    let journal = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .run()
        .unwrap();
    let first = &journal.deliveries[0];
    let [next] = named(first)[..] else {
        unreachable!("{first:#?}");
    };
    let done: usize = next.parse::<usize>().unwrap() - 1;
    assert!(
        (1..=3).contains(&done),
        "{done} of 400 ms began in a second"
    );
    assert_eq!(journal.deliveries[1].texts()[0], next);
    for delivery in &journal.deliveries {
        let verdict = &delivery.end.as_ref().unwrap().verdict;
        assert_ne!(verdict, &Verdict::Failure, "{delivery:#?}");
    }
    audit(&world.target.calls(), &owned(&RECORDS), Rules::default());
}

#[test]
fn a_try_that_gets_no_answer_ends_by_its_timeout_and_not_by_the_functions() {
    let stream = stream(&RECORDS[..3]);
    let world = World::kinesis(&stream, &[("failure.timeout", "\"300ms\"")]);
    world.target.says("2", &[Say::Never]);
    let journal = { Mapping::kinesis(&world.function(), &stream) }
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(journal.verdicts(), [&Verdict::Success]);
    assert_eq!(world.target.texts(), ["1", "2", "2", "3"]);
    audit(
        &world.target.calls(),
        &owned(&RECORDS[..3]),
        Rules::default(),
    );
}

/// One try alone would not fit: whatever is delivered, nothing can start, and it says so at once.
#[test]
fn a_function_that_has_less_time_than_one_try_says_what_to_set() {
    let stream = stream(&RECORDS[..2]);
    let world = World::kinesis(&stream, &[("failure.timeout", "\"20s\"")]);
    let function = world.function().timeout(Duration::from_secs(10));
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    let journal = mapping.deliveries_max(2).run().unwrap();
    assert_eq!(journal.verdicts(), [&Verdict::Failure; 2]);
    for delivery in &journal.deliveries {
        let end = delivery.end.as_ref().unwrap();
        let Outcome::Failed { message, .. } = &end.outcome else {
            unreachable!("{end:#?}");
        };
        assert!(message.contains("`failure.timeout`"), "{message}");
        let took = end.at.duration_since(delivery.began).unwrap();
        assert!(took < Duration::from_secs(10), "{took:?}: not by a timeout");
    }
    assert!(world.target.calls().is_empty());
}
