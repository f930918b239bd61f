//! What a mapping writes to its on-failure destination about records that it has given up: read back out of
//! whatever it was wrapped in on the way.

use super::{super::Delivery, reading::is_in};
use crate::position::Position;
use serde::Deserialize;
use serde_json::Value;

/// How deep messages may be wrapped: a topic's notification in a queue's message in a list.
const DEPTH_MAX: u32 = 8;

/// Records that were given up together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GivenUp {
    /// The ARN of their stream.
    pub(crate) stream: String,
    pub(crate) shard: String,
    /// First and last sequence number, both included.
    pub(crate) first: String,
    pub(crate) last: String,
    /// How many the mapping counted; `None`: it does not say.
    pub(crate) records: Option<u64>,
    /// Why: `RetryAttemptsExhausted`, `RecordAgeExceeded`, …
    pub(crate) condition: String,
    /// The event itself, which S3 has too.
    pub(crate) payload: Option<String>,
}

/// Text that is no such record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum GivenUpError {
    #[error("no JSON: {0}")]
    NotJson(String),
    #[error(
        "no `KinesisBatchInfo` in it: expected what a stream's mapping sends to its on-failure destination, by itself, in a message of SQS or SNS, or in a list of such"
    )]
    NotOne,
    #[error(
        "it is of {0}, of which nothing can be read again by position here: only streams of Kinesis are"
    )]
    OfOther(&'static str),
    #[error("`KinesisBatchInfo` {0}")]
    Incomplete(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    stream_arn: String,
    shard_id: String,
    start_sequence_number: String,
    end_sequence_number: String,
    batch_size: Option<u64>,
}

/// Reads all that a text holds: one document, or one a line.
pub(crate) fn read(text: &str) -> Result<Vec<GivenUp>, GivenUpError> {
    let mut found = Vec::new();
    let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    for value in values {
        let value = value.map_err(|error| GivenUpError::NotJson(error.to_string()))?;
        let before = found.len();
        collect(&value, 0, &mut found)?;
        if found.len() == before {
            return Err(GivenUpError::NotOne);
        }
    }
    if found.is_empty() {
        return Err(GivenUpError::NotOne);
    }
    Ok(found)
}

/// Leaves of an event what is of this shard and in this range, both ends included, with all records of an
/// aggregate that has one of these numbers; says whether it has both ends.
pub(crate) fn keep(
    delivery: &mut Delivery,
    shard: &str,
    (first, last): (&Position, &Position),
) -> bool {
    let is = |at: &Position, end: &Position| at == end || is_in(at, end);
    let (mut begins, mut ends) = (false, false);
    for delivered in &mut delivery.partitions {
        let is_own = **delivered.name() == *shard;
        delivered.retain(|entry| {
            let at = entry.position();
            is_own && at >= first && (at <= last || is_in(at, last))
        });
        begins |= delivered.entries().any(|e| is(e.position(), first));
        ends |= delivered.entries().any(|e| is(e.position(), last));
    }
    delivery
        .partitions
        .retain(|delivered| !delivered.is_empty());
    begins && ends
}

fn collect(value: &Value, depth: u32, found: &mut Vec<GivenUp>) -> Result<(), GivenUpError> {
    if depth > DEPTH_MAX {
        return Ok(());
    }
    let object = match value {
        Value::Array(values) => {
            for value in values {
                let before = found.len();
                collect(value, depth + 1, found)?;
                if found.len() == before {
                    return Err(GivenUpError::NotOne);
                }
            }
            return Ok(());
        }
        Value::Object(object) => object,
        // A message's text; what is no JSON holds nothing.
        Value::String(text) => {
            return match serde_json::from_str::<Value>(text) {
                Ok(inner @ (Value::Object(_) | Value::Array(_))) => {
                    collect(&inner, depth + 1, found)
                }
                Ok(_) | Err(_) => Ok(()),
            };
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => return Ok(()),
    };
    for (name, of) in [
        ("DDBStreamBatchInfo", "a DynamoDB stream"),
        ("KafkaBatchInfo", "Kafka"),
    ] {
        if object.contains_key(name) {
            return Err(GivenUpError::OfOther(of));
        }
    }
    if let Some(info) = object.get("KinesisBatchInfo") {
        found.push(given_up(value, info)?);
        return Ok(());
    }
    // Of SQS as its API and as an event has it, of SNS, and lists of them.
    let inner = [
        "Messages", "Records", "Body", "body", "Sns", "Message", "message",
    ];
    { inner.iter() }
        .filter_map(|name| object.get(*name))
        .try_for_each(|value| collect(value, depth + 1, found))
}

fn given_up(whole: &Value, info: &Value) -> Result<GivenUp, GivenUpError> {
    let read = Info::deserialize(info);
    let info = read.map_err(|error| GivenUpError::Incomplete(format!("is not whole: {error}")))?;
    let condition = whole["requestContext"]["condition"].as_str();
    let payload = match &whole["payload"] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Some(other.to_string())
        }
    };
    Ok(GivenUp {
        stream: info.stream_arn,
        shard: info.shard_id,
        first: info.start_sequence_number,
        last: info.end_sequence_number,
        records: info.batch_size,
        condition: condition.unwrap_or("no condition").to_owned(),
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const STREAM: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";

    /// As AWS writes it (K27).
    fn exhausted() -> Value {
        json!({
            "requestContext": {
                "requestId": "c9b8fa9f-5a7f-xmpl-af9c-0c604cde93a5",
                "functionArn": "arn:aws:lambda:eu-west-1:123456789012:function:billing",
                "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 2,
            },
            "responseContext": {
                "statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled",
            },
            "version": "1.0", "timestamp": "2019-11-14T00:38:06.021Z",
            "KinesisBatchInfo": {
                "shardId": "shardId-000000000001", "startSequenceNumber": "4960", "endSequenceNumber": "4961",
                "approximateArrivalOfFirstRecord": "2019-11-14T00:38:04.835Z",
                "approximateArrivalOfLastRecord": "2019-11-14T00:38:05.580Z",
                "batchSize": 500, "streamArn": STREAM,
            },
        })
    }

    fn expected() -> GivenUp {
        GivenUp {
            stream: STREAM.to_owned(),
            shard: "shardId-000000000001".to_owned(),
            first: "4960".to_owned(),
            last: "4961".to_owned(),
            records: Some(500),
            condition: "RetryAttemptsExhausted".to_owned(),
            payload: None,
        }
    }

    #[test]
    fn s14_a_record_with_and_without_response_context() {
        assert_eq!(read(&exhausted().to_string()), Ok(vec![expected()]));
        let mut malformed_answer = exhausted();
        malformed_answer["responseContext"]["functionError"] = Value::Null;
        assert_eq!(read(&malformed_answer.to_string()), Ok(vec![expected()]));
        let mut aged = exhausted();
        aged["requestContext"]["condition"] = json!("RecordAgeExceeded");
        aged.as_object_mut()
            .expect("object")
            .remove("responseContext");
        let condition = "RecordAgeExceeded".to_owned();
        let wanted = GivenUp {
            condition,
            ..expected()
        };
        assert_eq!(read(&aged.to_string()), Ok(vec![wanted]));
    }

    #[test]
    fn s14_what_s3_has_brings_the_event_along() {
        let mut in_s3 = exhausted();
        in_s3["payload"] = json!("{\"Records\": []}");
        let found = read(&in_s3.to_string()).expect("one");
        assert_eq!(found[0].payload.as_deref(), Some("{\"Records\": []}"));
        // A document, where it is not a text.
        in_s3["payload"] = json!({"Records": []});
        let found = read(&in_s3.to_string()).expect("one");
        assert_eq!(found[0].payload.as_deref(), Some("{\"Records\":[]}"));
    }

    #[test]
    fn s14_whatever_it_is_wrapped_in() {
        let plain = exhausted().to_string();
        let topic = json!({"Type": "Notification", "TopicArn": "arn:…", "Message": plain});
        let wrapped = [
            json!([exhausted()]),
            json!({"Messages": [{"MessageId": "1", "Body": plain}]}),
            json!({"MessageId": "1", "Body": topic.to_string()}),
            topic.clone(),
            json!({"Records": [{"messageId": "1", "body": plain}]}),
            json!({"Records": [{"EventSource": "aws:sns", "Sns": topic}]}),
        ];
        for wrapped in wrapped {
            let text = serde_json::to_string_pretty(&wrapped).expect("JSON");
            assert_eq!(read(&text), Ok(vec![expected()]), "{text}");
        }
        let lines = format!("{plain}\n{plain}\n");
        assert_eq!(read(&lines), Ok(vec![expected(), expected()]));
    }

    #[test]
    fn what_is_none_says_why() {
        assert!(matches!(read("{"), Err(GivenUpError::NotJson(_))));
        for text in [
            "",
            "{}",
            "[]",
            "17",
            "{\"Messages\": []}",
            "{\"Body\": \"hello\"}",
        ] {
            assert_eq!(read(text), Err(GivenUpError::NotOne), "{text}");
        }
        let mut cut = exhausted();
        let info = cut["KinesisBatchInfo"].as_object_mut().expect("object");
        info.remove("endSequenceNumber");
        let error = read(&cut.to_string()).expect_err("no end").to_string();
        assert!(error.contains("endSequenceNumber"), "{error}");
        let other = json!({"DDBStreamBatchInfo": {}}).to_string();
        let error = read(&other).expect_err("no stream of Kinesis").to_string();
        assert!(error.contains("DynamoDB stream"), "{error}");
        // One that is none among others: nothing is left out in silence.
        for mixed in [
            format!("{}\n{{}}\n", exhausted()),
            json!([exhausted(), {}]).to_string(),
        ] {
            assert_eq!(read(&mixed), Err(GivenUpError::NotOne), "{mixed}");
        }
    }
}
