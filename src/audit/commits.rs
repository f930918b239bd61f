//! What is durable: each commit covers what is settled, exactly (G5), and the source hears of
//! nothing else (G7).

use super::{
    ownership::{NO_LANE, Ownership, Record, State},
    verdict::{Guarantee, Here},
};
use crate::{
    checkpoint::{Checkpoint, OpenSet},
    history::Line,
    position::Position,
};
use partitions::Resume;

impl Ownership {
    /// What the claim found, and where reading begins.
    pub(super) fn restored(&mut self, here: &mut Here<'_>) {
        let line = here.line;
        let found = match covers(line) {
            Ok(found) => found,
            Err(why) => return here.error(why),
        };
        let fresh = found.is_none();
        let found = found.unwrap_or_default();
        let from = line.from.clone().unwrap_or(found.resume.clone());
        self.gap = line.gap.is_some();
        here.counts().gaps += u64::from(self.gap);
        if !fresh && !self.gap && edge(&from) != edge(&found.resume) {
            let what = format!(
                "{} begins at {from:?}, its checkpoint ends at {:?}, and no gap is told",
                self.name, found.resume
            );
            let back = edge(&from) < edge(&found.resume);
            let guarantee = if back { Guarantee::G5 } else { Guarantee::G7 };
            here.broken(guarantee, what, &[]);
        }
        let after = |position: &Position| match &from {
            Resume::Beginning => true,
            Resume::At(first) => position >= first,
            Resume::After(last) => position > last,
        };
        let open = found.open.positions().iter().filter(|p| after(p)).cloned();
        let mark = here.mark();
        for position in open.clone() {
            let record = Record::new(NO_LANE, State::Absent, mark);
            self.records.insert(position, record);
        }
        self.durable = Checkpoint {
            open: open.collect(),
            settled_to: found.settled_to.clone().filter(|p| after(p)),
            resume: from,
            ..Checkpoint::default()
        };
        self.durable_at = mark;
        self.found = Some(found);
    }

    /// A commit is durable.
    pub(super) fn committed(&mut self, here: &mut Here<'_>) {
        let line = here.line;
        let next = match covers(line) {
            Ok(Some(next)) => next,
            Ok(None) => return here.error("it does not say what it covers"),
            Err(why) => return here.error(why),
        };
        let number = line.number.unwrap_or_default();
        self.still_owns(here, &format!("commit {number} was accepted"));
        if number <= self.number {
            let what = format!(
                "commit {number} of {} came after commit {}",
                self.name, self.number
            );
            here.broken(Guarantee::G5, what, &[self.durable_at]);
        }
        self.confirm(here);
        self.never_back(here, &next);
        self.covers_all_settled(here, &next);
        self.covers_only_settled(here, &next);
        self.number = number.max(self.number);
        while self
            .late
            .front()
            .is_some_and(|(commits, _)| *commits < self.commits)
        {
            self.late.pop_front();
        }
        self.commits += 1;
        self.chain_unflushed = 0;
        self.busy_since = false;
        self.durable = next;
        self.durable_at = here.mark();
    }

    /// Nothing that was settled is open again.
    fn never_back(&self, here: &mut Here<'_>, next: &Checkpoint) {
        let back = edge(&next.resume) < edge(&self.durable.resume)
            || top(next) < top(&self.durable)
            || next
                .open
                .positions()
                .iter()
                .any(|position| self.durable.settles(position));
        if back {
            let what = format!(
                "the checkpoint of {} went back from {} to {}",
                self.name,
                shown(&self.durable),
                shown(next)
            );
            here.broken(Guarantee::G5, what, &[self.durable_at]);
        }
    }

    /// What was settled when the last commit was told is in this one.
    fn covers_all_settled(&mut self, here: &mut Here<'_>, next: &Checkpoint) {
        while let Some((_, position)) = self
            .settled
            .pop_front_if(|(commits, _)| *commits < self.commits)
        {
            let Some(record) = self.records.get(&position) else {
                continue;
            };
            if !record.covered && !next.settles(&position) {
                let what = format!(
                    "the checkpoint of {} ({}) does not cover {}, which was settled before the last one",
                    self.name,
                    shown(next),
                    self.record(&position)
                );
                here.broken(Guarantee::G5, what, &[record.mark, self.durable_at]);
            }
        }
    }

