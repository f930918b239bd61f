//! A Kafka topic as the target of dead letters.
//!
//! A letter is the record itself: its key, its value (a tombstone stays one), its headers and its
//! timestamp. Behind its own headers stand `lanekeeper.id`, `lanekeeper.source`, `lanekeeper.partition`,
//! `lanekeeper.position`, `lanekeeper.error` and `lanekeeper.attempts`, all as text. The same letter may
//! come twice after a crash, with the same `lanekeeper.id`.

use super::{
    advice::advised,
    client::Context,
    cluster::{ClusterError, EVENTS_MAX, partitions_of},
    iam::Iam,
    properties::no_client,
};
use crate::{
    handler::{DeadLetter, PublishError},
    record::Record,
};
use futures_util::{FutureExt, future::BoxFuture};
use partitions::Item as _;
use rdkafka::{
    ClientConfig, ClientContext,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext, ThreadedProducer},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// What lanekeeper sets unless the user does, and why.
const DEFAULTS: [(&str, &str); 7] = [
    ("client.id", "lanekeeper"),
    // Letters of a key are where Java's clients would put them.
    ("partitioner", "murmur2_random"),
    // Whether a letter is too large is the topic's to say, which knows.
    ("message.max.bytes", "1000000000"),
    // Else a topic whose name is misspelt comes into being.
    ("allow.auto.create.topics", "false"),
    // What the broker refuses is one letter alone, not those that came with it.
    ("batch.num.messages", "1"),
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// How long a topic may be unknown before it is said.
const UNKNOWN_MAX: Duration = Duration::from_secs(5);

/// How long what is on its way at the end may take.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// The headers of a letter begin with this.
const PREFIX: &str = "lanekeeper.";

/// Where letters go.
#[derive(Clone)]
pub struct Settings {
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// The topic. It must be there.
    pub topic: String,
    /// To librdkafka, secrets among them: not to be shown.
    pub properties: BTreeMap<String, String>,
    /// How long a letter may take.
    pub timeout: Duration,
    /// Bytes of letters on their way, at most, but for one larger one alone.
    pub bytes: u64,
}

/// Publishes to a topic, by an idempotent producer that all replicas answer.
pub struct KafkaDeadLetter {
    /// `None` once it ends.
    letters: Option<mpsc::UnboundedSender<Job>>,
    room: Arc<Semaphore>,
    bytes: u32,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    record: Record,
    error: String,
    attempts: u32,
    done: Done,
}

/// Who waits for a letter, and its room.
struct Done {
    answer: oneshot::Sender<Result<(), PublishError>>,
    _room: OwnedSemaphorePermit,
}

impl Done {
    fn tell(self, result: Result<(), PublishError>) {
        // A processor that ended asks again after its restart.
        let _ = self.answer.send(result);
    }
}

/// What the producer's own thread tells.
struct Letters {
    client: Context,
    topic: String,
    /// It knows no such topic, and would say so for a while after the topic was made.
    is_stale: AtomicBool,
}

type Client = ThreadedProducer<Letters>;

impl KafkaDeadLetter {
    /// A client; nothing is asked yet.
    ///
    /// # Errors
    /// When librdkafka does not take the settings, or no thread can be started.
    pub fn new(settings: Settings) -> Result<Self, ClusterError> {
        let client = client(&settings).map_err(|e| ClusterError::Settings(no_client(&e)))?;
        let bytes = u32::try_from(settings.bytes).unwrap_or(u32::MAX).max(1);
        let (letters, jobs) = mpsc::unbounded_channel();
        let thread = thread::Builder::new()
            .name("lanekeeper-dead-letters".to_owned())
            .spawn(move || serve(&settings, client, jobs))
            .map_err(|error| {
                ClusterError::Settings(format!("no thread can be started: {error}"))
            })?;
        Ok(Self {
            letters: Some(letters),
            room: Arc::new(Semaphore::new(bytes as usize)),
            bytes,
            thread: Some(thread),
        })
    }
}

impl Drop for KafkaDeadLetter {
    /// Waits for what is on its way, for a moment: a letter that is not acknowledged comes again.
    fn drop(&mut self) {
        self.letters = None;
        if let Some(thread) = self.thread.take() {
            // A panic of it was told of when it happened.
            let _ = thread.join();
        }
    }
}

impl DeadLetter for KafkaDeadLetter {
    fn publish(
        &self,
        record: Record,
        error: String,
        attempts: u32,
    ) -> BoxFuture<'static, Result<(), PublishError>> {
        // A future that outlives the target must not keep its thread.
        let letters = { &self.letters }
            .as_ref()
            .map(mpsc::UnboundedSender::downgrade);
        let room = Arc::clone(&self.room);
        let weight = record.weight().min(self.bytes);
        async move {
            let gone = || PublishError {
                target: true,
                error: "the dead-letter thread ended".to_owned(),
            };
            let (answer, result) = oneshot::channel();
            let permit = room.acquire_many_owned(weight).await.map_err(|_| gone())?;
            let job = Job {
                record,
                error,
                attempts,
                done: Done {
                    answer,
                    _room: permit,
                },
            };
            letters
                .and_then(|letters| letters.upgrade()?.send(job).ok())
                .ok_or_else(gone)?;
            result.await.unwrap_or_else(|_| Err(gone()))
        }
        .boxed()
    }
}

