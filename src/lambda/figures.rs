//! What an invocation tells of itself: one line of CloudWatch's embedded metric format on standard output,
//! of which CloudWatch makes metrics without any request of the function's.
//!
//! The names stand in `docs/metrics.md`, and a test holds both equal.

use super::{Delivery, windows::Open};
use crate::{
    position::Position,
    processor::Counts,
    record::{Assignment, Record, Run},
    store::{LaneItem, LaneState},
};
use serde_json::{Map, Value, json};
use std::{
    collections::HashSet,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

/// As CloudWatch lists it.
const NAMESPACE: &str = "lanekeeper";

/// What an invocation came to, of one source.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Records that were delivered.
    pub delivered: u64,
    /// Records that the handler has done, those out of chains included.
    pub done: u64,
    /// Delivered records that an answer names, or would: they come again.
    pub unfinished: u64,
    /// Those of them of which no try began in this invocation.
    pub not_started: u64,
    /// Delivered records that marks and chains call settled: they did not run again.
    pub already_done: u64,
    /// Records that failed for good and were parked, and those that joined a chain.
    pub parked: u64,
    /// Records that were published as dead letters.
    pub dead_lettered: u64,
    /// Records that an operator skipped.
    pub skipped: u64,
    /// Tries that failed and will be or were repeated.
    pub retries: u64,
    /// Records that the handler, or an effect's condition, rejected for good.
    pub rejected: u64,
    /// The lanes that stand; `None`: nothing could be read of them.
    pub lanes: Option<Standstill>,
}

/// Lanes that are not live at the end of an invocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standstill {
    /// Those that are stopped.
    pub stopped: u64,
    /// Those that are parked, or are being released.
    pub parked: u64,
    /// Since when the longest of the stopped ones is, in milliseconds since 1970.
    pub stopped_since: Option<i64>,
}

impl Standstill {
    pub(super) fn add(&mut self, item: &LaneItem) {
        match item.state {
            LaneState::Live => {}
            LaneState::Parked | LaneState::Draining => self.parked += 1,
            LaneState::Stopped => {
                self.stopped += 1;
                let since = self.stopped_since.unwrap_or(item.since);
                self.stopped_since = Some(since.min(item.since));
            }
        }
    }

    pub(super) fn add_all(&mut self, other: Self) {
        self.stopped += other.stopped;
        self.parked += other.parked;
        self.stopped_since = match (self.stopped_since, other.stopped_since) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
}

/// How a metric is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Count,
    Seconds,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Seconds => "Seconds",
        }
    }
}

