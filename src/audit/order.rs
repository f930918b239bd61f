//! Records start in order, one run at a time a lane, and nothing that is settled or stopped starts
//! (G1, G3, G8).

use super::{
    lane::{Mode, Step},
    ownership::{Ownership, Record, State},
    verdict::{Guarantee, Here, Mark},
};
use crate::position::Position;
use std::sync::Arc;

impl Ownership {
    /// The source has come so far.
    pub(super) fn reaches(&mut self, position: &Position) {
        if self.high.as_ref().is_none_or(|high| high < position) {
            self.high = Some(position.clone());
        }
    }

    /// The source handed a record over.
    pub(super) fn fetched(&mut self, here: &mut Here<'_>, lane: usize, position: &Position) {
        self.busy_since = true;
        self.reaches(position);
        let mark = here.mark();
        match self.records.get_mut(position) {
            Some(record) if matches!(record.state, State::Absent | State::Gone) => {
                record.lane = lane;
                record.state = State::Waiting;
                record.mark = mark;
            }
            // Handed over twice: it has one life.
            Some(_) => return,
            None if self.durable.settles(position) => {
                let what = format!(
                    "{} was handed over and taken in, and the checkpoint settles it",
                    self.record(position)
                );
                here.broken(Guarantee::G5, what, &[self.durable_at]);
                return;
            }
            None => {
                let record = Record::new(lane, State::Waiting, mark);
                self.records.insert(position.clone(), record);
            }
        }
        self.lanes[lane].arrives(position);
    }

    /// The source handed over what is settled.
    pub(super) fn already_done(&mut self, here: &mut Here<'_>, lane: usize, position: &Position) {
        self.busy_since = true;
        self.reaches(position);
        let settled = match self.records.get(position) {
            Some(record) => record.state.is_settled(),
            None => self.durable.settles(position),
        };
        let queue = &self.lanes[lane];
        if !settled && !queue.chains(position) && !queue.was_chained(position) {
            let what = format!(
                "{} counts as done already, and neither a checkpoint nor a chain has it",
                self.record(position)
            );
            here.broken(Guarantee::G7, what, &[self.durable_at]);
        }
    }

    /// A record is handed to the handler.
    pub(super) fn started(&mut self, here: &mut Here<'_>, lane: usize, position: &Position) {
        let line = here.line;
        let (ticket, mark) = (line.ticket.unwrap_or_default(), here.mark());
        self.busy_since = true;
        self.last_start = Some(mark);
        self.still_owns(here, &format!("record {position} started"));
        self.note_early(lane, mark);
        let first = self.lanes[lane].running.map(|(t, _)| t) != Some(ticket);
        if first {
            self.lanes[lane].first = Some(position.clone());
        }
        if first && line.attempt.is_some_and(|n| n > self.rules.attempts) {
            let (attempt, most) = (line.attempt.unwrap_or_default(), self.rules.attempts);
            let what = format!(
                "{} is tried for the {attempt}th time, it has {most} attempts",
                self.record(position)
            );
            here.broken(Guarantee::G3, what, &[]);
        }
        self.is_shut(here, lane, position, ticket);
        self.bounded(here, position);
        if self.lanes[lane].joined_untold(position) {
            self.joins_chain(here, lane, position);
        }
        if self.lanes[lane].chains(position) {
            here.counts().chain_starts += 1;
            self.start_chained(here, lane, position, ticket);
        } else {
            self.start_live(here, lane, position, ticket);
        }
        self.lanes[lane].running = Some((ticket, mark.seq));
        self.running += 1;
    }

    /// Remembers the first start of a lane while a former owner's calls may still run.
    fn note_early(&mut self, lane: usize, mark: Mark) {
        let horizon = self.claimed.t + self.rules.drain + self.rules.timeout + self.rules.settle;
        if mark.t <= horizon {
            let key = Arc::clone(&self.lanes[lane].key);
            self.early.entry(key).or_insert(mark);
        }
    }

