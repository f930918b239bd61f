//! Where embedded logs end: what `status` and `check` compare checkpoints with.

use crate::{
    record::PartitionName,
    source::local::log::{Log, LogError},
};
use std::path::Path;

/// What a partition of an embedded log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LogEnd {
    /// Position of the oldest record; one more than `last` where there is none.
    pub(crate) first: u64,
    /// Position of the newest record ever appended.
    pub(crate) last: u64,
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
                last: bounds.last,
            };
            Ok((
                PartitionName::new(source, &topic.partition_name(partition)),
                end,
            ))
        })
        .collect()
}
