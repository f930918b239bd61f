//! The open positions of a checkpoint as bytes: format byte, count, variable-length integers, CRC32C.
//! Offsets are written as runs of neighbours, so that a lane that holds up hundreds of thousands of
//! them takes a few bytes; of sequence numbers, which begin alike within a shard, what differs.
//!
//! ```text
//! 1  u8      format: 1 offsets, 3 sequence numbers
//! .. varint  count of runs (format 3: of positions)
//! .. varint  of each run: distance of its first offset to the end of the run before it, and its
//!    varint  length less one
//! .. varint  format 3, of each position: how many digits it has,
//!    varint  how many of them, from the left, are those of the one before it,
//!    bytes   the others, two a byte from the left, the last half a byte 0 where they are odd,
//!    varint  its sub-sequence number plus 1, 0 where it has none
//! 4  u32 LE  CRC32C of everything before
//! ```

use crate::position::Position;
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

const OFFSETS: u8 = 1;
const SEQUENCES: u8 = 3;
/// Most digits of a sequence number, in the service's API model.
const SEQUENCE_DIGITS_MAX: usize = 129;

/// Ascending positions. Copies share them: commits are kept, sent and compared, and may hold those of a
/// whole batch.
#[derive(Clone, Default)]
pub struct OpenSet(Arc<Kept>);

#[derive(Default)]
struct Kept {
    positions: Vec<Position>,
    /// Once they were asked for.
    bytes: OnceLock<Box<[u8]>>,
}

impl PartialEq for OpenSet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.positions() == other.positions()
    }
}

impl Eq for OpenSet {}

impl fmt::Debug for OpenSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenSet").field(&self.0.positions).finish()
    }
}

/// Bytes that are not an open set of this version.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OpenSetError {
    /// Written by a newer version, or by something else.
    #[error(
        "open set has format {found}, this version reads formats {OFFSETS} and {SEQUENCES}: upgrade lanekeeper"
    )]
    Foreign {
        /// The format byte found.
        found: u8,
    },
    /// The bytes do not fit their checksum, or end early, or are not ascending.
    #[error("open set is damaged: {why}")]
    Damaged {
        /// What does not fit.
        why: &'static str,
    },
}

impl FromIterator<Position> for OpenSet {
    /// The positions must ascend; what does not is left out.
    fn from_iter<T: IntoIterator<Item = Position>>(positions: T) -> Self {
        let mut all: Vec<Position> = Vec::new();
        for position in positions {
            debug_assert!(all.last().is_none_or(|last| *last < position), "ascending");
            if all.last().is_none_or(|last| *last < position) {
                all.push(position);
            }
        }
        Self::of(all)
    }
}

impl OpenSet {
    /// Of positions that ascend.
    fn of(positions: Vec<Position>) -> Self {
        Self(Arc::new(Kept {
            positions,
            bytes: OnceLock::new(),
        }))
    }

    /// Most positions that are read back: what says that it holds more is not believed. Runs of
    /// neighbours take so few bytes that the bound of a checkpoint's bytes alone would not keep a
    /// partition below this.
    pub const POSITIONS_MAX: u64 = 1 << 22;

    /// The positions, ascending.
    pub fn positions(&self) -> &[Position] {
        &self.0.positions
    }

    /// Whether a position is in it.
    pub fn contains(&self, position: &Position) -> bool {
        self.0.positions.binary_search(position).is_ok()
    }

    /// The bytes of the store.
    pub fn encode(&self) -> &[u8] {
        self.0.bytes.get_or_init(|| self.written().into())
    }

    fn written(&self) -> Vec<u8> {
        let positions = self.positions();
        let mut out = Vec::with_capacity(64);
        if positions.iter().all(|position| position.offset().is_some()) {
            let runs = self.runs();
            out.push(OFFSETS);
            push_varint(&mut out, runs.len() as u64);
            let mut next = 0;
            for (first, last) in runs {
                push_varint(&mut out, first.wrapping_sub(next));
                push_varint(&mut out, last - first);
                next = last.wrapping_add(1);
            }
        } else {
            out.push(SEQUENCES);
            push_varint(&mut out, positions.len() as u64);
            let mut before = "";
            for position in positions {
                before = push_sequence(&mut out, before, position);
            }
        }
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// First and last of each run of neighbours.
    fn runs(&self) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for offset in self.positions().iter().filter_map(Position::offset) {
            match runs.last_mut() {
                Some((_, last)) if last.checked_add(1) == Some(offset) => *last = offset,
                Some(_) | None => runs.push((offset, offset)),
            }
        }
        runs
    }

