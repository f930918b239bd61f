//! What a change of a lane, as the processor of one invocation sees it, is to write over the lane's item
//! as it stands: other invocations write it too.
//!
//! The processor knows an item as it was *shown* to it and makes it another; the store has an *actual*
//! one. Whatever was appended or decided meanwhile stays; what the processor wants and may not have any
//! more is refused, and its records stay unfinished.

use crate::{
    position::Position,
    record::Record,
    store::{DecisionNote, LaneChange, LaneItem, LaneState, Lease, Verb},
};

/// Why nothing can be written that would keep the lane's order.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("lane `{lane}` is {found} by another invocation: its records of this one stay unfinished")]
pub(super) struct Overtaken {
    lane: String,
    found: &'static str,
}

/// What of a change is to be written.
#[derive(Clone, Debug)]
pub(super) enum Merged {
    /// This.
    Write(Box<LaneChange>),
    /// Nothing: the store has it already, or it need not know.
    Nothing,
    /// This, and the lane's records stay unfinished: it stops, since its chain has no place for them.
    Hold(Box<LaneChange>),
}

/// The lane's head is run from the copy in its item: no batch brings it again.
#[derive(Clone, Copy)]
pub(super) struct FromCopy<'a> {
    /// Of which partition it is, where that is known.
    pub(super) partition: Option<&'a str>,
    /// It is not done yet.
    pub(super) is_open: bool,
}

/// Both sides of a change.
pub(super) struct Sides<'a> {
    /// The item as the processor knows it.
    pub(super) shown: Option<&'a LaneItem>,
    /// Of a lane that is stopped: whether its head comes out of its item.
    pub(super) copy: Option<FromCopy<'a>>,
    /// Bytes of a record that an item may hold.
    pub(super) record_bytes: usize,
    /// The partition, where others share its lanes.
    pub(super) sharing: Option<&'a str>,
    /// What it wants.
    pub(super) change: &'a LaneChange,
    /// The item in the store.
    pub(super) actual: Option<&'a LaneItem>,
    /// The chain's next record behind what passes, where the chain is longer than the processor knows.
    pub(super) next: Option<&'a Position>,
    /// What this invocation may have of a decision.
    pub(super) lease: &'a Lease,
    /// Milliseconds since 1970.
    pub(super) now: i64,
}

impl LaneItem {
    /// Whether this invocation acts on the item's decision.
    fn is_leased_by(&self, lease: &Lease) -> bool {
        let held = self.decision.as_ref().and_then(|d| d.lease.as_ref());
        held.is_some_and(|held| held.holder == lease.holder)
    }
}

/// A partition's records of the lane are in its chain, or have passed, up to here.
fn extend_tail(item: &mut LaneItem, of: &str, to: &Position) {
    match item.tails.iter_mut().find(|(name, _)| **name == *of) {
        Some((_, tail)) => *tail = to.max(tail).clone(),
        None => item.tails.push((Box::from(of), to.clone())),
    }
}

