//! Where checkpoints, lanes, chains and effects are durable: the trait, what its verbs take and give.
//!
//! Every write that depends on ownership is conditional on the checkpoint item itself
//! (`worker = mine AND epoch = e AND commit < n`): fencing is by condition, never by timing. A store
//! is opened for one `app`; all names below are within it.

mod commit;
mod lane;
mod mark;
mod rewind;
mod rules;

pub use commit::{
    Commit, CommitBounds, CommitError, Committed, ContentId, LaneChange, RecordEffects, TooLarge,
};
pub use lane::{DecisionNote, HeadTried, LaneItem, LaneState, Verb};
pub use mark::{Failed, Lease, Mark, MarkStore, Tried};
pub use rewind::{AsRead, Rewind, RewindError, RewindNote, RewindVerb};
pub use rules::{
    CHECKPOINT_BYTES_MAX, HISTORY_MILLIS, KEY_BYTES_MAX, TABLE_BYTES_MAX, attempt_bytes,
    checkpoint_bytes,
};

use crate::{
    checkpoint::Checkpoint,
    position::Position,
    record::{Assignment, LaneKey, PartitionName, Record},
};
use futures_util::future::BoxFuture;
use std::{fmt, sync::Arc};
use uuid::Uuid;

#[cfg(feature = "local")]
pub mod sqlite;

pub mod memory;

#[cfg(feature = "dynamodb")]
pub mod dynamodb;

/// One process incarnation: fresh at every start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkerId(pub Uuid);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an owner's writes are conditional on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fence {
    /// The owner.
    pub worker: WorkerId,
    /// Its ownership's number.
    pub epoch: u64,
}

/// The checkpoint item of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ownership {
    /// Who owns it, or owned it and did not release.
    pub worker: Option<WorkerId>,
    /// Moves when the owner changes, and with a rewind.
    pub epoch: u64,
    /// Raised by a rewind.
    pub generation: u64,
    /// Highest commit of this epoch; 0 before the first.
    pub commit: u64,
    /// What that commit's content was called.
    pub content: ContentId,
    /// Claims in a row that found another worker; reset by a clean release and by the owner
    /// ([`Commit::settled_in`]).
    pub unclean_claims: u32,
    /// `None`: nothing was ever committed.
    pub checkpoint: Option<Checkpoint>,
    /// Milliseconds since 1970 of the last write.
    pub updated_at: i64,
}

impl Ownership {
    /// What `unclean_claims` is once this worker claims. One that claims what it is named for, after a
    /// rewind or an assignment that was lost, has not died of a record.
    pub(crate) fn unclean_claims_with(&self, claimant: WorkerId) -> u32 {
        match self.worker {
            Some(named) if named == claimant => self.unclean_claims,
            Some(_) => self.unclean_claims.saturating_add(1),
            None => 0,
        }
    }
}

/// A successful claim.
#[derive(Clone, PartialEq, Debug)]
pub struct Claimed {
    /// The item as it stands now: the worker is the claimer, the commit number 0.
    pub ownership: Ownership,
    /// The worker that was found: it did not release, its tries may still run.
    pub unclean: Option<WorkerId>,
    /// The partition's lanes that are not live.
    pub lanes: Vec<LaneItem>,
    /// Behind a mapping: records that failed in other invocations, or may be under way still.
    pub failed: Vec<(Position, Failed)>,
}

/// Why another verb failed.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum StoreError {
    /// Not now.
    #[error("{0}")]
    OutOfReach(String),
    /// Not with this store: foreign, newer, damaged.
    #[error("{0}")]
    Damaged(String),
    /// Somebody else owns the partition.
    #[error("{partition}: the store names worker {} in epoch {epoch} as its owner", .worker.map_or_else(|| "none".to_owned(), |w| w.to_string()))]
    Fenced {
        /// Which one.
        partition: PartitionName,
        /// Found.
        worker: Option<WorkerId>,
        /// Found.
        epoch: u64,
    },
}

