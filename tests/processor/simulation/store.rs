//! The store as one incarnation sees it: weather by the plan, what cannot be seen from outside
//! counted, and on demand a bug that must be caught.

use super::{
    counters::Counters,
    dynamodb,
    world::{Shared, lock},
};
use futures_util::{FutureExt, future::BoxFuture};
use lanekeeper::{
    Position, Record,
    record::{Assignment, LaneKey, PartitionName},
    store::{
        AsRead, Claimed, Commit, CommitBounds, CommitError, Committed, Consumed, ContentId,
        DecideError, DecisionNote, Fence, HistoryItem, LaneItem, LaneState, Ownership, Rewind,
        RewindError, Store, StoreError, Verb, WorkerId, WorkerItem,
        memory::{Call, Fate, Memory, Weather},
    },
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

/// A bug that is planted, to see that it is caught.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Canary {
    /// The fence is not in the condition: a stale owner's commits are taken.
    NoFence,
    /// A commit is acknowledged and not written.
    LostCommit,
    /// What is open counts as settled.
    SettlesOpen,
    /// A claim says that it is clean when it is not.
    CleanClaim,
    /// A chain is read without its first record.
    ShortChain,
    /// A chain's tail moves before its segment is written, and the process dies in between.
    TailFirst,
    /// What a claim takes up was read before it, and an owner committed in between.
    StaleClaim,
    /// A commit may write an item twice, and the last of the writes is the one that stands.
    ItemTwice,
    /// A commit of which nobody knows arrives late, and is taken although a successor has claimed.
    LandsLate,
}

/// An incarnation's handle.
pub(super) struct Seat {
    pub(super) shared: Arc<Shared>,
    pub(super) inner: Memory,
    /// What the requests of this handle consumed.
    pub(super) consumed: Mutex<Consumed>,
}

impl Seat {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let of = Arc::downgrade(shared);
        let weather = move |call: &Call<'_>| {
            of.upgrade()
                .map_or_else(Weather::default, |shared| weather(&shared, call))
        };
        let mut inner = shared.store.clone().with_faults(weather);
        if let Some(rules) = shared.plan.dynamodb {
            inner = inner.with_bounds(rules.bounds).with_claims_in_steps();
        }
        Self {
            shared: Arc::clone(shared),
            inner,
            consumed: Mutex::default(),
        }
    }

    pub(super) fn has(&self, canary: Canary) -> bool {
        self.shared.canary == Some(canary)
    }

    /// The commit as the bug sends it; `None`: it does not.
    fn spoilt(&self, commit: &Commit) -> Option<Commit> {
        let mut commit = commit.clone();
        if self.has(Canary::NoFence) {
            usurps(&self.shared, &mut commit);
        }
        if self.has(Canary::SettlesOpen) && self.shared.chance(0.05) {
            commit.checkpoint.open = Default::default();
        }
        if self.has(Canary::TailFirst) {
            commit.lanes.iter_mut().for_each(|lane| lane.append.clear());
        }
        (!(self.has(Canary::LostCommit) && self.shared.chance(0.05))).then_some(commit)
    }

    fn count(&self, commit: &Commit, result: &Result<Committed, CommitError>) {
        let mut seen = self.shared.commits();
        let unknown = seen.unknown.contains(&commit.content);
        let count = |count: fn(&mut Counters)| self.shared.count(count);
        match result {
            Ok(Committed { repeated, .. }) => {
                if unknown && *repeated {
                    count(|c| c.unknown_landed += 1);
                } else if unknown {
                    count(|c| c.unknown_not_landed += 1);
                }
                if *repeated && commit.lanes.iter().any(|lane| !lane.append.is_empty()) {
                    count(|c| c.appends_repeated += 1);
                }
                let released = |item: &LaneItem| {
                    let verb = item.taken().map(|decision| decision.verb);
                    matches!(verb, Some(Verb::Release | Verb::Retry))
                };
                if { commit.lanes.iter() }
                    .filter(|lane| !lane.append.is_empty())
                    .any(|lane| lane.item.as_ref().is_some_and(released))
                {
                    count(|c| c.appends_while_released += 1);
                }
                let drains = |item: &LaneItem| item.state == LaneState::Draining;
                if commit
                    .lanes
                    .iter()
                    .any(|lane| lane.item.as_ref().is_some_and(drains))
                {
                    count(|c| c.cuts += 1);
                }
            }
            Err(CommitError::Unknown(_)) => {
                seen.unknown.insert(commit.content);
            }
            Err(CommitError::Fenced { .. }) => count(|c| c.fenced += 1),
            Err(CommitError::LaneMoved(_)) => count(|c| c.lanes_moved += 1),
            Err(CommitError::EffectsRefused(_)) => count(|c| c.effects_refused += 1),
            Err(CommitError::Apart(_)) => count(|c| c.apart += 1),
            Err(CommitError::TooLarge { .. }) => count(|c| c.too_large += 1),
            Err(
                CommitError::NotWritten(_)
                | CommitError::AlreadyDone(_)
                | CommitError::OtherContent { .. }
                | CommitError::Damaged(_),
            ) => {}
        }
    }
}

/// A stale owner's commit passes for the successor's next one.
pub(super) fn usurps(shared: &Shared, commit: &mut Commit) {
    if let Some(found) = shared.store.snapshot().ownerships.get(&commit.partition)
        && let Some(worker) = found.worker
        && found.epoch != commit.fence.epoch
    {
        commit.fence = Fence {
            worker,
            epoch: found.epoch,
        };
        commit.number = found.commit + 1;
    }
}

/// Commits whose outcome was not known once.
#[derive(Default)]
pub(super) struct Commits {
    unknown: BTreeSet<ContentId>,
}

