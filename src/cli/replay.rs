//! `lanekeeper replay`: runs records again, apart from the app's own work.

use super::{
    Common,
    exit::{self, CommandError, Exit},
    output,
    report::Advice,
    run::{
        Reporting,
        session::{self, Session, Shows},
        tell,
    },
    when::When,
};
use crate::{
    config::Config,
    handler::Target,
    processor::{Outcome, Report, Stop},
    program::Program,
    run::{Locks, Replay, RunError, Selection, Span, Worker, open_store},
    sqlite::Access,
};
use clap::Args;
use effects::{Effects, Without};
use range::Asked;
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};
use tokio::sync::mpsc::UnboundedSender;
use unfinished::{Arguments, Unfinished};

#[cfg(feature = "kinesis")]
mod attending;
mod dry_run;
mod effects;
mod range;
#[cfg(feature = "kinesis")]
mod stream;
mod unfinished;

#[derive(Args)]
#[command(after_help = "Examples:
  lanekeeper replay --from 2026-05-01T14:00:00Z --to 2026-05-01T15:00:00Z --dry-run
  lanekeeper replay --from 17 --to 90 --partition orders/3 --key acct-7 --effects suppress
  lanekeeper replay --from history:2026-05-01T14:00:00Z --effects again

WHEN is `checkpoint` (where the live checkpoint stands), `history:TIME` (where it stood at TIME), a \
time, or a position of one partition. A replay begins behind a checkpoint and at or after a time or \
position; it ends with a checkpoint or position, and before a time.

The records of the range go through the same handler under the same rules: in order per key, under \
the cap, with retries. Checkpoint, lanes, chains and registration of the app are never touched. A \
record that fails for good stops its lane within the replay; the report names it, and exit code 3. \
Retention does not wait for a replay: what it removed is a gap, as `on_gap` says.

Unless --alongside, the app's lock is held: no worker runs meanwhile. Of Kafka brokers and store are \
asked who is at work, at the start. Alongside a worker there is no \
order between what the two do to a key, and each has the whole cap.

Of a stream of Kinesis WHEN is a time of arrival, a sequence number of one --shard, or `checkpoint`: \
where `recover` would begin. Nobody owns it: disable the mapping that delivers it, or say --alongside.

