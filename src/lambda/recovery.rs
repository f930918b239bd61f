//! Recovery: a stream that is read by an operator, and run as another invocation of the function would run
//! it. What is done by marks does not run, lanes are honoured, attempts add up, each batch has a mark of its
//! own: beside a mapping that delivers the same records it is what a second invocation is.
//!
//! A replay is the same over a store of its own.

use super::{
    Delivery, Entry, EventError, EventKind, Function, InvocationError,
    invocation::{Own, Ran},
    kinesis,
    windows::Open,
};
use crate::{
    position::Position,
    processor::{Outcome, Report, ReportedLane, Stop},
    record::{OrderBy, PartitionName, Record},
    source::{
        OnGap,
        kinesis::{Row, Shard, Shards, StreamError},
    },
    store::{LaneItem, LaneState, StoreError, memory::Memory},
};
use reading::Reading;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::sleep};

mod adrift;
mod barred;
pub(crate) mod destination;
pub(crate) mod place;
mod reading;
#[cfg(test)]
mod tests;

pub(crate) use barred::{Barred, Why};
pub(crate) use reading::{Gap, Start, Until, Work};

/// How long one batch has at least; what is not done by then is tried anew. So long a lane's decision is its
/// own, if it is killed.
const LEFT: Duration = Duration::from_mins(15);
/// Between two tries of a batch of which nothing may be tried before a later time.
const AGAIN: Duration = Duration::from_secs(10);
/// How often a batch is tried again of which another invocation has records: in all longer than one may
/// take.
const AGAIN_MAX: u32 = 96;

/// What became of a part.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Went {
    /// Records that were read, those of aggregates each by itself.
    pub(crate) read: u64,
    /// Of these: done before, or in a chain.
    pub(crate) known: u64,
    /// Of these: not done at the end, behind stopped heads or as such, or taken by another invocation.
    pub(crate) open: u64,
    /// Of these: behind no lane that stands. Another invocation has them, or had when it was killed.
    pub(crate) adrift: u64,
    /// The first and the last of them.
    pub(crate) first: Option<Position>,
    pub(crate) last: Option<Position>,
    pub(crate) gap: Option<Gap>,
    /// It was told to stop before the end.
    pub(crate) is_cut: bool,
}

/// Why a recovery ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryError {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Invocation(#[from] InvocationError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Failed(String),
}

impl From<EventError> for RecoveryError {
    fn from(error: EventError) -> Self {
        Self::Invocation(error.into())
    }
}

/// Who reads and runs.
pub(crate) struct Recovery<'a> {
    function: &'a Function,
    stream: Arc<dyn Shards>,
    source: Arc<str>,
    stops: mpsc::UnboundedReceiver<Stop>,
    stopped: bool,
    /// Part of the record ids.
    generation: u64,
    /// Its mapping's consumer is a registered one, which takes aggregates apart by itself: marks do not say
    /// which of their records are done.
    fans_out: bool,
    /// Whose marks are forgotten behind each batch: nothing of it comes again.
    forgetful: Option<Memory>,
    report: Report,
}

impl<'a> Recovery<'a> {
    pub(crate) fn new(
        function: &'a Function,
        stream: Arc<dyn Shards>,
        source: &str,
        stops: mpsc::UnboundedReceiver<Stop>,
    ) -> Self {
        Self {
            function,
            stream,
            source: source.into(),
            stops,
            stopped: false,
            generation: 0,
            fans_out: false,
            forgetful: None,
            report: nothing(),
        }
    }

