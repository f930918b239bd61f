//! A request to DynamoDB, as far as faults depend on what it does.

use super::size;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

const TARGET: &str = "DynamoDB_20120810.";

/// One request, decoded.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) operation: String,
    pub(super) body: Value,
}

/// What a request does to one item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    Put,
    Update,
    Delete,
    Check,
    Get,
}

/// One item that a request touches.
#[derive(Debug)]
pub(super) struct Touch<'a> {
    pub(super) table: &'a str,
    pub(super) action: Action,
    /// The key, or the whole item of a put.
    pub(super) attributes: &'a Map<String, Value>,
    /// What of the item is known from the request.
    pub(super) bytes: usize,
}

/// How the writes of a request belong together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// `PutItem`, `UpdateItem`, `DeleteItem`.
    Write,
    /// `TransactWriteItems`.
    Transaction,
    /// `BatchWriteItem`.
    Batch,
    /// `TransactGetItems`.
    TransactionalRead,
    /// Everything that touches no item, or reads without a transaction.
    Other,
}

impl Request {
    /// `None`: this is no request to DynamoDB.
    pub(super) fn decode(target: &str, body: &[u8]) -> Option<Self> {
        Some(Self {
            operation: target.strip_prefix(TARGET)?.to_owned(),
            body: serde_json::from_slice(body).ok()?,
        })
    }

    pub(super) fn shape(&self) -> Shape {
        match self.operation.as_str() {
            "PutItem" | "UpdateItem" | "DeleteItem" => Shape::Write,
            "TransactWriteItems" => Shape::Transaction,
            "BatchWriteItem" => Shape::Batch,
            "TransactGetItems" => Shape::TransactionalRead,
            _ => Shape::Other,
        }
    }

    pub(super) fn is_write(&self) -> bool {
        match self.shape() {
            Shape::Write | Shape::Transaction | Shape::Batch => true,
            Shape::TransactionalRead | Shape::Other => false,
        }
    }

    /// The items that it touches, in its order; none where it touches none, or is malformed.
    pub(super) fn touches(&self) -> Vec<Touch<'_>> {
        match self.shape() {
            Shape::Write => touch(&self.operation, &self.body).into_iter().collect(),
            Shape::Transaction | Shape::TransactionalRead => {
                let items = self.body["TransactItems"].as_array();
                let actions = items.into_iter().flatten().filter_map(only_entry);
                actions
                    .filter_map(|(name, action)| touch(name, action))
                    .collect()
            }
            Shape::Batch => {
                let tables = self.body["RequestItems"].as_object().into_iter().flatten();
                tables
                    .flat_map(|(table, requests)| {
                        let requests = requests.as_array().into_iter().flatten();
                        requests.filter_map(|request| batched(table, request))
                    })
                    .collect()
            }
            Shape::Other => Vec::new(),
        }
    }

    /// Write units that it costs, as far as they follow from the request: one for each started KiB of
    /// each item, twice that in a transaction.
    pub(super) fn write_units(touch: &Touch<'_>, shape: Shape) -> u64 {
        let units = size::write_units(touch.bytes);
        match shape {
            Shape::Write | Shape::Batch => units,
            Shape::Transaction => 2 * units,
            Shape::TransactionalRead | Shape::Other => 0,
        }
    }

    /// The IAM actions, without `dynamodb:`, that a caller must be allowed. Those of a transaction are
    /// those of what it does.
    pub(super) fn permissions(&self) -> BTreeSet<&str> {
        match self.shape() {
            Shape::Transaction | Shape::TransactionalRead => self
                .touches()
                .iter()
                .map(|touch| touch.action.permission())
                .collect(),
            Shape::Write | Shape::Batch | Shape::Other => [self.operation.as_str()].into(),
        }
    }

    /// The table that it names, if it names one outside of a list.
    pub(super) fn table(&self) -> &str {
        let named = self.body["TableName"].as_str();
        let touched = || self.touches().first().map(|touch| touch.table);
        named.or_else(touched).unwrap_or("*")
    }

    /// What tells a repeated transaction from another one.
    pub(super) fn token(&self) -> Option<&str> {
        self.body["ClientRequestToken"].as_str()
    }
}