/// Why a decision was not written.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum DecideError {
    /// The item is not there any more.
    #[error("lane `{lane}` of {partition} is live: there is nothing to decide")]
    NoSuchLane {
        /// Which one.
        lane: LaneKey,
        /// Whose.
        partition: PartitionName,
    },
    /// Its state moved, or does not offer the verb, or a decision stands already.
    #[error("lane `{}` of {partition} is {}{}", .item.lane, lane::state_name(.item.state), lane::decision_text(.item))]
    State {
        /// Whose.
        partition: PartitionName,
        /// The item as it stands.
        item: Box<LaneItem>,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a worker says of itself, for `status` only, never for correctness.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct WorkerItem {
    /// Which incarnation.
    pub worker: Uuid,
    /// Process id.
    pub pid: u32,
    /// Host name.
    pub host: String,
    /// Milliseconds since 1970.
    pub started: i64,
    /// Milliseconds since 1970 of this item.
    pub beat: i64,
    /// Handler calls out.
    pub in_flight: u32,
    /// Lanes that wait for their next try.
    pub waiting: u32,
    /// Records in memory.
    pub buffered: u64,
    /// Partitions that take in nothing, and why.
    pub paused: Vec<String>,
    /// Milliseconds since 1970.
    pub sick_since: Option<i64>,
    /// Writes that were refused since another worker owns the partition.
    pub fenced: u64,
    /// Per partition: records of the log that were not handed over.
    pub behind: Vec<(String, u64)>,
    /// What its requests to the store consumed; `None`: nothing is counted, or an older version wrote
    /// this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumed: Option<Consumed>,
}

/// A line of a partition's history.
#[derive(Clone, PartialEq, Debug)]
pub struct HistoryItem {
    /// Milliseconds since 1970.
    pub at: i64,
    /// What happened.
    pub what: HistoryEvent,
}

/// What the history keeps.
#[derive(Clone, PartialEq, Debug)]
pub enum HistoryEvent {
    /// A past checkpoint, with its epoch and generation.
    Checkpoint {
        /// Ownership number.
        epoch: u64,
        /// Generation.
        generation: u64,
        /// What was settled.
        checkpoint: Checkpoint,
    },
    /// An operator's act: lane and decision.
    Decided {
        /// On which lane.
        lane: LaneKey,
        /// On which head.
        head: Position,
        /// What.
        decision: DecisionNote,
    },
    /// An operator's act: what the checkpoint was made.
    Rewound {
        /// Ownership number from then on.
        epoch: u64,
        /// Generation from then on.
        generation: u64,
        /// What is settled from then on.
        checkpoint: Checkpoint,
        /// What was done, by whom and why.
        note: RewindNote,
    },
}

/// What a store's requests consumed since it was opened, as the service itself counts it.
#[derive(Clone, Copy, PartialEq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Consumed {
    /// Requests that were answered.
    pub requests: u64,
    /// Read request units.
    pub read_units: f64,
    /// Write request units.
    pub write_units: f64,
}

impl Consumed {
    /// `None` where nothing is counted, as in a local file.
    pub fn counted(self) -> Option<Self> {
        (self.requests > 0).then_some(self)
    }
}

/// Requests that failed for now, and that a store sent again within one call, since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Repeats {
    /// They were refused: a throttle, or a conflict with another request.
    pub not_now: u64,
    /// No answer came, or none that says what became of them.
    pub lost: u64,
}

/// Checkpoints, lanes, chains, effects. Object-safe; called once a commit, never once a record.
pub trait Store: Send + Sync {
    /// For messages: what it is and where.
    fn describe(&self) -> String;

    /// Whether commits of many partitions cost hardly more than one (one fsync): then the processor
    /// sends them together, one call at a time; else each by itself, side by side.
    fn shares_commits(&self) -> bool;

    /// What one commit may hold; the processor keeps to it.
    fn bounds(&self) -> CommitBounds;

    /// What was consumed through this handle; nothing where nothing is counted.
    fn consumed(&self) -> Consumed {
        Consumed::default()
    }

