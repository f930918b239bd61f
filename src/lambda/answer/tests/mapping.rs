//! What a mapping makes of an answer, by the rules of the service's guide.

use crate::{
    Position,
    lambda::{Delivery, EventKind},
};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// Partition and position.
pub(super) type At = (String, Position);

/// A mapping that has delivered.
pub(super) struct Mapping<'d> {
    delivery: &'d Delivery,
    /// Every id that it knows, as the answer would write it, with what it stands for.
    known: HashMap<String, BTreeSet<At>>,
}

impl<'d> Mapping<'d> {
    pub(super) fn of(delivery: &'d Delivery) -> Self {
        let mut known: HashMap<String, BTreeSet<At>> = HashMap::new();
        for delivered in &delivery.partitions {
            for entry in delivered.entries() {
                let position = entry.position();
                let id = match delivery.kind {
                    EventKind::Kinesis => format!("{:?}", position.number().expect("a number")),
                    EventKind::DynamodbStreams | EventKind::Sqs | EventKind::SqsFifo => {
                        format!("{:?}", entry.id().expect("an id"))
                    }
                    EventKind::Kafka => {
                        let (topic, n) = delivered.name().rsplit_once('/').expect("a name");
                        format!("{topic}-{n}@{position}")
                    }
                };
                let at = (delivered.name().to_string(), position.clone());
                known.entry(id).or_default().insert(at);
            }
        }
        Self { delivery, known }
    }

    /// What is delivered again; `Err`: all, since the answer is not understood.
    pub(super) fn delivers_again(&self, body: &[u8]) -> Result<BTreeSet<At>, String> {
        let body: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let items = body["batchItemFailures"].as_array().ok_or("no list")?;
        let mut named = BTreeSet::new();
        for item in items {
            let id = &item["itemIdentifier"];
            let id = match (id.as_str(), id["partition"].as_str()) {
                (Some(text), _) => format!("{text:?}"),
                (None, Some(partition)) => format!("{partition}@{}", id["offset"]),
                (None, None) => return Err(format!("`{id}` is no identifier")),
            };
            let at = { self.known.get(&id) }.ok_or_else(|| format!("{id} was not delivered"))?;
            named.extend(at.iter().cloned());
        }
        let all = self.known.values().flatten();
        Ok(match self.delivery.kind {
            // The lowest is the checkpoint; it and all behind it come again.
            EventKind::Kinesis | EventKind::DynamodbStreams => match named.first() {
                Some(lowest) => all.filter(|at| *at >= lowest).cloned().collect(),
                None => BTreeSet::new(),
            },
            EventKind::Sqs | EventKind::SqsFifo | EventKind::Kafka => named,
        })
    }

    /// Of a FIFO queue's group everything behind what comes again comes again too: else it was deleted,
    /// and the failed one would run after it.
    pub(super) fn keeps_groups_in_order(&self, again: &BTreeSet<At>) -> Result<(), String> {
        if self.delivery.kind != EventKind::SqsFifo {
            return Ok(());
        }
        for delivered in &self.delivery.partitions {
            let mut stopped = BTreeSet::new();
            for entry in delivered.entries() {
                let at = (delivered.name().to_string(), entry.position().clone());
                if again.contains(&at) {
                    stopped.insert(entry.key());
                } else if stopped.contains(&entry.key()) {
                    return Err(format!(
                        "{} was deleted behind what failed",
                        entry.position()
                    ));
                }
            }
        }
        Ok(())
    }
}