impl Sides<'_> {
    pub(super) fn merge(&self) -> Result<Merged, Overtaken> {
        match (self.shown, &self.change.item) {
            (None, None) => Ok(Merged::Nothing),
            (Some(shown), None) if shown.state == LaneState::Stopped => self.reopened(),
            (Some(_), None) => self.emptied(),
            (shown, Some(wanted)) => match (shown.map(|item| item.state), wanted.state) {
                (None | Some(LaneState::Live), LaneState::Stopped) => self.stopped(wanted),
                (Some(_), LaneState::Stopped) => self.restated(wanted),
                (
                    None | Some(LaneState::Live | LaneState::Stopped),
                    LaneState::Parked | LaneState::Draining,
                ) => self.parked(wanted),
                (
                    Some(LaneState::Parked | LaneState::Draining),
                    LaneState::Parked | LaneState::Draining,
                ) => self.moved(wanted),
                (_, LaneState::Live) => Ok(Merged::Nothing),
            },
        }
    }

    fn overtaken(&self) -> Overtaken {
        Overtaken {
            lane: self.change.lane.to_string(),
            found: match self.actual.map(|item| item.state) {
                None | Some(LaneState::Live) => "live again",
                Some(LaneState::Stopped) => "stopped",
                Some(LaneState::Parked | LaneState::Draining) => "parked, or drained,",
            },
        }
    }

    /// The change with the item that is to be, on what stands.
    fn write(&self, item: LaneItem) -> Merged {
        let expected = { self.actual }.map(|actual| (actual.rev, actual.tail.clone()));
        Merged::Write(Box::new(LaneChange {
            lane: self.change.lane.clone(),
            expected,
            item: Some(item),
            append: Vec::new(),
            passed: None,
        }))
    }

    fn rev(&self, wanted: u64) -> u64 {
        self.actual
            .map_or(wanted, |actual| actual.rev.saturating_add(1))
    }

    /// Whether a record of the batch is in the chain that the lane has or had.
    fn is_covered(&self, position: &Position) -> bool {
        let partition = self.sharing.unwrap_or_default();
        self.actual
            .is_some_and(|actual| actual.covers(partition, position))
    }

    /// A head failed for good and the lane stops.
    fn stopped(&self, wanted: &LaneItem) -> Result<Merged, Overtaken> {
        match self.actual.map(|item| item.state) {
            None | Some(LaneState::Live) => {
                if self.is_covered(&wanted.head) {
                    return Ok(Merged::Nothing);
                }
                let mut item = wanted.clone();
                item.rev = self.rev(wanted.rev);
                self.keep_tails(&mut item);
                self.keep_since(&mut item);
                if let Some(decision) = &mut item.decision {
                    decision.lease = Some(self.lease.clone());
                }
                Ok(self.write(item))
            }
            // It was tried again from its copy, and stood meanwhile: it stops again, or the next one does.
            Some(LaneState::Stopped)
                if { self.actual }.is_some_and(|i| i.is_leased_by(self.lease)) =>
            {
                let mut item = wanted.clone();
                item.rev = self.rev(wanted.rev);
                self.keep_tails(&mut item);
                if let Some(actual) = self.actual.filter(|actual| actual.head == item.head) {
                    item.record.clone_from(&actual.record);
                }
                self.keep_since(&mut item);
                if let Some(decision) = &mut item.decision {
                    decision.lease = Some(self.lease.clone());
                }
                Ok(self.write(item))
            }
            // It stands by another's word: held here all the same.
            Some(LaneState::Stopped | LaneState::Parked | LaneState::Draining) => {
                Ok(Merged::Nothing)
            }
        }
    }

    /// A head that stops once more, after a retry in vain, has stood since it stopped first.
    fn keep_since(&self, item: &mut LaneItem) {
        if let Some(actual) = self.actual.filter(|actual| actual.head == item.head) {
            item.since = item.since.min(actual.since);
        }
    }

    /// A stopped lane stays so, with another decision or none.
    fn restated(&self, wanted: &LaneItem) -> Result<Merged, Overtaken> {
        let Some(actual) = self.actual.filter(|item| item.is_leased_by(self.lease)) else {
            return Err(self.overtaken());
        };
        let mut item = actual.clone();
        item.rev = self.rev(wanted.rev);
        item.last_error.clone_from(&wanted.last_error);
        item.attempts = wanted.attempts;
        item.decision = wanted.decision.clone().map(|decision| DecisionNote {
            lease: Some(self.lease.clone()),
            ..decision
        });
        Ok(self.write(item))
    }

    /// A stopped lane goes on: its head is tried again, or passed.
    pub(super) fn reopened(&self) -> Result<Merged, Overtaken> {
        if self.copy.is_some_and(|copy| copy.is_open) {
            // It stands until its head is done: with who runs it, the only copy would be gone.
            return Ok(Merged::Nothing);
        }
        match self.actual {
            Some(actual)
                if actual.state == LaneState::Stopped && actual.is_leased_by(self.lease) =>
            {
                Ok(self.write(self.live(actual)))
            }
            Some(_) | None => Err(self.overtaken()),
        }
    }

    fn live(&self, actual: &LaneItem) -> LaneItem {
        let mut item = LaneItem {
            state: LaneState::Live,
            record: None,
            cut: None,
            count: 0,
            bytes: 0,
            rev: actual.rev.saturating_add(1),
            // If its head fails again, it has stood all the while.
            since: if actual.state == LaneState::Stopped {
                actual.since
            } else {
                self.now
            },
            decision: None,
            ..actual.clone()
        };
        if actual.state == LaneState::Stopped {
            self.pass_copy(&mut item, &actual.head);
        }
        item
    }

    /// A lane parks: its head failed for good, or an operator said so.
    fn parked(&self, wanted: &LaneItem) -> Result<Merged, Overtaken> {
        let state = self.actual.map(|item| item.state);
        match state {
            None | Some(LaneState::Live) => {}
            Some(LaneState::Stopped) => {
                if !{ self.actual }.is_some_and(|item| item.is_leased_by(self.lease)) {
                    return Err(self.overtaken());
                }
            }
            Some(LaneState::Parked | LaneState::Draining) => return self.joined(None),
        }
        let append = self.joining();
        let Some(first) = append.first() else {
            return Ok(Merged::Nothing);
        };
        let mut item = wanted.clone();
        item.rev = self.rev(wanted.rev);
        item.head = first.position().clone();
        self.keep_tails(&mut item);
        if !self.fits(&append) {
            item.state = LaneState::Stopped;
            item.record = Some(first.to_stored()).filter(|copy| copy.len() <= self.record_bytes);
            (item.cut, item.count, item.bytes, item.decision) = (None, 0, 0, None);
            return Ok(match self.write(item) {
                Merged::Write(change) => Merged::Hold(change),
                other @ (Merged::Nothing | Merged::Hold(_)) => other,
            });
        }
        self.lengthen(&mut item, &append);
        item.count = append.len() as u64;
        item.bytes = append.iter().map(|record| record.bytes() as u64).sum();
        item.decision = None;
        Ok(self.with(self.write(item), append, None))
    }

    /// Records of the change that are not in the chain yet.
    fn joining(&self) -> Vec<Record> {
        let append = self.change.append.iter();
        let is_in = |record: &Record| {
            let partition = &record.assignment().name.partition;
            self.actual
                .is_some_and(|actual| actual.covers(partition, record.position()))
        };
        append.filter(|record| !is_in(record)).cloned().collect()
    }

    /// Whether records go behind all that the chain had. They do not where a producer sends one key to
    /// several shards at once, which has no order.
    fn fits(&self, append: &[Record]) -> bool {
        let tail = self.actual.and_then(|actual| actual.tail.as_ref());
        append
            .first()
            .is_none_or(|first| Some(first.position()) > tail)
    }

    /// A new life of the lane remembers what its former ones have had.
    fn keep_tails(&self, item: &mut LaneItem) {
        if let Some(actual) = self.actual {
            item.tail.clone_from(&actual.tail);
            item.tails.clone_from(&actual.tails);
            if actual.head != item.head {
                self.pass_copy(item, &actual.head);
            }
        }
    }

    /// A head that was run from its copy has passed: its own partition, whose marks say nothing of it, is
    /// not to run it once more.
    fn pass_copy(&self, item: &mut LaneItem, head: &Position) {
        let copy = self.copy.filter(|copy| !copy.is_open);
        let partition = copy.and_then(|copy| copy.partition);
        if let (Some(of), true) = (partition, self.sharing.is_some()) {
            extend_tail(item, of, head);
        }
    }

    /// The chain ends behind these records now.
    fn lengthen(&self, item: &mut LaneItem, append: &[Record]) {
        for record in append {
            let position = record.position();
            item.tail = Some(position.clone());
            if self.sharing.is_none() {
                continue;
            }
            extend_tail(item, &record.assignment().name.partition, position);
        }
    }

    fn with(&self, merged: Merged, append: Vec<Record>, passed: Option<Position>) -> Merged {
        match merged {
            Merged::Write(mut change) => {
                change.append = append;
                change.passed = passed;
                Merged::Write(change)
            }
            other @ (Merged::Nothing | Merged::Hold(_)) => other,
        }
    }

    /// Records join the chain that stands; those that it covers are in it, or were.
    fn joined(&self, base: Option<LaneItem>) -> Result<Merged, Overtaken> {
        let Some(actual) = self.actual else {
            return Ok(Merged::Nothing);
        };
        let append = self.joining();
        if !self.fits(&append) {
            return Err(self.overtaken());
        }
        let is_changed = base.is_some();
        let mut item = base.unwrap_or_else(|| actual.clone());
        match append.last() {
            None if !is_changed => return Ok(Merged::Nothing),
            None => {}
            Some(_) => {
                self.lengthen(&mut item, &append);
                item.count += append.len() as u64;
                item.bytes += append.iter().map(|r| r.bytes() as u64).sum::<u64>();
            }
        }
        Ok(self.with(self.write(item), append, self.change.passed.clone()))
    }

    /// A chain goes on: records join it, its head passes, a record of it failed for good.
    fn moved(&self, wanted: &LaneItem) -> Result<Merged, Overtaken> {
        let Some(shown) = self.shown else {
            return Err(self.overtaken());
        };
        // That nothing more may join a chain is not for one invocation to say: it stays parked, and the
        // decision stands until the chain is empty.
        let is_cut = wanted.state == LaneState::Draining;
        let decides = !is_cut && wanted.decision != shown.decision;
        let acts = self.change.passed.is_some() || decides;
        let actual = match self.actual {
            Some(actual) if matches!(actual.state, LaneState::Parked | LaneState::Draining) => {
                actual
            }
            None | Some(_) if acts => return Err(self.overtaken()),
            None | Some(_) if self.change.append.is_empty() => return Ok(Merged::Nothing),
            None | Some(_) => return self.parked_behind_a_release(wanted),
        };
        if !acts {
            return self.joined(None);
        }
        if !actual.is_leased_by(self.lease) {
            return Err(self.overtaken());
        }
        let mut item = actual.clone();
        let passed = { shown.count + self.change.append.len() as u64 }.saturating_sub(wanted.count);
        item.count = actual.count.saturating_sub(passed);
        let bytes = shown.bytes
            + self
                .change
                .append
                .iter()
                .map(|r| r.bytes() as u64)
                .sum::<u64>();
        item.bytes = actual
            .bytes
            .saturating_sub(bytes.saturating_sub(wanted.bytes));
        if wanted.head != shown.head || wanted.count > 0 {
            item.head = wanted.head.clone();
        }
        if wanted.count == 0 {
            match self.next {
                Some(next) => {
                    item.head = next.clone();
                    item.count = item.count.max(1);
                }
                None => (item.count, item.bytes) = (0, 0),
            }
        }
        item.first_error.clone_from(&wanted.first_error);
        item.last_error.clone_from(&wanted.last_error);
        item.attempts = wanted.attempts;
        item.since = wanted.since;
        if decides && wanted.decision.is_none() {
            item.decision = None;
        }
        // Who appends at the same time would else write the head back that it has read.
        item.rev = self.rev(wanted.rev);
        self.joined(Some(item))
    }

    /// Records for a chain that was released and drained meanwhile: they are a chain of their own, and
    /// go on as it did.
    fn parked_behind_a_release(&self, wanted: &LaneItem) -> Result<Merged, Overtaken> {
        let merged = self.parked(wanted)?;
        Ok(match merged {
            Merged::Write(mut change) => {
                if let Some(item) = &mut change.item {
                    let why = "its lane was released while it arrived".to_owned();
                    item.decision = Some(DecisionNote::new(
                        Verb::Release,
                        "lanekeeper".to_owned(),
                        Some(why),
                        self.now,
                    ));
                }
                Merged::Write(change)
            }
            other @ (Merged::Nothing | Merged::Hold(_)) => other,
        })
    }

    /// The processor has run the chain to its end, as far as it knows it.
    fn emptied(&self) -> Result<Merged, Overtaken> {
        let Some(actual) = self.actual.filter(|item| item.is_leased_by(self.lease)) else {
            return Err(self.overtaken());
        };
        let known = { self.shown }.and_then(|shown| shown.tail.as_ref());
        let passed = self.change.passed.as_ref().max(known).cloned();
        let item = match self.next {
            None => self.live(actual),
            // It has grown: whoever acts on the decision next goes on there.
            Some(next) => {
                let known = { self.shown }.map_or((0, 0), |shown| (shown.count, shown.bytes));
                LaneItem {
                    head: next.clone(),
                    count: actual.count.saturating_sub(known.0).max(1),
                    bytes: actual.bytes.saturating_sub(known.1),
                    attempts: 0,
                    rev: actual.rev.saturating_add(1),
                    decision: { actual.decision.clone() }
                        .filter(|decision| matches!(decision.verb, Verb::Release | Verb::Retry))
                        .map(|decision| DecisionNote {
                            taken: false,
                            lease: None,
                            ..decision
                        }),
                    ..actual.clone()
                }
            }
        };
        Ok(self.with(self.write(item), Vec::new(), passed))
    }
}
