//! The verbs of the trait: weather around what [`super::Contents`] does.

use super::{Arc, BoxFuture, Call, Item, Lost, Memory, items};
use super::{
    Assignment, Claimed, Commit, CommitBounds, CommitError, Committed, DecideError, DecisionNote,
    Duration, Fence, HistoryItem, LaneItem, LaneKey, Ownership, PartitionName, Position, Record,
    Store, StoreError, WorkerId, WorkerItem,
};
use crate::store::{AsRead, Rewind, RewindError};

/// How often a claim begins anew because another write came first.
const CLAIMS: usize = 50;

impl Memory {
    async fn claim_in_steps(
        &self,
        partition: &PartitionName,
        worker: WorkerId,
    ) -> Result<Claimed, StoreError> {
        for _ in 0..CLAIMS {
            let read = self.ownership(partition).await?;
            let weather = self.weather(&Call::Claim(partition, worker));
            let touched = (false, vec![Item::Checkpoint(partition.clone())]);
            let (name, as_read) = (partition.clone(), read.clone());
            let write = move |this: &Self| {
                let now = (this.wall)();
                this.within(|contents| contents.claim_as_read(&name, worker, as_read, now))
            };
            let claimed = self.write(weather, touched, write, |lost| Err(lost.into()));
            let Some(ownership) = claimed.await? else {
                self.count(|c| c.claims_overtaken += 1);
                continue;
            };
            let lanes = self.lanes(partition).await?;
            let stands = self.ownership(partition).await?;
            if stands.is_some_and(|o| o.worker == Some(worker) && o.epoch > ownership.epoch) {
                continue;
            }
            return Ok(Claimed {
                ownership,
                unclean: read.and_then(|read| read.worker),
                lanes,
                failed: Vec::new(),
            });
        }
        Err(StoreError::OutOfReach(format!(
            "store in memory: {partition} was written by others {CLAIMS} times while this worker claimed it"
        )))
    }
}

impl Store for Memory {
    fn describe(&self) -> String {
        format!("store in memory, app `{}`", self.app)
    }

    fn shares_commits(&self) -> bool {
        self.shares_commits
    }

