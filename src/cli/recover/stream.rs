//! `recover` of a stream: another invocation of its function, from an operator's machine.

use super::{
    super::{
        exit::{CommandError, Exit},
        output::{self, table},
        report::{self, Advice},
        run::{
            Reporting,
            session::{self, Session, Shows},
        },
        stream::{self, Streamed},
        view::records,
        when::When,
    },
    RecoverArguments,
};
use crate::{
    config::{Config, SourceConfig},
    lambda::{
        self, Function,
        recovery::{
            self, Barred, Recovery, RecoveryError, Until, Went, Why, Work, destination::GivenUp,
        },
    },
    processor::{Report, Stop},
    program::Program,
    run::Selection,
    source::OnGap,
};
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::mpsc::UnboundedReceiver;

mod failures;

/// The document.
#[derive(Serialize)]
struct Document {
    format: u32,
    app: String,
    partitions: Vec<Recovered>,
}

/// A part of a shard.
#[derive(Serialize)]
struct Recovered {
    source: String,
    partition: String,
    /// First and last position that were read; `null`: none.
    first: Option<String>,
    last: Option<String>,
    read: u64,
    /// Of these: settled before, as marks say.
    settled_before: u64,
    /// Settled now.
    settled: u64,
    /// Not settled: heads of lanes that stand and what is behind them, or what another invocation has.
    open: u64,
    /// What is gone, or why nothing was run.
    gap: Option<String>,
    left_out: Option<String>,
}

/// All that became of it.
#[derive(Default)]
struct Summary {
    rows: Vec<Recovered>,
    report: Option<Report>,
    /// Records are open, whether or not a lane stands.
    is_open: bool,
    lost: bool,
    is_cut: bool,
    failed: Option<CommandError>,
}

pub(super) fn run(
    config: &Config,
    program: Option<&Program>,
    arguments: &RecoverArguments,
    reporting: &Reporting<'_>,
) -> Result<Exit, CommandError> {
    let given_up = { arguments.from_failure.as_deref() }
        .map(failures::read)
        .transpose()?;
    let summary = session::within(work(config, program, arguments, given_up.as_deref()))?;
    if let Some(report) = &summary.report {
        for line in report::lines(report, Advice::Lanes(config.order.by)) {
            output::note(&line);
        }
    }
    for row in &summary.rows {
        for (what, text) in [("", &row.gap), ("left out: ", &row.left_out)] {
            if let Some(text) = text {
                let place = format!("{}/{}", row.source, row.partition);
                output::failure(&format!("`{place}`: {what}{text}"));
            }
        }
    }
    let stands = summary
        .report
        .as_ref()
        .is_some_and(|report| !report.stopped_lanes.is_empty() || !report.parked_lanes.is_empty());
    if summary.is_cut {
        output::note("stopped before the end: the same command goes on");
    }
    if arguments.json {
        output::json(&Document {
            format: 1,
            app: config.app.clone(),
            partitions: summary.rows,
        })?;
    } else {
        for line in text(&summary.rows).lines() {
            output::note(line);
        }
    }
    if let Some(report) = &summary.report {
        reporting.write(report)?;
    }
    match summary.failed {
        Some(error) => Err(error),
        None => Ok(stream::exit(
            stands || summary.is_open,
            summary.lost,
            summary.is_cut,
        )),
    }
}

async fn work(
    config: &Config,
    program: Option<&Program>,
    arguments: &RecoverArguments,
    given_up: Option<&[GivenUp]>,
) -> Result<Summary, CommandError> {
    let selection = Selection {
        source: arguments.source.clone(),
        partition: arguments.partition.clone(),
    };
    // What it would work on is looked at before the handler is.
    let parts = match given_up {
        Some(given_up) => failures::lost(config, given_up).await?,
        None => open(config, &selection, arguments.from.as_ref()).await?,
    };
    let store = lambda::mark_store(config).map_err(stream::unfit)?;
    let session = Session::new(program, config, |target, _| target).await?;
    let function = lambda::function(config, store, session.target()).map_err(stream::unfit)?;
    let is_of_failures = given_up.is_some();
    let go = |stops| run_all(&function, parts, is_of_failures, stops);
    Ok(session.pass(config, Shows::Calls, go).await)
}

/// What is run of one stream.
struct Parts<'c> {
    streamed: Streamed<'c>,
    works: Vec<Part>,
}

enum Part {
    Work(Box<Work>),
    /// An event that came with the record about it.
    Event(Box<lambda::Delivery>),
    /// The shard is gone with its records.
    Gone {
        shard: String,
        from: String,
    },
}

/// What is open, by lanes and marks, or from where it is said.
async fn open<'c>(
    config: &'c Config,
    selection: &Selection,
    from: Option<&When>,
) -> Result<Vec<Parts<'c>>, CommandError> {
    let store = lambda::mark_store(config).map_err(stream::unfit)?;
    let streams = stream::open(config, selection).await?;
    let count = streams.iter().map(|streamed| streamed.shards.len()).sum();
    let mut all = Vec::new();
    for streamed in streams {
        streamed.one_shard(from, count)?;
        streamed.marks_last().await?;
        streamed.parents_first(&*store).await?;
        let mut works = Vec::new();
        for shard in &streamed.shards {
            let from = from.unwrap_or(&When::Checkpoint);
            if let Some(start) = streamed.start(&*store, shard, from).await? {
                works.push(Part::Work(Box::new(Work {
                    shard: shard.clone(),
                    from: start,
                    until: Until::Now,
                    key: None,
                    on_gap: streamed.source.on_gap,
                })));
            }
        }
        all.push(Parts { streamed, works });
    }
    Ok(all)
}

