//! What all workers of a history share, and what each of their incarnations is made of.

use super::{
    counters::Counters,
    log::{Log, Told},
    plan::Plan,
    source::Reader,
    store::{Canary, Commits, Seat},
    target::{Client, Seen},
};
use fastrand::Rng;
use lanekeeper::{
    audit::Audit,
    history::{Event, Fact, History, Line},
    processor::{Clock, Outcome, Parts, Processor, Report, Stop},
    store::{WorkerId, memory::Memory},
};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use uuid::Uuid;

thread_local! {
    /// When this thread's history began.
    static ORIGIN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Time in this thread's history.
pub(super) fn now() -> Duration {
    ORIGIN
        .get()
        .map_or(Duration::ZERO, |origin| origin.elapsed())
}

/// A history begins on this thread.
pub(super) fn begin_time() {
    ORIGIN.set(Some(Instant::now()));
}

/// Everything that several parts of a history look at.
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) canary: Option<Canary>,
    /// The store without weather.
    pub(super) store: Memory,
    log: Mutex<Log>,
    seen: Mutex<Seen>,
    commits: Mutex<Commits>,
    chance: Mutex<Rng>,
    counters: Mutex<Counters>,
    pub(super) audit: Mutex<Audit>,
    problems: Mutex<Vec<String>>,
    /// Epochs that a worker knows to be its own.
    claimed: Mutex<BTreeSet<(String, u64)>>,
    calm: AtomicBool,
    /// The history as text, where somebody wants it.
    pub(super) transcript: Option<Mutex<String>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(plan: Plan, canary: Option<Canary>, keep: bool) -> Self {
        Self {
            canary,
            store: Memory::new("simulation")
                .with_clock(|| i64::try_from(now().as_millis()).unwrap_or(i64::MAX)),
            log: Mutex::new(Log::new(&plan)),
            seen: Mutex::default(),
            commits: Mutex::default(),
            chance: Mutex::new(Rng::with_seed(plan.seed ^ 0x5eed)),
            counters: Mutex::default(),
            audit: Mutex::default(),
            problems: Mutex::default(),
            claimed: Mutex::default(),
            calm: AtomicBool::new(false),
            transcript: keep.then(Mutex::default),
            plan,
        }
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    pub(super) fn commits(&self) -> MutexGuard<'_, Commits> {
        lock(&self.commits)
    }

    pub(super) fn problem(&self, what: String) {
        lock(&self.problems).push(format!("at {:?}: {what}", now()));
    }

    pub(super) fn problems(&self) -> Vec<String> {
        lock(&self.problems).clone()
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut Counters)) {
        count(&mut lock(&self.counters));
    }

    pub(super) fn counters(&self) -> Counters {
        *lock(&self.counters)
    }

    pub(super) fn chance(&self, of: f64) -> bool {
        of > 0.0 && lock(&self.chance).f64() < of
    }

    pub(super) fn below(&self, n: u64) -> u64 {
        lock(&self.chance).u64(0..n.max(1))
    }

    pub(super) fn pick<T: Copy>(&self, of: &[T]) -> Option<T> {
        of.get(usize::try_from(self.below(of.len() as u64)).unwrap_or(0))
            .copied()
    }

    /// How long a piece of work takes.
    pub(super) fn work(&self) -> Duration {
        self.plan.work_max.mul_f64(lock(&self.chance).f64())
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(super) fn calm_down(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    /// Partitions and epochs that a worker claimed and was not told to have lost.
    pub(super) fn claimed(&self) -> BTreeSet<(String, u64)> {
        lock(&self.claimed).clone()
    }

    /// The source was told a durable frontier.
    pub(super) fn acknowledged(&self, partition: usize, generation: u64, frontier: u64) {
        // What its worker knew was durable until a rewind.
        if self.seen().passed.generation(partition) > generation {
            return;
        }
        let name = self.log().name(partition).clone();
        let durable = self.store.tamper(|contents| {
            let checkpoint = contents.ownerships.get(&name)?.checkpoint.as_ref()?;
            checkpoint.frontier()?.offset()
        });
        if durable.is_none_or(|durable| durable < frontier) && self.canary.is_none() {
            self.problem(format!(
                "{frontier} of {name} was acknowledged, durable is {durable:?}"
            ));
        }
    }
}

/// Time by the runtime's clock.
struct Paused;

impl Clock for Paused {
    fn now(&self) -> Duration {
        now()
    }

    fn wall_millis(&self) -> i64 {
        i64::try_from(now().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Tells the audit, and counts what the audit does not.
struct Sink {
    shared: Arc<Shared>,
    worker: String,
    state: Mutex<SinkState>,
}

#[derive(Default)]
struct SinkState {
    seq: u64,
    /// Ownerships that this worker lost: partition and epoch.
    lost: BTreeSet<(String, u64)>,
    /// Records that joined each chain since it was parked.
    crowds: BTreeMap<(String, Vec<u8>), u64>,
}

impl History for Sink {
    fn note(&self, fact: Fact<'_>) {
        let mut state = lock(&self.state);
        state.seq += 1;
        let line = Line::of(&fact, state.seq, &self.worker);
        if let Some(transcript) = &self.shared.transcript {
            let mut transcript = lock(transcript);
            transcript.push_str(&serde_json::to_string(&line).expect("a line"));
            transcript.push('\n');
        }
        lock(&self.shared.audit).add(&line);
        let Some(subject) = fact.subject else { return };
        let name = || subject.partition.to_string();
        let lane = || {
            (
                name(),
                subject.record.map_or(Vec::new(), |(l, _)| l.to_vec()),
            )
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "these are counted, no others"
        )]
        match fact.event {
            Event::Revoked { clean: false } => {
                state.lost.insert((name(), subject.epoch));
                lock(&self.shared.claimed).remove(&(name(), subject.epoch));
            }
            Event::Ended { .. } if state.lost.contains(&(name(), subject.epoch)) => {
                self.shared.count(|c| c.late_completions += 1);
            }
            Event::Claimed { clean } => {
                let mut seen = self.shared.seen();
                seen.busy_until = seen.busy_until.max(now());
                drop(seen);
                lock(&self.shared.claimed).insert((name(), subject.epoch));
                self.shared
                    .count(|c| c.unclean_claims_waited += u64::from(!clean));
            }
            Event::Suspected { alone, .. } => self.shared.count(|c| {
                c.suspects_found += 1;
                c.suspects_charged += u64::from(alone);
            }),
            Event::Parked { .. } => {
                state.crowds.insert(lane(), 0);
            }
            Event::Appended => {
                let crowd = state.crowds.entry(lane()).or_default();
                *crowd += 1;
                if *crowd == 101 {
                    self.shared.count(|c| c.crowds_parked += 1);
                }
            }
            _ => {}
        }
    }
}

/// Lets a process be killed or frozen from outside.
#[derive(Default)]
pub(super) struct Control {
    killed: AtomicBool,
    frozen: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Control {
    fn wake(&self) {
        if let Some(waker) = lock(&self.waker).take() {
            waker.wake();
        }
    }

    pub(super) fn kill(&self) {
        self.killed.store(true, Ordering::Relaxed);
        self.wake();
    }

    pub(super) fn freeze(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Relaxed);
        self.wake();
    }
}

type Driven = Pin<Box<dyn Future<Output = (Report, Outcome)> + Send>>;

/// A process: polled unless it is frozen, dropped when it is killed.
struct Process {
    shared: Arc<Shared>,
    control: Arc<Control>,
    driven: Option<Driven>,
    /// When it was polled last, and how often by then.
    polled: (Duration, u32),
}

/// More turns than this without time going on: the loop spins.
const TURNS_MAX: u32 = 1_000;

impl Future for Process {
    /// `None`: killed.
    type Output = Option<(Report, Outcome)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        *lock(&self.control.waker) = Some(cx.waker().clone());
        if self.control.killed.load(Ordering::Relaxed) {
            self.driven = None;
            return Poll::Ready(None);
        }
        if self.control.frozen.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        self.polled = match self.polled {
            (at, turns) if at == now() => (at, turns + 1),
            _ => (now(), 0),
        };
        if self.polled.1 > TURNS_MAX {
            self.shared.problem("a worker spins".to_owned());
            self.driven = None;
        }
        match &mut self.driven {
            Some(driven) => driven.as_mut().poll(cx).map(Some),
            None => Poll::Ready(None),
        }
    }
}

/// A running worker.
pub(super) struct Incarnation {
    pub(super) number: u64,
    pub(super) control: Arc<Control>,
    pub(super) stop: mpsc::UnboundedSender<Stop>,
    pub(super) end: JoinHandle<Option<(Report, Outcome)>>,
    pub(super) frozen_until: Option<Duration>,
    /// The group has given its partitions to others.
    pub(super) expired: bool,
}

impl Incarnation {
    pub(super) fn start(shared: &Arc<Shared>, number: u64) -> Self {
        let worker = WorkerId(Uuid::from_u64_pair(shared.plan.seed, number));
        let (mailbox, told) = mpsc::unbounded_channel::<Told>();
        shared.log().joins(number, mailbox);
        let control = Arc::new(Control::default());
        let client = Arc::new(Client {
            shared: Arc::clone(shared),
            incarnation: number,
            control: Arc::clone(&control),
        });
        let sink = Sink {
            shared: Arc::clone(shared),
            worker: worker.to_string(),
            state: Mutex::default(),
        };
        let reader = Reader {
            shared: Arc::clone(shared),
            member: number,
            mailbox: told,
            assignments: 0,
            current: BTreeMap::new(),
        };
        let processor = Processor::new(Parts {
            worker,
            settings: shared.plan.settings.clone(),
            store: Arc::new(Seat::new(shared)),
            target: client.clone(),
            history: Arc::new(sink),
            dead_letter: Some(client),
            sources: vec![("log".into(), Box::new(reader))],
            clock: Arc::new(Paused),
        });
        let (stop, stops) = mpsc::unbounded_channel();
        let process = Process {
            shared: Arc::clone(shared),
            polled: (Duration::ZERO, 0),
            control: Arc::clone(&control),
            driven: Some(Box::pin(processor.drive(stops))),
        };
        Self {
            number,
            control,
            stop,
            end: tokio::spawn(process),
            frozen_until: None,
            expired: false,
        }
    }
}
