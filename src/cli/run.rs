//! `lanekeeper run`: a worker, until it is idle or told to stop.

use super::{
    Common,
    exit::{self, CommandError, Exit},
    output,
    report::{self, Advice},
};
use crate::{
    processor::{Outcome, Report},
    run::{RunOptions, Worker, abandoned},
};
use clap::Args;
use session::{Session, Shows};
use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

mod progress;
pub(crate) mod session;

#[derive(Args)]
#[command(after_help = "Examples:
  lanekeeper run
  lanekeeper run --until-idle --report - | jq .done
  lanekeeper run --until-idle --history run.jsonl && lanekeeper audit run.jsonl

SIGINT, SIGTERM or SIGHUP (but under nohup) drains: nothing new starts, what is in flight is waited for, up to `drain`. \
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
    let reporting = Reporting::new(arguments.report.as_deref())?;
    let options = RunOptions {
        until_idle: arguments.until_idle,
        take_over: arguments.take_over,
        history: arguments.history.clone(),
        recover: None,
    };
    let (report, outcome) = session::within(async {
        let session = Session::new(common.program(), &config, |target, _| target).await?;
        let worker = Worker::open(&config, session.target(), &options)?;
        Ok(session.drive(&config, worker, Shows::Standing).await)
    })?;
    let exit = exit::of_outcome(&outcome, arguments.until_idle, &report);
    tell(&report, &outcome, Advice::Lanes(config.order.by));
    reporting.write(&report)?;
    Ok(exit)
}

/// Where a report goes for machines.
pub(crate) struct Reporting<'a>(Option<&'a Path>);

impl<'a> Reporting<'a> {
    /// A file that cannot be written is told of before the run rather than after it.
    pub(crate) fn new(path: Option<&'a Path>) -> Result<Self, CommandError> {
        if let Some(path) = path.filter(|path| *path != Path::new("-")) {
            open_report(path, false)?;
        }
        Ok(Self(path))
    }

    pub(crate) fn write(&self, report: &Report) -> Result<(), CommandError> {
        match self.0 {
            None => Ok(()),
            Some(path) if path == Path::new("-") => output::json(report),
            Some(path) => write_report(path, report),
        }
    }
}

/// Says to people how it ended.
pub(crate) fn tell(report: &Report, outcome: &Outcome, advice: Advice) {
    match outcome {
        Outcome::Idle => output::note("idle"),
        Outcome::Drained => output::note("drained"),
        Outcome::Abandoned(records) => output::failure(&output::shown(&abandoned(records))),
        Outcome::Source(error) => output::failure(&error.to_string()),
        Outcome::Store(what) => output::failure(&format!("the store failed: {what}")),
    }
    for line in report::lines(report, advice) {
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
