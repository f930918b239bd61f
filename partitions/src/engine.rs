//! The engine: what it keeps, and what it shows of it.

use crate::backoff::{Health, Jitter};
use crate::careful::Caution;
use crate::id::next_generation;
use crate::lane::{Lanes, Load, Standing};
use crate::partition::{Partition, Starved};
use crate::revoke::Ghost;
use crate::ticket::{Kind, Tickets};
use crate::wait::Timers;
use crate::window::{CHAIN, Entries, Entry, NIL, Window, index};
use crate::{Action, Figures, Item, LaneId, Limits, PartitionId, Resume, Ticket, Time};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::num::NonZeroU32;

/// Decides order, cap, stop, park and frontier; does nothing by itself.
pub struct Engine<R: Item> {
    pub(crate) limits: Limits,
    pub(crate) now: Time,
    pub(crate) entries: Entries<R>,
    pub(crate) lanes: Lanes<R::Position>,
    pub(crate) tickets: Tickets,
    pub(crate) partitions: Vec<Partition<R::Position>>,
    /// Partitions that have something to start, in turn.
    pub(crate) ring: VecDeque<u32>,
    pub(crate) in_flight: u32,
    pub(crate) outbox: VecDeque<Action>,
    /// Lanes with a chain that are to be looked at. By `poll`, so that what was pushed in a turn
    /// goes into one change.
    pub(crate) chores: VecDeque<LaneId>,
    /// Partitions that have something to tell once they are quiet.
    pub(crate) notices: Vec<PartitionId>,
    /// Partitions that are starved, and paused for it once they rest.
    pub(crate) starving: Vec<PartitionId>,
    pub(crate) timers: Timers,
    pub(crate) jitter: Jitter,
    pub(crate) health: Health,
    pub(crate) ghosts: Vec<Ghost>,
    pub(crate) caution: Caution,
    #[cfg(feature = "bug-zoo")]
    pub(crate) bug: Option<crate::zoo::Bug>,
}

impl<R: Item> Engine<R> {
    /// An engine without partitions.
    pub fn new(limits: Limits) -> Self {
        Self {
            now: Time::default(),
            entries: Entries::new(),
            lanes: Lanes::new(limits.seed),
            tickets: Tickets::new(),
            partitions: Vec::new(),
            ring: VecDeque::new(),
            in_flight: 0,
            outbox: VecDeque::new(),
            chores: VecDeque::new(),
            notices: Vec::new(),
            starving: Vec::new(),
            timers: Timers::new(),
            jitter: Jitter::new(limits.seed),
            health: Health::default(),
            ghosts: Vec::new(),
            caution: Caution::default(),
            #[cfg(feature = "bug-zoo")]
            bug: None,
            limits,
        }
    }

    /// The partition's slot, unless the assignment is over.
    #[inline]
    pub(crate) fn slot(&self, id: PartitionId) -> Option<u32> {
        let slot = id.0.slot();
        self.partitions
            .get(slot as usize)
            .is_some_and(|part| part.is_assigned_as(id))
            .then_some(slot)
    }

    pub(crate) fn part(&self, id: PartitionId) -> Option<&Partition<R::Position>> {
        self.slot(id).map(|slot| &self.partitions[slot as usize])
    }

    /// The partition that a lane belongs to.
    pub(crate) fn part_of(&mut self, lane: u32) -> &mut Partition<R::Position> {
        &mut self.partitions[self.lanes[lane].partition as usize]
    }

    /// A slot for a new assignment.
    pub(crate) fn open_partition(&mut self, identity: u64, window: Window<R::Position>) -> u32 {
        if let Some(free) = self.partitions.iter().position(|part| !part.assigned) {
            let generation = next_generation(self.partitions[free].generation);
            self.partitions[free] = Partition::new(generation, identity, window);
            return index(free);
        }
        self.partitions
            .push(Partition::new(NonZeroU32::MIN, identity, window));
        index(self.partitions.len() - 1)
    }

    /// Applies to what starts from now on.
    pub fn set_cap(&mut self, cap: u32) {
        self.limits.cap = cap;
    }

    /// Each partition's share, in bytes.
    pub fn set_partition_bytes_max(&mut self, bytes: u64) {
        self.limits.partition_bytes_max = bytes;
        for slot in 0..index(self.partitions.len()) {
            self.check_intake(slot);
        }
    }

