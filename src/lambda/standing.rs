//! What one invocation knows of one partition: its batch, its mark, what other marks say, and the lanes
//! that are not live.

mod claim;
mod commit;
mod extent;
mod offer;

use super::{
    figures::Standstill,
    holder::Invocation,
    merge::{FromCopy, Sides},
};
use crate::{
    checkpoint::Checkpoint,
    position::Position,
    record::{Assignment, LaneKey, PartitionName},
    store::{
        Commit, CommitBounds, ContentId, Failed, LaneChange, LaneItem, LaneState, Lease, Mark,
        Ownership,
    },
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The records of one partition that an invocation was given.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) partition: PartitionName,
    /// Ascending, at least one.
    pub(super) positions: Vec<Position>,
    /// Their lanes.
    pub(super) lanes: Vec<LaneKey>,
    /// Where these are: at the partition itself, or where those of all shards of its source are.
    pub(super) lanes_at: PartitionName,
    /// Of a queue: what is answered as done is deleted, and needs no mark.
    pub(super) is_queue: bool,
    /// Of a queue: none of it was delivered before.
    pub(super) is_first: bool,
    /// A lane that stops, stops all of its partition.
    pub(super) stops_all: bool,
    /// Other invocations may have records in between at the same time.
    pub(super) has_neighbours: bool,
    /// Marks of others name the same records by the same positions. Not so where the mapping itself has
    /// read an aggregate apart: its records are counted within each event.
    pub(super) has_stable_positions: bool,
}

impl Batch {
    fn lane_of(&self, position: &Position) -> Option<&LaneKey> {
        let index = self.positions.binary_search(position).ok()?;
        self.lanes.get(index)
    }
}

/// The head of a stopped lane that is run from its copy.
struct Head {
    lane: LaneKey,
    /// Of which partition it is, where the copy says so.
    partition: Option<Box<str>>,
}

/// Failed tries of one record by other invocations.
#[derive(Default)]
struct Elsewhere {
    attempts: u32,
    /// Milliseconds since 1970: it may be tried again from then on.
    not_before: i64,
    /// When the invocation began that failed first, and what it said.
    first: Option<(i64, String)>,
}

/// A commit whose outcome is not known: the processor's content, what was sent, of which of its lanes,
/// with the effects of which of its records.
struct Sent {
    content: ContentId,
    commit: Commit,
    of: Vec<usize>,
    effects: Vec<usize>,
}

/// See the module.
pub(super) struct Standing {
    batch: Batch,
    mark: Mark,
    /// The last durable commit.
    number: u64,
    /// What marks of others call done, of the batch.
    elsewhere: BTreeSet<Position>,
    /// Tries of others, by the lane's revision.
    tried: HashMap<(Position, u64), Elsewhere>,
    /// Heads of stopped lanes that are not in the batch, and that a decision is about.
    heads: BTreeMap<Position, Head>,
    /// Lane items as the store has them.
    actual: BTreeMap<LaneKey, LaneItem>,
    /// Those that stand, as the processor knows them.
    shown: BTreeMap<LaneKey, LaneItem>,
    /// How far their chains have passed by commits of this invocation.
    passed: BTreeMap<LaneKey, Position>,
    /// Lanes that another invocation has changed, so that this one could not.
    given_up: BTreeSet<LaneKey>,
    /// Failed tries of records that are in no batch: of chains, and of heads out of their copies.
    led: BTreeMap<Position, (u32, Failed)>,
    sent: Option<Sent>,
    through: Position,
    checkpoint: Option<Checkpoint>,
    unclean_claims: u32,
    /// Bytes of a record that a lane item may hold.
    record_bytes: usize,
    /// Items that a commit may write.
    items_max: usize,
}

/// Whether the lane's records wait.
fn stands(item: &LaneItem) -> bool {
    item.state != LaneState::Live
}

impl Standing {
    pub(super) fn new(batch: Batch, invocation: &Invocation, bounds: CommitBounds) -> Self {
        // A batch has a record; were there none, its mark would say nothing.
        let zero = Position::Offset(0);
        let first = batch.positions.first().cloned().unwrap_or(zero);
        let last = { batch.positions.last().cloned() }.unwrap_or_else(|| first.clone());
        let holder = invocation.worker.to_string();
        let mut lanes = Vec::new();
        if batch.has_neighbours {
            lanes.extend(batch.lanes.iter().map(Mark::lane_name));
            lanes.sort_unstable();
            lanes.dedup();
        }
        Self {
            mark: Mark {
                lanes,
                deadline: invocation.deadline,
                expires: invocation.expires,
                generation: invocation.generation,
                ..Mark::begun(&holder, (first, last.clone()), invocation.begun)
            },
            batch,
            number: 0,
            elsewhere: BTreeSet::new(),
            tried: HashMap::new(),
            heads: BTreeMap::new(),
            actual: BTreeMap::new(),
            shown: BTreeMap::new(),
            passed: BTreeMap::new(),
            given_up: BTreeSet::new(),
            led: BTreeMap::new(),
            sent: None,
            through: last,
            checkpoint: None,
            unclean_claims: 0,
            record_bytes: bounds.record_bytes,
            items_max: bounds.items,
        }
    }

