//! What the loop keeps of each partition that it owns.

use super::{careful::Charged, look::Stalled, memory::Memory};
use crate::{
    checkpoint::Checkpoint,
    position::Position,
    record::{Assignment, LaneKey, Record},
    source::Budget,
    store::{Commit, DecisionNote, Failed, Fence, LaneItem},
};
use partitions::{Change, LaneId, Ticket};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::sync::oneshot;

/// A partition of ours.
pub(super) struct Owned {
    pub(super) assignment: Arc<Assignment>,
    /// The source's place among the counters.
    pub(super) source: usize,
    pub(super) fence: Fence,
    /// Highest durable commit.
    pub(super) number: u64,
    pub(super) checkpoint: Checkpoint,
    /// Lane items as the store has them.
    pub(super) lanes: BTreeMap<LaneKey, LaneItem>,
    pub(super) memory: Memory,
    /// Records of the log that were not handed over; `None`: the source has not said yet.
    pub(super) behind: Option<u64>,
    /// After so long the source may delete a record, where it says so.
    pub(super) retention: Option<Duration>,
    /// Attempts that the checkpoint knows of records that were not handed over yet.
    pub(super) attempts: HashMap<Position, u32>,
    /// What is known of those of them that failed in other invocations.
    pub(super) failed: HashMap<Position, Failed>,
    /// Attempts of those of them that a worker's death was charged to.
    pub(super) charged: Charged,
    /// What failed tries of open records said.
    pub(super) errors: HashMap<LaneKey, Errors>,
    /// Changes that wait for a commit.
    pub(super) waiting: Vec<Waiting>,
    /// Effects of answered tries, by their ticket.
    pub(super) effects: HashMap<Ticket, Vec<(usize, crate::effect::Effect)>>,
    /// Tries whose effects go into a commit without those of another.
    pub(super) apart: BTreeSet<Ticket>,
    /// Lanes whose items somebody deleted: they are written anew as they were.
    pub(super) missing: BTreeSet<LaneKey>,
    /// Lanes whose decision does not fit their state: it is cleared.
    pub(super) clear: Vec<LaneKey>,
    /// Those of them that a commit in flight clears.
    pub(super) dropped: Vec<LaneKey>,
    pub(super) out: Option<OutCommit>,
    /// Something changed that only a commit makes durable, beside passed records.
    pub(super) dirty: bool,
    /// Where to begin was chosen now, and is not durable: a crash before it is would choose anew.
    pub(super) placing: bool,
    /// No commit goes out before.
    pub(super) not_before: Duration,
    /// When the last commit went out.
    pub(super) flushed_at: Duration,
    /// How many times the flush interval the next one waits: what commits cost decides.
    pub(super) stretch: f64,
    /// When the store last proved that we own it (taken before the request was sent).
    pub(super) proven_at: Duration,
    /// When its checkpoint item was last asked for, with or without work.
    pub(super) looked_at: Duration,
    /// The read that is out was asked for without work.
    pub(super) idle_look: bool,
    /// A read of the checkpoint item, or of the lane items, is out.
    pub(super) reading: bool,
    pub(super) reading_lanes: bool,
    pub(super) lanes_read_at: Duration,
    /// Since when the store answers nothing of this partition but errors.
    pub(super) store_fails_since: Option<Duration>,
    /// Since when its source cannot read what comes next.
    pub(super) unreadable_since: Option<Duration>,
    /// What the last look found, where it could go on.
    pub(super) stalled: Option<Stalled>,
    /// Not proven: nothing starts.
    pub(super) held: bool,
    /// Until then a former owner's tries may run.
    pub(super) quiet_until: Option<Duration>,
    /// The claim that this ownership began with, or the last reset of the count.
    pub(super) claimed_at: Duration,
    pub(super) unclean_claims: u32,
    pub(super) kept_at: Duration,
    /// The source was told this frontier.
    pub(super) told: Option<Position>,
    pub(super) leaving: Option<Leaving>,
    /// Decisions that are being taken.
    pub(super) taking: u32,
    /// Taken decisions that this owner acts on. A lane item may have another: taken by a call whose
    /// answer was lost.
    pub(super) acted: HashMap<LaneKey, DecisionNote>,
    /// What stood when the partition was given up.
    pub(super) left: Option<Standing>,
}

/// Records of a partition that are in memory and not settled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    pub(super) buffered: u64,
    /// Those behind a stopped or parked head.
    pub(super) held: u64,
}

/// A partition that we give up.
pub(super) struct Leaving {
    pub(super) deadline: Duration,
    /// Nothing is out in the engine.
    pub(super) drained: bool,
    /// The release is out.
    pub(super) releasing: bool,
    pub(super) done: Option<oneshot::Sender<()>>,
}

/// Errors of a lane's head.
#[derive(Clone, Debug, Default)]
pub(super) struct Errors {
    /// Which record.
    pub(super) of: Option<Position>,
    pub(super) first: String,
    pub(super) last: String,
    /// Attempts used up, this process's view.
    pub(super) attempts: u32,
}