    /// What it covers is settled, or is settled by this very commit: `confirm` demands that the next
    /// lines say so.
    fn covers_only_settled(&mut self, here: &mut Here<'_>, next: &Checkpoint) {
        let mut broken = Vec::new();
        for position in next.open.positions() {
            if !self.records.contains_key(position) && !self.durable.settles(position) {
                broken.push((position.clone(), None, "names as open a record that is not"));
            }
        }
        let reached = self.high.iter().chain(top(&self.durable)).max();
        if let Some(top) = top(next).filter(|top| reached.is_none_or(|reached| *top > reached)) {
            broken.push((top.clone(), None, "covers what never came"));
        }
        if let Some(top) = last_covered(next) {
            for (position, record) in self.records.range_mut(..=top.clone()) {
                if record.covered || !next.settles(position) {
                    continue;
                }
                record.covered = true;
                self.covered.push(position.clone());
                self.unflushed -= u64::from(record.state == State::Passed).min(self.unflushed);
                if matches!(record.state, State::Running { .. }) {
                    broken.push((
                        position.clone(),
                        Some(record.mark),
                        "covers what still runs",
                    ));
                }
            }
        }
        for (position, mark, why) in broken {
            let what = format!(
                "the checkpoint of {} ({}) {why}: {}",
                self.name,
                shown(next),
                self.record(&position)
            );
            here.broken(Guarantee::G5, what, mark.as_slice());
        }
    }

    /// What the last commit covers was settled before it or by it. Asked when the next line is due
    /// that can only follow.
    pub(super) fn confirm(&mut self, here: &mut Here<'_>) {
        for position in std::mem::take(&mut self.covered) {
            let Some(record) = self.records.remove(&position) else {
                continue;
            };
            if !record.state.is_settled() {
                let what = self.unsettled(&position, record.state);
                here.broken(Guarantee::G5, what, &[self.durable_at, record.mark]);
            }
        }
    }

    /// As [`Ownership::confirm`], where no line follows.
    pub(super) fn unconfirmed(&self) -> impl Iterator<Item = (String, &Record)> {
        let covered = self.covered.iter().filter(|_| self.busy_since);
        covered.filter_map(|position| {
            let record = self.records.get(position)?;
            let open = !record.state.is_settled();
            open.then(|| (self.unsettled(position, record.state), record))
        })
    }

    fn unsettled(&self, position: &Position, state: State) -> String {
        let how = match state {
            State::Absent => "never came",
            State::Waiting => "waits",
            State::Running { .. } => "runs",
            State::Answered => "was answered and has not passed",
            State::Failed => "failed for good and nobody decided on it",
            State::Gone | State::Passed | State::Chained => "is settled",
        };
        format!(
            "the checkpoint of {} ({}) covers record {position}, which {how}",
            self.name,
            shown(&self.durable)
        )
    }

    /// The source is told a frontier.
    pub(super) fn acked(&self, here: &mut Here<'_>) {
        let Some(frontier) = &here.line.frontier else {
            return here.error("it names no frontier");
        };
        if self
            .durable
            .frontier()
            .is_none_or(|durable| frontier > durable)
        {
            let what = format!(
                "{frontier} of {} was acknowledged to the source, durable is {}",
                self.name,
                shown(&self.durable)
            );
            here.broken(Guarantee::G7, what, &[self.durable_at]);
        }
    }
}

/// The checkpoint on a line; `None`: it has none.
fn covers(line: &Line<'_>) -> Result<Option<Checkpoint>, &'static str> {
    let (Some(resume), Some(open)) = (&line.resume, &line.open) else {
        return Ok(None);
    };
    if open.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err("its open positions do not ascend");
    }
    Ok(Some(Checkpoint {
        resume: resume.clone(),
        settled_to: line.settled_to.clone(),
        open: OpenSet::from_iter(open.iter().cloned()),
        ..Checkpoint::default()
    }))
}

/// The highest position that is settled for sure.
pub(super) fn top(checkpoint: &Checkpoint) -> Option<&Position> {
    checkpoint
        .settled_to
        .iter()
        .chain(checkpoint.frontier())
        .max()
}

/// No record behind this one is covered.
fn last_covered(checkpoint: &Checkpoint) -> Option<&Position> {
    let at = match &checkpoint.resume {
        Resume::At(first) => Some(first),
        Resume::Beginning | Resume::After(_) => None,
    };
    top(checkpoint).into_iter().chain(at).max()
}

/// Where the settled prefix ends, comparable: the first position behind it where that is known,
/// else the last one in it.
pub(super) fn edge(resume: &Resume<Position>) -> Option<(Position, bool)> {
    match resume {
        Resume::Beginning => None,
        Resume::At(first) => Some((first.clone(), false)),
        Resume::After(last) => match last.offset().and_then(|n| n.checked_add(1)) {
            Some(next) => Some((Position::Offset(next), false)),
            None => Some((last.clone(), true)),
        },
    }
}

/// For messages.
pub(super) fn shown(checkpoint: &Checkpoint) -> String {
    let resume = match &checkpoint.resume {
        Resume::Beginning => "nothing".to_owned(),
        Resume::At(first) => format!("before {first}"),
        Resume::After(last) => format!("up to {last}"),
    };
    let open = checkpoint.open.positions();
    match &checkpoint.settled_to {
        Some(last) if !open.is_empty() => {
            let some: Vec<String> = open.iter().take(20).map(Position::to_string).collect();
            let more = if open.len() > 20 { ", …" } else { "" };
            format!("{resume} and up to {last} but {}{more}", some.join(", "))
        }
        Some(last) => format!("{resume} and up to {last}"),
        None => resume,
    }
}
