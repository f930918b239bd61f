//! What is the SQLite store's own: its file, its processes, its full disk, its SQL.

use crate::conformance::{DONE, Owner, effects_of, partition};
use lanekeeper::{
    Effect,
    effect::Sqlite,
    sqlite::{Access, Database},
    store::{CommitError, Store, sqlite::SqliteStore},
};
use serde_json::Value;
use std::sync::Arc;

mod apart;
mod file;
mod native;
mod same;

/// A store in a folder of its own.
pub(crate) struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("temporary directory"),
        }
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.directory.path().join("store.db")
    }

    pub(crate) fn open(&self) -> SqliteStore {
        SqliteStore::open(self.path(), Access::Create, "billing").expect("open")
    }

    pub(crate) fn other(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).expect("open")
    }
}

pub(crate) fn run(database: &Database, sql: &'static str) {
    database
        .call_blocking(move |connection| Ok(connection.execute_batch(sql)?))
        .expect(sql);
}

pub(crate) fn native(sql: &str, params: Vec<Value>, rows: Option<u64>) -> Effect {
    Effect::Sqlite(Sqlite {
        sql: sql.to_owned(),
        params,
        rows,
    })
}

/// Commits effects of one record; gives why they are refused.
pub(crate) async fn apply(owner: &mut Owner, effects: Vec<Effect>) -> Result<(), String> {
    let mut commit = owner.next(1);
    commit.effects = vec![effects_of("a", 1, effects)];
    match owner.commit(&commit).await {
        Ok(done) => {
            assert_eq!(done, DONE);
            Ok(())
        }
        Err(CommitError::EffectsRefused(mut refused)) => {
            assert_eq!(refused.len(), 1);
            Err(refused.remove(0).1)
        }
        Err(error) => panic!("{error:?}"),
    }
}

pub(crate) async fn owner(store: &SqliteStore) -> Owner {
    let store: Arc<dyn Store> = Arc::new(store.clone());
    Owner::of(&store, &partition("a/0")).await
}