    /// With records of other ids.
    pub(crate) fn with_generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }

    pub(crate) fn behind_fan_out(mut self, fans_out: bool) -> Self {
        self.fans_out = fans_out;
        self
    }

    pub(crate) fn forgetting(mut self, store: Option<Memory>) -> Self {
        self.forgetful = store;
        self
    }

    /// Which shards wait for others, with what a gap means.
    pub(crate) fn barred(&self, on_gap: OnGap) -> Barred {
        Barred::new(&self.function.settings, on_gap)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) fn into_stops(self) -> mpsc::UnboundedReceiver<Stop> {
        self.stops
    }

    /// What was done in all, and the lanes that stand now.
    pub(crate) async fn report(&self, shards: &[Shard]) -> Result<Report, StoreError> {
        let mut report = self.report.clone();
        let mut places = vec![PartitionName::of_all(&self.source)];
        if self.function.settings.order.by == OrderBy::Partition {
            places = { shards.iter() }.map(|shard| self.name(shard)).collect();
        }
        for place in places {
            for item in self.function.store.lane_items(&place).await? {
                let lane = reported(&place, &item);
                match item.state {
                    LaneState::Stopped => report.stopped_lanes.push(lane),
                    LaneState::Parked | LaneState::Draining => report.parked_lanes.push(lane),
                    LaneState::Live => {}
                }
            }
        }
        report.parked = (report.stopped_lanes.len() + report.parked_lanes.len()) as u64;
        report.records =
            report.done + report.parked + report.held + report.dead_lettered + report.skipped;
        Ok(report)
    }

    fn name(&self, shard: &Shard) -> PartitionName {
        PartitionName {
            source: Arc::clone(&self.source),
            partition: Arc::clone(&shard.id),
        }
    }

    /// Runs the chains that are to be released, also where no record comes.
    pub(crate) async fn drain_chains(&mut self) -> Result<(), RecoveryError> {
        let place = PartitionName::of_all(&self.source);
        let waits = |item: &LaneItem| {
            let has_chain = matches!(item.state, LaneState::Parked | LaneState::Draining);
            has_chain && item.decision.is_some()
        };
        let items = self.function.store.lane_items(&place).await?;
        if items.iter().any(waits) {
            let nothing = Delivery::of_nothing(EventKind::Kinesis, &place.partition);
            self.batch(nothing, &mut Went::default()).await?;
        }
        Ok(())
    }

    /// Reads a part and runs it, to its end or until it is told to stop.
    pub(crate) async fn run(&mut self, work: &Work, went: &mut Went) -> Result<(), RecoveryError> {
        let mut reading = Reading::new(&self.stream, work);
        while let Some(rows) = self.next(&mut reading, went).await? {
            let read = kinesis::Shard::read(&work.shard.id, &rows)?;
            let Some(mut delivered) = read else { continue };
            delivered.retain(|entry| work.wants(entry.position(), entry.key()));
            if delivered.is_empty() {
                continue;
            }
            if self.fans_out && !delivered.unpacked.is_empty() {
                delivered.sharing = delivered.unpacked.len();
            }
            let delivery = Delivery {
                partitions: vec![delivered],
                ..Delivery::new(EventKind::Kinesis, None)
            };
            self.batch(delivery, went).await?;
        }
        Ok(())
    }

    async fn next(
        &mut self,
        reading: &mut Reading<'_>,
        went: &mut Went,
    ) -> Result<Option<Vec<Row>>, RecoveryError> {
        if self.stopped {
            went.is_cut = true;
            return Ok(None);
        }
        tokio::select! { biased;
            stop = self.stops.recv() => {
                self.stopped |= stop.is_some();
                went.is_cut = true;
                Ok(None)
            }
            rows = reading.next(went) => Ok(rows?),
        }
    }

    /// Runs a batch until all of it is settled, or stands.
    pub(crate) async fn batch(
        &mut self,
        delivery: Delivery,
        went: &mut Went,
    ) -> Result<(), RecoveryError> {
        let mut delivery = Arc::new(delivery);
        let mut is_first = true;
        let mut waits = 0;
        loop {
            let ran = self.invoke(&delivery).await?;
            let open = self.open(&ran, &delivery).await?;
            if is_first {
                self.note(&delivery, &ran, went).await;
                is_first = false;
            }
            let is_idle = matches!(ran.outcome, Some(Outcome::Idle));
            let adrift = match is_idle {
                true => adrift::count(self.function, &self.source, &delivery, &open).await?,
                false => 0,
            };
            let is_over = open.is_empty() || (is_idle && (adrift == 0 || waits == AGAIN_MAX));
            let tries = ran.report.as_ref().map_or(0, |report| report.tries);
            if let Some(report) = ran.report {
                self.count(report, is_over);
            }
            if !(is_over || self.stopped) && (tries == 0 || adrift > 0) {
                waits += u32::from(adrift > 0);
                self.rest().await;
            }
            if is_over || self.stopped {
                if let Some(memory) = &self.forgetful {
                    memory.tamper(|contents| contents.marks.clear());
                }
                went.open += open.len() as u64;
                went.adrift += adrift;
                went.is_cut |= !is_over;
                return Ok(());
            }
            // Where marks do not speak of records they would run again, and else they need not be asked.
            delivery = Arc::new(delivery.only(&open));
        }
    }

    /// What nobody's durable mark calls done.
    async fn open(&self, ran: &Ran, delivery: &Delivery) -> Result<Open, RecoveryError> {
        if let Some(Outcome::Source(error)) = &ran.outcome {
            return Err(RecoveryError::Failed(error.to_string()));
        }
        if let Some(Outcome::Store(what)) = &ran.outcome {
            return Err(RecoveryError::Failed(what.clone()));
        }
        let open = ran.open(&self.source, delivery).await;
        open.ok_or_else(|| {
            let store = self.function.store.describe();
            RecoveryError::Failed(format!(
                "{store} could not be read or written in time: nothing of the batch has started"
            ))
        })
    }

    fn count(&mut self, mut report: Report, is_over: bool) {
        // Their lanes may stand no more, and the next try counts what is behind them anew.
        report.stopped_lanes.clear();
        report.parked_lanes.clear();
        report.partitions.clear();
        if !(is_over || self.stopped) {
            report.held = 0;
        }
        add(&mut self.report, report);
    }

    /// A while, or until it is told to stop.
    async fn rest(&mut self) {
        tokio::select! { biased;
            stop = self.stops.recv() => self.stopped |= stop.is_some(),
            () = sleep(AGAIN) => {}
        }
    }

    async fn invoke(&mut self, delivery: &Arc<Delivery>) -> Result<Ran, RecoveryError> {
        let (pass_on, stops) = mpsc::unbounded_channel();
        let settings = &self.function.settings;
        let settle = settings.settle;
        let settle = settle.unwrap_or_else(|| self.function.target.settle(settings.timeout));
        let one_try = settings.timeout + settle + self.function.margin;
        let own = Own {
            left: LEFT.max(one_try * 2),
            generation: self.generation,
            stops,
        };
        let run = self.function.run(&self.source, delivery, own);
        tokio::pin!(run);
        let mut is_open = true;
        loop {
            tokio::select! { biased;
                ran = &mut run => return Ok(ran?),
                stop = self.stops.recv(), if is_open => match stop {
                    Some(stop) => {
                        self.stopped = true;
                        // One that has ended meanwhile needs no word.
                        let _ = pass_on.send(stop);
                    }
                    None => is_open = false,
                },
            }
        }
    }

    async fn note(&self, delivery: &Delivery, ran: &Ran, went: &mut Went) {
        for delivered in &delivery.partitions {
            let name = delivered.full_name(&self.source);
            went.read += delivered.len() as u64;
            went.known += ran.known(&name).await;
            let mut entries = delivered.entries();
            if let Some(first) = entries.next() {
                let last = entries.next_back().unwrap_or(first);
                went.first.get_or_insert_with(|| first.position().clone());
                went.last = Some(last.position().clone());
            }
        }
    }
}

