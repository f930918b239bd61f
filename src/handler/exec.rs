//! Child processes as handlers: JSON lines in, JSON lines out.
//!
//! A worker gets a line per call on its standard input and answers with one line on its standard
//! output (both described in [`protocol`]); standard error goes to the log. One that ends, prints
//! anything else or overruns the timeout is killed with its whole process group and replaced, and the
//! try failed. A try is over only when nothing of the group runs any more, so that a lane's next try
//! never overlaps it.
//!
//! A worker that ended before it read anything of a call cannot have been ended by that call: the call
//! goes to a fresh worker, and if that one ends so too, the target is to blame.
//!
//! Workers do not outlive this process: Linux kills them when it dies, and their input ends. What
//! leaves its group (`setsid`) escapes both; it still holds the descriptors of [`Target::share`].

use super::{Answer, Failure, FailureKind, Target, excerpt};
use crate::record::Run;
use futures_util::future::BoxFuture;
use std::{
    env,
    ffi::OsString,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time::{Instant, timeout_at};

mod child;
mod group;
mod pool;
pub mod protocol;

use child::{Broken, LINE_BYTES_MAX};
use pool::{Busy, Pool};

/// What to run, and how.
#[derive(Debug)]
pub struct ExecSettings {
    /// Program and arguments. A program without `/` is looked up in `PATH`; with one, a relative path
    /// starts at `dir`.
    pub command: Vec<String>,
    /// Where it runs; `None`: where this process does.
    pub dir: Option<PathBuf>,
    /// Set for it beside this process's environment.
    pub env: Vec<(OsString, OsString)>,
    /// Most records of a call. With more than 1 every call is an array.
    pub records_per_call: u32,
    /// One try, starting the worker included. The same as the processor's: a try that ends here is
    /// over for certain.
    pub timeout: Duration,
}

/// Workers, started as calls need them: never more than calls were in flight at once.
///
/// Dropping it closes their input, gives them half a second to end, and kills them.
pub struct Exec {
    command: Vec<String>,
    dir: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
    array: bool,
    timeout: Duration,
    /// Stay open in the workers, and in whatever they start.
    shared: OnceLock<Arc<[OwnedFd]>>,
    pool: Pool,
}

/// Why workers could not be started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProbeError {
    /// The command is empty.
    #[error("`handler.command` is empty: give a program and its arguments")]
    Empty,
    /// The directory is none.
    #[error("the worker's directory `{}` is no directory", .dir.display())]
    Dir {
        /// Where the worker was to run.
        dir: PathBuf,
    },
    /// There is no such file.
    #[error(
        "the worker's program `{program}` was not found in {looked_in}: install it, or correct `handler.command`"
    )]
    NotFound {
        /// As configured.
        program: String,
        /// Which path, or which directories.
        looked_in: String,
    },
    /// It is no program.
    #[error(
        "`{}` is not an executable file: make it one (`chmod +x`), or name its interpreter first in `handler.command`", .path.display()
    )]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
}

impl Exec {
    /// Workers of these settings; none is started yet.
    pub fn new(settings: ExecSettings) -> Self {
        Self {
            command: settings.command,
            dir: settings.dir,
            env: settings.env,
            array: settings.records_per_call > 1,
            timeout: settings.timeout,
            shared: OnceLock::new(),
            pool: Pool::default(),
        }
    }