impl Errors {
    pub(super) fn note(&mut self, of: &Position, error: &str, attempts: u32) {
        if self.of.as_ref() != Some(of) {
            self.of = Some(of.clone());
            self.first.clear();
        }
        if self.first.is_empty() {
            self.first = cut(error);
        }
        self.last = cut(error);
        self.attempts = attempts;
    }
}

/// Errors are shown in tables and kept in items: 2,000 characters are enough of one.
fn cut(error: &str) -> String {
    error.chars().take(2_000).collect()
}

/// A change that waits to be durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) lane: LaneId,
    pub(super) change: Change,
}

/// The commit that is out.
pub(super) struct OutCommit {
    /// Shared with the call that carries it.
    pub(super) commit: Arc<Commit>,
    pub(super) tickets: Vec<Waiting>,
    /// Of each entry of `commit.effects`: its ticket and its record's index in the run.
    pub(super) effects_of: Vec<(Ticket, u32)>,
    /// Calls so far.
    pub(super) calls: u32,
    /// When it may be sent again; `None`: a call is out.
    pub(super) again_at: Option<Duration>,
    pub(super) sent_at: Duration,
    /// When it was first sent.
    pub(super) begun_at: Duration,
}

impl Owned {
    /// A record that comes again has failed elsewhere: what it said there is its lane's first error.
    pub(super) fn remember(&mut self, record: &Record, error: &str, attempts: u32) {
        let lane = LaneKey::from_bytes(record.lane()).filter(|_| !error.is_empty());
        if let Some(lane) = lane {
            let errors = self.errors.entry(lane).or_default();
            errors.note(record.position(), error, attempts);
        }
    }

    /// What a claim has found of a record that comes now: attempts, and when it may be tried, in
    /// milliseconds since 1970.
    pub(super) fn found(&mut self, record: &Record) -> (u32, i64) {
        let attempts = match self.attempts.is_empty() {
            true => 0,
            false => self.attempts.remove(record.position()).unwrap_or(0),
        };
        let failed = match self.failed.is_empty() {
            true => None,
            false => self.failed.remove(record.position()),
        };
        let not_before = failed.map_or(0, |failed| {
            self.remember(record, &failed.error, attempts);
            failed.not_before
        });
        (attempts, not_before)
    }

    /// A partition as it was claimed at `now`, with the lane items found.
    pub(super) fn new(
        assignment: Arc<Assignment>,
        fence: Fence,
        lanes: Vec<LaneItem>,
        budget: Arc<Budget>,
        now: Duration,
    ) -> Self {
        let lanes = lanes.into_iter().map(|item| (item.lane.clone(), item));
        Self {
            assignment,
            source: 0,
            fence,
            number: 0,
            checkpoint: Checkpoint::default(),
            lanes: lanes.collect(),
            memory: Memory::new(budget),
            behind: None,
            retention: None,
            attempts: HashMap::new(),
            failed: HashMap::new(),
            charged: Charged::new(),
            errors: HashMap::new(),
            waiting: Vec::new(),
            effects: HashMap::new(),
            apart: BTreeSet::new(),
            missing: BTreeSet::new(),
            clear: Vec::new(),
            dropped: Vec::new(),
            out: None,
            dirty: false,
            placing: false,
            not_before: Duration::ZERO,
            flushed_at: now,
            stretch: 1.0,
            proven_at: Duration::ZERO,
            looked_at: Duration::ZERO,
            idle_look: false,
            reading: false,
            reading_lanes: false,
            lanes_read_at: now,
            store_fails_since: None,
            unreadable_since: None,
            stalled: None,
            held: false,
            quiet_until: None,
            claimed_at: now,
            unclean_claims: 0,
            kept_at: Duration::ZERO,
            told: None,
            leaving: None,
            taking: 0,
            acted: HashMap::new(),
            left: None,
        }
    }

    /// When the next commit goes out that nothing waits for.
    pub(super) fn flush_at(&self, interval: Duration) -> Duration {
        self.flushed_at + interval.mul_f64(self.stretch)
    }

    /// Whether something waits for a commit at once.
    pub(super) fn shut(&self) -> bool {
        !self.waiting.is_empty() || !self.clear.is_empty() || !self.missing.is_empty()
    }

    /// Lanes whose decision a commit was to clear, and did not.
    pub(super) fn clear_again(&mut self, commit: &Commit) {
        for change in &commit.lanes {
            let pending = self
                .lanes
                .get(&change.lane)
                .is_some_and(|i| i.decision.is_some());
            let cleared = change.item.as_ref().is_some_and(|i| i.decision.is_none());
            if pending && cleared && self.dropped.contains(&change.lane) {
                self.clear.push(change.lane.clone());
            }
        }
    }

    /// The durable frontier.
    pub(super) fn frontier(&self) -> Option<&Position> {
        self.checkpoint.frontier()
    }
}
