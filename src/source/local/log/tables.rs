//! Topics and partitions in their tables.

use super::{Bounds, LogError, PARTITIONS_DEFAULT, Topic, check_new, check_partitions, now_millis};
use crate::sqlite::{DatabaseError, Fault, RowChecksum, check_row};
use rusqlite::{Connection, OptionalExtension, Row};
use std::{path::Path, sync::Arc};
use uuid::Uuid;

/// The tables as a connection or its transaction sees them.
pub(super) struct View<'a> {
    pub(super) c: &'a Connection,
    pub(super) path: &'a Arc<Path>,
}

impl View<'_> {
    pub(super) fn sql<T>(
        &self,
        body: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, LogError> {
        body(self.c).map_err(|error| self.fault(error.into()))
    }

    pub(super) fn fault(&self, fault: Fault) -> LogError {
        LogError::File(DatabaseError {
            path: Arc::clone(self.path),
            fault,
        })
    }

    /// A file that so far only has a store has no log; whoever only reads cannot add one.
    pub(super) fn installed(&self) -> Result<bool, LogError> {
        self.sql(|c| {
            c.prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = 'log_consumers'")?
                .exists([])
        })
    }

    pub(super) fn topic(&self, name: &str) -> Result<Option<Topic>, LogError> {
        type Found = (u32, String, i64, u32);
        let found: Option<Found> = self.sql(|c| {
            c.prepare_cached(
                "SELECT partitions, id, created_at, crc FROM log_topics WHERE topic = ?1",
            )?
            .query_row([name], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
            .optional()
        })?;
        let Some((count, id, created_at, crc)) = found else {
            return Ok(None);
        };
        check_row(
            "log_topics",
            name,
            crc,
            topic_sum(name, count, &id, created_at),
        )
        .map_err(|fault| self.fault(fault))?;
        let partition_ids: Vec<i64> = self.sql(|c| {
            c.prepare_cached(
                "SELECT partition_id FROM log_partitions WHERE topic = ?1 ORDER BY partition",
            )?
            .query_map([name], |row| row.get(0))?
            .collect()
        })?;
        let damaged = |what: &str| {
            self.fault(Fault::Damaged(format!(
                "table `log_topics`, row `{name}`: {what}"
            )))
        };
        if partition_ids.len() != count as usize {
            let rows = partition_ids.len();
            return Err(damaged(&format!(
                "it has {count} partitions, and `log_partitions` has {rows} of them"
            )));
        }
        Ok(Some(Topic {
            name: name.to_owned(),
            id: id.parse().map_err(|_| damaged("its id is no UUID"))?,
            created_at,
            partition_ids,
        }))
    }

    pub(super) fn topic_or_new(
        &self,
        name: &str,
        partitions: Option<u32>,
    ) -> Result<Topic, LogError> {
        if let Some(found) = self.topic(name)? {
            return check_partitions(found, partitions);
        }
        let count = partitions.unwrap_or(PARTITIONS_DEFAULT);
        check_new(name, count)?;
        let (id, created_at) = (Uuid::new_v4(), now_millis());
        let text = id.to_string();
        let crc = topic_sum(name, count, &text, created_at).finish();
        let empty = Bounds {
            first: 1,
            last: 0,
            last_timestamp: i64::MIN,
            trimmed_at: None,
        };
        let partition_ids = self.sql(|c| {
            c.execute(
                "INSERT INTO log_topics VALUES (?1, ?2, ?3, ?4, ?5)",
                (name, count, &text, created_at, crc),
            )?;
            let mut insert = c.prepare_cached(
                "INSERT INTO log_partitions (topic, partition, first, last, last_timestamp, crc)
                 VALUES (?1, ?2, 1, 0, ?3, ?4)",
            )?;
            let ids = (0..count).map(|partition| {
                let crc = bounds_sum(name, partition, &empty).finish();
                insert.insert((name, partition, empty.last_timestamp, crc))
            });
            ids.collect()
        })?;
        Ok(Topic {
            name: name.to_owned(),
            id,
            created_at,
            partition_ids,
        })
    }

    pub(super) fn bounds(&self, topic: &Topic, partition: u32) -> Result<Bounds, LogError> {
        let id = topic.partition_id(partition)?;
        let read = |row: &Row<'_>| {
            let bounds = Bounds {
                first: row.get::<_, i64>(0)?.cast_unsigned(),
                last: row.get::<_, i64>(1)?.cast_unsigned(),
                last_timestamp: row.get(2)?,
                trimmed_at: row.get(3)?,
            };
            Ok((bounds, row.get(4)?))
        };
        let found: Option<(Bounds, u32)> = self.sql(|c| {
            c.prepare_cached(
                "SELECT first, last, last_timestamp, trimmed_at, crc FROM log_partitions
                 WHERE partition_id = ?1",
            )?
            .query_row([id], read)
            .optional()
        })?;
        let name = topic.partition_name(partition);
        let Some((bounds, crc)) = found else {
            let what = format!("table `log_partitions`, row `{name}`: it is gone");
            return Err(self.fault(Fault::Damaged(what)));
        };
        check_row(
            "log_partitions",
            name,
            crc,
            bounds_sum(&topic.name, partition, &bounds),
        )
        .map_err(|fault| self.fault(fault))?;
        Ok(bounds)
    }

    pub(super) fn put_bounds(
        &self,
        topic: &Topic,
        partition: u32,
        b: &Bounds,
    ) -> Result<(), LogError> {
        let id = topic.partition_id(partition)?;
        let crc = bounds_sum(&topic.name, partition, b).finish();
        let (first, last) = (b.first.cast_signed(), b.last.cast_signed());
        self.sql(|c| {
            c.prepare_cached(
                "UPDATE log_partitions SET first = ?2, last = ?3, last_timestamp = ?4,
                 trimmed_at = ?5, crc = ?6 WHERE partition_id = ?1",
            )?
            .execute((id, first, last, b.last_timestamp, b.trimmed_at, crc))
        })?;
        Ok(())
    }
}

fn topic_sum(name: &str, partitions: u32, id: &str, created_at: i64) -> RowChecksum {
    let sum = RowChecksum::new().text(name).integer(partitions.into());
    sum.text(id).integer(created_at)
}

fn bounds_sum(topic: &str, partition: u32, b: &Bounds) -> RowChecksum {
    let sum = RowChecksum::new().text(topic).integer(partition.into());
    let sum = sum
        .integer(b.first.cast_signed())
        .integer(b.last.cast_signed());
    sum.integer(b.last_timestamp).integer_or_null(b.trimmed_at)
}
