//! What a store in memory holds of one app, and what each verb does to it.

use super::marks::{MarkPlace, StoredMark};
use crate::{
    checkpoint::Checkpoint,
    position::Position,
    record::{Assignment, LaneKey, PartitionName, Record},
    store::{
        Claimed, Commit, CommitBounds, CommitError, Committed, DecideError, DecisionNote, Fence,
        HistoryEvent, HistoryItem, LaneChange, LaneItem, LaneState, Ownership, StoreError,
        WorkerId, WorkerItem,
        rules::{self, Admission, Found, HISTORY_MILLIS},
    },
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use uuid::Uuid;

/// Everything of one app.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Contents {
    /// Checkpoint items.
    pub ownerships: BTreeMap<PartitionName, Ownership>,
    /// Partitions that were ever claimed.
    pub registry: BTreeSet<PartitionName>,
    /// Lane items, live ones too.
    pub lanes: BTreeMap<(PartitionName, LaneKey), LaneItem>,
    /// Chains: [`Record::to_stored`] by position.
    pub chains: BTreeMap<(PartitionName, LaneKey), BTreeMap<Position, Vec<u8>>>,
    /// The value table, by table and key.
    pub values: BTreeMap<(String, String), Value>,
    /// History, oldest first.
    pub history: BTreeMap<PartitionName, Vec<HistoryItem>>,
    /// Marks.
    pub marks: BTreeMap<MarkPlace, StoredMark>,
    /// Records with effects that are durable, behind a mapping, by generation.
    pub done: BTreeSet<(PartitionName, u64, Position)>,
    /// Worker items.
    pub workers: BTreeMap<Uuid, WorkerItem>,
    /// What is damaged: reading it fails.
    pub damaged: BTreeSet<Row>,
}

/// What can be damaged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Row {
    /// A checkpoint item.
    Checkpoint(PartitionName),
    /// A lane item.
    Lane(PartitionName, LaneKey),
    /// A record of a chain.
    Chain(PartitionName, LaneKey, Position),
    /// A value, by table and key.
    Value(String, String),
    /// A partition's history.
    History(PartitionName),
}

impl Contents {
    fn sound(&self, row: &Row) -> Result<(), String> {
        if self.damaged.contains(row) {
            return Err(format!("store in memory: {row:?} is damaged"));
        }
        Ok(())
    }

    pub(super) fn ownership(
        &self,
        partition: &PartitionName,
    ) -> Result<Option<Ownership>, StoreError> {
        self.sound(&Row::Checkpoint(partition.clone()))
            .map_err(StoreError::Damaged)?;
        Ok(self.ownerships.get(partition).cloned())
    }

    pub(super) fn claim(
        &mut self,
        partition: &PartitionName,
        worker: WorkerId,
        now: i64,
    ) -> Result<Claimed, StoreError> {
        let found = self.ownership(partition)?;
        let lanes = self.lanes(partition)?;
        let unclean = found.as_ref().and_then(|found| found.worker);
        Ok(Claimed {
            ownership: self.claimed_by(partition, worker, found, now),
            unclean,
            lanes,
            failed: Vec::new(),
        })
    }

    fn claimed_by(
        &mut self,
        partition: &PartitionName,
        worker: WorkerId,
        found: Option<Ownership>,
        now: i64,
    ) -> Ownership {
        let unclean_claims = { found.as_ref() }.map_or(0, |f| f.unclean_claims_with(worker));
        let ownership = Ownership {
            worker: Some(worker),
            epoch: found.as_ref().map_or(0, |found| found.epoch) + 1,
            generation: found.as_ref().map_or(0, |found| found.generation),
            commit: 0,
            content: [0; 16],
            unclean_claims,
            checkpoint: found.and_then(|found| found.checkpoint),
            updated_at: now,
        };
        self.ownerships.insert(partition.clone(), ownership.clone());
        self.registry.insert(partition.clone());
        ownership
    }

    /// `None`: the item is not as it was read.
    pub(super) fn claim_as_read(
        &mut self,
        partition: &PartitionName,
        worker: WorkerId,
        read: Option<Ownership>,
        now: i64,
    ) -> Result<Option<Ownership>, StoreError> {
        let found = self.ownership(partition)?;
        let key = |item: &Option<Ownership>| item.as_ref().map(|o| (o.worker, o.epoch, o.commit));
        if key(&found) != key(&read) {
            return Ok(None);
        }
        Ok(Some(self.claimed_by(partition, worker, read, now)))
    }

    /// The checkpoint item, if the fence holds.
    fn owned(&self, partition: &PartitionName, fence: Fence) -> Result<Ownership, StoreError> {
        let found = self.ownership(partition)?;
        match found {
            Some(found) if found.epoch == fence.epoch && found.worker == Some(fence.worker) => {
                Ok(found)
            }
            found => Err(StoreError::Fenced {
                partition: partition.clone(),
                worker: found.as_ref().and_then(|found| found.worker),
                epoch: found.map_or(0, |found| found.epoch),
            }),
        }
    }

