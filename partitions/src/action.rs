//! What goes into the engine and what comes out: plain data that borrows nothing.

use crate::id::Id;
use core::time::Duration;

/// A moment on the shell's monotonic clock, as the time since an origin of its choice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Time(pub Duration);

/// One assignment of a partition. A later assignment of the same partition has another id, so a
/// stale id is told apart and never acts on its successor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionId(pub(crate) Id);

/// One thing that is out: a try, a change that waits to be durable, a publication. A stale ticket
/// is told apart, never trusted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub(crate) Id);

/// A lane for as long as the engine knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LaneId(pub(crate) Id);

/// What became of a pushed record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Pushed {
    /// The engine owns it until it is durable.
    Accepted,
    /// The checkpoint or a lane's chain already covers it.
    AlreadySettled,
    /// It is in the engine already.
    Duplicate,
    /// Its position is not after the last one pushed: the source broke its promise. The partition
    /// starts nothing any more until it is assigned anew.
    NotInOrder,
    /// No such assignment (any more).
    NotAssigned,
}

/// What a handler's answer means for its run: the first `done` records are done, then `rest`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// How many records, from the first on, are done. More than the run has counts as all.
    pub done: u32,
    /// The done records carry effects: they count only when a commit with them is durable.
    pub with_effects: bool,
    /// What became of the record after the done ones.
    pub rest: Rest,
    /// The remote may still be running the try: slot and lane stay shut this long.
    pub quarantine: Duration,
}

/// The part of a run that is not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// Nothing failed. Records that are neither done nor failed count as [`Rest::Untried`].
    Nothing,
    /// The record failed and may pass later: an attempt is used up.
    Retry {
        /// The next try starts no earlier than this after the answer (Retry-After), bounded by
        /// [`crate::FailureRules::backoff_max`].
        after: Duration,
    },
    /// The record failed and never will pass.
    Reject,
    /// Some record failed and nobody knows which (panic, timeout or dead child in a run of several):
    /// no attempt is counted and the lane goes on in runs of one past the end of this run. In what
    /// remains of a run of one it is a [`Rest::Retry`].
    Unattributed,
    /// Not tried (drain, deadline): nothing is counted.
    Untried,
    /// The target is to blame (refused connection, 429, 503): no attempt is counted.
    Target {
        /// As in [`Rest::Retry`].
        after: Duration,
    },
}

/// How a publication to the dead-letter target ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Published {
    /// Acknowledged.
    Done,
    /// Failed by its own fault: an attempt of the publication is used up.
    Failed,
    /// The dead-letter target is to blame: repeated with backoff, no attempt is used up.
    Target,
}

/// An operator's word on a stopped or parked lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Stopped: the head is tried again, its attempts forgotten. Parked: as [`Decision::Release`].
    Retry,
    /// The head is passed without having been done. Parked: the rest of the chain stays parked.
    Skip,
    /// Stopped only: head and successors join a chain.
    Park,
    /// The head is published, then passed. Parked: the rest of the chain stays parked.
    DeadLetter,
    /// Parked only: the chain runs in order, then the lane is live again.
    Release,
}

/// A change of a lane that counts only when the store has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// The first records of an answered try have effects. Lent: those records.
    Effects,
    /// The head failed for good and its lane stops. Lent: the head. It stays open.
    Stop,
    /// The head failed for good and its lane parks (also a chain record that failed while the chain
    /// drained: then it is the chain's head again). Lent: the head; before a chain of its lane, where a
    /// rewind kept one, also what lies between, however much that is. It goes whole or not at all.
    Park,
    /// Arrivals of a parked lane join its chain. Lent: those records, consecutive.
    Append,
    /// A stopped lane goes on with its head, attempts forgotten. Lent: nothing.
    Reopen,
    /// The head of a stopped lane, or of a parked lane's chain, is passed without being done. Lent:
    /// the head (nothing if a stopped head never came).
    Skip,
    /// The head will be published to the dead-letter target and not run again. Lent: the head.
    Verdict,
    /// The head was published: the lane's item goes, or its chain's head moves. Lent: the head.
    DeadLettered,
    /// From here on arrivals wait in the engine behind the chain, which ends at its present tail.
    /// Lent: nothing.
    Cut,
    /// The chain is empty: the lane is live. Lent: nothing.
    Live,
    /// The record may start once this is durable, see [`crate::Engine::be_careful`]. Lent: that
    /// record. Nothing of its lane changes; [`crate::Snapshot::announced`] names it.
    Announce,
}

