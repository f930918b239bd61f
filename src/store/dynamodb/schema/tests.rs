use super::*;

fn number(digits: &str) -> Position {
    Position::sequence(digits, Some(7)).expect("sound")
}

/// Whether a query for marks that overlap a batch reads a mark.
fn reads((first, last): (&Position, &Position), mark: &str) -> bool {
    let ranges = marks(first, last);
    { ranges.iter() }.any(|(from, to)| **from <= *mark && *mark <= **to)
}

#[test]
fn every_mark_that_overlaps_is_read() {
    let digits =
        [0, 1, 2, 14, 15, 16, 20, 21, 39, 40, 41, 56].map(|n| format!("1{}", "0".repeat(n)));
    let mut positions: Vec<Position> = digits.iter().map(|digits| number(digits)).collect();
    positions.extend({ digits.iter() }.map(|digits| number(&digits.replace('0', "9"))));
    positions.sort();
    let offsets = [0, 1, 7, 1_000_000, 1_000_008, u64::MAX].map(Position::Offset);
    for positions in [positions, offsets.to_vec()] {
        let pairs = || {
            let from = positions.iter().enumerate();
            from.flat_map(|(n, first)| positions.iter().skip(n).map(move |last| (first, last)))
        };
        let (mut narrow, mut wide) = (0, 0);
        for (first, last) in pairs() {
            let key = mark(first, last, "one");
            if key.starts_with(WIDE_MARK) {
                wide += 1;
            } else {
                narrow += 1;
            }
            for (from, to) in pairs() {
                if first <= to && last >= from {
                    assert!(reads((from, to), &key), "{key} for {from} to {to}");
                }
            }
        }
        assert!(narrow > 0 && wide > 0, "{narrow} and {wide}");
    }
}

/// All shards of a table are one partition.
#[test]
fn marks_of_other_shards_of_a_table_are_not_read() {
    let shard = |n: u32, at: u32| number(&format!("{n}{at:020}"));
    let (first, last) = (shard(205, 910_398), shard(205, 911_398));
    for other in [3, 204, 206, 8_204, 44_215_845] {
        for at in [0, 910_398, 4_000_000_000] {
            let key = mark(&shard(other, at), &shard(other, at + 999), "other");
            assert!(!reads((&first, &last), &key), "{key}");
        }
    }
    let key = mark(&shard(205, 911_398), &shard(205, 912_398), "next");
    assert!(reads((&first, &last), &key), "{key}");
    // A batch that goes on in a child of its shard would be wide; it is read whatever its first number is.
    let key = mark(&shard(204, 1), &shard(8_204, 1), "wide");
    assert!(reads((&first, &last), &key), "{key}");
}
