//! Readers of a topic, each a process of its own, and what fills the topic: parts of `cargo integration
//! bench kafka`, which starts the servers, lets the readers take turns and compares them.
//!
//! `kafka produce …` fills a topic; `kafka bare …` is rdkafka's poll loop, which calls the handler in it;
//! `kafka sqlite …` and `kafka dynamodb …` are whole workers with these stores (the table is
//! `LANEKEEPER_BENCH_TABLE`). Their arguments stand in [`job`]; each reads to the end of its topic and
//! prints one line of JSON, [`ledger::Ledger::line`].
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints"
)]

#[path = "kafka/job.rs"]
mod job;
#[path = "kafka/ledger.rs"]
mod ledger;
#[path = "kafka/produce.rs"]
mod produce;

use job::Job;
use lanekeeper::{
    Handler, Run,
    config::{Config, SourceConfig, SourceKind, StartAt, StoreKind},
    handler::Answer,
    run::{RunOptions, run_until},
    source::OnGap,
};
use ledger::Ledger;
use rdkafka::{
    ClientConfig, Message as _,
    consumer::{BaseConsumer, Consumer as _},
};
use std::{
    collections::BTreeMap, env, error::Error, path::Path, process::ExitCode, sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;

fn main() -> ExitCode {
    // `cargo bench` says `--bench`.
    let args: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    let (what, rest) = args.split_first().map_or(("", &[][..]), |(w, r)| (w, r));
    let done = match what {
        "produce" => produce::run(rest).map_err(Into::into),
        "bare" => read(rest, bare),
        "sqlite" | "dynamodb" => read(rest, |job, ledger| worker(what, job, ledger)),
        _ => Err("run it by `cargo integration bench kafka`".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Lets a reader read, and prints its line.
fn read(
    args: &[String],
    reader: impl FnOnce(&Job, &Arc<Ledger>) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let job = Job::from_args(args)?;
    let ledger = Arc::new(Ledger::new(&job));
    reader(&job, &ledger)?;
    println!("{}", ledger.line()?);
    Ok(())
}

/// The settings are those of the worker, where they matter for speed.
fn bare(job: &Job, ledger: &Arc<Ledger>) -> Result<(), Box<dyn Error>> {
    if !job.delay.is_zero() || job.records_per_call != 1 {
        return Err("the bare loop has no handler that waits".into());
    }
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &job.servers)
        .set("group.id", &job.group)
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.queue.backoff.ms", "10")
        .set("isolation.level", "read_committed")
        .set("check.crcs", "true")
        .create()?;
    consumer.subscribe(&[&job.topic])?;
    loop {
        let Some(record) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let record = record?;
        let call = ledger.begin([record.payload().unwrap_or_default()]);
        if ledger.end(&call) {
            return Ok(());
        }
    }
}

/// Waits as long as it was told, and answers that all is done.
struct Waits {
    ledger: Arc<Ledger>,
    delay: Duration,
    end: Arc<Notify>,
}

impl Handler for Waits {
    async fn handle(&self, run: Run) -> Answer {
        let values = { run.records().iter() }.map(|record| record.value().unwrap_or_default());
        let call = self.ledger.begin(values);
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if self.ledger.end(&call) {
            self.end.notify_one();
        }
        Answer::all(run.records().len())
    }
}

fn worker(store: &str, job: &Job, ledger: &Arc<Ledger>) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let config = config(store, job, folder.path())?;
    let end = Arc::new(Notify::new());
    let handler = Waits {
        ledger: Arc::clone(ledger),
        delay: job.delay,
        end: Arc::clone(&end),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let stop = end.notified();
    let ran = run_until(&config, handler, RunOptions::default(), stop);
    let done = runtime.block_on(ran)?.done;
    if done == job.total() {
        Ok(())
    } else {
        Err(format!("{done} of {} records are done", job.total()).into())
    }
}

fn config(store: &str, job: &Job, folder: &Path) -> Result<Config, Box<dyn Error>> {
    let mut config = Config::new(&job.group, job.cap).source(SourceConfig {
        name: "orders".to_owned(),
        kind: SourceKind::Kafka {
            bootstrap_servers: job.servers.clone(),
            topics: vec![job.topic.clone()],
            group_id: job.group.clone(),
            properties: BTreeMap::new(),
            allow_plaintext: false,
            new_partitions_wait: true,
            group_protocol: None,
            group_instance_id: None,
        },
        start: Some(StartAt::Earliest),
        on_gap: OnGap::Refuse,
    });
    config.handler.records_per_call = job.records_per_call;
    config.store.kind = if store == "dynamodb" {
        StoreKind::Dynamodb {
            table: env::var("LANEKEEPER_BENCH_TABLE")?,
        }
    } else {
        StoreKind::Local {
            path: folder.join("lanekeeper.db"),
        }
    };
    Ok(config)
}
