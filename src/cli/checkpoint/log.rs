//! The log behind a partition: where its records begin, when they came, and what retention must keep of
//! them.

use crate::{
    checkpoint::Checkpoint,
    cli::{exit::CommandError, output::moment},
    config::{Config, SourceKind},
    position::Position,
    record::PartitionName,
    run::{PartitionLog, Selection},
};
use partitions::Resume;

/// A partition's log, and who reads it.
pub(super) struct ReadLog {
    log: Box<dyn PartitionLog>,
    app: String,
    /// A group gives it out: a worker that is fenced claims it again by itself.
    pub(super) is_given_out: bool,
}

impl ReadLog {
    /// The log of a partition; `None` where its source is of a kind that cannot be asked.
    pub(super) fn of(config: &Config, name: &PartitionName) -> Result<Option<Self>, CommandError> {
        let source = { config.sources.iter() }.find(|source| *source.name == *name.source);
        let Some(source) = source else {
            return Err(CommandError::Usage(format!(
                "{name}: the configuration has no source `{}`: whether its log holds what would run cannot be known",
                name.source
            )));
        };
        let is_given_out = match &source.kind {
            SourceKind::Local { .. } => false,
            SourceKind::Kafka { .. } => true,
            SourceKind::Kinesis { .. }
            | SourceKind::DynamodbStreams { .. }
            | SourceKind::Sqs { .. } => return Ok(None),
        };
        let selection = Selection {
            source: Some(name.source.to_string()),
            partition: Some(name.partition.to_string()),
        };
        let mut found = selection.logs(config)?;
        let log = found.pop().and_then(|(_, mut logs)| logs.pop());
        Ok(log.map(|log| Self {
            log,
            app: config.app.clone(),
            is_given_out,
        }))
    }

    /// The log's own identity, where it has one.
    pub(super) fn identity(&self) -> Result<Option<String>, CommandError> {
        Ok(self.log.identity()?)
    }

    /// Whether readers have told the log's keeper that they are further than a checkpoint: what it does not
    /// settle runs again then.
    pub(super) fn is_ahead_of(&self, checkpoint: &Checkpoint) -> Result<bool, CommandError> {
        let told = self.log.told(None)?;
        let prefix = self.prefix(checkpoint);
        Ok(told
            .zip(prefix)
            .is_some_and(|((told, _), prefix)| told > prefix))
    }

    /// Position of the first record of this moment (milliseconds since 1970) or later.
    pub(super) fn position_at(&self, at: i64) -> Result<Option<Position>, CommandError> {
        let found = self.log.at_time(at)?;
        Ok((found < self.log.held()?.next).then_some(Position::Offset(found)))
    }

    /// Sees to it that the log keeps, from now on, what a checkpoint does not settle.
    ///
    /// # Errors
    /// When some of that is gone already.
    pub(super) fn hold(&self, checkpoint: &Checkpoint) -> Result<(), CommandError> {
        let Some(first) = self.first_needed(checkpoint) else {
            return Ok(());
        };
        self.check(first)?;
        self.log.keep(&self.app, first)?;
        // Retention may have been faster.
        self.check(first)
    }

    /// As [`ReadLog::hold`], without writing.
    pub(super) fn holds(&self, checkpoint: &Checkpoint) -> Result<(), CommandError> {
        match self.first_needed(checkpoint) {
            Some(first) => self.check(first),
            None => Ok(()),
        }
    }

    fn check(&self, first: u64) -> Result<(), CommandError> {
        let held = self.log.held()?;
        if first >= held.first {
            return Ok(());
        }
        let removed = { held.trimmed_at }
            .map(|at| format!("; retention last removed records at {}", moment(at)))
            .unwrap_or_default();
        Err(CommandError::Usage(format!(
            "{}: position {first} is gone: {} begins at {}{removed}",
            self.log.name(),
            self.log.describe(),
            held.first,
        )))
    }

    /// The first position that is not settled; `None` where positions are no offsets.
    fn first_needed(&self, checkpoint: &Checkpoint) -> Option<u64> {
        if let Some(first) = checkpoint.open.positions().first() {
            return first.offset();
        }
        let last = checkpoint.settled_to.as_ref().and_then(Position::offset);
        let prefix = self.prefix(checkpoint)?;
        Some(last.map_or(prefix, |last| prefix.max(last.saturating_add(1))))
    }

    /// The position behind what is settled without a hole; `None` where positions are no offsets.
    fn prefix(&self, checkpoint: &Checkpoint) -> Option<u64> {
        match &checkpoint.resume {
            Resume::Beginning => Some(self.log.origin()),
            Resume::At(position) => position.offset(),
            Resume::After(position) => Some(position.offset()?.saturating_add(1)),
        }
    }
}
