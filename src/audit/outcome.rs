//! Records pass, or stand, only when something says why (G3, G4, G7, G8).

use super::{
    lane::{Mode, Step},
    ownership::{NO_LANE, Ownership, Record, State},
    verdict::{Guarantee, Here, Mark},
};
use crate::{position::Position, store::Verb};

impl Ownership {
    /// A try got its answer for one record.
    pub(super) fn ended(&mut self, here: &mut Here<'_>, lane: usize, position: &Position) {
        let line = here.line;
        let ticket = line.ticket.unwrap_or_default();
        let outcome = line.outcome.as_deref().unwrap_or_default();
        self.busy_since = true;
        self.running = self.running.saturating_sub(1);
        let done = outcome == "done";
        if let Some(link) = self.lanes[lane].link(position)
            && link.state == (Step::Running { ticket })
        {
            link.state = if done { Step::Answered } else { Step::Waiting };
            return;
        }
        let (attempts, then_stop) = (self.rules.attempts, self.rules.then_stop);
        let Some(record) = self
            .records
            .get_mut(position)
            .filter(|record| record.state == State::Running { ticket })
        else {
            here.error(&format!("record {position} ended and was not started"));
            return;
        };
        record.mark = here.mark();
        let used_up = outcome == "retry" && line.attempt.is_some_and(|n| n >= attempts);
        record.state = match outcome {
            "done" => State::Answered,
            "reject" => State::Failed,
            "retry" if used_up && self.lanes[lane].first.as_ref() == Some(position) => {
                State::Failed
            }
            _ => State::Waiting,
        };
        if then_stop {
            self.stops_if_failed(lane);
        }
    }

    /// The verdict on a record falls when it is the first of its lane: before, an effect ahead of it
    /// may be refused, and then it was never answered.
    fn stops_if_failed(&mut self, lane: usize) {
        if let Some(first) = self.lanes[lane].waiting.front()
            && self
                .records
                .get(first)
                .is_some_and(|record| record.state == State::Failed)
        {
            self.stops.insert(first.clone());
        }
    }

    /// An effect of this record was refused: what its lane answered behind it was never answered.
    pub(super) fn voids_behind(&mut self, lane: usize, position: &Position) {
        for behind in self.lanes[lane].waiting.iter().filter(|p| *p > position) {
            if let Some(record) = self.records.get_mut(behind)
                && matches!(record.state, State::Answered | State::Failed)
            {
                record.state = State::Waiting;
                self.stops.remove(behind);
            }
        }
    }

    /// It will be tried again: until then it holds no slot.
    pub(super) fn waits(&self, here: &mut Here<'_>, lane: usize, position: &Position) {
        let running = self.lanes[lane].running.map(|(_, seq)| seq);
        if let Some(seq) = running {
            let what = format!(
                "{} waits or stands, and a try of its lane still holds a slot",
                self.record(position)
            );
            here.broken(Guarantee::G4, what, &[self.mark_of(seq)]);
        }
    }

    /// Done: only after a try that succeeded.
    pub(super) fn done(&mut self, here: &mut Here<'_>, lane: usize, position: &Position) {
        let chained = self.lanes[lane].link(position).map(|link| link.state);
        let record = self.records.get(position).map(|r| (r.state, r.mark));
        let tried = match (chained, record) {
            (Some(step), _) => step == Step::Answered,
            (None, Some((state, _))) => state == State::Answered,
            (None, None) => false,
        };
        if !tried {
            let what = format!(
                "{} counts as done without a try that succeeded",
                self.record(position)
            );
            let marks: Vec<Mark> = record.map(|(_, mark)| mark).into_iter().collect();
            here.broken(Guarantee::G7, what, &marks);
        }
        self.passes(here, lane, position);
    }

    /// An operator's skip, or a publication: only by a decision or by policy.
    pub(super) fn decided_away(
        &mut self,
        here: &mut Here<'_>,
        lane: usize,
        position: &Position,
        verb: Verb,
    ) {
        let policy = verb == Verb::DeadLetter && self.rules.then_dead_letter;
        if self.lanes[lane].decided != Some(verb) && !policy {
            let what = format!(
                "{} passed by {verb:?}, and nobody decided that",
                self.record(position)
            );
            here.broken(Guarantee::G3, what, &[]);
        }
        self.waits(here, lane, position);
        let before = self.chain_unflushed;
        self.passes(here, lane, position);
        // It leaves its chain with the commit that says so; it would not run again.
        self.chain_unflushed = before;
        let lane = &mut self.lanes[lane];
        lane.decided = None;
        if matches!(&lane.mode, Mode::Stopped { head } if head == position) {
            lane.mode = Mode::Live;
        }
    }

    /// The record lets its lane go on.
    fn passes(&mut self, here: &mut Here<'_>, lane: usize, position: &Position) {
        self.stops.remove(position);
        if self.lanes[lane].passes_chained(position) {
            // Right behind a commit it is that commit that passed it.
            self.chain_unflushed += u64::from(self.busy_since);
            // What joined the chain under this ownership is in the table of records until a commit
            // covers it; it is settled there already.
        } else {
            self.lanes[lane].leaves(position);
            self.settles(here, lane, position, State::Passed);
            if self.rules.then_stop {
                self.stops_if_failed(lane);
            }
        }
        self.forget_idle(lane);
    }

