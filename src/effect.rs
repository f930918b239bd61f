//! Effects: what a handler wants written together with the checkpoint, exactly once.

use serde::{Deserialize, Serialize};
use serde_json::Value;

mod parse;
pub(crate) mod target;

pub use parse::{EffectsError, parse};

/// One write of the commit that makes its record durable. Formats: the interfaces page of the docs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Sets a value of the value table.
    Put(Put),
    /// Adds to a number of the value table.
    Add(Add),
    /// Removes a value of the value table.
    Delete(Delete),
    /// A native DynamoDB write: `{"Put" | "Update" | "Delete" | "ConditionCheck": …}`.
    Dynamodb(Value),
    /// A statement in the SQLite store's own file.
    Sqlite(Sqlite),
}

/// `{"put": {"table", "key", "value", "if"?}}`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Put {
    /// Table of the value table.
    pub table: String,
    /// Key within it.
    pub key: String,
    /// Any JSON of at most 256 KB.
    pub value: Value,
    /// Only then; else the record is rejected.
    #[serde(rename = "if", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

/// `{"add": {"table", "key", "by", "if"?}}`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// Table of the value table.
    pub table: String,
    /// Key within it. An absent value counts as 0.
    pub key: String,
    /// Overflow, or a value that is no integer, is a failed condition.
    pub by: i64,
    /// Only then; else the record is rejected.
    #[serde(rename = "if", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

/// `{"delete": {"table", "key", "if"?}}`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// Table of the value table.
    pub table: String,
    /// Key within it.
    pub key: String,
    /// Only then; else the record is rejected.
    #[serde(rename = "if", default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

/// `{"sqlite": {"sql", "params", "rows"?}}`: a failed condition when it raises or `rows` does not
/// match the number of rows changed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sqlite {
    /// One statement; lanekeeper's own tables are protected.
    pub sql: String,
    /// Positional parameters: null, booleans, numbers, strings.
    #[serde(default)]
    pub params: Vec<Value>,
    /// Rows that it must change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// On the value as it stands before the effect.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// There is (not) a value.
    Exists(bool),
    /// The value equals this JSON.
    Equals(Value),
    /// The value is an integer and at least this.
    AtLeast(i64),
}

/// Most bytes of a value, encoded.
pub const VALUE_BYTES_MAX: usize = 256 * 1024;

/// Most bytes of a key of the value table; at least one. DynamoDB's bound for a sort key, kept by
/// every store, so that a handler does not depend on which one it writes to.
pub const KEY_BYTES_MAX: usize = 1024;

/// Most bytes of a table's name; at least one.
pub const TABLE_BYTES_MAX: usize = 255;

impl Effect {
    /// Adds `by` to a number.
    pub fn add(table: &str, key: &str, by: i64) -> Self {
        Self::Add(Add {
            table: table.to_owned(),
            key: key.to_owned(),
            by,
            condition: None,
        })
    }

    /// Sets a value.
    pub fn put(table: &str, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        Self::Put(Put {
            table: table.to_owned(),
            key: key.to_owned(),
            value,
            condition: None,
        })
    }

    /// Removes a value.
    pub fn delete(table: &str, key: &str) -> Self {
        Self::Delete(Delete {
            table: table.to_owned(),
            key: key.to_owned(),
            condition: None,
        })
    }

    /// Table and key that it writes, for the history; what a native effect writes is its own.
    pub fn target(&self) -> (&str, &str) {
        match self {
            Self::Put(e) => (&e.table, &e.key),
            Self::Add(e) => (&e.table, &e.key),
            Self::Delete(e) => (&e.table, &e.key),
            Self::Dynamodb(_) => ("dynamodb", ""),
            Self::Sqlite(e) => ("sqlite", &e.sql),
        }
    }

    /// Only when `condition` holds; on a native effect it changes nothing, since that has conditions
    /// of its own.
    #[must_use]
    pub fn only_if(mut self, condition: Condition) -> Self {
        match &mut self {
            Self::Put(e) => e.condition = Some(condition),
            Self::Add(e) => e.condition = Some(condition),
            Self::Delete(e) => e.condition = Some(condition),
            Self::Dynamodb(_) | Self::Sqlite(_) => {}
        }
        self
    }
}
