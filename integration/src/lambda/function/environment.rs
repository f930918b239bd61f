//! One environment: a process with a Runtime API of its own, through all its stages.

mod process;

use super::{Outcome, reaper::Reaper, runtime_api};
use crate::server::Folder;
use hyper::body::Bytes;
use process::Process;
use std::{
    fmt, fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    runtime::{self, Runtime},
    sync::Notify,
    task::AbortHandle,
};
use uuid::Uuid;

/// How long a process may take until it asks for its first invocation.
const INIT_LIMIT: Duration = Duration::from_secs(10);

/// How often somebody who waits for an answer looks whether the process still lives.
const LOOK: Duration = Duration::from_millis(5);

/// Where a process is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// It was started and has not asked for an invocation yet.
    Starting,
    /// It waits for an invocation.
    Idle,
    /// It was given an invocation that it has not answered.
    Busy,
    /// It has answered, and not asked for the next one yet.
    Answered,
    /// It is gone.
    Ended,
}

/// An environment. A clone is the same one.
#[derive(Clone)]
pub struct Environment(Arc<Room>);

/// What all environments of a function share: the threads that serve them, the folder of their words, and
/// who ends them when we cannot.
pub(super) struct House {
    runtime: Option<Runtime>,
    folder: Folder,
    reaper: Arc<Reaper>,
}

/// How to start one.
pub(super) struct Plan<'a> {
    pub(super) number: u32,
    pub(super) path: &'a Path,
    pub(super) args: &'a [String],
    pub(super) variables: &'a [(String, String)],
    pub(super) folder: Option<&'a Path>,
    pub(super) is_frozen_when_idle: bool,
    pub(super) arn: String,
}

/// An environment, as its server and its users share it.
pub(super) struct Room {
    number: u32,
    arn: String,
    words: PathBuf,
    is_frozen_when_idle: bool,
    process: Process,
    desk: Mutex<Desk>,
    changed: Condvar,
    offered: Notify,
    server: OnceLock<AbortHandle>,
}

/// What lies between the process and who invokes it.
struct Desk {
    stage: Stage,
    /// What the process has not fetched yet.
    offer: Option<Offer>,
    /// The id of what it was given.
    current: Option<String>,
    outcome: Option<Outcome>,
}

/// An invocation as the process gets it.
pub(super) struct Offer {
    pub(super) id: String,
    pub(super) event: Bytes,
    pub(super) deadline: SystemTime,
}

/// Why the Runtime API refuses a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// The process does not do what its stage asks for.
    InvalidStateTransition,
    /// That invocation is not the one that it was given.
    InvalidRequestId,
}

impl House {
    pub(super) fn open() -> io::Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("runtime-api")
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            folder: Folder::new("lanekeeper-lambda-")?,
            reaper: Arc::new(Reaper::start()?),
        })
    }
}

impl Environment {
    /// Starts a process, which has a Runtime API of its own.
    pub(super) fn start(house: &House, plan: &Plan<'_>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let endpoint = listener.local_addr()?.to_string();
        let words = house
            .folder
            .path()
            .join(format!("environment.{}", plan.number));
        let room = Arc::new(Room {
            number: plan.number,
            arn: plan.arn.clone(),
            words: words.clone(),
            is_frozen_when_idle: plan.is_frozen_when_idle,
            process: Process::none(Arc::clone(&house.reaper)),
            desk: Mutex::new(Desk {
                stage: Stage::Starting,
                offer: None,
                current: None,
                outcome: None,
            }),
            changed: Condvar::new(),
            offered: Notify::new(),
            server: OnceLock::new(),
        });
        if let Some(runtime) = &house.runtime {
            let serving = runtime.spawn(runtime_api::serve(listener, Arc::clone(&room)));
            room.server.get_or_init(|| serving.abort_handle());
        }
        room.process.start(
            plan,
            &endpoint,
            plan.folder.unwrap_or(house.folder.path()),
            &words,
        )?;
        Ok(Self(room))
    }

    /// Its number among those of its function, from 1.
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// Its process id, while it lives.
    pub fn id(&self) -> Option<u32> {
        self.0.process.id()
    }

    /// Where its process is in its life.
    pub fn stage(&self) -> Stage {
        self.0.look();
        self.0.desk().stage
    }

    /// Kills its process with all that it started, in whatever stage; nothing where it has ended.
    pub fn kill(&self) {
        self.0.process.kill();
        self.0.look();
    }

    /// Stops it where it stands, with all that it started, until [`Environment::thaw`] or its next
    /// invocation.
    ///
    /// # Errors
    /// When it has ended.
    pub fn freeze(&self) -> io::Result<()> {
        self.0.process.freeze()
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn thaw(&self) -> io::Result<()> {
        self.0.process.thaw()
    }

    /// What it wrote to standard output and standard error so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn words(&self) -> io::Result<String> {
        let words = fs::read(&self.0.words)?;
        Ok(String::from_utf8_lossy(&words).into_owned())
    }