    /// No other try of the lane may be running.
    fn is_shut(&self, here: &mut Here<'_>, lane: usize, position: &Position, ticket: u64) {
        let now = here.line.t;
        let lane = &self.lanes[lane];
        let (until, since) = lane.shut_until;
        let other = lane
            .running
            .filter(|(running, _)| *running != ticket)
            .map(|(_, seq)| seq)
            .or_else(|| (until > now).then_some(since));
        if let Some(seq) = other {
            let what = format!(
                "{} started while another try of its lane may run",
                self.record(position)
            );
            here.broken(Guarantee::G1, what, &[self.mark_of(seq)]);
        }
    }

    /// What may run again after a crash stays within its bound.
    fn bounded(&self, here: &mut Here<'_>, position: &Position) {
        let may_repeat = self.unflushed + self.chain_unflushed + self.running + 1;
        if may_repeat > self.rules.unflushed_max {
            let what = format!(
                "{} started with {may_repeat} records in flight or passed since the last commit, `unflushed_max` is {}",
                self.record(position),
                self.rules.unflushed_max
            );
            here.broken(Guarantee::G8, what, &[self.durable_at]);
        }
    }

    fn start_chained(
        &mut self,
        here: &mut Here<'_>,
        lane: usize,
        position: &Position,
        ticket: u64,
    ) {
        let name = self.record(position);
        let lane = &mut self.lanes[lane];
        let releasing = matches!(
            lane.mode,
            Mode::Parked {
                releasing: true,
                ..
            }
        );
        if !releasing {
            let what = format!("{name} started out of a chain that was not released");
            here.broken(Guarantee::G1, what, &[]);
        }
        if lane.chain_passed.as_ref().is_some_and(|p| p >= position) {
            let missed = lane.found && !lane.inherited.contains(position);
            let guarantee = if missed { Guarantee::G1 } else { Guarantee::G8 };
            let what = format!("{name} started, and its chain is passed beyond it");
            here.broken(guarantee, what, &[]);
            return;
        }
        let begins = lane.chain.is_empty() && lane.chain_passed.is_none();
        if let Mode::Parked { head, .. } = &lane.mode
            && begins
            && head != position
        {
            let what = format!("{name} started before record {head}, the head of its chain");
            here.broken(Guarantee::G1, what, &[]);
        }
        // After a rewind, what lies before the chain runs first.
        if let Some(first) = lane.waiting.front().filter(|first| *first < position) {
            let what = format!("{name} started out of its chain before record {first} of its lane");
            here.broken(Guarantee::G1, what, &[]);
        }
        let barrier = self.stops.first().filter(|head| *head < position);
        if let Some(head) = barrier.filter(|_| self.rules.stops_partition) {
            let what = format!("{name} started, and record {head} before it stops the partition");
            here.broken(Guarantee::G3, what, &[]);
        }
        lane.link_or_meet(position).state = Step::Running { ticket };
        let met = lane.chain.iter().filter(|link| !link.own).count() as u64;
        let own = lane.link(position).is_some_and(|link| link.own);
        let front = lane
            .inherited_ends
            .as_ref()
            .is_some_and(|(from, _)| position < from);
        if own && !front && lane.inherited_left > met {
            let what = format!("{name} started before the chain that the claim found has run");
            here.broken(Guarantee::G1, what, &[]);
        }
        let before = lane
            .chain
            .iter()
            .find(|link| link.position < *position && link.state != Step::Running { ticket });
        if let Some(link) = before {
            let what = format!(
                "{name} started before record {} of its chain",
                link.position
            );
            here.broken(Guarantee::G1, what, &[]);
        }
    }