    fn beats_every(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn bounds(&self) -> CommitBounds {
        self.bounds
    }

    fn claim<'a>(
        &'a self,
        partition: &'a PartitionName,
        worker: WorkerId,
    ) -> BoxFuture<'a, Result<Claimed, StoreError>> {
        if self.claims_in_steps {
            return Box::pin(self.claim_in_steps(partition, worker));
        }
        let weather = self.weather(&Call::Claim(partition, worker));
        let touched = (false, vec![Item::Checkpoint(partition.clone())]);
        let partition = partition.clone();
        let write = move |this: &Self| {
            let now = (this.wall)();
            this.within(|contents| contents.claim(&partition, worker, now))
        };
        Box::pin(self.write(weather, touched, write, |lost| Err(lost.into())))
    }

    fn ownership<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Option<Ownership>, StoreError>> {
        self.look(Call::Ownership(partition), |contents| {
            contents.ownership(partition)
        })
    }

    fn commit<'a>(
        &'a self,
        commits: &'a [Commit],
    ) -> BoxFuture<'a, Vec<Result<Committed, CommitError>>> {
        let weather = self.weather(&Call::Commit(commits));
        let touched = (true, items(commits));
        let own = commits.to_vec();
        let write = move |this: &Self| own.iter().map(|commit| this.commit_now(commit)).collect();
        let lost = |lost| {
            let error = match lost {
                Lost::Before(why) => CommitError::NotWritten(why.to_owned()),
                Lost::Unknown(why) => CommitError::Unknown(why.to_owned()),
            };
            vec![Err(error); commits.len()]
        };
        Box::pin(self.write(weather, touched, write, lost))
    }

    fn release<'a>(
        &'a self,
        partition: &'a PartitionName,
        fence: Fence,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let weather = self.weather(&Call::Release(partition));
        let touched = (false, vec![Item::Checkpoint(partition.clone())]);
        let partition = partition.clone();
        let write = move |this: &Self| {
            let now = (this.wall)();
            let released = this.within(|contents| contents.release(&partition, fence, now));
            if matches!(released, Err(StoreError::Fenced { .. })) {
                this.count(|c| c.fenced += 1);
            }
            released
        };
        Box::pin(self.write(weather, touched, write, |lost| Err(lost.into())))
    }

    fn lanes<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<LaneItem>, StoreError>> {
        self.look(Call::Lanes(partition), |contents| contents.lanes(partition))
    }

    fn chain<'a>(
        &'a self,
        assignment: &'a Arc<Assignment>,
        lane: &'a LaneKey,
        after: Option<&'a Position>,
        records_max: usize,
        bytes_max: u64,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        let call = Call::Chain(&assignment.name, lane, after);
        self.look(call, move |contents| {
            contents.chain(assignment, lane, after, records_max, bytes_max)
        })
    }

    fn decide<'a>(
        &'a self,
        partition: &'a PartitionName,
        lane: &'a LaneKey,
        rev: u64,
        decision: &'a DecisionNote,
    ) -> BoxFuture<'a, Result<u64, DecideError>> {
        let weather = self.weather(&Call::Decide(partition, lane));
        let (partition, lane, decision) = (partition.clone(), lane.clone(), decision.clone());
        let touched = (false, vec![Item::Lane(partition.clone(), lane.clone())]);
        let write = move |this: &Self| {
            let now = (this.wall)();
            this.within(|contents| contents.decide(&partition, &lane, rev, &decision, now))
        };
        Box::pin(self.write(weather, touched, write, |lost| Err(lost.into())))
    }

    fn take<'a>(
        &'a self,
        partition: &'a PartitionName,
        fence: Fence,
        lane: &'a LaneKey,
        rev: u64,
    ) -> BoxFuture<'a, Result<LaneItem, DecideError>> {
        let weather = self.weather(&Call::Take(partition, lane));
        let (partition, lane) = (partition.clone(), lane.clone());
        // A transaction: the checkpoint item is looked at, the lane item written.
        let touched = (
            true,
            vec![
                Item::Checkpoint(partition.clone()),
                Item::Lane(partition.clone(), lane.clone()),
            ],
        );
        let write = move |this: &Self| {
            let taken = this.within(|contents| contents.take(&partition, fence, &lane, rev));
            if matches!(taken, Err(DecideError::Store(StoreError::Fenced { .. }))) {
                this.count(|c| c.fenced += 1);
            }
            taken
        };
        Box::pin(self.write(weather, touched, write, |lost| Err(lost.into())))
    }

    fn rewind<'a>(
        &'a self,
        partition: &'a PartitionName,
        read: AsRead,
        rewind: &'a Rewind,
    ) -> BoxFuture<'a, Result<Ownership, RewindError>> {
        let weather = self.weather(&Call::Rewind(partition));
        let lanes = { rewind.lanes.iter() }
            .map(|change| Item::Lane(partition.clone(), change.lane.clone()));
        let touched = [Item::Checkpoint(partition.clone())];
        let touched = (true, touched.into_iter().chain(lanes).collect());
        let (partition, rewind) = (partition.clone(), rewind.clone());
        let write = move |this: &Self| {
            let now = (this.wall)();
            this.within(|contents| contents.rewind(&partition, read, &rewind, now))
        };
        Box::pin(self.write(weather, touched, write, |lost| Err(lost.into())))
    }

    fn partitions(&self) -> BoxFuture<'_, Result<Vec<PartitionName>, StoreError>> {
        self.look(Call::Look, |contents| {
            Ok(contents.registry.iter().cloned().collect())
        })
    }

    fn beat<'a>(&'a self, item: &'a WorkerItem) -> BoxFuture<'a, Result<(), StoreError>> {
        self.look(Call::Worker(WorkerId(item.worker)), |contents| {
            contents.workers.insert(item.worker, item.clone());
            Ok(())
        })
    }

    fn leave(&self, worker: WorkerId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.look(Call::Worker(worker), move |contents| {
            contents.workers.remove(&worker.0);
            Ok(())
        })
    }

    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerItem>, StoreError>> {
        self.look(Call::Look, |contents| {
            Ok(contents.workers.values().cloned().collect())
        })
    }

    fn value<'a>(
        &'a self,
        table: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<serde_json::Value>, StoreError>> {
        self.look(Call::Look, |contents| {
            contents.value(table, key).map_err(StoreError::Damaged)
        })
    }

    fn values<'a>(
        &'a self,
        table: &'a str,
        after: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, serde_json::Value)>, StoreError>> {
        self.look(Call::Look, move |contents| {
            contents.values(table, after, max)
        })
    }

    fn history<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<HistoryItem>, StoreError>> {
        self.look(Call::Look, |contents| contents.history(partition))
    }

    fn forget(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.look(Call::Forget, |contents| {
            *contents = super::Contents::default();
            Ok(())
        })
    }
}
