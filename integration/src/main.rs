//! `cargo integration up|test|down`: all tests of lanekeeper, also those that drive the real binary.

use lanekeeper_integration::{
    benches,
    chaos::{self, Options, Store},
    cost::{self, Table},
    emulator::{self, Dynamodb},
    kafka::{self, Kafka},
    suite::{self, Tally},
};
use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

const USAGE: &str = "\
Usage: cargo integration COMMAND

  test [ARGS]   all tests of the workspace, then those that drive the real binary; ARGS go to
                `cargo test`, for example a part of a test's name, or `-- --nocapture`
  chaos [--minutes N] [--seed S] [--store local|dynamodb] [--brokers N]
                members of a Kafka group are killed, frozen and stopped, brokers restart, the network
                to the table fails [default: 10 minutes, another seed each time, dynamodb, 3 brokers]
  bench kafka [ARGS]  a topic read by a worker, by rdkafka's bare poll loop and by other consumers, in
                turns; `--help` says what there is
  bench lambda [ARGS]  the artefact of a function, and functions beside one with Powertools for Python
  weather       of these, the DynamoDB store's tests while its network and its table fail
  cost [SECONDS]  what the DynamoDB store consumes and costs, busy and idle, each for so long
                [default: 60]
  up [SERVER]   start an emulator of DynamoDB (`dynamodb`), a broker of Kafka (`kafka`), or, by
                default, both, which tests use from then on
  down [SERVER]  stop what `up` started

Tests use the DynamoDB that LANEKEEPER_TEST_DYNAMODB names and the Kafka whose bootstrap servers
LANEKEEPER_TEST_KAFKA names, else what `up` started, else what `test` starts and ends itself. Both are
fetched once, into ${LANEKEEPER_CACHE:-~/.cache/lanekeeper}.
";

/// Usage error, as in lanekeeper itself.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    match (command.as_deref(), rest.as_slice()) {
        (Some("test"), args) => test(args),
        (Some("chaos"), args) => chaos(args),
        (Some("bench"), [what, args @ ..]) if what == "kafka" => bench(args),
        (Some("bench"), [what, args @ ..]) if what == "lambda" => bench_lambda(args),
        (Some("bench"), _) => usage("`bench` takes `kafka` or `lambda`, and then what that takes"),
        (Some("weather"), []) => weather(),
        (Some("cost"), []) => cost("60"),
        (Some("cost"), [seconds]) => cost(seconds),
        (Some("up"), servers) => servers_of(servers, emulator::up, kafka::up),
        (Some("down"), servers) => servers_of(servers, emulator::down, kafka::down),
        (Some("help" | "-h" | "--help"), []) => say(USAGE.trim_end()),
        (Some("cost"), [_, unexpected, ..])
        | (Some("weather" | "help" | "-h" | "--help"), [unexpected, ..]) => {
            usage(&format!("unexpected argument `{unexpected}`"))
        }
        (Some(other), _) => usage(&format!("unknown command `{other}`")),
        (None, _) => usage("a command is missing"),
    }
}

/// Does something with the named servers, or with all.
fn servers_of(
    named: &[String],
    dynamodb: fn() -> io::Result<String>,
    kafka: fn() -> io::Result<String>,
) -> ExitCode {
    let asked: &[fn() -> io::Result<String>] = match named {
        [] => &[dynamodb, kafka],
        [one] if one == "dynamodb" => &[dynamodb],
        [one] if one == "kafka" => &[kafka],
        [one] => return usage(&format!("unknown server `{one}`: `dynamodb` or `kafka`")),
        [_, unexpected, ..] => return usage(&format!("unexpected argument `{unexpected}`")),
    };
    let codes = asked.iter().map(|act| done(act()));
    codes.fold(ExitCode::SUCCESS, |all, code| {
        if all == ExitCode::SUCCESS { code } else { all }
    })
}

/// One DynamoDB and one Kafka for the tests of all binaries. Without one of them, those that need it fail
/// and the others run.
fn test(args: &[String]) -> ExitCode {
    let (dynamodb, kafka) = (Dynamodb::start(), Kafka::start());
    let mut environment = of_dynamodb(&dynamodb);
    environment.extend(of_kafka(&kafka));
    tell(suite::run(args, &environment), || {
        keep_log(&dynamodb);
        if let Ok(kafka) = &kafka {
            kafka.keep_logs();
            tell_logs(kafka.name(), kafka.logs());
        }
    })
}

