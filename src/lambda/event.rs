//! What an invocation brings: told apart by its source, and refused as a whole where a part of it
//! could be lost or misplaced.

use super::{
    delivery::{Delivery, Window},
    dynamodb, kafka, kinesis, sqs,
};
use crate::position::Position;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt;
use text::{Pairs, Text};

mod records;
pub(super) mod text;

pub(super) use records::Records;

/// Bytes of a payload that are read; the service sends 6 MB at most.
const PAYLOAD_BYTES_MAX: usize = u32::MAX as usize;

/// Most characters of a value that an error shows.
const SHOWN_CHARS: usize = 80;

/// What an invocation brings.
#[derive(Debug)]
pub enum Event {
    /// Records, from a mapping.
    Delivery(Delivery),
    /// `{"lanekeeper": …}`: somebody's own invocation, with what stands there.
    Request(Box<RawValue>),
}

/// What a delivery comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// A Kinesis stream: one shard a delivery.
    Kinesis,
    /// The stream of a DynamoDB table: one shard a delivery, which is not named.
    DynamodbStreams,
    /// A standard SQS queue, which promises no order.
    Sqs,
    /// An SQS FIFO queue.
    SqsFifo,
    /// Kafka, Amazon's or another, with any number of partitions.
    Kafka,
}

impl EventKind {
    /// Whether its positions are an order, or nothing but identities.
    pub fn is_ordered(self) -> bool {
        match self {
            Self::Kinesis | Self::DynamodbStreams | Self::SqsFifo | Self::Kafka => true,
            Self::Sqs => false,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kinesis => "Kinesis",
            Self::DynamodbStreams => "DynamoDB Streams",
            Self::Sqs => "SQS",
            Self::SqsFifo => "SQS FIFO",
            Self::Kafka => "Kafka",
        })
    }
}

/// Which record of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its index in its list, from 0.
    pub index: usize,
    /// What the event calls it, as far as that is known.
    pub id: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "record {} (`{id}`)", self.index),
            None => write!(f, "record {}", self.index),
        }
    }
}

/// An event that is not taken. An invocation that fails with it loses nothing: all of it comes again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EventError {
    /// Longer than anything that the service sends.
    #[error("the payload has {bytes} bytes, and at most {PAYLOAD_BYTES_MAX} are read")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// No JSON, or not of the shape that the service writes.
    #[error("the payload is no event as the service writes it: {why}")]
    Unreadable {
        /// What is wrong and where, by line and column.
        why: String,
    },
    /// No mapping sent it.
    #[error(
        "the payload has neither `Records` of Kinesis, DynamoDB Streams or SQS nor `records` of Kafka, but {}: invoke the function by an event source mapping, or directly with `{{\"lanekeeper\": …}}`",
        named(.fields)
    )]
    NotAnEvent {
        /// The names of its fields, some of them where there are many.
        fields: Vec<String>,
    },
    /// From something else than a stream, a queue or a Kafka topic.
    #[error(
        "the event comes from `{source_name}`, expected `aws:kinesis`, `aws:dynamodb`, `aws:sqs`, `aws:kafka` or `SelfManagedKafka`: take that trigger off the function"
    )]
    UnknownSource {
        /// Its `eventSource`.
        source_name: String,
    },
    /// No mapping sends nothing.
    #[error(
        "the event holds no record, which no event source mapping sends: invoke the function by one, or directly with `{{\"lanekeeper\": …}}`"
    )]
    Empty,
    /// Records of several sources in one event, or of several shards.
    #[error(
        "{place} has `{field}` {found}, and the records before it {first}: one event has records of one source; send them apart"
    )]
    Mixed {
        /// Which record.
        place: Place,
        /// In which field the difference is.
        field: &'static str,
        /// What the first record has there.
        first: String,
        /// What this one has.
        found: String,
    },
    /// A field without which the record would be lost or have no place.
    #[error(
        "{place} has no `{field}`, without which it could be lost or overtaken: the service always sends it"
    )]
    Missing {
        /// Which record.
        place: Place,
        /// Which field.
        field: &'static str,
    },
    /// A field that cannot be what it says.
    #[error("{place} has `{field}` `{found}`, expected {expected}")]
    Malformed {
        /// Which record.
        place: Place,
        /// Which field.
        field: &'static str,
        /// What stands there, cut short.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// A payload that cannot be decoded; it is not shown.
    #[error(
        "{place} has a `{field}` that is not base64 (the standard alphabet, padded), as the service writes it"
    )]
    Base64 {
        /// Which record.
        place: Place,
        /// Which field.
        field: &'static str,
    },
    /// Two records that an answer could not tell apart.
    #[error(
        "`{partition}` has two records with the id `{id}` in one event, which an answer could not tell apart: the service sends each once"
    )]
    Twice {
        /// Which partition.
        partition: String,
        /// What both are called.
        id: String,
    },
    /// An aggregate of the producer library with records of other keys than its own.
    #[error(
        "record {sub} of the {records} in the aggregate at {position} of `{partition}` has another partition key than the aggregate: with a ParallelizationFactor above 1 such records may overtake each other; where the mapping's is 1, say so by `lambda.parallelization_factor = 1`, else let it be 1, or let the producer aggregate by key or not at all"
    )]
    MixedKeys {
        /// Which partition.
        partition: String,
        /// The aggregate's place.
        position: Position,
        /// The sub-sequence number of the first such record.
        sub: usize,
        /// How many records it holds.
        records: usize,
    },
    /// Shards of one partition that cannot be told apart, where each is to be kept in order as a whole.
    #[error(
        "records of `{partition}` come from shards of DynamoDB Streams, which an event does not name: an order of each shard (`order.by`, `failure.stops`: \"partition\") cannot be kept, and that of each item is"
    )]
    NoShard {
        /// Which partition.
        partition: String,
    },
    /// A record of a stream that says nowhere to which key it belongs, where keys are to be kept in order.
    #[error(
        "the record at {position} of `{partition}` has no partition key, as in a stream that places its records by itself (`RecordDistributionStrategy=AUTO`): records of one key are in any shard there, and in no order; let `order.by` be \"partition\", which keeps the order of each shard, or use a stream without this strategy"
    )]
    Unplaced {
        /// Which partition.
        partition: String,
        /// The record's place.
        position: Position,
    },
}

