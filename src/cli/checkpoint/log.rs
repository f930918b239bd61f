//! The embedded log behind a partition: where its records begin, when they came, and what retention
//! must keep of them.

use crate::{
    checkpoint::Checkpoint,
    cli::exit::{CommandError, log_error},
    config::{Config, SourceKind},
    position::Position,
    record::PartitionName,
    source::local::log::{Bounds, Log, LogError, Topic},
    sqlite::Access,
};
use partitions::Resume;

/// A partition of an embedded log.
pub(super) struct LocalLog {
    log: Log,
    topic: Topic,
    number: u32,
    app: String,
    name: PartitionName,
}

impl LocalLog {
    /// The log of a partition; `None` where its source is of another kind.
    pub(super) fn of(config: &Config, name: &PartitionName) -> Result<Option<Self>, CommandError> {
        let source = { config.sources.iter() }.find(|source| *source.name == *name.source);
        let Some(source) = source else {
            return Err(CommandError::Usage(format!(
                "{name}: the configuration has no source `{}`: whether its log holds what would run cannot be known",
                name.source
            )));
        };
        let SourceKind::Local { path, topic, .. } = &source.kind else {
            return Ok(None);
        };
        let log = Log::open(path, Access::Existing).map_err(told)?;
        let found = log.topic(topic).map_err(told)?;
        let number = { name.partition.strip_prefix(topic.as_str()) }
            .and_then(|rest| rest.strip_prefix('/')?.parse().ok());
        match (found, number) {
            (Some(found), Some(number)) if number < found.partitions() => Ok(Some(Self {
                log,
                topic: found,
                number,
                app: config.app.clone(),
                name: name.clone(),
            })),
            (found, _) => Err(CommandError::Usage(format!(
                "{name}: topic `{topic}` in `{}` has {}: there is no such partition",
                path.display(),
                found.map_or_else(
                    || "nothing yet".to_owned(),
                    |found| format!("{} partitions", found.partitions())
                ),
            ))),
        }
    }

    fn bounds(&self) -> Result<Bounds, CommandError> {
        self.log.bounds(&self.topic, self.number).map_err(told)
    }

    /// The log's own identity.
    pub(super) fn incarnation(&self) -> String {
        self.topic.id.to_string()
    }

    /// Position of the first record of this moment (milliseconds since 1970) or later.
    pub(super) fn position_at(&self, at: i64) -> Result<Option<Position>, CommandError> {
        let found = { self.log.position_at(&self.topic, self.number, at) }.map_err(told)?;
        Ok((found <= self.bounds()?.last).then_some(Position::Offset(found)))
    }

    /// Sees to it that the log keeps, from now on, what a checkpoint does not settle.
    ///
    /// # Errors
    /// When some of that is gone already.
    pub(super) fn hold(&mut self, checkpoint: &Checkpoint) -> Result<(), CommandError> {
        let Some(first) = first_needed(checkpoint) else {
            return Ok(());
        };
        self.check(first)?;
        let consumer = (self.app.as_str(), &*self.name.source);
        let registered = self.log.frontier(consumer, &self.topic, self.number);
        let frontier = first.saturating_sub(1);
        if registered
            .map_err(told)?
            .is_none_or(|found| found > frontier)
        {
            self.log
                .put_frontiers(consumer, &self.topic, &[(self.number, frontier)])
                .map_err(told)?;
            // Retention may have been faster.
            self.check(first)?;
        }
        Ok(())
    }

    /// As [`LocalLog::hold`], without writing.
    pub(super) fn holds(&self, checkpoint: &Checkpoint) -> Result<(), CommandError> {
        match first_needed(checkpoint) {
            Some(first) => self.check(first),
            None => Ok(()),
        }
    }

    fn check(&self, first: u64) -> Result<(), CommandError> {
        let bounds = self.bounds()?;
        if first >= bounds.first {
            return Ok(());
        }
        let removed = { bounds.trimmed_at }
            .map(|at| {
                format!(
                    "; retention last removed records at {}",
                    crate::cli::output::moment(at)
                )
            })
            .unwrap_or_default();
        Err(CommandError::Usage(format!(
            "{}: position {first} is gone: the log `{}` begins at {}{removed}",
            self.name,
            self.log.path().display(),
            bounds.first,
        )))
    }
}

/// The first position that is not settled; `None` where positions are no offsets.
fn first_needed(checkpoint: &Checkpoint) -> Option<u64> {
    if let Some(first) = checkpoint.open.positions().first() {
        return first.offset();
    }
    let last = checkpoint.settled_to.as_ref().and_then(Position::offset);
    let prefix = match &checkpoint.resume {
        Resume::Beginning => 1,
        Resume::At(position) => position.offset()?,
        Resume::After(position) => position.offset()?.saturating_add(1),
    };
    Some(last.map_or(prefix, |last| prefix.max(last.saturating_add(1))))
}

fn told(error: LogError) -> CommandError {
    log_error(&error, error.to_string())
}
