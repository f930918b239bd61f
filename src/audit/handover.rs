//! From one ownership of a partition to the next: what the claim finds is what was durable (G5, G6),
//! what ran may not still run (G1), what stood stopped or parked stands so (G3, G7), and only what
//! was not durable runs again (G8).

use super::{
    commits::{edge, shown, top},
    lane::{Lane, Mode, Step},
    ownership::{NO_LANE, Ownership, Record, Span, State},
    verdict::{Guarantee, Mark, Tally},
    worker::Rules,
};
use crate::{checkpoint::Checkpoint, position::Position, store::Verb};
use std::collections::BTreeSet;

/// A call of a former owner that may overlap with the next one's.
pub(super) struct Carried {
    pub(super) span: Span,
    pub(super) rules: Rules,
    /// Its worker lived so long at least.
    pub(super) lived: u64,
}

impl Carried {
    /// Until when the call may have run, as seen by a start at `t`.
    fn until(&self, t: u64) -> u64 {
        let limit = self.limit();
        match self.span.end {
            Some(end) => end.min(limit),
            // It died with its worker, unless the target goes on without it.
            None if self.rules.settle == 0 && self.lived <= t => 0,
            None => limit,
        }
    }

    /// A process that is frozen meets its timeout when it wakes: whatever it tells then, the call
    /// does not run beyond this.
    pub(super) fn limit(&self) -> u64 {
        self.span.started.t + self.rules.timeout + self.rules.settle
    }
}

/// Two ownerships, one after the other; `next`: the epochs are neighbours, nobody was between.
pub(super) struct Handover<'o> {
    pub(super) before: &'o Ownership,
    pub(super) after: &'o Ownership,
    pub(super) next: bool,
    /// The last one before that acted, and whether nobody was since then: nobody else stopped a lane or
    /// took a decision on it.
    pub(super) acted: (&'o Ownership, bool),
}

