//! What an answer does to its lane.

use crate::lane::{Aside, Front, Standing};
use crate::ticket::Kind;
use crate::window::{ANNOUNCED, CHAIN, NIL, SINGLE};
use crate::{Answer, Change, Engine, Item, Rest, Stops, Then, Ticket, zoo::Bug};
use alloc::boxed::Box;
use core::time::Duration;

/// How often a record that failed before its chain looks whether it may join its front.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl<R: Item> Engine<R> {
    /// A try ended.
    pub fn complete(&mut self, ticket: Ticket, answer: Answer) {
        let answer = self.misread(answer);
        let Some(slot) = self.tickets.find(ticket) else {
            return;
        };
        let out = self.tickets.get(slot);
        // A death would now say nothing of it.
        if out.kind == Kind::Try && self.entries[out.first].is(ANNOUNCED) {
            let (lane, first) = (out.lane, out.first);
            self.unannounce(lane, first, true);
        }
        let out = self.tickets.get(slot);
        let all = answer.done >= out.len && !answer.with_effects && answer.quarantine.is_zero();
        if all && out.kind == Kind::Try {
            self.health.answered();
            self.complete_all(slot);
        } else {
            self.complete_some(slot, &answer);
        }
    }

    /// The main path: the run is done and nothing has to be durable first.
    #[inline]
    fn complete_all(&mut self, ticket: u32) {
        let out = self.tickets.get(ticket);
        let (slot, at, mut next, len) = (out.partition, out.lane, out.first, out.len);
        self.tickets.free(ticket);
        if self.lanes[at].aside.is_some() {
            self.pass_aside(at, len);
        }
        let lane = &mut self.lanes[at];
        let part = &mut self.partitions[slot as usize];
        if lane.aside.is_none() {
            // The run began with the lane's head.
            for _ in 0..len {
                let entry = next;
                next = self.entries[entry].lane_next;
                part.settle(&mut self.entries, entry);
                self.entries.remove(entry);
            }
            lane.head = next;
        }
        lane.ticket = NIL;
        lane.front = Front::Idle;
        part.tries -= 1;
        part.records_out -= u64::from(len);
        part.unflushed += u64::from(len);
        self.in_flight -= 1;
        if part.wants_memory() {
            self.check_intake(slot);
        }
        self.join_ring(slot);
        self.go_on(at);
    }

    #[cold]
    fn pass_aside(&mut self, lane: u32, records: u32) {
        for _ in 0..records {
            self.pass(lane, false);
        }
        self.calm(lane);
    }

    /// A try ended: not all of its run is done, or what is done counts later, or its partition is gone.
    #[inline(never)]
    fn complete_some(&mut self, slot: u32, answer: &Answer) {
        let kind = self.tickets.get(slot).kind;
        if kind == Kind::Try {
            self.judge_target(slot, answer);
            self.complete_try(slot, answer);
        } else if kind == Kind::Ghost {
            self.judge_target(slot, answer);
            self.complete_ghost(slot, answer.quarantine);
        } else {
            debug_assert!(false, "a try was completed twice");
        }
    }

    /// A try ended, and its lane may not just go on.
    fn complete_try(&mut self, slot: u32, answer: &Answer) {
        let out = self.tickets.get(slot);
        let (lane, len) = (out.lane, out.len);
        let done = answer.done.min(len);
        let behind = len - done;
        if !answer.with_effects {
            for _ in 0..done {
                self.pass(lane, false);
            }
            let part = self.part_of(lane);
            part.records_out -= u64::from(done);
            part.unflushed += u64::from(done);
        }
        if done > 0 {
            self.calm(lane);
        }
        let effects = if answer.with_effects { done } else { 0 };
        let first = if behind + effects == 0 {
            NIL
        } else {
            self.front_of(lane)
        };
        let out = self.tickets.get_mut(slot);
        out.first = first;
        out.len = effects;
        out.behind = behind;
        out.rest = match answer.rest {
            _ if behind == 0 => Rest::Nothing,
            Rest::Nothing => Rest::Untried,
            Rest::Unattributed if behind == 1 => Rest::Retry {
                after: Duration::ZERO,
            },
            rest @ (Rest::Retry { .. }
            | Rest::Reject
            | Rest::Unattributed
            | Rest::Untried
            | Rest::Target { .. }) => rest,
        };
        if answer.quarantine.is_zero() {
            self.answered(slot);
        } else {
            out.kind = Kind::Quarantined;
            self.set_timer(lane, answer.quarantine);
            self.lanes[lane].front = Front::Quarantined;
        }
    }

    /// The try is over, also at the remote: its slot is free.
    pub(crate) fn answered(&mut self, slot: u32) {
        let out = *self.tickets.get(slot);
        let waits = matches!(out.rest, Rest::Retry { .. });
        if !(waits && self.has(Bug::WaitingKeepsSlot)) {
            self.in_flight -= 1;
        }
        let part = self.part_of(out.lane);
        part.tries -= 1;
        part.records_out -= u64::from(out.behind);
        if out.len > 0 {
            self.tickets.get_mut(slot).kind = Kind::Persist(Change::Effects);
            self.want(out.lane, Change::Effects);
        } else {
            self.tickets.end(slot);
            self.lanes[out.lane].ticket = NIL;
            self.act_on(out.lane, out.rest, out.behind);
        }
        self.join_ring(out.partition);
    }

    /// Does what follows for the lane's next record, with `behind` records of its run from it on.
    pub(crate) fn act_on(&mut self, lane: u32, rest: Rest, behind: u32) {
        self.lanes[lane].front = Front::Idle;
        match rest {
            Rest::Nothing | Rest::Untried => self.go_on(lane),
            Rest::Retry { after } => {
                self.calm(lane);
                let attempts = self.count_attempt(lane);
                let rules = &self.limits.failure;
                if attempts >= rules.attempts_max {
                    self.fail(lane);
                } else {
                    let delay = self.jitter.backoff(rules, attempts, after);
                    self.wait(lane, Front::Waiting, delay);
                }
            }
            Rest::Reject => {
                self.calm(lane);
                self.count_attempt(lane);
                self.fail(lane);
            }
            Rest::Unattributed => {
                self.calm(lane);
                let mut at = self.front_of(lane);
                for _ in 0..behind {
                    self.entries[at].flags |= SINGLE;
                    at = self.entries[at].lane_next;
                }
                self.go_on(lane);
            }
            Rest::Target { after } => {
                let aside = self.aside(lane);
                aside.target_failures = aside.target_failures.saturating_add(1);
                let failures = u32::from(aside.target_failures);
                let delay = self.jitter.backoff(&self.limits.failure, failures, after);
                self.wait(lane, Front::Waiting, delay);
            }
        }
    }

    /// The lane's next record failed for good.
    pub(crate) fn fail(&mut self, at: u32) {
        let rules = &self.limits.failure;
        let lane = &self.lanes[at];
        let change = match rules.then {
            // The lane's item is that of a chain, and a chain cannot stop.
            _ if lane.is_chained() => Change::Park,
            Then::Stop => Change::Stop,
            // The item names a stopped head behind this record; it may not be forgotten for it.
            Then::DeadLetter if lane.standing == Standing::Stopped => Change::Stop,
            Then::Park => Change::Park,
            Then::DeadLetter => Change::Verdict,
        };
        if lane.is_chained() && self.runs_before(at) && self.may_join_front(at).is_none() {
            // It would join its chain before records that are not in it: what lies between has to come
            // along, and is not all here.
            return self.wait(at, Front::Displaced, LOOK_AGAIN);
        }
        if self.has(Bug::FailedOvertaken) && !self.lanes[at].is_chained() {
            self.unqueue_head(at);
            return self.go_on(at);
        }
        let wide = change == Change::Stop
            && rules.stops == Stops::Partition
            && !self.has(Bug::BarrierIgnored);
        self.detach_front(at);
        let head = self.entries[self.front_of(at)].position().clone();
        let aside = self.aside(at);
        aside.head_at = Some(head);
        aside.bars |= wide;
        self.want(at, change);
        if wide {
            self.set_barrier(self.lanes[at].partition);
        }
    }

    /// Counts an attempt of the lane's next record.
    fn count_attempt(&mut self, lane: u32) -> u32 {
        let at = self.front_of(lane);
        let entry = &mut self.entries[at];
        entry.attempts = entry.attempts.saturating_add(1);
        let attempts = entry.attempts;
        if !entry.is(CHAIN) {
            self.part_of(lane).tried.insert(at);
        }
        attempts
    }

    /// The target answered for this lane.
    pub(crate) fn calm(&mut self, lane: u32) {
        if let Some(aside) = &mut self.lanes[lane].aside {
            aside.target_failures = 0;
        }
    }

    /// What the end of a try says about the target.
    fn judge_target(&mut self, slot: u32, answer: &Answer) {
        let out = self.tickets.get(slot);
        if answer.done == 0 && matches!(answer.rest, Rest::Target { .. }) {
            let quiet = self.in_flight == 1;
            let lane = self.lanes.id(out.lane);
            let rules = &self.limits.failure;
            self.health
                .failed(lane, self.now, quiet, rules, &mut self.jitter);
        } else if answer.done > 0 || answer.rest == Rest::Reject {
            self.health.answered();
        } else if matches!(answer.rest, Rest::Retry { .. } | Rest::Unattributed) {
            // A timeout is the record's fault, and says nothing of a target that was out of reach.
            self.health.interrupted();
        }
    }

    /// The lane's next record is passed: done, or its effects are durable.
    pub(crate) fn pass(&mut self, lane: u32, durably: bool) {
        if self.lanes[lane].aside.is_some() && self.entries[self.front_of(lane)].is(CHAIN) {
            self.pass_chain(lane, durably);
        } else {
            self.settle_head(lane);
        }
    }

    /// The lane's first record outside of its chain is settled.
    pub(crate) fn settle_head(&mut self, lane: u32) {
        let at = self.unqueue_head(lane);
        self.settle(self.lanes[lane].partition, at);
        self.entries.remove(at);
    }

    pub(crate) fn unqueue_head(&mut self, lane: u32) -> u32 {
        let lane = &mut self.lanes[lane];
        let at = lane.head;
        lane.head = self.entries[at].lane_next;
        at
    }

    /// Takes an entry out of its partition's window; it stays allocated.
    pub(crate) fn settle(&mut self, slot: u32, at: u32) {
        let part = &mut self.partitions[slot as usize];
        part.settle(&mut self.entries, at);
        if part.wants_memory() {
            self.check_intake(slot);
        }
    }

    /// What is set aside for the lane, from now on if nothing was.
    pub(crate) fn aside(&mut self, at: u32) -> &mut Aside<R::Position> {
        if self.lanes[at].aside.is_none() {
            let key: Box<[u8]> = self.lanes[at].key(&self.entries).unwrap_or_default().into();
            return self.aside_for(at, &key);
        }
        self.aside_for(at, &[])
    }

    pub(crate) fn aside_for(&mut self, at: u32, key: &[u8]) -> &mut Aside<R::Position> {
        let lane = &mut self.lanes[at];
        let part = &mut self.partitions[lane.partition as usize];
        lane.aside.get_or_insert_with(|| {
            part.asides.insert(at);
            Box::new(Aside::new(key))
        })
    }

    /// With [`Stops::Partition`], the lowest stopped head; when it moves on, so do lanes before it.
    pub(crate) fn set_barrier(&mut self, slot: u32) {
        if self.limits.failure.stops != Stops::Partition {
            return;
        }
        let part = &mut self.partitions[slot as usize];
        let lowest = part
            .asides
            .iter()
            .filter_map(|&at| self.lanes[at].aside.as_ref())
            .filter(|aside| aside.bars)
            .filter_map(|aside| aside.head_at.as_ref())
            .min()
            .cloned();
        part.barrier = lowest;
        let mut lanes: alloc::vec::Vec<u32> = part
            .window
            .iter(&self.entries)
            .filter(|&(at, entry)| entry.lane != NIL && self.lanes[entry.lane].head == at)
            .map(|(_, entry)| entry.lane)
            .collect();
        lanes.extend(part.asides.iter().filter(|&&at| self.lanes[at].head == NIL));
        for lane in lanes {
            self.go_on(lane);
        }
    }
}
