//! The demo's worker as a process of its own, so that it can be killed.

use super::{
    Files,
    plan::{Plan, Timing},
    stage::runtime,
    worker::Worker,
};
use crate::{
    cli::exit::{CommandError, Exit},
    config::Config,
    run::{RunOptions, run_until},
};
use clap::Args;
use std::{
    fs::File,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// The worker's own process; not for people.
#[derive(Args)]
pub(crate) struct WorkerArguments {
    folder: PathBuf,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    speed: f64,
}

/// Runs the worker until it is told to stop.
pub(crate) fn work(arguments: &WorkerArguments) -> Result<Exit, CommandError> {
    let path = arguments.folder.join("lanekeeper.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| CommandError::Internal(e.to_string()))?;
    let config = Config::from_toml(&text, &path)?;
    let worker = Worker {
        timing: Timing {
            seed: arguments.seed,
            speed: arguments.speed,
        },
    };
    let options = RunOptions {
        history: Some(arguments.folder.join("history.jsonl")),
        ..RunOptions::default()
    };
    runtime()?.block_on(run_until(
        &config,
        worker,
        options,
        crate::run::terminated(),
    ))?;
    Ok(Exit::Fine)
}

/// The child process, when there is one.
pub(super) struct Process<'a> {
    plan: &'a Plan,
    files: &'a Files,
    child: Option<Child>,
}

impl<'a> Process<'a> {
    pub(super) fn new(plan: &'a Plan, files: &'a Files) -> Self {
        Self {
            plan,
            files,
            child: None,
        }
    }

    pub(super) fn start(&mut self) -> Result<(), CommandError> {
        let out_of_reach = |error: std::io::Error| {
            CommandError::OutOfReach(format!("the worker cannot be started: {error}"))
        };
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.files.log)
            .map_err(out_of_reach)?;
        let child = Command::new(std::env::current_exe().map_err(out_of_reach)?)
            .arg("demo-worker")
            .arg(&self.files.folder)
            .args(["--seed", &self.plan.timing.seed.to_string()])
            .args(["--speed", &self.plan.timing.speed.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(out_of_reach)?;
        self.child = Some(child);
        Ok(())
    }

    /// SIGKILL: nothing of it survives.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; either way it is gone after the wait.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM: it drains and releases.
    pub(super) fn stop(&mut self) -> Result<(), CommandError> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).map_err(|e| {
                CommandError::Internal(format!("the worker cannot be stopped: {e}"))
            })?;
        }
        let status = child
            .wait()
            .map_err(|e| CommandError::Internal(e.to_string()))?;
        if status.success() {
            Ok(())
        } else {
            Err(self.failed(&status.to_string()))
        }
    }

    pub(super) fn check(&mut self) -> Result<(), CommandError> {
        let ended = self
            .child
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten());
        match ended {
            Some(status) => Err(self.failed(&status.to_string())),
            None => Ok(()),
        }
    }

    fn failed(&self, status: &str) -> CommandError {
        let path = self.files.log.display();
        CommandError::Internal(format!("the worker ended with {status}; its log is {path}"))
    }
}
