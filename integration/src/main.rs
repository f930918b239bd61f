//! `cargo integration up|test|down`: all tests of lanekeeper, also those that drive the real binary.

use lanekeeper_integration::suite;
use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

const USAGE: &str = "\
Usage: cargo integration COMMAND

  test [ARGS]   all tests of the workspace, then those that drive the real binary; ARGS go to
                `cargo test`, for example a part of a test's name, or `-- --nocapture`
  up            start the servers that tests use
  down          stop what `up` started
";

/// Usage error, as in lanekeeper itself.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    match (command.as_deref(), rest.as_slice()) {
        (Some("test"), args) => test(args),
        (Some("up"), []) => say("nothing to start: the embedded log and store need no server"),
        (Some("down"), []) => say("nothing to stop: no test needs a server yet"),
        (Some("help" | "-h" | "--help"), []) => say(USAGE.trim_end()),
        (Some("up" | "down" | "help" | "-h" | "--help"), [unexpected, ..]) => {
            usage(&format!("unexpected argument `{unexpected}`"))
        }
        (Some(other), _) => usage(&format!("unknown command `{other}`")),
        (None, _) => usage("a command is missing"),
    }
}

fn test(args: &[String]) -> ExitCode {
    match suite::run(args) {
        Ok(tally) if tally.is_success() => say(&tally.to_string()),
        Ok(tally) => {
            say(&tally.to_string());
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn usage(problem: &str) -> ExitCode {
    complain(&format!("{problem}\n\n{}", USAGE.trim_end()));
    ExitCode::from(EXIT_USAGE)
}

fn say(text: &str) -> ExitCode {
    // A reader that has gone away (`| head`) is no failure of the tests.
    let _gone = writeln!(io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn complain(text: &str) {
    let _gone = writeln!(io::stderr(), "error: {text}");
}
