//! The log is not what the checkpoint left: an error that names both, and what `on_gap` makes of it.

use crate::bench::Bench;
use lanekeeper_integration::scene::eventually;

/// Ten records, read and settled.
fn settled() -> Bench {
    let bench = Bench::of_echoes(1);
    write(&bench, 0..10);
    let ended = bench.run_to_the_end(&[]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(bench.values().len(), 10);
    bench
}

fn write(bench: &Bench, numbers: std::ops::Range<u64>) {
    let values: Vec<String> = numbers.map(|number| format!("value {number}")).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    bench.write_values(&values);
}

const EARLIEST: &str = "sources.orders.on_gap=earliest";
const LATEST: &str = "sources.orders.on_gap=latest";

/// It is refused with these words, twice.
fn refuses(bench: &Bench, words: &[&str]) {
    for _ in 0..2 {
        let ended = bench.run_to_the_end(&[]);
        assert_eq!(ended.code, Some(4), "{ended:#?}");
        for word in words {
            assert!(ended.errors.contains(word), "{word}: {ended:#?}");
        }
    }
    assert_eq!(bench.values().len(), 10);
}

#[test]
fn a_topic_that_was_made_anew_is_refused_by_both_its_ids() {
    let bench = settled();
    bench.kafka.delete_topic(&bench.topic).unwrap();
    bench.kafka.create_topic(&bench.topic, 1, &[]).unwrap();
    write(&bench, 100..115);
    refuses(
        &bench,
        &[
            "is of topic id `",
            "the topic has id `",
            "deleted and made anew",
            "on_gap",
        ],
    );
    let ended = bench.run_to_the_end(&[EARLIEST]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(bench.values().len(), 25);
    let ended = bench.run_to_the_end(&[]);
    assert_eq!(
        ended.code,
        Some(0),
        "it is this topic's checkpoint now: {ended:#?}"
    );
    assert_eq!(bench.values().len(), 25);
}

#[test]
fn a_topic_that_is_made_anew_while_it_is_read_ends_the_worker_by_both_its_ids() {
    let bench = Bench::of_echoes(1);
    write(&bench, 0..10);
    let quick = "sources.orders.properties.\"topic.metadata.refresh.interval.ms\"=500";
    let mut member = bench.scene.start(&["run", "--set", quick]).unwrap();
    eventually("the records", || Ok(bench.values().len() == 10)).unwrap();
    bench.wait_for_the_group();
    // It sees one topic and then the other, which has a record where it stands, and never none.
    member.signal("STOP").unwrap();
    bench.kafka.delete_topic(&bench.topic).unwrap();
    bench.kafka.create_topic(&bench.topic, 1, &[]).unwrap();
    write(&bench, 100..115);
    member.signal("CONT").unwrap();
    // It notices by its own looks, or by the group, where that has given the topic out anew meanwhile.
    let words = [
        "of topic id `",
        "has id `",
        "deleted and made anew",
        "on_gap",
    ];
    let ended = member.wait().unwrap();
    assert_eq!(ended.code, Some(4), "{ended:#?}");
    for word in words {
        assert!(ended.errors.contains(word), "{word}: {ended:#?}");
    }
    // Nothing of the new topic became a part of the old one's checkpoint that would be gone on with.
    let ended = bench.run_to_the_end(&[]);
    assert_eq!(ended.code, Some(4), "{ended:#?}");
    let ended = bench.run_to_the_end(&[EARLIEST]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let values = bench.values();
    let new: Vec<String> = (100..115).map(|n| format!("value {n}")).collect();
    assert!(values.ends_with(&new), "{values:?}");
}

#[test]
fn records_that_retention_took_unread_are_refused_and_gone_on_behind_when_asked() {
    let bench = settled();
    write(&bench, 10..20);
    bench.kafka.delete_records(&bench.topic, 0, 15).unwrap();
    refuses(&bench, &["go on at offset 10", "begins at 15", "on_gap"]);
    let ended = bench.run_to_the_end(&[EARLIEST]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let values = bench.values();
    assert_eq!(
        values[10..],
        [15, 16, 17, 18, 19].map(|n| format!("value {n}"))
    );
    bench.wait_for_the_group();
}

#[test]
fn records_that_retention_took_unread_are_left_out_with_all_others_when_asked() {
    let bench = settled();
    write(&bench, 10..20);
    bench.kafka.delete_records(&bench.topic, 0, 15).unwrap();
    let ended = bench.run_to_the_end(&[LATEST]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(bench.values().len(), 10);
    write(&bench, 20..21);
    let ended = bench.run_to_the_end(&[]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(bench.values()[10..], ["value 20"]);
}

#[test]
fn records_that_retention_took_behind_the_checkpoint_are_no_gap() {
    let bench = settled();
    write(&bench, 10..12);
    bench.kafka.delete_records(&bench.topic, 0, 10).unwrap();
    let ended = bench.run_to_the_end(&[]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(bench.values().len(), 12);
}
