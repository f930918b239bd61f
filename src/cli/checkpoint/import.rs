//! `checkpoint import`: goes on here from what another store exported.

use super::{
    Place,
    act::{Act, Goal},
    document::{CheckpointView, Document, Exported, ExportedLane, FORMAT, ResumeView},
    log::ReadLog,
    rewind::How,
};
use crate::{
    checkpoint::{Checkpoint, rewind::Target},
    cli::{
        exit::CommandError,
        output::{self, shown},
    },
    config::Config,
    position::Position,
    record::{LaneKey, PartitionName},
    store::{LaneItem, LaneState, RewindVerb, Store},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use partitions::Resume;
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

#[derive(Args)]
pub(super) struct ImportArguments {
    /// An export; `-` is standard input.
    #[arg(value_name = "FILE", required_unless_present = "from_group")]
    file: Option<PathBuf>,
    /// Take over what this consumer group has committed, by default that of the source: its offsets, and
    /// the offset maps that Parallel Consumer writes beside them.
    #[arg(long, value_name = "GROUP", num_args = 0..=1, default_missing_value = "", conflicts_with = "file")]
    from_group: Option<String>,
    /// With --from-group: leave offset maps out, so that what was done above an offset runs again.
    #[arg(long, requires = "from_group")]
    without_maps: bool,
    #[command(flatten)]
    pub(super) place: Place,
    /// Also where the export settles what is not settled here: that never runs.
    #[arg(long)]
    pub(super) skip_unsettled: bool,
    #[command(flatten)]
    pub(super) how: How,
}

pub(super) async fn run(
    config: &Config,
    store: &dyn Store,
    arguments: &ImportArguments,
) -> Result<(), CommandError> {
    let file = match (&arguments.from_group, &arguments.file) {
        (Some(group), _) => return import_group(config, store, arguments, group).await,
        (None, Some(file)) => file,
        // The arguments are not taken then.
        (None, None) => return Ok(()),
    };
    let document = read(config, file)?;
    let mut acts = Vec::new();
    for exported in &document.partitions {
        let name = PartitionName::new(&exported.source, &exported.partition);
        if !arguments.place.has(&name) {
            continue;
        }
        let refused =
            |why: String| CommandError::Usage(format!("`{}`, {name}: {why}", file.display()));
        let Some(view) = &exported.checkpoint else {
            output::note(&format!("{name}: nothing was committed there: left out"));
            continue;
        };
        let goal = Goal {
            target: Target::Checkpoint(checkpoint(view, exported).map_err(refused)?),
            generation: exported.generation,
            stopped: { exported.lanes.iter() }
                .filter_map(stopped)
                .collect::<Result<_, _>>()
                .map_err(refused)?,
            forward: arguments.skip_unsettled,
        };
        let log = ReadLog::of(config, &name)?;
        let here = match &log {
            Some(log) => log.identity()?,
            None => None,
        };
        if let (Some(here), Some(there)) = (&here, &view.incarnation)
            && there != here
        {
            return Err(refused(format!(
                "it is of log `{}`, and the log here is `{}`: positions of one say nothing of the other; bring the log's file along, or begin with `start`",
                shown(there),
                here
            )));
        }
        acts.push((name, log, goal));
    }
    if acts.is_empty() {
        return Err(CommandError::Usage(format!(
            "`{}` holds no checkpoint{} to import",
            file.display(),
            arguments.place.text()
        )));
    }
    for (name, log, goal) in acts {
        let act = Act {
            store,
            name,
            log,
            verb: RewindVerb::Import,
            to: format!("{} of {}", file.display(), document.at),
            how: &arguments.how,
        };
        act.run(&goal).await?;
    }
    Ok(())
}

#[cfg(not(feature = "kafka"))]
#[expect(clippy::unused_async, reason = "as the one with Kafka")]
async fn import_group(
    _: &Config,
    _: &dyn Store,
    _: &ImportArguments,
    _: &str,
) -> Result<(), CommandError> {
    Err(CommandError::Run(crate::run::RunError::NotBuilt {
        what: "--from-group",
        feature: "kafka",
    }))
}

/// Takes over what a consumer group has committed.
#[cfg(feature = "kafka")]
async fn import_group(
    config: &Config,
    store: &dyn Store,
    arguments: &ImportArguments,
    group: &str,
) -> Result<(), CommandError> {
    let asked = super::from_group::Asked {
        group: Some(group).filter(|group| !group.is_empty()),
        place: &arguments.place,
        with_maps: !arguments.without_maps,
        is_dry: arguments.how.dry_run,
    };
    let found = asked.look(config)?;
    for taken in found {
        let act = Act {
            store,
            log: ReadLog::of(config, &taken.name)?,
            name: taken.name,
            verb: RewindVerb::Import,
            to: taken.to,
            how: &arguments.how,
        };
        let goal = Goal {
            target: Target::Checkpoint(taken.checkpoint),
            generation: 0,
            stopped: Vec::new(),
            forward: arguments.skip_unsettled,
        };
        act.run(&goal).await?;
    }
    Ok(())
}

/// Reads an export of ours, of this app.
fn read(config: &Config, file: &Path) -> Result<Document, CommandError> {
    let refused = |why: String| CommandError::Usage(format!("`{}` {why}", file.display()));
    let mut text = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().read_to_end(&mut text).map(|_| ())
    } else {
        fs::read(file).map(|read| text = read)
    };
    read.map_err(|error| refused(format!("cannot be read: {error}")))?;
    let value: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|error| refused(format!("is no JSON document: {error}")))?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(format) if format == u64::from(FORMAT) => {}
        Some(format) => {
            return Err(refused(format!(
                "has format {format}, this version reads format {FORMAT}: import it with the version that wrote it, or a newer one"
            )));
        }
        None => {
            return Err(refused(
                "is no export: it has no `format`; `lanekeeper checkpoint export` writes one"
                    .to_owned(),
            ));
        }
    }
    let document: Document = serde_json::from_value(value)
        .map_err(|error| refused(format!("is no export of checkpoints: {error}")))?;
    if document.app != config.app {
        return Err(refused(format!(
            "is of app `{}`, and this configuration is of app `{}`",
            shown(&document.app),
            config.app
        )));
    }
    Ok(document)
}

