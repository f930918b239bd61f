//! Where reading begins without a checkpoint.

use crate::bench::{Bench, Written};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
};

/// 2026-01-01T00:00:00Z, in milliseconds.
const NEW_YEAR: i64 = 1_767_225_600_000;

/// Three records a minute apart, the second one at new year.
fn three() -> Bench {
    let bench = Bench::of_echoes(1);
    let values = ["before", "new year", "behind"];
    let records = values.iter().zip(-1..).map(|(value, minutes)| Written {
        partition: Some(0),
        value: Some(value.as_bytes()),
        timestamp: Some(NEW_YEAR + 60_000 * minutes),
        ..Written::default()
    });
    bench.write(&records.collect::<Vec<_>>());
    bench
}

fn begins_at(bench: &Bench, sets: &[&str], wanted: &[&str]) {
    let ended = bench.run_to_the_end(sets);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(bench.values(), wanted);
}

/// The group has this offset, of another program's doing.
fn commit(bench: &Bench, offset: i64) {
    let mut config = bench.config();
    config.set("group.id", &bench.topic);
    let consumer: BaseConsumer = config.create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&bench.topic, 0, Offset::Offset(offset))
        .unwrap();
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

#[test]
fn by_itself_at_the_oldest_record() {
    begins_at(&three(), &[], &["before", "new year", "behind"]);
}

#[test]
fn at_the_end_when_asked() {
    let bench = three();
    begins_at(&bench, &["sources.orders.start=latest"], &[]);
    bench.write_values(&["later"]);
    begins_at(&bench, &[], &["later"]);
}

#[test]
fn at_a_time_when_asked() {
    let time = "sources.orders.start={ time = \"2026-01-01T00:00:00Z\" }";
    begins_at(&three(), &[time], &["new year", "behind"]);
}

#[test]
fn behind_the_end_when_no_record_is_as_young_as_that_time() {
    let bench = three();
    let time = "sources.orders.start={ time = \"2026-06-01T00:00:00Z\" }";
    begins_at(&bench, &[time], &[]);
    bench.write_values(&["later"]);
    begins_at(&bench, &[time], &["later"]);
}

#[test]
fn nowhere_when_asked_to_refuse() {
    let bench = three();
    let ended = bench.run_to_the_end(&["sources.orders.start=refuse"]);
    assert_eq!(ended.code, Some(4), "{ended:#?}");
    assert!(
        ended
            .errors
            .contains("has no checkpoint, and `start` is `refuse`"),
        "{ended:#?}"
    );
    assert!(bench.values().is_empty());
}

#[test]
fn nowhere_by_itself_where_the_group_has_an_offset_and_where_it_is_told_then() {
    let bench = three();
    commit(&bench, 2);
    let ended = bench.run_to_the_end(&[]);
    assert_eq!(ended.code, Some(4), "{ended:#?}");
    assert!(
        ended.errors.contains("has committed offset 2"),
        "{ended:#?}"
    );
    assert!(bench.values().is_empty());
    begins_at(
        &bench,
        &["sources.orders.start=earliest"],
        &["before", "new year", "behind"],
    );
    bench.wait_for_the_group();
}

#[test]
fn not_where_another_worker_of_the_group_has_gone_on_with_a_store_of_its_own() {
    let bench = three();
    begins_at(&bench, &[], &["before", "new year", "behind"]);
    bench.write_values(&["fourth", "fifth"]);
    commit(&bench, 5);
    let ended = bench.run_to_the_end(&[]);
    assert_eq!(ended.code, Some(4), "{ended:#?}");
    assert!(
        ended.errors.contains("workers of a group need one store"),
        "{ended:#?}"
    );
    assert_eq!(bench.values().len(), 3);
}
