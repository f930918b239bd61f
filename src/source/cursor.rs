//! Where a reader stands: in the open positions of its checkpoint, then behind what is settled.

use crate::checkpoint::Checkpoint;
use partitions::Resume;
use std::collections::VecDeque;

/// What is still to be handed over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cursor {
    /// Open positions as ranges, both ends included, ascending.
    open: VecDeque<(u64, u64)>,
    /// From here on everything.
    tail: u64,
    /// Open positions were left out that nothing has been told of yet.
    gone: bool,
}

impl Cursor {
    /// Everything from a position on.
    pub(super) fn from(position: u64) -> Self {
        Self {
            open: VecDeque::new(),
            tail: position,
            gone: false,
        }
    }

    /// Everything that a checkpoint does not settle, of a log whose first position is `first`; `None`
    /// when its positions are of another kind of log.
    pub(super) fn behind(checkpoint: &Checkpoint, first: u64) -> Option<Self> {
        let start = start_of(checkpoint, first)?;
        let tail = match &checkpoint.settled_to {
            Some(settled_to) => start.max(settled_to.offset()?.saturating_add(1)),
            None => start,
        };
        let mut open: VecDeque<(u64, u64)> = VecDeque::new();
        for position in checkpoint.open.positions() {
            let position = position.offset()?;
            if position < start || position >= tail {
                continue;
            }
            match open.back_mut() {
                Some((_, last)) if *last + 1 == position => *last = position,
                _ => open.push_back((position, position)),
            }
        }
        Some(Self {
            open,
            tail,
            gone: false,
        })
    }

    /// The next positions to read, both ends included, of a log that ends at `last`.
    #[cfg(any(feature = "local", test))]
    pub(super) fn span(&self, last: u64) -> Option<(u64, u64)> {
        match self.open.front() {
            Some(&range) => Some(range),
            None => (self.tail <= last).then_some((self.tail, last)),
        }
    }

    /// The first position that is still to come.
    pub(super) fn next(&self) -> u64 {
        self.open.front().map_or(self.tail, |&(first, _)| first)
    }

    /// Whether a record at this position is still to be handed over, where the log has come to it: what
    /// is open before it does not come any more.
    #[cfg(feature = "kafka")]
    pub(super) fn wants(&mut self, position: u64) -> bool {
        while self.open.front().is_some_and(|&(_, last)| last < position) {
            self.open.pop_front();
            self.gone = true;
        }
        position >= self.next()
    }

    /// Whether open positions turned out to be gone since this was last asked.
    #[cfg(feature = "kafka")]
    pub(super) fn take_gone(&mut self) -> bool {
        std::mem::take(&mut self.gone)
    }

    /// Everything up to `position` is dealt with.
    pub(super) fn pass(&mut self, position: u64) {
        while let Some((first, last)) = self.open.front_mut() {
            if *last > position {
                *first = (*first).max(position + 1);
                return;
            }
            self.open.pop_front();
        }
        self.tail = self.tail.max(position + 1);
    }

    /// How many records of a log that ends at `last` are still to come.
    pub(super) fn remaining(&self, last: u64) -> u64 {
        let open: u64 = self.open.iter().map(|(a, b)| b - a + 1).sum();
        open + (last + 1).saturating_sub(self.tail)
    }
}

/// First position that is not within the settled prefix, of a log whose first position is `first`;
/// `None` when positions are of another kind.
pub(super) fn start_of(checkpoint: &Checkpoint, first: u64) -> Option<u64> {
    match &checkpoint.resume {
        Resume::Beginning => Some(first),
        Resume::At(first) => first.offset(),
        Resume::After(last) => last.offset().map(|n| n.saturating_add(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Position;

    fn checkpoint(resume: Resume<Position>, settled_to: u64, open: &[u64]) -> Checkpoint {
        Checkpoint {
            resume,
            settled_to: Some(Position::Offset(settled_to)),
            open: open.iter().map(|&n| Position::Offset(n)).collect(),
            ..Checkpoint::default()
        }
    }

    #[test]
    fn open_positions_come_first_then_what_is_behind() {
        let after = Resume::After(Position::Offset(4));
        let mut cursor =
            Cursor::behind(&checkpoint(after, 5_000_000, &[5, 8, 9, 10, 77]), 1).expect("offsets");
        assert_eq!(cursor.remaining(5_000_003), 5 + 3);
        let mut spans = Vec::new();
        while let Some((from, through)) = cursor.span(5_000_003) {
            spans.push((from, through));
            cursor.pass(through);
        }
        assert_eq!(spans, [(5, 5), (8, 10), (77, 77), (5_000_001, 5_000_003)]);
        assert_eq!(cursor.remaining(5_000_003), 0);
        assert_eq!(cursor.remaining(5_000_004), 1);
    }

    #[test]
    fn a_range_may_be_taken_in_parts() {
        let at = Resume::At(Position::Offset(3));
        let mut cursor = Cursor::behind(&checkpoint(at, 20, &[3, 4, 5, 6]), 1).expect("offsets");
        cursor.pass(4);
        assert_eq!((cursor.span(30), cursor.next()), (Some((5, 6)), 5));
        cursor.pass(25);
        assert_eq!((cursor.span(30), cursor.next()), (Some((26, 30)), 26));
        cursor.pass(10);
        assert_eq!(cursor.next(), 26, "it never goes back");
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn what_is_settled_is_not_wanted_and_what_compaction_took_is_passed() {
        let after = Resume::After(Position::Offset(4));
        let mut cursor =
            Cursor::behind(&checkpoint(after, 20, &[5, 8, 9, 15]), 0).expect("offsets");
        let wanted: Vec<u64> = [4, 5, 6, 9, 10, 16, 20, 21, 30]
            .into_iter()
            .filter(|&position| {
                let wants = cursor.wants(position);
                if wants {
                    cursor.pass(position);
                }
                wants
            })
            .collect();
        assert_eq!(wanted, [5, 9, 21, 30]);
        // 8 and 15 did not come: that is news once.
        assert!(cursor.take_gone() && !cursor.take_gone());
        assert_eq!(cursor.next(), 31);
    }

    #[test]
    fn a_checkpoint_of_another_kind_of_log_is_none_of_ours() {
        let sequence = Position::sequence("77", None).expect("sound");
        let foreign = checkpoint(Resume::After(sequence), 3, &[]);
        assert_eq!(Cursor::behind(&foreign, 1), None);
    }
}
