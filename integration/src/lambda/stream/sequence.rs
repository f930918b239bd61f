//! Sequence numbers: of up to 129 digits, compared as numbers.

use std::{cmp::Ordering, fmt, io};

/// Digits that a sequence number may have.
const DIGITS_MAX: usize = 129;

/// What the model's own begin with, as long as those of Kinesis.
const PREFIX: &str = "49590338271490256608559692538361571095";

/// A sequence number.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sequence(String);

impl Sequence {
    /// A number as it is written.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(text: &str) -> io::Result<Self> {
        let is_number = !text.is_empty()
            && text.len() <= DIGITS_MAX
            && text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        if is_number {
            Ok(Self(text.to_owned()))
        } else {
            Err(io::Error::other(format!("`{text}` is no sequence number")))
        }
    }

    /// The one of the record before which a stream holds so many.
    pub(super) fn generated(before: usize) -> Self {
        Self(format!("{PREFIX}{:018}", before + 1))
    }

    /// The one behind so many of a shard of a table, which has so many generations of parents.
    pub(super) fn of_table(generation: usize, before: usize) -> Self {
        Self(format!("{}{:020}", generation + 1, before + 1))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for Sequence {
    fn cmp(&self, other: &Self) -> Ordering {
        // Without leading zeros, the longer number is the greater one.
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Sequence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k22_they_are_compared_as_numbers() {
        let number = |text: &str| Sequence::new(text).unwrap();
        assert!(number("9") < number("10"));
        assert!(number("0") < number("9"));
        assert!(number(&"9".repeat(128)) < number(&"1".repeat(129)));
        assert!(number("20") > number("19"));
        assert!(Sequence::generated(8) < Sequence::generated(9));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "01", "-1", "1.0", "a", &"1".repeat(130)] {
            assert!(Sequence::new(text).is_err(), "{text}");
        }
    }
}
