//! The stores that the suite runs over.

use super::{Bench, Spoil};
use futures_util::future::BoxFuture;
use lanekeeper::{
    Position,
    store::{
        Store,
        memory::{Contents, Memory, Row},
    },
};
use std::sync::Arc;

pub(crate) struct MemoryBench(Memory);

impl MemoryBench {
    pub(crate) fn new() -> Self {
        Self(Memory::new("unused"))
    }
}

impl Bench for MemoryBench {
    fn open(&self, app: &str) -> Arc<dyn Store> {
        Arc::new(self.0.clone().with_app(app))
    }

    fn spoil<'a>(&'a self, app: &'a str, what: Spoil<'a>) -> BoxFuture<'a, ()> {
        let spoil = move |contents: &mut Contents| {
            let row = match what {
                Spoil::NoCheckpoint(partition) => {
                    contents.ownerships.remove(partition).expect("an item");
                    return;
                }
                Spoil::Checkpoint(partition) => Row::Checkpoint(partition.clone()),
                Spoil::Lane(partition, lane) => Row::Lane(partition.clone(), lane.clone()),
                Spoil::Chain(partition, lane, offset) => {
                    Row::Chain(partition.clone(), lane.clone(), Position::Offset(offset))
                }
                Spoil::Value(table, key) => Row::Value(table.to_owned(), key.to_owned()),
                Spoil::History(partition) => Row::History(partition.clone()),
            };
            contents.damaged.insert(row);
        };
        self.0.clone().with_app(app).tamper(spoil);
        Box::pin(std::future::ready(()))
    }
}

#[cfg(feature = "local")]
pub(crate) use in_a_file::SqliteBench;

#[cfg(feature = "local")]
mod in_a_file {
    use super::*;
    use lanekeeper::{sqlite::Access, store::sqlite::SqliteStore};
    use rusqlite::{ToSql, params};
    use std::path::PathBuf;

    pub(crate) struct SqliteBench {
        directory: tempfile::TempDir,
    }

    impl SqliteBench {
        pub(crate) fn new() -> Self {
            Self {
                directory: tempfile::tempdir().expect("temporary directory"),
            }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("store.db")
        }

        fn run(&self, sql: &str, parameters: &[&dyn ToSql]) {
            let other = rusqlite::Connection::open(self.path()).expect("open");
            other
                .busy_timeout(std::time::Duration::from_secs(5))
                .expect("timeout");
            assert_eq!(other.execute(sql, parameters).expect("run"), 1, "{sql}");
        }
    }

    impl Bench for SqliteBench {
        fn open(&self, app: &str) -> Arc<dyn Store> {
            Arc::new(SqliteStore::open(self.path(), Access::Create, app).expect("open"))
        }

        fn spoil<'a>(&'a self, app: &'a str, what: Spoil<'a>) -> BoxFuture<'a, ()> {
            match what {
                Spoil::NoCheckpoint(p) => self.run(
                    "DELETE FROM store_checkpoints WHERE app = ?1 AND source = ?2 AND partition = ?3",
                    params![app, &*p.source, &*p.partition],
                ),
                Spoil::Checkpoint(p) => self.run(
                    "UPDATE store_checkpoints SET epoch = epoch + 1 \
                     WHERE app = ?1 AND source = ?2 AND partition = ?3",
                    params![app, &*p.source, &*p.partition],
                ),
                Spoil::Lane(p, lane) => self.run(
                    "UPDATE store_lanes SET state = 'parked' WHERE app = ?1 AND source = ?2 \
                     AND partition = ?3 AND lane = ?4",
                    params![app, &*p.source, &*p.partition, lane.bytes()],
                ),
                Spoil::Chain(p, lane, offset) => self.run(
                    "UPDATE store_chain SET record = x'09' WHERE app = ?1 AND source = ?2 \
                     AND partition = ?3 AND lane = ?4 AND position = ?5",
                    params![
                        app,
                        &*p.source,
                        &*p.partition,
                        lane.bytes(),
                        Position::Offset(offset).padded()
                    ],
                ),
                Spoil::Value(table, key) => self.run(
                    "UPDATE store_values SET value = '99' \
                     WHERE app = ?1 AND name = ?2 AND key = ?3",
                    params![app, table, key],
                ),
                Spoil::History(p) => self.run(
                    "UPDATE store_history SET at = at + 1 WHERE id = (SELECT min(id) FROM \
                     store_history WHERE app = ?1 AND source = ?2 AND partition = ?3)",
                    params![app, &*p.source, &*p.partition],
                ),
            }
            Box::pin(std::future::ready(()))
        }
    }
}
