//! Claims: a partition is taken up where its checkpoint ends, with the lanes that stand.

use super::{Processor, StoreFact, log, owned::Owned};
use crate::{
    checkpoint::Checkpoint,
    history::Event as Noted,
    position::Position,
    record::{Assignment, PartitionName},
    source::{Budget, SourceError, Start},
    store::{Claimed, Fence, LaneItem, LaneState, StoreError, Verb},
};
use futures_util::FutureExt;
use partitions::{Held, PartitionId, Resume};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// First wait before a claim is tried again; doubled up to the bound.
const CLAIM_AGAIN_MIN: Duration = Duration::from_millis(50);
const CLAIM_AGAIN_MAX: Duration = Duration::from_secs(5);

/// A partition that is claimed and not taken up yet.
pub(super) struct Claiming {
    incarnation: Option<String>,
    siblings: Option<Arc<str>>,
    /// Why it is not claimed yet.
    pub(super) waits: Option<String>,
    holder_is_dead: bool,
    start: Option<oneshot::Sender<Option<Start>>>,
    budget: Arc<Budget>,
    won: Option<Won>,
    calls: u32,
}

/// A claim that the store acknowledged.
struct Won {
    claimed: Claimed,
    assignment: Arc<Assignment>,
    /// Before it was sent: from then on it proves ownership.
    asked: Duration,
    /// When it was acknowledged: a former owner may have proved its own until then.
    heard: Duration,
}

impl Claiming {
    pub(super) fn new(
        incarnation: Option<String>,
        siblings: Option<Arc<str>>,
        holder_is_dead: bool,
        start: oneshot::Sender<Option<Start>>,
        memory: u64,
    ) -> Self {
        Self {
            incarnation,
            siblings,
            waits: None,
            holder_is_dead,
            start: Some(start),
            budget: Arc::new(Budget::new(memory)),
            won: None,
            calls: 0,
        }
    }
}

impl Processor {
    /// Each partition's share of the budget.
    pub(super) fn share_memory(&mut self) {
        let count = (self.claiming.len() + self.partitions.len()).max(1) as u64;
        let share = (self.settings.memory / count).max(1);
        self.engine.set_partition_bytes_max(share);
        let budgets = self.claiming.values().map(|c| &c.budget);
        for budget in budgets.chain(self.partitions.values().map(|o| &o.memory.budget)) {
            budget.resize(share);
        }
    }

    /// Asks for a partition, unless a call that asks for it is out: its answer serves as well.
    pub(super) fn claim(&mut self, partition: PartitionName, wait: Duration) {
        if !self.claims_out.insert(partition.clone()) {
            return;
        }
        let (store, worker, clock) = (
            Arc::clone(&self.store),
            self.worker,
            Arc::clone(&self.clock),
        );
        let claiming = self.claiming.get(&partition);
        let siblings = claiming.and_then(|claiming| claiming.siblings.clone());
        let looks = Arc::clone(&self.newcomer_looks);
        self.calls.push(
            async move {
                super::pause(wait).await;
                let asked = clock.now();
                if let Some(siblings) = siblings {
                    let found = looks.standing(&*store, &partition, &siblings).await;
                    if let Some(fact) = StoreFact::of_look(&partition, asked, found) {
                        return fact;
                    }
                }
                let result = store.claim(&partition, worker).await;
                StoreFact::Claimed {
                    partition,
                    asked,
                    result,
                }
            }
            .boxed(),
        );
    }

