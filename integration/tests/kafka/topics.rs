//! What the launcher promises to every test: a broker, and topics made at once.

use crate::client::{config, consume, consume_in_group, produce, values};
use lanekeeper_integration::kafka::Kafka;
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer as _},
    types::RDKafkaErrorCode,
};
use std::{collections::BTreeSet, time::Duration};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn records_that_are_written_are_read_back() {
    let kafka = Kafka::start().unwrap();
    let topic = &Kafka::topic_name();
    kafka.create_topic(topic, 2, &[]).unwrap();
    let written = values("value", 100);
    let config = config(kafka.bootstrap());
    produce(&config, topic, &written);
    assert_eq!(consume(&config, topic, 100), written);
}

#[test]
fn a_group_of_the_new_protocol_is_served() {
    let kafka = Kafka::start().unwrap();
    let topic = &Kafka::topic_name();
    kafka.create_topic(topic, 1, &[]).unwrap();
    let written = values("value", 10);
    let config = config(kafka.bootstrap());
    produce(&config, topic, &written);
    assert_eq!(consume_in_group(&config, topic, 10), written);
}

/// What a topic is configured to, by itself or by default.
fn setting(config: &ClientConfig, topic: &str, name: &str) -> String {
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let topic = ResourceSpecifier::Topic(topic);
    let (topics, options) = ([topic], AdminOptions::new());
    let asked = admin.describe_configs(&topics, &options);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let mut told = runtime.unwrap().block_on(asked).unwrap();
    let told = told.remove(0).unwrap();
    told.get(name).unwrap().value.clone().unwrap()
}

#[test]
fn topics_grow_shrink_and_go() {
    let kafka = Kafka::start().unwrap();
    let topic = &Kafka::topic_name();
    let config = config(kafka.bootstrap());
    let asking: BaseConsumer = config.create().unwrap();
    let partitions = || {
        let metadata = asking.fetch_metadata(Some(topic), LIMIT).unwrap();
        metadata.topics()[0].partitions().len()
    };

    kafka
        .create_topic(topic, 3, &[("retention.ms", "3600000")])
        .unwrap();
    assert_eq!(partitions(), 3);
    let again = kafka.create_topic(topic, 3, &[]).unwrap_err().to_string();
    assert!(
        again.contains(topic) && again.contains("already exists"),
        "{again}"
    );
    kafka.grow_topic(topic, 5).unwrap();
    assert_eq!(partitions(), 5);

    produce(&config, topic, &values("value", 10));
    kafka.delete_records(topic, 0, 4).unwrap();
    assert_eq!(asking.fetch_watermarks(topic, 0, LIMIT).unwrap(), (4, 10));

    kafka
        .alter_topic(topic, &[("max.message.bytes", "1000")])
        .unwrap();
    assert_eq!(setting(&config, topic, "max.message.bytes"), "1000");
    assert_eq!(setting(&config, topic, "retention.ms"), "604800000");
    let refused = kafka.alter_topic(topic, &[("max.message.bytes", "many")]);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("does not become `many`"), "{refused}");

    kafka.delete_topic(topic).unwrap();
    let metadata = asking.fetch_metadata(Some(topic), LIMIT).unwrap();
    let error = metadata.topics()[0].error().map(RDKafkaErrorCode::from);
    assert_eq!(error, Some(RDKafkaErrorCode::UnknownTopicOrPartition));
}

#[test]
fn nobody_ends_a_broker_that_others_use() {
    let kafka = Kafka::start().unwrap();
    for refused in [
        kafka.kill_broker(0),
        kafka.stop_broker(0),
        kafka.freeze_broker(0),
    ] {
        assert!(refused.unwrap_err().to_string().contains("Kafka::own"));
    }
}

#[test]
fn topics_of_tests_have_names_of_their_own() {
    let names: BTreeSet<String> = (0..1_000).map(|_| Kafka::topic_name()).collect();
    assert_eq!(names.len(), 1_000);
    assert!(
        names
            .iter()
            .all(|name| name.starts_with("lanekeeper-test-"))
    );
}
