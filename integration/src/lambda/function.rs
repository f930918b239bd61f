//! A function as Lambda has one: environments that are started on demand, used again while they are warm,
//! hold one invocation each, and are ended at its timeout.

mod environment;
mod reaper;
mod runtime_api;

pub use environment::{Environment, Stage};

use super::event::{ACCOUNT, REGION, REQUEST_BYTES_MAX};
use environment::House;
use serde_json::Value;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// What Lambda gives a function that says nothing of it.
const TIMEOUT: Duration = Duration::from_secs(3);

/// In MB, likewise.
const MEMORY: u32 = 128;

/// A function: a program that speaks the Lambda Runtime API, or a closure in its place. A clone is the
/// same function. Dropped with its last clone, all its processes are killed.
#[derive(Clone)]
pub struct Function {
    settings: Settings,
    pool: Arc<Pool>,
}

#[derive(Clone)]
struct Settings {
    name: String,
    code: Code,
    environment: Vec<(String, String)>,
    timeout: Duration,
    memory: u32,
    folder: Option<PathBuf>,
    reserved: Option<usize>,
    reuse: Reuse,
    is_frozen_when_idle: bool,
}

#[derive(Clone)]
enum Code {
    Program { path: PathBuf, args: Vec<String> },
    Stub(Arc<dyn Fn(&Value) -> Outcome + Send + Sync>),
}

/// Which environment gets an invocation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reuse {
    /// The one that was used last, of those that are free.
    #[default]
    Warm,
    /// The one that was used the longest ago, once there are so many: a redelivery finds another instance.
    Spread(usize),
    /// A new one for each invocation.
    Never,
}

/// How an invocation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// With status 200 and this body.
    Answered(Vec<u8>),
    /// With an error: the function's own, or its timeout, or its end.
    Failed {
        /// `Sandbox.Timedout`, `Runtime.ExitError`, `Function.ResponseSizeTooLarge`, or what it says.
        kind: String,
        /// What it said.
        message: String,
    },
    /// It was not invoked: 429.
    Throttled,
}

/// An invocation that is over.
#[derive(Clone, Debug)]
pub struct Invoked {
    /// What became of it.
    pub outcome: Outcome,
    /// The number of the environment that had it, from 1; `None`: there was none.
    pub environment: Option<u32>,
}

/// All environments of a function.
#[derive(Default)]
struct Pool(Mutex<State>);

#[derive(Default)]
struct State {
    house: Option<Arc<House>>,
    slots: Vec<Slot>,
    running: usize,
    /// So many of the next invocations are refused.
    throttles: usize,
    /// So many of the next environments are killed while they start.
    kills: usize,
    /// So many of the next answers do not arrive.
    losses: usize,
    uses: u64,
}

struct Slot {
    environment: Environment,
    is_taken: bool,
    /// When it was used last, in invocations.
    used: u64,
}

impl Outcome {
    /// An answer.
    pub fn json(answer: &Value) -> Self {
        Self::Answered(answer.to_string().into_bytes())
    }

    /// An answer that need not be JSON.
    pub fn text(answer: &str) -> Self {
        Self::Answered(answer.as_bytes().to_vec())
    }

    /// An exception that the function did not catch.
    pub fn error(message: &str) -> Self {
        Self::failed("Error", message)
    }

    fn failed(kind: &str, message: impl Into<String>) -> Self {
        Self::Failed {
            kind: kind.to_owned(),
            message: message.into(),
        }
    }
}

impl Function {
    /// A program that speaks the Lambda Runtime API.
    pub fn new(program: impl AsRef<Path>) -> Self {
        Self::of(Code::Program {
            path: program.as_ref().to_owned(),
            args: Vec::new(),
        })
    }

    /// A closure, which gets the event: for tests of a mapping itself. It has no timeout and no process.
    pub fn stub(answer: impl Fn(&Value) -> Outcome + Send + Sync + 'static) -> Self {
        Self::of(Code::Stub(Arc::new(answer)))
    }

    fn of(code: Code) -> Self {
        let settings = Settings {
            name: "lanekeeper-test".to_owned(),
            code,
            environment: Vec::new(),
            timeout: TIMEOUT,
            memory: MEMORY,
            folder: None,
            reserved: None,
            reuse: Reuse::default(),
            is_frozen_when_idle: false,
        };
        Self {
            settings,
            pool: Arc::default(),
        }
    }

