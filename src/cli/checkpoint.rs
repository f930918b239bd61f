//! `lanekeeper checkpoint`: looks at what is durable of each partition.

use super::{
    Common, block_on,
    exit::{CommandError, Exit},
    output,
};
use crate::{config::Config, record::PartitionName, run::open_store, sqlite::Access, store::Store};
use clap::{Args, Subcommand};
use std::path::PathBuf;

mod act;
mod document;
mod export;
#[cfg(feature = "kafka")]
mod from_group;
mod import;
mod log;
mod past;
mod rewind;
mod view;

#[derive(Args)]
#[command(after_help = "Examples:
  lanekeeper checkpoint list
  lanekeeper checkpoint show --partition orders/3
  lanekeeper checkpoint rewind --partition orders/3 --to 2026-05-01T14:00:00Z --dry-run")]
pub(crate) struct CheckpointArguments {
    #[command(subcommand)]
    command: CheckpointCommand,
}

#[derive(Subcommand)]
enum CheckpointCommand {
    /// Where each partition stands, whose it is, and how old that is.
    #[command(
        after_help = "Example:\n  lanekeeper checkpoint list\n\nOWNER is `released` (a clean end), `live`, or `gone`: a worker is named whose process is not there\nany more."
    )]
    List {
        #[command(flatten)]
        place: Place,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// All of one checkpoint, its lanes, and its history: past checkpoints and operators' acts.
    #[command(
        after_help = "Example:\n  lanekeeper checkpoint show --partition orders/3\n\nThe history names the moments that a rewind can go back to."
    )]
    Show {
        #[command(flatten)]
        place: Place,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Write checkpoints and lanes as one JSON document, which `import` reads.
    #[command(
        after_help = "Example:\n  lanekeeper checkpoint export before-migration.json\n  lanekeeper checkpoint export --partition orders/3 - | jq '.partitions[0].open'"
    )]
    Export {
        #[command(flatten)]
        place: Place,
        /// Where to; `-` is standard output. A file that is there is not overwritten.
        #[arg(default_value = "-", value_name = "FILE")]
        file: PathBuf,
    },
    /// Go back to an earlier place: what was settled from there on runs again.
    #[command(
        after_help = "Examples:\n  lanekeeper checkpoint rewind --partition orders/3 --to 2026-05-01T14:00:00Z --dry-run\n  lanekeeper checkpoint rewind --partition orders/3 --to 1207 --why 'bad deploy'\n  lanekeeper checkpoint rewind --partition orders/3 --to history:2026-05-01T14:00:00Z --chains keep\n\nRecords that run again have new ids (the generation in them is raised), so that effects they had\napply again, and a target that drops known ids takes them for new ones. Stopped lanes whose head\nlies from there on are tried again. A worker that runs is fenced: of an embedded log it ends with\nexit code 4, and the next `lanekeeper run` begins at the target; of Kafka it goes on from there,\nunless it is a recovery, which ends as well."
    )]
    Rewind(rewind::RewindArguments),
    /// Go on here from what `export` wrote, or from what a consumer group has committed.
    #[command(
        after_help = "Example:\n  lanekeeper checkpoint import before-migration.json --dry-run\n  lanekeeper checkpoint import before-migration.json --why 'new disk'\n  lanekeeper checkpoint import --from-group --dry-run\n\nThe logs must be the ones that were exported from. What stood in parked lanes' chains is read from\nthe log again, and stopped and parked lanes are stopped here. Where this store has checkpoints of its\nown, an import is a rewind: nothing that is not settled here becomes settled, unless\n`--skip-unsettled` says so, and records that run again have new ids.\n\n`--from-group` is for a Kafka topic that another program has worked on: stop it, import, run.\nNothing runs twice then, also of what Parallel Consumer has done out of order, as far as it has\ncommitted it."
    )]
    Import(import::ImportArguments),
}

/// Which partitions.
#[derive(Args)]
struct Place {
    /// Only partitions of this source.
    #[arg(long)]
    source: Option<String>,
    /// Only this partition, such as orders/3.
    #[arg(long, value_name = "P")]
    partition: Option<String>,
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
            .map(|s| format!(" of source `{}`", output::shown(s)));
        let partition = { &self.partition }
            .as_ref()
            .map(|p| format!(" named `{}`", output::shown(p)));
        source.unwrap_or_default() + &partition.unwrap_or_default()
    }

    /// The partitions that are meant, by name.
    async fn find(&self, store: &dyn Store) -> Result<Vec<PartitionName>, CommandError> {
        let mut all = store.partitions().await?;
        all.sort();
        let found: Vec<_> = all.iter().filter(|p| self.has(p)).cloned().collect();
        if found.is_empty() && (self.source.is_some() || self.partition.is_some()) {
            let known: Vec<_> = all.iter().take(20).map(|p| format!("`{p}`")).collect();
            let known = match (known.len(), all.len()) {
                (0, _) => "it holds none yet".to_owned(),
                (n, all) if n < all => {
                    format!("it holds {} and {} more", known.join(", "), all - n)
                }
                _ => format!("it holds {}", known.join(", ")),
            };
            return Err(CommandError::Usage(format!(
                "no partition{} in {}: {known}",
                self.text(),
                store.describe()
            )));
        }
        Ok(found)
    }

    /// The one partition that is meant.
    async fn find_one(&self, store: &dyn Store) -> Result<PartitionName, CommandError> {
        let mut found = self.find(store).await?;
        match (found.pop(), found.len()) {
            (Some(one), 0) => Ok(one),
            (Some(last), _) => {
                found.push(last);
                let names: Vec<_> = found.iter().take(20).map(|p| format!("`{p}`")).collect();
                Err(CommandError::Usage(format!(
                    "{} partitions are meant ({}{}): say which by `--partition`, and `--source` where two sources have one of that name",
                    found.len(),
                    names.join(", "),
                    if found.len() > names.len() {
                        ", …"
                    } else {
                        ""
                    },
                )))
            }
            (None, _) => Err(CommandError::Usage(format!(
                "{} holds no partition yet: nothing was processed",
                store.describe()
            ))),
        }
    }
}

pub(crate) fn run(common: &Common, arguments: CheckpointArguments) -> Result<Exit, CommandError> {
    let config = common.config()?;
    let reading = |config: &Config| open_store(config, Access::Read);
    match arguments.command {
        CheckpointCommand::List { place, json } => {
            let store = reading(&config)?;
            block_on(view::list(&*store, &place, json))?;
        }
        CheckpointCommand::Show { place, json } => {
            let store = reading(&config)?;
            block_on(view::show(&config, &*store, &place, json))?;
        }
        CheckpointCommand::Export { place, file } => {
            let store = reading(&config)?;
            block_on(export::run(&config, &*store, &place, &file))?;
        }
        CheckpointCommand::Import(arguments) => {
            let access = if arguments.how.dry_run {
                Access::Existing
            } else {
                Access::Create
            };
            let store = open_store(&config, access)?;
            block_on(import::run(&config, &*store, &arguments))?;
        }
        CheckpointCommand::Rewind(arguments) => {
            let store = open_store(&config, Access::Existing)?;
            block_on(rewind::run(&config, &*store, &arguments))?;
        }
    }
    Ok(Exit::Fine)
}
