//! The embedded log: requests in order, in a SQLite file beside their checkpoints.
//!
//! [`put::put`] appends, [`LocalSource`] reads, [`lock::Lock`] lets one `run` at a time of an app do
//! so, [`log::Log`] is what they stand on.

pub use super::{Extent, OnGap, StartAt};
use super::{Ports, Source, SourceError};
use crate::record::LaneOrder;
use futures_util::future::BoxFuture;
use lock::Lock;
use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::sync::oneshot;

pub mod dead_letter;
pub mod lock;
pub mod log;
pub mod put;
mod reader;
#[cfg(feature = "cli")]
pub(crate) use reader::foreseen;

/// Which topic is read, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The `NAME` of `[sources.NAME]`.
    pub name: String,
    /// Whose checkpoints: with the name it is what retention knows a reader by.
    pub app: String,
    /// The log's file; created when it does not exist.
    pub path: PathBuf,
    /// The topic. One that does not exist yet is waited for.
    pub topic: String,
    /// Lanes.
    pub order: LaneOrder,
    /// Where to begin without a checkpoint.
    pub start: StartAt,
    /// What to do when the log does not hold what the checkpoint asks for.
    pub on_gap: OnGap,
    /// Records older than this are removed once every reader is past them; `None`: never.
    pub retention: Option<Duration>,
    /// What of the topic.
    pub extent: Extent,
}

/// Reads a topic.
#[derive(Debug)]
pub struct LocalSource {
    settings: Settings,
    lock: Arc<Lock>,
}

impl LocalSource {
    /// A reader of `settings.topic`. The lock is that of `settings.path` and `settings.app`; the
    /// source ends when it is taken over.
    pub fn new(settings: Settings, lock: Arc<Lock>) -> Self {
        Self { settings, lock }
    }
}

impl Source for LocalSource {
    /// Reads on a thread of its own, since SQLite blocks. The thread ends when the future is dropped.
    fn serve(self: Box<Self>, ports: Ports) -> BoxFuture<'static, Result<(), SourceError>> {
        Box::pin(async move {
            let Ports { events, mut orders } = ports;
            let (told, inbox) = mpsc::channel();
            let (end, mut ended) = oneshot::channel();
            let file = self.settings.path.display().to_string();
            let early = |why: &str| SourceError::OutOfReach {
                what: format!("the reader of `{file}` {why}"),
            };
            std::thread::Builder::new()
                .name("lanekeeper-log".to_owned())
                .spawn(move || {
                    let result = reader::run(self.settings, self.lock, events, inbox);
                    // Nobody waits for it any more when the future was dropped.
                    let _ = end.send(result);
                })
                .map_err(|e| early(&format!("cannot start: {e}")))?;
            let mut told = Some(told);
            loop {
                tokio::select! { biased;
                    end = &mut ended => {
                        return end.unwrap_or_else(|_| Err(early("ended by a panic")));
                    }
                    order = orders.recv(), if told.is_some() => match (order, &told) {
                        // A reader that has ended says why in a moment.
                        (Some(order), Some(inbox)) => drop(inbox.send(order)),
                        _ => told = None,
                    },
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
