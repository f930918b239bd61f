//! `checkpoint rewind`: back to an earlier place.

use super::{
    Place,
    act::{Act, Goal},
    log::ReadLog,
};
use crate::{
    checkpoint::rewind::{Chains, Target},
    cli::{
        exit::CommandError,
        output::moment,
        when::{When, stood_at},
    },
    config::Config,
    record::PartitionName,
    store::{HistoryEvent, RewindVerb, Store},
};
use clap::{Args, ValueEnum};

#[derive(Args)]
pub(super) struct RewindArguments {
    #[command(flatten)]
    pub(super) place: Place,
    /// Where to: `history:TIME` (what was settled at that moment), a time in RFC 3339 (the log's first
    /// record of that moment or later), or a position. Nothing from there on stays settled.
    #[arg(long, value_name = "WHEN")]
    pub(super) to: When,
    #[command(flatten)]
    pub(super) how: How,
}

/// What a rewind and an import have in common.
#[derive(Args)]
pub(super) struct How {
    /// Kept in the history with the act.
    #[arg(long, value_name = "TEXT")]
    pub(super) why: Option<String>,
    /// Where parked lanes hold records that would run again: `keep` their chains (what lies before them
    /// runs, they stay parked), or `drop` them (their records run again, from the log).
    #[arg(long, value_name = "keep|drop")]
    pub(super) chains: Option<ChainsArgument>,
    /// Say what would be, and do nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

/// `--chains`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum ChainsArgument {
    /// They stay.
    Keep,
    /// They go.
    Drop,
}

impl How {
    pub(super) fn chains(&self) -> Chains {
        match self.chains {
            None => Chains::Refuse,
            Some(ChainsArgument::Keep) => Chains::Keep,
            Some(ChainsArgument::Drop) => Chains::Drop,
        }
    }
}

pub(super) async fn run(
    config: &Config,
    store: &dyn Store,
    arguments: &RewindArguments,
) -> Result<(), CommandError> {
    let name = arguments.place.find_one(store).await?;
    let log = ReadLog::of(config, &name)?;
    let target = target(store, &name, log.as_ref(), &arguments.to).await?;
    let goal = Goal {
        target,
        generation: 0,
        stopped: Vec::new(),
        forward: false,
    };
    let act = Act {
        store,
        name,
        log,
        verb: RewindVerb::Rewind,
        to: arguments.to.to_string(),
        how: &arguments.how,
    };
    act.run(&goal).await
}

/// What the operator's word means here.
async fn target(
    store: &dyn Store,
    name: &PartitionName,
    log: Option<&ReadLog>,
    to: &When,
) -> Result<Target, CommandError> {
    match to {
        When::Checkpoint => Err(CommandError::Usage(format!(
            "{name}: `checkpoint` is where it stands: nothing would run again"
        ))),
        When::Position(position) => Ok(Target::Position(position.clone())),
        When::Time(time) => {
            let Some(log) = log else {
                return Err(CommandError::Usage(format!(
                    "{name}: its source cannot be asked for the time of a record: name a position, or `history:TIME`"
                )));
            };
            let found = log.position_at(time.as_millisecond())?;
            found.map(Target::Position).ok_or_else(|| {
                CommandError::Usage(format!(
                    "{name}: the log holds no record of {time} or later"
                ))
            })
        }
        When::History(time) => {
            let history = store.history(name).await?;
            if let Some((_, checkpoint)) = stood_at(&history, *time) {
                return Ok(Target::Checkpoint(checkpoint.clone()));
            }
            let mut kept = { history.iter() }
                .filter(|item| !matches!(item.what, HistoryEvent::Decided { .. }));
            let first = kept.next().map_or_else(
                || "it holds none yet".to_owned(),
                |item| format!("the first is of {}", moment(item.at)),
            );
            Err(CommandError::Usage(format!(
                "{name}: the history holds no checkpoint of {time} or before ({first}): `lanekeeper checkpoint show` lists them"
            )))
        }
    }
}