fn reported(place: &PartitionName, item: &LaneItem) -> ReportedLane {
    let of = item.record.as_deref().and_then(Record::stored_partition);
    ReportedLane {
        source: place.source.to_string(),
        partition: of.unwrap_or(&place.partition).to_owned(),
        key: item.lane.to_string(),
        position: item.head.clone(),
        error: item.last_error.clone(),
        attempts: item.attempts,
    }
}

/// Shows each record of a part, and runs none.
pub(crate) async fn look(
    stream: &Arc<dyn Shards>,
    work: &Work,
    mut each: impl FnMut(Entry<'_>),
) -> Result<Option<Gap>, RecoveryError> {
    let mut went = Went::default();
    let mut reading = Reading::new(stream, work);
    while let Some(rows) = reading.next(&mut went).await? {
        let read = kinesis::Shard::read(&work.shard.id, &rows)?;
        let entries = read.iter().flat_map(|delivered| delivered.entries());
        entries
            .filter(|entry| work.wants(entry.position(), entry.key()))
            .for_each(&mut each);
    }
    Ok(went.gap)
}

/// The report of one who did nothing.
fn nothing() -> Report {
    Report {
        format: 1,
        records: 0,
        done: 0,
        parked: 0,
        held: 0,
        dead_lettered: 0,
        skipped: 0,
        tries: 0,
        retries: 0,
        rejected: 0,
        in_flight_peak: 0,
        elapsed_ms: 0,
        records_per_second: 0.0,
        fenced: 0,
        store: None,
        stopped_lanes: Vec::new(),
        parked_lanes: Vec::new(),
        partitions: Vec::new(),
    }
}

/// Adds what was done after it.
pub(crate) fn add(sum: &mut Report, one: Report) {
    sum.records += one.records;
    sum.done += one.done;
    sum.parked += one.parked;
    sum.held += one.held;
    sum.dead_lettered += one.dead_lettered;
    sum.skipped += one.skipped;
    sum.tries += one.tries;
    sum.retries += one.retries;
    sum.rejected += one.rejected;
    sum.fenced += one.fenced;
    sum.in_flight_peak = sum.in_flight_peak.max(one.in_flight_peak);
    sum.elapsed_ms += one.elapsed_ms;
    // The store counts from its own beginning.
    sum.store = one.store.or(sum.store.take());
    sum.stopped_lanes.extend(one.stopped_lanes);
    sum.parked_lanes.extend(one.parked_lanes);
    let seconds = sum.elapsed_ms as f64 / 1_000.0;
    if seconds > 0.0 {
        sum.records_per_second = (sum.done as f64 / seconds * 10.0).round() / 10.0;
    }
}