    /// With these arguments; nothing for a closure.
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        if let Code::Program { args: own, .. } = &mut self.settings.code {
            own.extend(args.into_iter().map(str::to_owned));
        }
        self
    }

    /// On the first core alone, by `taskset`; nothing for a closure. To be said after [`Function::args`].
    pub fn on_one_core(mut self) -> Self {
        if let Code::Program { path, args } = &mut self.settings.code {
            let program = std::mem::replace(path, "taskset".into());
            let own = std::mem::take(args);
            args.extend(["-c", "0"].map(str::to_owned));
            args.push(program.to_string_lossy().into_owned());
            args.extend(own);
        }
        self
    }

    /// With this variable. It has nothing of the tests' own environment but `PATH`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        let variable = (name.to_owned(), value.to_owned());
        self.settings.environment.push(variable);
        self
    }

    /// With these variables, as the servers of tests give them.
    pub fn envs(self, variables: &[(&'static str, String)]) -> Self {
        let each = variables.iter();
        each.fold(self, |function, (name, value)| function.env(name, value))
    }

    /// In this folder: in one of its own without this.
    pub fn within(mut self, folder: &Path) -> Self {
        self.settings.folder = Some(folder.to_owned());
        self
    }

    /// How long one invocation may take, in real time: 3 s without this.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// The most invocations at a time (reserved concurrency): more are throttled.
    pub fn reserved(mut self, concurrency: usize) -> Self {
        self.settings.reserved = Some(concurrency);
        self
    }

    /// Which environment gets an invocation: a warm one without this.
    pub fn reuse(mut self, reuse: Reuse) -> Self {
        self.settings.reuse = reuse;
        self
    }

    /// Freezes an environment as Lambda does: from the moment at which it asks for its next invocation
    /// until it gets one.
    pub fn freezes(mut self) -> Self {
        self.settings.is_frozen_when_idle = true;
        self
    }

    /// Refuses so many of the next invocations.
    pub fn throttle_next(&self, invocations: usize) {
        self.pool.state().throttles += invocations;
    }

    /// Kills so many of the next environments while they start.
    pub fn kill_next_starts(&self, environments: usize) {
        self.pool.state().kills += environments;
    }

    /// Loses so many of the next answers: the function has done its work and nobody knows.
    pub fn lose_next(&self, answers: usize) {
        self.pool.state().losses += answers;
    }

    /// The ARN of the version that is invoked.
    pub fn arn(&self) -> String {
        let name = &self.settings.name;
        format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")
    }

    /// How long one invocation may take.
    pub(super) fn timeout_of_one(&self) -> Duration {
        self.settings.timeout
    }

    /// All environments that were started, in order of their numbers, also those that have ended.
    pub fn environments(&self) -> Vec<Environment> {
        let state = self.pool.state();
        let environments = state.slots.iter().map(|slot| slot.environment.clone());
        environments.collect()
    }

    /// Waits until an environment is in this stage, and gives the youngest.
    ///
    /// # Errors
    /// When none is within the patience of tests.
    pub fn when(&self, stage: Stage) -> io::Result<Environment> {
        let mut found = None;
        crate::scene::eventually(&format!("an environment that is {stage:?}"), || {
            let environments = self.environments();
            found = environments.into_iter().rfind(|e| e.stage() == stage);
            Ok(found.is_some())
        })?;
        found.ok_or_else(|| io::Error::other("it is gone"))
    }

    /// Invokes it with this event and waits for its end.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn invoke(&self, event: &str) -> io::Result<Invoked> {
        if event.len() > REQUEST_BYTES_MAX {
            let message = format!("{} bytes are more than 6 MB", event.len());
            return Ok(Invoked {
                outcome: Outcome::failed("RequestTooLargeException", message),
                environment: None,
            });
        }
        let Some(_running) = self.pool.admit(self.settings.reserved) else {
            return Ok(Invoked {
                outcome: Outcome::Throttled,
                environment: None,
            });
        };
        let invoked = match &self.settings.code {
            Code::Stub(answer) => Invoked {
                outcome: answer(&serde_json::from_str(event)?),
                environment: None,
            },
            Code::Program { path, args } => {
                let environment = self.take(path, args)?;
                let outcome = environment.invoke(event, self.settings.timeout);
                self.pool.give_back(environment.number());
                Invoked {
                    outcome,
                    environment: Some(environment.number()),
                }
            }
        };
        Ok(self.pool.hear(invoked))
    }

    /// A free environment, or a new one.
    fn take(&self, path: &Path, args: &[String]) -> io::Result<Environment> {
        let mut state = self.pool.state();
        state.uses += 1;
        let uses = state.uses;
        if let Some(slot) = state.warm(self.settings.reuse) {
            (slot.is_taken, slot.used) = (true, uses);
            return Ok(slot.environment.clone());
        }
        let house = match &state.house {
            Some(house) => Arc::clone(house),
            None => Arc::clone(state.house.insert(Arc::new(House::open()?))),
        };
        let number = state.slots.len() as u32 + 1;
        let mut variables = self.variables(number);
        variables.extend(self.settings.environment.iter().cloned());
        let plan = environment::Plan {
            number,
            path,
            args,
            variables: &variables,
            folder: self.settings.folder.as_deref(),
            is_frozen_when_idle: self.settings.is_frozen_when_idle,
            arn: self.arn(),
        };
        let environment = Environment::start(&house, &plan)?;
        if state.kills > 0 {
            state.kills -= 1;
            environment.kill();
        }
        state.slots.push(Slot {
            environment: environment.clone(),
            is_taken: true,
            used: uses,
        });
        Ok(environment)
    }

    /// What Lambda tells every custom runtime of its environment.
    fn variables(&self, number: u32) -> Vec<(String, String)> {
        let settings = &self.settings;
        let memory = settings.memory.to_string();
        let group = format!("/aws/lambda/{}", settings.name);
        let stream = format!("2026/01/01/[$LATEST]{number:032x}");
        let told: [(&str, &str); 14] = [
            ("AWS_LAMBDA_FUNCTION_NAME", &settings.name),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", &group),
            ("AWS_LAMBDA_LOG_STREAM_NAME", &stream),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            // As good as any for emulators, and of no use anywhere else.
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_SESSION_TOKEN", "test"),
            // Nobody is to look for real ones.
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("_HANDLER", "bootstrap"),
            ("TZ", ":UTC"),
        ];
        let owned = told.map(|(name, value)| (name.to_owned(), value.to_owned()));
        owned.to_vec()
    }
}

