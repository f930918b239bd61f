//! The function fed by servers in place of models: a FIFO queue of an emulator of SQS, and a real Kafka.
//! (An emulator of Kinesis feeds it in `recovery.rs`.)

use crate::{
    target::Say,
    world::{World, named},
};
use lanekeeper_integration::{
    kafka::Kafka,
    lambda::{Mapping, MessageQueue as _, Topics},
    sqs::Sqs,
};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::json;
use std::time::Duration;

/// How long a message that failed stays hidden.
const VISIBILITY: Duration = Duration::from_secs(2);

#[test]
fn s6_f18_a_group_of_an_emulated_queue_stops_and_the_other_is_deleted() {
    let sqs = Sqs::start().unwrap();
    let queue = sqs.create_fifo(VISIBILITY).unwrap();
    for (group, text) in [("g1", "g1m1"), ("g1", "g1m2"), ("g2", "g2m1")] {
        queue.send_to(group, text).unwrap();
    }
    let (url, arn) = (queue.url().to_owned(), queue.arn());
    let source = [("type", "sqs"), ("queue_url", &*url), ("arn", &*arn)];
    let world = World::new(&source, &[("failure.timeout", "\"400ms\"")]);
    world.target.always("g1m1", Say::Status(400));
    let function = world.function().timeout(VISIBILITY);
    let mapping = || Mapping::sqs(&function, &queue).reports_failures();
    let journal = mapping().deliveries_max(2).run().unwrap();
    assert_eq!(named(&journal.deliveries[0]), ["g1m1", "g1m2"]);
    assert_eq!(journal.deliveries[1].texts(), ["g1m1", "g1m2"]);
    assert_eq!(world.target.count("g1m1"), 1, "it stands");
    assert_eq!(world.target.count("g1m2"), 0);
    world.target.always("g1m1", Say::Done);
    world.retry_all();
    mapping().run().unwrap();
    assert_eq!(world.target.texts_of("g1"), ["g1m1", "g1m1", "g1m2"]);
    assert_eq!(world.target.texts_of("g2"), ["g2m1"]);
    assert!(queue.receive(10).unwrap().messages.is_empty());
}

/// What a topic holds, behind a mapping that begins there.
fn read(kafka: &Kafka, topic: &str) -> Topics {
    kafka.records(topic).unwrap()
}

#[test]
fn s9_a_key_of_a_real_kafka_stops_and_the_others_of_its_partition_go_on() {
    let kafka = Kafka::start().unwrap();
    let topic = Kafka::topic_name();
    kafka.create_topic(&topic, 1, &[]).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap());
    let producer: BaseProducer = config.create().unwrap();
    for (key, text) in [
        ("a", "a0"),
        ("b", "b1"),
        ("a", "a2"),
        ("b", "b3"),
        ("a", "a4"),
    ] {
        let record = BaseRecord::to(&topic).key(key).payload(text);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    let topics = format!("[\"{topic}\"]");
    let source = [
        ("type", "kafka"),
        ("bootstrap_servers", kafka.bootstrap()),
        ("group_id", "orders"),
    ];
    let world = World::new(&source, &[("sources.orders.topics", &topics)]);
    world.target.always("a2", Say::Status(400));
    let mapping = Mapping::kafka(&world.function(), &read(&kafka, &topic)).reports_failures();
    let journal = mapping.deliveries_max(2).run().unwrap();
    let partition = format!("{topic}-0");
    let failed = [2, 4]
        .map(|offset| json!({"itemIdentifier": {"partition": &*partition, "offset": offset}}));
    assert_eq!(
        journal.deliveries[0].answer(),
        json!({"batchItemFailures": failed}),
        "the failing offset and the later ones of its partition that are not done"
    );
    assert_eq!(journal.deliveries[1].texts(), ["a2", "a4"]);
    assert_eq!(world.target.texts_of("b"), ["b1", "b3"]);
    assert_eq!(world.target.texts_of("a"), ["a0", "a2"]);
    let [lane] = &world.lanes()[..] else {
        unreachable!("one lane stands");
    };
    assert_eq!(lane["key"], "a", "{lane:#}");
}