    pub(super) fn claimed(
        &mut self,
        partition: PartitionName,
        asked: Duration,
        result: Result<Claimed, StoreError>,
    ) {
        self.claims_out.remove(&partition);
        let Some(claiming) = self.claiming.get_mut(&partition) else {
            // The source took it back, or the loop ends.
            let done = self.taken_back.remove(&partition);
            match result {
                Ok(claimed) => self.give_back(partition, &claimed, done),
                Err(_) => let_go(done),
            }
            return;
        };
        claiming.waits = None;
        let claimed = match result {
            Ok(claimed) => claimed,
            Err(error @ (StoreError::OutOfReach(_) | StoreError::Fenced { .. })) => {
                let wait = CLAIM_AGAIN_MIN
                    .saturating_mul(1 << claiming.calls.min(10))
                    .min(CLAIM_AGAIN_MAX);
                // As with commits: not each of them, of each partition, for as long as it lasts.
                if claiming.calls == 0 || claiming.calls.is_multiple_of(16) {
                    tracing::warn!(source = %partition.source, partition = %partition.partition, calls = claiming.calls + 1, %error, "claim is repeated");
                }
                claiming.calls += 1;
                self.claim(partition, wait);
                return;
            }
            Err(StoreError::Damaged(why)) => {
                self.claiming.remove(&partition);
                self.fail_source(&partition.source, SourceError::Refused { what: why });
                return;
            }
        };
        let ownership = &claimed.ownership;
        if let (Some(ours), Some(theirs)) = (
            &claiming.incarnation,
            ownership
                .checkpoint
                .as_ref()
                .and_then(|c| c.incarnation.as_ref()),
        ) && ours != theirs
        {
            tracing::warn!(source = %partition.source, partition = %partition.partition, "the checkpoint is of log {theirs}, this is log {ours}");
        }
        let assignment = Arc::new(Assignment {
            name: partition,
            epoch: ownership.epoch,
            generation: ownership.generation,
        });
        let start = Start {
            assignment: Arc::clone(&assignment),
            checkpoint: ownership.checkpoint.clone(),
            budget: Arc::clone(&claiming.budget),
        };
        if let Some(sender) = claiming.start.take() {
            // A source that went away is noticed by its end.
            let _ = sender.send(Some(start));
        }
        claiming.won = Some(Won {
            claimed,
            assignment,
            asked,
            heard: self.now,
        });
    }

    pub(super) fn positioned(
        &mut self,
        partition: &PartitionName,
        from: &Resume<Position>,
        gap: Option<String>,
        last: Option<Position>,
    ) {
        let Some(claiming) = self.claiming.remove(partition) else {
            return;
        };
        let Some(Won {
            claimed,
            assignment,
            asked,
            heard,
        }) = claiming.won
        else {
            return;
        };
        let known = claimed.ownership.checkpoint.clone().unwrap_or_default();
        let fits = of_this_log(&known, from, claiming.incarnation.as_ref());
        if !fits && !claimed.lanes.is_empty() {
            self.refuse_foreign(partition, &claimed);
            return;
        }
        let ownership = claimed.ownership;
        let found = ownership.checkpoint;
        // What was settled of another log says nothing of this one.
        let known = if fits { known } else { Checkpoint::default() };
        let mut checkpoint = Checkpoint {
            resume: from.clone(),
            ..known.clone()
        };
        checkpoint.incarnation = claiming.incarnation.or(known.incarnation.clone());
        let id = self.take_up(&assignment.name, &checkpoint, &claimed.lanes);
        let unclean = claimed.unclean.is_some();
        let regained = claimed.unclean == Some(self.worker);
        let quiet = self.quiet(unclean, claiming.holder_is_dead);
        let fence = Fence {
            worker: self.worker,
            epoch: ownership.epoch,
        };
        let mut owned = Owned {
            source: self.counters.place(&assignment.name.source),
            number: ownership.commit,
            attempts: known.attempts.iter().cloned().collect::<HashMap<_, _>>(),
            failed: claimed.failed.into_iter().collect(),
            dirty: !fits || checkpoint != known,
            placing: checkpoint.resume != known.resume,
            proven_at: asked,
            quiet_until: (!quiet.is_zero()).then_some(heard + quiet),
            unclean_claims: ownership.unclean_claims,
            checkpoint,
            ..Owned::new(assignment, fence, claimed.lanes, claiming.budget, self.now)
        };
        self.note_claim(&owned, !unclean, found.as_ref(), gap.as_deref());
        owned.charged = self.be_careful(id, &owned, &known, last, regained);
        self.taken_up(id, owned);
    }

