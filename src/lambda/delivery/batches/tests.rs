use super::*;
use crate::{
    lambda::sample::{delivery, kafka, kinesis_record, records},
    record::{Assignment, NoKey, OrderBy},
    source::Budget,
};
use serde_json::json;

const ORDER: LaneOrder = LaneOrder {
    by: OrderBy::Key,
    no_key: NoKey::Partition,
};

fn start(delivery: &Delivery, budget: u64) -> Start {
    let source = "orders".into();
    Start {
        assignment: Arc::new(Assignment {
            name: delivery.partitions[0].full_name(&source),
            epoch: 0,
            generation: 0,
        }),
        checkpoint: None,
        budget: Arc::new(Budget::new(budget)),
    }
}

/// A Kinesis event of so many records, each of so many bytes.
fn of(count: usize, bytes: usize) -> Arc<Delivery> {
    let record = |n| kinesis_record(&format!("{}", 10 + n), &format!("k{n}"), &vec![b'x'; bytes]);
    let all: Vec<_> = (0..count).map(record).collect();
    Arc::new(delivery(&records(&all)))
}

fn handed(handed: Handed) -> Vec<Record> {
    match handed {
        Handed::Records(records) => records,
        other @ (Handed::Starved(_) | Handed::NoKey(_) | Handed::Through) => panic!("{other:?}"),
    }
}

#[test]
fn records_are_as_they_were_delivered() {
    let mut event: serde_json::Value =
        serde_json::from_str(&kafka(&[("t-0", &[(5, "a"), (7, "b")])])).expect("an event");
    event["records"]["t-0"][0]["headers"] = json!([{"h": [1, -1]}]);
    event["records"]["t-0"][1]["value"] = json!(null);
    let delivery = Arc::new(delivery(&event.to_string()));
    let start = start(&delivery, 1 << 20);
    let mut batches = Batches::new(Arc::clone(&delivery), 0);
    let records = handed(batches.next(&start, ORDER, |_| true));
    assert!(matches!(
        batches.next(&start, ORDER, |_| true),
        Handed::Through
    ));
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].id(), "orders/t/0/5/0");
    assert_eq!(
        (records[0].key(), records[0].lane()),
        (Some(&b"a"[..]), &b"ka"[..])
    );
    assert_eq!(records[0].value(), Some(&b"value 5"[..]));
    assert_eq!(records[0].timestamp(), Some(1_545_084_650_987));
    assert_eq!(
        records[0].headers().collect::<Vec<_>>(),
        [("h", &b"\x01\xff"[..])]
    );
    assert_eq!(
        (records[1].value(), records[1].headers().count()),
        (None, 0)
    );
}

#[test]
fn batches_are_bounded_and_hand_every_entry_over_once() {
    for (count, bytes) in [(1200, 10), (300, 1000), (3, 100_000)] {
        let delivery = of(count, bytes);
        let start = start(&delivery, 16 << 20);
        let mut batches = Batches::new(Arc::clone(&delivery), 0);
        let mut positions = Vec::new();
        while let Handed::Records(records) = batches.next(&start, ORDER, |_| true) {
            let together: usize = records.iter().map(|r| r.bytes() - r.lane().len()).sum();
            let is_bounded = records.len() <= 512 && together <= 64 << 10;
            assert!(
                is_bounded || records.len() == 1,
                "{} of {together}",
                records.len()
            );
            positions.extend(records.iter().map(|record| record.position().clone()));
        }
        let expected: Vec<_> = { delivery.partitions[0].entries() }
            .map(|entry| entry.position().clone())
            .collect();
        assert_eq!(positions, expected);
    }
}

#[test]
fn what_is_not_wanted_is_passed_over() {
    let delivery = of(6, 10);
    let start = start(&delivery, 1 << 20);
    let wanted =
        |position: &Position| position.number() != Some("10") && position.number() != Some("13");
    let mut batches = Batches::new(Arc::clone(&delivery), 0);
    assert!(batches.has_more(wanted));
    let records = handed(batches.next(&start, ORDER, wanted));
    let numbers: Vec<_> = records
        .iter()
        .filter_map(|r| r.position().number())
        .collect();
    assert_eq!(numbers, ["11", "12", "14", "15"]);
    assert!(!batches.has_more(wanted));
    let mut none = Batches::new(Arc::clone(&delivery), 0);
    assert!(!none.has_more(|_| false));
    assert!(matches!(
        none.next(&start, ORDER, |_| false),
        Handed::Through
    ));
}

#[test]
fn the_budget_bounds_what_is_out_at_once() {
    let delivery = of(100, 1000);
    let start = start(&delivery, 32 << 10);
    let mut batches = Batches::new(Arc::clone(&delivery), 0);
    let (mut out, mut count) = (Vec::new(), 0);
    loop {
        match batches.next(&start, ORDER, |_| true) {
            Handed::Records(records) => {
                count += records.len();
                out.push(records);
            }
            Handed::Starved(wants) => {
                assert!(!start.budget.has_room(wants));
                assert!(!out.is_empty(), "nothing is out, and nothing fits");
                out.clear();
            }
            Handed::Through => break,
            Handed::NoKey(error) => panic!("{error}"),
        }
        let held: usize = out.iter().flatten().map(Record::bytes).sum();
        assert!(held <= 32 << 10, "{held}");
    }
    assert_eq!(count, 100);
}

#[test]
fn a_record_larger_than_the_budget_comes_alone() {
    let delivery = of(2, 5000);
    let start = start(&delivery, 1000);
    let mut batches = Batches::new(Arc::clone(&delivery), 0);
    let first = handed(batches.next(&start, ORDER, |_| true));
    assert_eq!(first.len(), 1);
    assert!(matches!(
        batches.next(&start, ORDER, |_| true),
        Handed::Starved(_)
    ));
    drop(first);
    assert_eq!(handed(batches.next(&start, ORDER, |_| true)).len(), 1);
}

#[test]
fn a_record_without_key_is_told_where_that_is_refused() {
    let mut record = kinesis_record("11", "a", b"x");
    record["kinesis"]["partitionKey"] = json!(null);
    let event = records(&[kinesis_record("10", "a", b"x"), record]);
    let delivery = Arc::new(delivery(&event));
    let start = start(&delivery, 1 << 20);
    let refusing = LaneOrder {
        no_key: NoKey::Refuse,
        ..ORDER
    };
    let mut batches = Batches::new(Arc::clone(&delivery), 0);
    assert_eq!(handed(batches.next(&start, refusing, |_| true)).len(), 1);
    match batches.next(&start, refusing, |_| true) {
        Handed::NoKey(error) => assert_eq!(error.position.to_string(), "11"),
        other @ (Handed::Records(_) | Handed::Starved(_) | Handed::Through) => {
            panic!("{other:?}")
        }
    }
    let mut batches = Batches::new(Arc::clone(&delivery), 0);
    let both = handed(batches.next(&start, ORDER, |_| true));
    assert_eq!((both.len(), both[1].lane()), (2, &b"n"[..]));
}
