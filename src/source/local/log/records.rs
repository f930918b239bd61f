//! Appending and reading records.

use super::{Bounds, Log, LogError, POSITION_MAX, Topic, now_millis};
use crate::sqlite::Fault;
use rusqlite::{Row, types::ValueRef};

const POSITION_BITS: u32 = 40;

/// A record to append.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Which partition, from 0.
    pub partition: u32,
    /// What must stay in order.
    pub key: Option<&'a [u8]>,
    /// The payload.
    pub value: &'a [u8],
}

/// A record of the log, lent while its row is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogRecord<'a> {
    /// Its place in its partition, from 1.
    pub position: u64,
    /// What must stay in order.
    pub key: Option<&'a [u8]>,
    /// The payload.
    pub value: &'a [u8],
    /// Milliseconds since 1970 of its appending.
    pub timestamp: i64,
}

/// A record's row id.
pub(super) fn row_id(partition_id: i64, position: u64) -> i64 {
    (partition_id << POSITION_BITS) | position.min(POSITION_MAX).cast_signed()
}

fn position_of(row_id: i64) -> u64 {
    row_id.cast_unsigned() & POSITION_MAX
}

pub(super) fn record_crc(row_id: i64, key: Option<&[u8]>, value: &[u8], timestamp: i64) -> u32 {
    let mut head = [0u8; 24];
    head[..8].copy_from_slice(&row_id.to_le_bytes());
    head[8..16].copy_from_slice(&timestamp.to_le_bytes());
    let length = key.map_or(u64::MAX, |key| key.len() as u64);
    head[16..].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&head), key.unwrap_or_default());
    crc32c::crc32c_append(crc, value)
}

impl Log {
    /// Appends the records in order, in one transaction: all or none. Creates the topic, with
    /// `partitions` (default 8), where there is none yet.
    ///
    /// # Errors
    /// When the topic has another number of partitions or a partition is full, or the file cannot
    /// be written.
    pub fn append<'a>(
        &mut self,
        topic: &str,
        partitions: Option<u32>,
        records: impl FnOnce(u32) -> Vec<NewRecord<'a>>,
    ) -> Result<Topic, LogError> {
        self.write(|view| {
            let topic = view.topic_or_new(topic, partitions)?;
            let mut records = records(topic.partitions());
            // Partition by partition, so that neighbours in the file are written together.
            records.sort_by_key(|record| record.partition);
            let now = now_millis();
            for run in records.chunk_by(|a, b| a.partition == b.partition) {
                let partition = run[0].partition;
                let partition_id = topic.partition_id(partition)?;
                let mut to = view.bounds(&topic, partition)?;
                if POSITION_MAX - to.last < run.len() as u64 {
                    return Err(LogError::Full {
                        partition: topic.partition_name(partition),
                    });
                }
                to.last_timestamp = to.last_timestamp.max(now);
                view.sql(|c| {
                    let mut insert =
                        c.prepare_cached("INSERT INTO log_records VALUES (?1, ?2, ?3, ?4, ?5)")?;
                    for record in run {
                        to.last += 1;
                        let id = row_id(partition_id, to.last);
                        let crc = record_crc(id, record.key, record.value, to.last_timestamp);
                        insert.execute((id, record.key, record.value, to.last_timestamp, crc))?;
                    }
                    Ok(())
                })?;
                view.put_bounds(&topic, partition, &to)?;
            }
            Ok(topic)
        })
    }

    /// Lends the records of a partition from `from` to `through`, ascending, at most `max`, until
    /// `each` says that it wants no more. Positions that retention removed are left out.
    ///
    /// # Errors
    /// When there is no such partition, or the file cannot be read or is damaged; what came before
    /// was lent.
    pub fn read(
        &self,
        topic: &Topic,
        partition: u32,
        (from, through): (u64, u64),
        max: usize,
        mut each: impl FnMut(LogRecord<'_>) -> bool,
    ) -> Result<(), LogError> {
        let id = topic.partition_id(partition)?;
        let range = (row_id(id, from), row_id(id, through));
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let view = self.view();
        let bad = view.sql(|c| {
            let mut statement = c.prepare_cached(
                "SELECT id, key, value, timestamp, crc FROM log_records
                 WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3",
            )?;
            let mut rows = statement.query((range.0, range.1, max))?;
            while let Some(row) = rows.next()? {
                match lend(row)? {
                    Ok(record) => {
                        if !each(record) {
                            break;
                        }
                    }
                    Err(id) => return Ok(Some(id)),
                }
            }
            Ok(None)
        })?;
        match bad {
            None => Ok(()),
            Some(id) => Err(view.fault(Fault::Damaged(format!(
                "the record at position {} of `{}` (table `log_records`, row `{id}`) does not fit its checksum: restore the file from a copy",
                position_of(id),
                topic.partition_name(partition)
            )))),
        }
    }

    /// Position of the first record that was appended at `at` (milliseconds since 1970) or later;
    /// one behind the last where there is none.
    ///
    /// # Errors
    /// When there is no such partition, or the file cannot be read or is damaged.
    pub fn position_at(&self, topic: &Topic, partition: u32, at: i64) -> Result<u64, LogError> {
        let bounds = self.bounds(topic, partition)?;
        self.first_at(topic, partition, &bounds, at)
    }

    /// Times never go back within a partition, so halving finds the place.
    pub(super) fn first_at(
        &self,
        topic: &Topic,
        partition: u32,
        bounds: &Bounds,
        at: i64,
    ) -> Result<u64, LogError> {
        let (mut low, mut high) = (bounds.first, bounds.last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut found = None;
            self.read(topic, partition, (middle, high - 1), 1, |record| {
                found = Some((record.position, record.timestamp));
                false
            })?;
            match found {
                Some((position, timestamp)) if timestamp < at => low = position + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }
}

/// The record of a row; the row's id when it is not as it was written.
fn lend<'r>(row: &'r Row<'_>) -> rusqlite::Result<Result<LogRecord<'r>, i64>> {
    let id: i64 = row.get(0)?;
    let key = match row.get_ref(1)? {
        ValueRef::Null => None,
        ValueRef::Blob(key) => Some(key),
        ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_) => return Ok(Err(id)),
    };
    let ValueRef::Blob(value) = row.get_ref(2)? else {
        return Ok(Err(id));
    };
    let timestamp = row.get(3)?;
    if row.get::<_, u32>(4)? != record_crc(id, key, value, timestamp) {
        return Ok(Err(id));
    }
    Ok(Ok(LogRecord {
        position: position_of(id),
        key,
        value,
        timestamp,
    }))
}