    /// What was claimed, for whoever reads the history alone.
    fn note_claim(
        &self,
        owned: &Owned,
        clean: bool,
        found: Option<&Checkpoint>,
        gap: Option<&str>,
    ) {
        if let Some(gap) = gap {
            tracing::warn!(source = %owned.assignment.name.source, partition = %owned.assignment.name.partition, "gap: {gap}");
        }
        log::claimed(owned, clean);
        self.notes.partition(owned, Noted::Claimed { clean });
        let restored = Noted::Restored {
            checkpoint: found,
            from: &owned.checkpoint.resume,
            gap,
        };
        self.notes.partition(owned, restored);
        for item in owned.lanes.values() {
            let held = Noted::Held {
                state: item.state,
                tail: item.tail.as_ref(),
                count: item.count,
                decision: item.taken().map(|d| d.verb),
            };
            self.notes.head(owned, item.lane.bytes(), &item.head, held);
        }
    }

    /// Lanes that stand on positions of another log cannot be told from this one's.
    fn refuse_foreign(&mut self, partition: &PartitionName, claimed: &Claimed) {
        let what = format!(
            "{partition}: the log is not the one that the checkpoint is of, or ends before it, and {} of its lanes are stopped or parked: decide them (`lanekeeper lanes`) with the former log in place, or begin anew under another `app`",
            claimed.lanes.len()
        );
        self.give_back(partition.clone(), claimed, None);
        self.fail_source(&partition.source, SourceError::Refused { what });
    }

    /// How long a former owner's tries may still run after an unclean claim.
    fn quiet(&self, unclean: bool, holder_is_dead: bool) -> Duration {
        if !unclean || (holder_is_dead && self.settle.is_zero()) {
            // Handlers that run in the worker, or die with it, are gone.
            Duration::ZERO
        } else if !holder_is_dead {
            self.settings.drain + self.settle
        } else {
            self.settings.timeout + self.settle
        }
    }

    fn taken_up(&mut self, id: PartitionId, owned: Owned) {
        let partition = owned.assignment.name.clone();
        if let Some(until) = owned.quiet_until {
            tracing::info!(source = %partition.source, partition = %partition.partition, "a former owner did not release: nothing starts for {:?}", until.saturating_sub(self.now));
        }
        self.names.insert(partition, id);
        self.partitions.insert(id, owned);
        self.proofs_due = self.now;
        self.check_proofs();
        self.take_up_decisions(id);
        if self.ending.is_some() {
            self.leave(id, None);
        }
    }

    fn take_up(
        &mut self,
        name: &PartitionName,
        checkpoint: &Checkpoint,
        lanes: &[LaneItem],
    ) -> PartitionId {
        let after = |position: &Position| match &checkpoint.resume {
            Resume::Beginning => true,
            Resume::At(first) => position >= first,
            Resume::After(last) => position > last,
        };
        let mut open = checkpoint
            .open
            .positions()
            .iter()
            .filter(|p| after(p))
            .cloned();
        let held: Vec<(&[u8], Held<Position>)> = lanes
            .iter()
            .filter_map(|item| Some((item.lane.bytes(), held(item)?)))
            .collect();
        let settled_to = checkpoint.settled_to.clone().filter(|p| after(p));
        self.engine.assign(partitions::Assignment {
            identity: identity(name),
            resume: checkpoint.resume.clone(),
            settled_to,
            open: &mut open,
            held: &mut held.into_iter(),
        })
    }

    /// Releases what was claimed and never taken up; `done` is told then. A claim that found a worker
    /// stays: a release would tell the next owner that the tries of that worker have ended.
    fn give_back(
        &mut self,
        partition: PartitionName,
        claimed: &Claimed,
        done: Option<oneshot::Sender<()>>,
    ) {
        if claimed.unclean.is_some() {
            let_go(done);
            return;
        }
        let epoch = claimed.ownership.epoch;
        self.giving_back += 1;
        let (store, fence) = (
            Arc::clone(&self.store),
            Fence {
                worker: self.worker,
                epoch,
            },
        );
        self.calls.push(
            async move {
                let released = store.release(&partition, fence).await;
                let_go(done);
                StoreFact::GivenBack(released)
            }
            .boxed(),
        );
    }

