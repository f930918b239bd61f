//! How the loop ends: idle, drained, or at a deadline.

use super::{
    Outcome, Processor, StoreFact, log,
    owned::{Owned, Standing},
    report::{Report, ReportedLane, ReportedPartition},
};
use crate::{
    history::Event,
    record::LaneKey,
    source::SourceError,
    store::{LaneState, StoreError},
};
use futures_util::FutureExt;
use partitions::PartitionId;
use std::{sync::Arc, time::Duration};

/// After a drain's deadline the last commits may still go out for so long.
pub(super) const COMMITS_AFTER: Duration = Duration::from_secs(2);

/// What the loop waits for before it returns.
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    pub(super) deadline: Duration,
    told_sources: bool,
}

impl Processor {
    /// Starts nothing more and gives every partition up.
    pub(super) fn end(&mut self, outcome: Outcome) {
        if self.ending.is_some() {
            return;
        }
        if matches!(outcome, Outcome::Drained) {
            let (in_flight, partitions) = (self.engine.in_flight(), self.partitions.len());
            tracing::info!(in_flight, partitions, "draining: nothing new starts");
        }
        let deadline = self.now + self.settings.drain;
        self.ending = Some(Ending {
            outcome,
            deadline,
            told_sources: false,
        });
        self.look_at = self.now;
        self.stop_claiming();
        let ids: Vec<PartitionId> = self.partitions.keys().copied().collect();
        for id in ids {
            self.leave(id, None);
        }
    }

    /// A source cannot go on: the others are drained and the loop ends with its error.
    pub(super) fn fail_source(&mut self, source: &Arc<str>, error: SourceError) {
        tracing::error!(source = %source, "{error}");
        match &mut self.ending {
            Some(ending) => {
                if !matches!(ending.outcome, Outcome::Source(_)) {
                    ending.outcome = Outcome::Source(error);
                }
            }
            None => self.end(Outcome::Source(error)),
        }
    }

    /// Partitions that nothing of is out any more are released.
    pub(super) fn leave_drained(&mut self) {
        let (mut release, mut early) = (Vec::new(), Vec::new());
        for (&id, owned) in &mut self.partitions {
            let idle = owned.out.is_none() && !owned.shut() && !owned.dirty && owned.taking == 0;
            let flushed = self.engine.figures(id).is_none_or(|f| f.unflushed == 0);
            if let Some(leaving) = &mut owned.leaving
                && leaving.drained
                && !leaving.releasing
                && idle
                && flushed
            {
                leaving.releasing = true;
                // While a former owner's tries may run, a release would hide them from the next one.
                if owned.quiet_until.is_some_and(|until| until > self.now) {
                    early.push(id);
                } else {
                    release.push((id, owned.assignment.name.clone(), owned.fence));
                }
            }
        }
        for id in early {
            self.let_go(id, false);
        }
        for (id, name, fence) in release {
            let store = Arc::clone(&self.store);
            self.calls.push(
                async move {
                    StoreFact::Released {
                        id,
                        result: store.release(&name, fence).await,
                    }
                }
                .boxed(),
            );
        }
    }

