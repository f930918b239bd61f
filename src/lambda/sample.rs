//! Events as the tests need them: in the service's shape, with what a test is about.

use super::{Delivery, Event, EventError, decode};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

pub(super) const STREAM: &str = "arn:aws:kinesis:us-east-2:123456789012:stream/orders";
pub(super) const TABLE_STREAM: &str =
    "arn:aws:dynamodb:us-east-2:123456789012:table/orders/stream/2020-11-10T20:21:56.370";
pub(super) const QUEUE: &str = "arn:aws:sqs:us-east-2:123456789012:orders";
pub(super) const FIFO: &str = "arn:aws:sqs:us-east-2:123456789012:orders.fifo";

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// One record of shard 6.
pub(super) fn kinesis_record(number: &str, key: &str, data: &[u8]) -> Value {
    json!({
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": key,
            "sequenceNumber": number,
            "data": base64(data),
            "approximateArrivalTimestamp": 1545084650.987,
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": format!("shardId-000000000006:{number}"),
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::123456789012:role/lambda-kinesis-role",
        "awsRegion": "us-east-2",
        "eventSourceARN": STREAM,
    })
}

/// One record of a table's stream: an item with a text.
pub(super) fn dynamodb_record(number: &str, id: &str, text: &str) -> Value {
    json!({
        "eventID": "c9fbe7d0261a5163fcb6940593e41797",
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "us-east-2",
        "dynamodb": {
            "ApproximateCreationDateTime": 1664559083.25,
            "Keys": {"id": {"S": id}},
            "NewImage": {"id": {"S": id}, "text": {"S": text}},
            "SequenceNumber": number,
            "SizeBytes": 174,
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": TABLE_STREAM,
    })
}

/// One message of the FIFO queue.
pub(super) fn fifo_message(id: &str, group: &str, number: u64) -> Value {
    let mut message = sqs_message(id, &format!("body of {id}"));
    message["eventSourceARN"] = json!(FIFO);
    let attributes = &mut message["attributes"];
    attributes["SequenceNumber"] = json!(format!("188494964604676{number:05}"));
    attributes["MessageGroupId"] = json!(group);
    attributes["MessageDeduplicationId"] = json!(id);
    message
}

/// One message of the standard queue.
pub(super) fn sqs_message(id: &str, body: &str) -> Value {
    json!({
        "messageId": id,
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "3",
            "SentTimestamp": "1545082649183",
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": "1545082649185",
        },
        "messageAttributes": {},
        "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
        "md5OfMessageAttributes": null,
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE,
        "awsRegion": "us-east-2",
    })
}

pub(super) fn records(records: &[Value]) -> String {
    json!({ "Records": records }).to_string()
}

/// A Kafka event: partitions by the mapping's names, offsets with keys.
pub(super) fn kafka(partitions: &[(&str, &[(u64, &str)])]) -> String {
    let lists = partitions.iter().map(|(name, offsets)| {
        let (topic, partition) = name.rsplit_once('-').expect("a name");
        let records = offsets.iter().map(|(offset, key)| {
            json!({
                "topic": topic,
                "partition": partition.parse::<u32>().expect("a number"),
                "offset": offset,
                "timestamp": 1545084650987_i64,
                "timestampType": "CREATE_TIME",
                "key": base64(key.as_bytes()),
                "value": base64(format!("value {offset}").as_bytes()),
                "headers": [],
            })
        });
        ((*name).to_owned(), records.collect::<Value>())
    });
    json!({
        "eventSource": "aws:kafka",
        "eventSourceArn": "arn:aws:kafka:us-east-2:123456789012:cluster/orders/751d2973",
        "bootstrapServers": "b-2.orders:9092,b-1.orders:9092",
        "records": lists.collect::<serde_json::Map<_, _>>(),
    })
    .to_string()
}

pub(super) fn delivery(payload: &str) -> Delivery {
    match decode(payload.as_bytes()).expect("an event") {
        Event::Delivery(delivery) => delivery,
        Event::Request(_) => panic!("a request"),
    }
}

pub(super) fn error(payload: &str) -> EventError {
    decode(payload.as_bytes()).expect_err("refused")
}

/// Position, key and payload of each entry of the first partition.
pub(super) fn entries(delivery: &Delivery) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let entries = delivery.partitions[0].entries().map(|entry| {
        let key = entry.key().map_or("-".to_owned(), text);
        let value = entry.value().map_or("-".to_owned(), text);
        format!("{} {key} {value}", entry.position())
    });
    entries.collect()
}
