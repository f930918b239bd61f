//! Mappings from emulators of Kinesis and SQS, and from a real Kafka: what the models do, from what a server
//! has.

use crate::stubs::{reporting, throwing};
use lanekeeper_integration::{
    kafka::Kafka,
    kinesis::Kinesis,
    lambda::{Mapping, MessageQueue as _, OnFailure},
    sqs::Sqs,
};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use serde_json::Value;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn k24_from_an_emulator_of_kinesis() {
    let kinesis = Kinesis::start().unwrap();
    let stream = kinesis.create_stream(1).unwrap();
    let put = |text: &str| kinesis.put(&stream, "key", text).unwrap();
    let numbers = ["a", "b", "c"].map(put);
    assert!(numbers.is_sorted(), "{numbers:?}");
    let function = reporting(|text, _| text == "c");
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    let mapping = mapping
        .batch_size(3)
        .retries(3)
        .on_failure(OnFailure::Queue);
    let running = mapping.start().unwrap();
    running.until_idle().unwrap();
    put("d");
    running.until_idle().unwrap();
    let journal = running.stop().unwrap();
    let expected = [&["a", "b", "c"][..], &["c"], &["c"], &["c"], &["c"], &["d"]];
    assert_eq!(journal.batches(), expected);
    assert_eq!(
        journal.deliveries[0].ids(),
        numbers.each_ref().map(|number| number.as_str())
    );
    let info = &journal.destinations[0]["KinesisBatchInfo"];
    assert_eq!(info["startSequenceNumber"], numbers[2].as_str());
    assert_eq!(info["streamArn"], stream.arn());
}

#[test]
fn k34_an_emulated_shard_is_drained_before_its_children_begin() {
    let kinesis = Kinesis::start().unwrap();
    let stream = kinesis.create_stream(1).unwrap();
    let put = |number: u32| kinesis.put(&stream, &number.to_string(), number.to_string());
    (0..20)
        .try_for_each(|number| put(number).map(drop))
        .unwrap();
    kinesis.split(&stream, 0).unwrap();
    (20..40)
        .try_for_each(|number| put(number).map(drop))
        .unwrap();
    let function = reporting(|text, times| text == "19" && times < 3);
    let mapping = Mapping::kinesis(&function, &stream).reports_failures();
    let journal = mapping.run().unwrap();
    let of_parent = |delivery: &&lanekeeper_integration::lambda::Delivery| {
        delivery.source == "shardId-000000000000"
    };
    assert_eq!(journal.deliveries.iter().take_while(of_parent).count(), 3);
    assert_eq!(journal.deliveries.iter().filter(of_parent).count(), 3);
    let later: usize = journal.deliveries[3..].iter().map(|d| d.items.len()).sum();
    assert_eq!(later, 20);
}

#[test]
fn s3_from_an_emulator_of_sqs() {
    let sqs = Sqs::start().unwrap();
    let queue = sqs.create_standard(SECOND).unwrap();
    for text in ["1", "2", "3"] {
        queue.send(text).unwrap();
    }
    let function = reporting(|text, times| text == "2" && times == 1).timeout(SECOND);
    let journal = Mapping::sqs(&function, &queue)
        .reports_failures()
        .run()
        .unwrap();
    assert_eq!(journal.batches(), [&["1", "2", "3"][..], &["2"]]);
    assert_eq!(journal.deliveries[1].items[0].receives, 2);
    assert!(queue.receive(1).unwrap().messages.is_empty());
}

#[test]
fn f19_from_an_emulator_of_sqs() {
    let sqs = Sqs::start().unwrap();
    let (queue, dead_letters) = sqs.create_fifo_with_dead_letters(SECOND, 2).unwrap();
    let ids = ["1", "2", "3", "4"].map(|text| queue.send_to("1", text).unwrap());
    queue.send_to("2", "other").unwrap();
    let function = reporting(|text, times| match text {
        "2" | "3" => times == 1,
        "4" => true,
        _ => false,
    });
    let mapping = Mapping::sqs(&function.timeout(SECOND), &queue).reports_failures();
    let journal = mapping.run().unwrap();
    let expected = [&["1", "2", "3", "4", "other"][..], &["2", "3", "4"]];
    assert_eq!(journal.batches(), expected);
    assert!(journal.refused_deletes.is_empty());
    let dead = dead_letters.receive(10).unwrap().messages;
    assert_eq!(
        dead.iter().map(|message| &message.id).collect::<Vec<_>>(),
        [&ids[3]]
    );
}

#[test]
fn a2_from_a_real_kafka() {
    let kafka = Kafka::start().unwrap();
    let topic = Kafka::topic_name();
    kafka.create_topic(&topic, 2, &[]).unwrap();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap());
    let producer: BaseProducer = config.create().unwrap();
    for number in 0..6 {
        let value = number.to_string();
        let record = BaseRecord::to(&topic)
            .partition(number % 2)
            .key("key")
            .payload(&value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(60 * SECOND).unwrap();
    let topics = kafka.records(&topic).unwrap();
    let journal = Mapping::kafka(&throwing(), &topics)
        .retries(1)
        .run()
        .unwrap();
    assert_eq!(journal.batches(), [["0", "1", "2", "3", "4", "5"]; 2]);
    let ids = journal.deliveries[0].ids();
    assert_eq!(ids[5], format!("{topic}-1/2"));
    let event: Value = serde_json::from_str(&journal.deliveries[0].event).unwrap();
    let records = &event["records"][format!("{topic}-0")];
    assert_eq!(records.as_array().unwrap().len(), 3);
    assert_eq!(records[1]["key"], "a2V5");
}
