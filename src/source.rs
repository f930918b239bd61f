//! Where records come from: the trait of the adapters, and what they and the processor say to each
//! other.

use crate::{
    checkpoint::Checkpoint,
    position::Position,
    record::{Assignment, PartitionName, Record},
};
use futures_util::future::BoxFuture;
use partitions::Resume;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

mod begin;
#[cfg(any(feature = "kafka", feature = "local"))]
mod cursor;
#[cfg(any(feature = "kafka", feature = "local"))]
mod extent;
#[cfg(any(feature = "kafka", feature = "lambda", feature = "local"))]
pub(crate) mod filling;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "kinesis")]
pub mod kinesis;
#[cfg(feature = "local")]
pub mod local;
pub(crate) mod pattern;
#[cfg(feature = "sqs")]
pub mod sqs;

pub use begin::{OnGap, StartAt};
#[cfg(any(feature = "kafka", feature = "local"))]
pub use extent::Extent;

/// A task with two channels. It ends when `orders` closes or says [`Order::Stop`], or says why it
/// cannot go on.
///
/// Promises of an adapter: of one assignment it hands records over in ascending order, each once,
/// from where it was positioned; it hands over nothing of a partition between [`Event::Assigned`]
/// and the answer to it, nor after [`Event::Revoked`]; it acquires the bytes of a batch
/// ([`crate::record::BatchBuilder::weight`]) from the partition's budget before it builds it, and
/// never waits for one partition's budget while others could be read; a record that outweighs the
/// whole budget takes all of it and travels alone; it says [`Event::Starved`] when the budget has no
/// room for what comes next, and answers each [`Order::Pause`] with [`Event::Paused`].
pub trait Source: Send {
    /// Runs until it is told to stop.
    fn serve(self: Box<Self>, ports: Ports) -> BoxFuture<'static, Result<(), SourceError>>;
}

/// A source's ends of its channels.
pub struct Ports {
    /// To the processor. Bounded: waiting on it is the back-pressure of last resort.
    pub events: mpsc::Sender<Event>,
    /// From the processor.
    pub orders: mpsc::UnboundedReceiver<Order>,
}

/// What a source says.
#[derive(Debug)]
pub enum Event {
    /// So many partitions of this source were assigned so far, and no more are on their way.
    Announced {
        /// The source's name.
        source: Arc<str>,
        /// Partitions.
        partitions: usize,
    },
    /// A partition is this worker's to claim. The source waits for the answer before it positions
    /// its reader; `None`: leave it alone.
    Assigned {
        /// Which one.
        partition: PartitionName,
        /// The log's own identity, where known: compared with the checkpoint's.
        incarnation: Option<String>,
        /// What the names of those partitions begin with whose keys may have moved to this one, if it was
        /// added lately: while lanes of those stand stopped or parked, and nobody ever claimed this one,
        /// it waits. `None`: it does not.
        siblings: Option<Arc<str>>,
        /// Who else's death is proven (a free OS lock): an unclean claim need not wait for handlers
        /// that die with their worker.
        holder_is_dead: bool,
        /// The claim's outcome.
        start: oneshot::Sender<Option<Start>>,
    },
    /// The reader stands. Without a checkpoint `from` follows the source's `start` setting; with
    /// one it is the checkpoint's, or where `on_gap` allowed to go on.
    Positioned {
        /// Which one.
        partition: PartitionName,
        /// Where reading begins.
        from: Resume<Position>,
        /// Records between checkpoint and `from` are lost to us: say so by name.
        gap: Option<String>,
        /// Last position of the log as of now; `None`: not known. What comes behind it was not there
        /// when a former owner died.
        last: Option<Position>,
    },
    /// Records of one partition, ascending.
    Records(Vec<Record>),
    /// Nothing up to and with `through` will come but what was handed over (aborted transactions,
    /// compaction, filters).
    PassedOver {
        /// Which one.
        partition: PartitionName,
        /// Inclusive.
        through: Position,
    },
    /// How many records the log holds that were not handed over, as of now. 0: its end is reached.
    Behind {
        /// Which one.
        partition: PartitionName,
        /// Records, as far as the source can tell.
        records: u64,
    },
    /// How long the log keeps a record at least; `None`: for ever, or it is not known. For metrics
    /// only, and said behind [`Event::Positioned`].
    Retention {
        /// Which one.
        partition: PartitionName,
        /// From its timestamp on.
        age: Option<Duration>,
    },
    /// There is more, and it cannot be read: the partition stands before it, and is tried again. For those
    /// who watch only. Said when it begins, and again with `false` when it is over.
    Unreadable {
        /// Which one.
        partition: PartitionName,
        /// It stands.
        stands: bool,
    },
    /// There is more, and the partition's budget has no room for it. Said once until records are
    /// handed over, [`Order::Resume`] comes, or another weight is wanted.
    Starved {
        /// Which one.
        partition: PartitionName,
        /// Bytes that must be free before the source can go on.
        wants: u64,
    },
    /// [`Order::Pause`] is obeyed: no records follow those that were handed over before.
    Paused {
        /// Which one.
        partition: PartitionName,
    },
    /// The partition goes to somebody else. `done` is answered after drain, commit and release, or
    /// at once when `lost`.
    Revoked {
        /// Which one.
        partition: PartitionName,
        /// It has gone already: nothing can be committed any more.
        lost: bool,
        /// The source may let go.
        done: oneshot::Sender<()>,
    },
    /// The partition has ended for ever (a closed shard): its last record was handed over.
    Ended {
        /// Which one.
        partition: PartitionName,
    },
}

