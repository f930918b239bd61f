//! The checkpoint item: claim, read, release.

use super::{
    DynamodbStore,
    attributes::{Reader, Wrong, bytes, number, text},
    call::{TOTAL, Trouble, trouble},
    expression::Expression,
    schema::{self, CHECKPOINT, Item},
};
use crate::{
    record::PartitionName,
    store::{Claimed, Fence, Ownership, StoreError, WorkerId, rules::Found},
};
use uuid::Uuid;

/// Of a checkpoint item.
pub(super) const FORMAT: u32 = 1;

/// How often a claim begins anew because another one came first.
const CLAIMS: usize = 50;

/// What an item says, or what is wrong with it.
pub(super) fn decode(item: &Item) -> Result<Ownership, Wrong> {
    let of = Reader(item);
    let format: u32 = of.number("format")?;
    if format != FORMAT {
        return Err(Wrong(format!(
            "it has format {format}, this version reads format {FORMAT}: upgrade lanekeeper"
        )));
    }
    let content = of.bytes("content")?;
    Ok(Ownership {
        worker: worker(&of)?,
        epoch: of.number("epoch")?,
        generation: of.number("generation")?,
        commit: of.number("commit")?,
        content: content
            .try_into()
            .map_err(|_| Wrong("attribute `content`: it is not of 16 bytes".to_owned()))?,
        unclean_claims: of.number("unclean_claims")?,
        checkpoint: of.checkpoint()?,
        updated_at: of.number("updated_at")?,
    })
}

fn worker(of: &Reader<'_>) -> Result<Option<WorkerId>, Wrong> {
    of.optional_text("worker")?
        .map(|text| {
            Uuid::parse_str(text)
                .map(WorkerId)
                .map_err(|error| Wrong(format!("attribute `worker`: {error}")))
        })
        .transpose()
}

/// Sets every attribute of the item.
pub(super) fn set_all(expression: &mut Expression, ownership: &Ownership) {
    let worker = ownership.worker.map(|worker| text(worker.to_string()));
    expression.set("format", number(FORMAT));
    expression.set_or_remove("worker", worker);
    expression.set("epoch", number(ownership.epoch));
    expression.set("generation", number(ownership.generation));
    expression.set("commit", number(ownership.commit));
    expression.set("content", bytes(ownership.content));
    expression.set("unclean_claims", number(ownership.unclean_claims));
    expression.set("updated_at", number(ownership.updated_at));
    if let Some(checkpoint) = &ownership.checkpoint {
        for (name, value) in super::attributes::checkpoint(checkpoint) {
            expression.set_or_remove(name, value);
        }
    }
}

/// The condition of every owner's write.
pub(super) fn fenced(expression: &mut Expression, fence: Fence) {
    let worker = expression.compare("worker", "=", text(fence.worker.to_string()));
    let epoch = expression.compare("epoch", "=", number(fence.epoch));
    expression.and(&worker);
    expression.and(&epoch);
}

impl DynamodbStore {
    /// The key of a checkpoint item.
    pub(super) fn checkpoint_key(&self, partition: &PartitionName) -> Item {
        schema::key(schema::partition(&self.app, partition), CHECKPOINT)
    }

    pub(super) fn damaged(&self, what: impl std::fmt::Display, wrong: &Wrong) -> StoreError {
        StoreError::Damaged(format!("{}: {what}: {}", self.place(), wrong.0))
    }

    pub(super) fn decoded(
        &self,
        partition: &PartitionName,
        item: &Item,
    ) -> Result<Ownership, StoreError> {
        decode(item)
            .map_err(|wrong| self.damaged(format_args!("checkpoint item of {partition}"), &wrong))
    }

    /// A consistent read of one item.
    pub(super) async fn item(&self, key: &Item) -> Result<Option<Item>, StoreError> {
        let client = self.client().await;
        let read = || async {
            let output = client
                .get_item()
                .table_name(&*self.table)
                .set_key(Some(key.clone()))
                .consistent_read(true)
                .return_consumed_capacity(TOTAL)
                .send()
                .await
                .map_err(trouble)?;
            self.meter.read(output.consumed_capacity());
            Ok(output.item)
        };
        self.retrying(read)
            .await
            .map_err(|error| self.failed(&error))
    }

    pub(super) async fn read_ownership(
        &self,
        partition: &PartitionName,
    ) -> Result<Option<Ownership>, StoreError> {
        let item = self.item(&self.checkpoint_key(partition)).await?;
        item.map(|item| self.decoded(partition, &item)).transpose()
    }

