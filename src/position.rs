//! A record's place in its partition, compared as a number, never as text.

use std::{cmp::Ordering, fmt, str::FromStr, sync::Arc};

/// A record's place in its partition: an offset, or a sequence number of Kinesis with its sub-sequence
/// number, or one of DynamoDB Streams with a number for the item. 16 bytes; a clone is a copy or one reference count.
///
/// Positions of one partition are of one kind. An offset is less than any sequence number, so that
/// the order is total.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Position {
    /// Kafka, embedded log (from 1), queue counters.
    Offset(u64),
    /// Kinesis, DynamoDB Streams.
    Sequence(Arc<Sequence>),
}

/// A Kinesis sequence number (up to 128 decimal digits, `0|([1-9]\d{0,128})` in the service's API
/// model) and the index of a record within a KPL aggregate. Of DynamoDB Streams, where only the shard's own
/// records are told apart by that number, a number of 32 bits that is made of the item's key stands in the
/// place of the index.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sequence {
    digits: Box<str>,
    /// Index within the aggregate; `None` for a plain record, which sorts before all indices.
    sub: Option<u32>,
}

impl Ord for Sequence {
    fn cmp(&self, other: &Self) -> Ordering {
        // No leading zeros, so the longer number is the greater one.
        (self.digits.len(), &self.digits, self.sub).cmp(&(
            other.digits.len(),
            &other.digits,
            other.sub,
        ))
    }
}

impl PartialOrd for Sequence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Text that is not a position.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "`{text}` is not a position: expected decimal digits without leading zeros, `:sub` after them for an aggregated Kinesis record"
)]
pub struct PositionError {
    /// What was given.
    pub text: String,
}

impl Position {
    /// A Kinesis sequence number.
    ///
    /// # Errors
    /// When `digits` is empty, longer than 129 digits, has a leading zero or anything but digits.
    pub fn sequence(digits: &str, sub: Option<u32>) -> Result<Self, PositionError> {
        let sound = !digits.is_empty()
            && digits.len() <= 129
            && digits.bytes().all(|b| b.is_ascii_digit())
            && (digits.len() == 1 || !digits.starts_with('0'));
        if !sound {
            return Err(PositionError {
                text: digits.to_owned(),
            });
        }
        Ok(Self::Sequence(Arc::new(Sequence {
            digits: digits.into(),
            sub,
        })))
    }

    /// The offset, where it is one.
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::Offset(n) => Some(*n),
            Self::Sequence(_) => None,
        }
    }

    /// A sequence number's digits, without the index within an aggregate.
    pub fn number(&self) -> Option<&str> {
        match self {
            Self::Offset(_) => None,
            Self::Sequence(s) => Some(&s.digits),
        }
    }

    /// The index within an aggregate, where it is of one.
    pub fn sub(&self) -> Option<u32> {
        match self {
            Self::Offset(_) => None,
            Self::Sequence(s) => s.sub,
        }
    }

    /// The form that sorts as text as the position sorts as a number: 20 digits, or
    /// `{length as 3 digits}:{digits}:{sub-sequence as 10 digits}`. For store keys only.
    pub fn padded(&self) -> String {
        match self {
            Self::Offset(n) => format!("{n:020}"),
            Self::Sequence(s) => {
                // A plain record is 0 and the aggregate's records count from 1, to keep their order.
                let sub = s.sub.map_or(0, |n| u64::from(n) + 1);
                format!("{:03}:{}:{sub:010}", s.digits.len(), s.digits)
            }
        }
    }

    /// Reads [`Position::padded`] back.
    ///
    /// # Errors
    /// When `text` is not of that form.
    pub fn from_padded(text: &str) -> Result<Self, PositionError> {
        let error = || PositionError {
            text: text.to_owned(),
        };
        if text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit()) {
            return text.parse().map(Self::Offset).map_err(|_| error());
        }
        let mut parts = text.split(':');
        let (Some(length), Some(digits), Some(sub), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(error());
        };
        if length.parse() != Ok(digits.len()) {
            return Err(error());
        }
        let sub: u64 = sub.parse().map_err(|_| error())?;
        let sub = sub
            .checked_sub(1)
            .map(u32::try_from)
            .transpose()
            .map_err(|_| error())?;
        Self::sequence(digits, sub).map_err(|_| error())
    }
}

/// Plain decimal, `:sub` after an aggregated Kinesis record's number.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(n) => write!(f, "{n}"),
            Self::Sequence(s) => match s.sub {
                None => f.write_str(&s.digits),
                Some(sub) => write!(f, "{}:{sub}", s.digits),
            },
        }
    }
}

/// Reads what `Display` writes. More than 19 digits, or `:sub`, make it a sequence number: offsets
/// stay below 2^63 in Kafka and in the embedded log, sequence numbers have about 56 digits.
impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let error = || PositionError {
            text: text.to_owned(),
        };
        match text.split_once(':') {
            Some((digits, sub)) => {
                Self::sequence(digits, Some(sub.parse().map_err(|_| error())?)).map_err(|_| error())
            }
            None if text.len() <= 19 && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().map(Self::Offset).map_err(|_| error())
            }
            None => Self::sequence(text, None),
        }
    }
}

/// Always as a string: JSON numbers lose digits in many readers.
impl serde::Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ascending() -> Vec<Position> {
        let sequence = |digits: &str, sub| Position::sequence(digits, sub).expect("sound");
        vec![
            Position::Offset(0),
            Position::Offset(9),
            Position::Offset(10),
            Position::Offset(u64::MAX),
            sequence("9", None),
            sequence("9", Some(0)),
            sequence("9", Some(10)),
            sequence("10", None),
            sequence(
                "49590338271490256608559692538361571095921575989136588898",
                None,
            ),
        ]
    }

    #[test]
    fn order_is_numeric_and_padding_keeps_it() {
        let all = ascending();
        for pair in all.windows(2) {
            assert!(pair[0] < pair[1], "{} < {}", pair[0], pair[1]);
        }
        for kind in [&all[..4], &all[4..]] {
            for pair in kind.windows(2) {
                assert!(pair[0].padded() < pair[1].padded());
            }
        }
    }

    #[test]
    fn both_texts_read_back() {
        for position in ascending() {
            assert_eq!(
                Position::from_padded(&position.padded()),
                Ok(position.clone())
            );
        }
        for text in [
            "0",
            "17",
            "49590338271490256608559692538361571095921575989136588898:3",
        ] {
            assert_eq!(
                text.parse::<Position>().map(|p| p.to_string()),
                Ok(text.to_owned())
            );
        }
    }

    #[test]
    fn a_sequence_number_s_parts_are_told() {
        let parts = |text: &str| {
            let position: Position = text.parse().expect("a position");
            (position.number().map(str::to_owned), position.sub())
        };
        let digits = "49590338271490256608559692538361571095921575989136588898";
        assert_eq!(parts(digits), (Some(digits.to_owned()), None));
        assert_eq!(
            parts(&format!("{digits}:3")),
            (Some(digits.to_owned()), Some(3))
        );
        assert_eq!(parts("17"), (None, None));
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in [
            "",
            "-1",
            "1.5",
            "0017:3",
            "12345678901234567890123a",
            "5:",
            ":5",
            "5:-1",
        ] {
            assert_eq!(
                text.parse::<Position>(),
                Err(PositionError {
                    text: text.to_owned()
                })
            );
        }
    }

    #[test]
    fn it_takes_16_bytes() {
        assert_eq!(size_of::<Position>(), 16);
    }
}
