//! The log itself: topics of a fixed number of partitions, positions from 1, in the SQLite file.
//!
//! | table | holds |
//! |---|---|
//! | `log_topics` | name, number of partitions, log id: one a topic |
//! | `log_partitions` | first and last position, one row a partition; `first` is `last` + 1 when empty |
//! | `log_records` | `id` = partition's id · 2^40 + position, key, value, time of appending |
//! | `log_consumers` | the durable frontier of each app and source, one row a partition |
//!
//! The view `log_lines` shows records with topic, partition and position. Each row carries a CRC32C
//! over what it says, checked whenever it is read.

use crate::sqlite::{Access, BUSY_TIMEOUT, DatabaseError, Fault, connect};
use rusqlite::{Connection, TransactionBehavior};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use uuid::Uuid;

mod consumers;
mod records;
mod tables;

pub use consumers::{Consumer, Trimmed};
pub use records::{LogRecord, NewRecord};
use tables::View;

/// The log's tables.
pub const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS log_topics (
    topic TEXT PRIMARY KEY,
    partitions INTEGER NOT NULL,
    id TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS log_partitions (
    partition_id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    last_timestamp INTEGER NOT NULL,
    trimmed_at INTEGER,
    crc INTEGER NOT NULL,
    UNIQUE (topic, partition)
) STRICT;
CREATE TABLE IF NOT EXISTS log_records (
    id INTEGER PRIMARY KEY,
    key BLOB,
    value BLOB NOT NULL,
    timestamp INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS log_consumers (
    app TEXT NOT NULL,
    source TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    frontier INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (app, source, topic, partition)
) STRICT, WITHOUT ROWID;
CREATE VIEW IF NOT EXISTS log_lines AS
    SELECT p.topic, p.partition, r.id & 0xFFFFFFFFFF AS position, CAST(r.key AS TEXT) AS key,
           CAST(r.value AS TEXT) AS value, r.timestamp
    FROM log_partitions p JOIN log_records r
    ON r.id BETWEEN (p.partition_id << 40) AND (p.partition_id << 40 | 0xFFFFFFFFFF);
";

/// Partitions of a topic that is created without a number of them.
pub const PARTITIONS_DEFAULT: u32 = 8;

/// Most partitions of a topic.
pub const PARTITIONS_MAX: u32 = 4096;

/// Highest position of a partition.
pub const POSITION_MAX: u64 = (1 << 40) - 1;

/// A file's log. Several processes may have it open.
#[derive(Debug)]
pub struct Log {
    connection: Connection,
    path: Arc<Path>,
    patience: Duration,
}

/// A topic as it was created: nothing of this ever changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// The log id: a topic that is made anew under the same name has another.
    pub id: Uuid,
    /// Milliseconds since 1970.
    pub created_at: i64,
    /// Row ids of its partitions, by number.
    partition_ids: Vec<i64>,
}

impl Topic {
    /// How many partitions it has.
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.partition_ids.len()).unwrap_or(u32::MAX)
    }

    /// `{topic}/{n}`, the partition's name.
    pub fn partition_name(&self, partition: u32) -> String {
        format!("{}/{partition}", self.name)
    }

    fn partition_id(&self, partition: u32) -> Result<i64, LogError> {
        let id = self.partition_ids.get(partition as usize).copied();
        id.ok_or_else(|| LogError::NoPartition {
            topic: self.name.clone(),
            partition,
            has: self.partitions(),
        })
    }
}

/// What a partition holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Position of the oldest record; one more than `last` where there is none.
    pub first: u64,
    /// Position of the newest record ever appended; 0 before the first.
    pub last: u64,
    /// Milliseconds since 1970 of the newest record. Within a partition times never go back, also
    /// when the clock does.
    pub last_timestamp: i64,
    /// Milliseconds since 1970 of the last removal by retention.
    pub trimmed_at: Option<i64>,
}

/// Why the log did not do it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LogError {
    /// The file: out of reach, full, damaged, another program's.
    #[error(transparent)]
    File(#[from] DatabaseError),
    /// A topic keeps the number of partitions that it was created with.
    #[error(
        "topic `{topic}` has {has} partitions, and {asked} were asked for: the number is fixed when a topic is created, since it decides where each key's records go; leave it out or say {has}"
    )]
    Partitions {
        /// Which topic.
        topic: String,
        /// Wanted.
        asked: u32,
        /// Found.
        has: u32,
    },
    /// A number of partitions out of bounds.
    #[error("{asked} partitions were asked for topic `{topic}`: 1 to {PARTITIONS_MAX} are allowed")]
    PartitionsOutOfBounds {
        /// Which topic.
        topic: String,
        /// Wanted.
        asked: u32,
    },
    /// No such partition.
    #[error(
        "topic `{topic}` has {has} partitions, numbered from 0: there is no partition {partition}"
    )]
    NoPartition {
        /// Which topic.
        topic: String,
        /// Asked for.
        partition: u32,
        /// Found.
        has: u32,
    },
    /// A name that would make ambiguous partition names.
    #[error(
        "`{topic}` cannot name a topic: 1 to 249 of the characters `a-z A-Z 0-9 . _ -` are allowed"
    )]
    Name {
        /// As given.
        topic: String,
    },
    /// A partition has no room for more positions.
    #[error(
        "partition `{partition}` is full: its positions end at {POSITION_MAX}; go on in a new topic"
    )]
    Full {
        /// Which one.
        partition: String,
    },
}

