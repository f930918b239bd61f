//! What starts next: a ring of partitions, in each a queue of ready lanes.

use crate::lane::{Front, Standing};
use crate::ticket::Kind;
use crate::window::{ANNOUNCED, CHAIN, NIL, SINGLE};
use crate::{Action, Engine, Item};

impl<R: Item> Engine<R> {
    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        loop {
            if !self.outbox.is_empty() || !self.chores.is_empty() {
                if let Some(action) = self.next_queued() {
                    return Some(action);
                }
                continue;
            }
            if let Some(start) = self.start_next() {
                return Some(start);
            }
            if !self.look_around() {
                return None;
            }
        }
    }

    /// What is to be said; or else a chore is done.
    #[inline(never)]
    fn next_queued(&mut self) -> Option<Action> {
        let action = self.outbox.pop_front();
        if let Some(Action::Gone(partition)) = action {
            self.partitions[partition.0.slot() as usize].gone_queued = false;
        }
        if action.is_none()
            && let Some(lane) = self.chores.pop_front()
        {
            self.chore(lane);
        }
        action
    }

    /// Nothing can start: `true` if there is something to say of that.
    #[inline(never)]
    fn look_around(&mut self) -> bool {
        if self.caution.is_busy() && self.announce_next() {
            return true;
        }
        self.tell();
        self.pause_starved();
        let quiet = self.outbox.is_empty() && self.chores.is_empty();
        if quiet {
            self.purge_timers();
        }
        !quiet
    }

    #[inline(always)]
    fn start_next(&mut self) -> Option<Action> {
        if self.in_flight >= self.limits.cap {
            return None;
        }
        if self.health.sick_since().is_none() {
            self.start_ready()
        } else {
            self.probe()
        }
    }

    /// The target is sick: one try at a time, and not before it is time for one.
    #[cold]
    fn probe(&mut self) -> Option<Action> {
        if self.in_flight > 0 || self.now < self.health.probe_at {
            return None;
        }
        self.start_ready().or_else(|| {
            self.rouse();
            self.start_ready()
        })
    }

    /// One lane of the partition whose turn it is; then it is the next partition's.
    #[inline(always)]
    fn start_ready(&mut self) -> Option<Action> {
        if self.caution.is_busy()
            && let Ok(alone) = self.start_alone()
        {
            return alone;
        }
        while let Some(&slot) = self.ring.front() {
            let part = &mut self.partitions[slot as usize];
            if part.may_start(&self.limits)
                && let Some(lane) = part.ready.pop()
            {
                let start = self.start(slot, lane);
                if start.is_some() {
                    if self.ring.len() > 1 {
                        self.ring.rotate_left(1);
                    }
                    return start;
                }
            } else {
                part.in_ring = false;
                self.ring.pop_front();
            }
        }
        None
    }

    /// Starts the lane's next run, unless a stopped head of the partition is before it.
    #[inline(always)]
    pub(crate) fn start(&mut self, slot: u32, lane: u32) -> Option<Action> {
        let first = self.front_of(lane);
        if self.partitions[slot as usize].barrier.is_some() && self.is_barred(slot, first) {
            self.lanes[lane].front = Front::Idle;
            self.unannounce(lane, first, false);
            return None;
        }
        if self.partitions[slot as usize].careful.is_some()
            && !self.may_start_carefully(slot, lane, first)
        {
            return None;
        }
        let attempt = self.entries[first].attempts.saturating_add(1);
        let len = if self.limits.run_max <= 1 {
            1
        } else {
            self.run_length(slot, lane, first)
        };
        let ticket = self.tickets.issue(Kind::Try, (slot, lane), (first, len));
        let part = &mut self.partitions[slot as usize];
        part.tries += 1;
        part.records_out += u64::from(len);
        self.in_flight += 1;
        let lane = &mut self.lanes[lane];
        lane.front = Front::Trying;
        lane.ticket = ticket.0.slot();
        Some(Action::Start {
            ticket,
            partition: part.id(slot),
            attempt,
        })
    }

    /// Whether a stopped head of the partition is at or before this entry.
    #[cold]
    fn is_barred(&self, slot: u32, entry: u32) -> bool {
        let barrier = &self.partitions[slot as usize].barrier;
        barrier
            .as_ref()
            .is_some_and(|barrier| self.entries[entry].position() >= barrier)
    }

    /// How many records go into the run that begins with `first`.
    #[inline(never)]
    fn run_length(&self, slot: u32, lane: u32, first: u32) -> u32 {
        if self.entries[first].is(SINGLE | ANNOUNCED) {
            return 1;
        }
        let part = &self.partitions[slot as usize];
        let most = part.room(&self.limits).min(u64::from(self.limits.run_max));
        let head = self.held_from(lane, first);
        let dark = self.dark_end(lane, first);
        let mut len = 1;
        let mut at = self.entries[first].lane_next;
        while u64::from(len) < most && at != NIL {
            let entry = &self.entries[at];
            let held = head.is_some_and(|head| entry.position() >= head)
                || part.barrier.is_some() && self.is_barred(slot, at);
            if held || at == dark || entry.is(SINGLE) {
                break;
            }
            len += 1;
            at = entry.lane_next;
        }
        len
    }

    /// The last loaded record of the lane's chain, while it may not run.
    fn dark_end(&self, lane: u32, first: u32) -> u32 {
        match self.lanes[lane].chain() {
            Some(chain) if self.entries[first].is(CHAIN) && chain.ends_in_the_dark() => chain.last,
            Some(_) | None => NIL,
        }
    }

    /// Where the records end that may run before a stopped head or a chain of their lane.
    fn held_from(&self, lane: u32, first: u32) -> Option<&R::Position> {
        let lane = &self.lanes[lane];
        let aside = lane.aside.as_ref()?;
        match lane.standing {
            Standing::Live => None,
            Standing::Stopped => aside.head_at.as_ref(),
            Standing::Parked | Standing::Releasing | Standing::Draining => {
                let chain = aside.chain.as_ref()?;
                (first != chain.first).then_some(&chain.from)
            }
        }
    }

    /// The record that the lane's next step is about: before a chain runs what is before it.
    #[inline]
    pub(crate) fn front_of(&self, at: u32) -> u32 {
        let lane = &self.lanes[at];
        if lane.aside.is_none() {
            lane.head
        } else {
            self.front_aside(at)
        }
    }

    #[cold]
    fn front_aside(&self, at: u32) -> u32 {
        let lane = &self.lanes[at];
        match lane.chain() {
            Some(chain) if lane.is_chained() && !self.runs_before(at) => chain.first,
            Some(_) | None => lane.head,
        }
    }

    /// Whether the lane's next record is before its stopped head or its chain.
    pub(crate) fn runs_before(&self, at: u32) -> bool {
        let lane = &self.lanes[at];
        let Some(aside) = &lane.aside else {
            return false;
        };
        let held = if lane.is_chained() {
            aside.chain.as_ref().map(|chain| &chain.from)
        } else {
            aside.head_at.as_ref()
        };
        lane.head != NIL && held.is_some_and(|held| self.entries[lane.head].position() < held)
    }

    /// Finds the next step of a lane whose last one is over; frees the lane when there is none.
    pub(crate) fn go_on(&mut self, at: u32) {
        let lane = &self.lanes[at];
        if lane.front != Front::Idle {
            return;
        }
        if lane.aside.is_some() {
            self.go_on_aside(at);
        } else if lane.head == NIL {
            self.lanes.remove(at);
        } else {
            self.make_ready(at);
        }
    }

    #[cold]
    fn go_on_aside(&mut self, at: u32) {
        match self.lanes[at].standing {
            Standing::Live => {
                self.tidy(at);
                let lane = &self.lanes[at];
                if lane.head != NIL {
                    self.make_ready(at);
                } else if lane.aside.is_none() {
                    self.lanes.remove(at);
                }
            }
            Standing::Stopped => {
                if self.runs_before(at) {
                    self.make_ready(at);
                } else {
                    self.go_on_stopped(at);
                }
            }
            Standing::Parked | Standing::Releasing | Standing::Draining => {
                if self.runs_before(at) || self.chain_may_run(at) {
                    self.make_ready(at);
                }
                self.add_chore(at);
            }
        }
    }

    /// The lane waits for its turn, which may come early if its record came before that of another
    /// lane that waits. One that failed, stands or did so takes turns with all others: else a target
    /// that is out would be asked by the oldest record again and again, until that fails for good.
    #[inline]
    pub(crate) fn make_ready(&mut self, at: u32) {
        let lane = &self.lanes[at];
        let (slot, front) = (lane.partition, lane.head);
        let last = self.partitions[slot as usize].ready.last();
        let last = last.filter(|_| lane.aside.is_none() && !lane.haunted);
        let is_early = last.is_some_and(|last| {
            let last = self.front_of(last);
            self.entries[front].settled_after < self.entries[last].settled_after
        });
        if !is_early {
            return self.queue(at);
        }
        self.lanes[at].front = Front::Ready;
        let ready = &mut self.partitions[slot as usize].ready;
        ready.push_early(at, &self.entries[front].settled_after);
        self.join_ring(slot);
    }

    /// The lane waits for its turn, behind all others.
    #[inline]
    pub(crate) fn queue(&mut self, at: u32) {
        let lane = &mut self.lanes[at];
        if lane.haunted {
            return;
        }
        lane.front = Front::Ready;
        let slot = lane.partition;
        self.partitions[slot as usize].ready.push(at);
        self.join_ring(slot);
    }

    /// Puts the partition into the ring if it has anything to start.
    #[inline]
    pub(crate) fn join_ring(&mut self, slot: u32) {
        let part = &mut self.partitions[slot as usize];
        if !part.in_ring && !part.ready.is_empty() && part.may_start(&self.limits) {
            part.in_ring = true;
            self.ring.push_back(slot);
        }
    }

    /// Gives back what was set aside once the lane is like any other.
    fn tidy(&mut self, at: u32) {
        let lane = &mut self.lanes[at];
        let part = &mut self.partitions[lane.partition as usize];
        let Some(aside) = &mut lane.aside else { return };
        if let Some((_, tail)) = &aside.chained
            && part.window.reached(&self.entries, tail)
        {
            aside.chained = None;
        }
        if lane.persist == NIL
            && aside.wanted.is_none()
            && aside.target_failures == 0
            && aside.chained.is_none()
        {
            lane.aside = None;
            part.asides.remove(&at);
        }
    }

    /// Tells of what was waiting for its partition to be quiet.
    fn tell(&mut self) {
        let mut notices = core::mem::take(&mut self.notices);
        notices.retain(|&id| {
            let Some(slot) = self.slot(id) else {
                return false;
            };
            let part = &mut self.partitions[slot as usize];
            if !part.is_quiet() {
                return true;
            }
            for lane in part.stops.drain(..) {
                let stands = self
                    .lanes
                    .find_id(lane)
                    .is_some_and(|at| self.lanes[at].standing == Standing::Stopped);
                if stands {
                    self.outbox.push_back(Action::Stopped {
                        lane,
                        partition: id,
                    });
                }
            }
            if part.draining && !part.drained {
                part.drained = true;
                self.outbox.push_back(Action::Drained(id));
            }
            part.draining && !part.drained
        });
        self.notices = notices;
    }
}
