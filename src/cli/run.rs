//! `lanekeeper run`: a worker, until it is idle or told to stop.

use super::{
    Common,
    exit::{self, CommandError, Exit},
    output, report,
};
use crate::{
    config::{Config, duration_text},
    processor::{Outcome, Report, Stop},
    run::{RunError, RunOptions, Signals, Worker, target},
};
use clap::Args;
use progress::{Counted, Progress};
use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

mod progress;

/// How long threads of the runtime may take to end: what they do is durable or void by then.
const SHUTDOWN: Duration = Duration::from_secs(1);

#[derive(Args)]
#[command(after_help = "Examples:
  lanekeeper run
  lanekeeper run --until-idle --report - | jq .done
  lanekeeper run --until-idle --history run.jsonl && lanekeeper audit run.jsonl

SIGINT or SIGTERM drains: nothing new starts, what is in flight is waited for, up to `drain`. \
A second signal quits at once; nothing is lost but time.")]
pub(crate) struct RunArguments {
    /// End when idle: the log's end is reached and nothing is in flight, waiting or pending.
    #[arg(long)]
    until_idle: bool,
    /// Take the embedded log over from a worker that is frozen (SIGSTOP, a debugger).
    #[arg(long)]
    take_over: bool,
    /// Write what this process did as a JSON document; `-` is stdout.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Append every event to this file as JSON lines; `lanekeeper audit` checks them.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

pub(crate) fn run(common: &Common, arguments: &RunArguments) -> Result<Exit, CommandError> {
    let config = common.config()?;
    if let Some(path) = { &arguments.report }
        .as_ref()
        .filter(|path| *path != Path::new("-"))
    {
        // Told before the run rather than after it.
        open_report(path, false)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Internal(format!("cannot start a runtime: {error}")))?;
    let end = runtime.block_on(work(&config, arguments));
    runtime.shutdown_timeout(SHUTDOWN);
    let (report, outcome) = end?;
    let exit = exit::of_outcome(&outcome, arguments.until_idle, &report);
    tell(&report, &outcome);
    match &arguments.report {
        None => {}
        Some(path) if path == Path::new("-") => output::json(&report)?,
        Some(path) => write_report(path, &report)?,
    }
    Ok(exit)
}

async fn work(
    config: &Config,
    arguments: &RunArguments,
) -> Result<(Report, Outcome), CommandError> {
    let mut signals = Signals::new().map_err(RunError::Signals)?;
    let counted = Arc::new(Counted::new(
        target(config).await.map_err(RunError::Handler)?,
    ));
    let options = RunOptions {
        until_idle: arguments.until_idle,
        take_over: arguments.take_over,
        history: arguments.history.clone(),
    };
    let worker = Worker::open(config, Arc::clone(&counted) as _, &options)?;
    let progress = Progress::start(config, Arc::clone(&counted));
    let (stop, stops) = mpsc::unbounded_channel();
    let drain = config.drain;
    let pass_on = async {
        signals.next().await;
        output::note(&format!(
            "draining: nothing new starts, {} in flight, waiting for {} at most; a second signal quits \
             at once",
            counted.in_flight(),
            duration_text(drain)
        ));
        let _ = stop.send(Stop::Drain);
        signals.next().await;
        output::note("quitting: what was in flight runs again at the next start");
        let _ = stop.send(Stop::Quit);
        std::future::pending().await
    };
    let end = tokio::select! { biased;
        end = worker.drive(stops) => end,
        never = pass_on => never,
    };
    progress.end();
    Ok(end)
}

/// Says to people how it ended.
fn tell(report: &Report, outcome: &Outcome) {
    match outcome {
        Outcome::Idle => output::note("idle"),
        Outcome::Drained => output::note("drained"),
        Outcome::Abandoned(records) => output::failure(&format!(
            "the drain ended with {} in flight, which run again at the next start: {}",
            super::view::records(records.len() as u64),
            output::shown(&records.join(", "))
        )),
        Outcome::Source(error) => output::failure(&error.to_string()),
        Outcome::Store(what) => output::failure(&format!("the store failed: {what}")),
    }
    for line in report::lines(report) {
        output::note(&line);
    }
}

fn open_report(path: &Path, truncate: bool) -> Result<std::fs::File, CommandError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(truncate)
        .open(path)
        .map_err(|error| {
            let path = path.display();
            CommandError::Usage(format!(
                "the report file `{path}` cannot be written: {error}"
            ))
        })
}

fn write_report(path: &Path, report: &Report) -> Result<(), CommandError> {
    let failed = |error: String| {
        let path = path.display();
        CommandError::OutOfReach(format!("the report file `{path}` was not written: {error}"))
    };
    let mut text = serde_json::to_string(report).map_err(|error| failed(error.to_string()))?;
    text.push('\n');
    open_report(path, true)?
        .write_all(text.as_bytes())
        .map_err(|error| failed(error.to_string()))
}