/// Partitions of the topic; 0 where it does not exist.
///
/// # Errors
/// When there is no answer, or librdkafka does not take the settings.
pub fn partitions(settings: &Settings) -> Result<u32, ClusterError> {
    let producer: BaseProducer<Letters> =
        config(settings)
            .create_with_context(letters(settings))
            .map_err(|error| ClusterError::Settings(no_client(&error)))?;
    let listen = || {
        for _ in 0..EVENTS_MAX {
            producer.poll(Duration::ZERO);
        }
    };
    // Where brokers want a token it is asked for now, by an event.
    listen();
    partitions_of(
        &settings.bootstrap_servers,
        &settings.topic,
        |wait| {
            let found = producer
                .client()
                .fetch_metadata(Some(&settings.topic), wait);
            listen();
            found
        },
        || producer.context().client.complaint(),
    )
}

fn letters(settings: &Settings) -> Letters {
    Letters {
        client: Context::new(
            "failure.dead_letter",
            Iam::of(&settings.bootstrap_servers, &settings.properties),
        ),
        topic: settings.topic.clone(),
        is_stale: AtomicBool::new(false),
    }
}

fn client(settings: &Settings) -> Result<Client, KafkaError> {
    config(settings).create_with_context(letters(settings))
}

fn config(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Info);
    let known = settings.timeout.min(UNKNOWN_MAX * 2) / 2;
    let millis = |time: Duration| time.as_millis().max(1).to_string();
    for (key, value) in DEFAULTS {
        config.set(key, value);
    }
    config.set("topic.metadata.propagation.max.ms", millis(known));
    for (key, value) in &settings.properties {
        config.set(key, value);
    }
    if Iam::of(&settings.bootstrap_servers, &settings.properties).is_some() {
        Iam::set(&mut config);
    }
    config
        .set("bootstrap.servers", &settings.bootstrap_servers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // What was given up is not published behind its back.
        .set("delivery.timeout.ms", millis(settings.timeout))
        // The room is counted here.
        .set("queue.buffering.max.kbytes", "2147483647");
    config
}

fn serve(settings: &Settings, first: Client, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut current = Some(first);
    while let Some(job) = jobs.blocking_recv() {
        current = current.filter(is_usable);
        let producer = match current.take().map_or_else(|| client(settings), Ok) {
            Ok(producer) => producer,
            Err(error) => {
                job.done.tell(Err(PublishError {
                    target: true,
                    error: format!("topic `{}`: {}", settings.topic, no_client(&error)),
                }));
                continue;
            }
        };
        send(&producer, job);
        current = Some(producer);
    }
    if let Some(producer) = current
        && producer.in_flight_count() > 0
        && let Err(error) = producer.flush(FLUSH_MAX)
    {
        tracing::warn!("dead letters on their way are published again at the next start: {error}");
    }
}

