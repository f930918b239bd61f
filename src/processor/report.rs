//! What this process did, for `--report`.

use super::counts::Counters;
use crate::{position::Position, store::Consumed};
use serde::Serialize;
use std::time::Duration;

/// The report of one process alone; `"format": 1`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// Of this format.
    pub format: u32,
    /// done + parked + held + dead_lettered + skipped.
    pub records: u64,
    /// Passed by the handler.
    pub done: u64,
    /// Heads that failed for good and stand in a stopped or parked lane.
    pub parked: u64,
    /// Records behind them.
    pub held: u64,
    /// Published to the dead-letter target.
    pub dead_lettered: u64,
    /// Skipped by an operator.
    pub skipped: u64,
    /// Handler calls, counted per record.
    pub tries: u64,
    /// Tries that failed and will be or were repeated.
    pub retries: u64,
    /// Records rejected for good by the handler or by an effect's condition.
    pub rejected: u64,
    /// Most handler calls in flight at once.
    pub in_flight_peak: u32,
    /// Milliseconds from start to end.
    pub elapsed_ms: u64,
    /// Done records per second.
    pub records_per_second: f64,
    /// Refused writes: another worker owns the partition.
    pub fenced: u64,
    /// What requests to the store consumed; `None`: nothing is counted, as in a local file.
    pub store: Option<Consumed>,
    /// Lanes that are stopped at the end.
    pub stopped_lanes: Vec<ReportedLane>,
    /// Lanes that are parked at the end.
    pub parked_lanes: Vec<ReportedLane>,
    /// Each partition at the end.
    pub partitions: Vec<ReportedPartition>,
}

/// A lane that is not live.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ReportedLane {
    /// Source.
    pub source: String,
    /// Partition.
    pub partition: String,
    /// Key as text, or what kind of lane it is.
    pub key: String,
    /// Its head.
    pub position: Position,
    /// What its last try said.
    pub error: String,
    /// Attempts used up.
    pub attempts: u32,
}

/// A partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ReportedPartition {
    /// Source.
    pub source: String,
    /// Partition.
    pub partition: String,
    /// Last record of the durable settled prefix.
    pub frontier: Option<Position>,
    /// Records after the frontier that are not settled.
    pub lag: u64,
}

impl Report {
    pub(super) fn new(counters: &Counters, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let done = counters.sum(|counts| counts.done);
        Self {
            format: 1,
            records: 0,
            done,
            parked: 0,
            held: 0,
            dead_lettered: counters.sum(|counts| counts.dead_lettered),
            skipped: counters.sum(|counts| counts.skipped),
            tries: counters.tries,
            retries: counters.sum(|counts| counts.retries),
            rejected: counters.sum(|counts| counts.rejected),
            in_flight_peak: counters.in_flight_peak,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            records_per_second: if seconds > 0.0 {
                (done as f64 / seconds * 10.0).round() / 10.0
            } else {
                0.0
            },
            fenced: counters.sum(|counts| counts.fenced),
            store: None,
            stopped_lanes: Vec::new(),
            parked_lanes: Vec::new(),
            partitions: Vec::new(),
        }
    }

    pub(super) fn sum_up(&mut self) {
        self.records = self.done + self.parked + self.held + self.dead_lettered + self.skipped;
    }
}
