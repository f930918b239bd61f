//! `cargo integration up|test|down`: all tests of lanekeeper, also those that drive the real binary.

use lanekeeper_integration::{
    cost::{self, Table},
    emulator::{self, Dynamodb},
    suite::{self, Tally},
};
use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

const USAGE: &str = "\
Usage: cargo integration COMMAND

  test [ARGS]   all tests of the workspace, then those that drive the real binary; ARGS go to
                `cargo test`, for example a part of a test's name, or `-- --nocapture`
  weather       of these, the DynamoDB store's tests while its network and its table fail
  cost [SECONDS]  what the DynamoDB store consumes and costs, busy and idle, each for so long
                [default: 60]
  up            start an emulator of DynamoDB, which tests use from then on
  down          stop what `up` started

Tests use the DynamoDB that LANEKEEPER_TEST_DYNAMODB names, else what `up` started, else an emulator
that `test` starts and ends itself. It is fetched once, into ${LANEKEEPER_CACHE:-~/.cache/lanekeeper}.
";

/// Usage error, as in lanekeeper itself.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    match (command.as_deref(), rest.as_slice()) {
        (Some("test"), args) => test(args, suite::run),
        (Some("weather"), []) => test(&[], |_, _| suite::run_weathers()),
        (Some("cost"), []) => cost("60"),
        (Some("cost"), [seconds]) => cost(seconds),
        (Some("up"), []) => done(emulator::up()),
        (Some("down"), []) => done(emulator::down()),
        (Some("help" | "-h" | "--help"), []) => say(USAGE.trim_end()),
        (Some("cost"), [_, unexpected, ..])
        | (Some("weather" | "up" | "down" | "help" | "-h" | "--help"), [unexpected, ..]) => {
            usage(&format!("unexpected argument `{unexpected}`"))
        }
        (Some(other), _) => usage(&format!("unknown command `{other}`")),
        (None, _) => usage("a command is missing"),
    }
}

/// One DynamoDB for the tests of all binaries. Without one, those that need it fail and the others run.
fn test(
    args: &[String],
    run: impl FnOnce(&[String], &[(&str, String)]) -> io::Result<Tally>,
) -> ExitCode {
    let dynamodb = Dynamodb::start();
    let environment = match &dynamodb {
        Ok(dynamodb) => {
            say(&format!(
                "DynamoDB: {} ({})",
                dynamodb.name(),
                dynamodb.endpoint()
            ));
            dynamodb.for_tests()
        }
        Err(error) => {
            complain(&error.to_string());
            Dynamodb::refused(error)
        }
    };
    match run(args, &environment) {
        Ok(tally) if tally.is_success() => say(&tally.to_string()),
        Ok(tally) => {
            if let Ok(dynamodb) = &dynamodb
                && let Some(log) = dynamodb.log()
            {
                dynamodb.keep_log();
                say(&format!(
                    "the log of {} is {}",
                    dynamodb.name(),
                    log.display()
                ));
            }
            say(&tally.to_string());
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn cost(seconds: &str) -> ExitCode {
    let Some(seconds) = seconds.parse().ok().filter(|seconds| *seconds > 0) else {
        return usage(&format!("`{seconds}`: expected seconds from 1 on"));
    };
    let told = Dynamodb::start().and_then(|dynamodb| {
        say(&format!("{} ({})", dynamodb.name(), dynamodb.endpoint()));
        cost::tell(&Table::new(&dynamodb), Duration::from_secs(seconds))
    });
    done(told.map(|()| "done".to_owned()))
}

fn done(result: io::Result<String>) -> ExitCode {
    match result {
        Ok(said) => say(&said),
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