impl Action {
    fn permission(self) -> &'static str {
        match self {
            Self::Put => "PutItem",
            Self::Update => "UpdateItem",
            Self::Delete => "DeleteItem",
            Self::Check => "ConditionCheckItem",
            Self::Get => "GetItem",
        }
    }
}

fn only_entry(value: &Value) -> Option<(&str, &Value)> {
    let (name, content) = value.as_object()?.iter().next()?;
    Some((name, content))
}

/// Of a single request or of a member of a transaction: their parameters have the same names.
fn touch<'a>(name: &str, parameters: &'a Value) -> Option<Touch<'a>> {
    let (action, attributes) = match name {
        "PutItem" | "Put" => (Action::Put, "Item"),
        "UpdateItem" | "Update" => (Action::Update, "Key"),
        "DeleteItem" | "Delete" => (Action::Delete, "Key"),
        "ConditionCheck" => (Action::Check, "Key"),
        "Get" => (Action::Get, "Key"),
        _ => return None,
    };
    let attributes = parameters[attributes].as_object()?;
    // The item behind an update is not known here; what it is given is.
    let given = match action {
        Action::Update => parameters["ExpressionAttributeValues"].as_object(),
        Action::Put | Action::Delete | Action::Check | Action::Get => None,
    };
    let given: usize = given
        .into_iter()
        .flatten()
        .map(|(_, v)| size::value(v))
        .sum();
    Some(Touch {
        table: parameters["TableName"].as_str()?,
        action,
        attributes,
        bytes: size::item(attributes) + given,
    })
}

fn batched<'a>(table: &'a str, request: &'a Value) -> Option<Touch<'a>> {
    let (action, attributes) = match only_entry(request)? {
        ("PutRequest", put) => (Action::Put, put["Item"].as_object()?),
        ("DeleteRequest", delete) => (Action::Delete, delete["Key"].as_object()?),
        _ => return None,
    };
    Some(Touch {
        table,
        action,
        attributes,
        bytes: size::item(attributes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(operation: &str, body: &Value) -> Request {
        let target = format!("DynamoDB_20120810.{operation}");
        Request::decode(&target, body.to_string().as_bytes()).unwrap()
    }

    fn units(request: &Request) -> u64 {
        let touches = request.touches();
        touches
            .iter()
            .map(|touch| Request::write_units(touch, request.shape()))
            .sum()
    }

    #[test]
    fn a_transaction_is_what_it_does() {
        let key = json!({"pk": {"S": "a"}});
        let body = json!({"TransactItems": [
            {"Put": {"TableName": "t", "Item": {"pk": {"S": "a".repeat(1025)}}}},
            {"Update": {"TableName": "t", "Key": key}},
            {"ConditionCheck": {"TableName": "u", "Key": key}},
        ]});
        let transaction = request("TransactWriteItems", &body);
        assert_eq!(transaction.touches().len(), 3);
        assert_eq!(units(&transaction), 4 + 2 + 2);
        let wanted = ["ConditionCheckItem", "PutItem", "UpdateItem"];
        assert!(transaction.permissions().into_iter().eq(wanted));
    }

    #[test]
    fn an_update_costs_what_it_is_given() {
        let body = json!({
            "TableName": "t", "Key": {"pk": {"S": "a"}},
            "ExpressionAttributeValues": {":v": {"S": "b".repeat(2 * 1024)}},
        });
        assert_eq!(units(&request("UpdateItem", &body)), 3);
    }

    #[test]
    fn a_batch_touches_the_items_of_all_its_tables() {
        let put = json!({"PutRequest": {"Item": {"pk": {"S": "a"}}}});
        let delete = json!({"DeleteRequest": {"Key": {"pk": {"S": "b"}}}});
        let body = json!({"RequestItems": {"t": [put, delete], "u": [put]}});
        let batch = request("BatchWriteItem", &body);
        assert_eq!(batch.touches().len(), 3);
        assert_eq!(units(&batch), 3);
        assert!(batch.permissions().into_iter().eq(["BatchWriteItem"]));
    }

    #[test]
    fn what_is_no_request_to_dynamodb_is_told_apart() {
        assert!(Request::decode("Kinesis_20131202.PutRecord", b"{}").is_none());
        assert!(Request::decode("DynamoDB_20120810.PutItem", b"no JSON").is_none());
        let malformed = request("PutItem", &json!({"TableName": 7}));
        assert!(malformed.touches().is_empty());
    }
}
