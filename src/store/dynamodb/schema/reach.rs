//! How far a batch may reach from its first position and still have its mark among the narrow ones.
//!
//! Whatever these numbers are, no mark is missed: a greater position never reaches less far, and that is all that
//! is relied upon. They decide how many marks are read.

use super::LAST;
use crate::position::Position;

/// Offsets: a batch of a mapping has 10,000 records at most, and a compacted topic has gaps.
const OFFSETS: u64 = 1_000_000;
/// Digits of the longest sequence number of DynamoDB Streams.
const SHORT: usize = 40;
/// Numbers of up to [`SHORT`] digits, as a power of ten. In all that AWS shows of DynamoDB Streams, those of a
/// shard count up by less than this, and those of two shards are 10^20 apart.
const SHORT_POWER: usize = 15;
/// Longer ones, which are those of Kinesis, as a power of ten: some hours, since they hold the time.
const LONG_POWER: usize = 30;

/// A text that sorts, among padded positions, behind all that a batch from here on may end with.
pub(super) fn behind(first: &Position) -> String {
    match first.number() {
        Some(digits) => {
            let power = if digits.len() <= SHORT {
                SHORT_POWER
            } else {
                LONG_POWER
            };
            let digits = plus_power_of_ten(digits, power);
            format!("{:03}:{digits}:{LAST}", digits.len())
        }
        None => {
            let offset = first.offset().unwrap_or(u64::MAX);
            format!("{:020}{LAST}", offset.saturating_add(OFFSETS))
        }
    }
}

/// A decimal number without leading zeros, and 10^`power` more.
fn plus_power_of_ten(digits: &str, power: usize) -> String {
    let mut sum = digits.as_bytes().to_vec();
    if sum.len() <= power {
        let missing = power + 1 - sum.len();
        sum.splice(0..0, std::iter::repeat_n(b'0', missing));
    }
    let highest = sum.len() - 1 - power;
    let mut carry = true;
    for digit in sum.iter_mut().take(highest + 1).rev() {
        carry = *digit == b'9';
        *digit = if carry { b'0' } else { *digit + 1 };
        if !carry {
            break;
        }
    }
    if carry {
        sum.insert(0, b'1');
    }
    sum.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_of_ten_is_added() {
        for (digits, power, sum) in [
            ("0", 0, "1"),
            ("9", 0, "10"),
            ("7", 3, "1007"),
            ("999", 1, "1009"),
            ("1999", 2, "2099"),
            ("9951", 1, "9961"),
            ("9991", 1, "10001"),
            ("300000000000000499659", 15, "300001000000000499659"),
        ] {
            assert_eq!(
                plus_power_of_ten(digits, power),
                sum,
                "{digits} and 10^{power}"
            );
        }
    }

    #[test]
    fn a_greater_position_never_reaches_less_far() {
        let nines = |n: usize| "9".repeat(n);
        let tens = |n: usize| format!("1{}", "0".repeat(n));
        let mut numbers = vec!["0".to_owned(), "1".to_owned()];
        for n in 1..=60 {
            numbers.extend([nines(n), tens(n)]);
        }
        let positions = numbers.iter().flat_map(|digits| {
            [None, Some(0), Some(u32::MAX)]
                .map(|sub| Position::sequence(digits, sub).expect("sound"))
        });
        let mut positions: Vec<Position> = positions.collect();
        positions.sort();
        for pair in positions.windows(2) {
            let [one, two] = pair else { continue };
            assert!(behind(one) <= behind(two), "{one} and {two}");
            assert!(one.padded() < behind(one), "{one}");
        }
        let offsets = [0, 1, u64::MAX - OFFSETS, u64::MAX - 1, u64::MAX].map(Position::Offset);
        for pair in offsets.windows(2) {
            let [one, two] = pair else { continue };
            assert!(behind(one) <= behind(two), "{one} and {two}");
        }
    }
}
