//! The logs behind a configuration's sources, for those who ask what a log holds without processing it.

use super::RunError;
use crate::{
    config::{Config, SourceConfig, SourceKind},
    record::PartitionName,
};

#[cfg(feature = "kafka")]
mod kafka;
mod local;

/// What a partition's log holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Held {
    /// Position of the oldest record; `next` where there is none.
    pub(crate) first: u64,
    /// The position that the next record will get, at least.
    pub(crate) next: u64,
    /// Milliseconds since 1970 of the last removal by retention, where it is known.
    pub(crate) trimmed_at: Option<i64>,
}

/// A record, as far as those who count need it.
#[cfg_attr(
    not(feature = "cli"),
    expect(dead_code, reason = "only the command line counts")
)]
pub(crate) struct Entry<'a> {
    pub(crate) position: u64,
    pub(crate) key: Option<&'a [u8]>,
    /// Milliseconds since 1970.
    pub(crate) timestamp: Option<i64>,
}

/// The log of one partition.
#[cfg_attr(
    not(feature = "cli"),
    expect(
        dead_code,
        reason = "only the command line asks for more than the ends"
    )
)]
pub(crate) trait PartitionLog {
    fn name(&self) -> &PartitionName;

    /// What it is, for people.
    fn describe(&self) -> String;

    /// Position of the first record that such a log ever gets.
    fn origin(&self) -> u64;

    /// Whether records of this key may be in this partition.
    fn may_hold(&self, key: &[u8]) -> bool;

    /// What it holds now.
    fn held(&self) -> Result<Held, RunError>;

    /// The log's own identity, where it has one: made anew, it has another.
    fn identity(&self) -> Result<Option<String>, RunError>;

    /// Position of the first record of this time (milliseconds since 1970) or later; `next` where there is
    /// none.
    fn at_time(&self, millis: i64) -> Result<u64, RunError>;

    /// Sees to it that retention keeps, from now on, what this reader (app, source) needs from a position
    /// on. A log that nobody can ask for that does nothing.
    fn keep(&self, app: &str, position: u64) -> Result<(), RunError>;

    /// What a group of readers has told the log's keeper: the position before which it takes all for done,
    /// and what it wrote beside that. `None`: nothing, or such a log takes no such word.
    fn told(&self, group: Option<&str>) -> Result<Option<(u64, String)>, RunError>;

    /// Lends its records from one position to another, both included, ascending.
    fn read(&self, range: (u64, u64), each: &mut dyn FnMut(Entry<'_>)) -> Result<(), RunError>;
}

/// The logs of a source's partitions; none where nothing was ever put.
pub(crate) fn of_source(
    config: &Config,
    source: &SourceConfig,
) -> Result<Vec<Box<dyn PartitionLog>>, RunError> {
    match &source.kind {
        SourceKind::Local { path, topic, .. } => local::logs(&source.name, path, topic),
        #[cfg(feature = "kafka")]
        SourceKind::Kafka { .. } => kafka::logs(config, source),
        #[cfg(not(feature = "kafka"))]
        SourceKind::Kafka { .. } => Err(not_built(config, source)),
        #[cfg(feature = "kinesis")]
        SourceKind::Kinesis { .. } => Err(super::delivered_by_a_mapping(source)),
        #[cfg(not(feature = "kinesis"))]
        SourceKind::Kinesis { .. } => Err(not_built(config, source)),
        SourceKind::DynamodbStreams { .. } | SourceKind::Sqs { .. } => {
            Err(not_built(config, source))
        }
    }
}

fn not_built(_: &Config, source: &SourceConfig) -> RunError {
    RunError::NotBuilt {
        what: "sources",
        feature: source.type_name(),
    }
}
