//! What the engine keeps of one assignment.

use crate::id::Id;
use crate::window::{Body, Entries, Window};
use crate::{Item, LaneId, Limits, PartitionId, Resume, careful::Careful, ready::Ready};
use alloc::{
    boxed::Box,
    collections::{BTreeSet, VecDeque},
    vec::Vec,
};
use core::num::NonZeroU32;

/// Figures of one partition, for status and metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Records that are in the engine and not settled.
    pub buffered: u64,
    /// Their bytes, and those of loaded chain records.
    pub bytes: u64,
    /// Tries out, quarantined ones included.
    pub in_flight: u32,
    /// Records passed since the last durable commit.
    pub unflushed: u64,
    /// Lanes that wait for their next try.
    pub waiting: u32,
    /// The source is asked to hand over nothing.
    pub paused: bool,
    /// A lane's turn has come, and the partition keeps none from starting: a slot and a sound target
    /// are all that it may wait for. Never in careful mode, which has reasons of its own.
    pub runnable: bool,
}

pub(crate) struct Partition<P> {
    pub(crate) generation: NonZeroU32,
    pub(crate) assigned: bool,
    pub(crate) identity: u64,
    pub(crate) window: Window<P>,
    /// Lanes whose turn may come.
    pub(crate) ready: Ready<P>,
    /// It is in the ring of partitions with ready lanes.
    pub(crate) in_ring: bool,

    pub(crate) held: bool,
    pub(crate) halted: bool,
    pub(crate) draining: bool,
    pub(crate) drained: bool,
    pub(crate) intake_held: bool,
    /// It reached its share, and is not below three quarters of it again.
    pub(crate) full: bool,
    pub(crate) starved: Starved,
    pub(crate) paused: bool,
    /// `Gone` is queued.
    pub(crate) gone_queued: bool,

    pub(crate) buffered: u64,
    pub(crate) bytes: u64,
    /// Records that stay long may hold more than they weigh: they found no memory of their own.
    pub(crate) pinned: bool,
    pub(crate) tries: u32,
    /// Records in tries, or answered with effects that are not durable: a crash repeats them.
    pub(crate) records_out: u64,
    pub(crate) unflushed: u64,
    pub(crate) persists: u32,
    pub(crate) publishing: u32,
    pub(crate) loads: u32,
    /// Records of chains that are loaded.
    pub(crate) chain_records: u64,
    /// Lanes that have nothing of their chain loaded, and wait for memory.
    pub(crate) unloaded: VecDeque<LaneId>,
    pub(crate) waiting: u32,
    /// Lanes whose front has no place before the source has moved on.
    pub(crate) displaced: u32,

    /// With `Stops::Partition`: the lowest stopped head. Nothing from here on starts.
    pub(crate) barrier: Option<P>,
    /// Lanes with something set aside.
    pub(crate) asides: BTreeSet<u32>,
    /// Open entries with attempts.
    pub(crate) tried: BTreeSet<u32>,
    /// Positions of restored lanes that the source has yet to reach, descending.
    pub(crate) unreached: Vec<(P, LaneId)>,
    /// Stopped lanes to be told of once the partition is quiet.
    pub(crate) stops: Vec<LaneId>,
    pub(crate) commit: Option<Commit>,
    pub(crate) careful: Option<Box<Careful<P>>>,
}

/// Whether the source has a record that finds no memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Starved {
    No,
    /// What is out may give memory back.
    ForNow,
    /// It was so when the partition came to rest.
    AtRest,
}

/// The commit that is out.
pub(crate) struct Commit {
    /// Records passed before it was begun.
    pub(crate) unflushed: u64,
    /// Slots of the tickets that it carries.
    pub(crate) tickets: Vec<u32>,
    /// It no longer names as alone what the one before it did.
    pub(crate) retracts: bool,
}

impl<P: Ord + Clone> Partition<P> {
    pub(crate) fn new(generation: NonZeroU32, identity: u64, window: Window<P>) -> Self {
        Self {
            generation,
            assigned: true,
            identity,
            window,
            ready: Ready::new(),
            in_ring: false,
            held: false,
            halted: false,
            draining: false,
            drained: false,
            intake_held: false,
            full: false,
            starved: Starved::No,
            paused: false,
            gone_queued: false,
            buffered: 0,
            bytes: 0,
            pinned: false,
            tries: 0,
            records_out: 0,
            unflushed: 0,
            persists: 0,
            publishing: 0,
            loads: 0,
            chain_records: 0,
            unloaded: VecDeque::new(),
            waiting: 0,
            displaced: 0,
            barrier: None,
            asides: BTreeSet::new(),
            tried: BTreeSet::new(),
            unreached: Vec::new(),
            stops: Vec::new(),
            commit: None,
            careful: None,
        }
    }