/// A value from outside, as an error may show it.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

fn named(fields: &[String]) -> String {
    if fields.is_empty() {
        return "no field".to_owned();
    }
    let fields: Vec<String> = fields.iter().map(|name| format!("`{name}`")).collect();
    fields.join(", ")
}

#[derive(Deserialize)]
#[serde(expecting = "a JSON object")]
struct Envelope<'a> {
    #[serde(borrow, rename = "Records")]
    records: Option<Records<'a>>,
    #[serde(borrow, rename = "records")]
    topics: Option<Pairs<'a, Vec<kafka::Raw<'a>>>>,
    #[serde(borrow, rename = "eventSource")]
    source: Option<Text<'a>>,
    #[serde(borrow, rename = "eventSourceArn")]
    arn: Option<Text<'a>>,
    #[serde(borrow, rename = "bootstrapServers")]
    bootstrap_servers: Option<Text<'a>>,
    #[serde(borrow)]
    lanekeeper: Option<&'a RawValue>,
    #[serde(borrow)]
    window: Option<&'a RawValue>,
    #[serde(borrow)]
    state: Option<&'a RawValue>,
    #[serde(borrow, rename = "shardId")]
    shard: Option<Text<'a>>,
    /// The stream's ARN, beside a window.
    #[serde(borrow, rename = "eventSourceARN")]
    stream: Option<Text<'a>>,
    #[serde(rename = "isFinalInvokeForWindow")]
    is_final: Option<bool>,
    #[serde(rename = "isWindowTerminatedEarly")]
    is_terminated_early: Option<bool>,
}

/// Reads the payload of an invocation.
///
/// # Errors
/// When it is no event of a source that is known, or when a record of it could be lost or overtaken if
/// the others were taken.
pub fn decode(payload: &[u8]) -> Result<Event, EventError> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(EventError::TooLarge {
            bytes: payload.len(),
        });
    }
    let text = std::str::from_utf8(payload).map_err(|error| EventError::Unreadable {
        why: error.to_string(),
    })?;
    let mut envelope: Envelope<'_> =
        serde_json::from_str(text).map_err(|error| foreign(text, Some(&error)))?;
    let delivery = match (envelope.records.take(), envelope.topics.take()) {
        (Some(records), None) => envelope.of_records(records)?,
        (None, Some(topics)) => envelope.of_topics(topics)?,
        (Some(_), Some(_)) => return Err(foreign(text, None)),
        (None, None) => {
            if let Some(request) = envelope.lanekeeper {
                return Ok(Event::Request(request.to_owned()));
            }
            match envelope.end_of_window() {
                Some(delivery) => delivery,
                None => return Err(foreign(text, None)),
            }
        }
    };
    Ok(Event::Delivery(delivery))
}

