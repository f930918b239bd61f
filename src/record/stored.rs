//! The bytes of a record in a chain or a lane item: version, partition (of version 2 alone), lane, key
//! (where the lane is not named after it), value, timestamp, headers, each with its length; integers
//! little-endian. The position is the store's own key, and damage is found by the row's checksum.
//!
//! Shards share their lanes, so that a record whose position is a sequence number names its own.

use super::{Assignment, BatchBuilder, PartitionName, Record, lane};
use crate::position::Position;
use std::sync::Arc;

const VERSION: u8 = 1;
const WITH_PARTITION: u8 = 2;
const NO_VALUE: u32 = u32::MAX;
const NO_TIMESTAMP: i64 = i64::MIN;

/// Bytes that are not a stored record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoredError {
    /// Written by a newer version, or by something else.
    #[error(
        "stored record has format {found}, this version reads up to {WITH_PARTITION}: upgrade lanekeeper"
    )]
    Foreign {
        /// The format byte found.
        found: u8,
    },
    /// Shorter than it says.
    #[error("stored record is damaged: it ends early")]
    Truncated,
    /// The name of its partition is no text.
    #[error("stored record is damaged: the name of its partition is no UTF-8")]
    NoName,
}

impl Record {
    /// The record's bytes for a chain or a lane item.
    pub fn to_stored(&self) -> Vec<u8> {
        let entry = self.entry();
        let mut out = Vec::with_capacity(self.bytes() + 32);
        if entry.position.number().is_some() {
            out.push(WITH_PARTITION);
            push_bytes(&mut out, self.assignment().name.partition.as_bytes());
        } else {
            out.push(VERSION);
        }
        push_bytes(&mut out, self.lane());
        if lane::key_of(self.lane()).is_none() {
            push_optional(&mut out, self.key());
        }
        push_optional(&mut out, self.value());
        out.extend_from_slice(&entry.timestamp.unwrap_or(NO_TIMESTAMP).to_le_bytes());
        push_bytes(&mut out, self.slice(&entry.headers));
        out
    }

    /// The partition that stored bytes name, if they do.
    #[cfg(feature = "lambda")]
    pub(crate) fn stored_partition(stored: &[u8]) -> Option<&str> {
        let mut rest = stored.strip_prefix(&[WITH_PARTITION])?;
        std::str::from_utf8(take_bytes(&mut rest).ok()??).ok()
    }

    /// Reads [`Record::to_stored`] back, into a batch of its own: of the assignment's partition, unless it
    /// says that it is of another one of its source.
    ///
    /// # Errors
    /// When the bytes are of another format or cut short.
    pub fn from_stored(
        assignment: &Arc<Assignment>,
        position: Position,
        stored: &[u8],
    ) -> Result<Self, StoredError> {
        let mut rest = stored;
        let mut assignment = Arc::clone(assignment);
        match take(&mut rest, 1)? {
            [VERSION] => {}
            [WITH_PARTITION] => {
                let name = take_bytes(&mut rest)?.ok_or(StoredError::Truncated)?;
                let name = std::str::from_utf8(name).map_err(|_| StoredError::NoName)?;
                if *assignment.name.partition != *name {
                    assignment = Arc::new(Assignment {
                        name: PartitionName {
                            source: Arc::clone(&assignment.name.source),
                            partition: name.into(),
                        },
                        ..(*assignment).clone()
                    });
                }
            }
            other => return Err(StoredError::Foreign { found: other[0] }),
        }
        let lane = take_bytes(&mut rest)?.ok_or(StoredError::Truncated)?;
        let key = match lane::key_of(lane) {
            Some(key) => Some(key),
            None => take_bytes(&mut rest)?,
        };
        let value = take_bytes(&mut rest)?;
        let timestamp = i64::from_le_bytes(array(take(&mut rest, 8)?));
        let headers = take_bytes(&mut rest)?.unwrap_or_default();
        let mut batch = BatchBuilder::new(assignment);
        let timestamp = (timestamp != NO_TIMESTAMP).then_some(timestamp);
        batch.push_parts(position, (lane, key), value, timestamp, |bytes| {
            bytes.extend_from_slice(headers);
        });
        batch.finish(None).pop().ok_or(StoredError::Truncated)
    }
}

