//! Streams, which no worker reads: what `recover` and `replay` have in common about them.

use super::{
    exit::{CommandError, Exit},
    output::{self, shown},
    when::When,
};
use crate::{
    config::{Config, SourceConfig, SourceKind, duration_text},
    lambda::{
        InvocationError, MARKS_AFTER, ServeError,
        recovery::{
            RecoveryError, Start, Until,
            place::{self, Known},
        },
    },
    position::Position,
    record::{OrderBy, PartitionName},
    run::Selection,
    source::{
        StartAt,
        kinesis::{Begin, KinesisStream, Shard, Shards, StreamArn, StreamError, in_order},
    },
    store::{Mark, MarkStore},
};
use std::sync::Arc;

/// One stream of a configuration.
pub(crate) struct Streamed<'c> {
    pub(crate) config: &'c Config,
    pub(crate) source: &'c SourceConfig,
    pub(crate) stream: Arc<dyn Shards>,
    /// Those that are meant, each behind its parents.
    pub(crate) shards: Vec<Shard>,
    /// Those that are not.
    pub(crate) others: Vec<Shard>,
    /// Its mapping reads by a consumer of its own.
    pub(crate) fans_out: bool,
}

/// Whether streams are meant; all that are meant are, or none.
pub(crate) fn are_meant(config: &Config, selection: &Selection) -> Result<bool, CommandError> {
    let sources = selection.sources(config)?;
    let is_stream = |source: &&&SourceConfig| matches!(source.kind, SourceKind::Kinesis { .. });
    let streams = sources.iter().filter(is_stream).count();
    if streams > 0 && streams < sources.len() {
        return Err(CommandError::Usage(
            "some sources are streams, which a function's mapping delivers, and others are not: say which is meant by `--source`".to_owned(),
        ));
    }
    Ok(streams > 0)
}

/// The streams that are meant, with their shards as they are now.
pub(crate) async fn open<'c>(
    config: &'c Config,
    selection: &Selection,
) -> Result<Vec<Streamed<'c>>, CommandError> {
    let mut all = Vec::new();
    let mut others = Vec::new();
    for source in selection.sources(config)? {
        let mut streamed = Streamed::new(config, source)?;
        streamed.list().await?;
        if let Some(wanted) = &selection.partition {
            let name = |shard: &Shard| PartitionName::new(&source.name, &shard.id);
            others.extend(streamed.shards.iter().map(|shard| shard.id.to_string()));
            let all = std::mem::take(&mut streamed.shards).into_iter();
            (streamed.shards, streamed.others) =
                all.partition(|shard| name(shard).is_meant_by(wanted));
            if streamed.shards.is_empty() {
                continue;
            }
        }
        all.push(streamed);
    }
    match (&selection.partition, all.len()) {
        (Some(wanted), 0) => Err(CommandError::Usage(format!(
            "there is no shard `{}`: there {}",
            shown(wanted),
            match (others.first(), others.last()) {
                (Some(first), Some(last)) => format!("are `{first}` to `{last}`"),
                (None, _) | (_, None) => "is none".to_owned(),
            }
        ))),
        (Some(wanted), 2..) => Err(CommandError::Usage(format!(
            "several streams have a shard `{}`: say which by `--source`",
            shown(wanted)
        ))),
        (Some(_) | None, _) => Ok(all),
    }
}

impl<'c> Streamed<'c> {
    /// Nothing is asked yet.
    pub(crate) fn new(config: &'c Config, source: &'c SourceConfig) -> Result<Self, CommandError> {
        let SourceKind::Kinesis { arn } = &source.kind else {
            return Err(CommandError::Internal(format!(
                "`sources.{}` is no stream",
                source.name
            )));
        };
        let Some(of_stream) = StreamArn::new(arn) else {
            return Err(CommandError::Usage(format!(
                "`sources.{}.arn` is `{}`: expected the ARN of a stream or of its consumer, `arn:aws:kinesis:REGION:ACCOUNT:stream/NAME`",
                source.name,
                shown(arn)
            )));
        };
        let fans_out = of_stream.text() != arn;
        Ok(Self {
            config,
            source,
            stream: Arc::new(KinesisStream::new(of_stream)),
            shards: Vec::new(),
            others: Vec::new(),
            fans_out,
        })
    }

    /// Asks for all its shards.
    pub(crate) async fn list(&mut self) -> Result<(), CommandError> {
        let shards = self.stream.shards().await.map_err(stream_error)?;
        self.shards = in_order(shards);
        Ok(())
    }

