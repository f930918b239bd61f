//! What a mapping has done: tests look at it alone.

use super::function::Outcome;
use serde_json::Value;
use std::{sync::Arc, time::SystemTime};

/// Everything that a mapping has done so far.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// Every batch that was handed to the function, or refused by a throttle, in order of their begin.
    pub deliveries: Vec<Delivery>,
    /// What reached the on-failure destination, as it reads there.
    pub destinations: Vec<Value>,
    /// Records that the mapping gave up and that reached no destination, and messages that went to a
    /// dead-letter queue.
    pub losses: Vec<Loss>,
    /// Deletes that the queue refused: message id and error.
    pub refused_deletes: Vec<(String, String)>,
    /// The most invocations that were under way at a time.
    pub concurrency_most: usize,
}

/// A batch in one invocation.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The shard, the queue, or `kafka`.
    pub source: String,
    /// What it held, in order.
    pub items: Vec<Item>,
    /// By the mapping's own count, which begins anew when the checkpoint advances: 1 is no retry.
    pub attempt: u32,
    /// The event as the function got it.
    pub event: Arc<str>,
    /// When it began, by the clock of the source.
    pub began: SystemTime,
    /// `None`: under way.
    pub end: Option<End>,
}

/// A record or a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Sequence number, message id, or `topic-partition/offset`.
    pub id: String,
    /// Partition key, message group, or record key.
    pub key: Option<String>,
    /// Its data, as far as they are text.
    pub text: String,
    /// How often the queue has given it out, this time included; 0 where there is no queue.
    pub receives: u32,
}

/// How an invocation ended.
#[derive(Clone, Debug)]
pub struct End {
    /// What the function answered.
    pub outcome: Outcome,
    /// What the mapping made of it.
    pub verdict: Verdict,
    /// The number of the environment, from 1; `None`: none was there (a throttle, a stub).
    pub environment: Option<u32>,
    /// By the clock of the source.
    pub at: SystemTime,
}

/// What a mapping makes of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// All of it is done.
    Success,
    /// Of the batch, these come again.
    Partial(Vec<String>),
    /// All of it comes again, or is given up.
    Failure,
    /// The function was not invoked: no attempt.
    Throttled,
}

/// Records that nobody will process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loss {
    /// What they were.
    pub items: Vec<Item>,
    /// Why the mapping, or the queue, gave them up.
    pub why: Why,
}

/// Why records were given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// `MaximumRetryAttempts`.
    RetryAttemptsExhausted,
    /// `MaximumRecordAgeInSeconds`.
    RecordAgeExceeded,
    /// The stream keeps nothing for longer than its retention.
    Retention,
    /// No event can hold it.
    MaximumPayloadSizeExceeded,
    /// The redrive policy of the queue: it lies in the dead-letter queue.
    Redrive,
}

impl Journal {
    /// The texts of each delivery's items, in order of their begin.
    pub fn batches(&self) -> Vec<Vec<&str>> {
        self.deliveries.iter().map(Delivery::texts).collect()
    }

    /// The deliveries that held an item with this text, without those that a throttle refused.
    pub fn deliveries_of(&self, text: &str) -> Vec<&Delivery> {
        let holds = |delivery: &&Delivery| delivery.items.iter().any(|item| item.text == text);
        let invoked = self.deliveries.iter().filter(|d| !d.is_throttled());
        invoked.filter(holds).collect()
    }

    /// The verdicts on the deliveries that are over, in order of their begin.
    pub fn verdicts(&self) -> Vec<&Verdict> {
        let ends = self.deliveries.iter().filter_map(|d| d.end.as_ref());
        ends.map(|end| &end.verdict).collect()
    }

    /// The texts of all that was given up for this reason.
    pub fn lost(&self, why: Why) -> Vec<&str> {
        let losses = self.losses.iter().filter(|loss| loss.why == why);
        let items = losses.flat_map(|loss| &loss.items);
        items.map(|item| item.text.as_str()).collect()
    }
}

impl Delivery {
    /// The texts of its items, in order.
    pub fn texts(&self) -> Vec<&str> {
        self.items.iter().map(|item| item.text.as_str()).collect()
    }

    /// The ids of its items, in order.
    pub fn ids(&self) -> Vec<&str> {
        self.items.iter().map(|item| item.id.as_str()).collect()
    }

    /// No environment was to be had.
    pub fn is_throttled(&self) -> bool {
        let verdict = self.end.as_ref().map(|end| &end.verdict);
        verdict == Some(&Verdict::Throttled)
    }

    /// The answer, as far as it is JSON; `Null` while there is none.
    pub fn answer(&self) -> Value {
        match self.end.as_ref().map(|end| &end.outcome) {
            Some(Outcome::Answered(body)) => serde_json::from_slice(body).unwrap_or_default(),
            Some(Outcome::Failed { .. } | Outcome::Throttled) | None => Value::Null,
        }
    }
}

impl End {
    /// As a destination record names it: `Unhandled`, or nothing for an answer that was refused.
    pub(super) fn function_error(outcome: &Outcome) -> Option<&'static str> {
        match outcome {
            Outcome::Failed { .. } => Some("Unhandled"),
            Outcome::Answered(_) | Outcome::Throttled => None,
        }
    }
}
