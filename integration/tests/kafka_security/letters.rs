//! Dead letters in a topic.

use crate::{FOR_EVER, HANDLER, PATIENCE, produce};
use lanekeeper_integration::{
    kafka::Kafka,
    scene::{Scene, eventually},
};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::Headers as _,
};
use serde_json::Value;
use std::{fs, time::Duration, time::Instant};

/// As it was read from the topic.
#[derive(PartialEq, Eq, Debug)]
struct Letter {
    key: String,
    value: Option<String>,
    timestamp: Option<i64>,
    headers: Vec<(String, String)>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The first so many letters.
fn letters(bootstrap: &str, topic: &str, count: usize) -> Vec<Letter> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", topic)
        .create()
        .unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&from).unwrap();
    let began = Instant::now();
    let mut all = Vec::new();
    while all.len() < count {
        assert!(
            began.elapsed() < PATIENCE,
            "{} of {count} letters",
            all.len()
        );
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            let headers = message.headers().unwrap().iter();
            all.push(Letter {
                key: text(message.key().unwrap()),
                value: message.payload().map(text),
                timestamp: message.timestamp().to_millis(),
                headers: headers
                    .map(|header| (header.key.to_owned(), text(header.value.unwrap())))
                    .collect(),
            });
        }
    }
    all
}

fn scene(kafka: &Kafka, topic: &str, dead: &str) -> Scene {
    let config = format!(
        r#"
app = "{topic}"
cap = 4
drain = "3s"

[sources.in]
type = "kafka"
bootstrap_servers = "{}"
topics = ["{topic}"]
properties = {{ "session.timeout.ms" = 6000 }}

[failure]
timeout = "2s"
backoff_min = "10ms"
backoff_max = "500ms"
then = "dead-letter"
dead_letter = {{ type = "kafka", topic = "{dead}" }}

[store]
flush_interval = "50ms"
{HANDLER}"#,
        kafka.bootstrap()
    );
    Scene::new(&config).unwrap()
}

fn expected(topic: &str, key: &str, value: Option<&str>, position: u64) -> Letter {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Letter {
        key: key.to_owned(),
        value: value.map(str::to_owned),
        timestamp: Some(1_700_000_000_000),
        headers: vec![
            header("trace", "t-1"),
            header("lanekeeper.id", &format!("in/{topic}/0/{position}/0")),
            header("lanekeeper.source", "in"),
            header("lanekeeper.partition", &format!("{topic}/0")),
            header("lanekeeper.position", &position.to_string()),
            header("lanekeeper.error", "no such account"),
            header("lanekeeper.attempts", "1"),
        ],
    }
}

fn tries(scene: &Scene, position: u64) -> usize {
    let ledger = fs::read_to_string(scene.path("ledger.txt")).unwrap_or_default();
    let position = position.to_string();
    ledger.lines().filter(|line| *line == position).count()
}

const RECORDS: [(&str, Option<&str>); 6] = [
    ("a", Some("good")),
    ("b", Some("bad")),
    ("a", None),
    ("b", Some("good")),
    ("a", Some("good")),
    ("c", Some("good")),
];

#[test]
fn g7_a_failed_record_is_in_the_topic_as_it_was_with_what_became_of_it() {
    let kafka = Kafka::start().unwrap();
    let (topic, dead) = (Kafka::topic_name(), Kafka::topic_name());
    kafka.create_topic(&topic, 1, &FOR_EVER).unwrap();
    kafka.create_topic(&dead, 1, &FOR_EVER).unwrap();
    produce(kafka.bootstrap(), &topic, &RECORDS);
    let scene = scene(&kafka, &topic, &dead);
    let checked = scene.run(&["check"]).unwrap();
    assert!(
        checked
            .output
            .contains(&format!("failure.dead_letter: topic `{dead}`")),
        "{checked:#?}"
    );
    let ended = scene
        .run(&["run", "--until-idle", "--report", "-"])
        .unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let report = ended.json().unwrap();
    let figures = [&report["done"], &report["dead_lettered"]];
    assert_eq!(figures, [&Value::from(4), &Value::from(2)], "{report}");
    let mut found = letters(kafka.bootstrap(), &dead, 2);
    found.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(
        found,
        [
            expected(&topic, "a", None, 2),
            expected(&topic, "b", Some("bad"), 1)
        ]
    );
}

/// The topic of dead letters is missing until the worker that gave the verdict is dead.
#[test]
fn g8_a_verdict_outlives_a_kill_before_the_letter_is_published() {
    let kafka = Kafka::start().unwrap();
    let (topic, dead) = (Kafka::topic_name(), Kafka::topic_name());
    kafka.create_topic(&topic, 1, &FOR_EVER).unwrap();
    produce(kafka.bootstrap(), &topic, &RECORDS[..2]);
    let scene = scene(&kafka, &topic, &dead);
    let checked = scene.run(&["check"]).unwrap();
    assert_eq!(checked.code, Some(4), "{checked:#?}");
    let mut worker = scene.start(&["run"]).unwrap();
    eventually("a letter that finds no topic", || {
        Ok(worker.errors()?.contains("dead letter not published"))
    })
    .unwrap();
    assert!(
        worker.errors().unwrap().contains("create it"),
        "{}",
        worker.errors().unwrap()
    );
    worker.signal("KILL").unwrap();
    worker.wait().unwrap();
    assert_eq!(tries(&scene, 1), 1);
    kafka.create_topic(&dead, 1, &FOR_EVER).unwrap();
    let ended = scene
        .run(&["run", "--until-idle", "--report", "-"])
        .unwrap();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_eq!(ended.json().unwrap()["dead_lettered"], 1, "{ended:#?}");
    let found = letters(kafka.bootstrap(), &dead, 1);
    assert_eq!(found, [expected(&topic, "b", Some("bad"), 1)]);
    assert_eq!(tries(&scene, 1), 1, "it was not run again");
}