    /// While held, the partition starts nothing (ownership not proven, store out of reach).
    pub fn hold(&mut self, partition: PartitionId, held: bool) {
        if let Some(slot) = self.slot(partition) {
            self.partitions[slot as usize].held = held;
            self.join_ring(slot);
        }
    }

    /// While held, the partition takes in nothing (its checkpoint is near its bound).
    pub fn hold_intake(&mut self, partition: PartitionId, held: bool) {
        if let Some(slot) = self.slot(partition) {
            self.partitions[slot as usize].intake_held = held;
            self.check_intake(slot);
        }
    }

    /// While starved, the source's next record finds no memory. That is no news while answers may give
    /// some back; once nothing of the partition is out or can start, what it holds has filled its
    /// share, in bytes that only the shell can count (of shared batches), and it is paused until the
    /// shell says that there is room. Records that stay long and do not own their bytes yet are asked to
    /// once more.
    pub fn starve(&mut self, partition: PartitionId, starved: bool) {
        let Some(slot) = self.slot(partition) else {
            return;
        };
        let part = &mut self.partitions[slot as usize];
        match (part.starved, starved) {
            (Starved::No, true) => {
                part.starved = Starved::ForNow;
                self.starving.push(partition);
                self.detach_pinned(slot);
            }
            (Starved::ForNow | Starved::AtRest, false) => {
                part.starved = Starved::No;
                self.starving.retain(|id| *id != partition);
                self.check_intake(slot);
            }
            (Starved::No, false) | (Starved::ForNow | Starved::AtRest, true) => {}
        }
    }

    /// Pauses starved partitions that have come to rest.
    pub(crate) fn pause_starved(&mut self) {
        let mut starving = core::mem::take(&mut self.starving);
        starving.retain(|&id| {
            let Some(slot) = self.slot(id) else {
                return false;
            };
            let rests = self.partitions[slot as usize].rests();
            if rests {
                self.detach_pinned(slot);
                self.partitions[slot as usize].starved = Starved::AtRest;
                self.check_intake(slot);
            }
            !rests
        });
        self.starving = starving;
    }

    /// Starts nothing more of the partition; [`Action::Drained`] follows.
    pub fn drain(&mut self, partition: PartitionId) {
        if let Some(slot) = self.slot(partition) {
            self.partitions[slot as usize].draining = true;
            self.notices.push(partition);
        }
    }

    /// Asks the source to pause or to go on, when that changes; chains that wait for memory look again.
    #[cold]
    pub(crate) fn check_intake(&mut self, slot: u32) {
        let part = &mut self.partitions[slot as usize];
        if !part.assigned || part.draining || part.halted {
            return;
        }
        let reaches = part.reaches_share(&self.limits);
        part.full = reaches || (part.full && !part.has_space(&self.limits));
        // A record that failed before its lane's kept chain has its place only once what lies between has
        // come, and may fill the share alone. What comes is bounded by the source's own budget then.
        let full = part.full && part.displaced == 0;
        let pause = full || part.intake_held || part.starved == Starved::AtRest;
        if pause != part.paused {
            part.paused = pause;
            let id = part.id(slot);
            let action = if pause {
                Action::Pause(id)
            } else {
                Action::Resume(id)
            };
            self.outbox.push_back(action);
        }
        if part.may_load(&self.limits) {
            for id in core::mem::take(&mut part.unloaded) {
                if let Some(at) = self.lanes.find_id(id)
                    && let Some(chain) = self.lanes[at].chain_mut()
                {
                    chain.load = Load::None;
                    self.add_chore(at);
                }
            }
        }
    }

    /// The records that a ticket is about.
    pub fn records(&self, ticket: Ticket) -> impl ExactSizeIterator<Item = &R> + Clone {
        let (at, left) = self.lent(ticket);
        Lent {
            entries: &self.entries,
            at,
            left,
        }
    }

    /// First entry and number of what a ticket lends.
    fn lent(&self, ticket: Ticket) -> (u32, usize) {
        let Some(slot) = self.tickets.find(ticket) else {
            return (NIL, 0);
        };
        let out = self.tickets.get(slot);
        match out.kind {
            Kind::Try | Kind::Quarantined | Kind::Persist(_) | Kind::Publish => {
                (out.first, out.len as usize)
            }
            Kind::Free | Kind::Ghost | Kind::FadingGhost => (NIL, 0),
        }
    }