fn weather(shared: &Shared, call: &Call<'_>) -> Weather {
    if shared.is_calm() || matches!(call, Call::Look | Call::Forget) {
        return Weather::default();
    }
    let faults = shared.plan.faults;
    let delay = |most: u64| {
        if shared.chance(faults.store_delay) {
            Duration::from_millis(shared.below(most))
        } else {
            Duration::ZERO
        }
    };
    let (before, during, after) = (delay(60), delay(40), delay(60));
    let fate = if shared.chance(faults.store_refused) {
        Fate::Refused
    } else if shared.chance(faults.answer_lost) {
        Fate::AnswerLost
    } else if shared.chance(faults.late) {
        Fate::Late(Duration::from_millis(shared.below(1_500)))
    } else {
        Fate::Sound
    };
    Weather {
        before,
        during,
        after,
        fate,
    }
}

impl Store for Seat {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn shares_commits(&self) -> bool {
        self.shared.plan.shares
    }

    fn bounds(&self) -> CommitBounds {
        let bounds = self.inner.bounds();
        if !self.shared.plan.tight || self.shared.plan.dynamodb.is_some() {
            return bounds;
        }
        CommitBounds {
            items: 8,
            bytes: 8 * 1024,
            ..bounds
        }
    }

    fn beats_every(&self) -> Duration {
        match self.shared.plan.dynamodb {
            Some(_) => dynamodb::BEATS_EVERY,
            None => self.inner.beats_every(),
        }
    }

    fn looks_every(&self) -> Duration {
        match self.shared.plan.dynamodb {
            Some(_) => dynamodb::LOOKS_EVERY,
            None => self.inner.looks_every(),
        }
    }

    fn consumed(&self) -> Consumed {
        match self.shared.plan.dynamodb {
            Some(_) => *lock(&self.consumed),
            None => self.inner.consumed(),
        }
    }

    fn claim<'a>(
        &'a self,
        partition: &'a PartitionName,
        worker: WorkerId,
    ) -> BoxFuture<'a, Result<Claimed, StoreError>> {
        async move {
            let read = match self.has(Canary::StaleClaim) {
                true => self.inner.ownership(partition).await?,
                false => None,
            };
            let mut claimed = self.inner.claim(partition, worker).await?;
            if let Some(read) = read {
                claimed.ownership.checkpoint = read.checkpoint;
            }
            if self.has(Canary::CleanClaim) {
                claimed.unclean = None;
            }
            Ok(claimed)
        }
        .boxed()
    }

    fn ownership<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Option<Ownership>, StoreError>> {
        self.inner.ownership(partition)
    }

    fn commit<'a>(
        &'a self,
        commits: &'a [Commit],
    ) -> BoxFuture<'a, Vec<Result<Committed, CommitError>>> {
        async move {
            let spoilt: Option<Vec<Commit>> = commits.iter().map(|c| self.spoilt(c)).collect();
            let results = match spoilt {
                Some(commits) => match self.shared.plan.dynamodb {
                    Some(rules) => self.commit_each(rules, &commits).await,
                    None => self.inner.commit(&commits).await,
                },
                None => vec![Ok(Committed::default()); commits.len()],
            };
            for (commit, result) in commits.iter().zip(&results) {
                self.count(commit, result);
            }
            results
        }
        .boxed()
    }

    fn release<'a>(
        &'a self,
        partition: &'a PartitionName,
        fence: Fence,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.release(partition, fence)
    }

    fn lanes<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<LaneItem>, StoreError>> {
        self.inner.lanes(partition)
    }

    fn chain<'a>(
        &'a self,
        assignment: &'a Arc<Assignment>,
        lane: &'a LaneKey,
        after: Option<&'a Position>,
        records_max: usize,
        bytes_max: u64,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        async move {
            let chain = self
                .inner
                .chain(assignment, lane, after, records_max, bytes_max);
            let mut records = chain.await?;
            if self.has(Canary::ShortChain) && records.len() > 1 {
                records.remove(0);
            }
            Ok(records)
        }
        .boxed()
    }

    fn decide<'a>(
        &'a self,
        partition: &'a PartitionName,
        lane: &'a LaneKey,
        rev: u64,
        decision: &'a DecisionNote,
    ) -> BoxFuture<'a, Result<u64, DecideError>> {
        self.inner.decide(partition, lane, rev, decision)
    }

    fn take<'a>(
        &'a self,
        partition: &'a PartitionName,
        fence: Fence,
        lane: &'a LaneKey,
        rev: u64,
    ) -> BoxFuture<'a, Result<LaneItem, DecideError>> {
        self.inner.take(partition, fence, lane, rev)
    }

    fn rewind<'a>(
        &'a self,
        partition: &'a PartitionName,
        read: AsRead,
        rewind: &'a Rewind,
    ) -> BoxFuture<'a, Result<Ownership, RewindError>> {
        self.inner.rewind(partition, read, rewind)
    }

    fn partitions(&self) -> BoxFuture<'_, Result<Vec<PartitionName>, StoreError>> {
        self.inner.partitions()
    }

    fn beat<'a>(&'a self, item: &'a WorkerItem) -> BoxFuture<'a, Result<(), StoreError>> {
        self.inner.beat(item)
    }

    fn leave(&self, worker: WorkerId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.leave(worker)
    }

    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerItem>, StoreError>> {
        self.inner.workers()
    }

    fn value<'a>(
        &'a self,
        table: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<serde_json::Value>, StoreError>> {
        self.inner.value(table, key)
    }

    fn values<'a>(
        &'a self,
        table: &'a str,
        after: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, serde_json::Value)>, StoreError>> {
        self.inner.values(table, after, max)
    }

    fn history<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<HistoryItem>, StoreError>> {
        self.inner.history(partition)
    }

    fn forget(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.forget()
    }
}
