//! Marks: what is known of batches behind a mapping (a Lambda's event source mapping), where nobody
//! owns a partition and batches overlap, are cut in two and come again.
//!
//! Each invocation writes one item, alone, so that no writer can harm another: the union of all marks
//! that overlap a batch says what of it is done, and the sum of their tries how often a record failed.

use super::{DecideError, LaneItem, Store, StoreError};
use crate::{
    checkpoint::OpenSet,
    position::Position,
    record::{LaneKey, PartitionName},
};
use futures_util::future::BoxFuture;

/// The mark of one invocation on one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Which invocation: a text of its own, without `#`.
    pub invocation: String,
    /// First position of the batch that it was given.
    pub first: Position,
    /// The last one.
    pub last: Position,
    /// [`Mark::lane_name`] of each lane of its batch, ascending, where other invocations may have records
    /// in between; empty: all that is between its ends was its own.
    pub lanes: Vec<u32>,
    /// Part of the record ids, and of what names a done record.
    pub generation: u64,
    /// Milliseconds since 1970.
    pub begun: i64,
    /// Milliseconds since 1970: nothing of the invocation runs any more from then on.
    pub deadline: i64,
    /// Positions that it settled. Not a range: what lies between may be another's.
    pub done: OpenSet,
    /// Tries of its own that failed and count, ascending by position.
    pub tried: Vec<Tried>,
    /// Careful mode: positions announced and not answered; `true` where it was alone.
    pub announced: Vec<(Position, bool)>,
    /// Nothing of it runs any more.
    pub ended: bool,
    /// Milliseconds since 1970: from then on it may be deleted, and nothing hangs on when it is.
    pub expires: i64,
}

/// Failed tries of one record by one invocation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tried {
    /// Of which record.
    pub position: Position,
    /// What the lane's `rev` was; 0 where it has no item. Tries of another one do not count: an operator
    /// said that the record is to be tried anew.
    pub rev: u64,
    /// How often it failed.
    pub attempts: u32,
    /// What the last one said.
    pub error: String,
    /// Milliseconds since 1970: it is not to be tried again before.
    pub not_before: i64,
}

/// What is known of a record that failed, beside how often.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Failed {
    /// What it said; empty: nothing is known.
    pub error: String,
    /// Milliseconds since 1970: it is not to be tried again before. 0: at once.
    pub not_before: i64,
}

/// The right to act on a lane's decision alone, for a while.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Lease {
    /// Which invocation has it.
    pub holder: String,
    /// Milliseconds since 1970: another may take it from then on. Not before everything of its holder
    /// has ended: deadline and settle time.
    pub until: i64,
}

impl Mark {
    /// A mark that says nothing yet.
    pub fn begun(invocation: &str, (first, last): (Position, Position), begun: i64) -> Self {
        Self {
            invocation: invocation.to_owned(),
            first,
            last,
            lanes: Vec::new(),
            generation: 0,
            begun,
            deadline: begun,
            done: OpenSet::default(),
            tried: Vec::new(),
            announced: Vec::new(),
            ended: false,
            expires: i64::MAX,
        }
    }

    /// Whether its batch and the one from `first` to `last` have a place in common.
    pub fn overlaps(&self, first: &Position, last: &Position) -> bool {
        self.first <= *last && self.last >= *first
    }

    /// What a lane is called in marks, in few bytes: two lanes may be called alike.
    pub fn lane_name(lane: &LaneKey) -> u32 {
        crc32c::crc32c(lane.bytes())
    }

    /// Whether its invocation had a record, as far as it says so: where two lanes are called alike, it may
    /// say so of one that it did not have.
    pub fn had(&self, lane: &LaneKey, position: &Position) -> bool {
        let is_between = self.first <= *position && *position <= self.last;
        let is_known = || { self.lanes.binary_search(&Self::lane_name(lane)) }.is_ok();
        is_between && (self.lanes.is_empty() || is_known())
    }

    /// Bytes of what grows with the batch, encoded. Every store counts like this.
    pub(crate) fn bytes(&self) -> u64 {
        let tried = self.tried.iter();
        let tried: usize = tried.map(|t| t.error.len() + 160).sum();
        let lanes = self.lanes.len() * 4;
        (self.done.encode().len() + tried + self.announced.len() * 160 + lanes) as u64
    }
}

