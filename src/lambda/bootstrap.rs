//! The program of a function: the handler that the configuration names, or the program's own.

use super::{ServeError, serve_with, within_lambda};
use crate::{
    config::{Config, Layers},
    program::Program,
    run::{TargetError, unseen},
};
use std::{env, io, process::ExitCode};
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// What is logged, as the command line's variable.
const FILTER_VARIABLE: &str = "LANEKEEPER_LOG";
const FILTER_DEFAULT: &str = "warn,lanekeeper=info";

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootstrapError {
    /// What it is to be.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Its handler.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Its threads.
    #[error("the runtime cannot be started: {0}")]
    Runtime(io::Error),
}

/// Serves invocations as the configuration of this process says (`LANEKEEPER_CONFIG`, else
/// `lanekeeper.toml` beside the program, and variables); logs JSON lines to stderr. On one thread: a
/// function has a processor or a part of one.
pub fn bootstrap() -> ExitCode {
    serve_here(None)
}

/// The same of a program that may have a handler of its own.
pub(crate) fn serve_here(program: Option<&Program>) -> ExitCode {
    log(program.map_or(FILTER_DEFAULT, |_| Program::LOGS));
    let config = within_lambda()
        .and_then(|()| Ok(Config::load(&Layers::of_process(None, Vec::new()))?))
        .map_err(BootstrapError::from);
    match config.and_then(|config| serve_configured(&config, program)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the function cannot be served");
            ExitCode::FAILURE
        }
    }
}

/// The same of a configuration that was read.
pub(crate) fn serve_configured(
    config: &Config,
    program: Option<&Program>,
) -> Result<(), BootstrapError> {
    // Before the handler connects to anything.
    within_lambda()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BootstrapError::Runtime)?;
    runtime.block_on(async {
        let (target, aggregate) = match program {
            Some(program) => (program.target(config).await?, program.aggregate()),
            None => (unseen(config)?, None),
        };
        Ok(serve_with(config, target, aggregate).await?)
    })
}

fn log(filter_default: &str) {
    let text = env::var(FILTER_VARIABLE).unwrap_or_else(|_| filter_default.to_owned());
    let filter: Result<Targets, _> = text.parse();
    let is_known = filter.is_ok();
    let default = || filter_default.parse().unwrap_or_default();
    let lines = fmt::layer().with_writer(io::stderr).json();
    // An application may have set one of its own.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(filter.unwrap_or_else(|_| default()))
        .try_init();
    if !is_known {
        tracing::warn!(
            "environment variable {FILTER_VARIABLE} is `{text}`: expected a level such as `info`, or `target=level` pairs separated by commas"
        );
    }
}