/// Runs one stream after the other, and of each one shard after the other.
async fn run_all(
    function: &Function,
    parts: Vec<Parts<'_>>,
    is_of_failures: bool,
    stops: UnboundedReceiver<Stop>,
) -> Summary {
    let mut summary = Summary::default();
    let mut stops = Some(stops);
    for part in parts {
        let Some(own) = stops.take() else { break };
        let streamed = part.streamed;
        let source = streamed.source;
        let recovery = Recovery::new(function, streamed.stream.clone(), &source.name, own)
            .behind_fan_out(streamed.fans_out);
        // What a mapping has given up does not wait for what else is gone.
        let on_gap = if is_of_failures {
            OnGap::Latest
        } else {
            source.on_gap
        };
        let mut running = Running {
            barred: recovery.barred(on_gap),
            recovery,
            source,
            is_of_failures,
            summary: &mut summary,
        };
        if let Err(error) = running.all(part.works).await {
            running.summary.failed = Some(stream::recovery_error(error));
        }
        match running.recovery.report(&streamed.shards).await {
            Ok(report) => match &mut running.summary.report {
                Some(sum) => recovery::add(sum, report),
                none @ None => *none = Some(report),
            },
            Err(error) => running.summary.failed = Some(error.into()),
        }
        if running.recovery.is_stopped() || running.summary.failed.is_some() {
            break;
        }
        stops = Some(running.recovery.into_stops());
    }
    summary
}

struct Running<'a> {
    recovery: Recovery<'a>,
    source: &'a SourceConfig,
    barred: Barred,
    is_of_failures: bool,
    summary: &'a mut Summary,
}

impl Running<'_> {
    async fn all(&mut self, works: Vec<Part>) -> Result<(), RecoveryError> {
        self.recovery.drain_chains().await?;
        for part in works {
            if self.recovery.is_stopped() {
                self.summary.is_cut = true;
                return Ok(());
            }
            let mut went = Went::default();
            let (shards, ended) = match part {
                Part::Gone { shard, from } => {
                    let gap = format!(
                        "records from {from} on are asked for and gone: the stream has no such shard any more"
                    );
                    self.note(&shard, went, Some(gap), None);
                    continue;
                }
                Part::Event(delivery) => {
                    let names = delivery.partitions.iter().map(|d| Arc::clone(d.name()));
                    (
                        names.collect::<Vec<_>>(),
                        self.recovery.batch(*delivery, &mut went).await,
                    )
                }
                Part::Work(work) => {
                    let id = Arc::clone(&work.shard.id);
                    if let Some((parent, why)) = self.barred.parent_of(&work.shard) {
                        let text = format!("what its parent `{parent}` holds comes before it");
                        self.summary.lost |= why == Why::Lost;
                        self.summary.is_open |= why == Why::Stands;
                        self.note(&id, went, None, Some(text));
                        continue;
                    }
                    (vec![id], self.recovery.run(&work, &mut went).await)
                }
            };
            let gap = went.gap.as_ref().map(ToString::to_string);
            for shard in &shards {
                self.barred.note(shard, &went);
            }
            self.note(&shards.join(", "), went, gap, None);
            ended?;
        }
        Ok(())
    }

    fn note(&mut self, shard: &str, went: Went, gap: Option<String>, left_out: Option<String>) {
        let refused = went.gap.as_ref().is_none_or(|gap| !gap.went_on) && gap.is_some();
        let is_latest = self.source.on_gap == OnGap::Latest;
        // What a mapping has given up is asked for by name.
        self.summary.lost |= gap.is_some() && (self.is_of_failures || (refused && !is_latest));
        self.summary.is_open |= went.open > 0;
        if went.adrift > 0 {
            output::note(&format!(
                "`{}/{shard}`: {} open in no lane that stands: another invocation has them, or had when it was killed; the same command tries again",
                self.source.name,
                records(went.adrift)
            ));
        }
        self.summary.is_cut |= went.is_cut;
        self.summary.rows.push(Recovered {
            source: self.source.name.clone(),
            partition: shard.to_owned(),
            first: went.first.as_ref().map(ToString::to_string),
            last: went.last.as_ref().map(ToString::to_string),
            read: went.read,
            settled_before: went.known,
            settled: went.read.saturating_sub(went.known + went.open),
            open: went.open,
            gap,
            left_out,
        });
    }
}

fn text(rows: &[Recovered]) -> String {
    if rows.is_empty() {
        return "nothing is open, as far as the table says\n".to_owned();
    }
    let row = |row: &Recovered| {
        vec![
            format!("{}/{}", row.source, row.partition),
            row.read.to_string(),
            row.settled_before.to_string(),
            row.settled.to_string(),
            row.open.to_string(),
            row.last.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let cells: Vec<_> = rows.iter().map(row).collect();
    let headings = [
        "SHARD",
        "READ",
        "SETTLED BEFORE",
        "SETTLED NOW",
        "OPEN",
        "LAST",
    ];
    table(&headings, &cells)
}

#[cfg(test)]
mod tests;