pub(super) fn push_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    push_bytes(out, name.as_bytes());
    push_bytes(out, value);
}

fn push_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.extend_from_slice(&NO_VALUE.to_le_bytes()),
        Some(bytes) => push_bytes(out, bytes),
    }
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // A batch is under 4 GiB, so a part of it is.
    out.extend_from_slice(
        &u32::try_from(bytes.len())
            .unwrap_or(NO_VALUE - 1)
            .to_le_bytes(),
    );
    out.extend_from_slice(bytes);
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Result<&'a [u8], StoredError> {
    let (taken, left) = rest.split_at_checked(n).ok_or(StoredError::Truncated)?;
    *rest = left;
    Ok(taken)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, StoredError> {
    match u32::from_le_bytes(array(take(rest, 4)?)) {
        NO_VALUE => Ok(None),
        n => take(rest, n as usize).map(Some),
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}

/// The header part, read pair by pair; it was written by [`push_header`].
pub(super) struct Headers<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let name = take_bytes(&mut self.0).ok()??;
        let value = take_bytes(&mut self.0).ok()??;
        Some((std::str::from_utf8(name).ok()?, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{LaneOrder, NoKey, OrderBy, PartitionName};

    fn assignment() -> Arc<Assignment> {
        Arc::new(Assignment {
            name: PartitionName::new("in", "orders/0"),
            epoch: 3,
            generation: 1,
        })
    }

    fn record(value: Option<&[u8]>, timestamp: Option<i64>) -> Record {
        let mut batch = BatchBuilder::new(assignment());
        let order = LaneOrder {
            by: OrderBy::Key,
            no_key: NoKey::Partition,
        };
        let headers = [("trace", &b"\xff\x00"[..]), ("", b"")];
        batch
            .push(
                order,
                Position::Offset(7),
                Some(b"a"),
                value,
                headers,
                timestamp,
            )
            .expect("key");
        batch.finish(None).pop().expect("one")
    }

    #[test]
    fn a_stored_record_reads_back_whole() {
        for (value, timestamp) in [
            (Some(&b"v"[..]), Some(-1)),
            (None, None),
            (Some(b""), Some(0)),
        ] {
            let record = record(value, timestamp);
            let back = Record::from_stored(&assignment(), Position::Offset(7), &record.to_stored())
                .expect("sound");
            assert_eq!(back.value(), value);
            assert_eq!(back.timestamp(), timestamp);
            assert_eq!(back.key(), Some(&b"a"[..]));
            assert_eq!(
                back.headers().collect::<Vec<_>>(),
                record.headers().collect::<Vec<_>>()
            );
            assert_eq!(back.headers().count(), 2);
            assert_eq!(back.id(), "in/orders/0/7/1");
        }
    }

    #[test]
    fn a_key_that_makes_no_lane_is_kept() {
        let mut batch = BatchBuilder::new(assignment());
        let order = LaneOrder {
            by: OrderBy::Partition,
            no_key: NoKey::Refuse,
        };
        for (position, key) in [(1, Some(&b"a"[..])), (2, Some(b"")), (3, None)] {
            batch
                .push(order, Position::Offset(position), key, Some(b"v"), [], None)
                .expect("one lane");
        }
        for record in batch.finish(None) {
            let position = record.position().clone();
            let mut back =
                Record::from_stored(&assignment(), position, &record.to_stored()).expect("sound");
            partitions::Item::detach(&mut back);
            assert_eq!((back.key(), back.lane()), (record.key(), &b"p"[..]));
            assert_eq!(back.value(), Some(&b"v"[..]));
            assert_eq!(back.bytes(), record.bytes());
        }
    }

    #[test]
    fn bad_bytes_are_refused_and_never_panic() {
        let sound = record(Some(b"value"), Some(1)).to_stored();
        for n in 0..sound.len() {
            let cut = Record::from_stored(&assignment(), Position::Offset(7), &sound[..n]);
            assert_eq!(cut.err(), Some(StoredError::Truncated), "cut at {n}");
        }
        let foreign = Record::from_stored(&assignment(), Position::Offset(7), &[9]);
        assert_eq!(foreign.err(), Some(StoredError::Foreign { found: 9 }));
    }
}