    /// What was sent again through this handle; nothing where nothing is counted.
    fn repeats(&self) -> Repeats {
        Repeats::default()
    }

    /// Takes the partition: epoch + 1 if it is as read (consistently), registered for listing.
    fn claim<'a>(
        &'a self,
        partition: &'a PartitionName,
        worker: WorkerId,
    ) -> BoxFuture<'a, Result<Claimed, StoreError>>;

    /// A consistent read of the checkpoint item: proof of ownership, status.
    fn ownership<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Option<Ownership>, StoreError>>;

    /// Writes each commit wholly or not at all; results in order. Commits of one call are of
    /// different partitions.
    fn commit<'a>(
        &'a self,
        commits: &'a [Commit],
    ) -> BoxFuture<'a, Vec<Result<Committed, CommitError>>>;

    /// Removes the worker if it is still the owner: the next claim is clean.
    fn release<'a>(
        &'a self,
        partition: &'a PartitionName,
        fence: Fence,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// The lanes of a partition that are not live, by lane key.
    fn lanes<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<LaneItem>, StoreError>>;

    /// Records of a chain in order, behind `after`; at most `records_max`, and at most `bytes_max`
    /// bytes beyond the first. Fewer than asked for does not mean the end; none does.
    fn chain<'a>(
        &'a self,
        assignment: &'a Arc<Assignment>,
        lane: &'a LaneKey,
        after: Option<&'a Position>,
        records_max: usize,
        bytes_max: u64,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>>;

    /// An operator's word, if the lane is at `rev`, offers the verb and has no decision that its owner
    /// has taken; one that is not taken is replaced. Also kept in the history. Gives the new `rev`.
    fn decide<'a>(
        &'a self,
        partition: &'a PartitionName,
        lane: &'a LaneKey,
        rev: u64,
        decision: &'a DecisionNote,
    ) -> BoxFuture<'a, Result<u64, DecideError>>;

    /// The owner acts on a decision: marks it as taken, if the lane is at `rev`. `rev` moves; gives
    /// the item as it is then.
    fn take<'a>(
        &'a self,
        partition: &'a PartitionName,
        fence: Fence,
        lane: &'a LaneKey,
        rev: u64,
    ) -> BoxFuture<'a, Result<LaneItem, DecideError>>;

    /// An operator's rewind or import: epoch + 1 with the worker left named, if the item is at the
    /// epoch and commit that it was computed from (which fences the owner), and the lanes are as
    /// expected. The partition is registered; what stood and the act are kept in the history. Gives the
    /// item as it is then.
    fn rewind<'a>(
        &'a self,
        partition: &'a PartitionName,
        read: AsRead,
        rewind: &'a Rewind,
    ) -> BoxFuture<'a, Result<Ownership, RewindError>>;

    /// All partitions that were ever claimed.
    fn partitions(&self) -> BoxFuture<'_, Result<Vec<PartitionName>, StoreError>>;

    /// How often a worker item is worth its price.
    fn beats_every(&self) -> std::time::Duration;

    /// How often an owner looks at the checkpoint of a partition without work, so that an operator's
    /// rewind is noticed: as often as that is worth its price.
    fn looks_every(&self) -> std::time::Duration {
        self.beats_every()
    }

    /// Writes a worker item.
    fn beat<'a>(&'a self, item: &'a WorkerItem) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Removes a worker item (a clean end).
    fn leave(&self, worker: WorkerId) -> BoxFuture<'_, Result<(), StoreError>>;

    /// All worker items.
    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerItem>, StoreError>>;

    /// A value of the value table.
    fn value<'a>(
        &'a self,
        table: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<serde_json::Value>, StoreError>>;

    /// Values of a table by key, behind `after`, at most `max`.
    fn values<'a>(
        &'a self,
        table: &'a str,
        after: Option<&'a str>,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<(String, serde_json::Value)>, StoreError>>;

    /// A partition's history, oldest first.
    fn history<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<HistoryItem>, StoreError>>;

    /// Removes everything of the app. Refused by the command line while workers run.
    fn forget(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
