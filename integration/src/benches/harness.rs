//! That the ledger which the Rust harnesses share sees what it is there to see. Java's, and that each
//! harness asks its ledger, is shown at the begin of each benchmark by a topic with a mistake.

#[path = "../../../benches/kafka/job.rs"]
mod job;
#[path = "../../../benches/kafka/ledger.rs"]
mod ledger;

use super::reader::Figures;
use job::Job;
use ledger::{Ledger, Value, since_epoch};
use std::time::Duration;

fn value(key: u32, number: u32) -> Vec<u8> {
    let mut value = key.to_le_bytes().to_vec();
    value.extend(number.to_le_bytes());
    value.extend(since_epoch().to_le_bytes());
    value
}

fn ledger(records: usize) -> Ledger {
    let args = format!(
        "--servers s --topic t --group g --records {records} --warm-up 0 --keys 2 --cap 1 \
         --records-per-call 1 --delay 0 --latencies yes"
    );
    let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
    let job = Job::from_args(&args).unwrap();
    assert_eq!((job.delay, job.records_per_call), (Duration::ZERO, 1));
    assert_eq!([job.servers, job.topic, job.group], ["s", "t", "g"]);
    Ledger::new(&Job::from_args(&args).unwrap())
}

fn figures(ledger: &Ledger) -> Figures {
    serde_json::from_str(&ledger.line().unwrap()).unwrap()
}

/// How many records were wrong after these, each in a call of its own.
fn wrong(records: &[(u32, u32)]) -> u64 {
    let ledger = ledger(records.len());
    for (key, number) in records {
        ledger.end(&ledger.begin([&value(*key, *number)[..]]));
    }
    assert_eq!(figures(&ledger).records, records.len() as u64);
    figures(&ledger).wrong
}

#[test]
fn records_in_the_order_of_their_keys_are_right() {
    assert_eq!(wrong(&[(0, 0), (1, 0), (1, 1), (0, 1)]), 0);
    let read = Value::read(&value(7, 5)).unwrap();
    assert_eq!((read.key, read.number), (7, 5));
}

#[test]
fn a_record_that_comes_twice_early_late_or_never_is_seen() {
    assert!(wrong(&[(0, 0), (0, 0), (0, 1)]) > 0, "twice");
    assert!(wrong(&[(0, 0), (0, 2), (0, 1)]) > 0, "early");
    assert!(wrong(&[(0, 0), (0, 2), (0, 3)]) > 0, "never");
    assert!(wrong(&[(7, 0)]) > 0, "a key that there is not");
}

#[test]
fn two_calls_of_one_key_at_once_are_seen() {
    let ledger = ledger(2);
    let first = ledger.begin([&value(0, 0)[..]]);
    let second = ledger.begin([&value(0, 1)[..]]);
    ledger.end(&first);
    assert!(ledger.end(&second), "the last one");
    assert_eq!(figures(&ledger).wrong, 1);
}

#[test]
fn a_call_of_several_is_in_order_or_not() {
    let (zero, one, two) = (value(0, 0), value(0, 1), value(0, 2));
    let right = ledger(3);
    right.end(&right.begin([&zero[..], &one, &two]));
    assert_eq!(figures(&right).wrong, 0);
    let left = ledger(3);
    left.end(&left.begin([&zero[..], &two, &one]));
    assert_eq!(figures(&left).wrong, 2);
}

#[test]
fn without_the_last_record_there_is_no_line() {
    let ledger = ledger(2);
    ledger.end(&ledger.begin([&value(0, 0)[..]]));
    assert_eq!(ledger.line().unwrap_err(), "1 of 2 records came");
}

#[test]
fn a_value_that_is_too_short_is_wrong() {
    let ledger = ledger(1);
    ledger.end(&ledger.begin([&[0; ledger::VALUE_MIN - 1][..]]));
    assert_eq!(figures(&ledger).wrong, 1);
}
