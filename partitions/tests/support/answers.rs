//! What handlers say, told to the engine and to the reference alike.

use super::{
    lane::{Mode, Owed, Stage},
    world::{Try, World},
};
use partitions::{Answer, Change, Rest, Then};

pub fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl World {
    /// Answers the try whose first record is at `position`.
    pub fn answer(&mut self, part: usize, position: u64, answer: Answer) {
        let at = self
            .tries
            .iter()
            .position(|one| one.part == part && one.rows[0] == position);
        self.complete(
            at.unwrap_or_else(|| panic!("no try of {part}/{position} is out")),
            answer,
        );
    }

    pub fn complete(&mut self, at: usize, answer: Answer) {
        let one = self.tries[at].clone();
        self.log(|| {
            format!(
                "complete {}/{:?} ghost={}: {answer:?}",
                one.part, one.rows, one.ghost
            )
        });
        self.engine.complete(one.ticket, answer);
        let until = self.now + millis(answer.quarantine);
        if !answer.quarantine.is_zero() {
            self.count("quarantines");
        }
        if one.ghost {
            self.count("late answers");
            self.tries[at].until = Some((until, Rest::Nothing));
        } else {
            self.answered(&one, answer);
            self.tries[at].until = Some((until, answer.rest));
            self.tries[at]
                .rows
                .drain(..one.rows.len().min(answer.done as usize));
        }
        if answer.quarantine.is_zero() {
            self.end_quarantines();
        }
        self.turn();
    }

    /// The done part of an answer; what remains waits for the end of the quarantine.
    fn answered(&mut self, one: &Try, answer: Answer) {
        let done = one.rows.len().min(answer.done as usize);
        let model = &mut self.parts[one.part].model;
        let stage = if answer.with_effects {
            Stage::Answered
        } else {
            Stage::Passed
        };
        for position in &one.rows[..done] {
            model.row(*position).stage = stage;
        }
        let lane = model.lane(one.key);
        if done > 0 && answer.with_effects {
            lane.owes.push_back(Owed::Change(Change::Effects));
        }
        let target = done == 0 && matches!(answer.rest, Rest::Target { .. });
        self.ends.push_back((target, one.part, one.key));
        if self.ends.len() > 20 {
            self.ends.pop_front();
        }
    }

    /// Tries whose quarantine is over give back their slot, and their failure takes effect.
    pub fn end_quarantines(&mut self) {
        let now = self.now;
        let over = |one: &Try| one.until.is_some_and(|(until, _)| until <= now);
        let (ended, out) = self.tries.drain(..).partition(over);
        self.tries = out;
        for one in ended {
            let rest = one.until.map_or(Rest::Nothing, |(_, rest)| rest);
            if !one.ghost && !one.rows.is_empty() {
                self.fail(one.part, one.key, &one.rows, rest);
            }
        }
    }

    /// What became of the records of a run that are not done: of the first, and of those behind it.
    fn fail(&mut self, part: usize, key: u8, rows: &[u64], rest: Rest) {
        if rest == Rest::Unattributed && rows.len() > 1 {
            self.count("unattributed runs");
        }
        let model = &mut self.parts[part].model;
        for position in rows {
            model.row(*position).stage = Stage::Queued;
        }
        let lane = model.lane(key);
        if lane.owes.contains(&Owed::Change(Change::Effects)) {
            lane.rest = Some((rows[0], rest));
            if rest == Rest::Unattributed && rows.len() > 1 {
                lane.single_to = rows[rows.len() - 1];
                lane.rest = None;
            }
            return;
        }
        match rest {
            Rest::Unattributed if rows.len() > 1 => lane.single_to = rows[rows.len() - 1],
            Rest::Unattributed
            | Rest::Nothing
            | Rest::Untried
            | Rest::Retry { .. }
            | Rest::Reject
            | Rest::Target { .. } => self.head_failed(part, key, rows[0], rest),
        }
    }

    pub(super) fn head_failed(&mut self, part: usize, key: u8, head: u64, rest: Rest) {
        let rules = self.limits.failure;
        let (min, max, now) = (
            millis(rules.backoff_min),
            millis(rules.backoff_max),
            self.now,
        );
        let model = &mut self.parts[part].model;
        let row = model.row(head);
        let floor = match rest {
            Rest::Nothing | Rest::Untried => return,
            Rest::Retry { after } | Rest::Target { after } => millis(after).min(max),
            Rest::Unattributed | Rest::Reject => 0,
        };
        let target = matches!(rest, Rest::Target { .. });
        row.attempts += u32::from(!target);
        let ceiling = if target {
            max
        } else {
            max.min(min << (row.attempts - 1).min(20))
        };
        let failed = rest == Rest::Reject || (!target && row.attempts >= rules.attempts_max);
        (row.failed, row.stage) = (failed, Stage::Queued);
        let chained = row.chained;
        let lane = model.lane(key);
        if !failed {
            lane.wait = (now + floor, now + floor.max(ceiling));
            return;
        }
        let owed = match rules.then {
            Then::Park => Change::Park,
            Then::Stop | Then::DeadLetter if chained => Change::Park,
            // The lane's item names a head behind this record, which may not be forgotten for it.
            Then::DeadLetter if lane.mode == Mode::Stopped => Change::Stop,
            Then::Stop => Change::Stop,
            Then::DeadLetter => Change::Verdict,
        };
        lane.head = if lane.mode == Mode::Live || owed == Change::Stop {
            Some(head)
        } else {
            lane.head
        };
        if owed == Change::Park {
            // What was decided on the chain was about another head than the one that joins its front.
            lane.owes.clear();
        }
        lane.owes.push_back(Owed::Change(owed));
    }
}
