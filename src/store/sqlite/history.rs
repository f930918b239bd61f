//! What is kept for people: registry, workers, history.

use super::{
    columns::{CheckpointColumns, damaged, integer, position, unsigned},
    now_millis,
    ownership::{in_row, unread},
};
use crate::{
    record::{LaneKey, PartitionName},
    sqlite::{Fault, RowChecksum, check_row},
    store::{HistoryEvent, HistoryItem, WorkerId, WorkerItem, rules::HISTORY_MILLIS},
};
use rusqlite::{Connection, Row, params};

pub(super) fn register(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
    now: i64,
) -> Result<(), Fault> {
    let (source, name) = (&*partition.source, &*partition.partition);
    let crc = registry_sum(app, source, name, now).finish();
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO store_registry(app, source, partition, since, crc) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![app, source, name, now, crc])?;
    Ok(())
}

fn registry_sum(app: &str, source: &str, partition: &str, since: i64) -> RowChecksum {
    RowChecksum::new()
        .text(app)
        .text(source)
        .text(partition)
        .integer(since)
}

pub(super) fn partitions(connection: &Connection, app: &str) -> Result<Vec<PartitionName>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT source, partition, since, crc FROM store_registry WHERE app = ?1 \
         ORDER BY source, partition",
    )?;
    let mut rows = statement.query([app])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let unread = unread("store_registry", app);
        let source: String = row.get(0).map_err(&unread)?;
        let partition: String = row.get(1).map_err(&unread)?;
        let columns = registry_sum(app, &source, &partition, row.get(2).map_err(&unread)?);
        let key = format!("{app}/{source}/{partition}");
        check_row("store_registry", key, row.get(3)?, columns)?;
        all.push(PartitionName::new(&source, &partition));
    }
    Ok(all)
}

pub(super) fn beat(connection: &Connection, app: &str, item: &WorkerItem) -> Result<(), Fault> {
    let worker = item.worker.to_string();
    let text = serde_json::to_string(item).map_err(|error| Fault::Sql(error.to_string()))?;
    let crc = worker_sum(app, &worker, item.beat, &text).finish();
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO store_workers(app, worker, beat, item, crc) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![app, worker, item.beat, text, crc])?;
    Ok(())
}

pub(super) fn leave(connection: &Connection, app: &str, worker: WorkerId) -> Result<(), Fault> {
    connection
        .prepare_cached("DELETE FROM store_workers WHERE app = ?1 AND worker = ?2")?
        .execute(params![app, worker.to_string()])?;
    Ok(())
}

fn worker_sum(app: &str, worker: &str, beat: i64, item: &str) -> RowChecksum {
    RowChecksum::new()
        .text(app)
        .text(worker)
        .integer(beat)
        .text(item)
}

pub(super) fn workers(connection: &Connection, app: &str) -> Result<Vec<WorkerItem>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT worker, beat, item, crc FROM store_workers WHERE app = ?1 ORDER BY worker",
    )?;
    let mut rows = statement.query([app])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let unread = unread("store_workers", app);
        let worker: String = row.get(0).map_err(&unread)?;
        let item: String = row.get(2).map_err(&unread)?;
        let key = format!("{app}/{worker}");
        let columns = worker_sum(app, &worker, row.get(1).map_err(&unread)?, &item);
        check_row("store_workers", &key, row.get(3)?, columns)?;
        all.push(
            serde_json::from_str(&item)
                .map_err(|error| in_row("store_workers", &key, damaged("item", error)))?,
        );
    }
    Ok(all)
}

struct Columns {
    at: i64,
    epoch: Option<i64>,
    generation: Option<i64>,
    checkpoint: CheckpointColumns,
    lane: Option<Vec<u8>>,
    head: Option<String>,
    decision: Option<String>,
}