    pub(super) fn released(&mut self, id: PartitionId, result: &Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::warn!(%error, "partition is not released, its next owner waits");
        }
        self.let_go(id, result.is_ok());
    }

    /// Forgets a partition.
    pub(super) fn let_go(&mut self, id: PartitionId, clean: bool) {
        let Some(mut owned) = self.partitions.remove(&id) else {
            return;
        };
        owned.left = Some(self.standing(id, &owned));
        log::let_go(&owned, clean);
        self.notes.partition(&owned, Event::Revoked { clean });
        self.names.remove(&owned.assignment.name);
        self.engine.revoke(id);
        if let Some(done) = owned.leaving.as_mut().and_then(|l| l.done.take()) {
            let _ = done.send(());
        }
        self.gone.push(owned);
    }

    /// Whether the loop is over.
    pub(super) fn finished(&mut self) -> Option<(Report, Outcome)> {
        if self.settings.until_idle && self.ending.is_none() && self.is_idle() {
            self.end(Outcome::Idle);
        }
        if self.ending.is_none()
            && let Some(until) = self.settings.starts_until
            && (self.now >= until || self.waits_beyond(until))
        {
            self.end(Outcome::Drained);
        }
        let overdue: Vec<PartitionId> = self
            .partitions
            .iter()
            .filter(|(_, o)| {
                o.leaving
                    .as_ref()
                    .is_some_and(|l| l.deadline <= self.now && l.done.is_some())
            })
            .filter(|(_, o)| o.out.is_none() && !o.dirty)
            .map(|(id, _)| *id)
            .collect();
        for id in overdue {
            self.let_go(id, false);
        }
        let ending = self.ending.as_mut()?;
        if !self.partitions.is_empty() {
            // The last commits may still go out after the deadline, for as long again at most.
            let committing = self.partitions.iter().any(|(id, o)| {
                o.out.is_some() || self.engine.figures(*id).is_some_and(|f| f.unflushed > 0)
            });
            let over = self.now >= ending.deadline;
            let far_over = self.now >= ending.deadline + COMMITS_AFTER;
            if !(over && (!committing || far_over)) {
                return None;
            }
            let out = self.tries.ids(self.now);
            let outcome = match &ending.outcome {
                Outcome::Source(error) => Outcome::Source(error.clone()),
                Outcome::Idle | Outcome::Drained | Outcome::Abandoned(_) | Outcome::Store(_) => {
                    Outcome::Abandoned(out)
                }
            };
            return Some((self.report(), outcome));
        }
        if !ending.told_sources {
            ending.told_sources = true;
            self.sources.stop_all();
        }
        if !(self.sources.is_empty() && self.giving_back == 0) && self.now < ending.deadline {
            return None;
        }
        let outcome = ending.outcome.clone();
        Some((self.report(), outcome))
    }

    /// The log's end is reached, or a partition is paused by a stopped lane and its source has said that
    /// nothing more is on its way; nothing is out, waiting or quarantined; no chain drains, no decision
    /// is pending, the last commit is durable.
    fn is_idle(&mut self) -> bool {
        // A new partition that waits for lanes of others to be decided is as idle as they are.
        let waiting = self.newcomers().count();
        if self.sources.partitions() != Some(self.partitions.len() + waiting)
            || self.claiming.len() > waiting
        {
            return false;
        }
        if !self.engine.is_idle()
            || self.engine.sick_since().is_some()
            || self.engine.in_flight() > 0
        {
            return false;
        }
        let mut read = Vec::new();
        for (&id, owned) in &self.partitions {
            let Some(figures) = self.engine.figures(id) else {
                return false;
            };
            let held_back = figures.paused && owned.memory.pauses_out == 0;
            let at_end =
                owned.behind == Some(0) || (held_back && self.engine.standing(id) != (0, 0));
            let written =
                owned.out.is_none() && !owned.shut() && !owned.dirty && figures.unflushed == 0;
            let decided = owned.lanes.values().any(|item| item.decision.is_some());
            if !at_end
                || !written
                || decided
                || (owned.held && figures.buffered > 0)
                || owned.reading_lanes
                || owned.taking > 0
            {
                return false;
            }
            // A decision may have come since the lanes were read.
            if !owned.lanes.is_empty() && owned.lanes_read_at < self.idle_since.unwrap_or(self.now)
            {
                read.push(id);
            }
        }
        self.idle_since.get_or_insert(self.now);
        for &id in &read {
            self.read_lanes(id);
        }
        read.is_empty()
    }

    /// Nothing is out, nothing will come, and all that waits does so for longer.
    fn waits_beyond(&self, until: Duration) -> bool {
        let rests = |(id, owned): (&PartitionId, &Owned)| {
            let flushed = { self.engine.figures(*id) }.is_some_and(|f| f.unflushed == 0);
            owned.behind == Some(0)
                && owned.out.is_none()
                && !owned.shut()
                && !owned.dirty
                && flushed
                && owned.taking == 0
                && !owned.reading_lanes
                && !owned.lanes.values().any(|item| item.decision.is_some())
        };
        self.engine.in_flight() == 0
            && self.claiming.is_empty()
            && self.sources.partitions() == Some(self.partitions.len())
            && self.partitions.iter().all(rests)
            && { self.engine.wake_at() }.is_some_and(|(wake, _)| wake.0 > until)
    }

    /// What of a partition is in memory and not settled.
    fn standing(&self, id: PartitionId, owned: &Owned) -> Standing {
        let mut standing = Standing::default();
        for record in self.engine.open(id) {
            standing.buffered += 1;
            let behind_head = LaneKey::from_bytes(record.lane())
                .and_then(|lane| owned.lanes.get(&lane))
                .is_some_and(|item| *record.position() > item.head);
            standing.held += u64::from(behind_head);
        }
        standing
    }

    pub(super) fn report(&self) -> Report {
        let mut report = Report::new(&self.counters, self.now.saturating_sub(self.started_at));
        for (id, owned) in self
            .partitions
            .iter()
            .map(|(id, o)| (Some(*id), o))
            .chain(self.gone.iter().map(|o| (None, o)))
        {
            let name = &owned.assignment.name;
            let standing = id
                .map_or(owned.left, |id| Some(self.standing(id, owned)))
                .unwrap_or_default();
            for item in owned.lanes.values() {
                // Released: its records have their attempts before them.
                if item.state == LaneState::Draining {
                    report.held += item.count;
                    continue;
                }
                let lane = ReportedLane {
                    source: name.source.to_string(),
                    partition: name.partition.to_string(),
                    key: item.lane.to_string(),
                    position: item.head.clone(),
                    error: item.last_error.clone(),
                    attempts: item.attempts,
                };
                report.parked += 1;
                report.held += item.count.saturating_sub(1);
                if item.state == LaneState::Stopped {
                    report.stopped_lanes.push(lane);
                } else {
                    report.parked_lanes.push(lane);
                }
            }
            report.held += standing.held;
            report.partitions.push(ReportedPartition {
                source: name.source.to_string(),
                partition: name.partition.to_string(),
                frontier: owned.frontier().cloned(),
                lag: owned.behind.unwrap_or(0) + standing.buffered,
            });
        }
        report
            .partitions
            .sort_by(|a, b| (&a.source, &a.partition).cmp(&(&b.source, &b.partition)));
        report.sum_up();
        report
    }
}
