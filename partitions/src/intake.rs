//! Taking up partitions and records.

use crate::lane::{Chain, Front, Standing};
use crate::window::{Body, DETACHED, NAMED, NIL, Place, Window};
use crate::{Action, Engine, Held, Item, PartitionId, Pushed, Resume, Stops};
use alloc::vec::Vec;
use core::time::Duration;

/// What the store knows of a partition when it is taken up.
pub struct Assignment<'a, P> {
    /// Names (source, partition) over assignments: a try that still runs from an earlier assignment
    /// of the same identity keeps its slot, and its key's lane shut, until it is completed.
    pub identity: u64,
    /// Where the settled prefix ends.
    pub resume: Resume<P>,
    /// Highest settled position. What is neither in `open` nor behind it is settled.
    pub settled_to: Option<P>,
    /// Open positions up to `settled_to`, ascending.
    pub open: &'a mut dyn Iterator<Item = P>,
    /// Lanes that are stopped, parked or draining, with their keys.
    pub held: &'a mut dyn Iterator<Item = (&'a [u8], Held<P>)>,
}

impl<R: Item> Engine<R> {
    /// Takes up a partition.
    pub fn assign(&mut self, assignment: Assignment<'_, R::Position>) -> PartitionId {
        let Assignment {
            identity,
            resume,
            settled_to,
            open,
            held,
        } = assignment;
        let mut window = Window::new(resume, settled_to);
        window.restore(&mut self.entries, open);
        let slot = self.open_partition(identity, window);
        for (key, held) in held {
            self.restore_lane(slot, key, held);
        }
        let part = &mut self.partitions[slot as usize];
        part.unreached.sort_unstable_by(|one, other| other.cmp(one));
        self.set_barrier(slot);
        self.reach(slot);
        self.partitions[slot as usize].id(slot)
    }

    fn restore_lane(&mut self, slot: u32, key: &[u8], held: Held<R::Position>) {
        let at = self.lane_for(slot, key);
        let wide = self.limits.failure.stops == Stops::Partition;
        self.aside_for(at, key);
        let id = self.lanes.id(at);
        let lane = &mut self.lanes[at];
        let part = &mut self.partitions[slot as usize];
        let Some(aside) = &mut lane.aside else { return };
        match held {
            Held::Stopped { head, verdict } => {
                lane.standing = Standing::Stopped;
                aside.verdict = verdict;
                aside.bars = wide && !verdict;
                aside.head_at = Some(head.clone());
                part.unreached.push((head, id));
            }
            Held::Parked {
                head,
                tail,
                count,
                bytes,
                releasing,
                cut,
            } => {
                lane.standing = match (releasing, cut) {
                    (_, true) => Standing::Draining,
                    (true, false) => Standing::Releasing,
                    (false, false) => Standing::Parked,
                };
                aside.chain = Some(Chain::new(head.clone(), count, bytes));
                aside.chained = Some((head.clone(), tail.clone()));
                part.unreached.push((head, id));
                part.unreached.push((tail, id));
            }
        }
        self.go_on(at);
    }

    /// The source hands over a record; `attempts` are those that the checkpoint knows of it.
    pub fn push(&mut self, partition: PartitionId, record: R, attempts: u32) -> Pushed {
        self.push_after(partition, record, attempts, Duration::ZERO)
    }

    /// As [`Engine::push`], of a record that failed in another process: where it is the first of its lane,
    /// it is not tried before `delay` is over, whatever becomes of the target meanwhile.
    #[inline]
    pub fn push_after(
        &mut self,
        partition: PartitionId,
        record: R,
        attempts: u32,
        delay: Duration,
    ) -> Pushed {
        let slot = partition.0.slot();
        let Some(part) = self.partitions.get_mut(slot as usize) else {
            return Pushed::NotAssigned;
        };
        if !part.is_assigned_as(partition) {
            return Pushed::NotAssigned;
        }
        if part.halted {
            return Pushed::NotInOrder;
        }
        let position = record.position().clone();
        let restored = match part.window.place(&mut self.entries, &position) {
            Place::New => None,
            Place::Restored(at) => Some(at),
            Place::Settled => {
                self.seen(slot);
                return Pushed::AlreadySettled;
            }
            Place::Duplicate => return Pushed::Duplicate,
            Place::NotInOrder => {
                part.halted = true;
                return Pushed::NotInOrder;
            }
        };
        let hash = self.lanes.hash(part.identity, record.key());
        let known = self
            .lanes
            .find_for_record(&self.entries, (slot, hash), &record);
        let at = match known {
            Some(at) => at,
            None => self.lanes.insert(slot, hash),
        };
        let lane = &mut self.lanes[at];
        if lane.aside.is_some() {
            return self.push_aside(at, restored, record, attempts);
        }
        let entry = part.admit(&mut self.entries, at, restored, record, position, attempts);
        lane.append(&mut self.entries, entry);
        let was_idle = lane.front == Front::Idle;
        let is_crowded = !part.full && part.reaches_share(&self.limits);
        let is_catching_up = part.is_catching_up();
        if known.is_none() && !self.ghosts.is_empty() {
            self.haunt(at);
        }
        if is_crowded {
            self.check_intake(slot);
        }
        if was_idle {
            if delay.is_zero() {
                // Nothing came later.
                self.queue(at);
            } else {
                self.wait(at, Front::Waiting, delay);
                self.aside(at).rests = true;
            }
        }
        if is_catching_up {
            self.seen(slot);
        }
        Pushed::Accepted
    }

