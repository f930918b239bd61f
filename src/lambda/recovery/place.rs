//! Where a shard is open, as far as marks and lanes say so: its mapping keeps the place, where nobody can
//! read it.

use super::RecoveryError;
use crate::{
    position::Position,
    record::{PartitionName, Record},
    source::kinesis::{Begin, Shard, Shards, first_from},
    store::{LaneItem, LaneState, Mark, MarkStore},
};
use std::{sync::Arc, time::Duration};

/// How far back marks are looked for, one after the other until there are some: a shard may have hundreds of
/// thousands of them. In the end all are taken.
const WINDOWS: [Duration; 3] = [
    Duration::from_hours(1),
    Duration::from_hours(6),
    Duration::from_hours(24),
];

/// From where on something of a shard may not be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    /// Nothing of it was ever delivered, as far as the table says.
    Nothing,
    /// From here on.
    Open {
        at: Position,
        /// A record is known to be open there: were it gone, something would be lost.
        is_certain: bool,
    },
}

/// Takes the lowest place of: heads of stopped lanes, records that failed and are not done, the batch that
/// began last, and batches of invocations that were killed and did not come again. With several batches of a
/// shard at a time nobody knows which of them the mapping has passed: then it is that of the first mark.
pub(crate) fn known(
    shard: &str,
    marks: &[Mark],
    lanes: &[LaneItem],
    has_one_batch_at_a_time: bool,
) -> Known {
    let is_done = |position: &Position| marks.iter().any(|mark| mark.done.contains(position));
    let mut places: Vec<(Position, bool)> = Vec::new();
    for item in lanes.iter().filter(|i| i.state == LaneState::Stopped) {
        let of = item.record.as_deref().and_then(Record::stored_partition);
        if of == Some(shard) && !is_done(&item.head) {
            places.push((item.head.clone(), true));
        }
    }
    for mark in marks {
        let tried = mark.tried.iter().map(|tried| &tried.position);
        let announced = mark.announced.iter().map(|(position, _)| position);
        let failed = tried.chain(announced).filter(|at| !is_done(at));
        places.extend(failed.map(|at| (at.clone(), true)));
    }
    let last = marks.iter().max_by_key(|mark| mark.begun);
    let is_whole = |mark: &Mark| is_done(&mark.first) && is_done(&mark.last);
    for mark in marks {
        let is_last = Some(mark) == last;
        let came_again = marks.iter().any(|later| {
            later.begun > mark.begun && later.first <= mark.first && later.last >= mark.first
        });
        let was_killed = !mark.ended && !came_again;
        if is_last || was_killed || !has_one_batch_at_a_time {
            let is_certain = (is_last || was_killed) && !is_whole(mark);
            places.push((mark.first.clone(), is_certain));
        }
    }
    let lowest = places.iter().map(|(at, _)| at).min().cloned();
    match lowest {
        None => Known::Nothing,
        Some(at) => Known::Open {
            is_certain: places.iter().any(|(place, sure)| *sure && *place == at),
            at,
        },
    }
}

/// The marks of what has arrived lately and was delivered: those of the shortest time before `now`
/// (milliseconds since 1970) of which there are any.
pub(crate) async fn latest_marks(
    stream: &Arc<dyn Shards>,
    store: &dyn MarkStore,
    source: &str,
    shard: &Shard,
    now: i64,
) -> Result<Vec<Mark>, RecoveryError> {
    let name = PartitionName::new(source, &shard.id);
    let (lowest, highest) = everything();
    for window in WINDOWS {
        let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let since = Begin::Time(now.saturating_sub(window));
        let Some(first) = first_from(stream, &shard.id, since).await? else {
            continue;
        };
        let marks = store.marks(&name, &first, &highest).await?;
        if !marks.is_empty() {
            return Ok(marks);
        }
    }
    Ok(store.marks(&name, &lowest, &highest).await?)
}

/// First and last of all positions in a shard.
fn everything() -> (Position, Position) {
    // As many digits as a number has at most.
    let last = "9".repeat(129);
    let position = |digits: &str| Position::sequence(digits, None);
    let first = position("0").unwrap_or(Position::Offset(0));
    (first.clone(), position(&last).unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{source::kinesis::fake::number, store::Tried};

    #[test]
    fn the_lowest_place_that_may_be_open_is_taken_from_marks() {
        assert_eq!(known("s", &[], &[], true), Known::Nothing);
        let mark = |first, last, begun| Mark {
            ended: true,
            ..Mark::begun("i", (number(first), number(last)), begun)
        };
        let open = |n, is_certain| Known::Open {
            at: number(n),
            is_certain,
        };
        let done = |mark: Mark, all: &[u64]| Mark {
            done: all.iter().map(|n| number(*n)).collect(),
            ..mark
        };
        let first = done(mark(11, 13, 1), &[11, 12, 13]);
        let second = done(mark(14, 16, 2), &[14, 15, 16]);
        // The last one is looked at again, and nothing is lost where it is gone.
        let marks = [first.clone(), second.clone()];
        assert_eq!(known("s", &marks, &[], true), open(14, false));
        // With several at a time, all that is known of.
        assert_eq!(known("s", &marks, &[], false), open(11, false));
        let half = done(mark(14, 16, 2), &[14, 15]);
        assert_eq!(
            known("s", &[first.clone(), half], &[], true),
            open(14, true)
        );
        let failed = Tried {
            position: number(12),
            rev: 0,
            attempts: 3,
            error: "no".to_owned(),
            not_before: 0,
        };
        let tried = Mark {
            tried: vec![failed],
            ..done(mark(11, 13, 1), &[11, 13])
        };
        assert_eq!(
            known("s", &[tried.clone(), second.clone()], &[], true),
            open(12, true)
        );
        // Another one has done it since.
        let again = done(mark(12, 12, 3), &[12]);
        assert_eq!(
            known("s", &[tried, second.clone(), again], &[], true),
            open(12, false)
        );
        let killed = Mark {
            ended: false,
            ..mark(11, 13, 1)
        };
        assert_eq!(
            known("s", &[killed.clone(), second.clone()], &[], true),
            open(11, true)
        );
        let came_again = done(mark(11, 13, 2), &[11, 12, 13]);
        let third = done(mark(14, 16, 3), &[14, 15, 16]);
        assert_eq!(
            known("s", &[killed, came_again, third], &[], true),
            open(14, false)
        );
    }
}