    /// The record behind the head that a ticket lends, in its chain, where loaded.
    pub fn chain_next(&self, ticket: Ticket) -> Option<&R> {
        let (at, left) = self.lent(ticket);
        if left != 1 || !self.entries[at].is(CHAIN) {
            return None;
        }
        let next = self.entries[at].lane_next;
        if next == NIL {
            None
        } else {
            self.entries[next].record()
        }
    }

    /// How far a chain is loaded; `None`: from its beginning.
    pub fn chain_loaded_to(&self, lane: LaneId) -> Option<&R::Position> {
        self.lanes[self.lanes.find_id(lane)?]
            .chain()?
            .loaded_to
            .as_ref()
    }

    /// A lane's key.
    pub fn lane_key(&self, lane: LaneId) -> Option<&[u8]> {
        self.lanes[self.lanes.find_id(lane)?].key(&self.entries)
    }

    /// Restored open positions that the source passed by.
    pub fn gone(&self, partition: PartitionId) -> impl Iterator<Item = &R::Position> {
        let gone = self
            .part(partition)
            .map_or(&[][..], |part| &part.window.gone);
        gone.iter().map(|&at| self.entries[at].position())
    }

    /// Records that are in the engine and not settled, in order.
    pub fn open(&self, partition: PartitionId) -> impl Iterator<Item = &R> {
        self.part(partition)
            .into_iter()
            .flat_map(|part| part.window.iter(&self.entries))
            .filter_map(|(_, entry)| entry.record())
    }

    /// How many open positions a checkpoint written now would list: those below the highest settled
    /// one, restored ones included. Looks at each of them.
    pub fn open_count(&self, partition: PartitionId) -> Option<u64> {
        let part = self.part(partition)?;
        let to = part.window.settled_to.as_ref();
        let open = part.window.iter(&self.entries);
        let open = open.take_while(|(_, entry)| Some(entry.position()) <= to);
        Some(open.count() as u64)
    }

    /// The settled prefix as of now, durable or not.
    pub fn settled(&self, partition: PartitionId) -> Option<Resume<R::Position>> {
        self.part(partition).map(|part| part.window.resume.clone())
    }

    /// Figures of a partition.
    pub fn figures(&self, partition: PartitionId) -> Option<Figures> {
        { self.part(partition) }.map(|part| part.figures(&self.limits))
    }

    /// How many lanes of a partition are stopped, and how many have a chain in the store. Looks at each
    /// lane that waits or stands.
    pub fn standing(&self, partition: PartitionId) -> (u32, u32) {
        let (mut stopped, mut parked) = (0, 0);
        let part = self.part(partition);
        for &at in part.iter().flat_map(|part| &part.asides) {
            match self.lanes[at].standing {
                Standing::Live => {}
                Standing::Stopped => {
                    let published = self.lanes[at].aside.as_ref().is_some_and(|a| a.verdict);
                    stopped += u32::from(!published);
                }
                Standing::Parked | Standing::Releasing | Standing::Draining => parked += 1,
            }
        }
        (stopped, parked)
    }

    /// Tries out, quarantined ones included.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Since when the target is sick.
    pub fn sick_since(&self) -> Option<Time> {
        self.health.sick_since()
    }

    /// Nothing is out, nothing waits and nothing can start without a fact: what is left stands in
    /// stopped or parked lanes or in held partitions.
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0
            && self.outbox.is_empty()
            && self.chores.is_empty()
            && self.partitions.iter().all(|part| {
                let may_go_on = part.waiting > 0 || !part.ready.is_empty();
                !part.assigned
                    || part.is_quiet()
                        && part.loads == 0
                        && part.unloaded.is_empty()
                        && !(part.is_open() && may_go_on)
            })
    }
}

/// The entries that a ticket lends.
struct Lent<'e, R: Item> {
    entries: &'e Entries<R>,
    at: u32,
    left: usize,
}

impl<R: Item> Clone for Lent<'_, R> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries,
            at: self.at,
            left: self.left,
        }
    }
}

impl<'e, R: Item> Iterator for Lent<'e, R> {
    type Item = &'e R;
    fn next(&mut self) -> Option<&'e R> {
        self.left = self.left.checked_sub(1)?;
        let entry: &Entry<R> = &self.entries[self.at];
        self.at = entry.lane_next;
        entry.record()
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<R: Item> ExactSizeIterator for Lent<'_, R> {}
