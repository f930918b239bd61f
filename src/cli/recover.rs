//! `lanekeeper recover`: runs what is open, in place, up to where the logs end now.

use super::{
    Common,
    exit::{self, CommandError, Exit},
    output::{self, table},
    report::Advice,
    run::{
        Reporting,
        session::{self, Session, Shows},
        tell,
    },
    status::{Seen, Standing},
    view::records,
    when::When,
};
use crate::{
    config::Config,
    processor::{Outcome, Report},
    program::Program,
    record::PartitionName,
    run::{RunOptions, Selection, Worker, open_store},
    sqlite::Access,
};
use clap::Args;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

#[cfg(feature = "kinesis")]
mod stream;

#[derive(Args)]
#[command(after_help = "Examples:
  lanekeeper recover
  lanekeeper recover --source orders --partition orders/3
  lanekeeper recover --from-failure record.json
  lanekeeper recover --json | jq '.partitions[] | select(.after.not_settled > 0)'

It is `run` with an end: it takes the app's lock, so it is refused by name while a worker runs; of \
Kafka it asks brokers and store who is at work. It claims the partitions, runs what is open of them in order, acts on decisions that wait, leaves \
stopped and parked lanes as they are, moves the checkpoint, and ends when it has reached the end \
that the log had when it began. What was put later is left to the next worker, as are all other \
partitions.

A stream of Kinesis has no worker: its mapping delivers it to a function. There it is another \
invocation of that function, from here: it reads shards, parents before children, from the lowest \
place that may be open as marks and lanes say, or from --from; what marks call done does not run, and \
lanes are honoured. The mapping may go on meanwhile. --from-failure reads what a mapping has given up \
again, as its on-failure destination names it: the record itself, a message of SQS or SNS with it, or \
a list of these. What retention has removed is named, and the exit code is 4.

