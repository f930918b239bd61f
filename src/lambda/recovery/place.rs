//! Where a shard is open, as far as marks and lanes say so: its mapping keeps the place, where nobody can
//! read it.

use super::{RecoveryError, reading::whole};
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
        /// The first place of the shard at which a record is known to be open: were it gone, something
        /// would be lost.
        certain: Option<Position>,
    },
}

/// Takes the lowest place of: heads of stopped lanes, records that failed and are not done, the batch that
/// began last, and batches of invocations that were killed and did not come again. With several batches of a
/// shard at a time nobody knows which of them the mapping has passed: then it is that of the first mark.
pub(crate) fn known(
    shard: &Shard,
    marks: &[Mark],
    (lanes, lanes_at): (&[LaneItem], &PartitionName),
    has_one_batch_at_a_time: bool,
) -> Known {
    let is_done = |position: &Position| marks.iter().any(|mark| mark.done.contains(position));
    let mut places: Vec<(Position, bool)> = Vec::new();
    for item in lanes.iter().filter(|i| i.state == LaneState::Stopped) {
        let is_within = shard.first <= item.head && { shard.last.as_ref() }
            .is_none_or(|last| whole(&item.head) <= *last);
        let is_own = match item.record.as_deref().and_then(Record::stored_partition) {
            Some(of) => *of == *shard.id,
            None => lanes_at.partition == shard.id,
        };
        // Of one that is too large for a copy nothing says where it is, but its number.
        let may_be = is_own || (item.record.is_none() && is_within);
        if may_be && !is_done(&item.head) {
            places.push((item.head.clone(), is_own));
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
    // What was run here from its copy, or begins so, may be of another shard.
    let certain = { places.iter() }.filter(|(at, sure)| *sure && *at >= shard.first);
    match lowest {
        None => Known::Nothing,
        Some(at) => Known::Open {
            certain: certain.map(|(at, _)| at).min().cloned(),
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
    let (_, highest) = everything();
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
    all_marks(store, source, shard).await
}

/// All marks of a shard.
pub(crate) async fn all_marks(
    store: &dyn MarkStore,
    source: &str,
    shard: &Shard,
) -> Result<Vec<Mark>, RecoveryError> {
    let (lowest, highest) = everything();
    let name = PartitionName::new(source, &shard.id);
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
    use crate::{record::LaneKey, source::kinesis::fake::number, store::Tried};

    fn shard() -> Shard {
        Shard {
            id: "s".into(),
            parents: Vec::new(),
            first: number(10),
            last: Some(number(99)),
        }
    }

    #[test]
    fn the_lowest_place_that_may_be_open_is_taken_from_marks() {
        let at = PartitionName::new("in", "*");
        let shard = shard();
        let known = |marks: &[Mark], one_at_a_time| known(&shard, marks, (&[], &at), one_at_a_time);
        assert_eq!(known(&[], true), Known::Nothing);
        let mark = |first, last, begun| Mark {
            ended: true,
            ..Mark::begun("i", (number(first), number(last)), begun)
        };
        let open_at = |n, certain: Option<u64>| Known::Open {
            at: number(n),
            certain: certain.map(number),
        };
        let open = |n, is_certain: bool| open_at(n, is_certain.then_some(n));
        let done = |mark: Mark, all: &[u64]| Mark {
            done: all.iter().map(|n| number(*n)).collect(),
            ..mark
        };
        let first = done(mark(11, 13, 1), &[11, 12, 13]);
        let second = done(mark(14, 16, 2), &[14, 15, 16]);
        // The last one is looked at again, and nothing is lost where it is gone.
        let marks = [first.clone(), second.clone()];
        assert_eq!(known(&marks, true), open(14, false));
        // With several at a time, all that is known of.
        assert_eq!(known(&marks, false), open(11, false));
        let half = done(mark(14, 16, 2), &[14, 15]);
        assert_eq!(known(&[first.clone(), half], true), open(14, true));
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
            known(&[tried.clone(), second.clone()], true),
            open(12, true)
        );
        // Another one has done it since.
        let again = done(mark(12, 12, 3), &[12]);
        assert_eq!(
            known(&[tried, second.clone(), again], true),
            open(12, false)
        );
        let killed = Mark {
            ended: false,
            ..mark(11, 13, 1)
        };
        assert_eq!(
            known(&[killed.clone(), second.clone()], true),
            open(11, true)
        );
        let came_again = done(mark(11, 13, 2), &[11, 12, 13]);
        let third = done(mark(14, 16, 3), &[14, 15, 16]);
        assert_eq!(known(&[killed, came_again, third], true), open(14, false));
    }

    #[test]
    fn a_stopped_head_without_a_copy_is_looked_for_by_its_number() {
        let head = |n| LaneItem {
            head: number(n),
            lane: LaneKey::of_key(b"k"),
            state: LaneState::Stopped,
            record: None,
            tail: None,
            tails: Vec::new(),
            cut: None,
            count: 0,
            bytes: 0,
            attempts: 1,
            first_error: "no".to_owned(),
            last_error: "no".to_owned(),
            since: 0,
            rev: 1,
            decision: None,
        };
        let (all, own) = (PartitionName::new("in", "*"), PartitionName::new("in", "s"));
        let open = |certain: Option<u64>| Known::Open {
            at: number(20),
            certain: certain.map(number),
        };
        let shard = shard();
        let known = |n, at| known(&shard, &[], (&[head(n)], at), true);
        assert_eq!(known(20, &all), open(None));
        assert_eq!(known(20, &own), open(Some(20)));
        assert_eq!(known(9, &all), Known::Nothing);
        assert_eq!(known(100, &all), Known::Nothing);
    }
}
