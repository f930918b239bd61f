//! Who may claim: one `run` per file and app, by a lock of the operating system.
//!
//! The lock is an exclusive `flock` on `{path}.{app}.lock`. Its descriptor is handed to the
//! handler's child processes ([`Lock::share`]) and to no other process, so a free lock proves that
//! the last worker *and* its children are dead: what they had out is over, and nobody needs to wait
//! for it. The file names its holder, for messages and for [`Lock::take_over`]; it stays behind when
//! the lock is given up.

use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom},
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use uuid::Uuid;

mod process;
mod take_over;

const FORMAT: u32 = 1;

/// How long what a worker that is gone left behind may take to end. Its children get their signal
/// when it dies, and hold the lock until they have acted on it: a supervisor may start the next
/// worker before. So does, for a moment, every process that it was just starting.
const LEFTOVERS: Duration = Duration::from_secs(3);

/// A held lock; given up when it is dropped and no child process is left.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    holder: Mutex<Holder>,
}

/// Who holds a lock: the file's one line of JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Holder {
    /// Of the file.
    pub format: u32,
    /// Whose checkpoints it works on.
    pub app: String,
    /// Its incarnation.
    pub worker: Uuid,
    /// Process id.
    pub pid: u32,
    /// When that process began, in clock ticks since boot: a reused id has another.
    pub start: u64,
    /// Milliseconds since 1970 at which it took the lock.
    pub since: i64,
    /// Leaders of the process groups of its handler.
    pub children: Vec<Child>,
    /// It gave the lock up; what is locked still is held by its children.
    #[serde(default)]
    pub given_up: bool,
    /// Former holders from whom it was taken while they were frozen: they may wake.
    #[serde(default)]
    pub frozen: Vec<Child>,
}