/// One of the invocations that run. Dropped, it does not any more.
struct Running<'a>(&'a Pool);

impl Pool {
    fn admit(&self, reserved: Option<usize>) -> Option<Running<'_>> {
        let mut state = self.state();
        if state.throttles > 0 {
            state.throttles -= 1;
            return None;
        }
        if reserved.is_some_and(|most| state.running >= most) {
            return None;
        }
        state.running += 1;
        Some(Running(self))
    }

    /// What arrives of it.
    fn hear(&self, invoked: Invoked) -> Invoked {
        let mut state = self.state();
        if state.losses == 0 {
            return invoked;
        }
        state.losses -= 1;
        Invoked {
            outcome: Outcome::failed("Lost", "its answer was lost, as the test asked for"),
            ..invoked
        }
    }

    fn give_back(&self, number: u32) {
        let mut state = self.state();
        let slot = state.slots.get_mut(number as usize - 1);
        if let Some(slot) = slot {
            slot.is_taken = false;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// An environment that waits for work.
    fn warm(&mut self, reuse: Reuse) -> Option<&mut Slot> {
        let is_alive = |slot: &Slot| slot.environment.stage() != Stage::Ended;
        let alive = self.slots.iter().filter(|slot| is_alive(slot)).count();
        let free = self
            .slots
            .iter_mut()
            .filter(|slot| !slot.is_taken && slot.environment.stage() == Stage::Idle);
        match reuse {
            Reuse::Warm => free.max_by_key(|slot| slot.used),
            Reuse::Spread(many) if alive >= many => free.min_by_key(|slot| slot.used),
            Reuse::Spread(_) | Reuse::Never => None,
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state().running -= 1;
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // Before the server that they talk to.
        for slot in &self.slots {
            slot.environment.kill();
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.settings.code {
            Code::Program { path, .. } => path.display().to_string(),
            Code::Stub(_) => "a stub".to_owned(),
        };
        write!(f, "{} ({what})", self.settings.name)
    }
}
