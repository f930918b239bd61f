//! A letter: a record as an SQS message that can be read back.
//!
//! | of the message | what |
//! |---|---|
//! | body | the payload as it is where SQS takes it for text; else as `lanekeeper.body` says |
//! | `lanekeeper.body` | absent for text; `base64`; `empty` (the payload has no bytes), `none` (a tombstone): the body is `-` then |
//! | `lanekeeper.id` | the record's id: the same when a letter comes twice |
//! | `lanekeeper.source`, `.partition`, `.position`, `.attempts`, `.error` | as text |
//! | `lanekeeper.key` | a String, or Binary where it is no text; none without a key; of the type `String.empty` where the key has no bytes |
//! | `lanekeeper.headers` | JSON, in order: `[[name, text or {"base64": …}], …]` |
//! | `lanekeeper.timestamp` | milliseconds since 1970 |
//! | `MessageGroupId` (FIFO) | the key, where it can be a group; else the lane's id |
//! | `MessageDeduplicationId` (FIFO) | SHA-256 of app, record id, key and payload, in hex |
//!
//! A message has ten attributes at most, so that the record's own headers are one. What is deduplicated is
//! swallowed, so that nothing else may have the same name: another app may call its source the same, and
//! records that a mapping has taken out of an aggregate are counted within each event.

use crate::record::{LaneKey, Record};
use aws_sdk_sqs::{error::BuildError, primitives::Blob, types::MessageAttributeValue};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// Bytes of body and attributes that SQS takes at most: 1 MiB. A queue may take less.
pub const BYTES_MAX: usize = 1 << 20;

/// What a message group's id may have at most, in characters.
const GROUP_CHARS_MAX: usize = 128;

/// Stands for what has no bytes: SQS knows no empty text.
const NOTHING: &str = "-";

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Attribute {
    Text(String),
    Bytes(Vec<u8>),
    /// A text without bytes.
    Empty,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Letter {
    pub(super) body: String,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
    /// In a FIFO queue: what stays in order with it.
    pub(super) group: String,
    /// In a FIFO queue: what comes again within five minutes is swallowed.
    pub(super) deduplication: String,
}

impl Attribute {
    fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "String",
            Self::Bytes(_) => "Binary",
            Self::Empty => "String.empty",
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Empty => NOTHING.len(),
        }
    }

    pub(super) fn built(self) -> Result<MessageAttributeValue, BuildError> {
        let value = MessageAttributeValue::builder().data_type(self.kind());
        match self {
            Self::Text(text) => value.string_value(text),
            Self::Bytes(bytes) => value.binary_value(Blob::new(bytes)),
            Self::Empty => value.string_value(NOTHING),
        }
        .build()
    }
}

impl Letter {
    /// Of a record, with its error and the attempts that it used up.
    pub(super) fn of(app: &str, record: &Record, (error, attempts): (&str, u32)) -> Self {
        let name = &record.assignment().name;
        let (body, how) = body(record.value());
        let id = record.id();
        let text = |text: &str| Attribute::Text(cleaned(text));
        let mut attributes = vec![
            ("lanekeeper.id", text(&id)),
            ("lanekeeper.source", text(&name.source)),
            ("lanekeeper.partition", text(&name.partition)),
            ("lanekeeper.position", text(&record.position().to_string())),
            ("lanekeeper.attempts", text(&attempts.to_string())),
        ];
        if !error.is_empty() {
            attributes.push(("lanekeeper.error", text(error)));
        }
        if let Some(how) = how {
            attributes.push(("lanekeeper.body", text(how)));
        }
        if let Some(key) = record.key() {
            attributes.push(("lanekeeper.key", self::key(key)));
        }
        if let Some(headers) = headers(record) {
            attributes.push(("lanekeeper.headers", Attribute::Text(headers)));
        }
        if let Some(timestamp) = record.timestamp() {
            attributes.push(("lanekeeper.timestamp", text(&timestamp.to_string())));
        }
        Self {
            body,
            attributes,
            group: group(record),
            deduplication: deduplication([
                Some(app.as_bytes()),
                Some(id.as_bytes()),
                record.key(),
                record.value(),
            ]),
        }
    }

    /// As SQS counts them.
    pub(super) fn bytes(&self) -> usize {
        let of =
            |(name, value): &(&str, Attribute)| name.len() + value.kind().len() + value.bytes();
        self.body.len() + self.attributes.iter().map(of).sum::<usize>()
    }
}

/// The body, and what it is where it is not the payload itself.
fn body(value: Option<&[u8]>) -> (String, Option<&'static str>) {
    match value.map(|value| (value, std::str::from_utf8(value))) {
        None => (NOTHING.to_owned(), Some("none")),
        Some((b"", _)) => (NOTHING.to_owned(), Some("empty")),
        Some((_, Ok(text))) if text.chars().all(is_taken) => (text.to_owned(), None),
        Some((bytes, _)) => (STANDARD.encode(bytes), Some("base64")),
    }
}

fn key(key: &[u8]) -> Attribute {
    match std::str::from_utf8(key) {
        Ok("") => Attribute::Empty,
        Ok(text) if text.chars().all(is_taken) => Attribute::Text(text.to_owned()),
        Ok(_) | Err(_) => Attribute::Bytes(key.to_vec()),
    }
}

/// The record's own, as JSON; `None`: it has none.
fn headers(record: &Record) -> Option<String> {
    let of = |(name, value): (&str, &[u8])| match std::str::from_utf8(value) {
        Ok(text) => json!([name, text]),
        Err(_) => json!([name, { "base64": STANDARD.encode(value) }]),
    };
    let all: Vec<Value> = record.headers().map(of).collect();
    if all.is_empty() {
        return None;
    }
    // What JSON leaves as it is, and SQS does not take.
    let json = Value::from(all).to_string();
    Some(
        json.replace('\u{fffe}', "\\ufffe")
            .replace('\u{ffff}', "\\uffff"),
    )
}

/// What stays in order stays in one group: records of a key wherever they come from.
fn group(record: &Record) -> String {
    let is_group = |text: &&str| {
        (1..=GROUP_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    };
    let lane = LaneKey::from_bytes(record.lane());
    let key = { lane.as_ref() }.and_then(LaneKey::key);
    let text = key.and_then(|key| std::str::from_utf8(key).ok());
    if let Some(text) = text.filter(is_group) {
        return text.to_owned();
    }
    let name = &record.assignment().name;
    let id = lane.map_or_else(String::new, |lane| lane.id(&name.to_string()));
    match Some(&*id).filter(is_group) {
        Some(id) => id.to_owned(),
        None => hex(&Sha256::digest(&id)),
    }
}

/// Of these parts, and of no others.
fn deduplication(parts: [Option<&[u8]>; 4]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // No part is as long as what stands for none.
        hash.update(
            part.map_or(u64::MAX, |part| part.len() as u64)
                .to_be_bytes(),
        );
        hash.update(part.unwrap_or_default());
    }
    hex(&hash.finalize())
}

/// Characters that SQS takes in a text: those that XML has.
fn is_taken(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{fffd}' | '\u{10000}'..)
}

/// A text that is for people.
fn cleaned(text: &str) -> String {
    let cleaned = |c| if is_taken(c) { c } else { '\u{fffd}' };
    text.chars().map(cleaned).collect()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
