//! Puts a worker together from its configuration: store, lock, sources, handler, history.

mod clock;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
#[cfg(feature = "local")]
mod logs;
#[cfg(feature = "local")]
mod pages;
#[cfg(feature = "local")]
mod recover;
#[cfg(feature = "cli")]
mod replay;
#[cfg(feature = "local")]
mod service;
#[cfg(feature = "local")]
mod signals;
#[cfg(feature = "local")]
mod stores;
mod target;
#[cfg(feature = "local")]
mod worker;

pub use clock::MachineClock;
#[cfg(feature = "cli")]
pub(crate) use logs::{Held, PartitionLog};
#[cfg(feature = "local")]
pub use recover::Selection;
#[cfg(all(feature = "cli", feature = "kinesis"))]
pub(crate) use replay::namespace;
#[cfg(feature = "cli")]
pub(crate) use replay::{Locks, Replay, Span};
#[cfg(feature = "cli")]
pub(crate) use service::abandoned;
#[cfg(feature = "local")]
pub use service::{RunError, RunOptions, run, run_until};
#[cfg(feature = "local")]
pub(crate) use signals::Signals;
#[cfg(feature = "local")]
pub use signals::terminated;
#[cfg(feature = "cli")]
pub(crate) use stores::namespace_store;
#[cfg(feature = "local")]
pub use stores::open_store;
#[cfg(feature = "local")]
pub(crate) use stores::reach;
#[cfg(feature = "lambda")]
pub(crate) use target::unseen;
pub use target::{TargetError, target};
#[cfg(feature = "local")]
pub(crate) use worker::Worker;
#[cfg(feature = "cli")]
pub(crate) use worker::local_settings;

/// A stream has no worker of its own.
#[cfg(all(feature = "kinesis", feature = "local"))]
pub(crate) fn delivered_by_a_mapping(source: &crate::SourceConfig) -> RunError {
    RunError::Selection(format!(
        "`sources.{}` is a stream, whose mapping delivers it to a function (`lanekeeper lambda`): no worker reads it; `recover` and `replay` do, by themselves",
        source.name
    ))
}
