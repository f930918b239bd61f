//! The checkpoint items: claim, read, release, and their row.

use super::{
    columns::{CheckpointColumns, damaged, integer, unsigned, unsigned_32},
    history, lanes, now_millis,
};
use crate::{
    record::PartitionName,
    sqlite::{Fault, RowChecksum, check_row},
    store::{Claimed, Fence, Ownership, StoreError, WorkerId},
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use uuid::Uuid;

/// Of a checkpoint's row.
const FORMAT: i64 = 1;

const SELECT: &str = "SELECT format, worker, epoch, generation, commit_number, content, \
    unclean_claims, updated_at, crc, \
    resume, settled_to, open, attempts, announced, incarnation, ended \
    FROM store_checkpoints WHERE app = ?1 AND source = ?2 AND partition = ?3";

const PUT: &str = "INSERT OR REPLACE INTO store_checkpoints(app, source, partition, format, worker, \
    epoch, generation, commit_number, content, unclean_claims, updated_at, crc, \
    resume, settled_to, open, attempts, announced, incarnation, ended) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";

struct Columns {
    format: i64,
    worker: Option<String>,
    epoch: i64,
    generation: i64,
    commit: i64,
    content: Vec<u8>,
    unclean_claims: i64,
    updated_at: i64,
    checkpoint: CheckpointColumns,
}

impl Columns {
    fn read(row: &Row<'_>) -> rusqlite::Result<(u32, Self)> {
        Ok((
            row.get(8)?,
            Self {
                format: row.get(0)?,
                worker: row.get(1)?,
                epoch: row.get(2)?,
                generation: row.get(3)?,
                commit: row.get(4)?,
                content: row.get(5)?,
                unclean_claims: row.get(6)?,
                updated_at: row.get(7)?,
                checkpoint: CheckpointColumns::read(row, 9)?,
            },
        ))
    }

    fn sum(&self, app: &str, partition: &PartitionName) -> RowChecksum {
        let sum = RowChecksum::new()
            .text(app)
            .text(&partition.source)
            .text(&partition.partition)
            .integer(self.format)
            .text_or_null(self.worker.as_deref())
            .integer(self.epoch)
            .integer(self.generation)
            .integer(self.commit)
            .blob(&self.content)
            .integer(self.unclean_claims)
            .integer(self.updated_at);
        self.checkpoint.sum(sum)
    }

    fn decode(self) -> Result<Ownership, Fault> {
        let worker = match self.worker {
            None => None,
            Some(text) => {
                let uuid = Uuid::parse_str(&text).map_err(|error| damaged("worker", error))?;
                Some(WorkerId(uuid))
            }
        };
        Ok(Ownership {
            worker,
            epoch: unsigned("epoch", self.epoch)?,
            generation: unsigned("generation", self.generation)?,
            commit: unsigned("commit_number", self.commit)?,
            content: self
                .content
                .try_into()
                .map_err(|_| damaged("content", "it is not of 16 bytes"))?,
            unclean_claims: unsigned_32("unclean_claims", self.unclean_claims)?,
            checkpoint: self.checkpoint.decode()?,
            updated_at: self.updated_at,
        })
    }
}

pub(super) fn read(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
) -> Result<Option<Ownership>, Fault> {
    let found = connection
        .prepare_cached(SELECT)?
        .query_row(
            params![app, &*partition.source, &*partition.partition],
            Columns::read,
        )
        .optional()
        .map_err(unread("store_checkpoints", partition))?;
    let Some((crc, columns)) = found else {
        return Ok(None);
    };
    let key = format!("{app}/{partition}");
    if columns.format != FORMAT {
        return Err(Fault::Damaged(format!(
            "table `store_checkpoints`, row `{key}`: it has format {}, this version reads format {FORMAT}: upgrade lanekeeper",
            columns.format
        )));
    }
    check_row("store_checkpoints", &key, crc, columns.sum(app, partition))?;
    match columns.decode() {
        Ok(ownership) => Ok(Some(ownership)),
        Err(fault) => Err(in_row("store_checkpoints", &key, fault)),
    }
}

/// Names the table of a row that is not of its columns' types.
pub(super) fn unread(table: &str, of: impl std::fmt::Display) -> impl Fn(rusqlite::Error) -> Fault {
    move |error| in_row(table, &of, error.into())
}

/// Names the row of a column's damage.
pub(super) fn in_row(table: &str, key: impl std::fmt::Display, fault: Fault) -> Fault {
    if let Fault::Damaged(why) = fault {
        Fault::Damaged(format!("table `{table}`, row `{key}`: {why}"))
    } else {
        fault
    }
}

pub(super) fn put(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
    ownership: &Ownership,
) -> Result<(), Fault> {
    let columns = Columns {
        format: FORMAT,
        worker: ownership.worker.map(|worker| worker.to_string()),
        epoch: integer(ownership.epoch),
        generation: integer(ownership.generation),
        commit: integer(ownership.commit),
        content: ownership.content.to_vec(),
        unclean_claims: ownership.unclean_claims.into(),
        updated_at: ownership.updated_at,
        checkpoint: CheckpointColumns::of(ownership.checkpoint.as_ref()),
    };
    let crc = columns.sum(app, partition).finish();
    let [
        resume,
        settled_to,
        open,
        attempts,
        announced,
        incarnation,
        ended,
    ] = columns.checkpoint.parameters();
    connection.prepare_cached(PUT)?.execute(params![
        app,
        &*partition.source,
        &*partition.partition,
        columns.format,
        columns.worker,
        columns.epoch,
        columns.generation,
        columns.commit,
        columns.content,
        columns.unclean_claims,
        columns.updated_at,
        crc,
        resume,
        settled_to,
        open,
        attempts,
        announced,
        incarnation,
        ended,
    ])?;
    Ok(())
}

pub(super) fn claim(
    connection: &mut Connection,
    app: &str,
    partition: &PartitionName,
    worker: WorkerId,
    generation: u64,
) -> Result<Claimed, Fault> {
    let transaction = connection.transaction()?;
    let found = read(&transaction, app, partition)?;
    let now = now_millis();
    let ownership = match &found {
        Some(found) => Ownership {
            worker: Some(worker),
            epoch: found.epoch + 1,
            commit: 0,
            content: [0; 16],
            unclean_claims: found.unclean_claims_with(worker),
            updated_at: now,
            ..found.clone()
        },
        None => Ownership {
            worker: Some(worker),
            epoch: 1,
            generation,
            commit: 0,
            content: [0; 16],
            unclean_claims: 0,
            checkpoint: None,
            updated_at: now,
        },
    };
    put(&transaction, app, partition, &ownership)?;
    history::register(&transaction, app, partition, now)?;
    let lanes = lanes::read_all(&transaction, app, partition)?;
    transaction.commit()?;
    Ok(Claimed {
        ownership,
        unclean: found.and_then(|found| found.worker),
        lanes,
        failed: Vec::new(),
    })
}

pub(super) fn release(
    connection: &mut Connection,
    app: &str,
    partition: &PartitionName,
    fence: Fence,
) -> Result<Result<(), StoreError>, Fault> {
    let transaction = connection.transaction()?;
    let found = read(&transaction, app, partition)?;
    match found {
        Some(found) if found.epoch == fence.epoch && found.worker == Some(fence.worker) => {
            let ownership = Ownership {
                worker: None,
                unclean_claims: 0,
                updated_at: now_millis(),
                ..found
            };
            put(&transaction, app, partition, &ownership)?;
            transaction.commit()?;
            Ok(Ok(()))
        }
        // Only the owner of an epoch releases it: this release landed before.
        Some(found) if found.epoch == fence.epoch && found.worker.is_none() => Ok(Ok(())),
        found => Ok(Err(fenced(partition, found.as_ref()))),
    }
}

/// Somebody else's partition.
pub(super) fn fenced(partition: &PartitionName, found: Option<&Ownership>) -> StoreError {
    StoreError::Fenced {
        partition: partition.clone(),
        worker: found.and_then(|found| found.worker),
        epoch: found.map_or(0, |found| found.epoch),
    }
}