    /// Reads [`OpenSet::encode`] back.
    ///
    /// # Errors
    /// When the bytes are of another format or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, OpenSetError> {
        let damaged = |why| OpenSetError::Damaged { why };
        let (&format, _) = bytes.split_first().ok_or(damaged("it is empty"))?;
        if format != OFFSETS && format != SEQUENCES {
            return Err(OpenSetError::Foreign { found: format });
        }
        let (body, checksum) = bytes
            .split_last_chunk::<4>()
            .ok_or(damaged("it ends early"))?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return Err(damaged("its checksum does not fit"));
        }
        let mut rest = body.get(1..).ok_or(damaged("it ends early"))?;
        let count = take_varint(&mut rest).ok_or(damaged("it ends early"))?;
        // Each position takes at least a byte, so a count beyond that cannot make us reserve memory.
        if count > rest.len() as u64 {
            return Err(damaged("it counts more positions than it has bytes"));
        }
        let positions = if format == OFFSETS {
            take_runs(&mut rest, count).map_err(damaged)?
        } else {
            take_sequences(&mut rest, count).map_err(damaged)?
        };
        if rest.is_empty() {
            Ok(Self::of(positions))
        } else {
            Err(damaged("bytes are left over"))
        }
    }
}

fn take_runs(rest: &mut &[u8], count: u64) -> Result<Vec<Position>, &'static str> {
    let mut positions = Vec::new();
    let mut next = Some(0u64);
    for _ in 0..count {
        let distance = take_varint(rest).ok_or("it ends early")?;
        let longer = take_varint(rest).ok_or("it ends early")?;
        if longer >= OpenSet::POSITIONS_MAX - positions.len() as u64 {
            return Err("it holds more positions than a partition does");
        }
        let first = next.and_then(|next| next.checked_add(distance));
        let first = first.ok_or("an offset overflows")?;
        let last = first.checked_add(longer).ok_or("an offset overflows")?;
        positions.extend((first..=last).map(Position::Offset));
        next = last.checked_add(1);
    }
    Ok(positions)
}

/// Writes a position behind one with these digits; gives its own.
fn push_sequence<'p>(out: &mut Vec<u8>, before: &str, position: &'p Position) -> &'p str {
    // An offset among sequence numbers is none of ours, and is written as the number that it is not.
    let (digits, sub) = (position.number().unwrap_or("0"), position.sub());
    let same = before.bytes().zip(digits.bytes());
    let shared = same.take_while(|(one, other)| one == other).count();
    push_varint(out, digits.len() as u64);
    push_varint(out, shared as u64);
    let digit = |byte: &u8| byte.wrapping_sub(b'0') & 0xf;
    for pair in digits
        .as_bytes()
        .get(shared..)
        .unwrap_or_default()
        .chunks(2)
    {
        let (high, low) = (pair.first().map_or(0, digit), pair.get(1).map_or(0, digit));
        out.push(high << 4 | low);
    }
    push_varint(out, sub.map_or(0, |sub| u64::from(sub) + 1));
    digits
}

fn take_sequences(rest: &mut &[u8], count: u64) -> Result<Vec<Position>, &'static str> {
    let mut positions: Vec<Position> = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    let mut digits = String::new();
    for _ in 0..count {
        let position = take_sequence(rest, &mut digits).ok_or("a position is not one")?;
        if positions.last().is_some_and(|last| *last >= position) {
            return Err("its positions do not ascend");
        }
        positions.push(position);
    }
    Ok(positions)
}

