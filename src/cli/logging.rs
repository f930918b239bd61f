//! Where log lines go: to stderr, like all that is no data.

use super::{exit::CommandError, output};
use crate::program::Program;
use std::{
    env,
    io::{self, IsTerminal, Write},
};
use tracing_subscriber::EnvFilter;

/// What is logged: as `RUST_LOG` of other programs.
const FILTER_VARIABLE: &str = "LANEKEEPER_LOG";
const FILTER_DEFAULT: &str = "warn,lanekeeper=info";
/// `json` makes each line a JSON document.
const FORMAT_VARIABLE: &str = "LANEKEEPER_LOG_FORMAT";

/// Begins to log; of a program with a handler of its own, also what that says, unless it has seen to its log
/// itself.
pub(crate) fn start(program: Option<&Program>) -> Result<(), CommandError> {
    let default = program.map_or(FILTER_DEFAULT, |_| Program::LOGS);
    let text = env::var(FILTER_VARIABLE).unwrap_or_else(|_| default.to_owned());
    let filter = EnvFilter::try_new(&text).map_err(|error| {
        CommandError::Usage(format!(
            "environment variable {FILTER_VARIABLE} is `{text}`: {error}; expected a level such as \
             `info`, or `target=level` pairs separated by commas"
        ))
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Line)
        .with_ansi(io::stderr().is_terminal());
    let format = env::var(FORMAT_VARIABLE).unwrap_or_default();
    let started = match format.as_str() {
        "" | "text" => builder.try_init(),
        "json" => builder.json().try_init(),
        other => {
            return Err(CommandError::Usage(format!(
                "environment variable {FORMAT_VARIABLE} is `{other}`: expected `text` or `json`"
            )));
        }
    };
    match started {
        Err(error) if program.is_none() => {
            Err(CommandError::Internal(format!("cannot log: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes one log line.
struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        output::to_stderr(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