/// A claim that succeeded.
#[derive(Clone, Debug)]
pub struct Start {
    /// What the batch's records point to.
    pub assignment: Arc<Assignment>,
    /// `None`: nothing was ever committed here.
    pub checkpoint: Option<Checkpoint>,
    /// The partition's share of the memory budget.
    pub budget: Arc<Budget>,
}

/// A partition's share of the memory budget. It changes as partitions come and go.
#[derive(Debug)]
pub struct Budget {
    semaphore: Arc<Semaphore>,
    share: AtomicU64,
    /// Permits to take back once they are free: the share shrank while they were in use.
    owed: AtomicU64,
}

impl Budget {
    /// A share of so many bytes, at most 4 GiB.
    pub fn new(bytes: u64) -> Self {
        let bytes = bytes.clamp(1, u64::from(u32::MAX));
        Self {
            semaphore: Arc::new(Semaphore::new(permits(bytes))),
            share: AtomicU64::new(bytes),
            owed: AtomicU64::new(0),
        }
    }

    /// The share, in bytes. A batch of more than a quarter of it stalls its partition needlessly.
    pub fn share(&self) -> u64 {
        self.share.load(Ordering::Relaxed)
    }

    /// A permit for a batch of this weight; all of the share when it weighs more, so that it travels
    /// alone. `None`: not now.
    pub fn try_acquire(&self, weight: u64) -> Option<OwnedSemaphorePermit> {
        self.settle();
        let wanted = u32::try_from(weight.min(self.share())).unwrap_or(u32::MAX);
        Arc::clone(&self.semaphore)
            .try_acquire_many_owned(wanted)
            .ok()
    }

    /// Whether [`Budget::try_acquire`] would find a permit for this weight.
    pub fn has_room(&self, weight: u64) -> bool {
        self.settle();
        self.semaphore.available_permits() as u64 >= weight.min(self.share())
    }

    /// Another share from now on; what is in use beyond it is taken back as it becomes free.
    pub fn resize(&self, bytes: u64) {
        let bytes = bytes.clamp(1, u64::from(u32::MAX));
        let before = self.share.swap(bytes, Ordering::Relaxed);
        if bytes >= before {
            let more = bytes - before;
            let owed = self.owed.load(Ordering::Relaxed);
            self.owed
                .store(owed.saturating_sub(more), Ordering::Relaxed);
            self.semaphore
                .add_permits(permits(more.saturating_sub(owed)));
        } else {
            self.owed.fetch_add(before - bytes, Ordering::Relaxed);
            self.settle();
        }
    }

    fn settle(&self) {
        let owed = self.owed.load(Ordering::Relaxed);
        if owed > 0 {
            let taken = self.semaphore.forget_permits(permits(owed)) as u64;
            self.owed.fetch_sub(taken, Ordering::Relaxed);
        }
    }
}

fn permits(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(Semaphore::MAX_PERMITS)
}

/// What a source is told.
#[derive(Debug)]
pub enum Order {
    /// Hand over no more of this partition; answered by [`Event::Paused`].
    Pause(PartitionName),
    /// Go on.
    Resume(PartitionName),
    /// This frontier is durable.
    Committed(PartitionName, Position),
    /// The store does not take this worker's word for the partition any more, and why: another worker has
    /// claimed it, or an operator moved its checkpoint. A source whose partitions are given out by
    /// somebody else claims it anew ([`Event::Assigned`]) once it knows that it is still given to us;
    /// any other ends, since who is to go on is the operator's to say.
    Fenced(PartitionName, String),
    /// Finish.
    Stop,
}

/// Why a source ended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SourceError {
    /// It cannot be reached, or not any more.
    #[error("{what}")]
    OutOfReach {
        /// What, where and what to do.
        what: String,
    },
    /// It cannot be used as configured: `start`, `on_gap`, `no_key`, a foreign file, a second owner.
    #[error("{what}")]
    Refused {
        /// What, where, both sides of the mismatch and what to do.
        what: String,
    },
}