    /// Takes in a record of a lane that is held, parked, failed or was so.
    #[cold]
    fn push_aside(&mut self, at: u32, restored: Option<u32>, record: R, attempts: u32) -> Pushed {
        let lane = &mut self.lanes[at];
        let slot = lane.partition;
        let part = &mut self.partitions[slot as usize];
        if restored.is_none()
            && let Some(aside) = &lane.aside
            && let Some((from, tail)) = &aside.chained
            && (from..=tail).contains(&record.position())
        {
            let position = record.position().clone();
            part.window.settled_through(&mut self.entries, position);
            self.seen(slot);
            return Pushed::AlreadySettled;
        }
        let position = record.position().clone();
        let entry = part.admit(&mut self.entries, at, restored, record, position, attempts);
        lane.append(&mut self.entries, entry);
        if lane.standing != Standing::Live {
            self.detach(entry);
        }
        let part = &self.partitions[slot as usize];
        if !part.full && part.reaches_share(&self.limits) {
            self.check_intake(slot);
        }
        self.go_on(at);
        // Arrivals join the chain also while a record of it runs or waits.
        self.add_chore(at);
        self.seen(slot);
        Pushed::Accepted
    }

    /// Nothing up to and with `through` will come any more, but what was pushed.
    pub fn passed_over(&mut self, partition: PartitionId, through: R::Position) {
        if let Some(slot) = self.slot(partition) {
            let part = &mut self.partitions[slot as usize];
            part.window.passed_over(&mut self.entries, through);
            self.seen(slot);
        }
    }

    /// The source moved on: tells what it passed by, and looks at lanes that waited for it.
    #[cold]
    fn seen(&mut self, slot: u32) {
        let part = &mut self.partitions[slot as usize];
        if part.window.take_news_of_gone() && !part.gone_queued {
            part.gone_queued = true;
            self.outbox.push_back(Action::Gone(part.id(slot)));
        }
        if !part.unreached.is_empty() {
            self.reach(slot);
        }
    }

    fn reach(&mut self, slot: u32) {
        loop {
            let part = &mut self.partitions[slot as usize];
            let Some((position, id)) = part.unreached.last() else {
                return;
            };
            if !part.window.reached(&self.entries, position) {
                return;
            }
            let found = self.lanes.find_id(*id);
            part.unreached.pop();
            if let Some(at) = found {
                self.go_on(at);
            }
        }
    }

    /// A copy of a stopped head that is gone: it is in its lane again, as if it had come. `false`: no
    /// lane is stopped at its position, or the position is not gone. `attempts`: so often it has failed since
    /// the decision on it that is to be acted on.
    pub fn recover(&mut self, partition: PartitionId, record: R, attempts: u32) -> bool {
        let Some(slot) = self.slot(partition) else {
            return false;
        };
        let part = &self.partitions[slot as usize];
        let hash = self.lanes.hash(part.identity, record.key());
        let known = self.lanes.find(&self.entries, (slot, hash), record.key());
        let stopped = known.filter(|&lane| {
            let head = self.lanes[lane].aside.as_ref().map(|aside| &aside.head_at);
            self.lanes[lane].standing == Standing::Stopped
                && head.is_some_and(|head| head.as_ref() == Some(record.position()))
        });
        let gone = &part.window.gone;
        let index = gone
            .iter()
            .position(|&at| self.entries[at].position() == record.position());
        let (Some(lane), Some(index)) = (stopped, index) else {
            return false;
        };
        let at = gone[index];
        if self.entries[at].is(NAMED) {
            return false;
        }
        let part = &mut self.partitions[slot as usize];
        part.window.gone.remove(index);
        part.buffered += 1;
        part.bytes += u64::from(record.weight());
        self.entries[at].body = Body::Record(record);
        self.aside(lane).tried_since = attempts;
        self.lanes.join(&mut self.entries, lane, at);
        self.detach(at);
        self.check_intake(slot);
        self.go_on(lane);
        true
    }