/// What the shell is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Hand [`crate::Engine::records`] to the handler; answer with [`crate::Engine::complete`].
    Start {
        /// Names the try.
        ticket: Ticket,
        /// Where its records came from.
        partition: PartitionId,
        /// Which attempt this is for the first record, from 1.
        attempt: u32,
    },
    /// Put the change into the partition's next commit: give the ticket to
    /// [`crate::Engine::begin_commit`].
    Persist {
        /// Names the change.
        ticket: Ticket,
        /// Whose commit.
        partition: PartitionId,
        /// Whose lane.
        lane: LaneId,
        /// What changes.
        change: Change,
    },
    /// Publish the lent record to the dead-letter target; answer with
    /// [`crate::Engine::dead_lettered`].
    Publish {
        /// Names the publication.
        ticket: Ticket,
        /// Where the record came from.
        partition: PartitionId,
        /// Whose head.
        lane: LaneId,
    },
    /// Read on in the lane's chain behind [`crate::Engine::chain_loaded_to`]; answer with
    /// [`crate::Engine::chain`].
    LoadChain {
        /// Whose chain.
        lane: LaneId,
        /// The lane's partition.
        partition: PartitionId,
    },
    /// The lane stands stopped, durably, and nothing that it stops is out any more. Comes once.
    Stopped {
        /// The lane.
        lane: LaneId,
        /// The lane's partition.
        partition: PartitionId,
    },
    /// Restored open positions were passed by: see [`crate::Engine::gone`]. Answer with
    /// [`crate::Engine::recover`] of those stopped heads that the shell has a copy of, then with
    /// [`crate::Engine::settle_gone`].
    Gone(PartitionId),
    /// The lane is stopped at a head that is gone: what was decided on it cannot be done, and is
    /// forgotten. All that is left is [`Decision::Skip`].
    Declined {
        /// The lane.
        lane: LaneId,
        /// The lane's partition.
        partition: PartitionId,
    },
    /// Hand over no more records of this partition.
    Pause(PartitionId),
    /// Hand over records again.
    Resume(PartitionId),
    /// After [`crate::Engine::drain`]: nothing of the partition is out any more, but what its last
    /// commit may carry.
    Drained(PartitionId),
}

impl Action {
    /// Whose action it is.
    pub fn partition(&self) -> PartitionId {
        match *self {
            Self::Start { partition, .. }
            | Self::Persist { partition, .. }
            | Self::Publish { partition, .. }
            | Self::LoadChain { partition, .. }
            | Self::Stopped { partition, .. }
            | Self::Declined { partition, .. }
            | Self::Gone(partition)
            | Self::Pause(partition)
            | Self::Resume(partition)
            | Self::Drained(partition) => partition,
        }
    }
}

/// Why the engine wants to be polled again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// A lane's backoff ends.
    Backoff,
    /// A try of unknown end can no longer run.
    Quarantine,
    /// A sick target may be probed again.
    Probe,
}

/// How the one commit of a partition ended.
#[derive(Clone, Copy, Debug)]
pub enum CommitEnd<'a> {
    /// The store has it.
    Durable,
    /// Nothing was written, since the store refuses these for their own condition: of each ticket,
    /// how many of its records' effects may still go first. The record after them is rejected, what
    /// follows it in its lane was never answered. Begin the commit again.
    Refused(&'a [(Ticket, u32)]),
    /// Nothing was written and nothing is wrong: the same tickets may go into the next commit.
    NotWritten,
    /// Another owner has the partition: as [`crate::Engine::revoke`].
    Fenced,
}

/// A lane as the store has it when its partition is assigned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held<P> {
    /// The record at `head` failed for good; it and what follows it in the lane is held. With
    /// `verdict`, it is to be published and passed.
    Stopped {
        /// Position of the failed record.
        head: P,
        /// A dead-letter decision on it is already durable.
        verdict: bool,
    },
    /// A chain of `count` records (`bytes`) from `head` to `tail` is in the store. Records of the
    /// lane before `head` run, up to `tail` they are already settled, behind it they are appended.
    Parked {
        /// Position of the chain's first record.
        head: P,
        /// Position of the chain's last record.
        tail: P,
        /// Records in the chain.
        count: u64,
        /// Bytes in the chain.
        bytes: u64,
        /// A release was taken: the chain drains.
        releasing: bool,
        /// The cut is durable: what comes behind `tail` waits for the chain's end.
        cut: bool,
    },
}

/// Where a partition is taken up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resume<P> {
    /// Nothing is settled.
    Beginning,
    /// Everything before this position is settled or not ours.
    At(P),
    /// Everything up to and with this position is settled.
    After(P),
}
