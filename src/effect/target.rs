//! Which item a native DynamoDB effect writes, as far as its JSON tells.

use super::Effect;
use serde_json::Value;
use std::collections::BTreeMap;

/// What is written.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Target {
    table: String,
    /// The key; of a `Put` the whole item, which has the key somewhere.
    attributes: BTreeMap<String, Value>,
    is_key: bool,
}

impl Target {
    /// Of a native DynamoDB effect that is formed well enough to tell.
    pub(crate) fn of(effect: &Effect) -> Option<Self> {
        let Effect::Dynamodb(write) = effect else {
            return None;
        };
        let (verb, body) = write.as_object()?.iter().next()?;
        let table = body.get("TableName")?.as_str()?;
        let is_key = verb != "Put";
        let attributes = body.get(if is_key { "Key" } else { "Item" })?.as_object()?;
        Some(Self {
            table: table_name(table).to_owned(),
            attributes: attributes
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            is_key,
        })
    }

    /// The table's name.
    #[cfg_attr(
        not(feature = "dynamodb"),
        expect(dead_code, reason = "only tables of DynamoDB are written to by name")
    )]
    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// Whether both are of one item: `None` where only the table knows, for it knows which of a
    /// `Put`'s attributes are its key.
    pub(crate) fn is(&self, other: &Self) -> Option<bool> {
        if self.table != other.table {
            return Some(false);
        }
        let (key, item) = match (self.is_key, other.is_key) {
            (true, true) => return Some(self.attributes == other.attributes),
            (true, false) => (self, other),
            (false, true) => (other, self),
            (false, false) => return None,
        };
        let mut attributes = key.attributes.iter();
        Some(attributes.all(|(name, value)| item.attributes.get(name) == Some(value)))
    }
}

/// The name of a table that is given by name, or by the ARN that ends in it.
pub(crate) fn table_name(table: &str) -> &str {
    table.rsplit_once(":table/").map_or(table, |(_, name)| name)
}

/// The first record of a run that may write an item which an earlier one of it writes too. A store
/// that takes each item once a transaction cannot take both together, and a lane's records in one
/// commit are never more than a prefix.
pub(crate) fn first_overlap(effects: &[(usize, Effect)]) -> Option<usize> {
    let targets: Vec<(usize, Target)> = effects
        .iter()
        .filter_map(|(of, effect)| Some((*of, Target::of(effect)?)))
        .collect();
    let overlaps = |(of, target): &&(usize, Target)| {
        targets
            .iter()
            .any(|(before, other)| before < of && target.is(other) != Some(false))
    };
    targets.iter().filter(overlaps).map(|(of, _)| *of).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn update(table: &str, key: &str) -> Effect {
        Effect::Dynamodb(json!({"Update": {"TableName": table, "Key": {"id": {"S": key}}}}))
    }

    fn put(table: &str, key: &str, total: u32) -> Effect {
        let item = json!({"id": {"S": key}, "total": {"N": total.to_string()}});
        Effect::Dynamodb(json!({"Put": {"TableName": table, "Item": item}}))
    }

    #[test]
    fn writes_of_one_item_are_told_where_they_can_be() {
        let arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/orders";
        let cases = [
            (update("orders", "1"), update("orders", "1"), Some(true)),
            (update(arn, "1"), update("orders", "1"), Some(true)),
            (update("orders", "1"), update("orders", "2"), Some(false)),
            (update("orders", "1"), update("other", "1"), Some(false)),
            (put("orders", "1", 5), update("orders", "1"), Some(true)),
            (update("orders", "2"), put("orders", "1", 5), Some(false)),
            (put("orders", "1", 5), put("orders", "2", 5), None),
            (put("orders", "1", 5), put("other", "2", 5), Some(false)),
        ];
        for (one, other, expected) in cases {
            let target = |effect| Target::of(effect).expect("well formed");
            assert_eq!(
                target(&one).is(&target(&other)),
                expected,
                "{one:?} {other:?}"
            );
        }
    }

    #[test]
    fn a_run_is_cut_where_an_item_comes_again() {
        let effects = [
            (0, update("orders", "1")),
            (0, update("orders", "2")),
            (1, update("orders", "3")),
            (2, update("orders", "1")),
            (3, Effect::add("t", "k", 1)),
        ];
        assert_eq!(first_overlap(&effects), Some(2));
        assert_eq!(first_overlap(&effects[..3]), None);
        let puts = [(0, put("orders", "1", 5)), (1, put("orders", "2", 5))];
        assert_eq!(first_overlap(&puts), Some(1), "nobody can tell");
        let values = [(0, Effect::add("t", "k", 1)), (1, Effect::add("t", "k", 1))];
        assert_eq!(first_overlap(&values), None);
    }
}