    pub(super) fn mark(&self) -> &Mark {
        &self.mark
    }

    pub(super) fn assignment(&self, invocation: &Invocation) -> Assignment {
        Assignment {
            name: self.batch.partition.clone(),
            epoch: invocation.epoch(),
            generation: self.mark.generation,
        }
    }

    /// Where its lanes are.
    pub(super) fn lanes_at(&self) -> &PartitionName {
        &self.batch.lanes_at
    }

    /// Records that are not handed over: their lane is given up from the beginning.
    pub(super) fn withheld(&self) -> BTreeSet<Position> {
        let batch = self.batch.positions.iter().zip(&self.batch.lanes);
        batch
            .filter(|(_, lane)| self.given_up.contains(lane))
            .map(|(position, _)| position.clone())
            .collect()
    }

    /// Whether other partitions have the same lanes.
    fn is_sharing(&self) -> bool {
        self.batch.lanes_at != self.batch.partition
    }

    /// What is to run: the batch, and heads out of their copies, ascending.
    fn delivered(&self) -> Vec<&Position> {
        let mut delivered: Vec<&Position> = self.batch.positions.iter().collect();
        if !self.heads.is_empty() {
            delivered.extend(self.heads.keys());
            delivered.sort_unstable();
            delivered.dedup();
        }
        delivered
    }

    pub(super) fn unfinished(&self) -> Vec<Position> {
        // Both ascend.
        let mut done = self.mark.done.positions().iter().peekable();
        let open = self.batch.positions.iter().filter(|position| {
            while done.next_if(|done| done < position).is_some() {}
            done.peek() != Some(position) && !self.elsewhere.contains(*position)
        });
        open.cloned().collect()
    }

    /// Records of the batch that other invocations have settled.
    pub(super) fn already_done(&self) -> u64 {
        self.elsewhere.len() as u64
    }

    /// The lanes that stand, as far as they were read.
    pub(super) fn standstill(&self) -> Standstill {
        let mut all = Standstill::default();
        self.actual.values().for_each(|item| all.add(item));
        all
    }

    fn commit(&self, invocation: &Invocation, number: u64) -> Commit {
        let (high, _) = invocation.worker.0.as_u64_pair();
        Commit {
            partition: self.batch.partition.clone(),
            fence: invocation.fence(),
            number,
            content: uuid::Uuid::from_u64_pair(high, number << 8).into_bytes(),
            checkpoint: Checkpoint::default(),
            lanes: Vec::new(),
            effects: Vec::new(),
            keep: false,
            settled_in: false,
            mark: Some(self.mark.clone()),
            failed: Vec::new(),
            lanes_at: self.is_sharing().then(|| self.batch.lanes_at.clone()),
        }
    }

    /// Says that the invocation has begun; `None`: a queue's mark is written once it has something to say.
    pub(super) fn first_commit(&self, invocation: &Invocation) -> Option<Commit> {
        (!self.batch.is_queue).then(|| self.commit(invocation, 1))
    }

    /// Whether marks of others may say something of the batch.
    pub(super) fn may_have_marks(&self) -> bool {
        self.batch.has_stable_positions && !(self.batch.is_queue && self.batch.is_first)
    }

    /// Whether a claim has read what is known.
    pub(super) fn is_claimed(&self) -> bool {
        self.checkpoint.is_some()
    }

    /// Whether a mark of this invocation is in the store.
    pub(super) fn is_written(&self) -> bool {
        self.number > 0
    }

    /// Whether a commit leaves nothing that a mark would have to say: all messages of a queue are about to
    /// be deleted.
    ///
    /// Not where the invocation took so long that the queue may refuse the delete, since the message is
    /// visible again by then (a FIFO queue does so).
    pub(super) fn leaves_nothing(&self, built: &Commit, now: i64) -> bool {
        let half = self.mark.deadline.saturating_sub(self.mark.begun) / 2;
        if !self.heads.is_empty() || now >= self.mark.begun.saturating_add(half) {
            return false;
        }
        let ends = built.mark.as_ref().is_some_and(|mark| mark.ended);
        self.batch.is_queue && ends && built.lanes.is_empty() && built.effects.is_empty()
    }

