//! An operator's rewind or import: what it writes, on which condition, and how it ends.

use super::{
    ContentId, HistoryEvent, HistoryItem, LaneChange, Ownership, StoreError,
    rules::{CHECKPOINT_BYTES_MAX, checkpoint_bytes},
};
use crate::{checkpoint::Checkpoint, record::PartitionName};

/// A checkpoint item as it was read: what a rewind was computed from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AsRead {
    /// Ownership number; 0: there is no item.
    pub epoch: u64,
    /// Highest commit of that epoch.
    pub commit: u64,
}

impl AsRead {
    /// Of an item, or of none.
    pub fn of(found: Option<&Ownership>) -> Self {
        Self {
            epoch: found.map_or(0, |found| found.epoch),
            commit: found.map_or(0, |found| found.commit),
        }
    }
}

/// All that an operator's rewind or import writes, wholly or not at all.
#[derive(Clone, Debug)]
pub struct Rewind {
    /// What is settled from then on.
    pub checkpoint: Checkpoint,
    /// Of the records' ids from then on.
    pub generation: u64,
    /// Lane items that go or come, at most one a lane, conditional as in a commit. They append nothing.
    pub lanes: Vec<LaneChange>,
    /// A repeat of the same content is recognised as landed.
    pub content: ContentId,
    /// For the history.
    pub note: RewindNote,
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RewindVerb {
    /// Back to an earlier place.
    Rewind,
    /// To what another store exported.
    Import,
}

impl RewindVerb {
    /// Its name in arguments and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rewind => "rewind",
            Self::Import => "import",
        }
    }
}

/// An operator's act on a checkpoint, and its circumstances.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct RewindNote {
    /// What was done.
    pub verb: RewindVerb,
    /// Where to, as it was said.
    pub to: String,
    /// Who did it.
    pub by: String,
    /// What for.
    pub why: Option<String>,
    /// Milliseconds since 1970.
    pub at: i64,
}

/// Why a rewind was not written.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum RewindError {
    /// The item is not as it was read: an owner committed, or another took over. Nothing was written.
    #[error("{partition} moved on meanwhile: it was read at epoch {} commit {}, and stands at epoch {} commit {}", .read.epoch, .read.commit, .found.epoch, .found.commit)]
    Moved {
        /// Which one.
        partition: PartitionName,
        /// What the rewind was computed from.
        read: AsRead,
        /// What is there.
        found: AsRead,
    },
    /// Lane items are not as they were read: indices into [`Rewind::lanes`]. Nothing was written.
    #[error("{} lanes of {partition} moved on meanwhile", .lanes.len())]
    LaneMoved {
        /// Whose.
        partition: PartitionName,
        /// Which.
        lanes: Vec<usize>,
    },
    /// Open set and attempts are too large for the store. Nothing was written.
    #[error(
        "the checkpoint of {partition} would take {bytes} bytes, the store takes {CHECKPOINT_BYTES_MAX}"
    )]
    TooLarge {
        /// Whose.
        partition: PartitionName,
        /// Its size.
        bytes: u64,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be done with a rewind.
pub(crate) enum Rewound {
    /// The item is to be this.
    Write(Ownership),
    /// This very rewind is in the store already, as this item.
    Landed(Ownership),
}

/// The condition of every rewind, and the item that it makes.
pub(crate) fn rewound(
    partition: &PartitionName,
    found: Option<&Ownership>,
    read: AsRead,
    rewind: &Rewind,
    now: i64,
) -> Result<Rewound, RewindError> {
    if let Some(found) = found
        && found.epoch == read.epoch.saturating_add(1)
        && found.commit == 0
        && found.content == rewind.content
    {
        return Ok(Rewound::Landed(found.clone()));
    }
    if AsRead::of(found) != read {
        return Err(RewindError::Moved {
            partition: partition.clone(),
            read,
            found: AsRead::of(found),
        });
    }
    let bytes = checkpoint_bytes(&rewind.checkpoint);
    if bytes > CHECKPOINT_BYTES_MAX {
        return Err(RewindError::TooLarge {
            partition: partition.clone(),
            bytes,
        });
    }
    Ok(Rewound::Write(Ownership {
        // Whoever is named may still have tries out: the next claim finds it, and waits for them.
        worker: found.and_then(|found| found.worker),
        epoch: read.epoch.saturating_add(1),
        generation: rewind.generation,
        commit: 0,
        content: rewind.content,
        unclean_claims: found.map_or(0, |found| found.unclean_claims),
        checkpoint: Some(rewind.checkpoint.clone()),
        updated_at: now,
    }))
}

/// What the history keeps of a rewind: what stood until then, and the act.
pub(crate) fn remembered(
    found: Option<&Ownership>,
    after: &Ownership,
    rewind: &Rewind,
) -> Vec<HistoryItem> {
    let mut items = Vec::with_capacity(2);
    if let Some(found) = found
        && let Some(checkpoint) = &found.checkpoint
    {
        items.push(HistoryItem {
            // So that what stood is found by any moment before the act.
            at: rewind.note.at.saturating_sub(1),
            what: HistoryEvent::Checkpoint {
                epoch: found.epoch,
                generation: found.generation,
                checkpoint: checkpoint.clone(),
            },
        });
    }
    items.push(HistoryItem {
        at: rewind.note.at,
        what: HistoryEvent::Rewound {
            epoch: after.epoch,
            generation: after.generation,
            checkpoint: rewind.checkpoint.clone(),
            note: rewind.note.clone(),
        },
    });
    items
}
