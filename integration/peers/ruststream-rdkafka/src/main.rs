//! `ruststream-rdkafka` as a reader of the benchmark: arguments and the printed line are those of
//! `benches/kafka.rs`, whose ledger it shares.

#[path = "../../../../benches/kafka/job.rs"]
mod job;
// It neither fills topics nor takes several records a call.
#[allow(dead_code)]
#[path = "../../../../benches/kafka/ledger.rs"]
mod ledger;

use job::Job;
use ledger::Ledger;
use ruststream::{
    prelude::*,
    runtime::{Handle, SoloDeserialized},
};
use ruststream_rdkafka::prelude::*;
use std::{
    convert::Infallible, env, error::Error, num::NonZeroUsize, process::ExitCode, sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;

/// A value as it came: no codec runs.
struct Bytes<'a>(&'a [u8]);

impl Deserialized for Bytes<'_> {
    type Output<'a> = Bytes<'a>;
    type Error = Infallible;

    fn from_payload(payload: &[u8]) -> Result<Bytes<'_>, Self::Error> {
        Ok(Bytes(payload))
    }
}

impl Input for Bytes<'_> {
    type Axis = SoloDeserialized<Bytes<'static>>;
}

struct Waits {
    ledger: Arc<Ledger>,
    delay: Duration,
    end: Arc<Notify>,
}

impl Handle<Bytes<'_>> for Waits {
    async fn handle(
        &self,
        value: &Bytes<'_>,
        _outs: &(),
        _context: &mut Context<'_>,
    ) -> Result<(), HandlerOutcome> {
        let call = self.ledger.begin([value.0]);
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if self.ledger.end(&call) {
            self.end.notify_one();
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    match read() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read() -> Result<String, Box<dyn Error>> {
    let args: Vec<String> = env::args().collect();
    let job = Job::from_args(&args)?;
    if job.records_per_call != 1 {
        return Err("it takes one record a call".into());
    }
    let ledger = Arc::new(Ledger::new(&job));
    let end = Arc::new(Notify::new());
    let waits = Waits {
        ledger: Arc::clone(&ledger),
        delay: job.delay,
        end: Arc::clone(&end),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let app = service(&job, waits)?;
        app.run_until(async move { end.notified().await }).await?;
        Ok::<_, Box<dyn Error>>(())
    })?;
    Ok(ledger.line()?)
}

/// Lanes by record key (by default they are partitions), offsets committed once their records are done,
/// each second as the other peers; what is not named is the default of the crate and of librdkafka.
fn service(job: &Job, waits: Waits) -> Result<RustStream, Box<dyn Error>> {
    let workers = NonZeroUsize::try_from(job.cap as usize)?;
    let topic = KafkaTopic::new(&job.topic)
        .group(&job.group)
        .start(StartOffset::Earliest)
        .commit(Commit::Tracked)
        .lane_key(LaneKey::RecordKey)
        .config("auto.commit.interval.ms", "1000")
        .config("fetch.queue.backoff.ms", "10");
    let broker = KafkaBroker::new([job.servers.as_str()]);
    let app = RustStream::new(AppInfo::new("bench", "0.1.0"));
    Ok(app.with_broker(broker, |broker| {
        broker.include(subscriber(topic, waits).workers_by_key(workers).build());
    }))
}
