//! `demo`: the reference experiment, with its operator and its verdict.

use super::{
    exit::{CommandError, Exit},
    output,
};
use crate::{record::PartitionName, run::RunError};
use clap::{Args, ValueEnum};
use plan::Plan;
use std::{fs::OpenOptions, path::PathBuf};
use uuid::Uuid;

mod crash;
mod operator;
mod plan;
mod process;
mod setup;
mod stage;
mod svg;
mod table;
mod verdict;
mod watch;
mod worker;

pub(crate) use process::{WorkerArguments, work};

/// What the demo is asked for.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lanekeeper demo                          100 requests, a cap of 3, in about 15 s\n  lanekeeper demo --crash --seed 7         the same, its worker killed several times\n  lanekeeper demo --svg demo.svg           also draw it
  lanekeeper demo --cap 10 --keys 20 --requests 500 --keep
  lanekeeper demo --store dynamodb         checkpoints and accounts in the table `lanekeeper`"
)]
pub(crate) struct DemoArguments {
    /// Draws requests, delays and failures: the same seed asks for the same [default: the time].
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Requests in the burst; a tenth of them can never succeed.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    requests: u32,
    /// Most requests in flight at once.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    cap: u32,
    /// Accounts that the requests are for: each is a lane.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    keys: u32,
    /// Divides all times of the experiment; 1 is as it was, and takes ten minutes.
    #[arg(long, value_name = "X", default_value_t = 50.0, value_parser = speed)]
    speed: f64,
    /// Kill the worker with SIGKILL several times, also while lanes park and chains drain.
    #[arg(long)]
    crash: bool,
    /// Draw the run: a row for each slot, a bar for each try, coloured by how it ended.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Where checkpoints and accounts are kept.
    #[arg(long, value_enum, default_value_t = StoreChoice::Local)]
    store: StoreChoice,
    /// With `--store dynamodb`: the table; `lanekeeper store init` creates it.
    #[arg(long, value_name = "TABLE", default_value = TABLE)]
    table: String,
    /// Keep the files, and what is in the table, also when the verdict is right.
    #[arg(long)]
    keep: bool,
}

/// `--store`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum StoreChoice {
    /// The embedded default: one SQLite file.
    Local,
    /// A DynamoDB table, under an app of the demo's own that is removed at its end.
    Dynamodb,
}

/// As `store.table` is by default.
const TABLE: &str = "lanekeeper";

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text
        .parse()
        .map_err(|_| "expected a number such as 50".to_owned())?;
    if (0.1..=1_000.0).contains(&speed) {
        Ok(speed)
    } else {
        Err("0.1 to 1000 are allowed".to_owned())
    }
}

/// What one demo leaves behind until its end.
struct Files {
    /// Whose checkpoints and values they are.
    app: String,
    folder: PathBuf,
    config: PathBuf,
    history: PathBuf,
    log: PathBuf,
}

/// The name of one demo's app: a table is shared with others, a file is not.
fn app(store: StoreChoice) -> String {
    match store {
        StoreChoice::Local => "demo".to_owned(),
        StoreChoice::Dynamodb => format!("demo-{}", Uuid::new_v4().simple()),
    }
}

/// The source and topic of the burst.
const REQUESTS: &str = "requests";

fn partitions(count: u32) -> Vec<PartitionName> {
    (0..count)
        .map(|n| PartitionName::new(REQUESTS, &format!("{REQUESTS}/{n}")))
        .collect()
}

/// Runs the demo.
pub(crate) fn run(arguments: &DemoArguments) -> Result<Exit, CommandError> {
    if let Some(path) = &arguments.svg {
        // Said now, not when all is over.
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened.map_err(|error| {
            CommandError::OutOfReach(format!("cannot write {}: {error}", path.display()))
        })?;
    }
    if arguments.store == StoreChoice::Dynamodb && !cfg!(feature = "dynamodb") {
        return Err(CommandError::Run(RunError::NotBuilt {
            what: "--store",
            feature: "dynamodb",
        }));
    }
    let seed = arguments
        .seed
        .unwrap_or_else(|| u64::try_from(output::now()).unwrap_or(0) % 1_000_000);
    let plan = Plan::new(seed, arguments.requests, arguments.keys, arguments.speed);
    output::note(&format!(
        "demo: {} requests for {} accounts at once, {} of them can never succeed; cap {}, tries of up to 10 s under a timeout of 6 s, all times divided by {}; seed {seed}",
        plan.requests.len(),
        plan.accounts.len(),
        plan.requests.iter().filter(|r| !plan.is_valid(r)).count(),
        arguments.cap,
        arguments.speed,
    ));
    let folder = tempfile::Builder::new()
        .prefix("lanekeeper-demo-")
        .tempdir()
        .map_err(|error| CommandError::OutOfReach(format!("no temporary folder: {error}")))?
        // Kept until the verdict is known: a panic or a signal leaves the evidence.
        .keep();
    let files = Files {
        app: app(arguments.store),
        config: folder.join("lanekeeper.toml"),
        history: folder.join("history.jsonl"),
        log: folder.join("worker.log"),
        folder,
    };
    let verdict = stage::play(arguments, &plan, &files);
    let keep = arguments.keep || !verdict.as_ref().is_ok_and(verdict::Verdict::is_right);
    let no_table = matches!(&verdict, Err(CommandError::Run(RunError::Table(_))));
    if arguments.store == StoreChoice::Dynamodb && !no_table {
        table::end(&files, &arguments.table, keep);
    }
    if keep {
        output::note(&format!(
            "demo: its files are kept in {}",
            files.folder.display()
        ));
    } else if let Err(error) = std::fs::remove_dir_all(&files.folder) {
        output::note(&format!(
            "demo: {} could not be removed: {error}",
            files.folder.display()
        ));
    }
    let verdict = verdict?;
    output::data(&verdict.to_string())?;
    let right = verdict.is_right();
    output::data(if right {
        "verdict: right"
    } else {
        "verdict: WRONG (please report it with the files above)"
    })?;
    Ok(if right { Exit::Fine } else { Exit::Internal })
}