/// Reads what [`push_sequence`] writes; `digits` are those of the position before, and become its own.
fn take_sequence(rest: &mut &[u8], digits: &mut String) -> Option<Position> {
    let length = usize::try_from(take_varint(rest)?).ok()?;
    let shared = usize::try_from(take_varint(rest)?).ok()?;
    if length > SEQUENCE_DIGITS_MAX || shared > length || shared > digits.len() {
        return None;
    }
    digits.truncate(shared);
    let own = length - shared;
    let (packed, left) = rest.split_at_checked(own.div_ceil(2))?;
    *rest = left;
    for index in 0..own {
        let byte = packed.get(index / 2)?;
        let digit = if index % 2 == 0 {
            byte >> 4
        } else {
            byte & 0xf
        };
        digits.push(char::from_digit(digit.into(), 10)?);
    }
    let sub = take_varint(rest)?.checked_sub(1);
    let sub = sub.map(u32::try_from).transpose().ok()?;
    Position::sequence(digits, sub).ok()
}

fn push_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, left) = rest.split_first()?;
        *rest = left;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        n |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(offsets: &[u64]) -> OpenSet {
        offsets.iter().map(|&n| Position::Offset(n)).collect()
    }

    #[test]
    fn it_reads_back() {
        for offsets in [
            &[][..],
            &[0],
            &[1, 2, 3],
            &[0, 127, 128, 1 << 40, u64::MAX - 1, u64::MAX],
        ] {
            let set = set(offsets);
            assert_eq!(OpenSet::decode(set.encode()), Ok(set));
        }
        let sequences: OpenSet = [
            ("9", None),
            ("9", Some(2)),
            ("495903382714902566085596925383615", None),
        ]
        .into_iter()
        .map(|(digits, sub)| Position::sequence(digits, sub).expect("sound"))
        .collect();
        assert_eq!(OpenSet::decode(sequences.encode()), Ok(sequences));
    }

    #[test]
    fn sequence_numbers_of_a_shard_take_what_differs() {
        // As Kinesis counts within a shard: 56 digits, the first thirty alike for minutes.
        let numbers = (0..1_000_u64).map(|n| {
            let tail = 6_153_836_157_109_592_u64 + n * 1_208_925_819;
            let digits = format!("4959033827149025660855969253{tail:016}898123456789");
            Position::sequence(&digits, (n % 3 == 0).then_some(2)).expect("sound")
        });
        let set: OpenSet = numbers.collect();
        let bytes = set.encode();
        assert!(bytes.len() < 1_000 * 18, "{}", bytes.len());
        assert_eq!(OpenSet::decode(bytes), Ok(set));
    }

    #[test]
    fn neighbours_take_a_few_bytes_together() {
        let set = set(&(1..=300_000).collect::<Vec<_>>());
        assert!(set.encode().len() <= 16);
        assert_eq!(OpenSet::decode(set.encode()), Ok(set));
    }

    #[test]
    fn the_most_positions_read_back_and_one_more_does_not() {
        let most = (0..OpenSet::POSITIONS_MAX)
            .map(Position::Offset)
            .collect::<OpenSet>();
        assert_eq!(OpenSet::decode(most.encode()).as_ref(), Ok(&most));
        let over = (0..=OpenSet::POSITIONS_MAX)
            .map(Position::Offset)
            .collect::<OpenSet>();
        let why = "it holds more positions than a partition does";
        assert_eq!(
            OpenSet::decode(over.encode()),
            Err(OpenSetError::Damaged { why })
        );
    }

    #[test]
    fn a_length_that_no_partition_has_reserves_nothing() {
        let mut bytes = vec![OFFSETS, 1, 0];
        push_varint(&mut bytes, u64::MAX);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let why = "it holds more positions than a partition does";
        assert_eq!(OpenSet::decode(&bytes), Err(OpenSetError::Damaged { why }));
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let sequence = |digits| Position::sequence(digits, None).expect("sound");
        let sequences: OpenSet = [sequence("49590"), sequence("49612")].into_iter().collect();
        for sound in [set(&[3, 5, 900]).encode(), sequences.encode()] {
            each_flip_is_noticed(sound);
        }
    }

    fn each_flip_is_noticed(sound: &[u8]) {
        for n in 0..sound.len() {
            assert!(OpenSet::decode(&sound[..n]).is_err(), "cut at {n}");
            for bit in 0..8 {
                let mut bad = sound.to_vec();
                bad[n] ^= 1 << bit;
                assert!(OpenSet::decode(&bad).is_err(), "byte {n} bit {bit}");
            }
        }
        assert_eq!(
            OpenSet::decode(&[7, 0]),
            Err(OpenSetError::Foreign { found: 7 })
        );
    }
}
