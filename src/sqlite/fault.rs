//! What can go wrong with the file.

use rusqlite::ErrorCode;
use std::{path::Path, sync::Arc};

/// What went wrong with which file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{}`: {fault}", .path.display())]
pub struct DatabaseError {
    /// The file.
    pub path: Arc<Path>,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What went wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// Missing, a directory, not permitted.
    #[error("cannot be opened: {0}")]
    CannotOpen(String),
    /// Another program's database. It was not touched.
    #[error(
        "is another program's database (its application id is {application}, lanekeeper's is {}): name another file",
        super::APPLICATION_ID
    )]
    Foreign {
        /// Its application id.
        application: i32,
    },
    /// Ours, of another version. It was not touched.
    #[error(
        "has layout version {found}, this lanekeeper knows version {known}: use the lanekeeper that wrote it, or a newer one"
    )]
    Version {
        /// The file's.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// No SQLite database. It was not touched.
    #[error("is not a SQLite database: name another file")]
    NotADatabase,
    /// No room on its disk, or in its quota. Nothing was written.
    #[error("no room to write ({0}): free disk space")]
    Full(String),
    /// The operating system failed to read or write.
    #[error("input/output failed: {0}")]
    Io(String),
    /// Another connection, of this process or of another, holds the write lock for too long. Nothing
    /// was written.
    #[error("is locked by another connection, of this process or another one ({0})")]
    Busy(String),
    /// The file, or its directory, is not writable. Nothing was written.
    #[error("is read-only: {0}")]
    ReadOnly(String),
    /// What is in it is not what was written.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// A statement failed for any other reason.
    #[error("a statement failed: {0}")]
    Sql(String),
    /// The work panicked, or its thread has gone: whether it wrote is not known.
    #[error("the work on it ended early")]
    Stopped,
}

impl Fault {
    /// Whether it stays until somebody mends the file, so that repeating is of no use.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Foreign { .. }
            | Self::Version { .. }
            | Self::NotADatabase
            | Self::Damaged(_)
            | Self::Sql(_) => true,
            Self::CannotOpen(_)
            | Self::Full(_)
            | Self::Io(_)
            | Self::Busy(_)
            | Self::ReadOnly(_)
            | Self::Stopped => false,
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        if let rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) = error
        {
            // Our columns have one type each: something else wrote there.
            return Self::Damaged(text);
        }
        let Some(failure) = error.sqlite_error() else {
            return Self::Sql(text);
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the list of SQLite's codes is open, and all others are one case"
        )]
        match failure.code {
            ErrorCode::DiskFull => Self::Full(text),
            ErrorCode::SystemIoFailure => {
                Self::Io(format!("{text} (code {})", failure.extended_code))
            }
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy(text),
            ErrorCode::FileLockingProtocolFailed => Self::Busy(text),
            ErrorCode::ReadOnly => Self::ReadOnly(text),
            ErrorCode::CannotOpen | ErrorCode::PermissionDenied => Self::CannotOpen(text),
            ErrorCode::NotADatabase => Self::NotADatabase,
            ErrorCode::DatabaseCorrupt => Self::Damaged(text),
            _ => Self::Sql(text),
        }
    }
}