/// Name, unit and value; no value: it is not known, and there is no data point.
type Metric = (&'static str, Unit, Option<u64>);

impl Figures {
    /// Of an invocation in which nothing could start.
    pub(super) fn of_nothing(delivery: &Delivery) -> Self {
        let delivered = delivery.entries() as u64;
        Self {
            delivered,
            unfinished: delivered,
            not_started: delivered,
            ..Self::default()
        }
    }

    pub(super) fn count(&mut self, counts: &Counts) {
        self.done += counts.done;
        self.parked += counts.parked + counts.chained;
        self.dead_lettered += counts.dead_lettered;
        self.skipped += counts.skipped;
        self.retries += counts.retries;
        self.rejected += counts.rejected;
    }

    fn metrics(&self, now: i64) -> [Metric; 9] {
        let lanes = self.lanes;
        let age = |lanes: Standstill| {
            let since = lanes.stopped_since.map_or(0, |since| now - since);
            u64::try_from(since / 1000).unwrap_or(0)
        };
        [
            ("RecordsDone", Unit::Count, Some(self.done)),
            ("RecordsUnfinished", Unit::Count, Some(self.unfinished)),
            ("RecordsNotStarted", Unit::Count, Some(self.not_started)),
            ("RecordsAlreadyDone", Unit::Count, Some(self.already_done)),
            ("RecordsParked", Unit::Count, Some(self.parked)),
            ("RecordsDeadLettered", Unit::Count, Some(self.dead_lettered)),
            ("LanesStopped", Unit::Count, lanes.map(|all| all.stopped)),
            ("LanesParked", Unit::Count, lanes.map(|all| all.parked)),
            ("OldestStoppedLaneAge", Unit::Seconds, lanes.map(age)),
        ]
    }

    /// The line, without its end. `now` is in milliseconds since 1970; `beside` stands in the line and is no
    /// metric.
    pub(super) fn line(
        &self,
        (app, source): (&str, &str),
        now: i64,
        beside: &Beside<'_>,
    ) -> String {
        let known: Vec<Metric> = { self.metrics(now).into_iter() }
            .filter(|(_, _, value)| value.is_some())
            .collect();
        let definitions = known
            .iter()
            .map(|(name, unit, _)| json!({"Name": name, "Unit": unit.name()}));
        let mut line = Map::new();
        let directive = json!({
            "Namespace": NAMESPACE,
            "Dimensions": [["app", "source"]],
            "Metrics": definitions.collect::<Vec<_>>(),
        });
        let about = json!({"Timestamp": now, "CloudWatchMetrics": [directive]});
        let beside = [
            ("request_id", json!(beside.request)),
            ("trace_id", json!(beside.trace)),
            ("failed", json!(beside.failed)),
            ("time_left_ms", json!(beside.left_millis)),
            ("delivered", json!(self.delivered)),
            ("skipped", json!(self.skipped)),
            ("retries", json!(self.retries)),
            ("rejected", json!(self.rejected)),
        ];
        let values = known.iter().map(|(name, _, value)| (*name, json!(value)));
        let named = [
            ("_aws", about),
            ("app", json!(app)),
            ("source", json!(source)),
        ];
        for (name, value) in named.into_iter().chain(beside).chain(values) {
            line.insert(name.to_owned(), value);
        }
        Value::Object(line).to_string()
    }
}

/// What a line says beside its metrics: it costs nothing and can be searched for.
pub(super) struct Beside<'a> {
    /// Of the invocation.
    pub(super) request: &'a str,
    /// Of the invocation, where it has one.
    pub(super) trace: Option<&'a str>,
    /// It fails as a whole.
    pub(super) failed: bool,
    /// How long before the deadline it ended.
    pub(super) left_millis: u64,
}

/// Prints a line on standard output, where Lambda takes it for the log. One write: nothing gets in between.
pub(super) fn print(mut line: String) {
    line.push('\n');
    let mut out = io::stdout().lock();
    // Whoever reads no log misses nothing.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}

/// Records of which a try began, those that are done included: what a store does not know of is unfinished, and
/// was started all the same. Only noted here, and sorted once something is unfinished.
#[derive(Default)]
pub(super) struct Begun(Mutex<Vec<(Arc<Assignment>, Position)>>);

impl Begun {
    fn note(&self, records: &[Record]) {
        let names = records
            .iter()
            .map(|record| (Arc::clone(record.assignment()), record.position().clone()));
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(names);
    }

    /// How many of the records that are unfinished it does not know.
    pub(super) fn not_of(&self, open: &Open) -> u64 {
        if open.is_empty() {
            return 0;
        }
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known: HashSet<(&str, &Position)> = { known.iter() }
            .map(|(of, at)| (&*of.name.partition, at))
            .collect();
        let unknown = open.iter().filter(|(of, at)| !known.contains(&(&**of, at)));
        unknown.count() as u64
    }
}

/// A try that is under way: dropped before it has ended, its first record has begun all the same.
pub(super) struct UnderWay {
    begun: Arc<Begun>,
    run: Option<Run>,
}

impl UnderWay {
    pub(super) fn new(begun: Arc<Begun>, run: Run) -> Self {
        Self {
            begun,
            run: Some(run),
        }
    }

    /// It has ended, with so many records done, and the next one tried if `has_failed`.
    pub(super) fn ended(mut self, done: usize, has_failed: bool) {
        if let Some(run) = self.run.take() {
            let tried = done.saturating_add(usize::from(has_failed));
            let records = run.records();
            self.begun.note(records.get(..tried).unwrap_or(records));
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(run) = &self.run {
            self.begun.note(std::slice::from_ref(run.first()));
        }
    }
}

#[cfg(test)]
mod tests;