    pub(super) fn release(
        &mut self,
        partition: &PartitionName,
        fence: Fence,
        now: i64,
    ) -> Result<(), StoreError> {
        match self.owned(partition, fence) {
            Ok(found) => {
                let released = Ownership {
                    worker: None,
                    unclean_claims: 0,
                    updated_at: now,
                    ..found
                };
                self.ownerships.insert(partition.clone(), released);
                Ok(())
            }
            // Only the owner of an epoch releases it: this release landed before.
            Err(StoreError::Fenced {
                worker: None,
                epoch,
                ..
            }) if epoch == fence.epoch => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn lanes(&self, partition: &PartitionName) -> Result<Vec<LaneItem>, StoreError> {
        let mut items = self.lane_items(partition)?;
        items.retain(|item| item.state != LaneState::Live);
        Ok(items)
    }

    pub(super) fn lane_items(
        &self,
        partition: &PartitionName,
    ) -> Result<Vec<LaneItem>, StoreError> {
        let own = self.lanes.iter().filter(|((of, _), _)| of == partition);
        let mut items = Vec::new();
        for ((_, lane), item) in own {
            self.sound(&Row::Lane(partition.clone(), lane.clone()))
                .map_err(StoreError::Damaged)?;
            items.push(item.clone());
        }
        Ok(items)
    }

    pub(super) fn lane(
        &self,
        partition: &PartitionName,
        lane: &LaneKey,
    ) -> Result<Option<&LaneItem>, StoreError> {
        self.sound(&Row::Lane(partition.clone(), lane.clone()))
            .map_err(StoreError::Damaged)?;
        Ok(self.lanes.get(&(partition.clone(), lane.clone())))
    }

    pub(super) fn chain(
        &self,
        assignment: &Arc<Assignment>,
        lane: &LaneKey,
        after: Option<&Position>,
        records_max: usize,
        bytes_max: u64,
    ) -> Result<Vec<Record>, StoreError> {
        let partition = &assignment.name;
        let Some(chain) = self.chains.get(&(partition.clone(), lane.clone())) else {
            return Ok(Vec::new());
        };
        let (mut records, mut bytes) = (Vec::new(), 0);
        let behind = chain
            .iter()
            .filter(|(position, _)| after.is_none_or(|after| *position > after));
        for (position, stored) in behind.take(records_max) {
            bytes += stored.len() as u64;
            if bytes > bytes_max && !records.is_empty() {
                break;
            }
            self.sound(&Row::Chain(
                partition.clone(),
                lane.clone(),
                position.clone(),
            ))
            .map_err(StoreError::Damaged)?;
            records.push(
                rules::chained(assignment, lane, position.clone(), stored)
                    .map_err(StoreError::Damaged)?,
            );
        }
        Ok(records)
    }

    pub(super) fn decide(
        &mut self,
        partition: &PartitionName,
        lane: &LaneKey,
        rev: u64,
        decision: &DecisionNote,
        now: i64,
    ) -> Result<u64, DecideError> {
        let item = self.standing(partition, lane)?;
        let item = rules::decided(partition, item, rev, decision)?;
        let (rev, head) = (item.rev, item.head.clone());
        self.lanes.insert((partition.clone(), lane.clone()), item);
        let act = HistoryItem {
            at: decision.at,
            what: HistoryEvent::Decided {
                lane: lane.clone(),
                head,
                decision: decision.clone(),
            },
        };
        self.remember(partition, act, now);
        Ok(rev)
    }

    pub(super) fn take(
        &mut self,
        partition: &PartitionName,
        fence: Fence,
        lane: &LaneKey,
        rev: u64,
    ) -> Result<LaneItem, DecideError> {
        self.owned(partition, fence)?;
        let item = rules::taken(partition, self.standing(partition, lane)?, rev)?;
        self.lanes
            .insert((partition.clone(), lane.clone()), item.clone());
        Ok(item)
    }

    pub(super) fn standing(
        &self,
        partition: &PartitionName,
        lane: &LaneKey,
    ) -> Result<LaneItem, DecideError> {
        let found = self.lane(partition, lane)?;
        found.cloned().ok_or_else(|| DecideError::NoSuchLane {
            lane: lane.clone(),
            partition: partition.clone(),
        })
    }

    /// Lines older than seven days go.
    pub(super) fn remember(&mut self, partition: &PartitionName, item: HistoryItem, now: i64) {
        let lines = self.history.entry(partition.clone()).or_default();
        lines.retain(|line| line.at >= now.saturating_sub(HISTORY_MILLIS));
        let place = lines.partition_point(|line| line.at <= item.at);
        lines.insert(place, item);
    }

    pub(super) fn history(
        &self,
        partition: &PartitionName,
    ) -> Result<Vec<HistoryItem>, StoreError> {
        self.sound(&Row::History(partition.clone()))
            .map_err(StoreError::Damaged)?;
        Ok(self.history.get(partition).cloned().unwrap_or_default())
    }

    pub(super) fn value(&self, table: &str, key: &str) -> Result<Option<Value>, String> {
        let place = (table.to_owned(), key.to_owned());
        self.sound(&Row::Value(place.0.clone(), place.1.clone()))?;
        Ok(self.values.get(&place).cloned())
    }

    pub(super) fn values(
        &self,
        table: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<(String, Value)>, StoreError> {
        self.values
            .keys()
            .filter(|(of, key)| of == table && after.is_none_or(|after| key.as_str() > after))
            .take(max)
            .map(|(_, key)| {
                let value = self.value(table, key).map_err(StoreError::Damaged)?;
                Ok((key.clone(), value.unwrap_or_default()))
            })
            .collect()
    }

    /// Writes a commit, or nothing of it.
    pub(super) fn commit(
        &mut self,
        commit: &Commit,
        bounds: CommitBounds,
        now: i64,
    ) -> Result<Committed, CommitError> {
        let partition = &commit.partition;
        // The bound of a commit, with room for what stands around the records.
        let lane_bytes_max = bounds.bytes.saturating_mul(2);
        if let Some(mark) = &commit.mark {
            rules::check_size(commit, lane_bytes_max)?;
            return self.commit_mark(commit, mark, now);
        }
        let found = self.ownership(partition).map_err(damaged)?;
        let last = found.as_ref().map(|found| Found {
            worker: found.worker,
            epoch: found.epoch,
            commit: found.commit,
            content: found.content,
        });
        let (Admission::Write, Some(found)) = (rules::admit(commit, last.as_ref())?, found) else {
            return Ok(Committed {
                repeated: true,
                ..Committed::default()
            });
        };
        rules::check_size(commit, lane_bytes_max)?;
        self.write_beside(commit)?;
        let ownership = Ownership {
            commit: commit.number,
            content: commit.content,
            unclean_claims: if commit.settled_in {
                0
            } else {
                found.unclean_claims
            },
            checkpoint: Some(commit.checkpoint.clone()),
            updated_at: now,
            ..found
        };
        if commit.keep {
            let line = kept(&ownership, &commit.checkpoint, now);
            self.remember(partition, line, now);
        }
        self.ownerships.insert(partition.clone(), ownership);
        Ok(Committed::default())
    }

    /// Writes what a commit has beside its checkpoint, or nothing of it.
    pub(super) fn write_beside(&mut self, commit: &Commit) -> Result<(), CommitError> {
        self.check_lanes(commit)?;
        let values = self.apply_effects(commit)?;
        for (place, value) in values {
            match value {
                Some(value) => self.values.insert(place, value),
                None => self.values.remove(&place),
            };
        }
        for change in &commit.lanes {
            self.write_lane(commit.lanes_at(), change);
        }
        Ok(())
    }

    fn check_lanes(&self, commit: &Commit) -> Result<(), CommitError> {
        let mut moved = Vec::new();
        for (index, change) in commit.lanes.iter().enumerate() {
            let found = self
                .lane(commit.lanes_at(), &change.lane)
                .map_err(damaged)?;
            if rules::moved(change, found) {
                moved.push(index);
            }
        }
        if moved.is_empty() {
            Ok(())
        } else {
            Err(CommitError::LaneMoved(moved))
        }
    }

    pub(super) fn write_lane(&mut self, partition: &PartitionName, change: &LaneChange) {
        let place = (partition.clone(), change.lane.clone());
        let Some(item) = &change.item else {
            self.lanes.remove(&place);
            self.chains.remove(&place);
            return;
        };
        self.lanes.insert(place.clone(), item.clone());
        let chain = self.chains.entry(place.clone()).or_default();
        for record in &change.append {
            chain.insert(record.position().clone(), record.to_stored());
        }
        if let Some(passed) = &change.passed {
            chain.retain(|position, _| position > passed);
        }
        if chain.is_empty() {
            self.chains.remove(&place);
        }
    }
}

fn kept(ownership: &Ownership, checkpoint: &Checkpoint, at: i64) -> HistoryItem {
    HistoryItem {
        at,
        what: HistoryEvent::Checkpoint {
            epoch: ownership.epoch,
            generation: ownership.generation,
            checkpoint: checkpoint.clone(),
        },
    }
}

fn damaged(error: StoreError) -> CommitError {
    CommitError::Damaged(error.to_string())
}
