//! The SQLite store: checkpoints, lanes, chains and values in one file, which may also hold the
//! embedded log.
//!
//! A chain is a row a record: a row costs no more than its bytes, so there is nothing to gain from
//! segments, and deleting what passed is exact.

use super::{
    AsRead, Claimed, Commit, CommitBounds, CommitError, Committed, DecideError, DecisionNote,
    Fence, HistoryItem, LaneItem, Lease, Mark, MarkStore, Ownership, Rewind, RewindError, Store,
    StoreError, WorkerId, WorkerItem,
};
use crate::{
    position::Position,
    record::{Assignment, LaneKey, PartitionName, Record},
    sqlite::{Access, Database, DatabaseError, Fault},
};
use futures_util::future::BoxFuture;
use rusqlite::{Connection, OptionalExtension};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

mod columns;
mod commit;
mod effects;
mod guard;
mod history;
mod lanes;
mod marks;
mod ownership;
mod rewind;
mod schema;

pub use schema::RESERVED_PREFIXES;

/// Most bytes of one lane's change: SQLite's bound of a row is twice that.
const LANE_BYTES_MAX: u64 = 500_000_000;

/// What one commit of the processor holds: one transaction's work, well within memory.
const BOUNDS: CommitBounds = CommitBounds {
    items: 20_000,
    bytes: 32 * 1024 * 1024,
    record_bytes: 64 * 1024 * 1024,
};

/// A store in a SQLite file. A clone is the same one.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    database: Database,
    app: Arc<str>,
    /// Whose values effects write: the app's own, but for a store apart.
    values: Arc<str>,
    /// Of partitions that are claimed for the first time.
    generation: u64,
}

impl SqliteStore {
    /// The store of an app in an open file; creates its tables where they are missing. Blocks for as
    /// long as that takes.
    ///
    /// # Errors
    /// When the file cannot be written, or is not as this version made it.
    pub fn new(database: Database, app: &str) -> Result<Self, DatabaseError> {
        if database.access() == Access::Read && !has_tables(&database)? {
            // A log that nothing was processed from yet. Where this may not write, say so.
            install(&database.another(Access::Existing)?)?;
        }
        install(&database)?;
        database.call_blocking(|connection| Ok(guard::install(connection)?))?;
        Ok(Self {
            database,
            app: app.into(),
            values: app.into(),
            generation: 0,
        })
    }

    /// The same file for work apart from the app's own: checkpoints, lanes, history and workers are
    /// those of `name`, while effects go to the values of this app, in the same transaction. Partitions
    /// begin there with `generation`. `forget` removes what is of `name` and no value of the app.
    #[must_use]
    pub fn apart(self, name: &str, generation: u64) -> Self {
        Self {
            app: name.into(),
            generation,
            ..self
        }
    }

    /// As [`SqliteStore::new`], in a file of this path.
    ///
    /// # Errors
    /// As [`Database::open`] and [`SqliteStore::new`].
    pub fn open(path: impl AsRef<Path>, access: Access, app: &str) -> Result<Self, DatabaseError> {
        Self::new(Database::open(path, access)?, app)
    }

    /// How such a store is described to people.
    pub fn description(path: &Path, app: &str) -> String {
        format!("SQLite file `{}`, app `{app}`", path.display())
    }

    /// Whether the file of this path has none of the store's tables yet. Writes nothing.
    ///
    /// # Errors
    /// When it cannot be read, or is not ours.
    pub fn is_missing(path: impl AsRef<Path>) -> Result<bool, DatabaseError> {
        Ok(!has_tables(&Database::open(path, Access::Read)?)?)
    }

    /// The file.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The app.
    pub fn app(&self) -> &str {
        &self.app
    }

    fn call<'a, T, F>(&'a self, work: F) -> BoxFuture<'a, Result<T, StoreError>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection, &str) -> Result<T, Fault> + Send + 'static,
    {
        let app = Arc::clone(&self.app);
        Box::pin(async move {
            let work = move |connection: &mut Connection| work(connection, &app);
            Ok(self.database.call(work).await?)
        })
    }

    /// As [`SqliteStore::call`], where the work may end in a refusal of its own.
    fn call_or<'a, T, E, F>(&'a self, work: F) -> BoxFuture<'a, Result<T, E>>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Connection, &str) -> Result<Result<T, E>, Fault> + Send + 'static,
    {
        let result = self.call(work);
        Box::pin(async move { result.await.map_err(E::from)? })
    }
}

