//! The DynamoDB store: checkpoints, lanes, chains, values and history in one table, for workers
//! anywhere.
//!
//! Fencing is by condition: every owner's write hangs on the checkpoint item's own update. Requests
//! are sent again within a deadline; what became of one whose answer was lost is read off the item.
//! What each item holds, and what it costs: docs/dynamodb.md.

use super::{
    AsRead, Claimed, Commit, CommitBounds, CommitError, Committed, Consumed, DecideError,
    DecisionNote, Fence, HistoryItem, LaneItem, Ownership, Repeats, Rewind, RewindError, Store,
    StoreError, WorkerId, WorkerItem,
};
use crate::{
    position::Position,
    record::{Assignment, LaneKey, PartitionName, Record},
};
use aws_sdk_dynamodb::Client;
use futures_util::future::{BoxFuture, join_all};
use query::Query;
use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::OnceCell;

mod access;
mod admin;
mod attributes;
mod call;
mod chains;
mod check;
mod client;
mod commit;
mod effects;
mod expression;
mod history;
mod kept;
mod lanes;
mod marks;
mod native;
mod ownership;
mod probe;
mod query;
mod rewind;
mod schema;
mod segments;
mod table;
mod values;

pub use admin::{InitError, Made};
pub use check::{Finding, Weight};

/// Well within a transaction's 100 items and 4 MB, of which the checkpoint, its copy for the history
/// and a lane's further segments need some.
const BOUNDS: CommitBounds = CommitBounds {
    items: 90,
    bytes: commit::BYTES_MAX,
    record_bytes: 192 * 1024,
};

/// A store in a DynamoDB table. A clone is the same one.
#[derive(Clone)]
pub struct DynamodbStore {
    table: Arc<str>,
    app: Arc<str>,
    /// Whose values effects write: the app's own, but for a store apart.
    values: Arc<str>,
    /// Of partitions that are claimed for the first time.
    generation: u64,
    client: Arc<OnceCell<Client>>,
    meter: Arc<call::Meter>,
    /// Sort keys of registry items that this process wrote.
    registered: Arc<Mutex<HashSet<String>>>,
    /// Segments of chains, to be deleted once they passed.
    segments: Arc<Mutex<HashMap<chains::ChainName, chains::Known>>>,
}

impl DynamodbStore {
    /// The store of an app in a table. Nothing is asked before the first call: credentials, region and
    /// endpoint are then found as every AWS tool finds them.
    pub fn new(table: &str, app: &str) -> Self {
        Self {
            table: table.into(),
            app: app.into(),
            values: app.into(),
            generation: 0,
            client: Arc::default(),
            meter: Arc::default(),
            registered: Arc::default(),
            segments: Arc::default(),
        }
    }

    /// As [`DynamodbStore::new`], through this client.
    pub fn with_client(table: &str, app: &str, client: Client) -> Self {
        Self {
            client: Arc::new(OnceCell::new_with(Some(client))),
            ..Self::new(table, app)
        }
    }

    /// The same table for work apart from the app's own: checkpoints, lanes, history and workers are
    /// those of `name`, while effects go to the values of this app, in the same transaction. Partitions
    /// begin there with `generation`. `forget` removes what is of `name` and no value of the app.
    #[must_use]
    pub fn apart(self, name: &str, generation: u64) -> Self {
        Self {
            app: name.into(),
            generation,
            registered: Arc::default(),
            segments: Arc::default(),
            ..self
        }
    }

    async fn client(&self) -> &Client {
        self.client.get_or_init(client::connect).await
    }

    fn place(&self) -> String {
        format!("DynamoDB table `{}`", self.table)
    }
}

impl fmt::Debug for DynamodbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamodbStore")
            .field("table", &self.table)
            .field("app", &self.app)
            .finish_non_exhaustive()
    }
}

/// Milliseconds since 1970.
fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

impl Store for DynamodbStore {
    fn describe(&self) -> String {
        format!("{}, app `{}`", self.place(), self.app)
    }

    fn shares_commits(&self) -> bool {
        false
    }

    fn beats_every(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn looks_every(&self) -> Duration {
        Duration::from_secs(600)
    }

    fn bounds(&self) -> CommitBounds {
        BOUNDS
    }

    fn consumed(&self) -> Consumed {
        self.meter.total()
    }

    fn repeats(&self) -> Repeats {
        self.meter.repeats()
    }

    fn claim<'a>(
        &'a self,
        partition: &'a PartitionName,
        worker: WorkerId,
    ) -> BoxFuture<'a, Result<Claimed, StoreError>> {
        Box::pin(self.claim_partition(partition, worker))
    }

    fn ownership<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Option<Ownership>, StoreError>> {
        Box::pin(self.read_ownership(partition))
    }

    fn commit<'a>(
        &'a self,
        commits: &'a [Commit],
    ) -> BoxFuture<'a, Vec<Result<Committed, CommitError>>> {
        Box::pin(join_all(
            commits.iter().map(|commit| self.commit_one(commit)),
        ))
    }

    fn release<'a>(
        &'a self,
        partition: &'a PartitionName,
        fence: Fence,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.release_partition(partition, fence))
    }

    fn lanes<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<LaneItem>, StoreError>> {
        Box::pin(self.read_lanes(partition))
    }

    fn chain<'a>(
        &'a self,
        assignment: &'a Arc<Assignment>,
        lane: &'a LaneKey,
        after: Option<&'a Position>,
        records_max: usize,
        bytes_max: u64,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(self.read_chain(assignment, lane, after, records_max, bytes_max))
    }

    fn decide<'a>(
        &'a self,
        partition: &'a PartitionName,
        lane: &'a LaneKey,
        rev: u64,
        decision: &'a DecisionNote,
    ) -> BoxFuture<'a, Result<u64, DecideError>> {
        Box::pin(self.decide_lane(partition, lane, rev, decision))
    }

    fn take<'a>(
        &'a self,
        partition: &'a PartitionName,
        fence: Fence,
        lane: &'a LaneKey,
        rev: u64,
    ) -> BoxFuture<'a, Result<LaneItem, DecideError>> {
        Box::pin(self.take_decision(partition, fence, lane, rev))
    }

    fn rewind<'a>(
        &'a self,
        partition: &'a PartitionName,
        read: AsRead,
        act: &'a Rewind,
    ) -> BoxFuture<'a, Result<Ownership, RewindError>> {
        Box::pin(self.rewind_partition(partition, read, act))
    }

    fn partitions(&self) -> BoxFuture<'_, Result<Vec<PartitionName>, StoreError>> {
        Box::pin(self.read_partitions())
    }

    fn beat<'a>(&'a self, item: &'a WorkerItem) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.write_worker(item))
    }

    fn leave(&self, worker: WorkerId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.delete_worker(worker))
    }

    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerItem>, StoreError>> {
        Box::pin(self.read_workers())
    }

    fn value<'a>(
        &'a self,
        table: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<serde_json::Value>, StoreError>> {
        Box::pin(self.read_value(table, key))
    }

    fn values<'a>(
        &'a self,
        table: &'a str,
        after: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, serde_json::Value)>, StoreError>> {
        Box::pin(self.read_values(table, after, max))
    }

    fn history<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<HistoryItem>, StoreError>> {
        Box::pin(self.read_history(partition))
    }

    fn forget(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.forget_all())
    }
}
