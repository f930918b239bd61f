//! A function whose handler does nothing, or what each record says: `cargo integration bench lambda`
//! invokes it, beside one that is made with Powertools for Python.
//!
//! With `LANEKEEPER_BENCH_JOURNAL`, a record's value is `{"name", "fails", "takes_ms"}`: it takes so long,
//! and fails so often before it is done, over all processes. Each try is a line of that file:
//! `name began took done|failed`, both times in nanoseconds, the first since 1970.
//!
//! With `LANEKEEPER_BENCH_BARE`, it does no more than to ask the table so often, one time after the other:
//! what is left of an invocation beside its round trips, by the same SDK behind the same runtime.
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that fails may say so loudly"
)]

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::types::AttributeValue;
use lambda_runtime::{LambdaEvent, service_fn};
use lanekeeper::{
    Config, Done, Failure, Record,
    config::Layers,
    each,
    lambda::{ServeError, run},
};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use std::{
    env,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

#[derive(Deserialize)]
struct Script {
    name: String,
    fails: usize,
    takes_ms: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    if let Ok(times) = env::var("LANEKEEPER_BENCH_BARE") {
        bare(times.parse().unwrap()).await;
        return Ok(());
    }
    let config = Config::load(&Layers::of_process(None, Vec::new()))?;
    let Some(path) = env::var_os("LANEKEEPER_BENCH_JOURNAL").map(PathBuf::from) else {
        let nothing = |_: Record| async { Ok::<_, Failure>(Done) };
        return run(&config, each(nothing)).await;
    };
    let file = OpenOptions::new().append(true).create(true).open(&path);
    let journal = Arc::new((path, file.unwrap()));
    let scripted = move |record: Record| {
        let journal = Arc::clone(&journal);
        async move { play(&record, &journal).await }
    };
    run(&config, each(scripted)).await
}

async fn bare(times: u32) {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http);
    let client = aws_sdk_dynamodb::Client::new(&loader.load().await);
    let answer = async |_: LambdaEvent<Box<RawValue>>| {
        for _ in 0..times {
            let key = AttributeValue::S("k".to_owned());
            let asked = client.get_item().table_name("t").key("pk", key);
            asked.send().await?;
        }
        Ok::<Value, lambda_runtime::Error>(json!({"batchItemFailures": []}))
    };
    lambda_runtime::run(service_fn(answer)).await.unwrap();
}

async fn play(record: &Record, (path, file): &(PathBuf, File)) -> Result<Done, Failure> {
    let (began, since) = (SystemTime::now(), Instant::now());
    let script: Script = serde_json::from_slice(record.value().unwrap()).unwrap();
    if script.takes_ms > 0 {
        tokio::time::sleep(Duration::from_millis(script.takes_ms)).await;
    }
    let fails = script.fails > 0 && failures_of(path, &script.name) < script.fails;
    let became = if fails { "failed" } else { "done" };
    let line = format!(
        "{} {} {} {became}\n",
        script.name,
        began.duration_since(UNIX_EPOCH).unwrap().as_nanos(),
        since.elapsed().as_nanos(),
    );
    { file }.write_all(line.as_bytes()).unwrap();
    match fails {
        true => Err(Failure::retry("as the script says")),
        false => Ok(Done),
    }
}

/// How often a record has failed, in any process.
fn failures_of(journal: &Path, name: &str) -> usize {
    let lines = fs::read_to_string(journal).unwrap();
    let of = |line: &&str| line.split(' ').next() == Some(name) && line.ends_with("failed");
    lines.lines().filter(of).count()
}
