//! Keys of the one table: `pk` and `sk`, both strings. What each item holds: docs/dynamodb.md.

use crate::{
    position::Position,
    record::{LaneKey, PartitionName},
};
use aws_sdk_dynamodb::types::AttributeValue;
use std::collections::HashMap;

mod reach;

/// An item, or a part of one.
pub(super) type Item = HashMap<String, AttributeValue>;

/// Partition key.
pub(super) const PK: &str = "pk";
/// Sort key.
pub(super) const SK: &str = "sk";
/// Seconds since 1970; DynamoDB deletes the item days later at most. Read as well as written here, since
/// nothing correct may hang on when that is.
pub(super) const EXPIRES_AT: &str = "expires_at";

/// Sort key of the checkpoint item.
pub(super) const CHECKPOINT: &str = "checkpoint";
/// Beginnings of sort keys.
pub(super) const LANE: &str = "lane#";
pub(super) const SEGMENT: &str = "segment#";
pub(super) const PART: &str = "part#";
pub(super) const MARK: &str = "m#";
pub(super) const WIDE_MARK: &str = "mw#";
pub(super) const DONE: &str = "done#";
pub(super) const HISTORY: &str = "history#";
pub(super) const PARTITION: &str = "partition#";
pub(super) const WORKER: &str = "worker#";
pub(super) const TABLE: &str = "table#";

/// Behind every character that a sort key of ours has after its beginning.
pub(super) const LAST: char = '~';

/// Where registry, workers and the names of value tables are.
pub(super) fn app(app: &str) -> String {
    format!("app#{app}")
}

/// Where a partition's checkpoint, lanes and history are.
pub(super) fn partition(app: &str, partition: &PartitionName) -> String {
    format!("app#{app}#{partition}")
}

/// Where the segments of a lane's chain are.
pub(super) fn chain(app: &str, of: &PartitionName, lane: &LaneKey) -> String {
    format!("{}#{}", partition(app, of), lane.id(&of.partition))
}

/// Where the values of a table are.
pub(super) fn values(app: &str, table: &str) -> String {
    format!("app#{app}#value#{table}")
}

/// Sort key of a lane item.
pub(super) fn lane(of: &PartitionName, lane: &LaneKey) -> String {
    format!("{LANE}{}", lane.id(&of.partition))
}

/// Sort key of a mark of a batch from `first` to `last`. [`marks`] has the places where those are that overlap
/// another batch.
pub(super) fn mark(first: &Position, last: &Position, invocation: &str) -> String {
    let padded = last.padded();
    let is_narrow = padded <= reach::behind(first);
    let prefix = if is_narrow { MARK } else { WIDE_MARK };
    format!("{prefix}{padded}#{invocation}")
}

/// From and to which sort key, both included, the marks are that may overlap a batch.
///
/// One that overlaps ends at the batch's first position or behind it. And it begins at the batch's last one or
/// before it: then, unless it is wide, it ends within its reach. So the many marks that a stream of a table has
/// of other shards, whose numbers are far away, are not read. Wide ones, of which there are few, are read up to
/// the last.
pub(super) fn marks(first: &Position, last: &Position) -> [(String, String); 2] {
    let padded = first.padded();
    let narrow = (
        format!("{MARK}{padded}"),
        format!("{MARK}{}{LAST}", reach::behind(last)),
    );
    let wide = (format!("{WIDE_MARK}{padded}"), format!("{WIDE_MARK}{LAST}"));
    [narrow, wide]
}

/// Sort key of what says that a record's effects are durable.
pub(super) fn done(generation: u64, position: &Position) -> String {
    format!("{DONE}{generation}#{}", position.padded())
}

/// Which commit wrote a segment or part, and which made a chain: sorts as text as it happened.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Writer(pub(super) String);

impl Writer {
    pub(super) fn new(epoch: u64, commit: u64) -> Self {
        Self(format!("{epoch:020}.{commit:020}"))
    }
}

/// Sort key of a segment. The writer in it makes it unlike any other's for ever, so that deleting one
/// late does no harm.
pub(super) fn segment(first: &Position, writer: &Writer) -> String {
    format!("{SEGMENT}{}#{}", first.padded(), writer.0)
}

/// Writer of a segment or part, out of its sort key.
pub(super) fn writer_of(sk: &str) -> Option<Writer> {
    let mut fields = sk.split('#');
    fields.nth(2).map(|writer| Writer(writer.to_owned()))
}

/// Beginning of the sort keys of a record's parts.
pub(super) fn parts(position: &Position, writer: &Writer) -> String {
    format!("{PART}{}#{}#", position.padded(), writer.0)
}

/// The key of an item.
pub(super) fn key(pk: impl Into<String>, sk: impl Into<String>) -> Item {
    HashMap::from([
        (PK.to_owned(), AttributeValue::S(pk.into())),
        (SK.to_owned(), AttributeValue::S(sk.into())),
    ])
}

/// The sort key of an item, for messages.
pub(super) fn sk_of(item: &Item) -> String {
    match item.get(SK) {
        Some(AttributeValue::S(sk)) => sk.clone(),
        Some(_) | None => String::new(),
    }
}

#[cfg(test)]
mod tests;
