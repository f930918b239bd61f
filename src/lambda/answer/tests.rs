use super::*;
use crate::{
    kpl,
    lambda::sample::{
        self, base64, dynamodb_record, fifo_message, kafka, kinesis_record, records, sqs_message,
    },
};
use mapping::Mapping;

mod mapping;

const NONE: &str = r#"{"batchItemFailures":[]}"#;

/// The body, where the given positions are unfinished (`partition position`, or a position alone).
fn body(delivery: &Delivery, unfinished: &[&str]) -> String {
    let mut named = 0;
    let failures = delivery.failures(|delivered, position| {
        let full = format!("{} {position}", delivered.name());
        let is_unfinished = unfinished
            .iter()
            .any(|u| *u == full || *u == position.to_string());
        named += usize::from(is_unfinished);
        is_unfinished
    });
    assert_eq!(failures.unfinished(), unfinished.len());
    assert_eq!(failures.is_empty(), unfinished.is_empty());
    let answer = failures.answer(true);
    assert_eq!(
        named,
        unfinished.len(),
        "what is said to be unfinished was not delivered"
    );
    match answer {
        Answer::Body(body) => String::from_utf8(body).expect("text"),
        Answer::Fail(why) => panic!("{why}"),
    }
}

fn ids(ids: &[&str]) -> String {
    let items: Vec<_> = ids
        .iter()
        .map(|id| format!(r#"{{"itemIdentifier":"{id}"}}"#))
        .collect();
    format!(r#"{{"batchItemFailures":[{}]}}"#, items.join(","))
}

fn uuid(n: u128) -> String {
    uuid::Uuid::from_u128(n).to_string()
}

fn kinesis(records: &[(&str, &str)]) -> Delivery {
    let all: Vec<_> = records
        .iter()
        .map(|(n, key)| kinesis_record(n, key, b"x"))
        .collect();
    sample::delivery(&sample::records(&all))
}

fn fifo(messages: &[(&str, &str)]) -> Delivery {
    let messages = (1..).zip(messages);
    let all: Vec<_> = messages
        .map(|(n, (id, group))| fifo_message(id, group, n))
        .collect();
    sample::delivery(&records(&all))
}

/// The position of the n-th message of [`fifo`], from 1.
fn fifo_position(n: u64) -> String {
    format!("188494964604676{n:05}")
}

#[test]
fn nothing_unfinished_is_the_empty_list() {
    for payload in [
        records(&[kinesis_record("1", "a", b"x")]),
        records(&[sqs_message(&uuid(7), "x")]),
        records(&[fifo_message("a", "g", 1)]),
        kafka(&[("t-0", &[(1, "a")])]),
    ] {
        assert_eq!(body(&sample::delivery(&payload), &[]), NONE);
    }
}

#[test]
fn kinesis_golden_3_the_lowest_of_two_keys_is_named() {
    let delivery = kinesis(&[
        ("101", "A"),
        ("102", "B"),
        ("103", "A"),
        ("104", "B"),
        ("105", "A"),
    ]);
    // A2 failed, so A3 did not run; B is done.
    assert_eq!(body(&delivery, &["103", "105"]), ids(&["103"]));
}

#[test]
fn kinesis_golden_4_the_lowest_is_the_lowest_number_not_the_first_text() {
    let (nine, ten) = ("99999999999999999999", "100000000000000000000");
    let delivery = kinesis(&[(nine, "A"), (ten, "B")]);
    assert_eq!(body(&delivery, &[nine, ten]), ids(&[nine]));
    assert_eq!(body(&delivery, &[ten]), ids(&[ten]));
}

#[test]
fn kinesis_golden_11_a_record_within_an_aggregate_names_the_aggregate() {
    let five = kpl::tests::bytes(kpl::tests::FIVE);
    let event = records(&[
        kinesis_record("19", "alice", b"x"),
        kinesis_record("20", "alice", &five),
        kinesis_record("21", "alice", b"x"),
    ]);
    let delivery = sample::delivery(&event);
    assert_eq!(body(&delivery, &["20:3", "20:4", "21"]), ids(&["20"]));
}

#[test]
fn sqs_names_each_that_failed() {
    let all: Vec<_> = (1..=4).map(|n| sqs_message(&uuid(n << 100), "x")).collect();
    let delivery = sample::delivery(&records(&all));
    let position = |n: u128| (n << 100).to_string();
    assert_eq!(
        body(&delivery, &[&position(2), &position(4)]),
        ids(&[&uuid(2 << 100), &uuid(4 << 100)])
    );
}

#[test]
fn fifo_golden_6_a_group_s_rest_is_named_and_no_other_group() {
    let delivery = fifo(&[("g1m1", "g1"), ("g1m2", "g1"), ("g2m1", "g2")]);
    let first = fifo_position(1);
    // Whatever was said of what is behind the failed one.
    assert_eq!(body(&delivery, &[&first]), ids(&["g1m1", "g1m2"]));
    assert_eq!(
        body(&delivery, &[&first, &fifo_position(2)]),
        ids(&["g1m1", "g1m2"])
    );
}

#[test]
fn fifo_names_a_group_from_its_first_unfinished_on() {
    let delivery = fifo(&[
        ("a1", "a"),
        ("b1", "b"),
        ("a2", "a"),
        ("b2", "b"),
        ("a3", "a"),
    ]);
    let unfinished = [fifo_position(3), fifo_position(4)];
    let unfinished: Vec<_> = unfinished.iter().map(String::as_str).collect();
    assert_eq!(body(&delivery, &unfinished), ids(&["a2", "b2", "a3"]));
}

#[test]
fn kafka_golden_9_offsets_are_named_by_partition() {
    let delivery = sample::delivery(&kafka(&[
        (
            "topic-0",
            &[(5, "a"), (6, "a"), (7, "a"), (8, "a"), (9, "a")],
        ),
        ("topic-1", &[(7, "a")]),
    ]));
    let item =
        |offset| format!(r#"{{"itemIdentifier":{{"partition":"topic-0","offset":{offset}}}}}"#);
    assert_eq!(
        body(&delivery, &["topic/0 7", "topic/0 8", "topic/0 9"]),
        format!(
            r#"{{"batchItemFailures":[{},{},{}]}}"#,
            item(7),
            item(8),
            item(9)
        )
    );
}

#[test]
fn a_mapping_that_looks_for_no_answer_is_given_none() {
    let delivery = kinesis(&[("101", "A"), ("102", "B"), ("103", "A")]);
    let failures = delivery.failures(|_, position| position.number() != Some("101"));
    insta::assert_snapshot!(match failures.answer(false) {
        Answer::Fail(why) => why,
        Answer::Body(_) => panic!("a partial answer"),
    });
    // What is done wholly is a success either way.
    let done = delivery.failures(|_, _| false);
    assert_eq!(done.answer(false), Answer::Body(NONE.into()));
}

fn random_delivery(random: &mut fastrand::Rng) -> Delivery {
    let count = random.usize(1..12);
    let key = |random: &mut fastrand::Rng| format!("k{}", random.u8(..3));
    let payload = match random.u8(..5) {
        0 => {
            let mut number = random.u64(1..200);
            let mut all = Vec::new();
            for _ in 0..count {
                // Now and then the number of the record before, and an aggregate.
                number += u64::from(random.u8(..5).min(1)) * random.u64(1..2000);
                let five = kpl::tests::bytes(kpl::tests::FIVE);
                let data = if random.u8(..4) == 0 { &five[..] } else { b"x" };
                all.push(kinesis_record(&number.to_string(), &key(random), data));
            }
            records(&all)
        }
        1 => {
            let messages = (0..count).map(|_| sqs_message(&uuid(random.u128(..)), "x"));
            records(&messages.collect::<Vec<_>>())
        }
        2 => {
            let messages =
                (0..count as u64).map(|n| fifo_message(&format!("m{n}"), &key(random), n * 7));
            records(&messages.collect::<Vec<_>>())
        }
        3 => {
            let mut number = 90;
            let mut all = Vec::new();
            for _ in 0..count {
                number += random.u64(1..20);
                all.push(dynamodb_record(&number.to_string(), &key(random), "x"));
            }
            records(&all)
        }
        _ => {
            let mut offsets = || {
                let mut offset = 0;
                let mut all = Vec::new();
                for _ in 0..random.usize(1..6) {
                    offset += random.u64(1..3);
                    all.push((offset, "k"));
                }
                all
            };
            let (first, second) = (offsets(), offsets());
            kafka(&[("a-b-0", &first), ("a-b-1", &second)])
        }
    };
    sample::delivery(&payload)
}

/// Whatever is unfinished, what the mapping does with the answer brings all of it again, keeps the order
/// of groups, and finds no name that it does not know. `LANEKEEPER_TEST_SEED` replays one.
#[test]
fn whatever_is_unfinished_comes_again() {
    let one = std::env::var("LANEKEEPER_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    for seed in one.map_or(0..3000, |seed: u64| seed..seed + 1) {
        let mut random = fastrand::Rng::with_seed(seed);
        let delivery = random_delivery(&mut random);
        let share = random.u8(..4);
        let mut unfinished = Vec::new();
        let answer = delivery
            .failures(|delivered, position| {
                let is_unfinished = random.u8(..4) < share;
                if is_unfinished {
                    unfinished.push((delivered.name().to_string(), position.clone()));
                }
                is_unfinished
            })
            .answer(true);
        let Answer::Body(body) = answer else {
            panic!("seed {seed}: no body");
        };
        let mapping = Mapping::of(&delivery);
        let again = mapping
            .delivers_again(&body)
            .unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        for (partition, position) in &unfinished {
            assert!(
                again.contains(&(partition.clone(), position.clone())),
                "seed {seed}: {position} is lost"
            );
        }
        if unfinished.is_empty() {
            assert!(again.is_empty(), "seed {seed}: what is done comes again");
        }
        mapping
            .keeps_groups_in_order(&again)
            .unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

#[test]
fn the_mapping_of_these_tests_fails_the_batch_on_a_name_that_it_does_not_know() {
    for (payload, stranger) in [
        (records(&[kinesis_record("1", "a", b"x")]), r#""2""#),
        (records(&[sqs_message(&uuid(7), "x")]), r#""7""#),
        (
            kafka(&[("t-0", &[(1, "a")])]),
            r#"{"partition":"t-0","offset":2}"#,
        ),
        (
            kafka(&[("t-0", &[(1, "a")])]),
            r#"{"partition":"t/0","offset":1}"#,
        ),
    ] {
        let delivery = sample::delivery(&payload);
        let body = format!(r#"{{"batchItemFailures":[{{"itemIdentifier":{stranger}}}]}}"#);
        assert!(
            Mapping::of(&delivery)
                .delivers_again(body.as_bytes())
                .is_err()
        );
    }
    assert_eq!(base64(b"x"), "eA==");
}
