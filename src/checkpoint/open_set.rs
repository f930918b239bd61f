//! The open positions of a checkpoint as bytes: format byte, count, deltas as variable-length
//! integers, CRC32C. Offsets are deltas; sequence numbers are written whole.
//!
//! ```text
//! 1  u8      format: 1 offsets, 2 sequence numbers
//! .. varint  count
//! .. varint  first offset, then each offset's distance to the one before it, less one
//!            (format 2: length and text of each position)
//! 4  u32 LE  CRC32C of everything before
//! ```

use crate::position::Position;

const OFFSETS: u8 = 1;
const SEQUENCES: u8 = 2;

/// Ascending positions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OpenSet(Vec<Position>);

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
        Self(all)
    }
}

impl OpenSet {
    /// The positions, ascending.
    pub fn positions(&self) -> &[Position] {
        &self.0
    }

    /// Whether a position is in it.
    pub fn contains(&self, position: &Position) -> bool {
        self.0.binary_search(position).is_ok()
    }

    /// At most how many bytes [`OpenSet::encode`] takes; cheap.
    pub fn encoded_len(&self) -> usize {
        // Deltas of neighbours take a byte; far ones are rare enough to count as three.
        self.0
            .iter()
            .map(|p| if p.offset().is_some() { 3 } else { 70 })
            .sum::<usize>()
            + 16
    }

    /// The bytes of the store.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() * 2 + 16);
        let sequences = self.0.iter().any(|p| p.offset().is_none());
        out.push(if sequences { SEQUENCES } else { OFFSETS });
        push_varint(&mut out, self.0.len() as u64);
        let mut next = 0;
        for position in &self.0 {
            match position.offset() {
                Some(offset) if !sequences => {
                    push_varint(&mut out, offset.wrapping_sub(next));
                    next = offset.wrapping_add(1);
                }
                _ => {
                    let text = position.to_string();
                    push_varint(&mut out, text.len() as u64);
                    out.extend_from_slice(text.as_bytes());
                }
            }
        }
        let checksum = crc32c::crc32c(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
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
        let mut positions = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        let mut next = 0u64;
        for index in 0..count {
            let position = if format == OFFSETS {
                let delta = take_varint(&mut rest).ok_or(damaged("it ends early"))?;
                let offset = next
                    .checked_add(delta)
                    .ok_or(damaged("an offset overflows"))?;
                let more = index + 1 < count;
                next = match offset.checked_add(1) {
                    Some(next) => next,
                    None if more => return Err(damaged("an offset overflows")),
                    None => 0,
                };
                Position::Offset(offset)
            } else {
                take_text(&mut rest).ok_or(damaged("a position is not one"))?
            };
            if positions.last().is_some_and(|last| *last >= position) {
                return Err(damaged("its positions do not ascend"));
            }
            positions.push(position);
        }
        if rest.is_empty() {
            Ok(Self(positions))
        } else {
            Err(damaged("bytes are left over"))
        }
    }
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

fn take_text(rest: &mut &[u8]) -> Option<Position> {
    let length = usize::try_from(take_varint(rest)?).ok()?;
    let (text, left) = rest.split_at_checked(length)?;
    *rest = left;
    let text = std::str::from_utf8(text).ok()?;
    let (digits, sub) = match text.split_once(':') {
        Some((digits, sub)) => (digits, Some(sub.parse().ok()?)),
        None => (text, None),
    };
    Position::sequence(digits, sub).ok()
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
            assert_eq!(OpenSet::decode(&set.encode()), Ok(set));
        }
        let sequences: OpenSet = [
            ("9", None),
            ("9", Some(2)),
            ("495903382714902566085596925383615", None),
        ]
        .into_iter()
        .map(|(digits, sub)| Position::sequence(digits, sub).expect("sound"))
        .collect();
        assert_eq!(OpenSet::decode(&sequences.encode()), Ok(sequences));
    }

    #[test]
    fn neighbours_take_one_byte_each() {
        let set = set(&(1..=1_000).collect::<Vec<_>>());
        assert!(set.encode().len() <= 1_000 + 8);
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_noticed() {
        let sound = set(&[3, 5, 900]).encode();
        for n in 0..sound.len() {
            assert!(OpenSet::decode(&sound[..n]).is_err(), "cut at {n}");
            for bit in 0..8 {
                let mut bad = sound.clone();
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