impl Columns {
    fn of(item: &HistoryItem) -> Result<Self, Fault> {
        let nothing = Self {
            at: item.at,
            epoch: None,
            generation: None,
            checkpoint: CheckpointColumns::of(None),
            lane: None,
            head: None,
            decision: None,
        };
        Ok(match &item.what {
            HistoryEvent::Checkpoint {
                epoch,
                generation,
                checkpoint,
            } => Self {
                epoch: Some(integer(*epoch)),
                generation: Some(integer(*generation)),
                checkpoint: CheckpointColumns::of(Some(checkpoint)),
                ..nothing
            },
            HistoryEvent::Decided {
                lane,
                head,
                decision,
            } => Self {
                lane: Some(lane.bytes().to_vec()),
                head: Some(head.padded()),
                decision: Some(
                    serde_json::to_string(decision)
                        .map_err(|error| Fault::Sql(error.to_string()))?,
                ),
                ..nothing
            },
            HistoryEvent::Rewound {
                epoch,
                generation,
                checkpoint,
                note,
            } => Self {
                epoch: Some(integer(*epoch)),
                generation: Some(integer(*generation)),
                checkpoint: CheckpointColumns::of(Some(checkpoint)),
                decision: Some(
                    serde_json::to_string(note).map_err(|error| Fault::Sql(error.to_string()))?,
                ),
                ..nothing
            },
        })
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<(i64, u32, Self)> {
        Ok((
            row.get(0)?,
            row.get(1)?,
            Self {
                at: row.get(2)?,
                epoch: row.get(3)?,
                generation: row.get(4)?,
                lane: row.get(5)?,
                head: row.get(6)?,
                decision: row.get(7)?,
                checkpoint: CheckpointColumns::read(row, 8)?,
            },
        ))
    }

    fn sum(&self, app: &str, partition: &PartitionName) -> RowChecksum {
        let sum = RowChecksum::new()
            .text(app)
            .text(&partition.source)
            .text(&partition.partition)
            .integer(self.at)
            .integer_or_null(self.epoch)
            .integer_or_null(self.generation)
            .blob_or_null(self.lane.as_deref())
            .text_or_null(self.head.as_deref())
            .text_or_null(self.decision.as_deref());
        self.checkpoint.sum(sum)
    }

    fn decode(self) -> Result<HistoryItem, Fault> {
        let what = match (
            self.checkpoint.decode()?,
            self.lane,
            self.head,
            self.decision,
        ) {
            (Some(checkpoint), None, None, None) => HistoryEvent::Checkpoint {
                epoch: unsigned("epoch", self.epoch.unwrap_or(0))?,
                generation: unsigned("generation", self.generation.unwrap_or(0))?,
                checkpoint,
            },
            (None, Some(lane), Some(head), Some(decision)) => HistoryEvent::Decided {
                lane: LaneKey::from_bytes(&lane)
                    .ok_or_else(|| damaged("lane", "its tag is not known"))?,
                head: position("head", &head)?,
                decision: serde_json::from_str(&decision)
                    .map_err(|error| damaged("decision", error))?,
            },
            (Some(checkpoint), None, None, Some(note)) => HistoryEvent::Rewound {
                epoch: unsigned("epoch", self.epoch.unwrap_or(0))?,
                generation: unsigned("generation", self.generation.unwrap_or(0))?,
                checkpoint,
                note: serde_json::from_str(&note).map_err(|error| damaged("decision", error))?,
            },
            _ => return Err(damaged("decision", "the row is of no known kind")),
        };
        Ok(HistoryItem { at: self.at, what })
    }
}

/// Adds a line; lines older than seven days go.
pub(super) fn append(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
    item: &HistoryItem,
) -> Result<(), Fault> {
    let (source, name) = (&*partition.source, &*partition.partition);
    connection
        .prepare_cached(
            "DELETE FROM store_history \
             WHERE app = ?1 AND source = ?2 AND partition = ?3 AND at < ?4",
        )?
        .execute(params![
            app,
            source,
            name,
            now_millis().saturating_sub(HISTORY_MILLIS)
        ])?;
    let columns = Columns::of(item)?;
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
    connection
        .prepare_cached(
            "INSERT INTO store_history(app, source, partition, at, epoch, generation, lane, head, \
             decision, crc, resume, settled_to, open, attempts, announced, incarnation, ended) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?
        .execute(params![
            app,
            source,
            name,
            columns.at,
            columns.epoch,
            columns.generation,
            columns.lane,
            columns.head,
            columns.decision,
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

pub(super) fn read(
    connection: &Connection,
    app: &str,
    partition: &PartitionName,
) -> Result<Vec<HistoryItem>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT id, crc, at, epoch, generation, lane, head, decision, \
         resume, settled_to, open, attempts, announced, incarnation, ended \
         FROM store_history WHERE app = ?1 AND source = ?2 AND partition = ?3 ORDER BY at, id",
    )?;
    let rows = statement.query_map(
        params![app, &*partition.source, &*partition.partition],
        Columns::read,
    )?;
    let mut items = Vec::new();
    for row in rows {
        let (id, crc, columns) = row.map_err(unread("store_history", partition))?;
        let key = format!("{app}/{partition}, id {id}");
        check_row("store_history", &key, crc, columns.sum(app, partition))?;
        items.push(
            columns
                .decode()
                .map_err(|fault| in_row("store_history", &key, fault))?,
        );
    }
    Ok(items)
}