/// Creates the tables, and the column that a file of before does not have.
fn install(database: &Database) -> Result<(), DatabaseError> {
    database.install(schema::SCHEMA)?;
    if database.access() == Access::Read || has_tables(database)? {
        return Ok(());
    }
    database.call_blocking(|connection| {
        let added = connection.execute_batch("ALTER TABLE store_lanes ADD COLUMN tails TEXT");
        // Another process may have been quicker.
        match (added, is_current(connection)?) {
            (_, true) => Ok(()),
            (added, false) => Ok(added?),
        }
    })
}

/// Whether all tables are as this version makes them.
fn has_tables(database: &Database) -> Result<bool, DatabaseError> {
    database.call_blocking(|connection| is_current(connection))
}

fn is_current(connection: &Connection) -> Result<bool, Fault> {
    let found = connection.query_row(
        "SELECT 1 FROM pragma_table_info('store_lanes') WHERE name = 'tails'",
        [],
        |_| Ok(()),
    );
    Ok(found.optional()?.is_some())
}

/// Milliseconds since 1970.
fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        if error.fault.is_lasting() {
            Self::Damaged(error.to_string())
        } else {
            Self::OutOfReach(error.to_string())
        }
    }
}

impl Store for SqliteStore {
    fn describe(&self) -> String {
        Self::description(self.database.path(), &self.app)
    }

    fn shares_commits(&self) -> bool {
        true
    }

    fn beats_every(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn bounds(&self) -> CommitBounds {
        BOUNDS
    }

    fn claim<'a>(
        &'a self,
        partition: &'a PartitionName,
        worker: WorkerId,
    ) -> BoxFuture<'a, Result<Claimed, StoreError>> {
        let (partition, generation) = (partition.clone(), self.generation);
        self.call(move |connection, app| {
            ownership::claim(connection, app, &partition, worker, generation)
        })
    }

    fn ownership<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Option<Ownership>, StoreError>> {
        let partition = partition.clone();
        self.call(move |connection, app| ownership::read(connection, app, &partition))
    }

    fn commit<'a>(
        &'a self,
        commits: &'a [Commit],
    ) -> BoxFuture<'a, Vec<Result<Committed, CommitError>>> {
        let (count, commits) = (commits.len(), commits.to_vec());
        let (app, values) = (Arc::clone(&self.app), Arc::clone(&self.values));
        let database = self.database.clone();
        Box::pin(async move {
            let path: Arc<Path> = database.path().into();
            let work = move |connection: &mut Connection| {
                let error = |fault| DatabaseError {
                    path: Arc::clone(&path),
                    fault,
                };
                let names = commit::Names {
                    app: &app,
                    values: &values,
                };
                Ok(commit::commit(connection, names, &commits, &error))
            };
            database
                .call(work)
                .await
                .unwrap_or_else(|error| commit::all_lost(error, count))
        })
    }

    fn release<'a>(
        &'a self,
        partition: &'a PartitionName,
        fence: Fence,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let partition = partition.clone();
        self.call_or(move |connection, app| ownership::release(connection, app, &partition, fence))
    }

    fn lanes<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<LaneItem>, StoreError>> {
        let partition = partition.clone();
        self.call(move |connection, app| lanes::read_all(connection, app, &partition))
    }

    fn chain<'a>(
        &'a self,
        assignment: &'a Arc<Assignment>,
        lane: &'a LaneKey,
        after: Option<&'a Position>,
        records_max: usize,
        bytes_max: u64,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        let (partition, lane, after) = (assignment.name.clone(), lane.clone(), after.cloned());
        let rows = self.call({
            let lane = lane.clone();
            move |connection, app| {
                let after = after.as_ref();
                lanes::chain(
                    connection,
                    app,
                    &partition,
                    &lane,
                    after,
                    records_max,
                    bytes_max,
                )
            }
        });
        Box::pin(async move {
            rows.await?
                .into_iter()
                .map(|(position, stored)| {
                    super::rules::chained(assignment, &lane, position, &stored)
                        .map_err(|why| self.database.error(Fault::Damaged(why)).into())
                })
                .collect()
        })
    }

    fn decide<'a>(
        &'a self,
        partition: &'a PartitionName,
        lane: &'a LaneKey,
        rev: u64,
        decision: &'a DecisionNote,
    ) -> BoxFuture<'a, Result<u64, DecideError>> {
        let (partition, lane, decision) = (partition.clone(), lane.clone(), decision.clone());
        self.call_or(move |connection, app| {
            lanes::decide(connection, app, &partition, &lane, rev, &decision)
        })
    }

    fn take<'a>(
        &'a self,
        partition: &'a PartitionName,
        fence: Fence,
        lane: &'a LaneKey,
        rev: u64,
    ) -> BoxFuture<'a, Result<LaneItem, DecideError>> {
        let (partition, lane) = (partition.clone(), lane.clone());
        self.call_or(move |connection, app| {
            lanes::take(connection, app, &partition, fence, &lane, rev)
        })
    }

    fn rewind<'a>(
        &'a self,
        partition: &'a PartitionName,
        read: AsRead,
        act: &'a Rewind,
    ) -> BoxFuture<'a, Result<Ownership, RewindError>> {
        let (partition, act) = (partition.clone(), act.clone());
        self.call_or(move |connection, app| rewind::rewind(connection, app, &partition, read, &act))
    }

    fn partitions(&self) -> BoxFuture<'_, Result<Vec<PartitionName>, StoreError>> {
        self.call(|connection, app| history::partitions(connection, app))
    }

    fn beat<'a>(&'a self, item: &'a WorkerItem) -> BoxFuture<'a, Result<(), StoreError>> {
        let item = item.clone();
        self.call(move |connection, app| history::beat(connection, app, &item))
    }

    fn leave(&self, worker: WorkerId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call(move |connection, app| history::leave(connection, app, worker))
    }

    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerItem>, StoreError>> {
        self.call(|connection, app| history::workers(connection, app))
    }

    fn value<'a>(
        &'a self,
        table: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<serde_json::Value>, StoreError>> {
        let (table, key) = (table.to_owned(), key.to_owned());
        let values = Arc::clone(&self.values);
        self.call(move |connection, _| effects::read_value(connection, &values, &table, &key))
    }

    fn values<'a>(
        &'a self,
        table: &'a str,
        after: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, serde_json::Value)>, StoreError>> {
        let (table, after) = (table.to_owned(), after.map(str::to_owned));
        let values = Arc::clone(&self.values);
        self.call(move |connection, _| {
            effects::read_values(connection, &values, &table, after.as_deref(), max)
        })
    }

    fn history<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<HistoryItem>, StoreError>> {
        let partition = partition.clone();
        self.call(move |connection, app| history::read(connection, app, &partition))
    }

    fn forget(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call(|connection, app| {
            let transaction = connection.transaction()?;
            for table in schema::TABLES {
                transaction.execute(&format!("DELETE FROM {table} WHERE app = ?1"), [app])?;
            }
            Ok(transaction.commit()?)
        })
    }
}