Exit codes are those of `run --until-idle`: 3 when lanes stand or, of a stream, records are open.")]
pub(crate) struct RecoverArguments {
    /// Only this partition, such as orders/3, or this shard; the others are left to nobody.
    #[arg(long, visible_alias = "shard", value_name = "P")]
    partition: Option<String>,
    /// Only partitions of this source.
    #[arg(long, value_name = "S")]
    source: Option<String>,
    /// Of a stream: begin here (`checkpoint`, a time or a position) instead of at what is open.
    #[arg(long, value_name = "WHEN")]
    from: Option<When>,
    /// Of a stream: run what its mapping has given up, as this file says; `-` is stdin.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "partition", "source"])]
    from_failure: Option<PathBuf>,
    /// Take the embedded log over from a worker that is frozen (SIGSTOP, a debugger).
    #[arg(long)]
    take_over: bool,
    /// Print what was open before and after as one JSON document.
    #[arg(long)]
    json: bool,
    /// Write what this process did as a JSON document; `-` is stdout.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Append every event to this file as JSON lines; `lanekeeper audit` checks them.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

/// The document.
#[derive(Serialize)]
struct Document {
    format: u32,
    app: String,
    partitions: Vec<Recovered>,
}

/// A partition, before and after.
#[derive(Serialize)]
struct Recovered {
    source: String,
    partition: String,
    /// Where the log ended at the start; `null`: nothing was ever in it.
    end: Option<String>,
    before: Open,
    after: Open,
    /// Records that were put meanwhile, and left.
    arrived: u64,
}

/// What is open of a partition, up to the end that the log had at the start.
#[derive(Serialize)]
struct Open {
    frontier: Option<String>,
    not_settled: u64,
    stopped: usize,
    parked: usize,
    decisions: usize,
}

pub(crate) fn run(common: &Common, arguments: &RecoverArguments) -> Result<Exit, CommandError> {
    let config = common.config()?;
    if arguments.json && arguments.report.as_deref() == Some(Path::new("-")) {
        return Err(CommandError::Usage(
            "`--json` and `--report -` would both write to stdout: name a file for one of them"
                .to_owned(),
        ));
    }
    let reporting = Reporting::new(arguments.report.as_deref())?;
    let selection = Selection {
        source: arguments.source.clone(),
        partition: arguments.partition.clone(),
    };
    #[cfg(feature = "kinesis")]
    if arguments.from_failure.is_some() || super::stream::are_meant(&config, &selection)? {
        if arguments.history.is_some() {
            return Err(CommandError::Usage(
                "`--history`: none is written of a stream: its records are run by invocations, which have none".to_owned(),
            ));
        }
        if arguments.take_over {
            return Err(CommandError::Usage(
                "`--take-over`: nobody owns a stream, and there is nothing to take over".to_owned(),
            ));
        }
        return stream::run(&config, common.program(), arguments, &reporting);
    }
    if arguments.from.is_some() || arguments.from_failure.is_some() {
        return Err(CommandError::Usage(
            "`--from` and `--from-failure` are for streams of Kinesis: other sources have a checkpoint, which says what is open (a stream needs a build with the feature `kinesis`)".to_owned(),
        ));
    }
    let options = RunOptions {
        take_over: arguments.take_over,
        history: arguments.history.clone(),
        recover: Some(selection),
        ..RunOptions::default()
    };
    let (end, found) = session::within(work(&config, common.program(), &options))?;
    let (report, outcome) = end;
    let exit = exit::of_outcome(&outcome, true, &report);
    tell(&report, &outcome, Advice::Lanes(config.order.by));
    if arguments.json {
        output::json(&Document {
            format: 1,
            app: config.app,
            partitions: found,
        })?;
    } else {
        for line in summary(&found).lines() {
            output::note(line);
        }
    }
    reporting.write(&report)?;
    Ok(exit)
}

async fn work(
    config: &Config,
    program: Option<&Program>,
    options: &RunOptions,
) -> Result<((Report, Outcome), Vec<Recovered>), CommandError> {
    let session = Session::new(program, config, |target, _| target).await?;
    #[cfg(feature = "kafka")]
    if let Some(selection) = &options.recover {
        let else_do = "they do what a recovery does, and go on";
        super::attended::unattended(config, selection, else_do).await?;
    }
    let worker = Worker::open(config, session.target(), options)?;
    let ends = worker.ends().clone();
    let store = open_store(config, Access::Read)?;
    // The lock is held: nobody else settles anything.
    let before = Seen::read(config, &*store).await?.standings();
    let end = session.drive(config, worker, Shows::Standing).await;
    let after = Seen::read(config, &*store).await?.standings();
    Ok((end, recovered(&ends, &before, &after)))
}

fn recovered(
    ends: &BTreeMap<PartitionName, u64>,
    before: &BTreeMap<PartitionName, Standing>,
    after: &BTreeMap<PartitionName, Standing>,
) -> Vec<Recovered> {
    let both = ends.iter().filter_map(|(name, end)| {
        let (before, after) = (before.get(name)?, after.get(name)?);
        Some(Recovered {
            source: name.source.to_string(),
            partition: name.partition.to_string(),
            end: end.checked_sub(1).map(|last| last.to_string()),
            before: open(before, *end),
            after: open(after, *end),
            arrived: after.next.saturating_sub(*end),
        })
    });
    both.collect()
}

/// What was put behind the end is not settled either, and not meant.
fn open(standing: &Standing, end: u64) -> Open {
    let behind = standing.next.saturating_sub(end);
    Open {
        frontier: standing.frontier.clone(),
        not_settled: standing.not_settled.saturating_sub(behind),
        stopped: standing.stopped,
        parked: standing.parked,
        decisions: standing.decisions,
    }
}

fn summary(found: &[Recovered]) -> String {
    if found.is_empty() {
        return "no partition yet: nothing was put\n".to_owned();
    }
    let change = |before: u64, after: u64| {
        if before == after {
            after.to_string()
        } else {
            format!("{before} -> {after}")
        }
    };
    let row = |p: &Recovered| {
        vec![
            format!("{}/{}", p.source, p.partition),
            change(p.before.not_settled, p.after.not_settled),
            change(p.before.stopped as u64, p.after.stopped as u64),
            change(p.before.parked as u64, p.after.parked as u64),
            p.after.frontier.clone().unwrap_or_else(|| "-".to_owned()),
            p.end.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<_> = found.iter().map(row).collect();
    let headings = [
        "PARTITION",
        "NOT SETTLED",
        "STOPPED",
        "PARKED",
        "FRONTIER",
        "END",
    ];
    let mut text = table(&headings, &rows);
    let sum = |of: fn(&Recovered) -> u64| found.iter().map(of).sum::<u64>();
    text.push_str(&format!(
        "  {} not settled before, {} after",
        records(sum(|p| p.before.not_settled)),
        sum(|p| p.after.not_settled)
    ));
    let arrived = sum(|p| p.arrived);
    if arrived > 0 {
        text.push_str(&format!(
            "; {} came meanwhile and are left",
            records(arrived)
        ));
    }
    text.push('\n');
    text
}
