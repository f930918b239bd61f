//! What the processor asks of a store, asked of marks.

use super::Marked;
use crate::{
    position::Position,
    record::{Assignment, LaneKey, PartitionName, Record},
    store::{
        AsRead, Claimed, Commit, CommitBounds, CommitError, Committed, Consumed, DecideError,
        DecisionNote, Fence, HistoryItem, LaneItem, Ownership, Repeats, Rewind, RewindError, Store,
        StoreError, WorkerId, WorkerItem,
    },
};
use futures_util::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use std::{sync::Arc, time::Duration};

/// Of what is never to happen within an invocation.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

impl Store for Marked {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn shares_commits(&self) -> bool {
        self.inner.shares_commits()
    }

    /// Each record with effects takes an item more.
    fn bounds(&self) -> CommitBounds {
        let bounds = self.inner.bounds();
        CommitBounds {
            items: bounds.items / 2,
            ..bounds
        }
    }

    fn consumed(&self) -> Consumed {
        self.inner.consumed()
    }

    fn repeats(&self) -> Repeats {
        self.inner.repeats()
    }

    fn claim<'a>(
        &'a self,
        partition: &'a PartitionName,
        _: WorkerId,
    ) -> BoxFuture<'a, Result<Claimed, StoreError>> {
        Box::pin(self.claim_in_time(partition))
    }

    /// What nobody can take away needs no proof.
    fn ownership<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Option<Ownership>, StoreError>> {
        Box::pin(async move {
            self.part(partition)?;
            Ok(Some(self.invocation.ownership()))
        })
    }

    fn commit<'a>(
        &'a self,
        commits: &'a [Commit],
    ) -> BoxFuture<'a, Vec<Result<Committed, CommitError>>> {
        Box::pin(join_all(commits.iter().map(|one| self.commit_one(one))))
    }

    fn release<'a>(
        &'a self,
        partition: &'a PartitionName,
        _: Fence,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.end(partition))
    }

    fn lanes<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<LaneItem>, StoreError>> {
        Box::pin(async move {
            let mut standing = self.part(partition)?.lock().await;
            let items = self.inner.lane_items(standing.lanes_at()).await?;
            standing.read(items);
            self.note_read(&standing).await;
            Ok(standing.shown(&self.invocation.lease(), (self.wall)()))
        })
    }

    fn chain<'a>(
        &'a self,
        assignment: &'a Arc<Assignment>,
        lane: &'a LaneKey,
        after: Option<&'a Position>,
        records_max: usize,
        bytes_max: u64,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let at = Arc::new(Assignment {
                name: self.lanes_at(&assignment.name).await?,
                ..(**assignment).clone()
            });
            let store = &self.inner;
            let records = store
                .chain(&at, lane, after, records_max, bytes_max)
                .await?;
            self.look_for_applied(&records).await?;
            Ok(records)
        })
    }

    fn decide<'a>(
        &'a self,
        partition: &'a PartitionName,
        lane: &'a LaneKey,
        rev: u64,
        decision: &'a DecisionNote,
    ) -> BoxFuture<'a, Result<u64, DecideError>> {
        Box::pin(async move {
            let at = self.lanes_at(partition).await?;
            self.inner.decide(&at, lane, rev, decision).await
        })
    }

    fn take<'a>(
        &'a self,
        partition: &'a PartitionName,
        _: Fence,
        lane: &'a LaneKey,
        _: u64,
    ) -> BoxFuture<'a, Result<LaneItem, DecideError>> {
        Box::pin(async move {
            let mut standing = self.part(partition)?.lock().await;
            let (lease, now) = (self.invocation.lease(), (self.wall)());
            let rev = standing.rev(lane);
            let had = self
                .inner
                .lease(standing.lanes_at(), lane, rev, &lease, now)
                .await?;
            Ok(standing.leased(had))
        })
    }

    fn rewind<'a>(
        &'a self,
        partition: &'a PartitionName,
        _: AsRead,
        _: &'a Rewind,
    ) -> BoxFuture<'a, Result<Ownership, RewindError>> {
        let what = format!("{partition}: its mapping says what is delivered: use `recover`");
        async { Err(RewindError::Store(StoreError::Damaged(what))) }.boxed()
    }

    fn partitions(&self) -> BoxFuture<'_, Result<Vec<PartitionName>, StoreError>> {
        self.inner.partitions()
    }

    fn beats_every(&self) -> Duration {
        NEVER
    }

    /// An invocation is no worker that `status` would find a minute later.
    fn beat<'a>(&'a self, _: &'a WorkerItem) -> BoxFuture<'a, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
    }

    fn leave(&self, _: WorkerId) -> BoxFuture<'_, Result<(), StoreError>> {
        async { Ok(()) }.boxed()
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