    fn settles(&mut self, here: &mut Here<'_>, lane: usize, position: &Position, state: State) {
        let commits = self.commits;
        let mark = here.mark();
        let fresh = Record::new(lane, state, mark);
        let entry = self.records.entry(position.clone());
        let known = matches!(entry, std::collections::btree_map::Entry::Occupied(_));
        let record = entry.or_insert(fresh);
        // A head that never came was skipped by the commit itself: a crash does not repeat that.
        let durable = !known && self.durable.settles(position);
        let before = known.then_some(record.state);
        record.state = state;
        record.mark = mark;
        if record.lane == NO_LANE {
            record.lane = lane;
        }
        let settled = matches!(before, Some(State::Passed | State::Chained));
        if !record.covered && !settled && !durable {
            self.unflushed += u64::from(state == State::Passed);
            self.settled.push_back((commits, position.clone()));
        }
    }

    /// The lane stands stopped at this record, durably.
    pub(super) fn stopped(&mut self, here: &mut Here<'_>, lane: usize, position: &Position) {
        self.waits(here, lane, position);
        self.lanes[lane].mode = Mode::Stopped {
            head: position.clone(),
        };
        self.lanes[lane].decided = None;
        self.stops.insert(position.clone());
        if let Some(record) = self.records.get_mut(position) {
            record.state = State::Failed;
            record.mark = here.mark();
        }
    }

    /// The lane is parked with this record as its head, durably.
    pub(super) fn parked(&mut self, here: &mut Here<'_>, lane: usize, position: &Position) {
        self.waits(here, lane, position);
        self.stops.remove(position);
        let again = self.lanes[lane].chains(position);
        let queue = &mut self.lanes[lane];
        queue.decided = None;
        let before = match &queue.mode {
            Mode::Parked { head, .. } if position < head => Some(head.clone()),
            Mode::Parked { .. } | Mode::Live | Mode::Stopped { .. } => None,
        };
        queue.front_to = before;
        queue.mode = Mode::Parked {
            head: position.clone(),
            releasing: false,
        };
        if again {
            queue.link_or_meet(position).state = Step::Waiting;
            return;
        }
        queue.leaves(position);
        queue.joins(position);
        self.settles(here, lane, position, State::Chained);
    }

    /// A record joined its lane's chain, durably.
    pub(super) fn appended(&mut self, here: &mut Here<'_>, lane: usize, position: &Position) {
        // It started out of the chain before the commit was answered.
        let record = self.records.get(position);
        if record.is_some_and(|record| record.state == State::Chained) {
            return;
        }
        let name = self.record(position);
        let queue = &mut self.lanes[lane];
        let first = queue.waiting.front().cloned();
        if !matches!(queue.mode, Mode::Parked { .. }) {
            let what = format!("{name} joined a chain, and its lane is not parked");
            here.broken(Guarantee::G1, what, &[]);
        } else if first.as_ref() != Some(position) {
            let what = format!(
                "{name} joined its chain before record {} of its lane",
                first.map_or_else(|| "?".to_owned(), |p| p.to_string())
            );
            here.broken(Guarantee::G1, what, &[]);
        }
        let behind = queue.tail.as_ref().is_none_or(|tail| tail < position);
        if !behind && !queue.is_in_front(position) {
            let what = format!("{name} joined its chain out of order");
            here.broken(Guarantee::G1, what, &[]);
        }
        self.joins_chain(here, lane, position);
    }

    pub(super) fn joins_chain(&mut self, here: &mut Here<'_>, lane: usize, position: &Position) {
        let queue = &mut self.lanes[lane];
        queue.leaves(position);
        queue.joins(position);
        self.settles(here, lane, position, State::Chained);
    }

    /// The chain ran empty and the lane is live, durably.
    pub(super) fn released(&mut self, here: &mut Here<'_>, lane: usize) {
        let queue = &self.lanes[lane];
        if queue.has_chain() {
            let own = queue.chain.iter().filter(|link| link.own).count() as u64;
            let what = format!(
                "{} records are left in a chain of {} that counts as empty",
                queue.inherited_left + own,
                self.name
            );
            here.broken(Guarantee::G7, what, &[]);
        }
        self.lanes[lane].goes_live();
        self.forget_idle(lane);
    }

    /// A restored open record will not come.
    pub(super) fn gone(&mut self, here: &mut Here<'_>, position: &Position) {
        match self.records.get_mut(position) {
            Some(record) if record.state == State::Absent => {
                record.state = State::Gone;
                record.mark = here.mark();
            }
            found => {
                let earlier: Vec<Mark> = found.map(|r| r.mark).into_iter().collect();
                let what = format!(
                    "{} counts as gone, and it was handed over or never open",
                    self.record(position)
                );
                here.broken(Guarantee::G7, what, &earlier);
            }
        }
    }

    /// An effect of a record is durable: once, and after a try that succeeded.
    pub(super) fn effect(&mut self, here: &mut Here<'_>, lane: usize, position: &Position) {
        let (commits, name) = (self.commits, self.record(position));
        if let Some(record) = self.records.get_mut(position) {
            let before = record.effects.replace(commits);
            let mark = record.mark;
            if before.is_some_and(|before| before != commits) {
                let what = format!("effects of {name} are in two commits");
                here.broken(Guarantee::G8, what, &[mark]);
            } else if !matches!(
                record.state,
                State::Answered | State::Passed | State::Chained
            ) {
                let what = format!("{name} has a durable effect without a try that succeeded");
                here.broken(Guarantee::G8, what, &[mark]);
            }
        } else if self.durable.settles(position) && self.lanes[lane].chain_passed.is_none() {
            let what = format!("an effect of {name} came after it was durable");
            here.broken(Guarantee::G8, what, &[self.durable_at]);
        }
    }
}