    fn start_live(&mut self, here: &mut Here<'_>, lane: usize, position: &Position, ticket: u64) {
        let name = self.record(position);
        if self.lanes[lane].may_be_live() {
            self.lanes[lane].goes_live();
        }
        let known = self
            .records
            .get_mut(position)
            .filter(|record| record.lane == lane || record.covered || record.state.is_settled());
        let Some(record) = known else {
            return self.start_unknown(here, lane, position, ticket);
        };
        let before = (record.state, record.mark);
        record.mark = here.mark();
        record.tried = true;
        let settled = record.state.is_settled();
        if record.covered && !settled {
            let what = format!("{name} started, and the checkpoint covers it");
            here.broken(Guarantee::G5, what, &[self.durable_at]);
        }
        if !settled {
            record.state = State::Running { ticket };
        }
        match before.0 {
            _ if settled => {
                let what = format!("{name} started again, and it is settled");
                here.broken(Guarantee::G8, what, &[before.1]);
            }
            State::Failed if self.refused < before.1.seq => {
                let what =
                    format!("{name} started again without a decision, and it failed for good");
                here.broken(Guarantee::G3, what, &[before.1]);
            }
            State::Answered if self.refused < before.1.seq => {
                let what =
                    format!("{name} started again, and it was done and nothing refused that");
                here.broken(Guarantee::G8, what, &[before.1]);
            }
            State::Answered
            | State::Failed
            | State::Absent
            | State::Gone
            | State::Waiting
            | State::Running { .. }
            | State::Passed
            | State::Chained => {}
        }
        self.in_turn(here, lane, position, ticket);
        self.not_stopped(here, lane, position);
    }

    /// It is followed like any other from here on: one line, one violation.
    fn start_unknown(
        &mut self,
        here: &mut Here<'_>,
        lane: usize,
        position: &Position,
        ticket: u64,
    ) {
        let (guarantee, why) = if self.durable.settles(position) {
            (Guarantee::G8, "the checkpoint settles it")
        } else {
            let why = "it was neither handed over nor is it in the chain of its lane";
            (Guarantee::G1, why)
        };
        let what = format!("{} started, and {why}", self.record(position));
        here.broken(guarantee, what, &[self.durable_at]);
        let record = Record::new(lane, State::Running { ticket }, here.mark());
        self.records.insert(position.clone(), record);
    }

    /// Every earlier record of the lane has passed, or is in the same run.
    fn in_turn(&self, here: &mut Here<'_>, lane: usize, position: &Position, ticket: u64) {
        for earlier in self.lanes[lane]
            .waiting
            .iter()
            .take_while(|p| *p < position)
        {
            let record = self.records.get(earlier);
            if record.is_some_and(|r| r.state == (State::Running { ticket })) {
                continue;
            }
            let what = format!(
                "{} started before record {earlier} of its lane has passed",
                self.record(position)
            );
            let marks: Vec<Mark> = record.map(|r| r.mark).into_iter().collect();
            here.broken(Guarantee::G1, what, &marks);
            return;
        }
    }

    /// Nothing at or behind a head that failed for good starts.
    fn not_stopped(&self, here: &mut Here<'_>, lane: usize, position: &Position) {
        let name = self.record(position);
        let head_of = |head: &Position| self.records.get(head).map(|r| r.mark);
        match &self.lanes[lane].mode {
            Mode::Stopped { head } if position >= head => {
                let what = format!("{name} started, and its lane stands stopped at {head}");
                here.broken(Guarantee::G3, what, head_of(head).as_slice());
            }
            Mode::Parked { head, .. } if position >= head => {
                let what = format!("{name} started, and its lane is parked from {head} on");
                here.broken(Guarantee::G1, what, head_of(head).as_slice());
            }
            Mode::Live | Mode::Stopped { .. } | Mode::Parked { .. } => {}
        }
        if self.rules.stops_partition
            && let Some(head) = self.stops.first().filter(|head| *head < position)
        {
            let what = format!("{name} started, and record {head} before it stops the partition");
            here.broken(Guarantee::G3, what, head_of(head).as_slice());
        }
    }
}
