//! The one loop: source events, completions and time go into the engine, its actions come out and are
//! performed.

mod actions;
mod answers;
mod beat;
mod careful;
mod changes;
mod claims;
mod commits;
mod counts;
mod durable;
mod ending;
mod intake;
mod lanes;
mod log;
mod look;
mod memory;
mod newcomers;
mod note;
mod owned;
mod ownership;
mod refusals;
mod report;
mod room;
mod settings;
mod sources;
mod tries;
mod watch;

pub use careful::CAREFUL_FROM;
pub use counts::{Counts, Latencies, StoreTrouble, TryOutcome};
pub use report::{Report, ReportedLane, ReportedPartition};
pub use settings::{CUT_AT, Clock, Outcome, Parts, Settings, Stop};
pub use watch::{PartitionVitals, Phase, Vitals, Watch};

use crate::{
    handler::{DeadLetter, PublishError},
    record::{LaneKey, PartitionName, Record},
    source::{Event, SourceError},
    store::{
        Claimed, CommitError, Committed, ContentId, DecideError, LaneItem, Ownership, Store,
        StoreError, WorkerId,
    },
};
use claims::Claiming;
use counts::Counters;
use ending::Ending;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use note::Notes;
use owned::Owned;
use partitions::{Engine, LaneId, PartitionId, Ticket, Time};
use sources::Sources;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use tries::Tries;

/// Most ended tries looked at in one turn, unless a sixteenth of the cap is more. Where many end at once,
/// the slots of the first would stay empty until the last is looked at.
const ENDED_PER_TURN: u32 = 16;

/// Most source events looked at in one turn.
const EVENTS_PER_TURN: usize = 8;

/// Records of a turn after which no event is looked at in it: about as many as a turn can start, though
/// the batch that woke the loop and the last one come on top. What a quick handler keeps up with is done
/// while it is in the processor's cache, and does not pile up behind what is older.
const RECORDS_PER_TURN: usize = 512;

/// An answer of the store, or of the dead-letter target.
enum StoreFact {
    Claimed {
        partition: PartitionName,
        asked: Duration,
        result: Result<Claimed, StoreError>,
    },
    /// It is not claimed yet.
    Waits {
        partition: PartitionName,
        standing: newcomers::Standing,
    },
    Committed(Vec<((PartitionId, ContentId), Result<Committed, CommitError>)>),
    Proof {
        id: PartitionId,
        asked: Duration,
        found: Result<Option<Ownership>, StoreError>,
    },
    Lanes {
        id: PartitionId,
        found: Result<Vec<LaneItem>, StoreError>,
    },
    Taken {
        id: PartitionId,
        lane: LaneKey,
        found: Result<LaneItem, DecideError>,
    },
    Chain {
        id: PartitionId,
        lane: LaneId,
        found: Result<Vec<Record>, StoreError>,
    },
    Published {
        ticket: Ticket,
        id: PartitionId,
        result: Result<(), PublishError>,
    },
    Released {
        id: PartitionId,
        result: Result<(), StoreError>,
    },
    GivenBack(Result<(), StoreError>),
    Beat(Result<(), StoreError>),
}

/// What ended the loop's sleep.
enum Woken {
    Stop(Stop),
    Try(Ticket, Box<tries::Out>, tries::Ended),
    Store(Box<StoreFact>),
    SourceEnded(Arc<str>, Result<(), SourceError>),
    /// Events of sources, or the time.
    Other,
}

/// The loop and all that it owns.
pub struct Processor {
    worker: WorkerId,
    settings: Settings,
    settle: Duration,
    engine: Engine<Record>,
    tries: Tries,
    store: Arc<dyn Store>,
    dead_letter: Option<Arc<dyn DeadLetter>>,
    clock: Arc<dyn Clock>,
    notes: Notes,
    sources: Sources,
    events: mpsc::Receiver<Event>,
    /// Calls to the store that are out.
    calls: FuturesUnordered<BoxFuture<'static, StoreFact>>,
    commit_calls: u32,
    /// Numbers the contents of commits.
    contents: u64,
    claiming: BTreeMap<PartitionName, Claiming>,
    /// Partitions that a call to claim them is out for.
    claims_out: BTreeSet<PartitionName>,
    /// Of them, those that the source took back meanwhile, and waits to let go.
    taken_back: HashMap<PartitionName, oneshot::Sender<()>>,
    newcomer_looks: Arc<newcomers::Looks>,
    partitions: BTreeMap<PartitionId, Owned>,
    names: HashMap<PartitionName, PartitionId>,
    /// Given up; for the report.
    gone: Vec<Owned>,
    counters: Counters,
    now: Duration,
    started_at: Duration,
    started_wall: i64,
    /// When ownership must be looked at again.
    proofs_due: Duration,
    beat_at: Duration,
    beating: bool,
    /// Since when the target is sick, as was told of last.
    sick_since: Option<Time>,
    watch: Option<Arc<Watch>>,
    look_at: Duration,
    idle_since: Option<Duration>,
    /// Releases of what was never taken up that are out.
    giving_back: u32,
    ending: Option<Ending>,
}

