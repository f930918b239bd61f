//! Events as the function gets them, byte for byte of the shapes that were recorded.

use super::{
    queue::Message,
    stream::{Kind, StreamRecord},
    topics::TopicRecord,
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jiff::Timestamp;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where everything of the models is.
pub(super) const REGION: &str = "us-east-1";
pub(super) const ACCOUNT: &str = "000000000000";

/// The most bytes of a request to a function (K6): 6 MB.
pub(super) const REQUEST_BYTES_MAX: usize = 6 * 1024 * 1024;

/// What stands around the records of an event.
const BEGIN: &str = r#"{"Records":["#;
const END: &str = "]}";

/// A record of a stream, of whichever kind that is.
pub(super) fn of_stream(
    kind: Kind,
    stream_arn: &str,
    shard: &str,
    record: &StreamRecord,
) -> String {
    match kind {
        Kind::Kinesis => of_kinesis(stream_arn, shard, record),
        Kind::Table => of_table(stream_arn, shard, record),
    }
}

/// A record of a table's stream, which does not say of which shard it is.
fn of_table(stream_arn: &str, shard: &str, record: &StreamRecord) -> String {
    let text = |text: &str| json!({"S": text});
    let id = text(record.key.as_deref().unwrap_or_default());
    let hash = Md5::digest(format!("{shard}:{}", record.sequence));
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "eventID": hash,
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": REGION,
        "dynamodb": {
            "ApproximateCreationDateTime": (millis(record.arrival) / 1000) as f64,
            "Keys": {"id": id},
            "NewImage": {"id": id, "text": text(&String::from_utf8_lossy(&record.data))},
            "SequenceNumber": record.sequence.as_str(),
            "SizeBytes": record.data.len(),
            "StreamViewType": "NEW_AND_OLD_IMAGES",
        },
        "eventSourceARN": stream_arn,
    })
    .to_string()
}

/// A record of a stream of Kinesis. One without a key has no `partitionKey` (what AWS does is not known, K13).
fn of_kinesis(stream_arn: &str, shard: &str, record: &StreamRecord) -> String {
    let mut kinesis = json!({
        "kinesisSchemaVersion": "1.0",
        "sequenceNumber": record.sequence.as_str(),
        "data": BASE64.encode(&record.data),
        "approximateArrivalTimestamp": millis(record.arrival) as f64 / 1000.0,
    });
    if let Some(key) = &record.key {
        kinesis["partitionKey"] = key.as_str().into();
    }
    json!({
        "kinesis": kinesis,
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": format!("{shard}:{}", record.sequence),
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": format!("arn:aws:iam::{ACCOUNT}:role/lanekeeper-test"),
        "awsRegion": REGION,
        "eventSourceARN": stream_arn,
    })
    .to_string()
}

/// A message of a queue.
pub(super) fn of_sqs(queue_arn: &str, message: &Message) -> String {
    json!({
        "messageId": message.id,
        "receiptHandle": message.handle,
        "body": message.body,
        "attributes": message.attributes,
        "messageAttributes": {},
        "md5OfBody": message.md5_of_body,
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": REGION,
    })
    .to_string()
}

/// A record of a topic.
pub(super) fn of_kafka(topic: &str, partition: u32, record: &TopicRecord) -> Value {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| BASE64.encode(bytes));
    // Bytes of Java: signed.
    let headers: Vec<Value> = { record.headers.iter() }
        .map(|(name, value)| {
            let value: Vec<i8> = value.iter().map(|byte| byte.cast_signed()).collect();
            json!({ name.as_str(): value })
        })
        .collect();
    json!({
        "topic": topic,
        "partition": partition,
        "offset": record.offset,
        "timestamp": millis(record.timestamp),
        "timestampType": "CREATE_TIME",
        "key": bytes(&record.key),
        "value": bytes(&record.value),
        "headers": headers,
    })
}

/// An event of these records, in this order.
pub(super) fn of_records(records: &[String]) -> String {
    format!("{BEGIN}{}{END}", records.join(","))
}

/// What the event of a tumbling window says beside its records.
pub(super) struct WindowOf<'a> {
    pub(super) start: SystemTime,
    pub(super) end: SystemTime,
    /// JSON.
    pub(super) state: &'a str,
    pub(super) shard: &'a str,
    pub(super) stream_arn: &'a str,
    pub(super) is_final: bool,
    pub(super) is_early: bool,
}

/// An event of a tumbling window (K30).
pub(super) fn of_window(records: &[String], window: &WindowOf<'_>) -> String {
    let seconds = |time| {
        let known = Timestamp::try_from(time);
        known.map_or_else(|_| String::new(), |time: Timestamp| format!("{time:.0}"))
    };
    let text = |text: &str| Value::from(text).to_string();
    let records = of_records(records);
    let records = records.strip_suffix('}').unwrap_or(&records);
    format!(
        r#"{records},"window":{{"start":"{}","end":"{}"}},"state":{},"shardId":{},"eventSourceARN":{},"isFinalInvokeForWindow":{},"isWindowTerminatedEarly":{}}}"#,
        seconds(window.start),
        seconds(window.end),
        window.state,
        text(window.shard),
        text(window.stream_arn),
        window.is_final,
        window.is_early,
    )
}

/// How many of these records one event holds: as many as fit, at least one.
pub(super) fn fitting(records: &[String]) -> usize {
    let mut bytes = BEGIN.len() + END.len();
    let fits = records.iter().take_while(|record| {
        // With its comma.
        bytes += record.len() + 1;
        bytes <= REQUEST_BYTES_MAX + 1
    });
    fits.count().max(1)
}

/// No event can hold it, alone as it may be.
pub(super) fn is_too_large(record: &str) -> bool {
    BEGIN.len() + record.len() + END.len() > REQUEST_BYTES_MAX
}

/// Milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// As destination records write it: `2019-11-14T00:38:06.021Z`.
pub(super) fn timestamp(time: SystemTime) -> String {
    let since = Duration::from_millis(millis(time));
    let known = Timestamp::try_from(UNIX_EPOCH + since);
    known.map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_to_the_millisecond() {
        let time = UNIX_EPOCH + Duration::from_millis(1_573_691_886_021);
        assert_eq!(timestamp(time), "2019-11-14T00:38:06.021Z");
        assert_eq!(timestamp(UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn k6_an_event_holds_what_fits_into_six_megabytes() {
        let record = "x".repeat(REQUEST_BYTES_MAX / 3);
        let three = [record.clone(), record.clone(), record];
        assert_eq!(fitting(&three), 2);
        assert_eq!(fitting(&three[..1]), 1);
        let records = vec!["x".repeat(1023); 10_000];
        let held = fitting(&records);
        let event = |held: usize| of_records(&records[..held]).len();
        assert!(event(held) <= REQUEST_BYTES_MAX && event(held + 1) > REQUEST_BYTES_MAX);
    }

    #[test]
    fn what_is_too_large_for_any_event_is_seen() {
        let most = REQUEST_BYTES_MAX - of_records(&[]).len();
        assert!(!is_too_large(&"x".repeat(most)));
        assert!(is_too_large(&"x".repeat(most + 1)));
    }
}
