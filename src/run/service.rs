//! A worker that runs as a service, with a Rust handler.

use crate::{
    config::{Config, ConfigErrors},
    handler::{Handler, Rust},
    processor::{Outcome, Report, Stop},
    source::{
        SourceError,
        local::{lock::LockError, log::LogError},
    },
    sqlite::DatabaseError,
    store::StoreError,
};
use std::{future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc};
use tokio::sync::mpsc;

use super::{Selection, Signals, TargetError, Worker, reach};

/// How a worker runs, beside its configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RunOptions {
    /// End when idle.
    pub until_idle: bool,
    /// Take an embedded log over from a holder that is frozen.
    pub take_over: bool,
    /// Append what happens to this file, as JSON lines.
    pub history: Option<PathBuf>,
    /// Work on these partitions only, each up to its log's end as it is at the start; end when idle.
    pub recover: Option<Selection>,
}

/// Runs a worker with a Rust handler until SIGINT or SIGTERM drains it; a second one quits at once.
///
/// # Errors
/// When it cannot start, when a source or the store ends it, or when it could not drain in time.
pub async fn run(config: &Config, handler: impl Handler) -> Result<Report, RunError> {
    let (stop, stops) = mpsc::unbounded_channel();
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    reach(config).await?;
    let worker = Worker::open(config, Arc::new(Rust(handler)), &RunOptions::default())?;
    let pass_on = async {
        for next in [Stop::Drain, Stop::Quit] {
            signals.next().await;
            // The loop that has ended needs no word any more.
            let _ = stop.send(next);
        }
        std::future::pending().await
    };
    tokio::select! { biased;
        (report, outcome) = worker.drive(stops) => ended(report, outcome),
        never = pass_on => never,
    }
}

/// Runs a worker with a Rust handler until it is idle (where `options` say so) or `stop` ends, which
/// drains it. No signal is handled.
///
/// # Errors
/// When it cannot start, when a source or the store ends it, or when it could not drain in time.
pub async fn run_until(
    config: &Config,
    handler: impl Handler,
    options: RunOptions,
    stop: impl Future<Output = ()>,
) -> Result<Report, RunError> {
    let (sender, stops) = mpsc::unbounded_channel();
    reach(config).await?;
    let worker = Worker::open(config, Arc::new(Rust(handler)), &options)?;
    let pass_on = async {
        stop.await;
        let _ = sender.send(Stop::Drain);
        std::future::pending().await
    };
    tokio::select! { biased;
        (report, outcome) = worker.drive(stops) => ended(report, outcome),
        never = pass_on => never,
    }
}

fn ended(report: Report, outcome: Outcome) -> Result<Report, RunError> {
    let report = Box::new(report);
    match outcome {
        Outcome::Idle | Outcome::Drained => Ok(*report),
        Outcome::Abandoned(records) => Err(RunError::Abandoned { records, report }),
        Outcome::Source(error) => Err(RunError::Source { error, report }),
        Outcome::Store(what) => Err(RunError::StoreFailed { what, report }),
    }
}

/// Why a worker did not start, or ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration, all that is wrong with it.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The store's file.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] DatabaseError),
    /// There is no such file, and it was not to be created.
    #[error(
        "there is no store `{}` yet: `run`, `put` or `store init` creates it; or is `store.path` another one?",
        .0.display()
    )]
    NoStore(PathBuf),
    /// The store's table.
    #[error("the store cannot be used: {0}")]
    Table(StoreError),
    /// This build has no such part; a checked configuration does not ask for it.
    #[error("`{what}`: this build has no `{feature}`")]
    NotBuilt {
        /// The key.
        what: &'static str,
        /// What it names.
        feature: &'static str,
    },
    /// Somebody else runs the app on this log, or its lock cannot be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A Kafka cluster does not answer, or its settings are wrong.
    #[cfg(feature = "kafka")]
    #[error("{of}: {error}")]
    Kafka {
        /// What needs it: a source, or the dead-letter target.
        of: String,
        /// Why.
        error: crate::source::kafka::cluster::ClusterError,
    },
    /// A secret among Kafka properties is not where the configuration says.
    #[cfg(feature = "kafka")]
    #[error("{of}, property `{key}`: {error}")]
    Secret {
        /// What needs it: a source, or the dead-letter target.
        of: String,
        /// The property.
        key: String,
        /// Why.
        error: crate::config::SecretError,
    },
    /// What is to be worked on is not there.
    #[error("{0}")]
    Selection(String),
    /// An embedded log cannot be read.
    #[error("the log cannot be opened: {0}")]
    Log(#[from] LogError),
    /// The handler cannot be used.
    #[error(transparent)]
    Handler(#[from] TargetError),
    /// The history file cannot be opened.
    #[error("the history file `{}` cannot be opened: {error}", .path.display())]
    History {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The dead-letter target cannot be used.
    #[error("the dead-letter target cannot be used: {0}")]
    DeadLetter(io::Error),
    /// `metrics.listen` cannot be had.
    #[error(
        "`metrics.listen`: nothing can listen at `{listen}`: {error}; is it another process's? give this worker an address of its own, or leave the key out"
    )]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// Signals cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
    /// The drain's deadline passed or it was told to quit: these records were out, or their remote may
    /// still run them. What is durable stands, and they run again at the next start.
    #[error("{}", abandoned(records))]
    Abandoned {
        /// Their ids.
        records: Vec<String>,
        /// What was done.
        report: Box<Report>,
    },
    /// A source ended with an error.
    #[error("{error}")]
    Source {
        /// Which one.
        error: SourceError,
        /// What was done.
        report: Box<Report>,
    },
    /// A claim or the store failed for good.
    #[error("the store failed: {what}")]
    StoreFailed {
        /// What it said.
        what: String,
        /// What was done.
        report: Box<Report>,
    },
}

/// What a drain that ended too early leaves, which may be no more than a commit.
pub(crate) fn abandoned(records: &[String]) -> String {
    let out = match records {
        [] => return "the drain ended before the last commit was durable: what it did not write runs again at the next start".to_owned(),
        [_] => "1 record was".to_owned(),
        more => format!("{} records were", more.len()),
    };
    format!(
        "{out} in flight when the drain ended, to run again at the next start: {}",
        records.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::abandoned;

    #[test]
    fn a_drain_that_ended_early_says_what_it_left() {
        let left =
            |ids: &[&str]| abandoned(&ids.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(left(&[]).contains("before the last commit was durable"));
        assert!(left(&["s/t/0/1/0"]).starts_with("1 record was in flight"));
        assert!(left(&["s/t/0/1/0", "s/t/0/2/0"]).ends_with(": s/t/0/1/0, s/t/0/2/0"));
    }
}
