//! What the demo lays out before the burst: configuration, accounts, requests.

use super::{
    DemoArguments, Files, REQUESTS, StoreChoice,
    plan::{Amount, Plan, Request},
    stage::runtime,
    worker::Worker,
};
use crate::{
    cli::exit::CommandError,
    config::Config,
    run::{RunOptions, run_until},
    source::local::put::{BadLines, KeyFrom, Options, partition_of, put},
};
use std::{collections::BTreeMap, fmt::Write as _, fs, ops::ControlFlow, path::Path};

/// Partitions of the burst's topic.
pub(super) const PARTITIONS: u32 = 4;

/// Where each request stands: partition name and position.
pub(super) type Places = BTreeMap<(String, u64), u32>;

/// Writes the configuration, opens the accounts, puts the burst.
pub(super) fn lay_out(
    arguments: &DemoArguments,
    plan: &Plan,
    files: &Files,
) -> Result<Places, CommandError> {
    write(
        &files.config,
        &configuration(arguments, plan, files, REQUESTS),
    )?;
    let opening: Vec<Request> = plan
        .accounts
        .iter()
        .map(|account| Request {
            id: 0,
            account: account.clone(),
            amount: Amount::Number(0),
        })
        .collect();
    put_all(files, "accounts", &opening)?;
    open_accounts(arguments, plan, files)?;
    put_all(files, REQUESTS, &plan.requests)?;
    let mut next = BTreeMap::new();
    let places = plan.requests.iter().map(|request| {
        let partition = partition_of(Some(request.account.as_bytes()), PARTITIONS);
        let position = next.entry(partition).or_insert(0u64);
        *position += 1;
        ((format!("{REQUESTS}/{partition}"), *position), request.id)
    });
    Ok(places.collect())
}

/// The accounts exist before the first request: opened by a run of their own, as effects too.
fn open_accounts(
    arguments: &DemoArguments,
    plan: &Plan,
    files: &Files,
) -> Result<(), CommandError> {
    let text = configuration(arguments, plan, files, "accounts");
    let config = Config::from_toml(&text, &files.config)?;
    let worker = Worker {
        timing: plan.timing,
    };
    let options = RunOptions {
        until_idle: true,
        ..RunOptions::default()
    };
    let ended = runtime()?.block_on(run_until(&config, worker, options, std::future::pending()))?;
    if ended.done != plan.accounts.len() as u64 {
        let what = format!(
            "{} of {} accounts were opened",
            ended.done,
            plan.accounts.len()
        );
        return Err(CommandError::Internal(what));
    }
    Ok(())
}

/// The configuration that was laid out.
pub(super) fn config(files: &Files) -> Result<Config, CommandError> {
    let text = fs::read_to_string(&files.config)
        .map_err(|error| CommandError::Internal(error.to_string()))?;
    Ok(Config::from_toml(&text, &files.config)?)
}

fn configuration(arguments: &DemoArguments, plan: &Plan, files: &Files, topic: &str) -> String {
    let store = match arguments.store {
        StoreChoice::Local => "type = \"local\"\npath = \"demo.db\"".to_owned(),
        StoreChoice::Dynamodb => {
            let table = toml::Value::from(arguments.table.as_str());
            format!("type = \"dynamodb\"\ntable = {table}")
        }
    };
    let millis = |seconds: f64| plan.timing.scaled(seconds).as_millis().max(1);
    format!(
        r#"# Written by `lanekeeper demo`. Look at it with `lanekeeper -c FILE status`.
app = "{app}"
cap = {cap}
drain = "10s"

[sources.{topic}]
type = "local"
path = "demo.db"
topic = "{topic}"

[failure]
attempts = 20
backoff_min = "{backoff_min}ms"
backoff_max = "{backoff_max}ms"
timeout = "{timeout}ms"
then = "park"

[store]
{store}
flush_interval = "{flush}ms"
"#,
        app = files.app,
        cap = arguments.cap,
        backoff_min = millis(1.0),
        backoff_max = millis(6.0),
        timeout = plan.timing.try_max().as_millis().max(1),
        flush = millis(1.0).clamp(5, 1_000),
    )
}

fn put_all(files: &Files, topic: &str, requests: &[Request]) -> Result<(), CommandError> {
    let mut lines = String::new();
    for request in requests {
        let line = serde_json::to_string(request)
            .map_err(|error| CommandError::Internal(error.to_string()))?;
        let _ = writeln!(lines, "{line}");
    }
    write(&files.folder.join(format!("{topic}.jsonl")), &lines)?;
    let options = Options {
        path: files.folder.join("demo.db"),
        topic: topic.to_owned(),
        key: Some(KeyFrom::Field("account".to_owned())),
        no_key: false,
        partitions: Some(PARTITIONS),
        from_line: 0,
        bad_lines: BadLines::Fail,
    };
    let put = put(&options, std::io::Cursor::new(lines), &mut |_| {
        ControlFlow::Continue(())
    });
    put.map(|_| ())
        .map_err(|error| CommandError::Internal(error.to_string()))
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    fs::write(path, text).map_err(|error| {
        CommandError::OutOfReach(format!("cannot write {}: {error}", path.display()))
    })
}