    /// Refuses where what is done may be forgotten while the stream still has it.
    pub(crate) async fn marks_last(&self) -> Result<(), CommandError> {
        let keeps = self.stream.retention().await.map_err(stream_error)?;
        let marks = self.config.lambda.retention;
        if keeps <= marks + MARKS_AFTER {
            return Ok(());
        }
        Err(CommandError::Usage(format!(
            "{} keeps records for {}, and `lambda.retention` is {}: what was done may be forgotten before the stream forgets it, and would run again; let it be what the stream keeps. What was delivered before that took effect has shorter marks: then begin later, by `--from`",
            self.stream.describe(),
            duration_text(keeps),
            duration_text(marks)
        )))
    }

    /// The marks of what was delivered of a shard.
    pub(crate) async fn all_marks(
        &self,
        store: &dyn MarkStore,
        shard: &Shard,
    ) -> Result<Vec<Mark>, CommandError> {
        let marks = place::all_marks(store, &self.source.name, shard).await;
        marks.map_err(recovery_error)
    }

    /// Refuses shards whose parents are not meant and may be open: what those hold of a key comes before.
    pub(crate) async fn parents_first(&self, store: &dyn MarkStore) -> Result<(), CommandError> {
        for shard in &self.shards {
            let is_begun = self.known(store, shard).await? != Known::Nothing;
            let mut ancestors: Vec<&Arc<str>> = shard.parents.iter().collect();
            while let Some(id) = ancestors.pop() {
                let Some(parent) = self.others.iter().find(|other| other.id == *id) else {
                    continue;
                };
                // A mapping begins with a shard when it is through with its parents.
                let is_open = match self.known(store, parent).await? {
                    Known::Open { certain, .. } => certain.is_some() || !is_begun,
                    Known::Nothing => !is_begun,
                };
                if is_open {
                    return Err(CommandError::Usage(format!(
                        "`{}`: its parent `{id}` may be open, and what that holds of a key comes before: recover it first, or without `--shard`",
                        shard.id
                    )));
                }
                ancestors.extend(&parent.parents);
            }
        }
        Ok(())
    }

    /// Where a shard is open, as far as it is known.
    pub(crate) async fn known(
        &self,
        store: &dyn MarkStore,
        shard: &Shard,
    ) -> Result<Known, CommandError> {
        let lanes_at = match self.config.order.by {
            OrderBy::Key => PartitionName::new(&self.source.name, "*"),
            OrderBy::Partition => PartitionName::new(&self.source.name, &shard.id),
        };
        let one_at_a_time = self.config.lambda.parallelization_factor == Some(1);
        let (stream, name) = (&self.stream, &self.source.name);
        let marks = match one_at_a_time {
            true => place::latest_marks(stream, store, name, shard, output::now()).await,
            // Any of them may be one that the mapping has not passed.
            false => place::all_marks(store, name, shard).await,
        };
        let marks = marks.map_err(recovery_error)?;
        let lanes = store.lane_items(&lanes_at).await?;
        Ok(place::known(
            shard,
            &marks,
            (&lanes, &lanes_at),
            one_at_a_time,
        ))
    }

    /// Where reading of a shard begins; `None`: nowhere.
    pub(crate) async fn start(
        &self,
        store: &dyn MarkStore,
        shard: &Shard,
        from: &When,
    ) -> Result<Option<Start>, CommandError> {
        let at = |begin, certain| Ok(Some(Start { begin, certain }));
        match from {
            When::Checkpoint => {}
            When::Time(time) if time.as_millisecond() > output::now() => {
                return Err(CommandError::Usage(format!(
                    "nothing has arrived from {time} on: that is in the future"
                )));
            }
            When::Time(time) => return at(Begin::Time(time.as_millisecond()), None),
            When::Position(position) => {
                let position = within(shard, position)?;
                return at(Begin::At(position.clone()), Some(position));
            }
            When::History(_) => return Err(no_history()),
        }
        match self.known(store, shard).await? {
            // The head of another shard, that was run here from its copy.
            Known::Open { at: open, certain } if open < shard.first => at(Begin::Horizon, certain),
            Known::Open { at: open, certain } => at(Begin::At(open), certain),
            // A child is read by its mapping from its beginning, whatever `start` says.
            Known::Nothing if !shard.parents.is_empty() => at(Begin::Horizon, None),
            Known::Nothing => match self.source.start {
                None | Some(StartAt::Earliest) => at(Begin::Horizon, None),
                Some(StartAt::Time(millis)) => at(Begin::Time(millis), None),
                Some(StartAt::Latest) => {
                    output::note(&format!(
                        "`{}`: nothing was ever delivered of it, as far as the table says, and `start` is `latest`: it is left out",
                        shard.id
                    ));
                    Ok(None)
                }
                Some(StartAt::Refuse) => Err(CommandError::Usage(format!(
                    "`{}`: nothing was ever delivered of it, as far as the table says, and `start` is `refuse`: say where to begin by `--from`",
                    shard.id
                ))),
            },
        }
    }

