//! Limits of DynamoDB that no emulator keeps all of: a client that breaks one must not pass a test.

use super::{
    ongoing::ItemId,
    request::{Action, Request, Shape},
    size::{ITEM_BYTES_MAX, TRANSACTION_BYTES_MAX},
};
use std::collections::HashSet;

const TRANSACTION_ITEMS_MAX: usize = 100;

/// Why DynamoDB refuses a request, in its words. `items`: those that it touches, as far as known.
pub(super) fn broken_by(request: &Request, items: &[ItemId]) -> Option<String> {
    let touches = request.touches();
    for touch in &touches {
        let what = match touch.action {
            Action::Put => "Item size has exceeded the maximum allowed size",
            Action::Update => "Item size to update has exceeded the maximum allowed size",
            Action::Delete | Action::Check | Action::Get => continue,
        };
        if touch.bytes > ITEM_BYTES_MAX {
            return Some(what.to_owned());
        }
    }
    match request.shape() {
        Shape::Transaction | Shape::TransactionalRead => {}
        Shape::Write | Shape::Batch | Shape::Other => return None,
    }
    let members = request.body["TransactItems"].as_array().map_or(0, Vec::len);
    if members > TRANSACTION_ITEMS_MAX {
        return Some(format!(
            "1 validation error detected: Value '[{members} members]' at 'transactItems' failed to \
             satisfy constraint: Member must have length less than or equal to {TRANSACTION_ITEMS_MAX}"
        ));
    }
    let different: HashSet<&ItemId> = items.iter().collect();
    if different.len() < items.len() {
        let what = "Transaction request cannot include multiple operations on one item";
        return Some(what.to_owned());
    }
    let bytes: usize = touches.iter().map(|touch| touch.bytes).sum();
    (bytes > TRANSACTION_BYTES_MAX).then(|| {
        "Transaction request size has exceeded the maximum allowed size of 4 MB".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn transaction(items: usize, bytes: usize) -> (Request, Vec<ItemId>) {
        let put = |i: usize| {
            let key = i.to_string();
            let item = json!({"pk": {"S": key}, "v": {"S": "x".repeat(bytes)}});
            json!({"Put": {"TableName": "t", "Item": item}})
        };
        let puts: Vec<Value> = (0..items).map(put).collect();
        let body = json!({"TransactItems": puts}).to_string();
        let target = "DynamoDB_20120810.TransactWriteItems";
        let request = Request::decode(target, body.as_bytes()).unwrap();
        (request, (0..items).map(|i| i.to_string()).collect())
    }

    #[test]
    fn transactions_have_limits() {
        let broken = |items, bytes| {
            let (request, items) = transaction(items, bytes);
            broken_by(&request, &items)
        };
        assert_eq!(broken(100, 1_000), None);
        assert!(
            broken(101, 1)
                .unwrap()
                .contains("less than or equal to 100")
        );
        assert_eq!(broken(10, 400_000), None);
        assert!(broken(11, 400_000).unwrap().contains("4 MB"));
        assert!(broken(1, 410_000).unwrap().contains("Item size"));
    }

    #[test]
    fn each_item_once() {
        let (request, _) = transaction(2, 1);
        let twice = ["a".to_owned(), "a".to_owned()];
        assert!(broken_by(&request, &twice).unwrap().contains("one item"));
    }
}
