//! `lanekeeper lanes`: looks at stopped and parked lanes and decides what becomes of them.

use super::{
    Common, block_on,
    exit::{CommandError, Exit},
    output,
    view::{LaneView, RecordView, all_lanes, key_text, lane_text},
};
use crate::{
    record::{Assignment, LaneKey, PartitionName, Record},
    run::open_store,
    sqlite::Access,
    store::{LaneItem, LaneState, Store, Verb},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::sync::Arc;

mod decide;

pub(crate) use decide::who;

/// Most bytes of a chain that `show` reads.
const SHOW_BYTES_MAX: u64 = 64 << 20;

#[derive(Args)]
#[command(after_help = "Examples:
  lanekeeper lanes list                                    what stands, and why
  lanekeeper lanes show --key acct-7                       one of them, with its records
  lanekeeper lanes retry --key acct-7 --why 'account created' --wait
  lanekeeper lanes release --all

A decision is written into the store, and the worker that owns the lane acts on it, at once or when it \
runs again. Until a worker has taken it another one can be decided in its place.")]
pub(crate) struct LanesArguments {
    #[command(subcommand)]
    command: LanesCommand,
}

#[derive(Subcommand)]
enum LanesCommand {
    /// All lanes that are stopped, parked or draining.
    #[command(after_help = "Example:\n  lanekeeper lanes list --source orders --json")]
    List {
        #[command(flatten)]
        place: Place,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// One lane with the records that it holds back in the store.
    #[command(after_help = "Example:\n  lanekeeper lanes show --key acct-7 --records 20")]
    Show {
        #[command(flatten)]
        which: Which,
        /// Most records to show of each lane.
        #[arg(long, default_value_t = 10, value_name = "N")]
        records: usize,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Try the head again, its attempts forgotten; a parked lane is released.
    #[command(
        after_help = "Example:\n  lanekeeper lanes retry --key acct-7 --why 'account created' --wait"
    )]
    Retry(Decide),
    /// Pass the head without doing it; the rest of a parked lane stays parked.
    #[command(
        after_help = "Example:\n  lanekeeper lanes skip --key acct-7 --why 'sent by mistake'"
    )]
    Skip(Decide),
    /// Move a stopped lane into the store, so that its partition's checkpoint goes on.
    #[command(after_help = "Example:\n  lanekeeper lanes park --all --source orders")]
    Park(Decide),
    /// Publish the head to `failure.dead_letter`, then pass it.
    #[command(
        after_help = "Example:\n  lanekeeper lanes dead-letter --key acct-7 --why 'see ticket 12'"
    )]
    DeadLetter(Decide),
    /// Let a parked lane run, in order.
    #[command(
        after_help = "Example:\n  lanekeeper lanes release --all --why 'target mended' --wait"
    )]
    Release(Decide),
}

/// Where to look.
#[derive(Args)]
struct Place {
    /// Only lanes of this source.
    #[arg(long)]
    source: Option<String>,
    /// Only lanes of this partition, such as orders/3.
    #[arg(long)]
    partition: Option<String>,
}

/// Which lanes.
#[derive(Args)]
struct Which {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    place: Place,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Name {
    /// The lane of this key.
    #[arg(long, value_name = "K")]
    key: Option<String>,
    /// The lane of this key, in base64: for keys that are not text.
    #[arg(long, value_name = "B")]
    key_base64: Option<String>,
    /// The lanes of records without key.
    #[arg(long)]
    no_key: bool,
    /// All lanes in a state that offers it, lanes of whole partitions among them.
    #[arg(long)]
    all: bool,
}

#[derive(Args)]
struct Decide {
    #[command(flatten)]
    which: Which,
    /// Kept in the history with the decision.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Wait until the running worker has acted on it.
    #[arg(long)]
    wait: bool,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

type Lane = (PartitionName, LaneItem);

/// What `--json` prints.
#[derive(Serialize)]
struct Document<L> {
    format: u32,
    lanes: Vec<L>,
}

/// A lane with records of its own.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    lane: LaneView,
    records: Vec<RecordView>,
}

pub(crate) fn run(common: &Common, arguments: LanesArguments) -> Result<Exit, CommandError> {
    let config = common.config()?;
    let (verb, arguments) = match arguments.command {
        LanesCommand::List { place, json } => {
            return block_on(list(&*open_store(&config, Access::Read)?, &place, json));
        }
        LanesCommand::Show {
            which,
            records,
            json,
        } => {
            let store = open_store(&config, Access::Read)?;
            return block_on(show(&*store, &which, records, json));
        }
        LanesCommand::Retry(arguments) => (Verb::Retry, arguments),
        LanesCommand::Skip(arguments) => (Verb::Skip, arguments),
        LanesCommand::Park(arguments) => (Verb::Park, arguments),
        LanesCommand::DeadLetter(arguments) => (Verb::DeadLetter, arguments),
        LanesCommand::Release(arguments) => (Verb::Release, arguments),
    };
    let store = open_store(&config, Access::Existing)?;
    block_on(decide::run(&config, &*store, verb, &arguments))
}

impl Place {
    fn has(&self, partition: &PartitionName) -> bool {
        let of_source = { self.source.as_ref() }.is_none_or(|wanted| **wanted == *partition.source);
        let is_meant = |wanted: &String| partition.is_meant_by(wanted);
        of_source && self.partition.as_ref().is_none_or(is_meant)
    }

