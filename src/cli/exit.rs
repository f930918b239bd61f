//! Exit codes, and the one total match from errors to them.

#[cfg(feature = "exec")]
use crate::handler::exec::ProbeError;
#[cfg(feature = "http")]
use crate::handler::http::HttpError;
#[cfg(feature = "kafka")]
use crate::source::kafka::cluster::ClusterError;
use crate::{
    config::ConfigErrors,
    processor::{Outcome, Report},
    run::{RunError, TargetError},
    source::local::{lock::LockError, log::LogError},
    sqlite::Fault,
    store::{DecideError, StoreError},
};
use std::{io, process::ExitCode};

/// How the process ends. The numbers are a promise to scripts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// All is well; also: drained after a signal.
    Fine = 0,
    /// A defect of lanekeeper.
    Internal = 1,
    /// Usage or configuration.
    Usage = 2,
    /// Idle, but lanes are stopped or parked.
    Held = 3,
    /// Source, store or handler out of reach at the start, or a source ended with an error.
    OutOfReach = 4,
    /// `lint` has found something in a template.
    Found = 5,
    /// The drain's deadline passed, a second signal came, or one came before the run was idle.
    Interrupted = 130,
}

impl Exit {
    /// Of two ways to end the one that is reported: 1, 2, 4, 130, 3, 5, 0.
    pub(crate) fn worse(self, other: Self) -> Self {
        let rank = |exit| match exit {
            Self::Internal => 0,
            Self::Usage => 1,
            Self::OutOfReach => 2,
            Self::Interrupted => 3,
            Self::Held => 4,
            Self::Found => 5,
            Self::Fine => 6,
        };
        if rank(other) < rank(self) {
            other
        } else {
            self
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The configuration, all that is wrong with it.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// Something that was asked for is not there or not possible.
    #[error("{0}")]
    Usage(String),
    /// A decision was not written.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A worker did not start.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Something that is needed cannot be reached.
    #[error("{0}")]
    OutOfReach(String),
    /// A signal ended it.
    #[error("{0}")]
    Interrupted(String),
    /// The output cannot be written.
    #[error("cannot write to stdout: {0}")]
    Output(io::Error),
    /// A defect.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

#[cfg(feature = "lambda")]
impl From<crate::lambda::BootstrapError> for CommandError {
    fn from(error: crate::lambda::BootstrapError) -> Self {
        use crate::lambda::{BootstrapError, ServeError};
        match error {
            BootstrapError::Serve(ServeError::Config(errors)) => Self::Config(errors),
            BootstrapError::Serve(ServeError::Unfit(what)) => Self::Usage(what),
            BootstrapError::Serve(error @ ServeError::Elsewhere(_)) => {
                Self::Usage(error.to_string())
            }
            BootstrapError::Serve(error @ ServeError::Runtime(_)) => {
                Self::OutOfReach(error.to_string())
            }
            BootstrapError::Target(error) => Self::Run(RunError::Handler(error)),
            BootstrapError::Runtime(error) => Self::Internal(error.to_string()),
        }
    }
}

impl CommandError {
    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Usage(_) => Exit::Usage,
            Self::Decide(error) => match error {
                DecideError::NoSuchLane { .. } | DecideError::State { .. } => Exit::Usage,
                DecideError::Store(error) => of_store(error),
            },
            Self::Store(error) => of_store(error),
            Self::Run(error) => of_run(error),
            Self::OutOfReach(_) => Exit::OutOfReach,
            Self::Interrupted(_) => Exit::Interrupted,
            // The reader has seen enough (`| head`).
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Fine,
            Self::Output(_) | Self::Internal(_) => Exit::Internal,
        }
    }

    /// Whether there is anything to say about it.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

fn of_run(error: &RunError) -> Exit {
    match error {
        RunError::Config(_)
        | RunError::NotBuilt { .. }
        | RunError::History { .. }
        | RunError::Listen { .. }
        | RunError::Selection(_) => Exit::Usage,
        RunError::Log(error) => of_log(error),
        RunError::Store(error) => of_fault(&error.fault),
        RunError::Lock(error) => match error {
            LockError::Held { .. }
            | LockError::NotFrozen { .. }
            | LockError::MidWrite { .. }
            | LockError::ChildrenAlive { .. }
            | LockError::App { .. } => Exit::Usage,
            LockError::Io { .. } => Exit::OutOfReach,
        },
        RunError::Handler(error) => of_target(error),
        RunError::Table(error) => of_store(error),
        #[cfg(feature = "kafka")]
        RunError::Kafka { error, .. } => match error {
            ClusterError::Settings(_) => Exit::Usage,
            ClusterError::OutOfReach { .. } => Exit::OutOfReach,
        },
        #[cfg(feature = "kafka")]
        RunError::Secret { .. } => Exit::Usage,
        RunError::NoStore(_)
        | RunError::DeadLetter(_)
        | RunError::Source { .. }
        | RunError::StoreFailed { .. } => Exit::OutOfReach,
        RunError::Signals(_) => Exit::Internal,
        RunError::Abandoned { .. } => Exit::Interrupted,
    }
}

/// What the configuration says wrongly about a handler; else it is not where it says.
pub(crate) fn of_target(error: &TargetError) -> Exit {
    match error {
        TargetError::Missing | TargetError::Two | TargetError::NotBuilt(_) => Exit::Usage,
        TargetError::Start(_) => Exit::OutOfReach,
        #[cfg(feature = "exec")]
        TargetError::Exec(error) => match error {
            ProbeError::Empty => Exit::Usage,
            ProbeError::Dir { .. }
            | ProbeError::NotFound { .. }
            | ProbeError::NotExecutable { .. } => Exit::OutOfReach,
        },
        #[cfg(feature = "http")]
        TargetError::Http(error) => match error {
            HttpError::Url { .. } => Exit::Usage,
            HttpError::NoRoots { .. } | HttpError::Tls { .. } | HttpError::Unreachable { .. } => {
                Exit::OutOfReach
            }
        },
        TargetError::Silent(_) => Exit::OutOfReach,
        TargetError::SecretMissing(_) => Exit::Usage,
        #[cfg(feature = "http")]
        TargetError::Secret(_) => Exit::Usage,
    }
}

/// How a run ended.
pub(crate) fn of_outcome(outcome: &Outcome, until_idle: bool, report: &Report) -> Exit {
    match outcome {
        Outcome::Idle if report.stopped_lanes.is_empty() && report.parked_lanes.is_empty() => {
            Exit::Fine
        }
        Outcome::Idle => Exit::Held,
        // It was told to go on until it is idle, and a signal came first.
        Outcome::Drained if until_idle => Exit::Interrupted,
        Outcome::Drained => Exit::Fine,
        Outcome::Abandoned(_) => Exit::Interrupted,
        Outcome::Source(_) | Outcome::Store(_) => Exit::OutOfReach,
    }
}

/// A file that is none of ours was named by mistake; one that is ours is out of reach.
fn of_fault(fault: &Fault) -> Exit {
    match fault {
        Fault::Foreign { .. } | Fault::Version { .. } | Fault::NotADatabase => Exit::Usage,
        Fault::CannotOpen(_)
        | Fault::Full(_)
        | Fault::Io(_)
        | Fault::Busy(_)
        | Fault::ReadOnly(_)
        | Fault::Damaged(_)
        | Fault::Sql(_)
        | Fault::Stopped => Exit::OutOfReach,
    }
}

fn of_log(error: &LogError) -> Exit {
    match error {
        LogError::File(error) => of_fault(&error.fault),
        LogError::Partitions { .. }
        | LogError::PartitionsOutOfBounds { .. }
        | LogError::NoPartition { .. }
        | LogError::Name { .. }
        | LogError::Full { .. } => Exit::Usage,
    }
}

/// An error of the embedded log, worded by its caller.
pub(crate) fn log_error(error: &LogError, message: String) -> CommandError {
    if of_log(error) == Exit::Usage {
        CommandError::Usage(message)
    } else {
        CommandError::OutOfReach(message)
    }
}

fn of_store(error: &StoreError) -> Exit {
    match error {
        StoreError::OutOfReach(_) | StoreError::Damaged(_) | StoreError::Fenced { .. } => {
            Exit::OutOfReach
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{position::Position, processor::ReportedLane, source::SourceError};

    #[test]
    fn the_numbers_are_those_of_the_documentation() {
        let numbers = [
            Exit::Fine,
            Exit::Internal,
            Exit::Usage,
            Exit::Held,
            Exit::OutOfReach,
            Exit::Interrupted,
        ]
        .map(|exit| exit as u8);
        assert_eq!(numbers, [0, 1, 2, 3, 4, 130]);
    }

    fn report(stopped: bool) -> Report {
        let lane = ReportedLane {
            source: "in".to_owned(),
            partition: "in/0".to_owned(),
            key: "k".to_owned(),
            position: Position::Offset(1),
            error: String::new(),
            attempts: 1,
        };
        Report {
            format: 1,
            records: 1,
            done: 0,
            parked: 1,
            held: 0,
            dead_lettered: 0,
            skipped: 0,
            tries: 1,
            retries: 0,
            rejected: 1,
            in_flight_peak: 1,
            elapsed_ms: 1,
            records_per_second: 0.0,
            fenced: 0,
            store: None,
            stopped_lanes: if stopped { vec![lane] } else { Vec::new() },
            parked_lanes: Vec::new(),
            partitions: Vec::new(),
        }
    }

    #[test]
    fn each_end_of_a_run_has_its_code() {
        let source = || {
            Outcome::Source(SourceError::OutOfReach {
                what: "gone".to_owned(),
            })
        };
        for (outcome, until_idle, stopped, exit) in [
            (Outcome::Idle, true, false, Exit::Fine),
            (Outcome::Idle, true, true, Exit::Held),
            (Outcome::Drained, false, false, Exit::Fine),
            (Outcome::Drained, false, true, Exit::Fine),
            (Outcome::Drained, true, true, Exit::Interrupted),
            (
                Outcome::Abandoned(Vec::new()),
                false,
                true,
                Exit::Interrupted,
            ),
            (source(), true, true, Exit::OutOfReach),
            (
                Outcome::Store("full".to_owned()),
                false,
                false,
                Exit::OutOfReach,
            ),
        ] {
            let found = of_outcome(&outcome, until_idle, &report(stopped));
            assert_eq!(
                found, exit,
                "{outcome:?}, until_idle {until_idle}, stopped {stopped}"
            );
        }
    }

    #[test]
    fn the_worst_is_reported() {
        let order = [
            Exit::Internal,
            Exit::Usage,
            Exit::OutOfReach,
            Exit::Interrupted,
            Exit::Held,
            Exit::Found,
            Exit::Fine,
        ];
        for (index, worse) in order.iter().enumerate() {
            for better in &order[index..] {
                assert_eq!(worse.worse(*better), *worse);
                assert_eq!(better.worse(*worse), *worse);
            }
        }
    }
}