    /// A free slot.
    pub(crate) fn unassigned(generation: NonZeroU32) -> Self {
        let mut blank = Self::new(generation, 0, Window::new(Resume::Beginning, None));
        blank.assigned = false;
        blank
    }

    pub(crate) fn id(&self, slot: u32) -> PartitionId {
        PartitionId(Id::new(slot, self.generation))
    }

    #[inline]
    pub(crate) fn is_assigned_as(&self, id: PartitionId) -> bool {
        self.assigned && self.id(id.0.slot()) == id
    }

    /// Records that may be started before the next commit is durable.
    pub(crate) fn room(&self, limits: &Limits) -> u64 {
        limits
            .unflushed_max
            .saturating_sub(self.unflushed + self.records_out)
    }

    /// It is not kept from starting by a word of the shell's, or by its source's disorder.
    pub(crate) fn is_open(&self) -> bool {
        self.assigned && !self.held && !self.halted && !self.draining
    }

    pub(crate) fn may_start(&self, limits: &Limits) -> bool {
        self.is_open() && self.room(limits) > 0
    }

    /// Nothing of it is out.
    pub(crate) fn is_quiet(&self) -> bool {
        self.tries == 0 && self.publishing == 0 && self.persists == 0
    }

    /// Nothing of it is out or on its way, and nothing of it can start before a time or a fact comes:
    /// it gives no memory back by itself.
    pub(crate) fn rests(&self) -> bool {
        self.is_quiet()
            && self.loads == 0
            && self.unloaded.is_empty()
            && self.ready.is_empty()
            && self.unflushed == 0
            && self.commit.is_none()
    }

    pub(crate) fn reaches_share(&self, limits: &Limits) -> bool {
        self.bytes >= limits.partition_bytes_max || self.buffered >= u64::from(limits.records_max)
    }

    /// Takes in a record of a lane, into the place that a checkpoint kept for it or behind all others.
    #[inline(always)]
    pub(crate) fn admit<R: Item<Position = P>>(
        &mut self,
        entries: &mut Entries<R>,
        lane: u32,
        restored: Option<u32>,
        record: R,
        position: P,
        attempts: u32,
    ) -> u32 {
        self.buffered += 1;
        self.bytes += u64::from(record.weight());
        let attempts = match &self.careful {
            Some(careful) => careful.attempts_of(&position).unwrap_or(attempts),
            None => attempts,
        };
        let at = match restored {
            Some(at) => {
                entries[at].body = Body::Record(record);
                entries[at].lane = lane;
                at
            }
            None => self
                .window
                .append(entries, Body::Record(record), position, lane),
        };
        if attempts > 0 {
            entries[at].attempts = attempts;
            self.tried.insert(at);
        }
        at
    }

    /// Takes an entry out of the window; it stays allocated. Memory may be wanted that this gives back.
    #[inline(always)]
    pub(crate) fn settle<R: Item<Position = P>>(&mut self, entries: &mut Entries<R>, at: u32) {
        self.window.settle(entries, at);
        let entry = &entries[at];
        if let Some(record) = entry.record() {
            self.buffered -= 1;
            self.bytes -= u64::from(record.weight());
        }
        if entry.attempts > 0 {
            self.tried.remove(&at);
        }
    }

    /// Its source may have passed by something that waits for that.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.window.gone_news || !self.unreached.is_empty()
    }

    /// Something of it waits for memory.
    pub(crate) fn wants_memory(&self) -> bool {
        self.paused || !self.unloaded.is_empty()
    }

    /// Whether another chain may be loaded: one always, more while there is memory for what is asked for.
    pub(crate) fn may_load(&self, limits: &Limits) -> bool {
        let asked = u64::from(self.loads).saturating_mul(limits.append_bytes_max);
        self.loads == 0 && self.chain_records == 0
            || self.bytes.saturating_add(asked) < limits.partition_bytes_max
    }

    /// Below three quarters: pausing is costly for a source, so it does not flutter.
    pub(crate) fn has_space(&self, limits: &Limits) -> bool {
        let bytes = limits.partition_bytes_max;
        let records = u64::from(limits.records_max);
        self.bytes < bytes - bytes / 4 && self.buffered < records - records / 4
    }

    pub(crate) fn figures(&self, limits: &Limits) -> Figures {
        Figures {
            buffered: self.buffered,
            bytes: self.bytes,
            in_flight: self.tries,
            unflushed: self.unflushed,
            waiting: self.waiting,
            paused: self.paused,
            runnable: !self.ready.is_empty() && self.careful.is_none() && self.may_start(limits),
        }
    }
}