    /// Hands it an invocation and waits until it has answered and asks for the next one, or is gone. At the
    /// timeout it is killed.
    pub(super) fn invoke(&self, event: &str, timeout: Duration) -> Outcome {
        if let Some(failed) = self.0.wait_for_start() {
            return failed;
        }
        // One that was frozen and has died meanwhile is found gone below.
        let _gone = self.0.process.thaw();
        let id = Uuid::new_v4().to_string();
        let deadline = Instant::now() + timeout;
        {
            let mut desk = self.0.desk();
            desk.stage = Stage::Busy;
            desk.outcome = None;
            desk.current = Some(id.clone());
            desk.offer = Some(Offer {
                id,
                event: Bytes::copy_from_slice(event.as_bytes()),
                deadline: SystemTime::now() + timeout,
            });
        }
        self.0.offered.notify_one();
        let is_over = |desk: &Desk| {
            let answered = desk.outcome.is_some() && desk.stage == Stage::Idle;
            answered || desk.stage == Stage::Ended
        };
        if !self.0.wait(deadline, is_over) {
            self.0.process.kill();
            self.0.look();
            let seconds = timeout.as_secs_f64();
            let told = format!("Task timed out after {seconds:.2} seconds");
            return self.0.outcome_or("Sandbox.Timedout", &told);
        }
        self.0
            .outcome_or("Runtime.ExitError", "Runtime exited without an answer")
    }
}

impl Room {
    pub(super) fn arn(&self) -> &str {
        &self.arn
    }

    /// The next invocation, once there is one.
    pub(super) async fn next(&self) -> Result<Offer, Refusal> {
        let (was, has_offer) = {
            let desk = self.desk();
            (desk.stage, desk.offer.is_some())
        };
        if was == Stage::Busy && !has_offer {
            return Err(Refusal::InvalidStateTransition);
        }
        // Before anybody can see that it is free: who invokes it then thaws it first.
        if was == Stage::Answered && self.is_frozen_when_idle {
            let _gone = self.process.freeze();
        }
        {
            let mut desk = self.desk();
            if matches!(desk.stage, Stage::Starting | Stage::Answered) {
                desk.stage = Stage::Idle;
            }
        }
        self.changed.notify_all();
        loop {
            let offered = self.offered.notified();
            if let Some(offer) = self.desk().offer.take() {
                return Ok(offer);
            }
            offered.await;
        }
    }

    /// What the process says of the invocation that it was given.
    pub(super) fn answer(&self, id: &str, outcome: Outcome) -> Result<(), Refusal> {
        let mut desk = self.desk();
        if desk.current.as_deref() != Some(id) {
            return Err(Refusal::InvalidRequestId);
        }
        if desk.stage != Stage::Busy || desk.offer.is_some() {
            return Err(Refusal::InvalidStateTransition);
        }
        desk.current = None;
        desk.outcome = Some(outcome);
        desk.stage = Stage::Answered;
        drop(desk);
        self.changed.notify_all();
        Ok(())
    }

    /// It cannot start, and says why.
    pub(super) fn refuse_start(&self, outcome: Outcome) -> Result<(), Refusal> {
        let mut desk = self.desk();
        if desk.stage != Stage::Starting {
            return Err(Refusal::InvalidStateTransition);
        }
        desk.outcome = Some(outcome);
        drop(desk);
        self.changed.notify_all();
        Ok(())
    }

    /// Waits until it asks for its first invocation; gives what became of it where it does not.
    fn wait_for_start(&self) -> Option<Outcome> {
        let limit = Instant::now() + INIT_LIMIT;
        let has_begun = |desk: &Desk| desk.stage != Stage::Starting || desk.outcome.is_some();
        let is_in_time = self.wait(limit, has_begun);
        if is_in_time && self.desk().stage == Stage::Idle {
            return None;
        }
        self.process.kill();
        self.look();
        let told = format!("no invocation was asked for within {INIT_LIMIT:?}");
        Some(if is_in_time {
            self.outcome_or("Runtime.ExitError", "Runtime exited before it began")
        } else {
            self.outcome_or("Sandbox.Timedout", &told)
        })
    }

    /// Waits until something holds; `false`: not until then.
    fn wait(&self, until: Instant, holds: impl Fn(&Desk) -> bool) -> bool {
        loop {
            self.look();
            let desk = self.desk();
            if holds(&desk) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            // Whether it was woken or not: it looks again.
            let _woken = self.changed.wait_timeout(desk, left.min(LOOK));
        }
    }

    /// Sees whether the process has ended.
    fn look(&self) {
        if !self.process.has_ended() {
            return;
        }
        let mut desk = self.desk();
        if desk.stage != Stage::Ended {
            desk.stage = Stage::Ended;
            drop(desk);
            self.changed.notify_all();
            if let Some(server) = self.server.get() {
                server.abort();
            }
        }
    }

    /// What the process said, or this where it said nothing.
    fn outcome_or(&self, kind: &str, message: &str) -> Outcome {
        let outcome = self.desk().outcome.take();
        outcome.unwrap_or_else(|| {
            let ended = self.process.status();
            Outcome::failed(
                kind,
                ended.map_or(message.to_owned(), |e| format!("{message} ({e})")),
            )
        })
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if thread::panicking() {
            self.folder.keep();
            let folder = self.folder.path().display();
            let _gone = io::Write::write_fmt(
                &mut io::stderr(),
                format_args!("what the function said stands in {folder}\n"),
            );
        }
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped in a test that is itself asynchronous, where waiting is forbidden.
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "environment {} ({:?})", self.0.number, self.stage())
    }
}
