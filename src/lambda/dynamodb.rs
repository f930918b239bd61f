//! Records of DynamoDB Streams. An event does not say of which shard they are (`eventID` is a hash), and a
//! number is told to be a record's own within its shard alone. So the whole stream is one partition, and a
//! position is the sequence number with the CRC-32C of the item's key behind it: two records of one number
//! are of two items, since all of an item is in one shard and its children.

use super::{
    delivery::{Delivered, Item, Span},
    event::{
        EventError, Place, shown,
        text::{Pairs, Text},
    },
};
use crate::position::Position;
use serde::Deserialize;

/// The `eventSource` of its records.
pub(super) const SOURCE: &str = "aws:dynamodb";

/// Attributes of a primary key.
const KEY_ATTRIBUTES_MAX: usize = 2;

/// What stands under `dynamodb`; images are not looked into.
#[derive(Deserialize)]
pub(super) struct Raw<'a> {
    /// Each attribute by its name: its type and its value as text.
    #[serde(borrow, rename = "Keys")]
    keys: Option<Pairs<'a, Pairs<'a, Text<'a>>>>,
    #[serde(borrow, rename = "SequenceNumber")]
    number: Option<Text<'a>>,
    /// Seconds since 1970, with or without a fraction.
    #[serde(rename = "ApproximateCreationDateTime")]
    created: Option<f64>,
}

/// The table of a stream's ARN, `arn:aws:dynamodb:REGION:ACCOUNT:table/NAME/stream/TIME`; `None`: it is of
/// no stream.
fn table_of(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let is_dynamodb = parts.next() == Some("arn") && parts.nth(1) == Some("dynamodb");
    let resource = parts.nth(2).filter(|_| is_dynamodb)?;
    let (table, time) = resource.strip_prefix("table/")?.split_once("/stream/")?;
    (!table.is_empty() && !table.contains('/') && !time.is_empty()).then_some(table)
}

/// One stream's records as they come.
pub(super) struct Stream {
    delivered: Delivered,
    /// Of the record at hand, used again.
    key: Vec<u8>,
}

impl Stream {
    /// Of the stream of this ARN; `None`: it is of none.
    pub(super) fn new(arn: &str) -> Option<Self> {
        let table = table_of(arn)?;
        Some(Self {
            delivered: Delivered::new(table, table),
            key: Vec::new(),
        })
    }

    /// The next record, and its JSON as it came.
    pub(super) fn take(
        &mut self,
        index: usize,
        event_id: Option<&Text<'_>>,
        raw: Option<Raw<'_>>,
        text: &str,
    ) -> Result<(), EventError> {
        let place = || Place {
            index,
            id: event_id.map(|id| shown(id)),
        };
        let missing = |field| EventError::Missing {
            place: place(),
            field,
        };
        let raw = raw.ok_or_else(|| missing("dynamodb"))?;
        let number = { raw.number }.ok_or_else(|| missing("dynamodb.SequenceNumber"))?;
        let keys = raw.keys.ok_or_else(|| missing("dynamodb.Keys"))?;
        canonical(keys, &mut self.key).map_err(|found| EventError::Malformed {
            place: place(),
            field: "dynamodb.Keys",
            found: shown(&found),
            expected: "one or two attributes, each with one of the types `S`, `N` and `B`",
        })?;
        let position = self
            .position(&number)
            .ok_or_else(|| EventError::Malformed {
                place: place(),
                field: "dynamodb.SequenceNumber",
                found: shown(&number),
                expected: "at most 129 decimal digits",
            })?;
        let key = self.delivered.append(&self.key);
        let value = self.delivered.append(text.as_bytes());
        // As it is written: an answer names it so.
        let id = self.delivered.append(number.as_bytes());
        self.push(position, [key, value, id], raw.created);
        Ok(())
    }

    /// Emulators write leading zeros.
    fn position(&self, number: &str) -> Option<Position> {
        let digits = match number.trim_start_matches('0') {
            "" if !number.is_empty() => "0",
            digits => digits,
        };
        Position::sequence(digits, Some(crc32c::crc32c(&self.key))).ok()
    }

    fn push(&mut self, position: Position, [key, value, id]: [Span; 3], created: Option<f64>) {
        let headers = self.delivered.headers_since(self.delivered.headers_from());
        self.delivered.push(Item {
            position,
            key: Some(key),
            value: Some(value),
            headers,
            timestamp: created.map(|seconds| (seconds * 1000.0).round() as i64),
            receives: None,
            id: Some(id),
        });
    }

    /// What came.
    pub(super) fn finish(mut self) -> Result<Delivered, EventError> {
        let sealed = self.delivered.seal();
        match sealed.err().or_else(|| twice(&self.delivered)) {
            Some(position) => Err(EventError::Twice {
                partition: self.delivered.name().to_string(),
                id: position.number().unwrap_or_default().to_owned(),
            }),
            None => Ok(self.delivered),
        }
    }
}

/// A number that two records have: one event is of one shard, where it is one record's, whatever its item.
fn twice(sealed: &Delivered) -> Option<Position> {
    let numbers = |n| sealed.entries().skip(n).map(|entry| entry.position());
    let mut pairs = numbers(0).zip(numbers(1));
    let pair = pairs.find(|(one, other)| one.number() == other.number());
    pair.map(|(one, _)| one.clone())
}

/// Writes an item's key so that it is the same whatever the order of its attributes: as JSON, names
/// ascending, without white space.
///
/// # Errors
/// When it is no key: its attributes and their types, without a value, since keys are in no log.
fn canonical(keys: Pairs<'_, Pairs<'_, Text<'_>>>, out: &mut Vec<u8>) -> Result<(), String> {
    let Pairs(mut keys) = keys;
    keys.sort_unstable_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
    out.clear();
    let mut is_key = (1..=KEY_ATTRIBUTES_MAX).contains(&keys.len());
    is_key &= keys.windows(2).all(|pair| pair[0].0 != pair[1].0);
    for (n, (name, Pairs(values))) in keys.iter().enumerate() {
        out.push(if n == 0 { b'{' } else { b',' });
        write(name, out);
        is_key &= values.len() == 1;
        for (kind, value) in values {
            is_key &= matches!(&**kind, "S" | "N" | "B");
            out.extend_from_slice(b":{");
            write(kind, out);
            out.push(b':');
            write(value, out);
            out.push(b'}');
        }
    }
    out.push(b'}');
    if is_key {
        return Ok(());
    }
    let attributes = keys.iter().map(|(name, Pairs(values))| {
        let kinds: Vec<&str> = values.iter().map(|(kind, _)| &**kind).collect();
        format!("{}: {}", &**name, kinds.join("+"))
    });
    Err(attributes.collect::<Vec<_>>().join(", "))
}

fn write(text: &str, out: &mut Vec<u8>) {
    // A text in memory is always written.
    let _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests;
