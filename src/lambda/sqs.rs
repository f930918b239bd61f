//! Messages of an SQS queue. In a FIFO queue a message's position is its `SequenceNumber`, and its key
//! its message group. In a standard queue the position is the message's id as a number, which says which
//! message it is and nothing of an order; a group that it may have there says nothing of one either, so
//! that it has no key.

use super::{
    delivery::{Delivered, Item, Span},
    event::{
        EventError, EventKind, Place, shown,
        text::{Pairs, Text},
    },
};
use crate::position::Position;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The `eventSource` of its records.
pub(super) const SOURCE: &str = "aws:sqs";

/// What ends the name of a FIFO queue, and of no other. (Standard queues have message groups too.)
const FIFO: &str = ".fifo";

/// As which header a message has the trace of whoever sent it.
const TRACE: &str = "AWSTraceHeader";

/// What stands under `attributes`: texts, whatever they mean.
#[derive(Deserialize)]
pub(super) struct Attributes<'a> {
    #[serde(borrow, rename = "ApproximateReceiveCount")]
    receives: Option<Text<'a>>,
    /// Milliseconds since 1970.
    #[serde(borrow, rename = "SentTimestamp")]
    sent: Option<Text<'a>>,
    #[serde(borrow, rename = "SequenceNumber")]
    number: Option<Text<'a>>,
    #[serde(borrow, rename = "MessageGroupId")]
    group: Option<Text<'a>>,
    /// X-Ray's trace of whoever sent it.
    #[serde(borrow, rename = "AWSTraceHeader")]
    trace: Option<Text<'a>>,
}

/// What stands under `messageAttributes`.
pub(super) type MessageAttributes<'a> = Pairs<'a, Attribute<'a>>;

/// A message attribute: one of both; SQS has no lists yet.
#[derive(Deserialize)]
pub(super) struct Attribute<'a> {
    #[serde(borrow, rename = "stringValue")]
    string: Option<Text<'a>>,
    #[serde(borrow, rename = "binaryValue")]
    binary: Option<Text<'a>>,
}

/// A message as the event has it.
pub(super) struct Message<'a> {
    pub(super) id: Option<Text<'a>>,
    pub(super) body: Option<Text<'a>>,
    pub(super) attributes: Option<Attributes<'a>>,
    pub(super) message_attributes: Option<MessageAttributes<'a>>,
}

/// One queue's messages as they come.
pub(super) struct Queue {
    delivered: Delivered,
    is_fifo: bool,
}

impl Queue {
    /// Of the queue of this ARN.
    pub(super) fn new(arn: &str) -> Self {
        let name = arn.rsplit(':').next().unwrap_or(arn);
        Self {
            delivered: Delivered::new(name, name),
            is_fifo: arn.ends_with(FIFO),
        }
    }

    pub(super) fn kind(&self) -> EventKind {
        if self.is_fifo {
            EventKind::SqsFifo
        } else {
            EventKind::Sqs
        }
    }

    /// The next message.
    pub(super) fn take(&mut self, index: usize, message: &Message<'_>) -> Result<(), EventError> {
        let place = || Place {
            index,
            id: message.id.as_deref().map(shown),
        };
        let missing = |field| EventError::Missing {
            place: place(),
            field,
        };
        let id = { message.id.as_deref() }.filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| missing("messageId"))?;
        let body = { message.body.as_deref() }.ok_or_else(|| missing("body"))?;
        let attributes = message.attributes.as_ref();
        let mut group = None;
        let (position, said, field) = if self.is_fifo {
            let number_field = "attributes.SequenceNumber";
            let said = attributes.and_then(|all| all.number.as_deref());
            let said = said.ok_or_else(|| missing(number_field))?;
            group = attributes.and_then(|all| all.group.as_deref());
            group.ok_or_else(|| missing("attributes.MessageGroupId"))?;
            (number(said), said, number_field)
        } else {
            (identity(id), id, "messageId")
        };
        let position = position.ok_or_else(|| EventError::Malformed {
            place: place(),
            field,
            found: shown(said),
            expected: "at most 129 decimal digits",
        })?;
        let key = group.map(|group| self.delivered.append(group.as_bytes()));
        let value = self.delivered.append(body.as_bytes());
        let trace = attributes.and_then(|all| all.trace.as_deref());
        let headers = self.headers(message.message_attributes.as_ref(), trace, &place)?;
        let id = self.delivered.append(id.as_bytes());
        let received = attributes.and_then(|all| all.receives.as_deref());
        let sent = attributes.and_then(|all| all.sent.as_deref());
        self.delivered.push(Item {
            position,
            key,
            value: Some(value),
            headers,
            timestamp: sent.and_then(|text| text.parse().ok()),
            receives: received.and_then(|text| text.parse().ok()),
            id: Some(id),
        });
        Ok(())
    }

    fn headers(
        &mut self,
        attributes: Option<&MessageAttributes<'_>>,
        trace: Option<&str>,
        place: &dyn Fn() -> Place,
    ) -> Result<Span, EventError> {
        let from = self.delivered.headers_from();
        for (name, attribute) in attributes.map_or(&[][..], |attributes| &attributes.0) {
            let name = self.delivered.append(name.as_bytes());
            let value = match (&attribute.binary, &attribute.string) {
                (Some(binary), _) => self.delivered.append_base64(binary),
                (None, Some(string)) => Some(self.delivered.append(string.as_bytes())),
                (None, None) => Some(self.delivered.append(b"")),
            };
            let value = value.ok_or_else(|| EventError::Base64 {
                place: place(),
                field: "messageAttributes.binaryValue",
            })?;
            self.delivered.push_header(name, value);
        }
        if let Some(trace) = trace {
            let name = self.delivered.append(TRACE.as_bytes());
            let value = self.delivered.append(trace.as_bytes());
            self.delivered.push_header(name, value);
        }
        Ok(self.delivered.headers_since(from))
    }

    /// What came.
    pub(super) fn finish(mut self) -> Result<Delivered, EventError> {
        let twice = |id: &str| EventError::Twice {
            partition: self.delivered.name().to_string(),
            id: shown(id),
        };
        if self.is_fifo {
            // An answer names messages by their ids, of which their positions say nothing here.
            let mut ids: Vec<&str> = self.delivered.entries().filter_map(|e| e.id()).collect();
            ids.sort_unstable();
            if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(twice(pair[0]));
            }
        }
        if let Err(position) = self.delivered.seal() {
            let mut same = { self.delivered.entries() }.filter(|e| *e.position() == position);
            let id = same.next().and_then(|entry| entry.id());
            return Err(EventError::Twice {
                partition: self.delivered.name().to_string(),
                id: shown(id.unwrap_or_default()),
            });
        }
        Ok(self.delivered)
    }
}

/// A number as a position that reads back as the same: up to 19 digits are an offset.
fn number(text: &str) -> Option<Position> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let digits = match text.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    is_number.then(|| digits.parse().ok()).flatten()
}

/// A message's id as a number: the 128 bits of the UUID that it is, else the first of its SHA-256.
fn identity(id: &str) -> Option<Position> {
    let bits = Uuid::try_parse(id).map_or_else(
        |_| {
            let mut first = [0; 16];
            first.copy_from_slice(&Sha256::digest(id)[..16]);
            u128::from_be_bytes(first)
        },
        |uuid| uuid.as_u128(),
    );
    number(&bits.to_string())
}

#[cfg(test)]
mod tests;