/// Waits, and not at all where there is nothing to wait for: a timer would take a millisecond for that.
async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

impl Processor {
    /// A loop that owns nothing yet.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            worker,
            settings,
            store,
            target,
            history,
            dead_letter,
            sources,
            clock,
        } = parts;
        let counters = Counters::new(sources.iter().map(|(name, _)| Arc::clone(name)));
        let (sources, events) = Sources::new(sources);
        let now = clock.now();
        Self {
            settle: settings
                .settle
                .unwrap_or_else(|| target.settle(settings.timeout)),
            engine: Engine::new(settings.limits()),
            tries: Tries::new(target, settings.timeout),
            notes: Notes::new(history),
            calls: FuturesUnordered::new(),
            commit_calls: 0,
            contents: 0,
            claiming: BTreeMap::new(),
            claims_out: BTreeSet::new(),
            taken_back: HashMap::new(),
            newcomer_looks: Arc::default(),
            partitions: BTreeMap::new(),
            names: HashMap::new(),
            gone: Vec::new(),
            counters,
            now,
            started_at: now,
            started_wall: clock.wall_millis(),
            proofs_due: now,
            beat_at: now,
            beating: false,
            sick_since: None,
            watch: None,
            look_at: now,
            idle_since: None,
            giving_back: 0,
            ending: None,
            worker,
            settings,
            store,
            dead_letter,
            clock,
            sources,
            events,
        }
    }

    /// Runs until it is idle (where asked for), stopped, or a source or the store ends it.
    pub async fn drive(mut self, mut stops: mpsc::UnboundedReceiver<Stop>) -> (Report, Outcome) {
        let mut events = Vec::with_capacity(EVENTS_PER_TURN);
        self.open();
        loop {
            // 1: time, once a turn; and what it means for ownership, before anything starts.
            self.advance();
            // 2: facts. Ended tries first, since they free slots.
            self.facts(&mut events, &mut stops);
            self.look_for_room();
            // 3: actions, bounded.
            let more = self.act();
            // 4: at most one commit out per partition; partitions that are given up.
            self.decisions_due();
            self.commits_due();
            self.leave_drained();
            self.beat();
            self.turned();
            let ending = self.ending.is_some();
            if let Some(end) = self.finished() {
                self.look(Some(Phase::Ended));
                return self.close(end).await;
            }
            // Where the end begins only now, the engine was told to drain and no fact will follow.
            if more || self.ending.is_some() != ending {
                tokio::task::yield_now().await;
                continue;
            }
            // 5: sleep until a fact.
            let wake = tokio::time::sleep(self.wake_at().saturating_sub(self.clock.now()));
            let woken = tokio::select! { biased;
                Some(stop) = stops.recv() => Woken::Stop(stop),
                Some((ticket, out, end)) = self.tries.next(), if !self.tries.is_empty() => {
                    Woken::Try(ticket, Box::new(out), end)
                }
                Some(fact) = self.calls.next(), if !self.calls.is_empty() => Woken::Store(Box::new(fact)),
                Some((name, end)) = self.sources.next(), if !self.sources.is_empty() => {
                    Woken::SourceEnded(name, end)
                }
                // The next turn looks at what else came.
                _ = self.events.recv_many(&mut events, 1), if !self.sources.is_empty() => Woken::Other,
                () = wake => Woken::Other,
            };
            // The process may have slept for long, with others at its partitions meanwhile.
            self.advance();
            match woken {
                Woken::Stop(stop) => self.stop(stop),
                Woken::Try(ticket, out, end) => self.try_ended(ticket, &out, end),
                Woken::Store(fact) => self.store_fact(*fact),
                Woken::SourceEnded(name, end) => self.source_ended(&name, end),
                Woken::Other => {}
            }
            for event in events.drain(..) {
                self.source_event(event);
            }
        }
    }

    fn advance(&mut self) {
        self.now = self.clock.now();
        self.notes.now = self.now;
        self.engine.advance(Time(self.now));
        if self.now >= self.proofs_due {
            self.check_proofs();
        }
    }

    fn facts(&mut self, events: &mut Vec<Event>, stops: &mut mpsc::UnboundedReceiver<Stop>) {
        self.tries.expire(self.now);
        for _ in 0..ENDED_PER_TURN.max(self.settings.cap / 16) {
            let Some((ticket, out, end)) = self.tries.ended() else {
                break;
            };
            self.try_ended(ticket, &out, end);
        }
        while let Some(Some(fact)) = self.calls.next().now_or_never() {
            self.store_fact(fact);
        }
        while let Ok(stop) = stops.try_recv() {
            self.stop(stop);
        }
        while let Some((name, end)) = self.sources.ended() {
            self.source_ended(&name, end);
        }
        let mut records = 0;
        while events.len() < EVENTS_PER_TURN && records < RECORDS_PER_TURN {
            match self.events.try_recv() {
                Ok(event) => {
                    if let Event::Records(batch) = &event {
                        records += batch.len();
                    }
                    events.push(event);
                }
                Err(_) => break,
            }
        }
        if !events.is_empty() {
            self.idle_since = None;
        }
        for event in events.drain(..) {
            self.source_event(event);
        }
    }

    fn store_fact(&mut self, fact: StoreFact) {
        self.note_trouble(&fact);
        match fact {
            StoreFact::Claimed {
                partition,
                asked,
                result,
            } => self.claimed(partition, asked, result),
            StoreFact::Waits {
                partition,
                standing,
            } => self.waits(partition, &standing),
            StoreFact::Committed(results) => self.committed(results),
            StoreFact::Proof { id, asked, found } => self.proof(id, asked, found),
            StoreFact::Lanes { id, found } => self.lanes_read(id, found),
            StoreFact::Taken { id, lane, found } => self.taken(id, &lane, found),
            StoreFact::Chain { id, lane, found } => self.chain_read(id, lane, found),
            StoreFact::Published { ticket, id, result } => self.published(ticket, id, result),
            StoreFact::Released { id, result } => self.released(id, &result),
            StoreFact::GivenBack(result) => {
                self.giving_back -= 1;
                if let Err(error) = result {
                    tracing::warn!(%error, "partition is not released, its next owner waits");
                }
            }
            StoreFact::Beat(result) => {
                self.beating = false;
                if let Err(error) = result {
                    tracing::warn!(%error, "worker item not written");
                }
            }
        }
    }

    fn source_ended(&mut self, name: &Arc<str>, end: Result<(), SourceError>) {
        match end {
            Err(error) => self.fail_source(name, error),
            Ok(()) if self.ending.is_some() => {}
            Ok(()) => {
                let what = format!("source `{name}` ended by itself");
                self.fail_source(name, SourceError::OutOfReach { what });
            }
        }
    }

    fn stop(&mut self, stop: Stop) {
        match stop {
            Stop::Drain => self.end(Outcome::Drained),
            Stop::Quit => {
                let now = self.now;
                self.end(Outcome::Drained);
                if let Some(ending) = &mut self.ending {
                    ending.deadline = now.saturating_sub(Duration::from_secs(2));
                }
            }
        }
    }

    /// When to look again even if no fact comes.
    fn wake_at(&self) -> Duration {
        let mut wake = self.now + Duration::from_secs(1);
        // What the engine and the proofs ask for may be due at once: facts of this turn came after
        // they were looked at.
        let soon = self.engine.wake_at().map(|(time, _)| time.0);
        for time in soon.into_iter().chain([self.proofs_due]) {
            wake = wake.min(time);
        }
        // All else was looked at in this turn: what is due and was not done waits for a fact, and
        // looking again before it comes would only burn the processor.
        let mut at = |time: Option<Duration>| {
            if let Some(time) = time.filter(|time| *time > self.now) {
                wake = wake.min(time);
            }
        };
        at(self.tries.deadline());
        at(self.settings.starts_until);
        at(Some(self.beat_at));
        at(self.looks_at());
        if let Some(ending) = &self.ending {
            at(Some(ending.deadline));
            at(Some(ending.deadline + ending::COMMITS_AFTER));
        }
        for (&id, owned) in &self.partitions {
            match &owned.out {
                Some(out) => at(out.again_at),
                None => {
                    let figures = self.engine.figures(id);
                    if owned.dirty || figures.is_some_and(|f| f.unflushed > 0) {
                        at(Some(owned.flush_at(self.settings.flush_interval)));
                        at(Some(owned.not_before));
                    }
                }
            }
            if !owned.lanes.is_empty() {
                at(Some(owned.lanes_read_at + self.settings.flush_interval));
            }
            at(owned.leaving.as_ref().map(|l| l.deadline));
        }
        wake
    }
}
