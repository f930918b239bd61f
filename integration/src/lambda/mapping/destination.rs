//! What becomes of records that a mapping gives up: a record at the on-failure destination (K27 to K29), or
//! a loss.

use crate::lambda::{
    event::timestamp,
    function::Outcome,
    journal::{End, Item, Journal, Loss, Why},
};
use serde_json::{Value, json};
use std::time::SystemTime;
use uuid::Uuid;

/// Where a mapping tells of what it gives up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnFailure {
    /// Nowhere: it is lost.
    #[default]
    Nothing,
    /// A queue or a topic of SQS or SNS: where the records were, not what they said (K28).
    Queue,
    /// A bucket of S3: the whole event too (K28).
    Bucket,
    /// One that cannot be reached: all is lost (K29).
    Unreachable,
}

/// Records that are given up together.
pub(super) struct GivenUp<'a> {
    pub(super) why: Why,
    pub(super) items: Vec<Item>,
    pub(super) invocations: u32,
    /// How the last invocation ended.
    pub(super) last: Option<&'a Outcome>,
    pub(super) function_arn: String,
    /// `KinesisBatchInfo`, `DDBStreamBatchInfo` or `KafkaBatchInfo`, and what it says.
    pub(super) info: (&'static str, Value),
    pub(super) event: String,
    pub(super) at: SystemTime,
}

impl OnFailure {
    /// Whether there is a destination at all.
    pub(super) fn is_some(self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Queue | Self::Bucket | Self::Unreachable => true,
        }
    }

    /// Tells of them, or writes them off.
    pub(super) fn take(self, given_up: GivenUp<'_>, journal: &mut Journal) {
        let record = match (self, condition(given_up.why)) {
            (Self::Nothing | Self::Unreachable, _) | (_, None) => None,
            (Self::Queue, Some(condition)) => Some(record(&given_up, condition)),
            (Self::Bucket, Some(condition)) => {
                let mut record = record(&given_up, condition);
                record["payload"] = given_up.event.as_str().into();
                Some(record)
            }
        };
        match record {
            Some(record) => journal.destinations.push(record),
            None => journal.losses.push(Loss {
                items: given_up.items,
                why: given_up.why,
            }),
        }
    }
}

/// As the record names it; `None`: nobody is told.
fn condition(why: Why) -> Option<&'static str> {
    match why {
        Why::RetryAttemptsExhausted => Some("RetryAttemptsExhausted"),
        Why::RecordAgeExceeded => Some("RecordAgeExceeded"),
        Why::MaximumPayloadSizeExceeded => Some("MaximumPayloadSizeExceeded"),
        Why::Retention | Why::Redrive => None,
    }
}

fn record(given_up: &GivenUp<'_>, condition: &str) -> Value {
    let (name, info) = &given_up.info;
    let mut record = json!({
        "requestContext": {
            "requestId": Uuid::new_v4().to_string(),
            "functionArn": given_up.function_arn,
            "condition": condition,
            // Also of what has aged before its first invocation (K27).
            "approximateInvokeCount": given_up.invocations.max(1),
        },
        "version": "1.0",
        "timestamp": timestamp(given_up.at),
        *name: info,
    });
    match given_up.why {
        Why::RetryAttemptsExhausted => {
            let function_error = given_up.last.and_then(End::function_error);
            record["responseContext"] = json!({
                "statusCode": 200,
                "executedVersion": "$LATEST",
                "functionError": function_error,
            });
        }
        Why::MaximumPayloadSizeExceeded => record["responseContext"] = Value::Null,
        Why::RecordAgeExceeded | Why::Retention | Why::Redrive => {}
    }
    record
}
