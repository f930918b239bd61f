//! What the workers of a test share, and what each of them is made of.

use super::{
    deeds::{Act, Deed, Tried, asked},
    feed::Feed,
    target::Client,
};
use lanekeeper::{
    Position,
    audit::{Audit, Counts},
    checkpoint::Checkpoint,
    history::{Fact, History, Line},
    processor::{CUT_AT, Clock, Outcome, Parts, Processor, Report, Settings, Stop, Watch},
    record::{LaneKey, LaneOrder, NoKey, OrderBy, PartitionName},
    store::{
        Commit, DecideError, DecisionNote, LaneItem, Store, Verb, WorkerId,
        memory::{Call, Fate, Memory, Weather},
    },
};
use partitions::{FailureRules, Stops, Then};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use uuid::Uuid;

/// Longer than anything that a test waits for.
const PATIENCE: Duration = Duration::from_secs(3_600);

pub(super) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The one partition of all tests.
pub(super) fn name() -> PartitionName {
    PartitionName::new("log", "t/0")
}

/// Rules of which a test changes what it is about.
pub(super) fn settings() -> Settings {
    Settings {
        app: "directed".to_owned(),
        cap: 8,
        memory: 64 << 20,
        drain: secs(10),
        order: LaneOrder {
            by: OrderBy::Key,
            no_key: NoKey::Partition,
        },
        failure: FailureRules {
            attempts_max: 3,
            backoff_min: millis(100),
            backoff_max: secs(30),
            then: Then::Stop,
            stops: Stops::Lane,
        },
        timeout: secs(4),
        settle: Some(Duration::ZERO),
        park_max: 1_000,
        cut_at: CUT_AT,
        flush_interval: secs(1),
        unflushed_max: 1_000,
        records_per_call: 1,
        until_idle: false,
        starts_until: None,
        seed: 1,
    }
}

/// The log: position, key and length of each record, and up to where the source reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    pub(super) rows: Vec<(u64, String, usize)>,
    pub(super) hidden_from: Option<u64>,
    /// Where nothing is known, reading begins behind what is there.
    pub(super) starts_latest: bool,
}

