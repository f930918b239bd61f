//! What Parallel Consumer writes beside an offset that it commits: which records above it are done.
//!
//! The format, as `io.confluent.parallelconsumer.offsets` of version 0.5.3.3 has it: base64 of a magic
//! byte, which says how the rest is encoded, and the encoded pattern of done and open offsets from the
//! committed one on. Bit sets begin with their length in bits (2 or 4 bytes, big-endian); bit n, the lowest
//! of a byte first, is set where offset n is done. Run lengths (2 or 4 bytes, big-endian) count open and
//! done offsets in turns, open ones first. Byte arrays have a 1 for a done and a 0 for an open offset, and a
//! 0 more at their end; no release uses them by itself, but each has their encoder. All may be compressed
//! with Zstandard.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::io::Read;

/// Most bytes that a map may have when it is decompressed: a broker takes 4,096 characters of metadata by
/// default, and far less than this is ever encoded in them.
const BYTES_MAX: u64 = 16 << 20;

/// Most offsets that a map may tell of.
const OFFSETS_MAX: u64 = 64 << 20;

/// Offsets above the committed one, as far as something is known of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OffsetMap {
    /// The last one that is done; `None`: nothing above the committed offset is.
    pub done_to: Option<u64>,
    /// Those up to `done_to` that are not done, ascending.
    pub open: Vec<u64>,
}

/// What metadata are, where they are no map that can be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OffsetMapError {
    /// Another program's: they say nothing of what is done.
    #[error("metadata of another program ({0})")]
    Foreign(&'static str),
    /// They begin as Parallel Consumer's do, and do not go on so.
    #[error("a damaged offset map of Parallel Consumer: {0}")]
    Damaged(String),
}

/// How a map is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Bits,
    Runs,
    Bytes,
}

/// Reads the metadata of an offset that a group has committed. Without metadata nothing above the offset is
/// known to be done.
///
/// # Errors
/// When they are no map.
pub fn read(committed: u64, metadata: &str) -> Result<OffsetMap, OffsetMapError> {
    if metadata.is_empty() {
        return Ok(OffsetMap::default());
    }
    let Ok(bytes) = STANDARD.decode(metadata) else {
        return Err(OffsetMapError::Foreign("it is no base64"));
    };
    let Some((magic, data)) = bytes.split_first() else {
        return Ok(OffsetMap::default());
    };
    let (form, width, is_compressed) = match magic {
        b'l' => (Form::Bits, 2, false),
        b'a' => (Form::Bits, 2, true),
        b'o' => (Form::Bits, 4, false),
        b's' => (Form::Bits, 4, true),
        b'n' => (Form::Runs, 2, false),
        b'J' => (Form::Runs, 2, true),
        b'e' => (Form::Runs, 4, false),
        b'p' => (Form::Runs, 4, true),
        b'L' => (Form::Bytes, 1, false),
        0xEE => (Form::Bytes, 1, true),
        1 | 2 => return Err(OffsetMapError::Foreign("Kafka Streams writes such")),
        _ => return Err(OffsetMapError::Foreign("an unknown first byte")),
    };
    let mut expanded = Vec::new();
    let data = if is_compressed {
        expand(data, &mut expanded)?;
        &expanded
    } else {
        data
    };
    let runs = match form {
        Form::Bits => bits(data, width)?,
        Form::Runs => lengths(data, width)?,
        Form::Bytes => bytes_of_offsets(data)?,
    };
    spread(committed, &runs)
}

fn damaged(what: impl Into<String>) -> OffsetMapError {
    OffsetMapError::Damaged(what.into())
}

fn expand(data: &[u8], into: &mut Vec<u8>) -> Result<(), OffsetMapError> {
    let decoder = zstd::Decoder::new(data).map_err(|error| damaged(error.to_string()))?;
    let mut limited = decoder.take(BYTES_MAX + 1);
    let read = limited.read_to_end(into);
    read.map_err(|error| damaged(format!("it cannot be decompressed: {error}")))?;
    if into.len() as u64 > BYTES_MAX {
        return Err(damaged(format!(
            "it expands to more than {BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

/// A number of 2 or 4 bytes, big-endian; Java's are signed, and none is negative.
fn number(bytes: &[u8]) -> Result<u64, OffsetMapError> {
    let number = { bytes.iter() }.fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    if number >> (8 * bytes.len() - 1) == 1 {
        return Err(damaged("a length is negative"));
    }
    Ok(number)
}

/// Whether each run of offsets is done, and how many it is.
type Runs = Vec<(bool, u64)>;

fn bits(data: &[u8], width: usize) -> Result<Runs, OffsetMapError> {
    let Some((length, bits)) = data.split_at_checked(width) else {
        return Err(damaged("it ends within its length"));
    };
    let length = number(length)?;
    if length.div_ceil(8) > bits.len() as u64 {
        return Err(damaged(format!(
            "it tells of {length} offsets in {} bytes",
            bits.len()
        )));
    }
    let mut runs: Runs = Vec::new();
    let all = { bits.iter() }.flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
    for (_, is_done) in (0..length).zip(all) {
        lengthen(&mut runs, is_done);
    }
    Ok(runs)
}

/// Takes the next offset in.
fn lengthen(runs: &mut Runs, is_done: bool) {
    match runs.last_mut() {
        Some((done, count)) if *done == is_done => *count += 1,
        _ => runs.push((is_done, 1)),
    }
}

fn bytes_of_offsets(data: &[u8]) -> Result<Runs, OffsetMapError> {
    let mut runs: Runs = Vec::new();
    for byte in data {
        match byte {
            0 => lengthen(&mut runs, false),
            1 => lengthen(&mut runs, true),
            _ => return Err(damaged(format!("it has a byte {byte} for an offset"))),
        }
    }
    Ok(runs)
}

fn lengths(data: &[u8], width: usize) -> Result<Runs, OffsetMapError> {
    if !data.len().is_multiple_of(width) {
        return Err(damaged("it ends within a length"));
    }
    let turns = [false, true].into_iter().cycle();
    { data.chunks(width).zip(turns) }
        .map(|(bytes, is_done)| Ok((is_done, number(bytes)?)))
        .collect()
}

fn spread(committed: u64, runs: &Runs) -> Result<OffsetMap, OffsetMapError> {
    let mut map = OffsetMap::default();
    let mut next = committed;
    let known: u64 = runs.iter().map(|(_, count)| count).sum();
    if known > OFFSETS_MAX {
        return Err(damaged(format!("it tells of {known} offsets")));
    }
    let mut open = Vec::new();
    for &(is_done, count) in runs.iter().filter(|(_, count)| *count > 0) {
        let end = { next.checked_add(count) }
            .ok_or_else(|| damaged(format!("it goes beyond the last offset, from {committed}")))?;
        if is_done {
            map.open.append(&mut open);
            map.done_to = Some(end - 1);
        } else {
            open.extend(next..end);
        }
        next = end;
    }
    Ok(map)
}

#[cfg(test)]
mod tests;