/// One DynamoDB for the runs in all weathers.
fn weather() -> ExitCode {
    let dynamodb = Dynamodb::start();
    of_dynamodb(&dynamodb);
    tell(suite::run_weathers(), || keep_log(&dynamodb))
}

fn of_dynamodb(dynamodb: &io::Result<Dynamodb>) -> Vec<(&'static str, String)> {
    match dynamodb {
        Ok(dynamodb) => {
            let (name, endpoint) = (dynamodb.name(), dynamodb.endpoint());
            say(&format!("DynamoDB: {name} ({endpoint})"));
            dynamodb.for_tests()
        }
        Err(error) => {
            complain(&error.to_string());
            Dynamodb::refused(error)
        }
    }
}

fn of_kafka(kafka: &io::Result<Kafka>) -> Vec<(&'static str, String)> {
    match kafka {
        Ok(kafka) => {
            say(&format!("Kafka: {} ({})", kafka.name(), kafka.bootstrap()));
            kafka.for_tests()
        }
        Err(error) => {
            complain(&error.to_string());
            Kafka::refused(error)
        }
    }
}

fn keep_log(dynamodb: &io::Result<Dynamodb>) {
    if let Ok(dynamodb) = dynamodb {
        dynamodb.keep_log();
        tell_logs(dynamodb.name(), dynamodb.log());
    }
}

/// What became of the tests, behind the logs of servers when they failed: their figures come last.
fn tell(ran: io::Result<Tally>, tell_logs_of_servers: impl FnOnce()) -> ExitCode {
    match ran {
        Ok(tally) if tally.is_success() => say(&tally.to_string()),
        Ok(tally) => {
            tell_logs_of_servers();
            say(&tally.to_string());
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn tell_logs(name: &str, logs: impl IntoIterator<Item = PathBuf>) {
    for log in logs {
        say(&format!("the log of {name} is {}", log.display()));
    }
}

fn bench(args: &[String]) -> ExitCode {
    if let [help] = args
        && ["help", "-h", "--help"].contains(&help.as_str())
    {
        return say(benches::USAGE.trim_end());
    }
    match benches::Options::from_args(args) {
        Ok(options) => done(benches::kafka(&options).map(|()| "done".to_owned())),
        Err(problem) => {
            complain(&format!("{problem}\n\n{}", benches::USAGE.trim_end()));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn bench_lambda(args: &[String]) -> ExitCode {
    if let [help] = args
        && ["help", "-h", "--help"].contains(&help.as_str())
    {
        return say(benches::lambda::USAGE.trim_end());
    }
    match benches::lambda::Options::from_args(args) {
        Ok(options) => done(benches::lambda::run(&options).map(|()| "done".to_owned())),
        Err(problem) => {
            complain(&format!(
                "{problem}\n\n{}",
                benches::lambda::USAGE.trim_end()
            ));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn chaos(args: &[String]) -> ExitCode {
    match chaos_options(args) {
        Ok(options) => done(chaos::run(&options).map(|report| report.to_string())),
        Err(problem) => usage(&problem),
    }
}

fn chaos_options(args: &[String]) -> Result<Options, String> {
    let mut options = Options {
        seed: fastrand::u64(..1_000_000),
        store: Store::Dynamodb,
        brokers: 3,
        time: Some(Duration::from_secs(600)),
    };
    for pair in args.chunks(2) {
        let [name, value] = pair else {
            return Err(format!("`{}` needs a value", pair.concat()));
        };
        let number = || match value.parse::<u64>() {
            Ok(number) => Ok(number),
            Err(error) => Err(format!("`{name} {value}`: {error}")),
        };
        match name.as_str() {
            "--minutes" => options.time = Some(Duration::from_secs(60 * number()?)),
            "--seed" => options.seed = number()?,
            "--brokers" if (1..=9).contains(&number()?) => options.brokers = number()? as usize,
            "--store" if value == "local" => options.store = Store::Local,
            "--store" if value == "dynamodb" => options.store = Store::Dynamodb,
            "--store" => return Err(format!("unknown store `{value}`: `local` or `dynamodb`")),
            "--brokers" => return Err(format!("{value} brokers: expected 1 to 9")),
            other => return Err(format!("unexpected argument `{other}`")),
        }
    }
    Ok(options)
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