/// A process, as a lock file names one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Child {
    /// Its id; of a process group its leader's, which is the group's.
    pub pid: u32,
    /// When it began, in clock ticks since boot.
    pub start: u64,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("{}", held(path, holder.as_deref(), others))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Whom the file names; `None` when it names nobody that can be read.
        holder: Option<Box<Holder>>,
        /// Other processes that hold it, as far as they can be seen: process id and command.
        others: Vec<(u32, String)>,
    },
    /// A take-over from a process that runs: it would go on starting children.
    #[error(
        "`{}` is held by process {}, which runs (state `{state}`) and is not frozen: end it with `kill {}`, or freeze it with `kill -STOP {}`, and take over then",
        .path.display(), .holder.pid, .holder.pid, .holder.pid
    )]
    NotFrozen {
        /// The lock file.
        path: PathBuf,
        /// Who has it.
        holder: Box<Holder>,
        /// Its state as `ps` shows it.
        state: char,
    },
    /// A take-over from a process that keeps the file locked, which nothing but its waking or its end
    /// undoes.
    #[error(
        "`{}` cannot be taken over: process {} was frozen in the middle of a write and keeps the file locked; end it with `kill -KILL {}` (what it had half written is undone), or wake it with `kill -CONT {}`, and try again",
        .database.display(), .holder.pid, .holder.pid, .holder.pid
    )]
    MidWrite {
        /// The file that is locked.
        database: PathBuf,
        /// By whom.
        holder: Box<Holder>,
    },
    /// A take-over whose children did not end.
    #[error(
        "`{}` cannot be taken over: {} still alive {} s after SIGKILL ({}): end them and try again",
        .path.display(), if .alive.len() == 1 { "a process of its holder is" } else { "processes of its holder are" },
        take_over::PATIENCE.as_secs(), named(.alive)
    )]
    ChildrenAlive {
        /// The lock file.
        path: PathBuf,
        /// Who still holds it: process id and command.
        alive: Vec<(u32, String)>,
    },
    /// The app's name cannot be part of a file's name.
    #[error("`app` is `{app}`: a name with `/` or a zero byte cannot name a lock file")]
    App {
        /// As configured.
        app: String,
    },
    /// The file system.
    #[error("cannot {what} the lock file `{}`: {error}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The lock file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl Lock {
    /// Takes the lock of an app's work on the file at `path`, which need not exist yet; its folder
    /// must. Waits some seconds for the children of a dead holder to end.
    ///
    /// # Errors
    /// When another process has it ([`LockError::Held`]), or the file system refuses.
    pub fn acquire(path: &Path, app: &str, worker: Uuid) -> Result<Self, LockError> {
        let path = lock_path(path, app)?;
        let deadline = Instant::now() + LEFTOVERS;
        loop {
            let mut file = open(&path)?;
            match file.try_lock() {
                // A take-over may have put another file in its place meanwhile.
                Ok(()) if same_file(&file, &path) => {
                    let frozen = read(&mut file).map_or_else(Vec::new, |h| h.may_wake());
                    return Self::keep(file, path, app, worker, frozen);
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    // One that has just locked the file has not yet named itself in it: the name of
                    // a dead one is read again.
                    let holder = read(&mut file);
                    if holder.is_some_and(|h| h.works()) || Instant::now() > deadline {
                        return Err(held_by(path, file));
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::Error(error)) => return Err(io_error("lock", &path)(error)),
            }
        }
    }

    /// Writes into a locked file who has it.
    fn keep(
        file: File,
        path: PathBuf,
        app: &str,
        worker: Uuid,
        frozen: Vec<Child>,
    ) -> Result<Self, LockError> {
        let pid = std::process::id();
        let holder = Holder {
            format: FORMAT,
            app: app.to_owned(),
            worker,
            pid,
            start: process::look(pid).map_or(0, |p| p.start),
            since: now_millis(),
            children: Vec::new(),
            given_up: false,
            frozen,
        };
        write(&file, &holder).map_err(io_error("write", &path))?;
        Ok(Self {
            file,
            path,
            holder: Mutex::new(holder),
        })
    }

    /// Whether the death of all former holders, and of their children, is proven.
    pub fn holder_is_dead(&self) -> bool {
        let holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        holder.frozen.is_empty()
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A descriptor for the handler's processes: where one of them has it open, the lock is held.
    ///
    /// # Errors
    /// When this process may open no more files.
    pub fn share(&self) -> Result<OwnedFd, LockError> {
        let file = self.file.try_clone();
        file.map(OwnedFd::from)
            .map_err(io_error("share", &self.path))
    }

    /// Names the handler's process groups, so that a take-over can end them; call it whenever they
    /// change. Writes only what is new.
    ///
    /// # Errors
    /// When the file cannot be written; the lock is held nevertheless.
    pub fn set_children(&self, groups: &[u32]) -> Result<(), LockError> {
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut children: Vec<Child> = groups
            .iter()
            .filter_map(|&pid| {
                process::look(pid).map(|p| Child {
                    pid,
                    start: p.start,
                })
            })
            .collect();
        children.sort_unstable_by_key(|child| child.pid);
        if holder.children != children {
            holder.children = children;
            write(&self.file, &holder).map_err(io_error("write", &self.path))?;
        }
        Ok(())
    }

    /// Whether nobody has taken it over.
    pub fn is_ours(&self) -> bool {
        same_file(&self.file, &self.path)
    }

    /// Whether the lock file could be written, without creating it.
    ///
    /// # Errors
    /// Why not.
    pub fn is_writable(path: &Path, app: &str) -> Result<(), LockError> {
        let path = lock_path(path, app)?;
        if path.exists() {
            let opened = OpenOptions::new().read(true).write(true).open(&path);
            return opened.map(drop).map_err(io_error("open", &path));
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)
            .map_err(|error| io_error("create", &path)(error.into()))
    }

    /// Who holds the lock now, as the file says; `None` where it says nothing that can be read.
    pub fn named_holder(path: &Path, app: &str) -> Option<Holder> {
        read(&mut File::open(lock_path(path, app).ok()?).ok()?)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let holder = self
            .holder
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        holder.given_up = true;
        // Who finds it unsaid waits for this process, or is told to end it.
        let _ = write(&self.file, holder);
    }
}

impl Holder {
    /// Whether it is still there and did not give the lock up.
    pub fn works(&self) -> bool {
        self.process().is_some()
    }

    /// Its process, while that is there and did not give the lock up.
    fn process(&self) -> Option<process::Process> {
        let own = Child {
            pid: self.pid,
            start: self.start,
        };
        own.process().filter(|_| !self.given_up)
    }

    /// The frozen ones that are still there.
    fn may_wake(&self) -> Vec<Child> {
        let there = self.frozen.iter().filter(|own| own.process().is_some());
        there.copied().collect()
    }
}

impl Child {
    /// Its process, while that is there: a reused id has another start.
    fn process(&self) -> Option<process::Process> {
        process::look(self.pid).filter(|p| p.start == self.start && !p.is_dead())
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} (worker {}", self.pid, self.worker)?;
        if let Ok(since) = jiff::Timestamp::from_millisecond(self.since) {
            write!(f, ", since {since:.0}")?;
        }
        f.write_str(")")
    }
}

/// Two names of one file must give one lock, so links are followed.
fn lock_path(path: &Path, app: &str) -> Result<PathBuf, LockError> {
    if app.contains(['/', '\0']) {
        return Err(LockError::App {
            app: app.to_owned(),
        });
    }
    let whole = path.canonicalize().or_else(|error| {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = path.file_name().ok_or(error)?;
        folder.canonicalize().map(|folder| folder.join(name))
    });
    let mut name: OsString = whole.map_err(io_error("find the folder of", path))?.into();
    name.push(format!(".{app}.lock"));
    Ok(name.into())
}

fn open(path: &Path) -> Result<File, LockError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(io_error("open", path))
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LockError {
    let path = path.to_owned();
    move |error| LockError::Io { what, path, error }
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// One write, then the cut: a reader in between finds the new line and leftovers behind it.
fn write(file: &File, holder: &Holder) -> io::Result<()> {
    let mut line = serde_json::to_vec(holder)?;
    line.push(b'\n');
    file.write_all_at(&line, 0)?;
    file.set_len(line.len() as u64)
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(1 << 20).read_to_string(&mut text).ok()?;
    serde_json::from_str(text.lines().next()?).ok()
}

fn held_by(path: PathBuf, mut file: File) -> LockError {
    let holder = read(&mut file);
    let named = holder.as_ref().map_or(0, |h| h.pid);
    let others = process::holders(&file)
        .into_iter()
        .filter(|p| p.pid != named)
        .map(|p| (p.pid, p.command))
        .collect();
    LockError::Held {
        path,
        holder: holder.map(Box::new),
        others,
    }
}

fn held(path: &Path, holder: Option<&Holder>, others: &[(u32, String)]) -> String {
    let path = path.display();
    match holder {
        Some(holder) if holder.works() => {
            let frozen = process::look(holder.pid).is_some_and(|p| p.is_frozen());
            let advice = if frozen {
                format!(
                    "it is frozen: wake it with `kill -CONT {}`, or use `--take-over`",
                    holder.pid
                )
            } else {
                format!(
                    "end it with `kill {}`, or give this one another `app`",
                    holder.pid
                )
            };
            format!(
                "app `{}` is already run by {holder}, which holds `{path}`: {advice}",
                holder.app
            )
        }
        Some(holder) => format!(
            "`{path}` was locked by {holder}, which is {}, and is still held by {}: end what it left behind, or use `--take-over`",
            if holder.given_up {
                "done with it"
            } else {
                "dead"
            },
            named(others)
        ),
        None => format!(
            "`{path}` is locked, and names no holder that can be read; it is held by {}: end it first",
            named(others)
        ),
    }
}

fn named(processes: &[(u32, String)]) -> String {
    if processes.is_empty() {
        return "a process that cannot be seen from here".to_owned();
    }
    let each = processes
        .iter()
        .map(|(pid, command)| format!("{pid} `{command}`"));
    each.collect::<Vec<_>>().join(", ")
}

fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
