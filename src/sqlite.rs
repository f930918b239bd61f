//! The SQLite file that the store and the embedded log share: how it is opened, told from other
//! programs' files and worked on.
//!
//! Each [`Database`] has one connection on a thread of its own, since SQLite blocks; several of them,
//! also of several processes, may work on one file at once. The file is never opened by other means
//! than SQLite within this process: closing such a handle would drop SQLite's POSIX locks.

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

mod fault;
mod row;

pub use fault::{DatabaseError, Fault};
pub use row::{RowChecksum, check_row};

/// Marks our files (`PRAGMA application_id`): "LnKp".
pub const APPLICATION_ID: i32 = 0x4c6e_4b70;

/// The layout of all tables (`PRAGMA user_version`). A file of a newer one is refused.
pub const SCHEMA_VERSION: i32 = 1;

/// How long a statement waits for another process's write.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Statements kept prepared per connection.
const STATEMENTS_MAX: usize = 128;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// To work on; created when it does not exist.
    Create,
    /// To work on; it is an error when it does not exist.
    Existing,
    /// To look only (status); it is an error when it does not exist.
    Read,
}

/// An open file. A clone is the same connection; the last one closes it.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    path: Arc<Path>,
    access: Access,
    /// `None` only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

impl Database {
    /// Opens a file; blocks for as long as that takes.
    ///
    /// A new file is made ours: WAL, its application id and version. Any other one is only looked at
    /// before it is known to be ours.
    ///
    /// # Errors
    /// The file is another program's, of a newer version, no database, or cannot be opened (missing,
    /// its directory missing or not writable).
    pub fn open(path: impl AsRef<Path>, access: Access) -> Result<Self, DatabaseError> {
        let path: Arc<Path> = path.as_ref().into();
        let error = |fault| DatabaseError {
            path: Arc::clone(&path),
            fault,
        };
        let connection = connect(&path, access).map_err(error)?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = thread::Builder::new()
            .name("lanekeeper-sqlite".to_owned())
            .spawn(move || work(connection, &queue))
            .map_err(|e| error(Fault::Io(format!("cannot start its thread: {e}"))))?;
        Ok(Self {
            shared: Arc::new(Shared {
                path,
                access,
                jobs: Some(jobs),
                thread: Some(thread),
            }),
        })
    }

    /// Another connection to the same file, on a thread of its own.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn another(&self, access: Access) -> Result<Self, DatabaseError> {
        Self::open(&self.shared.path, access)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// How it was opened.
    pub fn access(&self) -> Access {
        self.shared.access
    }

    /// Creates the tables of `schema` that are missing (`CREATE … IF NOT EXISTS`), in one
    /// transaction; blocks. Does nothing on a connection that only reads.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn install(&self, schema: &'static str) -> Result<(), DatabaseError> {
        if self.shared.access == Access::Read {
            return Ok(());
        }
        self.call_blocking(move |connection| {
            let install = |connection: &mut Connection, behavior| -> Result<(), Fault> {
                let transaction = connection.transaction_with_behavior(behavior)?;
                transaction.execute_batch(schema)?;
                Ok(transaction.commit()?)
            };
            // Deferred first: when all tables exist, no write lock is taken, so that an operator's
            // command does not wait for a busy worker. Where one is missing, another process may
            // have written since this one looked, and only an immediate transaction waits for it.
            match install(connection, TransactionBehavior::Deferred) {
                Err(Fault::Busy(_)) => install(connection, TransactionBehavior::Immediate),
                other => other,
            }
        })
    }

    /// Runs `work` on the connection's thread, after all that was called before. Its transactions
    /// are `IMMEDIATE` unless they say otherwise. When the returned future is dropped, the work goes
    /// on. What fails for reasons that are not the file's belongs into `T`.
    ///
    /// # Errors
    /// What `work` says, with the file's name; [`Fault::Stopped`] when it panicked.
    pub async fn call<T, F>(&self, work: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.send(Box::new(move |connection| {
            // Nobody waits any more when the caller's future was dropped.
            let _ = answer.send(work(connection));
        }));
        answered
            .await
            .unwrap_or(Err(Fault::Stopped))
            .map_err(|fault| self.error(fault))
    }

    /// As [`Database::call`], for threads that may block.
    ///
    /// # Errors
    /// As [`Database::call`].
    pub fn call_blocking<T, F>(&self, work: F) -> Result<T, DatabaseError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (answer, answered) = mpsc::sync_channel(1);
        self.send(Box::new(move |connection| {
            let _ = answer.send(work(connection));
        }));
        answered
            .recv()
            .unwrap_or(Err(Fault::Stopped))
            .map_err(|fault| self.error(fault))
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.shared.jobs {
            // A thread that has gone drops the job and with it the answer's sender: `Stopped`.
            let _ = jobs.send(job);
        }
    }

    /// An error about this file.
    pub fn error(&self, fault: Fault) -> DatabaseError {
        DatabaseError {
            path: Arc::clone(&self.shared.path),
            fault,
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.shared.path).finish()
    }
}