    /// The source takes back what is not taken up yet. It lets go when no call of ours that claims it is
    /// out any more: late, it would take the partition from the next owner. `done`, if it is not being
    /// claimed at all.
    pub(super) fn claim_taken_back(
        &mut self,
        partition: &PartitionName,
        done: oneshot::Sender<()>,
    ) -> Option<oneshot::Sender<()>> {
        let won = { self.claiming.remove(partition) }.and_then(|claiming| claiming.won);
        if self.claims_out.contains(partition) {
            self.taken_back.insert(partition.clone(), done);
            None
        } else if let Some(won) = won {
            self.give_back(partition.clone(), &won.claimed, Some(done));
            None
        } else {
            Some(done)
        }
    }

    /// Takes up no more of what is being claimed.
    pub(super) fn stop_claiming(&mut self) {
        for (partition, claiming) in std::mem::take(&mut self.claiming) {
            if let Some(won) = claiming.won {
                self.give_back(partition, &won.claimed, None);
            }
        }
    }

    /// Decisions that a former owner took and did not finish. The engine was told of those that show
    /// in the lane's state.
    fn take_up_decisions(&mut self, id: PartitionId) {
        let Some(owned) = self.partitions.get_mut(&id) else {
            return;
        };
        let mut told = Vec::new();
        for item in owned.lanes.values() {
            let state = held(item);
            let resumed = matches!(
                state,
                Some(
                    Held::Stopped { verdict: true, .. }
                        | Held::Parked {
                            releasing: true,
                            ..
                        }
                )
            );
            if resumed && let Some(decision) = &item.decision {
                told.push((item.lane.clone(), decision.clone()));
            }
        }
        owned.acted.extend(told);
        self.act_on_taken(id);
    }
}

/// Tells a source that it may let go of a partition. One that went away is noticed by its end.
fn let_go(done: Option<oneshot::Sender<()>>) {
    if let Some(done) = done {
        let _ = done.send(());
    }
}

/// Whether a checkpoint speaks of the positions that the source will hand over: its log is the same
/// one, and reading does not begin before the settled prefix's end.
fn of_this_log(known: &Checkpoint, from: &Resume<Position>, incarnation: Option<&String>) -> bool {
    let same = match (incarnation, &known.incarnation) {
        (Some(ours), Some(theirs)) => ours == theirs,
        (None, _) | (_, None) => true,
    };
    let back = match (from, &known.resume) {
        (_, Resume::Beginning) => false,
        (Resume::Beginning, Resume::At(_) | Resume::After(_)) => true,
        (Resume::At(from), Resume::At(known)) => from < known,
        (Resume::At(from), Resume::After(known)) => from <= known,
        (Resume::After(from), Resume::At(known) | Resume::After(known)) => from < known,
    };
    same && !back
}

/// The lane as the engine takes it up.
fn held(item: &LaneItem) -> Option<Held<Position>> {
    let taken = item.taken().map(|d| d.verb);
    match item.state {
        LaneState::Stopped => Some(Held::Stopped {
            head: item.head.clone(),
            verdict: taken == Some(Verb::DeadLetter),
        }),
        LaneState::Parked | LaneState::Draining => Some(Held::Parked {
            head: item.head.clone(),
            tail: item.tail.clone().unwrap_or_else(|| item.head.clone()),
            count: item.count,
            bytes: item.bytes,
            releasing: item.state == LaneState::Draining
                || matches!(taken, Some(Verb::Release | Verb::Retry)),
            cut: item.state == LaneState::Draining,
        }),
        LaneState::Live => None,
    }
}

/// Names a partition over assignments: FNV-1a, since it must not change with the process's seed.
fn identity(name: &PartitionName) -> u64 {
    let bytes = name.source.bytes().chain([0]).chain(name.partition.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