    /// Says that nothing of it runs any more, and gives back what it may act on; `None`: that is said.
    ///
    /// No more than `lanes_max` lanes at once: with more it is to be asked again.
    pub(super) fn last_commit(
        &self,
        invocation: &Invocation,
        lanes_max: usize,
        now: i64,
    ) -> Option<Commit> {
        let is_over = self.mark.ended || (!self.is_written() && self.says_nothing());
        let lease = invocation.lease();
        let acts = self
            .actual
            .values()
            .any(|item| self.is_leased(item, &lease));
        if !self.is_claimed() || (is_over && !acts) {
            return None;
        }
        let mut commit = self.commit(invocation, self.number + 1);
        let done = self.done_from_copies(|head| self.mark.done.contains(head), (&lease, now));
        let given_back = { self.actual.values() }
            .filter(|item| self.is_leased(item, &lease))
            .filter(|item| done.iter().all(|change| change.lane != item.lane))
            .map(|item| LaneChange {
                lane: item.lane.clone(),
                expected: Some((item.rev, item.tail.clone())),
                item: Some(LaneItem {
                    rev: item.rev.saturating_add(1),
                    decision: self.given_back(item, &lease),
                    ..item.clone()
                }),
                append: Vec::new(),
                passed: None,
            });
        let mut lanes: Vec<LaneChange> = done.iter().cloned().chain(given_back).collect();
        let ends = lanes.len() <= lanes_max;
        lanes.truncate(lanes_max);
        commit.lanes = lanes;
        if let Some(mark) = &mut commit.mark {
            mark.ended = ends;
        }
        Some(commit)
    }

    /// Whether the mark need not be there.
    pub(super) fn says_nothing(&self) -> bool {
        let Mark {
            done,
            tried,
            announced,
            ..
        } = &self.mark;
        done.positions().is_empty() && tried.is_empty() && announced.is_empty()
    }

    fn lane_of(&self, position: &Position) -> Option<&LaneKey> {
        { self.batch.lane_of(position) }.or_else(|| Some(&self.heads.get(position)?.lane))
    }

    pub(super) fn rev(&self, lane: &LaneKey) -> u64 {
        self.actual.get(lane).map_or(0, |item| item.rev)
    }

    fn rev_of(&self, position: &Position) -> u64 {
        self.lane_of(position).map_or(0, |lane| self.rev(lane))
    }

    /// Failed tries of others that count.
    fn tried_elsewhere(&self, position: &Position) -> u32 {
        if self.tried.is_empty() {
            return 0;
        }
        let key = (position.clone(), self.rev_of(position));
        self.tried.get(&key).map_or(0, |tried| tried.attempts)
    }

    fn ownership(&self, invocation: &Invocation) -> Ownership {
        Ownership {
            generation: self.mark.generation,
            commit: self.number,
            unclean_claims: self.unclean_claims,
            checkpoint: self.checkpoint.clone(),
            ..invocation.ownership()
        }
    }

    /// The lanes were read.
    pub(super) fn read(&mut self, items: Vec<LaneItem>) {
        self.actual = { items.into_iter() }
            .map(|item| (item.lane.clone(), item))
            .collect();
    }

    /// Another invocation has these lanes: what this one has not written of them yet stays unfinished.
    pub(super) fn give_up(&mut self, lanes: Vec<LaneKey>) {
        self.given_up.extend(lanes);
    }

    /// Whether a position may be called done from now on.
    fn is_ours(&self, position: &Position) -> bool {
        self.given_up.is_empty() || self.mark.done.contains(position) || { self.lane_of(position) }
            .is_none_or(|lane| !self.given_up.contains(lane))
    }

    /// Both sides of a change; `is_done`: whether a head that is run from its copy is done by then.
    pub(super) fn sides<'a>(
        &'a self,
        change: &'a LaneChange,
        is_done: impl Fn(&Position) -> bool,
        next: Option<&'a Position>,
        (lease, now): (&'a Lease, i64),
    ) -> Sides<'a> {
        let actual = self.actual.get(&change.lane);
        let copy = actual.and_then(|actual| {
            let head = self.heads.get(&actual.head)?;
            Some(FromCopy {
                partition: head.partition.as_deref(),
                is_open: !is_done(&actual.head),
            })
        });
        Sides {
            copy,
            record_bytes: self.record_bytes,
            shown: self.shown.get(&change.lane),
            sharing: { self.is_sharing() }.then_some(&*self.batch.partition.partition),
            change,
            actual,
            next,
            lease,
            now,
        }
    }

    /// Where a chain goes on behind what a change makes pass, if the processor takes it for its end and
    /// it has grown.
    pub(super) fn grown(&self, change: &LaneChange) -> Option<Position> {
        let shown = self.shown.get(&change.lane)?;
        let ends = { change.item.as_ref() }.is_none_or(|item| item.count == 0);
        let actual = self.actual.get(&change.lane)?;
        let before = self.passed.get(&change.lane);
        let seen = change.passed.as_ref().max(before).max(shown.tail.as_ref());
        (ends && shown.state != LaneState::Stopped && actual.tail.as_ref() > seen)
            .then(|| seen.cloned())?
    }
}
