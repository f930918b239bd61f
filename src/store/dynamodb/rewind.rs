//! An operator's rewind or import: one transaction over the checkpoint item, lanes and history.

use super::{
    DynamodbStore,
    attributes::number,
    call::{Code, Trouble},
    commit::ITEMS_MAX,
    expression::Expression,
    history, lanes,
    ownership::set_all,
    schema::{self, Writer},
};
use crate::{
    record::{LaneKey, PartitionName},
    store::{
        AsRead, LaneChange, Ownership, Rewind, RewindError, StoreError,
        rewind::{Rewound, remembered, rewound},
    },
};
use aws_sdk_dynamodb::types::TransactWriteItem;

/// Lanes of the first transaction, beside the checkpoint item and two lines of history.
const LANES_MAX: usize = ITEMS_MAX - 3;

impl DynamodbStore {
    pub(super) async fn rewind_partition(
        &self,
        partition: &PartitionName,
        read: AsRead,
        act: &Rewind,
    ) -> Result<Ownership, RewindError> {
        self.register(partition).await?;
        let found = self.read_ownership(partition).await?;
        let after = match rewound(partition, found.as_ref(), read, act, super::now_millis())? {
            Rewound::Write(after) => after,
            Rewound::Landed(found) => {
                self.rewind_rest(partition, &found, act).await?;
                return Ok(found);
            }
        };
        let mut checkpoint = Expression::default();
        set_all(&mut checkpoint, &after);
        as_read(&mut checkpoint, found.as_ref());
        let first = act.lanes.iter().take(LANES_MAX);
        let mut items = vec![
            checkpoint
                .update(&self.table, self.checkpoint_key(partition))
                .map_err(|error| self.failed(&error.into()))?,
        ];
        for change in first {
            items.push(self.lane_write(partition, change, after.epoch)?);
        }
        for line in remembered(found.as_ref(), &after, act) {
            let item = history::item(&self.app, partition, &line);
            let put = Expression::default().put(&self.table, item);
            items.push(put.map_err(|error| self.failed(&error.into()))?);
        }
        match self.retrying(|| self.transact(items.clone())).await {
            Ok(_) => {}
            Err(trouble) => self.not_rewound(partition, read, act, trouble).await?,
        }
        self.rewind_rest(partition, &after, act).await?;
        Ok(after)
    }

    /// `Ok` when it landed all the same.
    async fn not_rewound(
        &self,
        partition: &PartitionName,
        read: AsRead,
        act: &Rewind,
        trouble: Trouble,
    ) -> Result<(), RewindError> {
        let Trouble::Canceled(reasons) = &trouble else {
            return Err(self.failed(&trouble).into());
        };
        let found = self.read_ownership(partition).await?;
        match rewound(partition, found.as_ref(), read, act, super::now_millis())? {
            Rewound::Landed(_) => return Ok(()),
            Rewound::Write(_) => {}
        }
        let lanes = reasons.iter().skip(1).take(act.lanes.len().min(LANES_MAX));
        let moved: Vec<usize> = lanes
            .enumerate()
            .filter(|(_, reason)| reason.code == Code::Condition)
            .map(|(index, _)| index)
            .collect();
        if moved.is_empty() {
            return Err(self.failed(&trouble).into());
        }
        Err(RewindError::LaneMoved {
            partition: partition.clone(),
            lanes: moved,
        })
    }

    /// Lanes that no longer fit into the one transaction, each on the condition that the rewind still
    /// stands; then what is left of chains that went. A lane that stays, because an owner came first,
    /// is stopped as it was: nothing of it is lost.
    async fn rewind_rest(
        &self,
        partition: &PartitionName,
        after: &Ownership,
        act: &Rewind,
    ) -> Result<(), StoreError> {
        let mut stands = Expression::default();
        let epoch = stands.compare("epoch", "=", number(after.epoch));
        let commit = stands.compare("commit", "=", number(0));
        stands.and(&epoch);
        stands.and(&commit);
        let mut rest: Vec<&LaneChange> = act.lanes.iter().skip(LANES_MAX).collect();
        if !rest.is_empty() {
            // Some may be done: by a former try of this rewind.
            let lanes = self.read_lanes(partition).await?;
            let rev_of = |lane: &LaneKey| lanes.iter().find(|i| i.lane == *lane).map(|i| i.rev);
            rest.retain(|change| {
                let expected = change.expected.as_ref().map(|(rev, _)| *rev);
                rev_of(&change.lane) == expected
            });
        }
        for changes in rest.chunks(ITEMS_MAX - 1) {
            let check = stands.check(&self.table, self.checkpoint_key(partition));
            let mut items = vec![check.map_err(|error| self.failed(&error.into()))?];
            for change in changes {
                items.push(self.lane_write(partition, change, after.epoch)?);
            }
            if let Err(error) = self.retrying(|| self.transact(items.clone())).await {
                return Err(StoreError::OutOfReach(format!(
                    "{partition} is rewound, but some of its lanes stay as they were ({}): look at them with `lanes list`",
                    self.told(&error)
                )));
            }
        }
        let writer = Writer::new(after.epoch, 0);
        for change in &act.lanes {
            if change.item.is_none() && !lanes::is_deleted(change) {
                let chain = (partition.clone(), change.lane.clone());
                self.sweep(&chain, &writer).await;
            }
        }
        Ok(())
    }

    fn lane_write(
        &self,
        partition: &PartitionName,
        change: &LaneChange,
        epoch: u64,
    ) -> Result<TransactWriteItem, StoreError> {
        let expression = lanes::write(change, &Writer::new(epoch, 0), None);
        let key = self.lane_key(partition, &change.lane);
        let write = if lanes::is_deleted(change) {
            expression.delete(&self.table, key)
        } else {
            expression.update(&self.table, key)
        };
        write.map_err(|error| self.failed(&error.into()))
    }
}

/// The condition that the item is as it was read: no owner committed, none came.
fn as_read(expression: &mut Expression, found: Option<&Ownership>) {
    let Some(found) = found else {
        let absent = expression.is_absent(schema::PK);
        return expression.and(&absent);
    };
    let epoch = expression.compare("epoch", "=", number(found.epoch));
    let commit = expression.compare("commit", "=", number(found.commit));
    expression.and(&epoch);
    expression.and(&commit);
}