    fn text(&self) -> String {
        let source = { &self.source }
            .as_ref()
            .map(|s| format!(" of source `{s}`"));
        let partition = { &self.partition }
            .as_ref()
            .map(|p| match p.starts_with("shardId-") {
                true => {
                    format!(" in partition `{p}` (lanes of a stream's keys are in partition `*`)")
                }
                false => format!(" in partition `{p}`"),
            });
        source.unwrap_or_default() + &partition.unwrap_or_default()
    }
}

impl Which {
    /// The key that was asked for; `None` where none was.
    fn key(&self) -> Result<Option<LaneKey>, CommandError> {
        if let Some(base64) = &self.name.key_base64 {
            let key = STANDARD.decode(base64).map_err(|error| {
                CommandError::Usage(format!("`--key-base64 {base64}` is not base64: {error}"))
            })?;
            return Ok(Some(LaneKey::of_key(&key)));
        }
        Ok({ &self.name.key }
            .as_ref()
            .map(|key| LaneKey::of_key(key.as_bytes())))
    }

    /// The lanes that are meant. Unless `--all` or `--no-key` says so, there is exactly one.
    async fn find(&self, store: &dyn Store) -> Result<Vec<Lane>, CommandError> {
        let key = self.key()?;
        let meant = |item: &LaneItem| match &key {
            Some(key) => item.lane == *key,
            None if self.name.no_key => matches!(item.lane.bytes().first(), Some(b'n' | b'e')),
            None => true,
        };
        let found: Vec<Lane> = all_lanes(store)
            .await?
            .into_iter()
            .filter(|(partition, _)| self.place.has(partition))
            .flat_map(|(partition, lanes)| {
                lanes.into_iter().map(move |lane| (partition.clone(), lane))
            })
            .filter(|(_, item)| meant(item))
            .collect();
        if key.is_some() && found.len() > 1 {
            let places: Vec<_> = found.iter().map(|(p, _)| format!("`{p}`")).collect();
            return Err(CommandError::Usage(format!(
                "{} has a lane in each of {}: say which by `--source` and `--partition`",
                self.text(key.as_ref()),
                places.join(", ")
            )));
        }
        if found.is_empty() {
            return Err(CommandError::Usage(format!(
                "no lane of {}{} is stopped or parked in {}: `lanekeeper lanes list` shows those that are",
                self.text(key.as_ref()),
                self.place.text(),
                store.describe()
            )));
        }
        Ok(found)
    }

    fn text(&self, key: Option<&LaneKey>) -> String {
        match key {
            Some(key) => key_text(key),
            None if self.name.no_key => "records without key".to_owned(),
            None => "any kind".to_owned(),
        }
    }
}

async fn list(store: &dyn Store, place: &Place, json: bool) -> Result<Exit, CommandError> {
    let all = all_lanes(store).await?;
    let lanes: Vec<(&PartitionName, &LaneItem)> = all
        .iter()
        .filter(|(partition, _)| place.has(partition))
        .flat_map(|(partition, lanes)| lanes.iter().map(move |lane| (partition, lane)))
        .collect();
    if json {
        let lanes: Vec<_> = lanes
            .iter()
            .map(|(p, lane)| LaneView::new(p, lane))
            .collect();
        output::json(&Document { format: 1, lanes })?;
        return Ok(Exit::Fine);
    }
    if lanes.is_empty() {
        output::note(&format!("no lane{} is stopped or parked", place.text()));
    }
    let now = output::now();
    for (partition, item) in lanes {
        output::raw(lane_text(partition, item, now).as_bytes())?;
    }
    Ok(Exit::Fine)
}

async fn show(
    store: &dyn Store,
    which: &Which,
    records_max: usize,
    json: bool,
) -> Result<Exit, CommandError> {
    let mut documents = Vec::new();
    for (partition, item) in which.find(store).await? {
        let records = records(store, &partition, &item, records_max).await?;
        if json {
            let lane = LaneView::new(&partition, &item);
            documents.push(Shown { lane, records });
        } else {
            let mut text = lane_text(&partition, &item, output::now());
            for record in &records {
                text.push_str("  ");
                text.push_str(&record.text());
            }
            output::raw(text.as_bytes())?;
        }
    }
    if json {
        output::json(&Document {
            format: 1,
            lanes: documents,
        })?;
    }
    Ok(Exit::Fine)
}

/// A stopped lane's head where the item holds it, else the chain's first records.
async fn records(
    store: &dyn Store,
    partition: &PartitionName,
    item: &LaneItem,
    records_max: usize,
) -> Result<Vec<RecordView>, CommandError> {
    let owner = store.ownership(partition).await?;
    let assignment = Arc::new(Assignment {
        name: partition.clone(),
        epoch: owner.as_ref().map_or(0, |owner| owner.epoch),
        generation: owner.map_or(0, |owner| owner.generation),
    });
    if item.state == LaneState::Stopped {
        let Some(stored) = &item.record else {
            return Ok(Vec::new());
        };
        let head = Record::from_stored(&assignment, item.head.clone(), stored);
        let head = head.map_err(|error| {
            CommandError::OutOfReach(format!("{partition} at {}: {error}", item.head))
        })?;
        return Ok(vec![RecordView::new(&head)]);
    }
    let chain = store.chain(&assignment, &item.lane, None, records_max, SHOW_BYTES_MAX);
    Ok(chain.await?.iter().map(RecordView::new).collect())
}
