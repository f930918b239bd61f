//! What a commit carries, and how it ends.

use super::{
    Fence, LaneItem, WorkerId,
    mark::{Failed, Mark},
};
use crate::{
    checkpoint::Checkpoint,
    effect::Effect,
    position::Position,
    record::{LaneKey, PartitionName, Record},
};
use std::fmt;

/// Tells one content of a commit number from another.
pub type ContentId = [u8; 16];

/// All that becomes durable together for one partition.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Which one.
    pub partition: PartitionName,
    /// Whose.
    pub fence: Fence,
    /// From 1 within an epoch; taken when greater than the stored one.
    pub number: u64,
    /// A repeat of the same content is recognised as landed; another content of the same number says
    /// which of the two landed.
    pub content: ContentId,
    /// What is settled.
    pub checkpoint: Checkpoint,
    /// At most one a lane.
    pub lanes: Vec<LaneChange>,
    /// In lane order.
    pub effects: Vec<RecordEffects>,
    /// Also written to the history.
    pub keep: bool,
    /// The owner has run long enough: the count of unclean claims starts anew.
    pub settled_in: bool,
    /// Behind a mapping, written instead of the checkpoint; `None`: an owner's commit. Records with
    /// effects are then remembered one by one, whoever commits them ([`CommitError::AlreadyDone`]).
    pub mark: Option<Mark>,
    /// Behind a mapping: records that failed and are open.
    pub failed: Vec<(Position, Failed)>,
    /// Behind a mapping of shards: where its lanes and chains are, which all shards of a source share;
    /// `None`: at the partition itself.
    pub lanes_at: Option<PartitionName>,
}

impl Commit {
    /// Where its lanes and chains are.
    pub fn lanes_at(&self) -> &PartitionName {
        self.lanes_at.as_ref().unwrap_or(&self.partition)
    }

    /// The partition of a record with effects.
    pub fn partition_of<'a>(&'a self, record: &'a RecordEffects) -> &'a PartitionName {
        record.partition.as_ref().unwrap_or(&self.partition)
    }
}

/// A write of one lane item and its chain.
#[derive(Clone, Debug)]
pub struct LaneChange {
    /// Whose.
    pub lane: LaneKey,
    /// The item as the owner knows it: `None`, or its `rev` and `tail`. Anything else in the store
    /// refuses the commit ([`CommitError::LaneMoved`]).
    pub expected: Option<(u64, Option<Position>)>,
    /// The item from now on; `None` deletes it with what is left of its chain.
    pub item: Option<LaneItem>,
    /// Records that join the chain, ascending: all behind the expected tail, or all before its head.
    pub append: Vec<Record>,
    /// Records of the chain up to here go.
    pub passed: Option<Position>,
}

/// The effects of one record.
#[derive(Clone, PartialEq, Debug)]
pub struct RecordEffects {
    /// Whose lane: effects of one lane are never applied out of their order.
    pub lane: LaneKey,
    /// Its partition where that is not the commit's: a chain that shards share has records of several.
    pub partition: Option<PartitionName>,
    /// Whose.
    pub position: Position,
    /// In the handler's order.
    pub effects: Vec<Effect>,
}

/// A commit that the store has.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Committed {
    /// It had landed before: an earlier answer was lost.
    pub repeated: bool,
    /// Write request units consumed, where the store counts them.
    pub write_units: f64,
}

/// Why a commit is not (known to be) in the store.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum CommitError {
    /// Somebody else owns the partition, or a later commit of ours is in. Nothing was written.
    #[error("{partition}: fenced: commit {number} of worker {} epoch {} was refused, the store has worker {} epoch {} commit {}", .fence.worker, .fence.epoch, .found.0.map_or_else(|| "none".to_owned(), |w| w.to_string()), .found.1, .found.2)]
    Fenced {
        /// Whose commit.
        partition: PartitionName,
        /// What was sent.
        fence: Fence,
        /// What was sent.
        number: u64,
        /// Worker, epoch and commit number in the store; epoch 0 when the item is gone.
        found: (Option<WorkerId>, u64, u64),
    },
    /// Conditions of effects do not hold: index into [`Commit::effects`] (the first of its lane) and
    /// why. Nothing was written.
    #[error("effects refused: {}", .0.iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>().join("; "))]
    EffectsRefused(Vec<(usize, String)>),
    /// The effects of these records need another commit: they write an item that an earlier one writes
    /// too, and the store takes each once. Indices into [`Commit::effects`]. Nothing was written.
    #[error("effects on one item need a commit each: {0:?}")]
    Apart(Vec<usize>),
    /// The effects of these records are durable by another invocation's commit, and are not to be
    /// applied again: indices into [`Commit::effects`]. Nothing was written.
    #[error("effects are durable already: {0:?}")]
    AlreadyDone(Vec<usize>),
    /// Lane items are not as expected: indices into [`Commit::lanes`]. Nothing was written.
    #[error("lane items changed under their owner: {0:?}")]
    LaneMoved(Vec<usize>),
    /// Too large for the store, in any company. Nothing was written.
    #[error("{what} takes {bytes} bytes, the store takes {max}")]
    TooLarge {
        /// What.
        what: TooLarge,
        /// Its size.
        bytes: u64,
        /// The bound.
        max: u64,
    },
    /// It cannot be in the store; the same content may be sent again.
    #[error("not written: {0}")]
    NotWritten(String),
    /// It may be in the store; send the same content again.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The number of this commit is taken by another content of ours, whole. Nothing was written.
    #[error("another content of commit {number} landed")]
    OtherContent {
        /// The number.
        number: u64,
        /// What landed.
        content: ContentId,
    },
    /// The store is unusable.
    #[error("{0}")]
    Damaged(String),
}

/// What is too large.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TooLarge {
    /// Open set and attempts.
    Checkpoint,
    /// [`Commit::lanes`] at this index.
    Lane(usize),
    /// [`Commit::effects`] at this index.
    Effects(usize),
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("the checkpoint"),
            Self::Lane(_) => f.write_str("a lane's change"),
            Self::Effects(_) => f.write_str("a record's effects"),
        }
    }
}

/// What one commit may hold beside its checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommitBounds {
    /// Items written by effects and lane changes.
    pub items: usize,
    /// Bytes of effects and lane changes.
    pub bytes: u64,
    /// Most bytes of a stopped head that its lane item can hold.
    pub record_bytes: usize,
}