    /// The gone positions are settled.
    pub fn settle_gone(&mut self, partition: PartitionId) {
        let Some(slot) = self.slot(partition) else {
            return;
        };
        let part = &mut self.partitions[slot as usize];
        let gone = core::mem::take(&mut part.window.gone);
        for at in gone {
            if self.entries[at].is(NAMED) {
                part.window.gone.push(at);
            } else {
                part.window.settle(&mut self.entries, at);
                self.entries.remove(at);
            }
        }
        let lanes: Vec<u32> = part.asides.iter().copied().collect();
        for lane in lanes {
            if self.lanes[lane].standing == Standing::Stopped {
                self.go_on(lane);
            }
        }
    }

    /// The lane of a key, a new one if need be.
    fn lane_for(&mut self, slot: u32, key: &[u8]) -> u32 {
        let hash = self
            .lanes
            .hash(self.partitions[slot as usize].identity, key);
        match self.lanes.find(&self.entries, (slot, hash), key) {
            Some(at) => at,
            None => {
                let at = self.lanes.insert(slot, hash);
                self.lanes[at].haunted = self.is_haunted(slot, hash, key);
                at
            }
        }
    }

    /// A new lane stays shut while a try of an earlier assignment may still run a record of its key.
    #[cold]
    fn haunt(&mut self, at: u32) {
        let lane = &self.lanes[at];
        let key = lane.key(&self.entries).unwrap_or_default();
        let is_haunted = self.is_haunted(lane.partition, lane.hash, key);
        self.lanes[at].haunted = is_haunted;
    }

    /// The record will stay long: it owns its bytes from now on, or once there is memory for that.
    pub(crate) fn detach(&mut self, at: u32) {
        let entry = &mut self.entries[at];
        let (lane, before) = (entry.lane, entry.weight());
        if let Body::Record(record) = &mut entry.body
            && entry.flags & DETACHED == 0
        {
            let owns = record.detach();
            if owns {
                entry.flags |= DETACHED;
            }
            let after = entry.weight();
            let part = self.part_of(lane);
            part.bytes = part.bytes - before + after;
            part.pinned |= !owns;
        }
    }

    /// The record that the lane's next step is about will stay long.
    pub(crate) fn detach_front(&mut self, lane: u32) {
        let at = self.front_of(lane);
        self.detach(at);
    }

    /// All that is queued in the lane will stay long.
    pub(crate) fn detach_all(&mut self, lane: u32) {
        let mut at = self.lanes[lane].head;
        while at != NIL {
            self.detach(at);
            at = self.entries[at].lane_next;
        }
    }

    /// Records that will stay long and found no memory of their own are asked again: what one of them
    /// pins may be a whole batch.
    pub(crate) fn detach_pinned(&mut self, slot: u32) {
        if !core::mem::take(&mut self.partitions[slot as usize].pinned) {
            return;
        }
        let pinned = self.pinned(slot);
        let mut records = Vec::with_capacity(pinned.len());
        for &at in &pinned {
            let body = core::mem::replace(&mut self.entries[at].body, Body::Absent(None));
            if let Body::Record(record) = body {
                records.push(record);
            }
        }
        R::share_out(&mut records);
        for (&at, record) in pinned.iter().zip(records) {
            self.entries[at].body = Body::Record(record);
        }
        for at in pinned {
            self.detach(at);
        }
    }

    /// Entries of records that will stay long and do not own their bytes.
    fn pinned(&self, slot: u32) -> Vec<u32> {
        let mut pinned = Vec::new();
        for &lane in &self.partitions[slot as usize].asides {
            let lane = &self.lanes[lane];
            let mut left = match lane.standing {
                Standing::Live => u32::from(lane.front == Front::Waiting),
                Standing::Stopped | Standing::Parked | Standing::Releasing | Standing::Draining => {
                    u32::MAX
                }
            };
            let mut at = lane.head;
            while at != NIL && left > 0 {
                let entry = &self.entries[at];
                if entry.record().is_some() && !entry.is(DETACHED) {
                    pinned.push(at);
                }
                at = entry.lane_next;
                left -= 1;
            }
        }
        pinned
    }

    /// The lane's next step is open again.
    #[inline]
    pub(crate) fn reopen_front(&mut self, lane: u32) {
        self.lanes[lane].front = Front::Idle;
        self.go_on(lane);
    }
}