    /// What a failed condition of the checkpoint item says of the last commit.
    pub(super) fn found(
        &self,
        partition: &PartitionName,
        item: Option<&Item>,
    ) -> Result<Option<Found>, StoreError> {
        let Some(item) = item else { return Ok(None) };
        let found = self.decoded(partition, item)?;
        Ok(Some(Found {
            worker: found.worker,
            epoch: found.epoch,
            commit: found.commit,
            content: found.content,
        }))
    }

    pub(super) async fn claim_partition(
        &self,
        partition: &PartitionName,
        worker: WorkerId,
    ) -> Result<Claimed, StoreError> {
        self.register(partition).await?;
        // A partition whose lanes cannot be read is left to who owns it.
        self.read_lanes(partition).await?;
        for _ in 0..CLAIMS {
            let found = self.read_ownership(partition).await?;
            let Some(ownership) = self
                .claim_as_read(partition, found.as_ref(), worker)
                .await?
            else {
                continue;
            };
            // Behind the claim: no former owner can write one any more.
            let lanes = self.read_lanes(partition).await?;
            // An operator's rewind changes lanes and checkpoint together, and leaves the worker named:
            // what was read before and behind one does not go together.
            let stands = self.read_ownership(partition).await?;
            if stands.is_some_and(|o| o.worker == Some(worker) && o.epoch > ownership.epoch) {
                continue;
            }
            self.sweep_ended(partition).await;
            return Ok(Claimed {
                ownership,
                unclean: found.and_then(|found| found.worker),
                lanes,
                failed: Vec::new(),
            });
        }
        Err(StoreError::OutOfReach(format!(
            "{}: {partition} was claimed by others {CLAIMS} times while this worker tried",
            self.place()
        )))
    }

    /// `None`: the item is not as it was read. What the former owner commits between the read and this
    /// write is in: the checkpoint is the one that the write finds.
    async fn claim_as_read(
        &self,
        partition: &PartitionName,
        found: Option<&Ownership>,
        worker: WorkerId,
    ) -> Result<Option<Ownership>, StoreError> {
        let epoch = found.map_or(0, |found| found.epoch) + 1;
        let mut expression = Expression::default();
        let claim = Ownership {
            worker: Some(worker),
            epoch,
            generation: found.map_or(self.generation, |found| found.generation),
            commit: 0,
            content: [0; 16],
            unclean_claims: found.map_or(0, |found| found.unclean_claims_with(worker)),
            // What is settled stands as it is, and is not written again.
            checkpoint: None,
            updated_at: super::now_millis(),
        };
        set_all(&mut expression, &claim);
        as_read(&mut expression, found);
        let key = self.checkpoint_key(partition);
        let write = || self.update_and_read(key.clone(), &expression);
        match self.retrying(write).await {
            Ok(item) => self.decoded(partition, &item).map(Some),
            Err(Trouble::Condition(there)) => {
                // Of requests whose answers were lost, one may have landed: nobody else writes this.
                let there = there
                    .map(|item| self.decoded(partition, &item))
                    .transpose()?;
                Ok(there.filter(|there| {
                    there.worker == Some(worker) && there.epoch == epoch && there.commit == 0
                }))
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    pub(super) async fn release_partition(
        &self,
        partition: &PartitionName,
        fence: Fence,
    ) -> Result<(), StoreError> {
        let mut expression = Expression::default();
        expression.set_or_remove("worker", None);
        expression.set("unclean_claims", number(0));
        expression.set("updated_at", number(super::now_millis()));
        fenced(&mut expression, fence);
        let key = self.checkpoint_key(partition);
        match self
            .retrying(|| self.update(key.clone(), &expression))
            .await
        {
            Ok(_) => Ok(()),
            Err(Trouble::Condition(there)) => {
                let found = self.found(partition, there.as_ref())?;
                let (worker, epoch) = found.map_or((None, 0), |found| (found.worker, found.epoch));
                // Only the owner of an epoch releases it: this release landed before.
                if worker.is_none() && epoch == fence.epoch {
                    return Ok(());
                }
                Err(StoreError::Fenced {
                    partition: partition.clone(),
                    worker,
                    epoch,
                })
            }
            Err(error) => Err(self.failed(&error)),
        }
    }
}

/// The condition that nobody claimed the item or took it back since it was read.
fn as_read(expression: &mut Expression, found: Option<&Ownership>) {
    let Some(found) = found else {
        let absent = expression.is_absent(schema::PK);
        return expression.and(&absent);
    };
    let epoch = expression.compare("epoch", "=", number(found.epoch));
    let worker = found.worker.map(|worker| text(worker.to_string()));
    let worker = expression.equals("worker", worker);
    expression.and(&epoch);
    expression.and(&worker);
}
