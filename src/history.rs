//! What happened, line by line: one schema for production, simulation and tests.
//!
//! A sink gets facts from the processor; the writer turns them into the JSON lines of the interfaces
//! page. The audit (`crate::audit`) reads them back.

use crate::{
    checkpoint::Checkpoint,
    position::Position,
    record::{LaneKey, PartitionName},
    store::{LaneState, Verb, WorkerId},
};
use partitions::Resume;
use std::{sync::Arc, time::Duration};

mod file;
mod line;
mod read;

pub use file::{Collected, HistoryFile};
pub use line::{Base64, Kind, Line};
pub use read::{Lines, ReadError, read_lines};

/// The format of the lines that this version writes and reads.
pub const FORMAT: u32 = 1;

/// Where facts go.
pub trait History: Send + Sync {
    /// One fact; the sink adds `seq`.
    fn note(&self, fact: Fact<'_>);

    /// Whether facts are kept at all: the loop asks once and spares itself the work.
    fn keeps(&self) -> bool {
        true
    }
}

/// One line.
#[derive(Clone, Copy, Debug)]
pub struct Fact<'a> {
    /// Since an origin that all workers of the machine share (its monotonic clock).
    pub at: Duration,
    /// Whose partition, with the ownership it happened under; `None` for the worker's own events.
    pub subject: Option<Subject<'a>>,
    /// What happened.
    pub event: Event<'a>,
}

/// What a fact is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Which partition.
    pub partition: &'a PartitionName,
    /// Ownership number.
    pub epoch: u64,
    /// Generation.
    pub generation: u64,
    /// Lane (tag byte and key) and position of one record, or of a lane's head. The lane is empty
    /// where it is not known (a record that is gone).
    pub record: Option<(&'a [u8], &'a Position)>,
}

/// What happened. `ticket` numbers the tries of a worker from 1; the records of a run share it.
#[expect(
    missing_docs,
    reason = "the fields are those of the lines, described there"
)]
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Event<'a> {
    /// A worker's first line.
    Opened(&'a Opened),
    /// The source handed the record over.
    Fetched,
    /// The source said that nothing up to and with `through` will come but what came.
    PassedOver { through: &'a Position },
    /// Written before the handler is called.
    Started { ticket: u64, attempt: u32 },
    /// The try ended for this record: `outcome` is `done`, `retry`, `reject`, `target`,
    /// `unattributed`, `untried`, `timeout` or `panic`.
    Ended {
        ticket: u64,
        attempt: u32,
        outcome: &'a str,
        error: Option<&'a str>,
    },
    /// It will be tried again.
    Retry { attempts: u32 },
    /// It is passed: without effects at the answer, with effects once they are durable.
    Done,
    /// The source handed over what is settled.
    AlreadyDone,
    /// Its lane stands stopped, durably.
    Stopped { error: &'a str, attempts: u32 },
    /// Its lane is parked with it as head, durably.
    Parked { error: &'a str, attempts: u32 },
    /// It joined its lane's chain, durably.
    Appended,
    /// It was published; passed.
    DeadLettered,
    /// An operator skipped it, durably.
    Skipped,
    /// Its chain is empty and the lane live, durably.
    Released,
    /// It stood open in the checkpoint and the source passed it by.
    Gone,
    /// The owner took an operator's decision on its lane.
    Decided { verb: Verb },
    /// A commit is durable.
    Committed {
        number: u64,
        checkpoint: &'a Checkpoint,
        repeated: bool,
    },
    /// An effect of the record is durable.
    Effect { table: &'a str, key: &'a str },
    /// The source was told a durable frontier.
    Acked { frontier: &'a Position },
    /// A write was refused: another owner (then `why` holds the word `fenced` and the subject names
    /// no record), a lane that moved, an effect's condition (then it names the record).
    Refused { why: &'a str },
    /// The partition is ours. [`Event::Restored`] follows, then an [`Event::Held`] for each lane
    /// that was found not to be live; only then records.
    Claimed { clean: bool },
    /// What the claim found (`None`: nothing was ever committed) and where reading begins. Without
    /// `gap` that is where the checkpoint's settled prefix ends; else `gap` says why it is not.
    Restored {
        checkpoint: Option<&'a Checkpoint>,
        from: &'a Resume<Position>,
        gap: Option<&'a str>,
    },
    /// The claim found this lane, with the subject's record as its head and so many records in its
    /// chain. `decision`: one that is
    /// taken already, so that no [`Event::Decided`] need follow.
    Held {
        state: LaneState,
        tail: Option<&'a Position>,
        count: u64,
        decision: Option<Verb>,
    },
    /// The claim found the record announced and not answered: its former owner died meanwhile.
    /// `alone`: nothing else of that owner was in flight, so an attempt is charged.
    Suspected { alone: bool, attempts: u32 },
    /// The partition is not ours any more; `clean`: nothing was out and the store knows.
    Revoked { clean: bool },
    /// The try's end is unknown: slot and lane wait.
    Quarantined { ticket: u64, millis: u64 },
    /// The source was asked to hand over nothing.
    Paused,
    /// The source was asked to go on.
    Resumed,
}

/// The settings that the audit needs.
#[derive(Clone, PartialEq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Opened {
    /// Of the history.
    pub format: u32,
    /// Of lanekeeper.
    pub version: String,
    /// Which incarnation.
    pub worker: WorkerName,
    /// The app.
    pub app: String,
    /// Most handler calls in flight.
    pub cap: u32,
    /// Per partition.
    pub unflushed_max: u64,
    /// Most records of a run.
    pub records_per_call: u32,
    /// `failure.attempts`.
    pub attempts: u32,
    /// `failure.then`.
    pub then: String,
    /// `failure.stops`.
    pub stops: String,
    /// `failure.timeout` in milliseconds.
    pub timeout_ms: u64,
    /// `failure.settle` in milliseconds, as it is in force for the handler.
    pub settle_ms: u64,
    /// `drain` in milliseconds.
    pub drain_ms: u64,
}

/// A worker as text.
pub type WorkerName = String;

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;

impl History for Nowhere {
    fn note(&self, _: Fact<'_>) {}

    fn keeps(&self) -> bool {
        false
    }
}

impl<H: History + ?Sized> History for Arc<H> {
    fn note(&self, fact: Fact<'_>) {
        (**self).note(fact);
    }

    fn keeps(&self) -> bool {
        (**self).keeps()
    }
}

// Kept here so that every sink words a lane and a worker alike.
impl Subject<'_> {
    /// The user's key, where the lane has one.
    pub fn key(&self) -> Option<LaneKey> {
        self.record.and_then(|(lane, _)| LaneKey::from_bytes(lane))
    }
}

impl From<WorkerId> for WorkerName {
    fn from(worker: WorkerId) -> Self {
        worker.to_string()
    }
}

#[cfg(test)]
mod tests;
