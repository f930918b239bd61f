//! Errors in the words of DynamoDB.

use super::request::{Request, Shape};
use hyper::StatusCode;
use serde_json::{Value, json};

/// The account of those who have none.
const ACCOUNT: &str = "000000000000";
const REGION: &str = "us-east-1";

const CONFLICT: &str = "Transaction is ongoing for the item";

const KEY_RANGE: Throttle = Throttle {
    exception: "com.amazonaws.dynamodb.v20120810#ThrottlingException",
    code: "ThrottlingError",
    message: "Throughput exceeds the current capacity of your table or index. DynamoDB is \
              automatically scaling your table or index so please try again shortly. If exceptions \
              persist, check if you have a hot key: https://docs.aws.amazon.com/amazondynamodb/\
              latest/developerguide/bp-partition-key-design.html",
    reasons: "throttlingReasons",
    limit: "KeyRangeThroughputExceeded",
};

const PROVISIONED: Throttle = Throttle {
    exception: "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
    code: "ProvisionedThroughputExceeded",
    message: "The level of configured provisioned throughput for the table was exceeded. Consider \
              increasing your provisioning level with the UpdateTable API.",
    reasons: "ThrottlingReasons",
    limit: "ProvisionedThroughputExceeded",
};

const TABLE_LIMIT: Throttle = Throttle {
    message: "Throughput exceeds the maximum OnDemandThroughput configured on table or index",
    limit: "MaxOnDemandThroughputExceeded",
    ..KEY_RANGE
};

struct Throttle {
    exception: &'static str,
    /// In a transaction.
    code: &'static str,
    message: &'static str,
    /// The field has another case in each exception.
    reasons: &'static str,
    limit: &'static str,
}

/// What the proxy answers itself.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Answer {
    fn refuse(body: Value) -> Self {
        let status = StatusCode::BAD_REQUEST;
        Self { status, body }
    }
}

pub(super) fn internal_error() -> Answer {
    Answer {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        body: json!({
            "__type": "com.amazonaws.dynamodb.v20120810#InternalServerError",
            "message": "The request processing has failed because of an unknown error, exception or \
                        failure.",
        }),
    }
}

pub(super) fn unavailable() -> Answer {
    Answer {
        status: StatusCode::SERVICE_UNAVAILABLE,
        body: json!({
            "__type": "com.amazonaws.dynamodb.v20120810#ServiceUnavailable",
            "message": "Service is unavailable or busy. Please try again later.",
        }),
    }
}

pub(super) fn invalid(message: &str) -> Answer {
    Answer::refuse(json!({
        "__type": "com.amazon.coral.validate#ValidationException",
        "message": message,
    }))
}

pub(super) fn denied(request: &Request, action: &str) -> Answer {
    let resource = resource(request);
    Answer::refuse(json!({
        "__type": "com.amazon.coral.service#AccessDeniedException",
        "Message": format!(
            "User: arn:aws:iam::{ACCOUNT}:user/test is not authorized to perform: dynamodb:{action} on \
             resource: {resource} because no identity-based policy allows the dynamodb:{action} action"
        ),
    }))
}

/// A table that scales, but not fast enough. `victim`: which item of a transaction, modulo their number.
pub(super) fn throttled(request: &Request, victim: usize) -> Answer {
    KEY_RANGE.answer(request, victim)
}

/// A table of provisioned capacity.
pub(super) fn throttled_as_provisioned(request: &Request, victim: usize) -> Answer {
    PROVISIONED.answer(request, victim)
}

/// A table with a limit of its own.
pub(super) fn throttled_by_limit(request: &Request, victim: usize) -> Answer {
    TABLE_LIMIT.answer(request, victim)
}

impl Throttle {
    fn answer(&self, request: &Request, victim: usize) -> Answer {
        let items = request.touches().len();
        let is_transaction = match request.shape() {
            Shape::Transaction | Shape::TransactionalRead => items > 0,
            Shape::Write | Shape::Batch | Shape::Other => false,
        };
        if is_transaction {
            let hit = (0..items).map(|item| item == victim % items);
            return cancelled(hit, self.code, self.message);
        }
        let what = if request.is_write() { "Write" } else { "Read" };
        let reason = json!({
            "reason": format!("Table{what}{}", self.limit), "resource": resource(request),
        });
        Answer::refuse(json!({
            "__type": self.exception,
            "message": self.message,
            (self.reasons): [reason],
        }))
    }
}

/// A transaction of which these items are in another one.
pub(super) fn transaction_conflict(items: &[bool]) -> Answer {
    cancelled(items.iter().copied(), "TransactionConflict", CONFLICT)
}

/// A single write of an item that is in a transaction.
pub(super) fn write_conflict() -> Answer {
    Answer::refuse(json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException",
        "message": CONFLICT,
    }))
}

/// A batch of which an item is in a transaction: DynamoDB leaves it to the caller to ask again.
pub(super) fn unprocessed(request: &Request) -> Answer {
    Answer {
        status: StatusCode::OK,
        body: json!({"UnprocessedItems": request.body["RequestItems"]}),
    }
}

/// A transaction that is asked for again before it has ended.
pub(super) fn in_progress() -> Answer {
    Answer::refuse(json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionInProgressException",
        "Message": "The transaction with the given request token is already in progress.",
    }))
}

fn cancelled(hit: impl Iterator<Item = bool>, code: &str, message: &str) -> Answer {
    let (mut reasons, mut codes) = (Vec::new(), Vec::new());
    for is_hit in hit {
        codes.push(if is_hit { code } else { "None" });
        reasons.push(if is_hit {
            json!({"Code": code, "Message": message})
        } else {
            json!({"Code": "None"})
        });
    }
    Answer::refuse(json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "CancellationReasons": reasons,
        "Message": format!(
            "Transaction cancelled, please refer cancellation reasons for specific reasons [{}]",
            codes.join(", ")
        ),
    }))
}

fn resource(request: &Request) -> String {
    let table = request.table();
    format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}")
}
