//! Queues of SQS: the model, and what a mapping needs of any.

mod model;

pub use model::{Queue, Refused};

use super::clock::Clock;
use serde_json::Value;
use std::{io, time::Duration, time::SystemTime};

/// A message as a receive gives it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id.
    pub id: String,
    /// With which it is deleted; another one each time it is received.
    pub handle: String,
    /// Its text.
    pub body: String,
    /// Of its body, in hexadecimal digits.
    pub md5_of_body: String,
    /// Its message group, if it has one.
    pub group: Option<String>,
    /// All system attributes, as the event has them.
    pub attributes: serde_json::Map<String, Value>,
    /// How often it was received, this time included.
    pub receives: u32,
    /// Until when nobody else gets it.
    pub hidden_until: SystemTime,
}

/// What one receive gives.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Messages that are hidden from now on.
    pub messages: Vec<Message>,
    /// Messages that it has moved to the dead-letter queue, as far as that can be seen.
    pub redriven: Vec<Message>,
}

/// A queue from which a mapping reads.
pub trait MessageQueue: Send {
    /// Its ARN: that of a FIFO queue ends with `.fifo`.
    fn arn(&self) -> String;

    /// The time by which it hides messages.
    fn clock(&self) -> &Clock;

    /// How long a received message stays hidden.
    fn visibility(&self) -> Duration;

    /// Up to so many messages.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn receive(&self, messages_max: usize) -> io::Result<Received>;

    /// Deletes a message, or tells why it is not.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn delete(&self, message: &Message) -> io::Result<Result<(), Refused>>;

    /// When a hidden message will be seen again, the next one; `None`: there is none.
    ///
    /// # Errors
    /// When it cannot be asked.
    fn next_seen(&self) -> io::Result<Option<SystemTime>>;
}

/// Whether the queue is one.
pub(super) fn is_fifo(arn: &str) -> bool {
    // A message group does not prove it: fair queues have groups too (F13).
    arn.ends_with(".fifo")
}
