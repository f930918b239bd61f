//! Timers: lanes in backoff or quarantine, and ghosts in quarantine. Only failures set one.

use crate::{
    Engine, Item, LaneId, PartitionId, Ticket, Time, Wake, lane::Front, ticket::Kind, window::NIL,
};
use alloc::collections::BinaryHeap;
use core::{cmp::Reverse, time::Duration};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    Lane(LaneId),
    Ghost(Ticket),
}

/// A lane's timer counts only while the lane waits until exactly its time, so nothing is ever
/// searched for and removed.
pub(crate) type Timers = BinaryHeap<Reverse<(Time, Due)>>;

impl<R: Item> Engine<R> {
    /// Time, once a turn. Time that goes backwards is ignored.
    pub fn advance(&mut self, now: Time) {
        if now > self.now {
            self.now = now;
        }
        while let Some(&Reverse((at, due))) = self.timers.peek()
            && at <= self.now
        {
            self.timers.pop();
            if self.counts(at, due).is_some() {
                self.expire(due);
            }
        }
    }

    /// When to poll again even if no fact comes.
    pub fn wake_at(&self) -> Option<(Time, Wake)> {
        let timer = self
            .timers
            .peek()
            .map(|&Reverse((at, due))| (at, self.counts(at, due).unwrap_or(Wake::Backoff)));
        let probe = (self.health.sick_since().is_some()
            && self.in_flight == 0
            && self.health.probe_at > self.now
            && self.partitions.iter().any(|part| {
                part.may_start(&self.limits) && (part.waiting > 0 || !part.ready.is_empty())
            }))
        .then_some((self.health.probe_at, Wake::Probe));
        match (timer, probe) {
            (Some(timer), Some(probe)) => Some(if probe.0 < timer.0 { probe } else { timer }),
            (timer, probe) => timer.or(probe),
        }
    }

    /// Records of a partition that wait for their next try, and until when. Looks at each lane that waits
    /// or stands.
    pub fn waits(&self, partition: PartitionId) -> impl Iterator<Item = (&R::Position, Time)> {
        let asides = self
            .part(partition)
            .into_iter()
            .flat_map(|part| &part.asides);
        asides.filter_map(|&at| {
            let lane = &self.lanes[at];
            let until = lane.aside.as_ref()?.until;
            let front = self.front_of(at);
            (lane.front == Front::Waiting && front != NIL)
                .then(|| (self.entries[front].position(), until))
        })
    }

    /// Why a timer counts, if it still does.
    fn counts(&self, at: Time, due: Due) -> Option<Wake> {
        match due {
            Due::Ghost(ticket) => self.tickets.find(ticket).map(|_| Wake::Quarantine),
            Due::Lane(id) => {
                let lane = &self.lanes[self.lanes.find_id(id)?];
                if lane.aside.as_ref()?.until != at {
                    return None;
                }
                match lane.front {
                    Front::Waiting | Front::Displaced | Front::Failed | Front::Republishing => {
                        Some(Wake::Backoff)
                    }
                    Front::Quarantined => Some(Wake::Quarantine),
                    Front::Idle
                    | Front::Ready
                    | Front::Cautious
                    | Front::Trying
                    | Front::Shut
                    | Front::Publishing => None,
                }
            }
        }
    }

    /// Drops timers that no longer count, so that nobody is woken for them.
    pub(crate) fn purge_timers(&mut self) {
        while let Some(&Reverse((at, due))) = self.timers.peek()
            && self.counts(at, due).is_none()
        {
            self.timers.pop();
        }
    }

    fn expire(&mut self, due: Due) {
        match due {
            Due::Ghost(ticket) => self.end_ghost(ticket.0.slot()),
            Due::Lane(id) if self.lanes[id.0.slot()].front == Front::Quarantined => {
                self.answered(self.lanes[id.0.slot()].ticket);
            }
            Due::Lane(id) => self.end_wait(id.0.slot()),
        }
    }

    /// The lane goes on after its backoff.
    pub(crate) fn end_wait(&mut self, lane: u32) {
        let slot = self.lanes[lane].partition;
        let part = &mut self.partitions[slot as usize];
        let draining = part.draining;
        part.waiting -= 1;
        let front = core::mem::replace(&mut self.lanes[lane].front, Front::Idle);
        if let Some(aside) = &mut self.lanes[lane].aside {
            aside.rests = false;
        }
        part.displaced -= u32::from(front == Front::Displaced);
        if !matches!(front, Front::Displaced | Front::Failed) {
            self.go_on(lane);
        } else if !draining {
            self.fail(lane);
        }
        if front == Front::Displaced {
            self.check_intake(slot);
        }
    }

    /// The lane goes on no earlier than after `delay`.
    pub(crate) fn wait(&mut self, lane: u32, front: Front, delay: Duration) {
        self.detach_front(lane);
        self.set_timer(lane, delay);
        self.lanes[lane].front = front;
        let slot = self.lanes[lane].partition;
        let part = &mut self.partitions[slot as usize];
        part.waiting += 1;
        if front == Front::Displaced {
            part.displaced += 1;
            self.check_intake(slot);
        }
        if delay.is_zero() {
            self.end_wait(lane);
        }
    }

    pub(crate) fn set_timer(&mut self, lane: u32, delay: Duration) {
        let at = self.after(delay);
        self.aside(lane).until = at;
        if !delay.is_zero() {
            self.timers
                .push(Reverse((at, Due::Lane(self.lanes.id(lane)))));
        }
    }

    pub(crate) fn after(&self, delay: Duration) -> Time {
        Time(self.now.0.saturating_add(delay))
    }

    /// A sick target may be probed and no lane is ready: the lane that would be next is taken early.
    pub(crate) fn rouse(&mut self) {
        let next = self
            .timers
            .iter()
            .filter_map(|&Reverse((at, due))| match due {
                Due::Lane(id) => {
                    self.counts(at, due)?;
                    let lane = &self.lanes[id.0.slot()];
                    let rests = lane.aside.as_ref().is_some_and(|aside| aside.rests);
                    (lane.front == Front::Waiting
                        && !rests
                        && self.partitions[lane.partition as usize].may_start(&self.limits))
                    .then_some((at, id))
                }
                Due::Ghost(_) => None,
            })
            .min();
        if let Some((_, id)) = next {
            self.end_wait(id.0.slot());
        }
    }

    /// A revoked try ended; unless it may still be running, its slot and its key are free.
    pub(crate) fn complete_ghost(&mut self, slot: u32, quarantine: Duration) {
        if quarantine.is_zero() {
            self.end_ghost(slot);
        } else {
            self.tickets.get_mut(slot).kind = Kind::FadingGhost;
            let due = Due::Ghost(self.tickets.name(slot));
            self.timers.push(Reverse((self.after(quarantine), due)));
        }
    }
}
