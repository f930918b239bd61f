//! Where logs end: what `status` and `check` compare checkpoints with.

use super::exit::{CommandError, log_error};
use crate::{
    config::{Config, SourceConfig, SourceKind},
    record::PartitionName,
    source::local::log::{Log, LogError},
};
use std::path::Path;

/// What a partition of a log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LogEnd {
    /// Position of the oldest record; `next` where there is none.
    pub(crate) first: u64,
    /// The position that the next record gets.
    pub(crate) next: u64,
}

impl LogEnd {
    /// Position of the newest record ever appended; 0 where there was none.
    pub(crate) fn last(self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Positions from the oldest record on.
    pub(crate) fn held(self) -> u64 {
        self.next.saturating_sub(self.first)
    }
}

/// Where the partitions of a source end, or the `only` one of a cluster. What a cluster out of reach holds
/// is not known, and told of.
///
/// # Errors
/// When an embedded log is there and cannot be read.
pub(crate) fn source_ends(
    config: &Config,
    source: &SourceConfig,
    only: Option<&PartitionName>,
) -> Result<Vec<(PartitionName, LogEnd)>, CommandError> {
    match &source.kind {
        SourceKind::Local { path, topic, .. } => log_ends(&source.name, path, topic)
            .map_err(|error| log_error(&error, error.to_string())),
        #[cfg(feature = "kafka")]
        SourceKind::Kafka { .. } => Ok(super::kafka::ends(config, source, only)),
        #[cfg(not(feature = "kafka"))]
        SourceKind::Kafka { .. } => {
            let _ = (config, only);
            Ok(Vec::new())
        }
        SourceKind::Kinesis { .. }
        | SourceKind::DynamodbStreams { .. }
        | SourceKind::Sqs { .. } => Ok(Vec::new()),
    }
}

/// The partitions of a topic, as a source names them; none where nothing was ever put.
///
/// # Errors
/// When the file is there and cannot be read.
pub(crate) fn log_ends(
    source: &str,
    path: &Path,
    topic: &str,
) -> Result<Vec<(PartitionName, LogEnd)>, LogError> {
    let Some(log) = Log::look(path)? else {
        return Ok(Vec::new());
    };
    let Some(topic) = log.topic(topic)? else {
        return Ok(Vec::new());
    };
    (0..topic.partitions())
        .map(|partition| {
            let bounds = log.bounds(&topic, partition)?;
            let end = LogEnd {
                first: bounds.first,
                next: bounds.last + 1,
            };
            Ok((
                PartitionName::new(source, &topic.partition_name(partition)),
                end,
            ))
        })
        .collect()
}