impl Log {
    /// Opens the log of a file.
    ///
    /// # Errors
    /// When the file is another program's, of a newer version or cannot be opened; with
    /// [`Access::Existing`] and [`Access::Read`] also when there is none.
    pub fn open(path: &Path, access: Access) -> Result<Self, LogError> {
        let path: Arc<Path> = path.into();
        let failed = |fault| DatabaseError {
            path: Arc::clone(&path),
            fault,
        };
        let mut connection = connect(&path, access).map_err(failed)?;
        if access != Access::Read {
            install(&mut connection).map_err(|e| failed(e.into()))?;
        }
        Ok(Self {
            connection,
            path,
            patience: BUSY_TIMEOUT,
        })
    }

    /// The log of a file, to look only; `None` where there is no file yet.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub fn look(path: &Path) -> Result<Option<Self>, LogError> {
        match Self::open(path, Access::Read) {
            Ok(log) => Ok(Some(log)),
            Err(LogError::File(error))
                if matches!(error.fault, Fault::CannotOpen(_)) && !path.exists() =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// For messages: which file it is in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All topics, by name.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn topics(&self) -> Result<Vec<Topic>, LogError> {
        let view = self.view();
        if !view.installed()? {
            return Ok(Vec::new());
        }
        let names: Vec<String> = view.sql(|c| {
            let mut statement = c.prepare_cached("SELECT topic FROM log_topics ORDER BY topic")?;
            statement.query_map([], |row| row.get(0))?.collect()
        })?;
        let topics = names.iter().map(|name| view.topic(name));
        let topics = topics.collect::<Result<Vec<_>, _>>()?;
        Ok(topics.into_iter().flatten().collect())
    }

    /// A topic; `None` when it was never created.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged.
    pub fn topic(&self, name: &str) -> Result<Option<Topic>, LogError> {
        let view = self.view();
        if !view.installed()? {
            return Ok(None);
        }
        view.topic(name)
    }

    /// What a partition holds now.
    ///
    /// # Errors
    /// When there is no such partition, or the file cannot be read or is damaged.
    pub fn bounds(&self, topic: &Topic, partition: u32) -> Result<Bounds, LogError> {
        self.view().bounds(topic, partition)
    }

    /// The topic, created with `partitions` (default 8) where there is none yet.
    ///
    /// # Errors
    /// When the topic has another number of partitions, the name or number is not allowed, or the
    /// file cannot be written.
    pub fn create(&mut self, name: &str, partitions: Option<u32>) -> Result<Topic, LogError> {
        self.write(|view| view.topic_or_new(name, partitions))
    }

    /// How long a write waits for other writers before it fails as busy; gives what it was before.
    /// Ten seconds at first.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn set_patience(&mut self, patience: Duration) -> Result<Duration, LogError> {
        self.view().sql(|c| c.busy_timeout(patience))?;
        Ok(std::mem::replace(&mut self.patience, patience))
    }

    /// A number that changes when another connection has written to the file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn data_version(&self) -> Result<i64, LogError> {
        self.view().sql(|c| {
            c.prepare_cached("PRAGMA data_version")?
                .query_row([], |row| row.get(0))
        })
    }

    /// A disk of so many pages, for tests.
    #[cfg(test)]
    pub(super) fn bound_pages(&self, pages: u32) -> Result<(), LogError> {
        self.view()
            .sql(|c| c.pragma_update(None, "max_page_count", pages))
    }

    fn view(&self) -> View<'_> {
        View {
            c: &self.connection,
            path: &self.path,
        }
    }

    /// One transaction that holds the write lock from its beginning.
    fn write<T>(
        &mut self,
        body: impl FnOnce(&View<'_>) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let path = &self.path;
        let failed = |error: rusqlite::Error| DatabaseError {
            path: Arc::clone(path),
            fault: error.into(),
        };
        let tx = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let done = body(&View { c: &tx, path })?;
        tx.commit().map_err(failed)?;
        Ok(done)
    }
}

/// Whether a topic is as asked for.
pub(super) fn check_partitions(found: Topic, asked: Option<u32>) -> Result<Topic, LogError> {
    match asked {
        Some(asked) if asked != found.partitions() => Err(LogError::Partitions {
            has: found.partitions(),
            topic: found.name,
            asked,
        }),
        Some(_) | None => Ok(found),
    }
}

/// Whether a topic may be created so.
pub(super) fn check_new(name: &str, partitions: u32) -> Result<(), LogError> {
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let topic = name.to_owned();
    if !(1..=249).contains(&name.len()) || !name.bytes().all(sound) {
        return Err(LogError::Name { topic });
    }
    if !(1..=PARTITIONS_MAX).contains(&partitions) {
        let asked = partitions;
        return Err(LogError::PartitionsOutOfBounds { topic, asked });
    }
    Ok(())
}

/// Deferred: where all tables exist no write lock is taken, so opening waits for nobody's `put`.
fn install(connection: &mut Connection) -> rusqlite::Result<()> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    tx.execute_batch(SCHEMA)?;
    tx.commit()
}

/// The wall clock, in milliseconds since 1970; 0 before.
pub(super) fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
