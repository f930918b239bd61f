//! Bytes of segments and parts.

use super::{
    attributes::{Reader, Wrong, bytes},
    schema::{self, Item, Writer},
};
use crate::{position::Position, record::Record};
use aws_sdk_dynamodb::types::AttributeValue;

/// Most records of a segment.
const SEGMENT_RECORDS: usize = 200;
/// Most bytes of a segment's records; a larger record is alone in its own.
const SEGMENT_BYTES: usize = 256 * 1024;
/// A record of more bytes is kept in parts of this size, outside of its segment.
const PART_BYTES: usize = 300 * 1024;

/// Attributes of a segment: its records, and the position of the last one.
pub(super) const RECORDS: &str = "records";
pub(super) const TO: &str = "last";
/// Attribute of a part.
pub(super) const DATA: &str = "data";

/// Tags of what a segment holds of a record.
const WHOLE: u8 = 1;
const IN_PARTS: u8 = 2;

/// A record of a segment as it stands there.
pub(super) struct Kept<'i> {
    pub(super) position: Position,
    pub(super) stored: &'i [u8],
    pub(super) in_parts: bool,
}

/// `crc32c | tag | length of the position | padded position | stored record`, integers little-endian;
/// the checksum is of all behind it.
fn encode(position: &Position, tag: u8, stored: &[u8]) -> Vec<u8> {
    let padded = position.padded();
    let mut body = Vec::with_capacity(padded.len() + stored.len() + 3);
    body.push(tag);
    // 150 at most.
    body.extend_from_slice(
        &u16::try_from(padded.len())
            .unwrap_or(u16::MAX)
            .to_le_bytes(),
    );
    body.extend_from_slice(padded.as_bytes());
    body.extend_from_slice(stored);
    let mut out = crc32c::crc32c(&body).to_le_bytes().to_vec();
    out.append(&mut body);
    out
}

fn decode(entry: &[u8]) -> Result<Kept<'_>, String> {
    let short = "a record ends early";
    let (sum, body) = entry.split_first_chunk::<4>().ok_or(short)?;
    let (&tag, rest) = body.split_first().ok_or(short)?;
    let (length, rest) = rest.split_first_chunk::<2>().ok_or(short)?;
    let length = usize::from(u16::from_le_bytes(*length));
    let (padded, stored) = rest.split_at_checked(length).ok_or(short)?;
    let padded = std::str::from_utf8(padded).map_err(|_| "a record's position is no text")?;
    let position = Position::from_padded(padded).map_err(|error| error.to_string())?;
    if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
        return Err(format!("position {position}: its checksum does not fit"));
    }
    match tag {
        WHOLE | IN_PARTS => Ok(Kept {
            position,
            stored,
            in_parts: tag == IN_PARTS,
        }),
        _ => Err(format!(
            "position {position}: it is of a newer format: upgrade lanekeeper"
        )),
    }
}

/// Segments that hold records, none larger than an item may be; records in parts are named only.
pub(super) fn segments(pk: &str, records: &[Record], writer: &Writer) -> (Vec<Item>, Vec<Item>) {
    let (mut segments, mut parts) = (Vec::new(), Vec::new());
    let mut open: Vec<(&Position, Vec<u8>)> = Vec::new();
    let mut size = 0;
    for record in records {
        let stored = record.to_stored();
        let entry = if stored.len() > PART_BYTES {
            parts.extend(parts_of(pk, record.position(), writer, &stored));
            encode(record.position(), IN_PARTS, writer.0.as_bytes())
        } else {
            encode(record.position(), WHOLE, &stored)
        };
        let full = open.len() >= SEGMENT_RECORDS || size + entry.len() > SEGMENT_BYTES;
        if full && !open.is_empty() {
            segments.extend(segment(pk, std::mem::take(&mut open), writer));
            size = 0;
        }
        size += entry.len();
        open.push((record.position(), entry));
    }
    segments.extend(segment(pk, open, writer));
    (segments, parts)
}

fn segment(pk: &str, entries: Vec<(&Position, Vec<u8>)>, writer: &Writer) -> Option<Item> {
    let (first, last) = (entries.first()?.0.clone(), entries.last()?.0.padded());
    let entries = entries.into_iter().map(|(_, entry)| bytes(entry)).collect();
    let mut item = schema::key(pk, schema::segment(&first, writer));
    item.insert(TO.to_owned(), AttributeValue::S(last));
    item.insert(RECORDS.to_owned(), AttributeValue::L(entries));
    Some(item)
}

fn parts_of(pk: &str, position: &Position, writer: &Writer, stored: &[u8]) -> Vec<Item> {
    let named = schema::parts(position, writer);
    let chunks = stored.chunks(PART_BYTES).enumerate();
    chunks
        .map(|(n, chunk)| {
            let mut item = schema::key(pk, format!("{named}{n:06}"));
            let sum = crc32c::crc32c(chunk).to_le_bytes();
            item.insert(DATA.to_owned(), bytes([&sum, chunk].concat()));
            item
        })
        .collect()
}

/// Last position and entries of a segment.
pub(super) fn opened(item: &Item) -> Result<(Position, &[AttributeValue]), Wrong> {
    let last = Reader(item).position(TO)?;
    match item.get(RECORDS) {
        Some(AttributeValue::L(entries)) => Ok((last, entries)),
        Some(_) | None => Err(Wrong(format!("attribute `{RECORDS}`: it is no list"))),
    }
}

pub(super) fn kept(entry: &AttributeValue) -> Result<Kept<'_>, Wrong> {
    let blob = entry
        .as_b()
        .map_err(|_| Wrong("a record is not binary".to_owned()))?;
    decode(blob.as_ref()).map_err(Wrong)
}

/// About what records take in the transaction that appends them: what is in parts is written before.
pub(super) fn transaction_bytes(records: &[Record]) -> u64 {
    let sizes = records.iter().map(|record| match record.bytes() {
        bytes if bytes > PART_BYTES => 256,
        bytes => bytes as u64 + 96,
    });
    sizes.sum()
}
