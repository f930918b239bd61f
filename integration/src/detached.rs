//! What `cargo integration up` starts outlives that command, until `cargo integration down`.

use crate::cache;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    process::{Child, Command},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long a server that is told to end may take.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A kind of server that `up` starts one of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Detached {
    /// In file names.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) what: &'static str,
}

/// What `up` leaves for the tests and for `down`.
#[derive(Serialize, Deserialize, Debug)]
pub(crate) struct State {
    format: u32,
    /// Where it listens.
    pub(crate) endpoint: String,
    pub(crate) pid: i32,
    /// A process id is given anew; the moment at which its process began is not.
    began: String,
    /// Where it keeps its files.
    pub(crate) folder: PathBuf,
}

impl Detached {
    /// Held while one is started or ended.
    pub(crate) fn lock(self) -> io::Result<File> {
        cache::lock(self.name)
    }

    /// A folder for its files.
    pub(crate) fn folder(self) -> io::Result<PathBuf> {
        let folder = cache::folder()?.join(self.name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Remembers one that was started, or ends it: nobody would find it again.
    pub(crate) fn remember(self, child: &Child, endpoint: String) -> io::Result<State> {
        let pid = Pid::from_child(child);
        let state = State {
            format: 1,
            endpoint,
            pid: pid.as_raw_nonzero().get(),
            began: began(pid).unwrap_or_default(),
            folder: self.folder()?,
        };
        if let Err(error) = self.write(&state) {
            let _gone = kill_process_group(pid, Signal::KILL);
            return Err(error);
        }
        Ok(state)
    }

    /// The one that was started, if it is alive.
    ///
    /// # Errors
    /// When it is alive and does not answer, or what `up` left cannot be read.
    pub(crate) fn running(
        self,
        answers: impl FnOnce(&str) -> io::Result<()>,
    ) -> io::Result<Option<State>> {
        let Some(state) = self.read()?.filter(|state| state.process().is_some()) else {
            return Ok(None);
        };
        match answers(&state.endpoint) {
            Ok(()) => Ok(Some(state)),
            Err(error) => Err(io::Error::other(format!(
                "the {} that `cargo integration up` started runs (process {}) but does not answer at {} \
                 ({error}): `cargo integration down` ends it",
                self.what, state.pid, state.endpoint
            ))),
        }
    }

    /// Ends the one that was started, and no other; says what it did.
    ///
    /// # Errors
    /// When it does not end.
    pub(crate) fn down(self) -> io::Result<String> {
        let what = self.what;
        let _held_until_here_ends = self.lock()?;
        let Some(state) = self.read()? else {
            return Ok(format!(
                "nothing to end: `cargo integration up` has started no {what}"
            ));
        };
        let said = match state.process() {
            None => {
                format!("nothing to end: the {what} that `cargo integration up` started is gone")
            }
            Some(pid) => {
                kill_process_group(pid, Signal::TERM)?;
                let told = Instant::now();
                // Of a group, since the starter that would collect its status is gone.
                while test_kill_process_group(pid).is_ok() && state.process().is_some() {
                    if told.elapsed() > END_LIMIT {
                        kill_process_group(pid, Signal::KILL)?;
                        break;
                    }
                    sleep(Duration::from_millis(20));
                }
                format!(
                    "ended the {what} at {} (process {})",
                    state.endpoint, state.pid
                )
            }
        };
        fs::remove_file(self.path()?)?;
        Ok(said)
    }

    fn read(self) -> io::Result<Option<State>> {
        let path = self.path()?;
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| {
                io::Error::other(format!(
                    "{} is not what `cargo integration up` writes ({e}): remove it, and end what it \
                     names, if that still runs",
                    path.display()
                ))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// At once, since tests may be reading.
    fn write(self, state: &State) -> io::Result<()> {
        let path = self.path()?;
        let part = path.with_extension("part");
        fs::write(&part, serde_json::to_string(state)?)?;
        fs::rename(part, path)
    }

    fn path(self) -> io::Result<PathBuf> {
        Ok(cache::folder()?.join(format!("{}.json", self.name)))
    }
}

impl State {
    /// Its process, while it is the one that was started.
    fn process(&self) -> Option<Pid> {
        Pid::from_raw(self.pid).filter(|&pid| began(pid).is_some_and(|began| began == self.began))
    }
}

/// When a process began, in words that are compared and not read; `None`: there is no such process.
pub(crate) fn began(pid: Pid) -> Option<String> {
    let id = pid.as_raw_nonzero().to_string();
    if let Ok(stat) = fs::read_to_string(format!("/proc/{id}/stat")) {
        // The name before it may hold anything, brackets and spaces too. State is the first field after
        // it, the start the twentieth.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let is_dead = fields.next().is_none_or(|state| matches!(state, "Z" | "X"));
        return fields.nth(18).filter(|_| !is_dead).map(str::to_owned);
    }
    let ps = Command::new("ps")
        .args(["-o", "lstart=", "-p", &id])
        .output();
    let told = ps.ok()?;
    let began = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    (!began.is_empty()).then_some(began)
}
