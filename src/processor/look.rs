//! The loop's looks at itself, for whoever watches: what it shows is gathered now and then, so that
//! nothing of it is paid per record.

use super::{
    Outcome, PartitionVitals, Phase, Processor, StoreFact, Vitals, Watch, counts, owned::Owned,
};
use crate::store::{CommitError, LaneState, StoreError};
use partitions::PartitionId;
use std::{sync::Arc, time::Duration};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What of a partition moves whenever it makes progress.
type Progress = (u64, u32, u64, u64);

/// What the last look at a partition that could go on found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stalled {
    since: Duration,
    progress: Progress,
}

impl Processor {
    /// Shows what it does in `watch` from now on.
    #[must_use]
    pub fn watched_by(mut self, watch: Arc<Watch>) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Once a turn: it goes on, and looks at itself when it is time to.
    pub(super) fn turned(&mut self) {
        let sick = self.engine.sick_since();
        if sick.is_some() != self.sick_since.is_some() {
            if let Some(since) = self.sick_since {
                let seconds = self.now.saturating_sub(since.0).as_secs_f64();
                tracing::info!(seconds, "the target is well again");
            } else {
                tracing::warn!(
                    "the target is sick, it fails all tries by its own fault: one call at a time probes it"
                );
            }
            self.sick_since = sick;
        }
        if let Some(watch) = &self.watch {
            watch.turned(self.now);
            if self.now >= self.look_at {
                self.look(None);
            }
        }
    }

    /// When it is next time for a look; `None`: nobody watches.
    pub(super) fn looks_at(&self) -> Option<Duration> {
        self.watch.as_ref().map(|_| self.look_at)
    }

    /// Shows what there is now, in a phase of its own or the one that it is in.
    pub(super) fn look(&mut self, phase: Option<Phase>) {
        let Some(watch) = self.watch.clone() else {
            return;
        };
        self.look_at = self.now + LOOK_EVERY;
        let phase = phase.unwrap_or_else(|| self.phase());
        let ids: Vec<PartitionId> = self.partitions.keys().copied().collect();
        let mut partitions: Vec<PartitionVitals> =
            ids.iter().filter_map(|id| self.look_at_one(*id)).collect();
        partitions.sort_by(|one, other| one.name.cmp(&other.name));
        watch.show(Vitals {
            phase,
            cap: self.settings.cap,
            in_flight: self.engine.in_flight(),
            sick_since: self.engine.sick_since().map(|since| since.0),
            overrun_since: self.tries.overrun_since(),
            announced: self.sources.partitions(),
            claiming: self.claiming.keys().cloned().collect(),
            newcomers: self.newcomers().map(|(name, _)| name.clone()).collect(),
            partitions,
            counts: self.counters.sources.clone(),
            commits: self.counters.commits,
            store_errors: { &self.counters.store_errors }
                .iter()
                .map(|(trouble, count)| (*trouble, *count))
                .collect(),
            consumed: self.store.consumed().counted(),
            repeats: self.store.repeats(),
        });
    }

    fn phase(&self) -> Phase {
        match self.ending.as_ref().map(|ending| &ending.outcome) {
            None => Phase::Running,
            Some(Outcome::Idle | Outcome::Drained | Outcome::Abandoned(_)) => Phase::Draining,
            Some(Outcome::Source(error)) => Phase::Failing(error.to_string()),
            Some(Outcome::Store(what)) => Phase::Failing(what.clone()),
        }
    }

    fn look_at_one(&mut self, id: PartitionId) -> Option<PartitionVitals> {
        let figures = self.engine.figures(id)?;
        let slots = self.engine.in_flight() < self.settings.cap;
        let could = figures.runnable && slots && self.engine.sick_since().is_none();
        let head_at = self.engine.open(id).next().and_then(|r| r.timestamp());
        let owned = self.partitions.get_mut(&id)?;
        let progress = (
            figures.buffered,
            figures.in_flight,
            figures.unflushed,
            owned.number,
        );
        let before = owned.stalled.filter(|before| before.progress == progress);
        owned.stalled = could.then(|| {
            before.unwrap_or(Stalled {
                since: self.now,
                progress,
            })
        });
        let mut vitals = PartitionVitals {
            behind: owned.behind,
            buffered: figures.buffered,
            bytes: figures.bytes,
            in_flight: figures.in_flight,
            waiting: figures.waiting,
            paused: figures.paused,
            head_at,
            retention: owned.retention,
            store_fails_since: owned.store_fails_since,
            unreadable_since: owned.unreadable_since,
            unproven: owned.held
                && figures.buffered > 0
                && self.now + self.settings.timeout > owned.proven_at + self.settings.drain,
            stalled_since: owned.stalled.map(|stalled| stalled.since),
            ..PartitionVitals::new(owned.assignment.name.clone())
        };
        add_lanes(&mut vitals, owned);
        Some(vitals)
    }

    /// Counts what an answer says of the store itself, and since when it says nothing else.
    pub(super) fn note_trouble(&mut self, fact: &StoreFact) {
        for trouble in counts::trouble(fact) {
            *self.counters.store_errors.entry(trouble).or_default() += 1;
        }
        match fact {
            StoreFact::Committed(results) => {
                for ((id, _), result) in results {
                    let lost = |error: &CommitError| {
                        matches!(error, CommitError::NotWritten(_) | CommitError::Unknown(_))
                    };
                    let fails = result.as_ref().is_err_and(lost);
                    self.store_fails(*id, fails);
                }
            }
            StoreFact::Proof { id, found, .. } => {
                let fails = matches!(found, Err(StoreError::OutOfReach(_)));
                self.store_fails(*id, fails);
            }
            StoreFact::Claimed { .. }
            | StoreFact::Waits { .. }
            | StoreFact::Lanes { .. }
            | StoreFact::Taken { .. }
            | StoreFact::Chain { .. }
            | StoreFact::Published { .. }
            | StoreFact::Released { .. }
            | StoreFact::GivenBack(_)
            | StoreFact::Beat(_) => {}
        }
    }

    fn store_fails(&mut self, id: PartitionId, fails: bool) {
        if let Some(owned) = self.partitions.get_mut(&id) {
            let since = owned.store_fails_since.unwrap_or(self.now);
            owned.store_fails_since = fails.then_some(since);
        }
    }
}

fn add_lanes(vitals: &mut PartitionVitals, owned: &Owned) {
    for item in owned.lanes.values() {
        match item.state {
            LaneState::Stopped => {
                vitals.stopped += 1;
                let since = vitals.stopped_since.unwrap_or(item.since);
                vitals.stopped_since = Some(since.min(item.since));
            }
            LaneState::Parked => vitals.parked += 1,
            LaneState::Draining => vitals.draining += 1,
            LaneState::Live => {}
        }
        if item.state != LaneState::Stopped {
            vitals.chained += item.count;
        }
    }
}
