//! Records that the Kinesis Producer Library packed into one: read apart.
//!
//! An aggregate is `F3 89 9A C2`, a protobuf message and the 16 bytes of its MD5. What begins so and is
//! no sound aggregate is a plain record: [`decode`] says why, and its caller hands it on as it came. An
//! aggregate is never read in part: one record of it that points nowhere makes all of it a plain one.
//!
//! **No record is left out by its hash.** The Kinesis Client Library drops a whole aggregate when one of
//! its records hashes outside of the shard that it came from, as happens when a producer's map of the
//! shards is old. The shard's range is in no Lambda event, and a record that somebody wrote is worth
//! more than a record in its place: all of them are kept. What differs is a fact that can be asked for,
//! [`Aggregate::mixed_key`].
//!
//! An aggregate within an aggregate is a record like any other.

use md5::{Digest, Md5};
use prost::{Message, bytes::Bytes};
use std::fmt;

/// What an aggregate begins with.
const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// Bytes of the checksum at its end.
const DIGEST_BYTES: usize = 16;

/// The message, as the producer library describes it. `required` fields are optional here, since those
/// that are missing have to be told from those that are zero. A record's tags (field 4) are not used by
/// anybody, and passed over.
#[derive(Clone, PartialEq, Message)]
struct WireAggregate {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    partition_keys: Vec<Bytes>,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    explicit_hash_keys: Vec<Bytes>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<WireRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct WireRecord {
    #[prost(uint64, optional, tag = "1")]
    partition_key: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    data: Option<Bytes>,
}

/// An aggregate that is sound: at least one record, each with a key of its table.
#[derive(Clone, PartialEq, Eq)]
pub struct Aggregate {
    keys: Vec<Bytes>,
    explicit_hash_keys: Vec<Bytes>,
    records: Vec<Packed>,
}

/// A record with what it points to, which is there.
#[derive(Clone, PartialEq, Eq)]
struct Packed {
    key: usize,
    explicit_hash_key: Option<usize>,
    data: Bytes,
}

/// One record of an aggregate. Its place among the others, from 0, is its sub-sequence number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Subrecord<'a> {
    /// Which of [`Aggregate::keys`] is its partition key.
    pub key_index: usize,
    /// Its partition key: UTF-8 where the producer library wrote it, which is not checked.
    pub key: &'a Bytes,
    /// Decimal digits in place of the partition key's hash, not interpreted.
    pub explicit_hash_key: Option<&'a Bytes>,
    /// Its payload.
    pub data: &'a Bytes,
}

/// Why a record that begins like an aggregate is a plain record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unsound {
    /// Nothing, or no more than a checksum, follows the first four bytes.
    #[error("it has {bytes} bytes, and an aggregate more than {}", MAGIC.len() + DIGEST_BYTES)]
    Short {
        /// Its length.
        bytes: usize,
    },
    /// The last 16 bytes are not the MD5 of the message: damaged, or a plain record that begins with
    /// the same four bytes by chance.
    #[error("its last 16 bytes are not the MD5 of those before")]
    Checksum,
    /// The checksum fits, and the message cannot be read.
    #[error("its checksum fits, and what it covers is no aggregate: {why}")]
    Message {
        /// The protobuf reader's words.
        why: String,
    },
    /// It holds no record. Read apart it would be gone.
    #[error("it holds no record")]
    Empty,
    /// A record lacks a field that it must have.
    #[error("record {record} of it, counted from 0, has no `{field}`")]
    Missing {
        /// Its sub-sequence number.
        record: usize,
        /// The field's name in the producer library's message.
        field: &'static str,
    },
    /// A record points behind the end of a table.
    #[error(
        "record {record} of it, counted from 0, has entry {index} of `{table}`, which has {entries}"
    )]
    Index {
        /// Its sub-sequence number.
        record: usize,
        /// The table's name in the producer library's message.
        table: &'static str,
        /// The entry that it names, from 0.
        index: u64,
        /// How many there are.
        entries: usize,
    },
}

/// Whether a record begins like an aggregate; [`decode`] says what it is.
pub fn is_marked(data: &[u8]) -> bool {
    data.starts_with(&MAGIC)
}

/// Reads an aggregate; `None`: a plain record. Payloads and keys share the memory of `data`.
///
/// # Errors
/// When it begins like an aggregate and is none: it is to be taken for a plain record, and worth a word.
pub fn decode(data: &Bytes) -> Result<Option<Aggregate>, Unsound> {
    if !is_marked(data) {
        return Ok(None);
    }
    let end = data.len().saturating_sub(DIGEST_BYTES);
    if end <= MAGIC.len() {
        return Err(Unsound::Short { bytes: data.len() });
    }
    let message = data.slice(MAGIC.len()..end);
    if Md5::digest(&message)[..] != data[end..] {
        return Err(Unsound::Checksum);
    }
    let wire = WireAggregate::decode(message).map_err(|error| Unsound::Message {
        why: error.to_string(),
    })?;
    if wire.records.is_empty() {
        return Err(Unsound::Empty);
    }
    let records = wire.records.into_iter().enumerate();
    let tables = (wire.partition_keys.len(), wire.explicit_hash_keys.len());
    let records: Result<Vec<Packed>, Unsound> = records
        .map(|(record, wire)| packed(record, wire, tables))
        .collect();
    Ok(Some(Aggregate {
        records: records?,
        keys: wire.partition_keys,
        explicit_hash_keys: wire.explicit_hash_keys,
    }))
}

fn packed(
    record: usize,
    wire: WireRecord,
    (keys, explicit_hash_keys): (usize, usize),
) -> Result<Packed, Unsound> {
    let missing = |field| Unsound::Missing { record, field };
    let within = |index: u64, table, entries| {
        let place = usize::try_from(index).ok().filter(|n| *n < entries);
        place.ok_or(Unsound::Index {
            record,
            table,
            index,
            entries,
        })
    };
    let key = { wire.partition_key }.ok_or_else(|| missing("partition_key_index"))?;
    let explicit = wire.explicit_hash_key;
    Ok(Packed {
        key: within(key, "partition_key_table", keys)?,
        explicit_hash_key: explicit
            .map(|index| within(index, "explicit_hash_key_table", explicit_hash_keys))
            .transpose()?,
        data: wire.data.ok_or_else(|| missing("data"))?,
    })
}

impl Aggregate {
    /// The partition keys that its records share, each once.
    pub fn keys(&self) -> &[Bytes] {
        &self.keys
    }

    /// Its records, in the order of their sub-sequence numbers; at least one.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Subrecord<'_>> {
        self.records.iter().map(|packed| Subrecord {
            key_index: packed.key,
            key: &self.keys[packed.key],
            explicit_hash_key: { packed.explicit_hash_key }.map(|n| &self.explicit_hash_keys[n]),
            data: &packed.data,
        })
    }

    /// The sub-sequence number of the first record whose partition key is not that of the aggregate,
    /// under which Kinesis placed it; `None`: all have it.
    ///
    /// Where several batches of a shard are processed at once, Kinesis keeps the order of the
    /// aggregates' keys and of no other: records of such a key may overtake each other.
    pub fn mixed_key(&self, outer: Option<&[u8]>) -> Option<usize> {
        self.records()
            .position(|record| Some(&record.key[..]) != outer)
    }
}

impl fmt::Debug for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never a payload or a key: debug output ends up in logs.
        write!(f, "Aggregate({} records)", self.records.len())
    }
}

#[cfg(test)]
pub(crate) mod tests;
