//! `lanekeeper store`: creates the store, or removes an app from it.

use super::{Common, block_on, exit::CommandError, output, status::is_alive, view::counted};
#[cfg(feature = "dynamodb")]
use crate::{
    config::StoreKind,
    store::dynamodb::{DynamodbStore, InitError, Made},
};
use crate::{
    config::{Config, SourceKind},
    run::{Locks, Selection, namespace_store, open_store},
    source::local::log::Log,
    sqlite::Access,
};
use clap::{Args, Subcommand};

#[derive(Args)]
#[command(after_help = "Examples:
  lanekeeper store init -c lanekeeper.toml
  lanekeeper store forget billing --yes")]
pub(crate) struct StoreArguments {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Subcommand)]
enum StoreCommand {
    /// Create the store and the embedded logs of the configuration; what is there stays.
    #[command(after_help = "Example:\n  lanekeeper store init -c lanekeeper.toml

In DynamoDB it creates the table (on-demand, protected against deletion), lets `expires_at` expire \
items, and switches point-in-time recovery on. Of a table that is there it mends the last two, and \
says what else is not as wanted. It may be given again at any time.")]
    Init,
    /// Remove all that the store holds of an app: checkpoints, lanes with their records, values. The
    /// embedded log's records stay. There is no way back.
    #[command(after_help = "Example:\n  lanekeeper store forget billing --yes")]
    Forget {
        /// The app, as `app` of the configuration names it.
        app: String,
        /// Really.
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) fn run(common: &Common, arguments: &StoreArguments) -> Result<(), CommandError> {
    let config = common.config()?;
    match &arguments.command {
        StoreCommand::Init => init(&config),
        StoreCommand::Forget { app, yes } => forget(config, app, *yes),
    }
}

fn init(config: &Config) -> Result<(), CommandError> {
    let store = open_store(config, Access::Create)?;
    #[cfg(feature = "dynamodb")]
    if let StoreKind::Dynamodb { table } = &config.store.kind {
        init_table(&DynamodbStore::new(table, &config.app))?;
    }
    for path in local_paths(config) {
        Log::open(path, Access::Create).map_err(|e| super::exit::log_error(&e, e.to_string()))?;
    }
    output::note(&format!("{} is ready", store.describe()));
    Ok(())
}

#[cfg(feature = "dynamodb")]
fn init_table(store: &DynamodbStore) -> Result<(), CommandError> {
    let made = block_on(async {
        store.init().await.map_err(|error| match error {
            InitError::Key { .. } => CommandError::Usage(error.to_string()),
            InitError::Status { .. } | InitError::NotInTime { .. } | InitError::Call { .. } => {
                CommandError::OutOfReach(error.to_string())
            }
        })
    })?;
    for one in made {
        output::note(&match one {
            Made::Found(what) => format!("as wanted: {what}"),
            Made::Done(what) => format!("done: {what}"),
            Made::Left(what) => format!("left as it is: {what}"),
        });
    }
    Ok(())
}

fn local_paths(config: &Config) -> impl Iterator<Item = &std::path::PathBuf> {
    config
        .sources
        .iter()
        .filter_map(|source| match &source.kind {
            SourceKind::Local { path, .. } => Some(path),
            SourceKind::Kafka { .. }
            | SourceKind::Kinesis { .. }
            | SourceKind::DynamodbStreams { .. }
            | SourceKind::Sqs { .. } => None,
        })
}

fn forget(mut config: Config, app: &str, yes: bool) -> Result<(), CommandError> {
    app.clone_into(&mut config.app);
    config.validate()?;
    let store = open_store(&config, Access::Existing)?;
    block_on(async {
        let partitions = store.partitions().await?;
        if partitions.is_empty() {
            return Err(CommandError::Usage(format!(
                "{} holds nothing: is the name right?",
                store.describe()
            )));
        }
        let now = output::now();
        let workers = store.workers().await?;
        if let Some(worker) = workers.iter().find(|item| is_alive(item, now)) {
            return Err(CommandError::Usage(format!(
                "app `{app}` is run by process {} on `{}`: stop it first",
                worker.pid,
                output::shown(&worker.host)
            )));
        }
        let lanes: u64 = super::view::all_lanes(&*store)
            .await?
            .iter()
            .map(|(_, lanes)| lanes.len() as u64)
            .sum();
        let what = format!(
            "checkpoints of {}, {} with their records, and all values of app `{app}`",
            counted(partitions.len() as u64, "partition"),
            counted(lanes, "stopped or parked lane"),
        );
        if !yes {
            return Err(CommandError::Usage(format!(
                "this would remove {what}, without a way back: say `--yes` to do it"
            )));
        }
        // A replay that runs would go on writing.
        let _locks = Locks::take(&config, &Selection::default(), true)?;
        namespace_store(&config, Access::Existing)?.forget().await?;
        store.forget().await?;
        output::note(&format!("removed {what}"));
        Ok(())
    })
}
