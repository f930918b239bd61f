//! Records that keep coming.

use super::stage::Stage;
use fastrand::Rng;
use rdkafka::{
    ClientContext,
    config::ClientConfig,
    error::KafkaError,
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
    types::RDKafkaErrorCode,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Records that wait for members, at most: so many that all of them have work, and so few that what a
/// fault disturbs is soon done.
const BACKLOG: u64 = 400;

/// How long it may take until all brokers have what was written last.
const FLUSH: Duration = Duration::from_secs(90);

/// Few busy accounts, many quiet ones.
const ACCOUNTS: u64 = 60;

/// A producer on a thread of its own. Each record is one more of its account, in order.
pub(super) struct Traffic {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<BTreeMap<String, u64>>>>,
    accounts: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    produced: AtomicU64,
    done: AtomicU64,
}

#[derive(Default)]
struct Deliveries {
    failed: Mutex<Option<String>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| error.to_string());
        }
    }
}

impl Traffic {
    pub(super) fn start(stage: &Stage, random: Rng) -> io::Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", stage.kafka.bootstrap())
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            // Whatever happens to brokers, nothing is given up, nor overtaken.
            .set("message.timeout.ms", "0")
            .set("reconnect.backoff.max.ms", "500");
        let producer: BaseProducer<Deliveries> = config
            .create_with_context(Deliveries::default())
            .map_err(io::Error::other)?;
        let requests = File::create(stage.scene.path("requests.jsonl"))?;
        let shared = Arc::<Shared>::default();
        let (with, topic) = (Arc::clone(&shared), stage.topic.clone());
        let thread = thread::Builder::new()
            .name("chaos-traffic".to_owned())
            .spawn(move || produce(&producer, &topic, requests, random, &with))?;
        Ok(Self {
            shared,
            thread: Some(thread),
            accounts: BTreeMap::new(),
        })
    }

    pub(super) fn produced(&self) -> u64 {
        self.shared.produced.load(Ordering::Relaxed)
    }

    /// So many are done: as many more may come.
    pub(super) fn done(&self, records: usize) {
        self.shared.done.store(records as u64, Ordering::Relaxed);
    }

    /// Records of each account, once it has stopped.
    pub(super) fn accounts(&self) -> &BTreeMap<String, u64> {
        &self.accounts
    }

    /// No more; gives the number of records of each account once brokers have all of them.
    pub(super) fn stop(&mut self) -> io::Result<BTreeMap<String, u64>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            self.accounts = ended.map_err(|_| io::Error::other("the producer panicked"))??;
        }
        Ok(self.accounts.clone())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        // The thread ends by itself.
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn produce(
    producer: &BaseProducer<Deliveries>,
    topic: &str,
    mut requests: File,
    mut random: Rng,
    shared: &Shared,
) -> io::Result<BTreeMap<String, u64>> {
    let mut accounts: BTreeMap<String, u64> = BTreeMap::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let produced = shared.produced.load(Ordering::Relaxed);
        if produced >= shared.done.load(Ordering::Relaxed) + BACKLOG {
            producer.poll(Duration::from_millis(5));
            continue;
        }
        let draw = random.u64(..ACCOUNTS) * random.u64(..ACCOUNTS) / ACCOUNTS;
        let account = format!("a{draw}");
        let n = accounts.entry(account.clone()).or_default();
        *n += 1;
        let request = format!("{{\"account\":\"{account}\",\"n\":{n}}}");
        writeln!(requests, "{request}")?;
        loop {
            let record = BaseRecord::to(topic).key(&account).payload(&request);
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    producer.poll(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(io::Error::other(error)),
            }
        }
        producer.poll(Duration::ZERO);
        shared.produced.store(produced + 1, Ordering::Relaxed);
    }
    producer.flush(FLUSH).map_err(io::Error::other)?;
    let failed = producer.context().failed.lock();
    match failed.unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(io::Error::other(format!("a record was not taken: {error}"))),
        None => Ok(accounts),
    }
}
