//! What the loop is driven with, and how it ends.

use crate::{
    handler::{DeadLetter, Target},
    history::History,
    record::LaneOrder,
    source::{Source, SourceError},
    store::{Store, WorkerId},
};
use partitions::{FailureRules, Limits};
use std::{sync::Arc, time::Duration};

/// Records of one partition in memory, whatever their size: so many that their open set fits into a
/// checkpoint wherever they lie (four bytes each at most, in the store's 300 KB).
const RECORDS_MAX: u32 = 65_536;
/// One append to a chain.
const APPEND_RECORDS_MAX: u32 = 200;
const APPEND_BYTES_MAX: u64 = 256 * 1024;
/// One chain.
const PARK_BYTES_MAX: u64 = 1 << 30;
/// [`Settings::cut_at`] of every run.
pub const CUT_AT: u64 = 1_000;

/// What the loop is to do; made from the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The app.
    pub app: String,
    /// Most handler calls in flight.
    pub cap: u32,
    /// Budget for buffered records, in bytes.
    pub memory: u64,
    /// How long a drain may take; exceeds `timeout`.
    pub drain: Duration,
    /// Lanes.
    pub order: LaneOrder,
    /// Attempts, backoff, what follows.
    pub failure: FailureRules,
    /// One try.
    pub timeout: Duration,
    /// How long after a try of unknown end the remote may still run it; `None`: as the handler says.
    pub settle: Option<Duration>,
    /// Most records of one chain.
    pub park_max: u64,
    /// Records that have not passed in a chain that is released: while there are more of them, arrivals
    /// still join it; from then on they wait behind it, in memory. Usually [`CUT_AT`].
    pub cut_at: u64,
    /// A commit goes out at least this often while something changed.
    pub flush_interval: Duration,
    /// Most records per partition in flight or passed since its last durable commit.
    pub unflushed_max: u64,
    /// Most records of a run.
    pub records_per_call: u32,
    /// End when idle.
    pub until_idle: bool,
    /// By the clock: nothing starts from then on, and it drains; earlier where all that is left waits for
    /// longer. `None`: it goes on.
    pub starts_until: Option<Duration>,
    /// Seeds jitter and hashing.
    pub seed: u64,
}

impl Settings {
    /// The engine's bounds.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            cap: self.cap,
            run_max: self.records_per_call,
            failure: self.failure,
            records_max: RECORDS_MAX,
            partition_bytes_max: self.memory,
            unflushed_max: self.unflushed_max,
            append_records_max: APPEND_RECORDS_MAX,
            append_bytes_max: APPEND_BYTES_MAX,
            park_records_max: self.park_max,
            park_bytes_max: PARK_BYTES_MAX,
            cut_at: self.cut_at,
            seed: self.seed,
        }
    }
}

/// What the loop is driven with.
pub struct Parts {
    /// This incarnation.
    pub worker: WorkerId,
    /// What to do.
    pub settings: Settings,
    /// Where checkpoints are.
    pub store: Arc<dyn Store>,
    /// Where records go.
    pub target: Arc<dyn Target>,
    /// Where facts go.
    pub history: Arc<dyn History>,
    /// Where records go that failed for good; required where `failure.then` is `dead-letter`.
    pub dead_letter: Option<Arc<dyn DeadLetter>>,
    /// Names (as in the configuration) and adapters.
    pub sources: Vec<(Arc<str>, Box<dyn Source>)>,
    /// A clock that goes on while the machine sleeps.
    pub clock: Arc<dyn Clock>,
}

/// A monotonic clock that counts suspended time (CLOCK_BOOTTIME), shared by the workers of a machine.
pub trait Clock: Send + Sync {
    /// Since an origin of its own.
    fn now(&self) -> Duration;
    /// Milliseconds since 1970, for people only.
    fn wall_millis(&self) -> i64;
}

/// How to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Start nothing more, wait for what is out, commit, release.
    Drain,
    /// At once.
    Quit,
}

/// Why the loop ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Idle, as asked for.
    Idle,
    /// Drained after a stop, nothing was out.
    Drained,
    /// The drain's deadline passed, or a second signal came: these records were out.
    Abandoned(Vec<String>),
    /// A source ended with an error.
    Source(SourceError),
    /// A claim or the store failed for good.
    Store(String),
}
