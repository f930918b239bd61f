//! Who reads the log, how far they are for good, and what may therefore go.
//!
//! A stopped lane's head is open, so it is behind the durable frontier of its consumer and stays.

use super::{Log, LogError, Topic, now_millis, records::row_id, tables::View};
use crate::sqlite::{RowChecksum, check_row};

/// Most records removed in one transaction, so that nobody waits long for the write lock.
const TRIMMED_MAX: u64 = 10_000;

/// Somebody's durable frontier in one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Consumer {
    /// Whose checkpoints.
    pub app: String,
    /// The `NAME` of `[sources.NAME]`.
    pub source: String,
    /// Which topic.
    pub topic: String,
    /// Which partition.
    pub partition: u32,
    /// Everything up to here is settled, durably; 0: nothing yet.
    pub frontier: u64,
    /// Milliseconds since 1970.
    pub updated_at: i64,
}

/// What retention removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trimmed {
    /// Records removed.
    pub records: u64,
    /// The oldest position that is left, or that comes next.
    pub first: u64,
    /// More may go, by the same rules.
    pub more: bool,
}

impl Log {
    /// Registers a consumer, or moves its frontier, in several partitions at once. A frontier may
    /// move back: an operator's rewind needs the records again.
    ///
    /// # Errors
    /// When there is no such partition or the file cannot be written.
    pub fn put_frontiers(
        &mut self,
        (app, source): (&str, &str),
        topic: &Topic,
        frontiers: &[(u32, u64)],
    ) -> Result<(), LogError> {
        self.write(|view| {
            let now = now_millis();
            for &(partition, frontier) in frontiers {
                topic.partition_id(partition)?;
                let consumer = Consumer {
                    app: app.to_owned(),
                    source: source.to_owned(),
                    topic: topic.name.clone(),
                    partition,
                    frontier,
                    updated_at: now,
                };
                view.put_consumer(&consumer)?;
            }
            Ok(())
        })
    }

    /// Moves frontiers of a consumer on, from what it registered last; where something else stands
    /// (an operator's rewind put it back) that stays.
    ///
    /// # Errors
    /// When there is no such partition or the file cannot be written.
    pub fn move_frontiers(
        &mut self,
        (app, source): (&str, &str),
        topic: &Topic,
        frontiers: &[(u32, u64, u64)],
    ) -> Result<(), LogError> {
        self.write(|view| {
            let now = now_millis();
            for &(partition, from, to) in frontiers {
                topic.partition_id(partition)?;
                let mut consumers = view.consumers(&topic.name, Some(partition))?.into_iter();
                let ours = |c: &Consumer| c.app == app && c.source == source && c.frontier == from;
                if let Some(found) = consumers.find(ours) {
                    view.put_consumer(&Consumer {
                        frontier: to,
                        updated_at: now,
                        ..found
                    })?;
                }
            }
            Ok(())
        })
    }

    /// What is registered for one consumer in one partition.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn frontier(
        &self,
        (app, source): (&str, &str),
        topic: &Topic,
        partition: u32,
    ) -> Result<Option<u64>, LogError> {
        let consumers = self.view().consumers(&topic.name, Some(partition))?;
        let ours = consumers
            .iter()
            .find(|c| c.app == app && c.source == source);
        Ok(ours.map(|c| c.frontier))
    }

    /// Everybody who reads a topic, by app, source and partition.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn consumers(&self, topic: &str) -> Result<Vec<Consumer>, LogError> {
        let view = self.view();
        if !view.installed()? {
            return Ok(Vec::new());
        }
        view.consumers(topic, None)
    }

    /// Removes an app's registrations, so that retention waits for it no more; how many there were.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forget(&mut self, app: &str) -> Result<usize, LogError> {
        self.write(|view| {
            view.sql(|c| c.execute("DELETE FROM log_consumers WHERE app = ?1", [app]))
        })
    }

    /// Removes what was appended before `older_than` (milliseconds since 1970) and lies within every
    /// consumer's durable frontier, at most 10,000 records.
    ///
    /// # Errors
    /// When there is no such partition, or the file cannot be written or is damaged.
    pub fn trim(
        &mut self,
        topic: &Topic,
        partition: u32,
        older_than: i64,
    ) -> Result<Trimmed, LogError> {
        // Looked up before the write lock is taken: what is old stays old.
        let before = self.bounds(topic, partition)?;
        let old = self.first_at(topic, partition, &before, older_than)?;
        if old == before.first {
            return Ok(Trimmed {
                records: 0,
                first: old,
                more: false,
            });
        }
        self.write(|view| {
            let id = topic.partition_id(partition)?;
            let mut bounds = view.bounds(topic, partition)?;
            let consumers = view.consumers(&topic.name, Some(partition))?;
            let needed = consumers.iter().map(|c| c.frontier.saturating_add(1)).min();
            let free = needed.map_or(old, |needed| needed.min(old));
            let first = free.min(bounds.first.saturating_add(TRIMMED_MAX));
            if first <= bounds.first {
                return Ok(Trimmed {
                    records: 0,
                    first: bounds.first,
                    more: false,
                });
            }
            let range = (row_id(id, bounds.first), row_id(id, first - 1));
            let records = view.sql(|c| {
                c.prepare_cached("DELETE FROM log_records WHERE id BETWEEN ?1 AND ?2")?
                    .execute(range)
            })?;
            bounds.first = first;
            bounds.trimmed_at = Some(now_millis());
            view.put_bounds(topic, partition, &bounds)?;
            Ok(Trimmed {
                records: records as u64,
                first,
                more: first < free,
            })
        })
    }
}

impl View<'_> {
    fn put_consumer(&self, c: &Consumer) -> Result<(), LogError> {
        let frontier = c.frontier.cast_signed();
        self.sql(|connection| {
            connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO log_consumers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute((
                    &c.app,
                    &c.source,
                    &c.topic,
                    c.partition,
                    frontier,
                    c.updated_at,
                    consumer_sum(c).finish(),
                ))
        })?;
        Ok(())
    }

    fn consumers(&self, topic: &str, partition: Option<u32>) -> Result<Vec<Consumer>, LogError> {
        let found: Vec<(Consumer, u32)> = self.sql(|c| {
            c.prepare_cached(
                "SELECT app, source, topic, partition, frontier, updated_at, crc
                 FROM log_consumers WHERE topic = ?1 AND (?2 IS NULL OR partition = ?2)
                 ORDER BY app, source, partition",
            )?
            .query_map((topic, partition), |row| {
                let consumer = Consumer {
                    app: row.get(0)?,
                    source: row.get(1)?,
                    topic: row.get(2)?,
                    partition: row.get(3)?,
                    frontier: row.get::<_, i64>(4)?.cast_unsigned(),
                    updated_at: row.get(5)?,
                };
                Ok((consumer, row.get(6)?))
            })?
            .collect()
        })?;
        for (consumer, crc) in &found {
            let (app, source, n) = (&consumer.app, &consumer.source, consumer.partition);
            let row = format_args!("{app}/{source}/{topic}/{n}");
            check_row("log_consumers", row, *crc, consumer_sum(consumer))
                .map_err(|fault| self.fault(fault))?;
        }
        Ok(found.into_iter().map(|(consumer, _)| consumer).collect())
    }
}

fn consumer_sum(c: &Consumer) -> RowChecksum {
    let sum = RowChecksum::new()
        .text(&c.app)
        .text(&c.source)
        .text(&c.topic);
    let sum = sum
        .integer(c.partition.into())
        .integer(c.frontier.cast_signed());
    sum.integer(c.updated_at)
}
