//! Which lane a record is in, and what the lane is called.

use crate::position::Position;
use sha2::{Digest, Sha256};
use std::fmt::{self, Write as _};

const KEY: u8 = b'k';
const PARTITION: u8 = b'p';
const NO_KEY: u8 = b'n';
const EACH: u8 = b'e';

/// A lane's name within its partition: a tag byte and the key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey(Box<[u8]>);

impl LaneKey {
    /// The lane of a key.
    pub fn of_key(key: &[u8]) -> Self {
        Self::tagged(KEY, key)
    }

    /// The one lane of a partition that is ordered as a whole.
    pub fn of_partition() -> Self {
        Self::tagged(PARTITION, b"")
    }

    /// The one lane of a partition's records without key.
    pub fn without_key() -> Self {
        Self::tagged(NO_KEY, b"")
    }

    /// The lane of one record without key.
    pub fn of_record(position: &Position) -> Self {
        Self::tagged(EACH, position.to_string().as_bytes())
    }

    fn tagged(tag: u8, key: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(key.len() + 1);
        bytes.push(tag);
        bytes.extend_from_slice(key);
        Self(bytes.into())
    }

    /// Reads [`LaneKey::bytes`] back; `None` when the tag is not one of ours.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        matches!(bytes.first(), Some(&(KEY | PARTITION | NO_KEY | EACH)))
            .then(|| Self(bytes.into()))
    }

    /// Tag byte and key, as the engine and the store use them.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The user's key, where the lane has one.
    pub fn key(&self) -> Option<&[u8]> {
        key_of(&self.0)
    }

    /// Appends the bytes of a key's lane.
    pub(crate) fn write_key(key: &[u8], into: &mut Vec<u8>) {
        into.push(KEY);
        into.extend_from_slice(key);
    }

    /// The user's key in a lane's bytes, or what kind of lane it is that has none. Bytes with no tag
    /// of ours count as a key, so that no line goes without its lane.
    pub(crate) fn split(lane: &[u8]) -> Result<&[u8], LaneKind> {
        match lane {
            [PARTITION, ..] => Err(LaneKind::Partition),
            [NO_KEY, ..] => Err(LaneKind::NoKey),
            [EACH, ..] => Err(LaneKind::Each),
            [KEY, key @ ..] => Ok(key),
            other => Ok(other),
        }
    }

    /// The lane id of the store: `k` and the key's SHA-256 in hex, `p/{partition}`, `n/{partition}`
    /// or `e/{partition}/{position}`.
    pub fn id(&self, partition: &str) -> String {
        let rest = self.0.get(1..).unwrap_or_default();
        match self.0.first() {
            Some(&PARTITION) => format!("p/{partition}"),
            Some(&NO_KEY) => format!("n/{partition}"),
            Some(&EACH) => format!("e/{partition}/{}", String::from_utf8_lossy(rest)),
            _ => {
                let mut id = String::with_capacity(65);
                id.push('k');
                for byte in Sha256::digest(rest) {
                    let _ = write!(id, "{byte:02x}");
                }
                id
            }
        }
    }
}

/// A lane that has no key of the user's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneKind {
    /// The whole partition.
    Partition,
    /// The partition's records without key.
    NoKey,
    /// One record.
    Each,
}

/// For people: the key as text where it is text, else what kind of lane it is.
impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = self.0.get(1..).unwrap_or_default();
        match self.0.first() {
            Some(&PARTITION) => f.write_str("(whole partition)"),
            Some(&NO_KEY) => f.write_str("(no key)"),
            Some(&EACH) => write!(f, "(no key, {})", String::from_utf8_lossy(rest)),
            // As text where it is, with nothing that could steer a terminal.
            _ => match std::str::from_utf8(rest) {
                Ok(text) => text.chars().try_for_each(|c| match c {
                    '"' | '\'' => f.write_char(c),
                    _ => write!(f, "{}", c.escape_debug()),
                }),
                Err(_) => write!(f, "{}", rest.escape_ascii()),
            },
        }
    }
}

impl fmt::Debug for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LaneKey({})", self.0.escape_ascii())
    }
}

pub(super) fn key_of(lane: &[u8]) -> Option<&[u8]> {
    match lane {
        [KEY, key @ ..] => Some(key),
        _ => None,
    }
}

/// `[order]`: which records share a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LaneOrder {
    /// What stays in order.
    pub by: OrderBy,
    /// What happens to records without key.
    pub no_key: NoKey,
}

/// `order.by`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderBy {
    /// Each key is a lane.
    Key,
    /// Each partition is one lane.
    Partition,
}

/// `order.no_key`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoKey {
    /// A partition's records without key are one lane.
    Partition,
    /// Each is a lane of its own.
    Each,
    /// They are an error.
    Refuse,
}

/// A record without key where `order.no_key = "refuse"`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the record at position {position} has no key and `order.no_key` is `refuse`: give it a key, or set `order.no_key` to `partition` or `each`"
)]
pub struct NoKeyError {
    /// Where the record is.
    pub position: Position,
}

impl LaneOrder {
    /// Writes the lane's name behind what `out` holds: [`LaneOrder::lane`] without an allocation.
    pub(super) fn write(
        self,
        key: Option<&[u8]>,
        position: &Position,
        out: &mut Vec<u8>,
    ) -> Result<(), NoKeyError> {
        if let (OrderBy::Key, Some(key)) = (self.by, key) {
            out.push(KEY);
            out.extend_from_slice(key);
        } else {
            out.extend_from_slice(self.lane(key, position)?.bytes());
        }
        Ok(())
    }

    /// The lane of a record.
    ///
    /// # Errors
    /// When there is no key and that is refused.
    pub fn lane(self, key: Option<&[u8]>, position: &Position) -> Result<LaneKey, NoKeyError> {
        match (self.by, key, self.no_key) {
            (OrderBy::Partition, _, _) => Ok(LaneKey::of_partition()),
            (OrderBy::Key, Some(key), _) => Ok(LaneKey::of_key(key)),
            (OrderBy::Key, None, NoKey::Partition) => Ok(LaneKey::without_key()),
            (OrderBy::Key, None, NoKey::Each) => Ok(LaneKey::of_record(position)),
            (OrderBy::Key, None, NoKey::Refuse) => Err(NoKeyError {
                position: position.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_the_store_format() {
        let id = |lane: LaneKey| lane.id("orders/3");
        // SHA-256 of "abc", from FIPS 180-2.
        assert_eq!(
            id(LaneKey::of_key(b"abc")),
            "kba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(id(LaneKey::of_partition()), "p/orders/3");
        assert_eq!(id(LaneKey::without_key()), "n/orders/3");
        assert_eq!(id(LaneKey::of_record(&Position::Offset(7))), "e/orders/3/7");
    }

    #[test]
    fn the_empty_key_is_a_key() {
        assert_eq!(LaneKey::of_key(b"").key(), Some(&b""[..]));
        assert_eq!(LaneKey::without_key().key(), None);
        assert_ne!(LaneKey::of_key(b""), LaneKey::without_key());
    }
}
