//! Taking the lock from a process that is frozen: it cannot be asked, and it may wake at any time.
//!
//! Its children are ended, or they would go on with records that the new owner starts again. The
//! new lock is a new file in the old one's place, so what the old one's descriptor holds means
//! nothing any more; what its process writes when it wakes is refused by the store.

use super::{Child, Holder, Lock, LockError, io_error, open, process, process::Process, same_file};
use crate::sqlite::{self, Access};
use rusqlite::ErrorCode;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use uuid::Uuid;

/// How long killed children may take to be gone.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

impl Lock {
    /// As [`Lock::acquire`], also from a holder that is frozen (SIGSTOP, a debugger) or that left
    /// children behind: these are killed and seen gone. A frozen holder is left as it is, so
    /// [`Lock::holder_is_dead`] is false then.
    ///
    /// # Errors
    /// When the holder runs or cannot be told, when it was frozen in the middle of a write, when its
    /// children do not end within five seconds, when another take-over is under way, or the file
    /// system refuses.
    pub fn take_over(path: &Path, app: &str, worker: Uuid) -> Result<Self, LockError> {
        let found = match Self::acquire(path, app, worker) {
            Ok(lock) => return Ok(lock),
            Err(LockError::Held { path, .. }) => path,
            Err(other) => return Err(other),
        };
        let mut name = OsString::from(&found);
        name.push(".new");
        let new = PathBuf::from(name);
        // The new file is also the lock among take-overs: what is found out under it stays true.
        let file = open(&new)?;
        match file.try_lock() {
            Ok(()) if same_file(&file, &new) => {}
            Ok(()) | Err(TryLockError::WouldBlock) => return Err(super::held_by(found, file)),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &new)(error)),
        }
        let frozen = match clear(&found, path) {
            Ok(frozen) => frozen,
            Err(error) => {
                // A leftover does no harm: the next take-over uses it.
                let _ = fs::remove_file(&new);
                return Err(error);
            }
        };
        let mut lock = Self::keep(file, new, app, worker, frozen)?;
        fs::rename(&lock.path, &found).map_err(io_error("replace", &found))?;
        lock.path = found;
        Ok(lock)
    }
}

/// Ends the children of whoever holds the lock; it and former holders, where they may wake.
fn clear(path: &Path, database: &Path) -> Result<Vec<Child>, LockError> {
    let mut file = open(path)?;
    if file.try_lock().is_ok() {
        return Ok(super::read(&mut file).map_or_else(Vec::new, |h| h.may_wake()));
    }
    let Some(holder) = super::read(&mut file) else {
        return Err(super::held_by(path.to_owned(), file));
    };
    let process = holder.process();
    if let Some(process) = &process
        && !process.is_frozen()
    {
        return Err(LockError::NotFrozen {
            path: path.to_owned(),
            state: process.state,
            holder: Box::new(holder),
        });
    }
    if process.is_some() && is_locked(database) {
        return Err(LockError::MidWrite {
            database: database.to_owned(),
            holder: Box::new(holder),
        });
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (ours, others) = left(&holder, process.as_ref(), &file);
        if ours.is_empty() && others.is_empty() {
            break;
        }
        for child in &ours {
            kill(child, &holder, process.as_ref());
        }
        if Instant::now() > deadline {
            let alive = ours.into_iter().chain(others);
            return Err(LockError::ChildrenAlive {
                path: path.to_owned(),
                alive: alive.map(|p| (p.pid, p.command)).collect(),
            });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // Nobody whom we can see holds it: if it is locked still, then by somebody whom we cannot.
    if process.is_none() && file.try_lock().is_err() {
        return Err(super::held_by(path.to_owned(), file));
    }
    let mut frozen = holder.may_wake();
    frozen.extend(process.map(|p| Child {
        pid: p.pid,
        start: p.start,
    }));
    Ok(frozen)
}

/// Whether nobody can write into the file, for so long that no living writer is the reason. A file
/// that cannot be opened is for those to tell who need it.
fn is_locked(database: &Path) -> bool {
    let Ok(connection) = sqlite::connect(database, Access::Existing) else {
        return false;
    };
    let tried = connection
        .busy_timeout(PATIENCE)
        .and_then(|()| connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK"));
    tried.is_err_and(|e| e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
}

/// Living processes that keep the lock beside its holder: those that are known as its children, and
/// others.
fn left(holder: &Holder, process: Option<&Process>, file: &File) -> (Vec<Process>, Vec<Process>) {
    let groups: BTreeSet<u32> = holder.children.iter().map(|child| child.pid).collect();
    let (mut ours, others): (Vec<_>, Vec<_>) = process::holders(file)
        .into_iter()
        .filter(|p| !p.is_dead() && process.is_none_or(|holder| holder.pid != p.pid))
        .partition(|p| {
            groups.contains(&p.group) || process.is_some_and(|holder| holder.pid == p.parent)
        });
    for child in &holder.children {
        if let Some(seen) = child.process()
            && !ours.iter().any(|p| p.pid == seen.pid)
        {
            ours.push(seen);
        }
    }
    (ours, others)
}

/// A child's whole group where it has one of its own, never the holder's or ours.
fn kill(child: &Process, holder: &Holder, process: Option<&Process>) {
    let listed = holder.children.iter().any(|c| c.pid == child.group);
    let own = listed || child.group == child.pid;
    let shared = process.is_some_and(|holder| holder.group == child.group)
        || process::look(std::process::id()).is_some_and(|me| me.group == child.group);
    let pid = |n: u32| i32::try_from(n).ok().and_then(Pid::from_raw);
    // Whether it worked is seen by looking again.
    let _ = match (pid(child.group), pid(child.pid)) {
        (Some(group), _) if own && !shared => kill_process_group(group, Signal::KILL),
        (_, Some(pid)) => kill_process(pid, Signal::KILL),
        (_, None) => Ok(()),
    };
}
