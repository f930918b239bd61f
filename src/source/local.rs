//! The embedded log: requests in order, in a SQLite file beside their checkpoints.
//!
//! [`put::put`] appends, [`LocalSource`] reads, [`lock::Lock`] lets one `run` at a time of an app do
//! so, [`log::Log`] is what they stand on.

pub use super::{OnGap, StartAt};
use super::{Ports, Source, SourceError};
use crate::record::LaneOrder;
use futures_util::future::BoxFuture;
use lock::Lock;
use std::{
    collections::BTreeMap,
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

/// What of a topic is read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Extent {
    /// All that it holds, and what comes.
    #[default]
    Everything,
    /// These partitions, by number, each up to and with a position. The others are left to nobody, and
    /// what comes later is left to the next reader.
    UpTo(BTreeMap<u32, u64>),
    /// Apart from the app's own reading: nobody is registered as a reader, and nothing is removed.
    /// Where there is a checkpoint it says how far the range was read before.
    Apart {
        /// First and last position by partition, both included.
        ranges: BTreeMap<u32, (u64, u64)>,
        /// Only records of this key; all others are passed over.
        key: Option<Vec<u8>>,
    },
}

impl Extent {
    fn has(&self, partition: u32) -> bool {
        match self {
            Self::Everything => true,
            Self::UpTo(ends) => ends.contains_key(&partition),
            Self::Apart { ranges, .. } => ranges.contains_key(&partition),
        }
    }

    /// Where reading ends in a partition whose log ends at `last`.
    fn end(&self, partition: u32, last: u64) -> u64 {
        let end = match self {
            Self::Everything => None,
            Self::UpTo(ends) => ends.get(&partition).copied(),
            Self::Apart { ranges, .. } => ranges.get(&partition).map(|(_, end)| *end),
        };
        end.map_or(last, |end| end.min(last))
    }

    /// Where reading begins without a checkpoint; `None`: as [`Settings::start`] says.
    fn first(&self, partition: u32) -> Option<u64> {
        match self {
            Self::Everything | Self::UpTo(_) => None,
            Self::Apart { ranges, .. } => ranges.get(&partition).map(|(first, _)| *first),
        }
    }

    /// The one key that is read.
    fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Everything | Self::UpTo(_) => None,
            Self::Apart { key, .. } => key.as_deref(),
        }
    }

    fn is_apart(&self) -> bool {
        matches!(self, Self::Apart { .. })
    }
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