/// As every store of bytes has it.
#[cfg(any(feature = "dynamodb", feature = "local"))]
impl Mark {
    /// [`Mark::tried`] as text.
    pub(crate) fn tried_text(&self) -> String {
        let rows: Vec<_> = { self.tried.iter() }
            .map(|t| {
                (
                    t.position.padded(),
                    t.rev,
                    t.attempts,
                    &t.error,
                    t.not_before,
                )
            })
            .collect();
        serde_json::to_string(&rows).unwrap_or_default()
    }

    /// Reads [`Mark::tried_text`] back.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn tried_from(text: &str) -> Result<Vec<Tried>, String> {
        let rows: Vec<(String, u64, u32, String, i64)> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        rows.into_iter()
            .map(|(position, rev, attempts, error, not_before)| {
                Ok(Tried {
                    position: Position::from_padded(&position).map_err(|e| e.to_string())?,
                    rev,
                    attempts,
                    error,
                    not_before,
                })
            })
            .collect()
    }

    /// [`Mark::lanes`] as bytes.
    pub(crate) fn lanes_bytes(&self) -> Vec<u8> {
        { self.lanes.iter() }
            .flat_map(|lane| lane.to_le_bytes())
            .collect()
    }

    /// Reads [`Mark::lanes_bytes`] back.
    ///
    /// # Errors
    /// When these are no whole names.
    pub(crate) fn lanes_from(bytes: &[u8]) -> Result<Vec<u32>, String> {
        let (names, rest) = bytes.as_chunks::<4>();
        if rest.is_empty() {
            Ok(names.iter().map(|name| u32::from_le_bytes(*name)).collect())
        } else {
            let len = bytes.len();
            Err(format!("it has {len} bytes, no multiple of 4"))
        }
    }

    /// [`Mark::announced`] as text.
    pub(crate) fn announced_text(&self) -> String {
        let rows: Vec<_> = { self.announced.iter() }
            .map(|(position, alone)| (position.padded(), alone))
            .collect();
        serde_json::to_string(&rows).unwrap_or_default()
    }

    /// Reads [`Mark::announced_text`] back.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn announced_from(text: &str) -> Result<Vec<(Position, bool)>, String> {
        let rows: Vec<(String, bool)> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        rows.into_iter()
            .map(|(position, alone)| {
                let position = Position::from_padded(&position).map_err(|e| e.to_string())?;
                Ok((position, alone))
            })
            .collect()
    }
}

/// What a store does behind a mapping, where nobody claims a partition: marks instead of a checkpoint.
///
/// A commit with a mark ([`super::Commit::mark`]) writes that mark where an owner's writes the checkpoint:
/// it is taken when its number is greater than that of the stored one, whatever the fence says, since
/// nobody but its invocation writes it.
pub trait MarkStore: Store {
    /// The marks of batches that may overlap one from `first` to `last`, in any order; consistent.
    fn marks<'a>(
        &'a self,
        partition: &'a PartitionName,
        first: &'a Position,
        last: &'a Position,
    ) -> BoxFuture<'a, Result<Vec<Mark>, StoreError>>;

    /// Removes a mark that says nothing.
    fn unmark<'a>(
        &'a self,
        partition: &'a PartitionName,
        mark: &'a Mark,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Those of these records whose effects are durable.
    fn done<'a>(
        &'a self,
        partition: &'a PartitionName,
        generation: u64,
        positions: &'a [Position],
    ) -> BoxFuture<'a, Result<Vec<Position>, StoreError>>;

    /// All lane items of a partition, those of lanes that are live again too, by lane key.
    fn lane_items<'a>(
        &'a self,
        partition: &'a PartitionName,
    ) -> BoxFuture<'a, Result<Vec<LaneItem>, StoreError>>;

    /// An invocation acts on a lane's decision, alone until `lease.until`: marks the decision as taken,
    /// if the lane is at `rev` and nobody else has a lease on it that has not run out at `now`
    /// (milliseconds since 1970). `rev` moves; gives the item as it is then.
    fn lease<'a>(
        &'a self,
        partition: &'a PartitionName,
        lane: &'a LaneKey,
        rev: u64,
        lease: &'a Lease,
        now: i64,
    ) -> BoxFuture<'a, Result<LaneItem, DecideError>>;
}