    /// Looks whether the program is there, without running it.
    ///
    /// # Errors
    /// When it is not found or not executable, with the path.
    pub fn probe(&self) -> Result<(), ProbeError> {
        let program = self.command.first().filter(|program| !program.is_empty());
        let program = program.ok_or(ProbeError::Empty)?;
        let here = Path::new("");
        let dir = self.dir.as_deref().unwrap_or(here);
        if dir != here && !dir.is_dir() {
            let dir = dir.to_owned();
            return Err(ProbeError::Dir { dir });
        }
        if program.contains('/') {
            let path = dir.join(program);
            return match is_program(&path) {
                None => Err(ProbeError::NotFound {
                    program: program.clone(),
                    looked_in: format!("`{}`", path.display()),
                }),
                Some(false) => Err(ProbeError::NotExecutable { path }),
                Some(true) => Ok(()),
            };
        }
        let own = (self.env.iter().rev()).find(|(name, _)| name == "PATH");
        let search = own.map(|(_, value)| value.clone());
        let search = search.or_else(|| env::var_os("PATH")).unwrap_or_default();
        let mut not_executable = None;
        for folder in env::split_paths(&search) {
            let path = dir.join(folder).join(program);
            match is_program(&path) {
                Some(true) => return Ok(()),
                Some(false) => not_executable = Some(path),
                None => {}
            }
        }
        Err(match not_executable {
            Some(path) => ProbeError::NotExecutable { path },
            None => ProbeError::NotFound {
                program: program.clone(),
                looked_in: format!("`PATH` ({})", search.to_string_lossy()),
            },
        })
    }

    async fn call(&self, run: &Run) -> Answer {
        let deadline = Instant::now() + self.timeout;
        // A run is an array also where the settings promised none: an object shows one record.
        let array = self.array || run.records().len() > 1;
        let line = match protocol::encode(run, array) {
            Ok(line) => line,
            Err(error) => {
                let text = format!("the record cannot be written as JSON: {error}");
                return Answer::failed(Failure::reject(text));
            }
        };
        if timeout_at(deadline, self.pool.settled()).await.is_err() {
            let text = "a worker that was killed does not end";
            return Answer::failed(Failure::target(text));
        }
        loop {
            let worker = match self.pool.take() {
                Some(worker) => Ok(worker),
                None => match timeout_at(deadline, self.pool.start(self.command())).await {
                    Ok(started) => started.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("it did not start within {:?}", self.timeout)),
                },
            };
            match worker {
                Err(error) => return Answer::failed(Failure::target(self.no_worker(&error))),
                Ok(worker) => {
                    if let Some(answer) = self.call_worker(worker, run, &line, deadline).await {
                        return answer;
                    }
                }
            }
        }
    }

    /// One call of one worker; `None`: it had ended before it read any of the call, which then is
    /// another's.
    async fn call_worker(
        &self,
        mut worker: Busy<'_>,
        run: &Run,
        line: &[u8],
        deadline: Instant,
    ) -> Option<Answer> {
        let records = run.records().len();
        let child = worker.child()?;
        let Ok(said) = timeout_at(deadline, child.exchange(line)).await else {
            worker.end().await;
            let text = format!("no answer within {:?}", self.timeout);
            return Some(failed(records, text));
        };
        let text = match said {
            Ok(answer) => match protocol::decode(&answer, run.id(), records) {
                Ok(answer) => {
                    worker.give_back();
                    return Some(answer);
                }
                Err(bad) => bad.to_string(),
            },
            Err(Broken::TooLong(start)) => format!(
                "the worker printed a line longer than {LINE_BYTES_MAX} bytes: `{}`",
                excerpt(&start, 200)
            ),
            Err(Broken::Early(early)) => format!(
                "the worker printed a line before it had read the call: `{}`",
                excerpt(&early, 200)
            ),
            Err(Broken::Pipe(error)) => {
                return self.broken(worker, records, &format!(" ({error})")).await;
            }
            Err(Broken::Ended(part)) if part.is_empty() => {
                return self.broken(worker, records, "").await;
            }
            Err(Broken::Ended(part)) => {
                let printed = format!(" after half a line: `{}`", excerpt(&part, 200));
                return self.broken(worker, records, &printed).await;
            }
        };
        worker.end().await;
        Some(failed(records, text))
    }

    /// A worker whose pipes ended, most often because it did.
    async fn broken(&self, mut worker: Busy<'_>, records: usize, detail: &str) -> Option<Answer> {
        let child = worker.child()?;
        let pid = child.pid();
        let Some(exit) = child.ended().await else {
            let (nothing, worked_before) = (child.took_nothing(), child.has_answered());
            worker.end().await;
            if nothing {
                let text = format!("the worker (pid {pid}) closed its standard input{detail}");
                return unread(text, worked_before);
            }
            let text = format!("the worker closed its standard output{detail}");
            return Some(failed(records, text));
        };
        let words = child.last_words();
        let words = match words.as_str() {
            "" => String::new(),
            words => format!("; its last words: `{words}`"),
        };
        let text = format!("the worker (pid {pid}) {exit}{detail}{words}");
        // It never saw the call, so the call is not to blame; nor is the target, if it did well
        // before: many workers end by themselves after so many calls.
        let innocent = child.left_unread();
        let worked_before = child.has_answered();
        worker.end().await;
        if innocent {
            unread(text, worked_before)
        } else {
            Some(failed(records, text))
        }
    }

    fn no_worker(&self, error: &str) -> String {
        let program = self.command.first().map_or("", String::as_str);
        let place = match &self.dir {
            None => String::new(),
            Some(dir) => format!(" in `{}`", dir.display()),
        };
        format!("the worker `{program}` cannot be started{place}: {error}; see `handler.command`")
    }

    fn command(&self) -> Command {
        let program = self.command.first().map_or("", String::as_str);
        let mut command = Command::new(program);
        command
            .args(self.command.get(1..).unwrap_or_default())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let shared = self.shared.get().cloned();
        let parent = std::process::id();
        // SAFETY: between fork and exec this makes system calls and nothing else: it neither
        // allocates nor takes a lock, which another thread might have held at the fork.
        #[expect(
            unsafe_code,
            reason = "the standard library has no other hook in the child"
        )]
        unsafe {
            command.pre_exec(move || in_child(parent, shared.as_deref().unwrap_or_default()));
        }
        command
    }
}