impl Handover<'_> {
    pub(super) fn check(&self, tally: &mut Tally, calls: &[Carried]) {
        let (before, after) = (self.before, self.after);
        self.no_overlap(tally, calls);
        self.no_stale_start(tally);
        if after.generation < before.generation {
            let what = format!(
                "{} is of generation {}, {} before it of {}",
                after.name, after.generation, before.name, before.generation
            );
            self.broken(tally, Guarantee::G6, what, before.claimed);
        }
        // An operator's rewind goes back on purpose, and deletes stopped lanes.
        if after.generation != before.generation {
            return;
        }
        let Some(found) = &after.found else {
            if after.works {
                tally.error(format!(
                    "{} does not tell what its claim found (`restored`)",
                    after.name
                ));
            }
            return;
        };
        self.keeps_durable(tally, found);
        if self.next {
            self.nothing_new(tally, found);
            self.runs_again(tally, found);
        }
        // Lanes are read after the claim. Where others owned the partition by then, what is found may be
        // theirs; who acted owned it still.
        if after.works && after.acts() && after.generation == self.acted.0.generation {
            for lane in self.acted.0.known_lanes() {
                self.keeps_lane(tally, lane);
            }
        }
    }

    fn broken(&self, tally: &mut Tally, guarantee: Guarantee, what: String, earlier: Mark) {
        tally.broken(guarantee, what, self.after.claimed, None, &[earlier]);
    }

    fn no_overlap(&self, tally: &mut Tally, calls: &[Carried]) {
        for call in calls {
            let Some(&first) = self.after.early.get(&call.span.lane) else {
                continue;
            };
            let started = call.span.started;
            if started.t <= first.t && first.t < call.until(first.t) {
                let what = format!(
                    "{} started a lane while a try of a former owner may run, for {} ns more",
                    self.after.name,
                    call.until(first.t) - first.t
                );
                tally.broken(Guarantee::G1, what, first, None, &[started]);
            }
        }
    }

    /// A former owner whose proof of ownership is too old starts nothing.
    fn no_stale_start(&self, tally: &mut Tally) {
        let rules = &self.before.rules;
        let trust = rules.drain.saturating_sub(rules.timeout);
        if let Some(last) = self.before.last_start
            && last.t > self.after.claimed.t + trust
        {
            let what = format!(
                "{} started a record {} ns after {} was claimed",
                self.before.name,
                last.t - self.after.claimed.t,
                self.after.name
            );
            tally.broken(Guarantee::G6, what, last, None, &[self.after.claimed]);
        }
    }

    /// What was acknowledged as durable is in what the claim found.
    fn keeps_durable(&self, tally: &mut Tally, found: &Checkpoint) {
        let before = self.before;
        let durable = match &before.found {
            Some(base) if before.commits == 0 => base,
            _ => &before.durable,
        };
        let lost = edge(&found.resume) < edge(&durable.resume)
            || top(found) < top(durable)
            || found.open.positions().iter().any(|p| durable.settles(p));
        if lost {
            let late = before.durable_at.t > self.after.claimed.t;
            let guarantee = if late { Guarantee::G6 } else { Guarantee::G5 };
            let what = format!(
                "{} found {}, {} had committed {}{}",
                self.after.name,
                shown(found),
                before.name,
                shown(durable),
                if late { " after that claim" } else { "" }
            );
            self.broken(tally, guarantee, what, before.durable_at);
        }
    }

    /// A commit whose answer nobody saw may have landed: it covers what had passed, or what the
    /// commit itself settles.
    fn nothing_new(&self, tally: &mut Tally, found: &Checkpoint) {
        let before = self.before;
        let reached = before.high.iter().chain(top(&before.durable)).max();
        if let Some(top) = top(found).filter(|top| reached.is_none_or(|reached| *top > reached)) {
            let what = format!(
                "{} found {}, {top} never came to {}",
                self.after.name,
                shown(found),
                before.name
            );
            self.broken(tally, Guarantee::G5, what, before.durable_at);
        }
        for (position, record) in &before.records {
            if !record.covered && found.settles(position) && !self.may_settle(position, record) {
                let what = format!(
                    "{} found {}, and {} was not settled ({:?})",
                    self.after.name,
                    shown(found),
                    before.record(position),
                    record.state
                );
                self.broken(tally, Guarantee::G5, what, record.mark);
            }
        }
    }

    fn may_settle(&self, position: &Position, record: &Record) -> bool {
        match record.state {
            State::Gone | State::Passed | State::Chained | State::Answered | State::Failed => true,
            // A stopped head can be skipped before it is handed over.
            State::Absent => self.before.lanes.iter().any(|lane| {
                lane.decided == Some(Verb::Skip)
                    && matches!(&lane.mode, Mode::Stopped { head } if head == position)
            }),
            State::Running { .. } => false,
            // It may have joined a chain whose beginning nobody saw become durable.
            State::Waiting => {
                record.lane != NO_LANE && {
                    let lane = &self.before.lanes[record.lane];
                    let head = lane
                        .waiting
                        .front()
                        .and_then(|p| self.before.records.get(p));
                    // A suspect with no attempt left fails without a try.
                    let condemned = |head: &Position| self.before.condemned.contains(head);
                    lane.mode != Mode::Live
                        || lane.decided.is_some()
                        || lane.waiting.front().is_some_and(condemned)
                        || head.is_some_and(|head| {
                            matches!(head.state, State::Failed | State::Answered)
                                || head.tried && head.state == State::Waiting
                        })
                }
            }
        }
    }

    /// After a clean release nothing runs again, after a crash what was not durable; effects never.
    fn runs_again(&self, tally: &mut Tally, found: &Checkpoint) {
        let (before, after) = (self.before, self.after);
        for (position, record) in &before.records {
            if found.settles(position) {
                continue;
            }
            let name = || before.record(position);
            if record.effects.is_some() {
                let what = format!(
                    "{} found {} open, and an effect of it is durable",
                    after.name,
                    name()
                );
                self.broken(tally, Guarantee::G8, what, record.mark);
            }
            let runs = matches!(record.state, State::Running { .. });
            if matches!(record.state, State::Passed | State::Answered) || runs {
                tally.verdict.counts.repeats += 1;
                if after.clean && record.state == State::Passed {
                    let what = format!("{} runs again after a clean release", name());
                    self.broken(tally, Guarantee::G8, what, record.mark);
                }
            }
        }
        let running = before.known_lanes().find_map(|lane| lane.running);
        if after.clean
            && let Some((_, seq)) = running
        {
            let what = format!(
                "{} was claimed as clean, and a try of {} had no end",
                after.name, before.name
            );
            self.broken(tally, Guarantee::G6, what, before.mark_of(seq));
        }
    }

    /// What stands stopped or parked is found so.
    fn keeps_lane(&self, tally: &mut Tally, lane: &Lane) {
        let ((before, next_to), after) = (self.acted, self.after);
        let next = after.lane_named(&lane.key).filter(|next| next.found);
        let text = lane.key.escape_ascii();
        match &lane.mode {
            Mode::Stopped { head } if lane.decided.is_none() && next.is_none() => {
                let what = format!(
                    "lane `{text}` of {} stood stopped at {head}, and {} goes on without a decision",
                    before.name, after.name
                );
                self.broken(tally, Guarantee::G3, what, before.durable_at);
            }
            Mode::Parked { .. } if next.is_none() && lane.has_chain() => {
                // The last records may have been skipped by decisions whose end nobody saw.
                if next_to && (lane.decided.is_none() || lane.chain.len() > 1) {
                    let what = format!(
                        "{} does not find the chain of lane `{text}` that {} left",
                        after.name, before.name
                    );
                    self.broken(tally, Guarantee::G7, what, before.durable_at);
                }
            }
            Mode::Parked { .. } => {
                if let Some(next) = next {
                    self.runs_whole_chain(tally, lane, next);
                }
            }
            Mode::Live | Mode::Stopped { .. } => {}
        }
    }

    /// The next owner passes every record of the chain that it passes by.
    fn runs_whole_chain(&self, tally: &mut Tally, lane: &Lane, next: &Lane) {
        let passed: BTreeSet<&Position> = next.inherited.iter().collect();
        let last = passed.last().copied();
        let left = lane.chain.iter().find(|link| {
            let gone_by = next.released || last.is_some_and(|last| link.position <= *last);
            // A commit whose answer nobody heard may have passed it.
            let unheard = link.state == Step::Answered || lane.decided.is_some();
            gone_by && !unheard && !passed.contains(&link.position)
        });
        // Where nobody was between, what is missing was passed by nobody.
        let (before, next_to) = self.acted;
        if let Some(link) = left.filter(|_| next_to) {
            let what = format!(
                "{} of the chain of lane `{}` was never run by {}, which passed it by",
                before.record(&link.position),
                lane.key.escape_ascii(),
                self.after.name
            );
            self.broken(tally, Guarantee::G7, what, before.durable_at);
        }
    }
}
