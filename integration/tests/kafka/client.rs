//! A producer and a consumer, as a test wants them.

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use std::time::{Duration, Instant};

/// How long anything may take that is expected to succeed, also over a broker's restart.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200");
    config
}

/// Writes values into partition 0 and waits until all replicas have them.
pub(crate) fn produce(config: &ClientConfig, topic: &str, values: &[String]) {
    let mut config = config.clone();
    config.set("acks", "all").set("enable.idempotence", "true");
    let producer: BaseProducer = config.create().unwrap();
    for value in values {
        let record = BaseRecord::to(topic).partition(0).key("key").payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    assert_eq!(producer.in_flight_count(), 0);
}

/// Reads so many values of partition 0 from its first record on.
pub(crate) fn consume(config: &ClientConfig, topic: &str, count: usize) -> Vec<String> {
    let mut config = config.clone();
    config
        .set("group.id", topic)
        .set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&from).unwrap();
    read(&consumer, count)
}

/// Reads so many values as a member of a group.
pub(crate) fn consume_in_group(config: &ClientConfig, topic: &str, count: usize) -> Vec<String> {
    let mut config = config.clone();
    config
        .set("group.id", topic)
        .set("group.protocol", "consumer")
        .set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    read(&consumer, count)
}

fn read(consumer: &BaseConsumer, count: usize) -> Vec<String> {
    let began = Instant::now();
    let mut values = Vec::new();
    let mut last_error = None;
    while values.len() < count {
        assert!(
            began.elapsed() < PATIENCE,
            "{} of {count} values, last error: {last_error:?}",
            values.len()
        );
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                values.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
            }
            // While a broker restarts.
            Some(Err(error)) => last_error = Some(error),
            None => {}
        }
    }
    values
}

/// `PREFIX-0`, `PREFIX-1`, …
pub(crate) fn values(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}
