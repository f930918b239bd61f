//! What the invocation answers: what is unfinished, in the words of its mapping.
//!
//! | mapping | named are | since the mapping |
//! |---|---|---|
//! | Kinesis | the lowest unfinished sequence number, that of the aggregate for a record within one | delivers from the lowest one on again, whatever else is named |
//! | DynamoDB Streams | the lowest unfinished sequence number | as Kinesis |
//! | SQS | every unfinished message | deletes all others |
//! | SQS FIFO | the first unfinished message of each group and all behind it in the group, done or not | deletes all others, and the group would go on without the one that failed |
//! | Kafka | every unfinished offset | is not known to deliver later ones again, nor not to |
//!
//! A mapping takes an answer that names anything that it did not deliver for the failure of all, so that
//! there is no way here to name such a thing. One that was not told to look for an answer
//! (`ReportBatchItemFailures`) takes every answer for success: there the invocation fails instead.

use super::{
    delivery::{Delivered, Delivery},
    event::EventKind,
};
use crate::position::Position;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::HashSet;

/// How the invocation ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// With this body, a JSON object.
    Body(Vec<u8>),
    /// It fails, with this message; all of it comes again.
    Fail(String),
}

/// What is unfinished of a delivery.
pub struct Failures<'d> {
    delivery: &'d Delivery,
    items: Vec<Item<'d>>,
    /// How many entries are unfinished, named or not.
    unfinished: usize,
    first: Option<(&'d Delivered, &'d Position)>,
}

#[derive(Serialize)]
struct Body<'d> {
    /// Of a tumbling window.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'d RawValue>,
    #[serde(rename = "batchItemFailures")]
    failures: &'d [Item<'d>],
}

#[derive(Serialize)]
struct Item<'d> {
    #[serde(rename = "itemIdentifier")]
    identifier: Identifier<'d>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Identifier<'d> {
    /// A sequence number or a message's id.
    Text(&'d str),
    /// A partition by the mapping's name for it, and an offset.
    Offset { partition: &'d str, offset: u64 },
}

impl Delivery {
    /// Names what is unfinished: `unfinished` is asked once for every entry.
    pub fn failures(
        &self,
        mut unfinished: impl FnMut(&Delivered, &Position) -> bool,
    ) -> Failures<'_> {
        let mut failures = Failures {
            delivery: self,
            items: Vec::new(),
            unfinished: 0,
            first: None,
        };
        for delivered in &self.partitions {
            failures.add(delivered, &mut |position| unfinished(delivered, position));
        }
        failures
    }
}

impl<'d> Failures<'d> {
    fn add(&mut self, delivered: &'d Delivered, unfinished: &mut dyn FnMut(&Position) -> bool) {
        let mut stopped: HashSet<&[u8]> = HashSet::new();
        for entry in delivered.entries() {
            let is_unfinished = unfinished(entry.position());
            if is_unfinished {
                self.unfinished += 1;
                self.first.get_or_insert((delivered, entry.position()));
            }
            let identifier = match self.delivery.kind {
                // A delivery is of one shard, and entries ascend.
                EventKind::Kinesis if is_unfinished && self.items.is_empty() => {
                    entry.position().number().map(Identifier::Text)
                }
                EventKind::DynamodbStreams if is_unfinished && self.items.is_empty() => {
                    entry.id().map(Identifier::Text)
                }
                EventKind::Sqs if is_unfinished => entry.id().map(Identifier::Text),
                EventKind::SqsFifo => {
                    let group = entry.key().unwrap_or_default();
                    if is_unfinished {
                        stopped.insert(group);
                    }
                    let id = entry.id().map(Identifier::Text);
                    id.filter(|_| stopped.contains(group))
                }
                EventKind::Kafka if is_unfinished => {
                    let partition = delivered.item_name.as_str();
                    let offset = entry.position().offset();
                    offset.map(|offset| Identifier::Offset { partition, offset })
                }
                EventKind::Kinesis
                | EventKind::DynamodbStreams
                | EventKind::Sqs
                | EventKind::Kafka => None,
            };
            self.items
                .extend(identifier.map(|identifier| Item { identifier }));
        }
    }

    /// How many entries are unfinished.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.unfinished == 0
    }

    /// The answer. `reports_failures`: the mapping looks for what an answer names.
    pub fn answer(&self, reports_failures: bool) -> Answer {
        self.answer_with(reports_failures, None)
    }

    /// The same, with the state of a tumbling window.
    pub(super) fn answer_with(&self, reports_failures: bool, state: Option<&RawValue>) -> Answer {
        if let Some((delivered, position)) = self.first
            && !reports_failures
        {
            return Answer::Fail(format!(
                "{} of the {} records that {} delivered are unfinished, the first of them at position {position} of `{}`, and `lambda.reports_failures` is false: the mapping would take an answer that names them for success, so that the invocation fails and all of it comes again; let the mapping's `FunctionResponseTypes` be `ReportBatchItemFailures`, and set `lambda.reports_failures = true`",
                self.unfinished,
                self.delivery.entries(),
                self.delivery.kind,
                delivered.name(),
            ));
        }
        let body = Body {
            state,
            failures: &self.items,
        };
        match serde_json::to_vec(&body) {
            Ok(body) => Answer::Body(body),
            Err(error) => Answer::Fail(format!("the answer cannot be written: {error}")),
        }
    }
}

#[cfg(test)]
mod tests;