impl Envelope<'_> {
    fn of_records(&self, records: Records<'_>) -> Result<Delivery, EventError> {
        let window = self.window();
        let mut delivery = match records.finish()? {
            Some(delivery) => delivery,
            None if window.is_some() => self.nothing()?,
            None => return Err(EventError::Empty),
        };
        delivery.window = window;
        Ok(delivery)
    }

    /// The last invocation of a window may bring nothing but its state.
    fn nothing(&self) -> Result<Delivery, EventError> {
        let stream = { self.stream.as_ref() }.ok_or(EventError::Empty)?;
        match stream.split(':').nth(2) {
            Some("kinesis") => {
                let arn = Some((**stream).to_owned());
                Ok(Delivery::new(EventKind::Kinesis, arn))
            }
            Some("dynamodb") => {
                let arn = Some((**stream).to_owned());
                Ok(Delivery::new(EventKind::DynamodbStreams, arn))
            }
            _ => Err(EventError::Empty),
        }
    }

    /// Of a window and without a list of records: nothing came.
    fn end_of_window(&self) -> Option<Delivery> {
        let window = self.window()?;
        let mut delivery = self.nothing().ok()?;
        delivery.window = Some(window);
        Some(delivery)
    }

    fn of_topics(&self, topics: Pairs<'_, Vec<kafka::Raw<'_>>>) -> Result<Delivery, EventError> {
        let source = self.source.as_deref().unwrap_or_default();
        if source != kafka::AMAZON && source != kafka::SELF_MANAGED {
            return Err(unknown(source));
        }
        let text = |text: &Option<Text<'_>>| text.as_deref().map(str::to_owned);
        let mut delivery = Delivery::new(EventKind::Kafka, text(&self.arn));
        delivery.bootstrap_servers = text(&self.bootstrap_servers);
        delivery.partitions = kafka::partitions(topics)?;
        if delivery.partitions.is_empty() {
            return Err(EventError::Empty);
        }
        Ok(delivery)
    }

    fn window(&self) -> Option<Window> {
        let is_said = self.window.is_some() || self.is_final.is_some();
        is_said.then(|| Window {
            window: self.window.map(RawValue::to_owned),
            state: self.state.map(RawValue::to_owned),
            shard: self.shard.as_deref().map(str::to_owned),
            is_final: self.is_final.unwrap_or_default(),
            is_terminated_early: self.is_terminated_early.unwrap_or_default(),
        })
    }
}

/// The error that names a source of which nothing is read.
fn unknown(source: &str) -> EventError {
    EventError::UnknownSource {
        source_name: shown(source),
    }
}

/// Whether an `eventSource` is one of those that are read.
fn is_known(source: &str) -> bool {
    [
        kinesis::SOURCE,
        dynamodb::SOURCE,
        sqs::SOURCE,
        kafka::AMAZON,
        kafka::SELF_MANAGED,
    ]
    .contains(&source)
}

/// Says what a payload is that could not be read as one of ours: it is looked at again for its source.
fn foreign(text: &str, error: Option<&serde_json::Error>) -> EventError {
    /// Names that an error lists.
    const NAMES_MAX: usize = 12;
    let unreadable = |error: &serde_json::Error| EventError::Unreadable {
        why: error.to_string(),
    };
    if let Some(error) = error.filter(|error| !error.is_data()) {
        return unreadable(error);
    }
    match (text::source_of(text), error) {
        (Some(source), _) if !is_known(&source) => unknown(&source),
        (Some(_), Some(error)) => unreadable(error),
        (_, error) => match (text::fields_of(text), error) {
            (Some(mut fields), _) => {
                fields.truncate(NAMES_MAX);
                let fields = fields.iter().map(|name| shown(name)).collect();
                EventError::NotAnEvent { fields }
            }
            (None, Some(error)) => unreadable(error),
            (None, None) => EventError::NotAnEvent { fields: Vec::new() },
        },
    }
}

#[cfg(test)]
mod tests;