/// What is settled, with what stands in chains open: the chains' records are not in the export, and
/// are read from the log again.
fn checkpoint(view: &CheckpointView, exported: &Exported) -> Result<Checkpoint, String> {
    let mut open = view.open.positions()?;
    let settled_to = view.settled_to.clone();
    if let (Some(last), to) = (open.last(), &settled_to)
        && to.as_ref().is_none_or(|to| last > to)
    {
        return Err(format!("position {last} is open behind `settled_to`"));
    }
    let resume = match &view.resume {
        ResumeView::Beginning => Resume::Beginning,
        ResumeView::At(position) => Resume::At(position.clone()),
        ResumeView::After(position) => Resume::After(position.clone()),
    };
    let mut chained = Vec::new();
    for lane in &exported.lanes {
        chained.extend(lane.chain.positions()?);
    }
    let mut checkpoint = Checkpoint {
        resume,
        settled_to,
        open: open.iter().cloned().collect(),
        attempts: view.attempts.clone(),
        announced: view.announced.clone(),
        incarnation: view.incarnation.clone(),
        ended: view.ended,
    };
    chained.retain(|position| checkpoint.settles(position));
    if chained.is_empty() {
        return Ok(checkpoint);
    }
    // What had been the settled prefix is settled still, but for what is in a chain.
    let prefix = match &checkpoint.resume {
        Resume::Beginning => None,
        Resume::After(position) => Some(position.clone()),
        Resume::At(position) => { position.offset() }
            .and_then(|n| n.checked_sub(1))
            .map(Position::Offset),
    };
    checkpoint.settled_to = checkpoint.settled_to.max(prefix);
    open.append(&mut chained);
    open.sort();
    open.dedup();
    if let Some(first) = open.first().filter(|first| checkpoint.settles(first)) {
        checkpoint.resume = Resume::At(first.clone());
    }
    checkpoint.open = open.into_iter().collect();
    Ok(checkpoint)
}

/// The item of a lane that is to be stopped here: its chain, if it had one, is open. One that was being
/// released is not held any more.
fn stopped(lane: &ExportedLane) -> Option<Result<LaneItem, String>> {
    match lane.state {
        LaneState::Stopped | LaneState::Parked => {}
        LaneState::Draining | LaneState::Live => return None,
    }
    let item = || {
        let since: jiff::Timestamp = { lane.since.parse() }
            .map_err(|error| format!("`since` of a lane is `{}`: {error}", shown(&lane.since)))?;
        Ok(LaneItem {
            lane: key(lane)?,
            state: LaneState::Stopped,
            head: lane.position.clone(),
            record: None,
            tail: None,
            tails: Vec::new(),
            cut: None,
            count: 0,
            bytes: 0,
            attempts: lane.attempts,
            first_error: lane.first_error.clone(),
            last_error: lane.error.clone(),
            since: since.as_millisecond(),
            rev: 0,
            decision: None,
        })
    };
    Some(item())
}

fn key(lane: &ExportedLane) -> Result<LaneKey, String> {
    match (lane.lane.as_str(), &lane.key, &lane.key_base64) {
        ("key", Some(key), None) => Ok(LaneKey::of_key(key.as_bytes())),
        ("key", None, Some(base64)) => match STANDARD.decode(base64) {
            Ok(key) => Ok(LaneKey::of_key(&key)),
            Err(error) => Err(format!("`key_base64` of a lane is no base64: {error}")),
        },
        ("partition", None, None) => Ok(LaneKey::of_partition()),
        ("no_key", None, None) => Ok(LaneKey::without_key()),
        ("record", None, None) => Ok(LaneKey::of_record(&lane.position)),
        (kind, _, _) => Err(format!(
            "a lane of kind `{}` with these keys is not known",
            shown(kind)
        )),
    }
}
