//! Taking up partitions and records.

use crate::lane::{Chain, Front, Standing};
use crate::window::{Body, DETACHED, Entry, NAMED, NIL, Place, Window};
use crate::{Action, Engine, Held, Item, PartitionId, Pushed, Resume, Stops};
use alloc::vec::Vec;

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
        let Some(slot) = self.slot(partition) else {
            return Pushed::NotAssigned;
        };
        let part = &mut self.partitions[slot as usize];
        if part.halted {
            return Pushed::NotInOrder;
        }
        let pushed = match part.window.place(&mut self.entries, record.position()) {
            Place::Settled => Pushed::AlreadySettled,
            Place::New => self.take(slot, None, record, attempts),
            Place::Restored(at) => self.take(slot, Some(at), record, attempts),
            Place::Duplicate => return Pushed::Duplicate,
            Place::NotInOrder => {
                part.halted = true;
                return Pushed::NotInOrder;
            }
        };
        self.seen(slot);
        pushed
    }

    /// Takes in a record, into the place that a checkpoint kept for it or behind all others.
    fn take(&mut self, slot: u32, restored: Option<u32>, record: R, attempts: u32) -> Pushed {
        let part = &mut self.partitions[slot as usize];
        let hash = self.lanes.hash(part.identity, record.key());
        let known = self.lanes.find(&self.entries, (slot, hash), record.key());
        if let (Some(lane), None) = (known, restored)
            && let Some(aside) = &self.lanes[lane].aside
            && let Some((from, tail)) = &aside.chained
            && (from..=tail).contains(&record.position())
        {
            part.window
                .settled_through(&mut self.entries, record.position().clone());
            return Pushed::AlreadySettled;
        }
        let lane = match known {
            Some(lane) => lane,
            None => self.insert_lane(slot, hash, record.key()),
        };
        let part = &mut self.partitions[slot as usize];
        part.buffered += 1;
        part.bytes += u64::from(record.weight());
        let at = match restored {
            Some(at) => {
                self.entries[at].body = Body::Record(record);
                at
            }
            None => {
                let at = self.entries.insert(Entry::new(Body::Record(record)));
                part.window.link(&mut self.entries, at);
                at
            }
        };
        let part = &mut self.partitions[slot as usize];
        let attempts = match &part.careful {
            Some(careful) => careful
                .attempts_of(self.entries[at].position())
                .unwrap_or(attempts),
            None => attempts,
        };
        if attempts > 0 {
            self.entries[at].attempts = attempts;
            part.tried.insert(at);
        }
        self.lanes.append(&mut self.entries, lane, at);
        if self.lanes[lane].standing != Standing::Live {
            self.detach(at);
        }
        let part = &self.partitions[slot as usize];
        if !part.full && part.reaches_share(&self.limits) {
            self.check_intake(slot);
        }
        self.go_on(lane);
        // Arrivals join the chain also while a record of it runs or waits.
        self.add_chore(lane);
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
    /// lane is stopped at its position, or the position is not gone.
    pub fn recover(&mut self, partition: PartitionId, record: R) -> bool {
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
            None => self.insert_lane(slot, hash, key),
        }
    }

    fn insert_lane(&mut self, slot: u32, hash: u32, key: &[u8]) -> u32 {
        let at = self.lanes.insert(slot, hash);
        if !self.ghosts.is_empty() {
            self.lanes[at].haunted = self.is_haunted(slot, hash, key);
        }
        at
    }

    /// The record will stay long: it owns its bytes from now on.
    pub(crate) fn detach(&mut self, at: u32) {
        let entry = &mut self.entries[at];
        let (lane, before) = (entry.lane, entry.weight());
        if let Body::Record(record) = &mut entry.body
            && entry.flags & DETACHED == 0
        {
            record.detach();
            entry.flags |= DETACHED;
            let after = entry.weight();
            let part = self.part_of(lane);
            part.bytes = part.bytes - before + after;
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

    /// The lane's next step is open again.
    pub(crate) fn reopen_front(&mut self, lane: u32) {
        self.lanes[lane].front = Front::Idle;
        self.go_on(lane);
    }
}
