//! What the loop shows of itself while it runs, to other threads: they must be able to tell that it
//! hangs.

use super::{Clock, Counts, Latencies, StoreTrouble};
use crate::{
    record::PartitionName,
    store::{Consumed, Repeats},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Shared by the loop, which writes it, and whoever watches. Reading it never waits for the loop.
pub struct Watch {
    clock: Arc<dyn Clock>,
    /// Nanoseconds of the clock: when the loop last turned.
    turned_at: AtomicU64,
    vitals: Mutex<Arc<Vitals>>,
}

impl Watch {
    /// Before the loop turns for the first time; `cap`: most handler calls in flight.
    pub fn new(clock: Arc<dyn Clock>, cap: u32) -> Self {
        let watch = Self {
            turned_at: AtomicU64::new(0),
            vitals: Mutex::new(Arc::new(Vitals {
                cap,
                ..Vitals::default()
            })),
            clock,
        };
        watch.turned(watch.now());
        watch
    }

    /// The time by the loop's clock.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Milliseconds since 1970.
    pub fn wall_millis(&self) -> i64 {
        self.clock.wall_millis()
    }

    /// How long ago the loop last turned. One that idles turns at least once a second.
    pub fn silent_for(&self) -> Duration {
        let turned_at = Duration::from_nanos(self.turned_at.load(Ordering::Relaxed));
        self.now().saturating_sub(turned_at)
    }

    /// What it looked like at its last look.
    pub fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.vitals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The loop turned.
    pub(super) fn turned(&self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.turned_at.store(nanos, Ordering::Relaxed);
    }

    /// Replaces what is shown.
    pub(crate) fn show(&self, vitals: Vitals) {
        *self.vitals.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(vitals);
    }
}

/// How far the loop is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Phase {
    /// It did not turn yet.
    #[default]
    Opening,
    /// It works, or waits for work.
    Running,
    /// It was told to stop, or is idle and was to end then: nothing new starts.
    Draining,
    /// A source or the store ended it, for this reason: what is in flight is waited for.
    Failing(String),
    /// It is over.
    Ended,
}

/// What the loop shows: as of its last look, four times a second.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Vitals {
    /// How far it is.
    pub phase: Phase,
    /// Most handler calls in flight.
    pub cap: u32,
    /// Handler calls out, those of unknown end included.
    pub in_flight: u32,
    /// Since when, by the loop's clock, the target fails all tries.
    pub sick_since: Option<Duration>,
    /// Since when, by the loop's clock, a try is over its time and does not end.
    pub overrun_since: Option<Duration>,
    /// Partitions that the sources have for this worker; `None`: one of them has not said yet.
    pub announced: Option<usize>,
    /// Partitions that are being claimed.
    pub claiming: Vec<PartitionName>,
    /// Those of them that wait for stopped or parked lanes of other partitions, until somebody decides.
    pub newcomers: Vec<PartitionName>,
    /// Partitions that are owned.
    pub partitions: Vec<PartitionVitals>,
    /// What was counted, by source.
    pub counts: Vec<(Arc<str>, Counts)>,
    /// How long commits took.
    pub commits: Latencies,
    /// Calls to the store that failed.
    pub store_errors: Vec<(StoreTrouble, u64)>,
    /// What requests to the store consumed; `None`: nothing is counted.
    pub consumed: Option<Consumed>,
    /// Requests that the store sent again within a call.
    pub repeats: Repeats,
}

/// A partition that is owned.
#[derive(Clone, PartialEq, Debug)]
pub struct PartitionVitals {
    /// Which one.
    pub name: PartitionName,
    /// Records of the log that were not handed over; `None`: the source has not said yet.
    pub behind: Option<u64>,
    /// Records in memory that are not settled.
    pub buffered: u64,
    /// Bytes in memory: of these records, and of loaded chains.
    pub bytes: u64,
    /// Handler calls out.
    pub in_flight: u32,
    /// Lanes that wait for their next try.
    pub waiting: u32,
    /// The source is asked to hand over nothing.
    pub paused: bool,
    /// Of the oldest record in memory that is not settled, in milliseconds since 1970; `None`: there is
    /// none, or the source gives records no time.
    pub head_at: Option<i64>,
    /// After so long the source may delete a record; `None`: never, or not known.
    pub retention: Option<Duration>,
    /// Lanes that are stopped.
    pub stopped: u64,
    /// Lanes that are parked.
    pub parked: u64,
    /// Parked lanes that are being released.
    pub draining: u64,
    /// Records in the chains of the latter two.
    pub chained: u64,
    /// Since when the longest of the stopped lanes is, in milliseconds since 1970.
    pub stopped_since: Option<i64>,
    /// Since when, by the loop's clock, the store answers nothing of this partition but errors.
    pub store_fails_since: Option<Duration>,
    /// Since when, by the loop's clock, the source cannot read what comes next, and the partition stands
    /// before it.
    pub unreadable_since: Option<Duration>,
    /// Its ownership was not proven in time: nothing of it starts.
    pub unproven: bool,
    /// Since when, by the loop's clock, it could go on, for all that is known, and does not.
    pub stalled_since: Option<Duration>,
}

impl PartitionVitals {
    /// Nothing is known of it.
    pub fn new(name: PartitionName) -> Self {
        Self {
            name,
            behind: None,
            buffered: 0,
            bytes: 0,
            in_flight: 0,
            waiting: 0,
            paused: false,
            head_at: None,
            retention: None,
            stopped: 0,
            parked: 0,
            draining: 0,
            chained: 0,
            stopped_since: None,
            store_fails_since: None,
            unreadable_since: None,
            unproven: false,
            stalled_since: None,
        }
    }

    /// Records behind the settled prefix that are not settled, as in the report.
    pub fn lag(&self) -> u64 {
        self.behind.unwrap_or(0) + self.buffered
    }
}
