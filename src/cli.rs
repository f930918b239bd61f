//! The command line: arguments are parsed here, validated and acted on in one module a command.

use crate::{
    config::{Config, Layers},
    program::Program,
};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use exit::{CommandError, Exit};
use std::{future::Future, path::PathBuf, process::ExitCode};

#[cfg(feature = "kafka")]
mod attended;
mod audit;
mod check;
mod checkpoint;
mod completions;
mod cost;
mod demo;
mod ends;
mod exit;
mod init;
#[cfg(feature = "kafka")]
mod kafka;
mod lanes;
mod lint;
mod logging;
mod machine;
mod output;
mod put;
mod recover;
mod replay;
mod report;
mod run;
mod status;
mod store;
#[cfg(feature = "kinesis")]
mod stream;
mod value;
mod view;
mod when;

/// Processes ordered requests: each key in order and stopped at its first failure, other keys going
/// on, under one cap, with exact checkpoints.
#[derive(Parser)]
#[command(
    name = "lanekeeper",
    version,
    propagate_version = true,
    after_help = "Begin with:\n  lanekeeper demo                                 watch it work\n  lanekeeper init                                 write a commented configuration\n  lanekeeper put --topic orders --key account requests.jsonl\n  lanekeeper run --until-idle                     process what is there\n  lanekeeper status                               see what stands where\n\nExit codes: 0 fine, 1 internal, 2 usage or configuration, 3 idle with stopped or parked lanes,\n4 source, store or handler out of reach, 5 found by lint, 130 interrupted.\n\nEnvironment: LANEKEEPER_CONFIG names the configuration, LANEKEEPER__FAILURE__ATTEMPTS=3 sets a key\nof it, LANEKEEPER_LOG=debug says what is logged, LANEKEEPER_LOG_FORMAT=json how."
)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args)]
pub(crate) struct Common {
    /// Configuration file [default: $LANEKEEPER_CONFIG, else ./lanekeeper.toml].
    #[arg(short, long, value_name = "FILE", global = true, display_order = 900)]
    config: Option<PathBuf>,
    /// Set a key of the configuration, such as failure.attempts=3; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", global = true, display_order = 901)]
    set: Vec<String>,
    /// Whose command line this is, if it is not that of `lanekeeper`.
    #[arg(skip)]
    program: Option<Program>,
}

impl Common {
    fn layers(&self) -> Layers {
        Layers::of_process(self.config.clone(), self.set.clone())
    }

    fn config(&self) -> Result<Config, CommandError> {
        Ok(Config::load(&self.layers())?)
    }

    /// Who has the handler, if the configuration does not name it.
    fn program(&self) -> Option<&Program> {
        self.program.as_ref()
    }
}

#[derive(Subcommand)]
enum Command {
    /// Watch a burst of requests go through failures, poison and crashes, in order and under a cap.
    Demo(demo::DemoArguments),
    #[command(hide = true)]
    DemoWorker(demo::WorkerArguments),
    /// Process what the sources hold, until told to stop.
    Run(run::RunArguments),
    /// Run what is open now, in place, and end: bounded, for when the worker is broken or redeployed.
    Recover(recover::RecoverArguments),
    /// Run records again, apart: checkpoint and lanes stay as they are.
    Replay(replay::ReplayArguments),
    /// Serve the Lambda runtime.
    #[command(
        after_help = "A function is deployed with this program, or with `bootstrap`, which is less. Where AWS_LAMBDA_RUNTIME_API is set, no argument is needed.\n\nExample, in the configuration's folder:\n  lanekeeper lambda"
    )]
    Lambda,
    /// Append lines to an embedded log.
    Put(put::PutArguments),
    /// Look at all that a run needs: what is wrong, and how to mend it.
    Check(check::CheckArguments),
    /// Partitions, workers, stopped and parked lanes: where they stand, since when and why.
    Status(status::StatusArguments),
    /// Look at stopped and parked lanes, and decide what becomes of them.
    Lanes(lanes::LanesArguments),
    /// Look at checkpoints, move them to another store, go back to an earlier one.
    Checkpoint(checkpoint::CheckpointArguments),
    /// Read the table that handlers' effects write.
    Value(value::ValueArguments),
    /// Check G1 to G8 over recorded histories.
    Audit(audit::AuditArguments),
    /// Hold templates of CloudFormation and SAM against the facts about event source mappings.
    Lint(lint::LintArguments),
    /// Create the store, or remove an app from it.
    Store(store::StoreArguments),
    /// Write a commented configuration with every key and its default.
    #[command(
        after_help = "Example:\n  lanekeeper init && $EDITOR lanekeeper.toml && lanekeeper check"
    )]
    Init(init::InitArguments),
    /// Print what a shell needs to complete arguments.
    #[command(
        after_help = "Example:\n  lanekeeper completions bash > ~/.local/share/bash-completion/completions/lanekeeper"
    )]
    Completions(completions::CompletionsArguments),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    with(None)
}

/// The same, of a program with a handler of its own.
pub(crate) fn with(program: Option<Program>) -> ExitCode {
    #[cfg(feature = "lambda")]
    if std::env::args_os().len() == 1 && std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        return crate::lambda::serve_here(program.as_ref());
    }
    let mut arguments = match Arguments::from_arg_matches(&command(program.as_ref()).get_matches())
    {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    arguments.common.program = program;
    match dispatch(arguments) {
        Ok(exit) => exit.into(),
        Err(error) => {
            if !error.is_silent() {
                output::failure(&error.to_string());
            }
            error.exit().into()
        }
    }
}

/// What is understood, by the name of whose command line it is.
fn command(program: Option<&Program>) -> clap::Command {
    match program.and_then(Program::name) {
        Some((name, version)) => Arguments::command().name(name).version(version),
        None => Arguments::command(),
    }
}

fn dispatch(arguments: Arguments) -> Result<Exit, CommandError> {
    let common = &arguments.common;
    logging::start(common.program())?;
    match arguments.command {
        Command::Demo(arguments) => return demo::run(&arguments),
        Command::DemoWorker(arguments) => return demo::work(&arguments),
        Command::Run(arguments) => return run::run(common, &arguments),
        Command::Recover(arguments) => return recover::run(common, &arguments),
        Command::Replay(arguments) => return replay::run(common, &arguments),
        Command::Audit(arguments) => return audit::run(&arguments),
        Command::Lint(arguments) => return lint::run(common, &arguments),
        #[cfg(feature = "lambda")]
        Command::Lambda => {
            crate::lambda::serve_configured(&common.config()?, common.program())?;
        }
        #[cfg(not(feature = "lambda"))]
        Command::Lambda => {
            return Err(CommandError::Usage(
                "this build has no `lambda`: build it with `--features lambda,dynamodb`".to_owned(),
            ));
        }
        Command::Put(arguments) => return put::run(common, &arguments),
        Command::Check(arguments) => return check::run(common, &arguments),
        Command::Status(arguments) => status::run(common, &arguments)?,
        Command::Lanes(arguments) => return lanes::run(common, arguments),
        Command::Checkpoint(arguments) => return checkpoint::run(common, arguments),
        Command::Value(arguments) => value::run(common, arguments)?,
        Command::Store(arguments) => store::run(common, &arguments)?,
        Command::Init(arguments) => init::run(&arguments)?,
        Command::Completions(arguments) => completions::run(&arguments, common.program())?,
    }
    Ok(Exit::Fine)
}

/// Runs a short command's future.
fn block_on<T>(future: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::Internal(format!("cannot start a runtime: {error}")))?
        .block_on(future)
}
