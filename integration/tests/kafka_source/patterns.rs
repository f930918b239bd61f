//! Topics that are read by a pattern come, go, and are asked for without a run.

use crate::{
    bench::{Bench, Written, echo, flush, send, stop},
    groups::owned,
};
use lanekeeper_integration::{kafka::Kafka, scene::eventually};
use std::collections::BTreeSet;

fn write(bench: &Bench, topic: &str, values: &[&str]) {
    let producer = bench.producer();
    for value in values {
        let written = Written {
            value: Some(value.as_bytes()),
            ..Written::default()
        };
        send(&producer, topic, &written);
    }
    flush(&producer);
}

fn waits_for(bench: &Bench, values: &[&str]) {
    let wanted: BTreeSet<&str> = values.iter().copied().collect();
    let seen = || {
        let values = bench.values();
        Ok(values.len() == wanted.len() && values.iter().all(|v| wanted.contains(v.as_str())))
    };
    let waited = eventually("the values", seen);
    assert!(waited.is_ok(), "{wanted:?} {:?}", bench.values());
}

fn topics_come_and_go(sets: &[&str]) {
    let kafka = Kafka::start().unwrap();
    let prefix = Kafka::topic_name();
    let [first, second, late, other] =
        ["-first", "-second", "-late", ""].map(|end| format!("{prefix}{end}"));
    for topic in [&first, &second, &other] {
        kafka.create_topic(topic, 1, &[]).unwrap();
    }
    let bench = Bench::without_topic(kafka, prefix.clone(), &echo(0));
    let pattern = format!("sources.orders.topics=[\"^{prefix}-\"]");
    let quick = "sources.orders.properties.\"topic.metadata.refresh.interval.ms\"=500";
    let all = [sets, &[pattern.as_str(), quick]].concat();
    let sets = || all.iter().flat_map(|set| ["--set", set]);
    write(&bench, &first, &["1"]);
    write(&bench, &other, &["not matched"]);
    let checked: Vec<&str> = ["check"].into_iter().chain(sets()).collect();
    let checked = bench.scene.run(&checked).unwrap();
    assert_eq!(checked.code, Some(0), "{checked:#?}");
    for topic in [&first, &second] {
        assert!(
            checked.output.contains(&format!("topic `{topic}`")),
            "{checked:#?}"
        );
    }
    let run: Vec<&str> = ["run", "--history", "history"]
        .into_iter()
        .chain(sets())
        .collect();
    let member = bench.scene.start(&run).unwrap();
    waits_for(&bench, &["1"]);
    write(&bench, &second, &["2"]);
    waits_for(&bench, &["1", "2"]);
    bench.kafka.create_topic(&late, 1, &[]).unwrap();
    write(&bench, &late, &["3"]);
    waits_for(&bench, &["1", "2", "3"]);
    let status: Vec<&str> = ["status"].into_iter().chain(sets()).collect();
    let status = bench.scene.run(&status).unwrap();
    for topic in [&first, &second, &late] {
        assert!(status.output.contains(topic.as_str()), "{status:#?}");
    }
    bench.kafka.delete_topic(&first).unwrap();
    let gone = format!("orders/{first}/0");
    eventually("the deleted topic to be given up", || {
        let owned = owned(&bench, "history");
        Ok(!owned.contains(&gone) && owned.len() == 2)
    })
    .unwrap();
    write(&bench, &late, &["4"]);
    write(&bench, &second, &["5"]);
    waits_for(&bench, &["1", "2", "3", "4", "5"]);
    stop(member);
    bench.audit(&["history"]);
}

#[test]
fn topics_that_match_are_read_when_they_come_and_given_up_when_they_go() {
    topics_come_and_go(&[]);
}

#[test]
fn topics_that_match_come_and_go_under_the_new_protocol_too() {
    topics_come_and_go(&[
        "sources.orders.group_protocol=consumer",
        "sources.orders.properties={}",
    ]);
}

#[test]
fn a_pattern_that_matches_nothing_yet_is_said_and_waited_for() {
    let prefix = Kafka::topic_name();
    let bench = Bench::without_topic(Kafka::start().unwrap(), prefix.clone(), &echo(0));
    let pattern = format!("sources.orders.topics=[\"^{prefix}-\"]");
    let ended = bench.run_to_the_end(&[&pattern]);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert!(ended.errors.contains("no topic matches"), "{ended:#?}");
    let quick = "sources.orders.properties.\"topic.metadata.refresh.interval.ms\"=500";
    let run = ["run", "--set", &pattern, "--set", quick];
    let member = bench.scene.start(&run).unwrap();
    let topic = format!("{prefix}-first");
    bench.kafka.create_topic(&topic, 1, &[]).unwrap();
    write(&bench, &topic, &["1"]);
    waits_for(&bench, &["1"]);
    stop(member);
}
