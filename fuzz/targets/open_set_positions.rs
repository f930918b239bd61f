//! Any set of positions is read back as it was written, in no more bytes than its format says.
#![no_main]

use lanekeeper::{Position, checkpoint::OpenSet};
use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use std::collections::BTreeSet;

/// Positions of a partition: all of one kind.
#[derive(Arbitrary, Debug)]
enum Positions {
    /// First offset of a run of neighbours, and how many follow it.
    Offsets(Vec<(u64, u8)>),
    /// As `Offsets`, each run's distance to the one before it.
    Near(Vec<(u16, u8)>),
    /// Digits, as bytes to be reduced, and sub-sequence number.
    Sequences(Vec<(Vec<u8>, Option<u32>)>),
}

fuzz_target!(|positions: Positions| {
    let all = match &positions {
        Positions::Offsets(runs) => offsets(runs.iter().copied()),
        Positions::Near(runs) => {
            let mut last = 0;
            offsets(runs.iter().map(|&(distance, longer)| {
                last += u64::from(distance);
                (last, longer)
            }))
        }
        Positions::Sequences(all) => (all.iter())
            .map(|(digits, sub)| sequence(digits, *sub))
            .collect(),
    };
    let set: OpenSet = all.iter().cloned().collect();
    assert!(all.iter().eq(set.positions()), "one is left out");
    let bytes = set.encode();
    assert_eq!(bytes.len(), documented_bytes(&all), "{all:?}");
    assert_eq!(OpenSet::decode(&bytes), Ok(set));
    for pair in all.iter().zip(all.iter().skip(1)) {
        assert!(pair.0.padded() < pair.1.padded(), "{pair:?}");
    }
    for position in &all {
        assert_eq!(
            Position::from_padded(&position.padded()).as_ref(),
            Ok(position)
        );
    }
});

fn offsets(runs: impl Iterator<Item = (u64, u8)>) -> BTreeSet<Position> {
    runs.flat_map(|(first, longer)| first..=first.saturating_add(u64::from(longer)))
        .map(Position::Offset)
        .collect()
}

fn sequence(bytes: &[u8], sub: Option<u32>) -> Position {
    let digits: String = (bytes.iter().take(129))
        .map(|byte| char::from(b'0' + byte % 10))
        .collect();
    let digits = match digits.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    Position::sequence(digits, sub).expect("digits without leading zeros")
}

/// The length that the format's description gives, computed from the set alone.
fn documented_bytes(all: &BTreeSet<Position>) -> usize {
    let frame = 1 + 4;
    let offsets: Vec<u64> = all.iter().filter_map(Position::offset).collect();
    if offsets.len() < all.len() {
        let mut before = "";
        let sequences = all.iter().map(|position| {
            let digits = position.number().expect("a sequence number");
            let same = before.bytes().zip(digits.bytes());
            let shared = same.take_while(|(a, b)| a == b).count();
            before = digits;
            let sub = position.sub().map_or(0, |sub| u64::from(sub) + 1);
            varint_bytes(digits.len() as u64)
                + varint_bytes(shared as u64)
                + (digits.len() - shared).div_ceil(2)
                + varint_bytes(sub)
        });
        return frame + varint_bytes(all.len() as u64) + sequences.sum::<usize>();
    }
    let (mut runs, mut bytes, mut at, mut end) = (0, 0, 0, 0u128);
    while let Some(&first) = offsets.get(at) {
        let neighbours = offsets[at..].iter().zip(u128::from(first)..);
        let length = neighbours
            .take_while(|(n, i)| u128::from(**n) == *i)
            .count();
        let distance = u128::from(first) - end;
        bytes += varint_bytes(u64::try_from(distance).expect("an offset"));
        bytes += varint_bytes(length as u64 - 1);
        (runs, at, end) = (runs + 1, at + length, u128::from(first) + length as u128);
    }
    frame + varint_bytes(runs) + bytes
}

fn varint_bytes(n: u64) -> usize {
    (64 - n.leading_zeros()).div_ceil(7).max(1) as usize
}
