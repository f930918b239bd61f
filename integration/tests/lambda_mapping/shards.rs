//! Shards, keys and who goes on while another cannot (K5, K10 to K12, K34).

use crate::stubs::{answering, meeting, records, reporting, throwing_at};
use lanekeeper_integration::lambda::{Function, Mapping, OnFailure, Outcome, Put, Stream};
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

#[test]
fn k5_a_batch_is_of_one_shard() {
    let stream = Stream::new("orders", 3);
    for number in 0..30 {
        let put = Put::new("key", number.to_string());
        stream.put_record(put.into_shard(number % 3)).unwrap();
    }
    let journal = Mapping::kinesis(&answering("null"), &stream).run().unwrap();
    assert_eq!(journal.deliveries.len(), 3);
    for delivery in &journal.deliveries {
        let event: Value = serde_json::from_str(&delivery.event).unwrap();
        for record in event["Records"].as_array().unwrap() {
            let id = record["eventID"].as_str().unwrap();
            assert_eq!(id.split_once(':').unwrap().0, delivery.source);
        }
        assert_eq!(delivery.items.len(), 10);
    }
}

#[test]
fn k11_as_many_run_at_once_as_shards_times_factor() {
    let stream = Stream::new("orders", 2);
    for key in 0..40 {
        for shard in [0, 1] {
            let put = Put::new(&format!("k{key}"), "a");
            stream.put_record(put.into_shard(shard)).unwrap();
        }
    }
    let mapping = Mapping::kinesis(&meeting(6), &stream).parallelization(3);
    assert_eq!(mapping.run().unwrap().concurrency_most, 6);
    let stream = Stream::new("orders", 1);
    stream
        .put_all((0..9).map(|_| Put::new("key", "a")))
        .unwrap();
    let journal = Mapping::kinesis(&answering("null"), &stream).batch_size(1);
    assert_eq!(journal.run().unwrap().concurrency_most, 1);
}

#[test]
fn k10_a_key_stays_in_order_with_a_factor() {
    let stream = Stream::new("orders", 1);
    for number in 0..200 {
        let key = format!("k{}", number % 17);
        stream.put(&key, &format!("{key}/{number}")).unwrap();
    }
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let function = {
        let seen = Arc::clone(&seen);
        Function::stub(move |event| {
            let texts = records(event).into_iter().map(|(_, text)| text);
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(texts);
            Outcome::text("null")
        })
    };
    let mapping = Mapping::kinesis(&function, &stream)
        .parallelization(4)
        .batch_size(5);
    let journal = mapping.run().unwrap();
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(seen.len(), 200);
    let mut last: HashMap<&str, u32> = HashMap::new();
    for text in &seen {
        let (key, number) = text.split_once('/').unwrap();
        let number = number.parse().unwrap();
        assert!(last.insert(key, number) < Some(number), "{text}");
    }
    let keys_together = journal.deliveries.iter().any(|delivery| {
        let keys: HashSet<_> = delivery.items.iter().map(|item| &item.key).collect();
        keys.len() > 1
    });
    assert!(keys_together, "a part holds several keys");
}

#[test]
fn k12_a_part_that_cannot_go_on_does_not_keep_the_others() {
    let stream = Stream::new("orders", 1);
    for number in 0..60 {
        stream
            .put(&format!("k{number}"), &number.to_string())
            .unwrap();
    }
    let journal = Mapping::kinesis(&throwing_at(&["0"]), &stream)
        .parallelization(4)
        .batch_size(5)
        .retries(20)
        .on_failure(OnFailure::Queue)
        .run()
        .unwrap();
    let last_of = |text: &str| {
        journal
            .deliveries
            .iter()
            .rposition(|d| d.texts().contains(&text))
    };
    let failing = journal.deliveries_of("0")[0].texts();
    let others = (1..60).map(|number| number.to_string());
    let passed_it = others.filter(|text| last_of(text) < last_of("0"));
    assert!(passed_it.count() > 30, "of the other parts");
    assert_eq!(journal.deliveries_of("0").len(), 21);
    assert_eq!(
        journal.destinations[0]["KinesisBatchInfo"]["batchSize"],
        failing.len()
    );
}

/// Golden scenario 3, as the mapping sees it.
#[test]
fn what_is_behind_a_reported_record_comes_again_also_of_other_keys() {
    let stream = Stream::new("orders", 1);
    for (key, text) in [
        ("A", "A1"),
        ("B", "B1"),
        ("A", "A2"),
        ("B", "B2"),
        ("A", "A3"),
    ] {
        stream.put(key, text).unwrap();
    }
    let function = reporting(|text, times| text == "A2" && times == 1);
    let journal = Mapping::kinesis(&function, &stream)
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(journal.batches()[1..], [["A2", "B2", "A3"]]);
}

/// Golden scenario 10, as the mapping sees it.
#[test]
fn k34_a_child_begins_when_its_parents_are_drained() {
    let stream = Stream::new("orders", 1);
    stream.put("key", "parent").unwrap();
    stream.put("key", "parent too").unwrap();
    let [lower, upper] = stream.split(0).unwrap();
    stream
        .put_record(Put::new("key", "lower").into_shard(lower))
        .unwrap();
    stream
        .put_record(Put::new("key", "upper").into_shard(upper))
        .unwrap();
    let child = stream.merge(lower, upper).unwrap();
    stream
        .put_record(Put::new("key", "child").into_shard(child))
        .unwrap();
    let failing = throwing_at(&["parent too", "upper"]);
    let mapping = Mapping::kinesis(&failing, &stream).batch_size(1).retries(2);
    let journal = mapping.run().unwrap();
    let begins: Vec<&str> = journal.batches().concat();
    let place = |text: &str| begins.iter().position(|begun| *begun == text).unwrap();
    let last = |text: &str| begins.iter().rposition(|begun| *begun == text).unwrap();
    assert_eq!(
        begins[..4],
        ["parent", "parent too", "parent too", "parent too"]
    );
    assert!(place("lower") > last("parent too") && place("upper") > last("parent too"));
    assert!(place("child") > last("upper") && place("child") > place("lower"));
}

#[test]
fn two_mappings_of_one_stream_hand_out_everything_twice() {
    let stream = Stream::new("orders", 1);
    stream
        .put_all((0..5).map(|number| Put::new("key", number.to_string())))
        .unwrap();
    let function = meeting(2);
    let mapping = || Mapping::kinesis(&function, &stream).start().unwrap();
    let running = [mapping(), mapping()];
    for mapping in running {
        mapping.until_idle().unwrap();
        assert_eq!(
            mapping.stop().unwrap().batches(),
            [["0", "1", "2", "3", "4"]]
        );
    }
}