impl Drop for Shared {
    // Waits for what was called, so that the file is closed once the last handle is gone.
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

fn work(mut connection: Connection, queue: &mpsc::Receiver<Job>) {
    while let Ok(job) = queue.recv() {
        // A job that panics rolls back as it unwinds and drops its answer; the next ones go on.
        let _ = catch_unwind(AssertUnwindSafe(|| job(&mut connection)));
    }
}

/// Whether a file may become or be ours: there is none, or it is empty, or it is ours. Nothing is
/// created and nothing changed.
///
/// # Errors
/// It is another program's, of a newer version, or no database. What cannot be told now is no error.
pub fn recognised(path: &Path) -> Result<(), DatabaseError> {
    if !path.exists() {
        return Ok(());
    }
    match connect(path, Access::Read) {
        Err(fault @ (Fault::Foreign { .. } | Fault::Version { .. } | Fault::NotADatabase)) => {
            let path = path.into();
            Err(DatabaseError { path, fault })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Moves what stands in the write-ahead log into the file itself, so that a copy of the file alone is
/// whole. Does what it can: where somebody else works on the file, the rest stays where it is.
pub(crate) fn tidy_up(path: &Path) {
    /// Nobody waits for others at the end.
    const PATIENCE: Duration = Duration::from_millis(200);
    let tidied = connect(path, Access::Existing).and_then(|connection| {
        connection.busy_timeout(PATIENCE)?;
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        Ok(connection.query_row(sql, [], |_| Ok(()))?)
    });
    if let Err(fault) = tidied {
        tracing::debug!("`{}`: {fault}", path.display());
    }
}

pub(crate) fn connect(path: &Path, access: Access) -> Result<Connection, Fault> {
    if path.as_os_str().is_empty() {
        return Err(Fault::CannotOpen(
            "the path is empty: name a file".to_owned(),
        ));
    }
    if path.is_dir() {
        // SQLite may open one, and fail at the first read.
        return Err(Fault::CannotOpen(
            "it is a directory: name a file in it".to_owned(),
        ));
    }
    let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags |= match access {
        Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Access::Existing => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Access::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    // A plain path, so that neither `:memory:` nor `file:` has a meaning of its own.
    let plain = if path.is_absolute() {
        path.to_owned()
    } else {
        Path::new(".").join(path)
    };
    let mut connection = Connection::open_with_flags(&plain, flags)
        .map_err(|error| cannot_open(&plain, access, error))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    let kind = {
        // One transaction, so that what another process is about to create is seen whole.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        recognise(&transaction)?
    };
    if kind == Kind::Empty {
        if access == Access::Read {
            return Err(Fault::CannotOpen(
                "it is empty: nothing was ever stored in it".to_owned(),
            ));
        }
        found(&mut connection)?;
    }
    if access != Access::Read {
        if connection.is_readonly("main")? {
            return Err(Fault::ReadOnly("the file is not writable".to_owned()));
        }
        write_ahead(&connection)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
    }
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

#[derive(PartialEq, Eq)]
enum Kind {
    Ours,
    /// Without any content, so it can be made ours.
    Empty,
}

/// Whose file it is, without changing it.
fn recognise(connection: &Connection) -> Result<Kind, Fault> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i32>(0));
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    let objects = number("SELECT count(*) FROM sqlite_schema")?;
    match (application, version) {
        (APPLICATION_ID, SCHEMA_VERSION) => Ok(Kind::Ours),
        (APPLICATION_ID, found) => Err(Fault::Version {
            found,
            known: SCHEMA_VERSION,
        }),
        (0, 0) if objects == 0 => Ok(Kind::Empty),
        (application, _) => Err(Fault::Foreign { application }),
    }
}

/// Makes an empty file ours. Another process may be doing the same.
fn found(connection: &mut Connection) -> Result<(), Fault> {
    let transaction = connection.transaction()?;
    if recognise(&transaction)? == Kind::Empty {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    Ok(transaction.commit()?)
}

/// Switches to WAL, which lasts in the file. SQLite does not wait for others while it switches.
fn write_ahead(connection: &Connection) -> Result<(), Fault> {
    let until = Instant::now() + BUSY_TIMEOUT;
    loop {
        let switched = connection.pragma_update(None, "journal_mode", "WAL");
        match switched.map_err(Fault::from) {
            Err(Fault::Busy(_)) if Instant::now() < until => {
                thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// SQLite says no more than "unable to open": look for the reason.
fn cannot_open(path: &Path, access: Access, error: rusqlite::Error) -> Fault {
    let fault = Fault::from(error);
    if !matches!(fault, Fault::CannotOpen(_)) {
        return fault;
    }
    let directory = path
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_owned);
    let why = if !directory.is_dir() {
        format!(
            "there is no directory `{}`: create it, or name another file",
            directory.display()
        )
    } else if access != Access::Create && !path.exists() {
        "there is no such file".to_owned()
    } else {
        format!(
            "is it, and its directory `{}`, readable and writable for this user?",
            directory.display()
        )
    };
    Fault::CannotOpen(why)
}

#[cfg(test)]
mod tests;