impl MarkStore for SqliteStore {
    fn marks<'a>(
        &'a self,
        partition: &'a PartitionName,
        first: &'a Position,
        last: &'a Position,
    ) -> BoxFuture<'a, Result<Vec<Mark>, StoreError>> {
        let (partition, first, last) = (partition.clone(), first.clone(), last.clone());
        self.call(move |connection, app| {
            marks::read_all(connection, app, &partition, &first, &last)
        })
    }

    fn unmark<'a>(
        &'a self,
        partition: &'a PartitionName,
        mark: &'a Mark,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let (partition, mark) = (partition.clone(), mark.clone());
        self.call(move |connection, app| marks::remove(connection, app, &partition, &mark))
    }

    fn done<'a>(
        &'a self,
        partition: &'a PartitionName,
        generation: u64,
        positions: &'a [Position],
    ) -> BoxFuture<'a, Result<Vec<Position>, StoreError>> {
        let (partition, positions) = (partition.clone(), positions.to_vec());
        self.call(move |connection, app| {
            marks::read_done(connection, app, &partition, generation, &positions)
        })
    }

    fn lane_items<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<LaneItem>, StoreError>> {
        let partition = partition.clone();
        self.call(move |connection, app| lanes::read_items(connection, app, &partition))
    }

    fn lease<'a>(
        &'a self,
        partition: &'a PartitionName,
        lane: &'a LaneKey,
        rev: u64,
        lease: &'a Lease,
        now: i64,
    ) -> BoxFuture<'a, Result<LaneItem, DecideError>> {
        let (partition, lane, lease) = (partition.clone(), lane.clone(), lease.clone());
        self.call_or(move |connection, app| {
            marks::lease(connection, app, &partition, (&lane, rev), &lease, now)
        })
    }
}