    /// Where it ends; `None`: the part is empty.
    pub(crate) async fn until(
        &self,
        store: &dyn MarkStore,
        shard: &Shard,
        to: Option<&When>,
    ) -> Result<Option<Until>, CommandError> {
        match to {
            None => Ok(Some(Until::Now)),
            Some(When::Time(time)) => Ok(Some(Until::Time(time.as_millisecond()))),
            Some(When::Position(position)) => Ok(Some(Until::Through(within(shard, position)?))),
            Some(When::History(_)) => Err(no_history()),
            Some(When::Checkpoint) => match self.known(store, shard).await? {
                Known::Open { at, .. } => Ok(Some(Until::Before(at))),
                Known::Nothing => Ok(None),
            },
        }
    }

    /// A position is a place in one shard.
    pub(crate) fn one_shard(&self, when: Option<&When>, all: usize) -> Result<(), CommandError> {
        match when {
            Some(When::Position(_)) if all > 1 => Err(CommandError::Usage(format!(
                "a position is a place in one shard, and {all} are meant: say which by `--partition`"
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

fn no_history() -> CommandError {
    CommandError::Usage(
        "the mapping of a stream keeps its place where nobody can read it, and no history of it: `history:TIME` names nothing; say the time itself, which is when records arrived".to_owned(),
    )
}

fn within(shard: &Shard, position: &Position) -> Result<Position, CommandError> {
    let Some(number) = position.number() else {
        return Err(CommandError::Usage(format!(
            "`{position}` is no position of a stream: those are sequence numbers, of more than 19 digits"
        )));
    };
    // Of a number that was read as one this does not fail.
    let number = Position::sequence(number, None).unwrap_or_else(|_| position.clone());
    let is_behind = shard.last.as_ref().is_some_and(|last| number > *last);
    if number >= shard.first && !is_behind {
        return Ok(position.clone());
    }
    let end = { shard.last.as_ref() }.map_or_else(
        || "and is open".to_owned(),
        |last| format!("and ends at {last}"),
    );
    Err(CommandError::Usage(format!(
        "there is no position {position} in `{}`: it begins at {} {end}",
        shard.id, shard.first
    )))
}

pub(crate) fn stream_error(error: StreamError) -> CommandError {
    CommandError::OutOfReach(error.to_string())
}

pub(crate) fn unfit(error: ServeError) -> CommandError {
    match error {
        ServeError::Config(errors) => CommandError::Config(errors),
        ServeError::Unfit(what) => CommandError::Usage(what),
        error @ ServeError::Elsewhere(_) => CommandError::Usage(error.to_string()),
        error @ ServeError::Runtime(_) => CommandError::OutOfReach(error.to_string()),
    }
}

pub(crate) fn recovery_error(error: RecoveryError) -> CommandError {
    match error {
        RecoveryError::Stream(error) => stream_error(error),
        RecoveryError::Store(error) => CommandError::Store(error),
        RecoveryError::Failed(what) => CommandError::OutOfReach(what),
        RecoveryError::Invocation(
            error @ (InvocationError::TooShort { .. }
            | InvocationError::NoCap { .. }
            | InvocationError::Event(_)
            | InvocationError::NoKey { .. }),
        ) => CommandError::Usage(error.to_string()),
    }
}

/// How it ends, by what is known beside the lanes that stand.
pub(crate) fn exit(lanes_stand: bool, lost: bool, is_cut: bool) -> Exit {
    let mut exit = if lanes_stand { Exit::Held } else { Exit::Fine };
    if is_cut {
        exit = exit.worse(Exit::Interrupted);
    }
    if lost {
        exit = exit.worse(Exit::OutOfReach);
    }
    exit
}

#[cfg(test)]
mod tests;