/// In the child, before it becomes the worker.
fn in_child(parent: u32, shared: &[OwnedFd]) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before it was asked to be followed.
        let now = getppid().map(Pid::as_raw_nonzero);
        if now.is_none_or(|pid| pid.get().unsigned_abs() != parent) {
            return Err(rustix::io::Errno::SRCH.into());
        }
    }
    for fd in shared {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
    }
    Ok(())
}

/// A worker that read nothing of its call: another one takes it, unless this was its first.
fn unread(text: String, worked_before: bool) -> Option<Answer> {
    (!worked_before).then(|| {
        let text = format!("{text}, before it read its first call");
        Answer::failed(Failure::target(text))
    })
}

/// Nobody knows which record of a longer run it was.
fn failed(records: usize, error: String) -> Answer {
    Answer::failed(Failure {
        kind: if records > 1 {
            FailureKind::Unattributed
        } else {
            FailureKind::Retry
        },
        ..Failure::retry(error)
    })
}

/// `None` where there is no file.
fn is_program(path: &Path) -> Option<bool> {
    let metadata = path.metadata().ok()?;
    Some(metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

impl Target for Exec {
    fn try_run(self: Arc<Self>, run: Run) -> BoxFuture<'static, Answer> {
        Box::pin(async move { self.call(&run).await })
    }

    // A try is over when its process group is gone; where the future was dropped, the next call waits
    // for that.
    fn settle(&self, _timeout: Duration) -> Duration {
        Duration::ZERO
    }

    fn children(&self) -> Vec<u32> {
        self.pool.pids()
    }

    fn share(&self, descriptors: Vec<OwnedFd>) {
        // A worker that started before must not hold less than one that starts later.
        let first = self.shared.set(descriptors.into());
        debug_assert!(first.is_ok(), "shared once, before the first try");
    }
}

#[cfg(test)]
mod tests;