Effects: a handler that answers with effects needs a choice; without one the first effect ends the \
replay, and nothing of it is applied. `suppress` drops effects (a handler's own calls to others are \
not suppressed) and keeps the record ids, so that targets that deduplicate by id see nothing new. \
`again` applies them to the live values, in one transaction with the replay's own checkpoint, under \
new record ids: their generation is the moment at which the replay began, in milliseconds since 1970.

Killed or drained, a replay with `again` goes on when the same command is given again: nothing is \
applied twice, and the ids stay. Another one is refused until then, or until --abandon. Other replays \
remember nothing, and begin anew.")]
pub(crate) struct ReplayArguments {
    /// Where to begin.
    #[arg(long, value_name = "WHEN", required_unless_present = "abandon")]
    from: Option<When>,
    /// Where to end [default: the end that the logs have now].
    #[arg(long, value_name = "WHEN")]
    to: Option<When>,
    /// Only this partition, such as orders/3, or this shard.
    #[arg(long, visible_alias = "shard", value_name = "P")]
    partition: Option<String>,
    /// Only partitions of this source.
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// Only records of this key.
    #[arg(long, value_name = "K")]
    key: Option<String>,
    /// Also while a worker runs, in no order to what it does.
    #[arg(long)]
    alongside: bool,
    /// What becomes of the handler's effects.
    #[arg(long, value_name = "HOW")]
    effects: Option<Effects>,
    /// Show what would run, and call nothing.
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: print one JSON document.
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// Forget a replay with effects that did not come to its end; what it applied stays.
    #[arg(long, conflicts_with_all = ["from", "to", "partition", "source", "key", "effects", "dry_run"])]
    abandon: bool,
    /// Write what this process did as a JSON document; `-` is stdout.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Append every event to this file as JSON lines; `lanekeeper audit` checks them.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

impl ReplayArguments {
    fn selection(&self) -> Selection {
        Selection {
            source: self.source.clone(),
            partition: self.partition.clone(),
        }
    }

    fn applies(&self) -> bool {
        self.effects == Some(Effects::Again)
    }

    fn told(&self, from: &When) -> Arguments {
        Arguments {
            from: from.to_string(),
            to: self.to.as_ref().map(ToString::to_string),
            source: self.source.clone(),
            partition: self.partition.clone(),
            key: self.key.clone(),
        }
    }
}

pub(crate) fn run(common: &Common, arguments: &ReplayArguments) -> Result<Exit, CommandError> {
    let config = common.config()?;
    let Some(from) = arguments.from.as_ref().filter(|_| !arguments.abandon) else {
        return super::block_on(abandon(&config));
    };
    #[cfg(feature = "kinesis")]
    if super::stream::are_meant(&config, &arguments.selection())? {
        return stream::run(&config, common.program(), arguments, from);
    }
    let spans = super::block_on(spans(&config, arguments, from))?;
    let key = arguments.key.as_deref().map(str::as_bytes);
    if arguments.dry_run {
        dry_run::run(&config, &arguments.selection(), &spans, key, arguments.json)?;
        return Ok(Exit::Fine);
    }
    let reporting = Reporting::new(arguments.report.as_deref())?;
    let refused = Arc::new(OnceLock::new());
    let plan = (from, spans);
    let work = work(
        &config,
        common.program(),
        arguments,
        plan,
        Arc::clone(&refused),
    );
    let Some((report, outcome)) = session::within(work)? else {
        output::note("nothing to replay: no record lies in that range");
        return Ok(Exit::Fine);
    };
    tell(&report, &outcome, Advice::Replay);
    reporting.write(&report)?;
    let exit = exit::of_outcome(&outcome, true, &report);
    if let Some(id) = refused.get() {
        return Err(nobody_said(id));
    }
    after(arguments, &outcome);
    Ok(exit)
}

fn nobody_said(id: &str) -> CommandError {
    CommandError::Usage(format!(
        "the handler answered record `{id}` with effects, and nobody said what becomes of them: nothing was applied. \
         `--effects suppress` drops them, `--effects again` applies them once more"
    ))
}

/// What is to run. One that goes on has its spans already: the places that were named may have moved
/// since.
async fn spans(
    config: &Config,
    arguments: &ReplayArguments,
    from: &When,
) -> Result<Vec<Span>, CommandError> {
    if arguments.applies() && !arguments.dry_run {
        let unfinished = Unfinished::read(config, Access::Read).await?;
        if unfinished.is_some_and(|unfinished| unfinished.is_of(&arguments.told(from))) {
            return Ok(Vec::new());
        }
    }
    let store = match open_store(config, Access::Read) {
        Ok(store) => Some(store),
        // Nothing ran yet: the log alone says what there is.
        Err(RunError::NoStore(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let asked = Asked {
        from,
        to: arguments.to.as_ref(),
        selection: arguments.selection(),
        key: arguments.key.as_deref(),
    };
    range::resolve(config, store.as_deref(), &asked).await
}

/// What a replay that did not come to its end leaves behind.
fn after(arguments: &ReplayArguments, outcome: &Outcome) {
    if !matches!(outcome, Outcome::Idle) {
        not_finished(arguments);
    }
}

fn not_finished(arguments: &ReplayArguments) {
    output::note(if arguments.applies() {
        "the replay is not finished: the same command goes on, `lanekeeper replay --abandon` forgets it"
    } else {
        "the replay is not finished, and what ran is not remembered: the same command begins anew"
    });
}

async fn work(
    config: &Config,
    program: Option<&Program>,
    arguments: &ReplayArguments,
    (from, spans): (&When, Vec<Span>),
    refused: Arc<OnceLock<String>>,
) -> Result<Option<(Report, Outcome)>, CommandError> {
    let again = arguments.applies();
    let wrap = |inner: Arc<dyn Target>, stop: UnboundedSender<Stop>| match arguments.effects {
        Some(Effects::Again) => inner,
        Some(Effects::Suppress) => Arc::new(Without::new(inner, None, refused)) as _,
        None => Arc::new(Without::new(inner, Some(stop), refused)) as _,
    };
    let session = Session::new(program, config, wrap).await?;
    #[cfg(feature = "kafka")]
    if !arguments.alongside {
        let else_do = "or replay beside it with `--alongside`, in no order to what it does";
        super::attended::unattended(config, &arguments.selection(), else_do).await?;
    }
    let locks = Locks::take(config, &arguments.selection(), arguments.alongside)?;
    let _guard = locks.guard();
    let replay = if again {
        applied(config, arguments, from, spans).await?
    } else {
        let key = arguments.key.clone().map(String::into_bytes);
        Some(Replay {
            spans,
            key,
            applied: None,
        })
    };
    let Some(replay) = replay.filter(|replay| !replay.spans.is_empty()) else {
        return Ok(None);
    };
    let history = arguments.history.as_deref();
    let worker = Worker::replay(config, session.target(), &replay, locks, history)?;
    let (report, outcome) = session.drive(config, worker, Shows::Calls).await;
    if again && matches!(outcome, Outcome::Idle) {
        Unfinished::forget(config).await?;
    }
    Ok(Some((report, outcome)))
}

/// A replay whose effects are applied: the one that did not come to its end, or a new one.
async fn applied(
    config: &Config,
    arguments: &ReplayArguments,
    from: &When,
    spans: Vec<Span>,
) -> Result<Option<Replay>, CommandError> {
    let told = arguments.told(from);
    if let Some(unfinished) = going_on(config, &told).await? {
        return Ok(Some(unfinished.replay()));
    }
    if spans.is_empty() {
        return Ok(None);
    }
    let new = Unfinished::new(told, &spans);
    new.write(config).await?;
    Ok(Some(new.replay()))
}

/// The replay with effects that did not come to its end, which has to be this one.
async fn going_on(config: &Config, told: &Arguments) -> Result<Option<Unfinished>, CommandError> {
    Unfinished::is_alone(config).await?;
    let Some(unfinished) = Unfinished::read(config, Access::Create).await? else {
        return Ok(None);
    };
    if !unfinished.is_of(told) {
        return Err(CommandError::Usage(format!(
            "another replay did not come to its end: {}; give that command again to finish it, or forget it with `lanekeeper replay --abandon` (what it applied stays)",
            unfinished.text()
        )));
    }
    output::note(&format!("going on with {}", unfinished.text()));
    Ok(Some(unfinished))
}

async fn abandon(config: &Config) -> Result<Exit, CommandError> {
    open_store(config, Access::Existing)?;
    Unfinished::is_alone(config).await?;
    let _locks = Locks::take(config, &Selection::default(), true)?;
    match Unfinished::read(config, Access::Existing).await {
        Ok(None) => {
            output::note("no replay is unfinished");
            return Ok(Exit::Fine);
        }
        Ok(Some(unfinished)) => output::note(&format!("forgotten: {}", unfinished.text())),
        // It may be what cannot be read.
        Err(error) => output::note(&format!("forgotten, though {error}")),
    }
    Unfinished::forget(config).await?;
    Ok(Exit::Fine)
}