type Script = Box<dyn Fn(&Tried) -> Act + Send + Sync>;
type Sky = Arc<dyn Fn(&Call<'_>) -> Weather + Send + Sync>;

/// Everything that several parts of a test look at.
pub(super) struct World {
    /// The store without weather.
    pub(super) memory: Memory,
    pub(super) log: watch::Sender<Log>,
    /// How long a dead letter takes.
    publishing: Mutex<Duration>,
    origin: Instant,
    jumped: AtomicU64,
    script: Script,
    deeds: Mutex<Vec<(Duration, Deed)>>,
    /// Calls of each record so far.
    nth: Mutex<HashMap<u64, usize>>,
    audit: Mutex<Audit>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub(super) fn new(script: impl Fn(&Tried) -> Act + Send + Sync + 'static) -> Arc<Self> {
        Self::over(Memory::new("directed"), script)
    }

    /// Over a store of its own kind.
    pub(super) fn over(
        memory: Memory,
        script: impl Fn(&Tried) -> Act + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            memory,
            log: watch::Sender::new(Log::default()),
            publishing: Mutex::default(),
            origin: Instant::now(),
            jumped: AtomicU64::new(0),
            script: Box::new(script),
            deeds: Mutex::default(),
            nth: Mutex::default(),
            audit: Mutex::default(),
        })
    }

    pub(super) fn act(&self, tried: &Tried) -> Act {
        (self.script)(tried)
    }

    /// Which call of a record the next one is.
    pub(super) fn next_call_of(&self, position: u64) -> usize {
        let mut all = lock(&self.nth);
        let nth = all.entry(position).or_default();
        *nth += 1;
        *nth
    }

    pub(super) fn publishing(&self) -> Duration {
        *lock(&self.publishing)
    }

    pub(super) fn publishes_within(&self, time: Duration) {
        *lock(&self.publishing) = time;
    }

    pub(super) fn append<'k>(&self, rows: impl IntoIterator<Item = (u64, &'k str)>) {
        self.log.send_modify(|log| {
            let rows = rows.into_iter().map(|(n, key)| (n, key.to_owned(), 10));
            log.rows.extend(rows);
        });
    }

    /// The source hands over nothing from this position on.
    pub(super) fn hide_from(&self, position: Option<u64>) {
        self.log.send_modify(|log| log.hidden_from = position);
    }

    pub(super) fn now(&self) -> Duration {
        self.origin.elapsed() + millis(self.jumped.load(Ordering::Relaxed))
    }

    /// The machine slept for so long: no timer of the runtime saw it.
    pub(super) fn jump(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).expect("a short sleep");
        self.jumped.fetch_add(time, Ordering::Relaxed);
    }

    pub(super) async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Waits for a fact.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            if began.elapsed() >= PATIENCE {
                let deeds = self.deeds();
                let routine =
                    |deed: &Deed| matches!(deed, Deed::Asked("lanes" | "ownership" | "worker"));
                let told = deeds.iter().filter(|(_, deed)| !routine(deed));
                let told: Vec<String> = told.map(|told| format!("{told:?}")).collect();
                panic!("waited in vain for {what}:\n{}", told.join("\n"));
            }
            tokio::time::sleep(millis(5)).await;
        }
    }

    pub(super) fn does(&self, deed: Deed) {
        lock(&self.deeds).push((self.now(), deed));
    }

    pub(super) fn deeds(&self) -> Vec<(Duration, Deed)> {
        lock(&self.deeds).clone()
    }

    /// What of the deeds a test looks at.
    pub(super) fn select<T>(&self, of: impl Fn(Duration, &Deed) -> Option<T>) -> Vec<T> {
        let deeds = lock(&self.deeds);
        deeds
            .iter()
            .filter_map(|(at, deed)| of(*at, deed))
            .collect()
    }

    pub(super) fn calls(&self) -> Vec<Tried> {
        self.select(|_, deed| {
            let Deed::Called(tried) = deed else {
                return None;
            };
            Some(tried.clone())
        })
    }

    pub(super) fn calls_of(&self, position: u64) -> Vec<Tried> {
        let mut calls = self.calls();
        calls.retain(|tried| tried.position == position);
        calls
    }

    /// Positions of the calls, in their order.
    pub(super) fn called(&self) -> Vec<u64> {
        self.calls().iter().map(|tried| tried.position).collect()
    }

    pub(super) fn commits(&self) -> Vec<(Duration, Box<Commit>)> {
        self.select(|at, deed| {
            let Deed::Committing(commit) = deed else {
                return None;
            };
            Some((at, commit.clone()))
        })
    }

    pub(super) fn acked(&self) -> Vec<u64> {
        self.select(|_, deed| {
            let Deed::Acked { frontier, .. } = deed else {
                return None;
            };
            Some(*frontier)
        })
    }

    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        let mut contents = self.memory.snapshot();
        contents.ownerships.remove(&name())?.checkpoint
    }

    /// Whether the store holds that this record is settled.
    pub(super) fn settled(&self, position: u64) -> bool {
        let settles = |c: Checkpoint| c.settles(&Position::Offset(position));
        self.checkpoint().is_some_and(settles)
    }

    pub(super) fn frontier(&self) -> Option<u64> {
        self.checkpoint()?.frontier()?.offset()
    }

    pub(super) fn owner(&self) -> Option<WorkerId> {
        self.memory.snapshot().ownerships.get(&name())?.worker
    }

    /// The item of the lane of this key.
    pub(super) fn item(&self, key: &str) -> Option<LaneItem> {
        self.item_of(LaneKey::of_key(key.as_bytes()))
    }

    pub(super) fn item_of(&self, lane: LaneKey) -> Option<LaneItem> {
        self.memory.snapshot().lanes.remove(&(name(), lane))
    }

    /// An operator's word on the lane as it was at `rev`.
    pub(super) async fn decide(&self, of: &LaneItem, verb: Verb) -> Result<u64, DecideError> {
        let note = DecisionNote {
            verb,
            by: "operator".to_owned(),
            why: None,
            at: 1,
            taken: false,
            lease: None,
            tried: None,
        };
        self.memory.decide(&name(), &of.lane, of.rev, &note).await
    }

    /// Most calls that could run at once within a time; with those that a remote may still run where
    /// `runs_on` says so.
    pub(super) fn peak(&self, from: Duration, to: Duration, runs_on: bool) -> usize {
        let mut open: Vec<(u64, Duration)> = Vec::new();
        let mut spans = Vec::new();
        for (at, deed) in self.deeds() {
            if let Deed::Called(tried) = &deed {
                open.push((tried.position, at));
            } else if let Deed::Ended {
                position,
                runs_on: on,
            } = deed
            {
                let index = open.iter().position(|(of, _)| *of == position);
                let (_, began) = open.remove(index.expect("it began"));
                spans.push((began, if runs_on { at + on } else { at }));
            }
        }
        spans.extend(open.iter().map(|(_, began)| (*began, Duration::MAX)));
        let begins = spans.iter().map(|(began, _)| (*began).max(from));
        let at_once = |at: Duration| spans.iter().filter(|(b, e)| *b <= at && at < *e).count();
        let within = begins.filter(|at| *at < to).map(at_once);
        within.max().unwrap_or(0)
    }

    /// Ends a test: the guarantees hold over all that its workers told. Gives what they told of.
    pub(super) fn holds(&self) -> Counts {
        let early = self.select(|at, deed| {
            let Deed::Acked { frontier, durable } = deed else {
                return None;
            };
            (Some(*frontier) > *durable).then_some((at, *frontier, *durable))
        });
        assert!(early.is_empty(), "acknowledged before durable: {early:?}");
        let verdict = std::mem::take(&mut *lock(&self.audit)).finish();
        assert!(verdict.passes(), "{verdict}");
        verdict.counts
    }

    /// Starts a worker.
    pub(super) fn start(self: &Arc<Self>, seat: Seat) -> Worker {
        let id = worker_id(seat.number);
        let sky: Arc<Mutex<Sky>> =
            Arc::new(Mutex::new(Arc::new(|_: &Call<'_>| Weather::default())));
        let (world, above) = (Arc::clone(self), Arc::clone(&sky));
        let store = self.memory.clone().with_faults(move |call: &Call<'_>| {
            world.does(asked(call));
            let sky = Arc::clone(&lock(&above));
            sky(call)
        });
        let client = Arc::new(Client {
            world: Arc::clone(self),
            worker: seat.number,
            settle: seat.settings.settle.unwrap_or_default(),
        });
        let feed = Feed {
            world: Arc::clone(self),
            holder_is_dead: seat.holder_is_dead,
            order: seat.settings.order,
        };
        let sink = Sink {
            world: Arc::clone(self),
            worker: id.to_string(),
            seq: AtomicU64::new(0),
        };
        let clock = Arc::new(Time(Arc::clone(self)));
        let watch = Arc::new(Watch::new(clock.clone(), seat.settings.cap));
        let processor = Processor::new(Parts {
            worker: id,
            settings: seat.settings,
            store: Arc::new(store),
            target: client.clone(),
            history: Arc::new(sink),
            dead_letter: seat.dead_letters.then_some(client as _),
            sources: vec![("log".into(), Box::new(feed))],
            clock,
        })
        .watched_by(Arc::clone(&watch));
        let (stop, stops) = mpsc::unbounded_channel();
        Worker {
            id,
            watch,
            stop,
            end: tokio::spawn(processor.drive(stops)),
            sky,
        }
    }
}

pub(super) fn worker_id(number: u64) -> WorkerId {
    WorkerId(Uuid::from_u64_pair(9, number))
}

/// A call that comes back with nothing done.
pub(super) fn refused() -> Weather {
    Weather {
        fate: Fate::Refused,
        ..Weather::default()
    }
}

/// A time of a call's weather, where the call is one that it befalls.
pub(super) fn time_if(befalls: bool, time: Duration) -> Duration {
    if befalls { time } else { Duration::ZERO }
}

/// What a worker is started with.
pub(super) struct Seat {
    pub(super) number: u64,
    pub(super) settings: Settings,
    /// What its source says of a former owner.
    pub(super) holder_is_dead: bool,
    /// Whether it has a dead-letter target.
    pub(super) dead_letters: bool,
}

impl Seat {
    pub(super) fn new(number: u64, settings: Settings) -> Self {
        Self {
            number,
            settings,
            holder_is_dead: true,
            dead_letters: true,
        }
    }
}

/// A running worker.
pub(super) struct Worker {
    pub(super) id: WorkerId,
    /// What it shows of itself.
    pub(super) watch: Arc<Watch>,
    pub(super) stop: mpsc::UnboundedSender<Stop>,
    end: JoinHandle<(Report, Outcome)>,
    sky: Arc<Mutex<Sky>>,
}

impl Worker {
    /// What befalls its calls to the store from now on.
    pub(super) fn weather(&self, sky: impl Fn(&Call<'_>) -> Weather + Send + Sync + 'static) {
        *lock(&self.sky) = Arc::new(sky);
    }

    pub(super) fn is_running(&self) -> bool {
        !self.end.is_finished()
    }

    /// The process is killed: nothing of it runs any more.
    pub(super) async fn crash(self) {
        self.end.abort();
        let end = self.end.await;
        assert!(end.is_err_and(|e| e.is_cancelled()), "it ran until now");
    }

    /// A clean stop.
    pub(super) async fn drain(self) -> (Report, Outcome) {
        self.stop.send(Stop::Drain).expect("it runs");
        self.ended().await
    }

    pub(super) async fn ended(self) -> (Report, Outcome) {
        let end = tokio::time::timeout(PATIENCE, self.end).await;
        end.expect("it ends").expect("it does not panic")
    }
}

struct Time(Arc<World>);

impl Clock for Time {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn wall_millis(&self) -> i64 {
        i64::try_from(self.0.now().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Tells the audit.
struct Sink {
    world: Arc<World>,
    worker: String,
    seq: AtomicU64,
}

impl History for Sink {
    fn note(&self, fact: Fact<'_>) {
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        let line = Line::of(&fact, seq, &self.worker);
        lock(&self.world.audit).add(&line);
    }
}