/// A fatal error is for good, and so would be what it believes of a topic that was not there.
fn is_usable(producer: &Client) -> bool {
    if let Some((code, why)) = producer.client().fatal_error() {
        tracing::warn!("the producer of dead letters begins anew: {code}: {why}");
        return false;
    }
    !producer.context().is_stale.load(Ordering::Relaxed)
}

fn send(producer: &Client, job: Job) {
    let Job {
        record,
        error,
        attempts,
        done,
    } = job;
    let context = producer.context();
    let mut letter: BaseRecord<'_, [u8], [u8], Box<Done>> =
        BaseRecord::with_opaque_to(&context.topic, Box::new(done))
            .headers(headers(&record, &error, attempts));
    if let Some(key) = record.key() {
        letter = letter.key(key);
    }
    if let Some(value) = record.value() {
        letter = letter.payload(value);
    }
    if let Some(timestamp) = record.timestamp() {
        letter = letter.timestamp(timestamp);
    }
    if let Err((error, letter)) = producer.send(letter) {
        let failed = context.failed(&error);
        letter.delivery_opaque.tell(Err(failed));
    }
}

/// The record's own, then what became of it.
fn headers(record: &Record, error: &str, attempts: u32) -> OwnedHeaders {
    let name = &record.assignment().name;
    let own = record
        .headers()
        .fold(OwnedHeaders::new(), |all, (key, value)| {
            all.insert(Header {
                key,
                value: Some(value),
            })
        });
    let said = [
        ("id", record.id()),
        ("source", name.source.to_string()),
        ("partition", name.partition.to_string()),
        ("position", record.position().to_string()),
        ("error", error.to_owned()),
        ("attempts", attempts.to_string()),
    ];
    said.iter().fold(own, |all, (key, value)| {
        all.insert(Header {
            key: &format!("{PREFIX}{key}"),
            value: Some(value),
        })
    })
}

/// What says that another letter would have been taken.
const OF_THE_LETTER: [RDKafkaErrorCode; 7] = [
    RDKafkaErrorCode::MessageSizeTooLarge,
    RDKafkaErrorCode::MessageBatchTooLarge,
    RDKafkaErrorCode::InvalidMessage,
    RDKafkaErrorCode::InvalidMessageSize,
    RDKafkaErrorCode::InvalidTimestamp,
    RDKafkaErrorCode::InvalidRecord,
    RDKafkaErrorCode::PolicyViolation,
];

const NO_TOPIC: [RDKafkaErrorCode; 3] = [
    RDKafkaErrorCode::UnknownTopic,
    RDKafkaErrorCode::UnknownTopicOrPartition,
    RDKafkaErrorCode::UnknownPartition,
];

impl Letters {
    fn failed(&self, error: &KafkaError) -> PublishError {
        let topic = &self.topic;
        let code = error.rdkafka_error_code();
        let is_one_of = |codes: &[RDKafkaErrorCode]| code.is_some_and(|code| codes.contains(&code));
        let said = if is_one_of(&NO_TOPIC) {
            self.is_stale.store(true, Ordering::Relaxed);
            format!(
                "there is no such topic: create it, or correct `failure.dead_letter.topic` ({error})"
            )
        } else if code == Some(RDKafkaErrorCode::MessageTimedOut) {
            let complaint = self.client.complaint();
            let why = complaint.map_or_else(String::new, |why| format!(": {}", why.advised()));
            format!("no answer in time{why}")
        } else if code == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            format!(
                "the record is too large for it with the headers that say what became of it: raise its `max.message.bytes` ({error})"
            )
        } else {
            advised(&error.to_string())
        };
        PublishError {
            target: !is_one_of(&OF_THE_LETTER),
            error: format!("topic `{topic}`: {said}"),
        }
    }
}

impl ClientContext for Letters {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(
        &self,
        config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.client.generate_oauth_token(config)
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.client.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.client.error(error, reason);
    }
}

impl ProducerContext for Letters {
    type DeliveryOpaque = Box<Done>;

    fn delivery(&self, result: &DeliveryResult<'_>, done: Box<Done>) {
        done.tell(match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(self.failed(error)),
        });
    }
}

#[cfg(test)]
mod tests;
