//! Clients of librdkafka: how they are set, and what their callbacks say.

use super::{Settings, advice::Complaint, iam::Iam};
use rdkafka::{
    ClientConfig, ClientContext, TopicPartitionList,
    client::OAuthToken,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    types::RDKafkaRespErr,
};
use std::{
    error::Error,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Topic and partition.
pub(super) type Place = (String, i32);

/// What lanekeeper sets unless the user does, and why.
const DEFAULTS: [(&str, &str); 10] = [
    ("client.id", "lanekeeper"),
    // Else what an open transaction or an aborted one wrote would be processed.
    ("isolation.level", "read_committed"),
    // As Java's clients: what was damaged on a broker's disk must not be taken for a record. The processor
    // has an instruction for it: nothing that could be told of 1,024-byte values, 50 ns a record of 100.
    ("check.crcs", "true"),
    // A full queue would stop fetching for a whole second: twelve times slower.
    ("fetch.queue.backoff.ms", "10"),
    // Else a topic whose name is misspelt comes into being.
    ("allow.auto.create.topics", "false"),
    // Partitions that are added are found within a minute.
    ("topic.metadata.refresh.interval.ms", "60000"),
    // A firewall that forgets a connection must not keep a partition still.
    ("socket.keepalive.enable", "true"),
    ("reconnect.backoff.max.ms", "2000"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.error.backoff.ms", "100"),
];

/// The smallest and the largest queue of fetched records, in KiB.
const QUEUE_KIB_MIN: u64 = 256;
const QUEUE_KIB_MAX: u64 = 64 << 10;

/// Bytes of the memory budget that librdkafka's queue of fetched records may take.
pub fn queue_bytes(memory: u64) -> u64 {
    (memory / 8 / 1024).clamp(QUEUE_KIB_MIN, QUEUE_KIB_MAX) * 1024
}

/// Callbacks of a client of the source.
pub(super) fn context(settings: &Settings) -> Context {
    let iam = Iam::of(&settings.bootstrap_servers, &settings.properties);
    Context::new(&settings.name, iam)
}

/// What every client of the source is made from.
pub(super) fn common(settings: &Settings) -> ClientConfig {
    let mut config = ClientConfig::new();
    let debugs = settings.properties.contains_key("debug");
    config.set_log_level(if debugs {
        RDKafkaLogLevel::Debug
    } else {
        RDKafkaLogLevel::Info
    });
    for (key, value) in DEFAULTS {
        config.set(key, value);
    }
    for (key, value) in &settings.properties {
        config.set(key, value);
    }
    if Iam::of(&settings.bootstrap_servers, &settings.properties).is_some() {
        Iam::set(&mut config);
    }
    config
        .set("bootstrap.servers", &settings.bootstrap_servers)
        .set("group.id", &settings.group_id)
        // Where to begin is the checkpoint's word, at any time.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error");
    config
}

/// What the member of the group is made from.
pub(super) fn member(settings: &Settings) -> ClientConfig {
    let mut config = common(settings);
    let queue = settings.queue_bytes;
    let set = |config: &mut ClientConfig, key: &str, value: String| {
        if !settings.properties.contains_key(key) {
            config.set(key, value);
        }
    };
    set(
        &mut config,
        "queued.max.messages.kbytes",
        (queue / 1024).to_string(),
    );
    // An answer is queued whole: one that is larger than the queue would overrun it.
    let fetch = queue.clamp(1 << 16, 50 << 20);
    set(&mut config, "fetch.max.bytes", fetch.to_string());
    // What a producer may send, which this is none of: librdkafka wants it to be no more than that.
    set(
        &mut config,
        "message.max.bytes",
        fetch.min(1_000_000).to_string(),
    );
    let part = fetch.min(1 << 20);
    set(&mut config, "fetch.message.max.bytes", part.to_string());
    config.set("enable.partition.eof", "true");
    if !settings.is_of_new_protocol() {
        config.set("partition.assignment.strategy", "cooperative-sticky");
    }
    config
}

/// What a callback said, for the thread that polls.
#[derive(Debug)]
pub(super) enum Note {
    /// The group gives us these. Nothing is read of them yet.
    Assigned(Vec<Place>),
    /// The group takes these back and waits for our answer; `lost`: they may be another's already.
    Revoked { partitions: Vec<Place>, lost: bool },
    /// The assignment could not be answered.
    Failed(String),
}

/// Callbacks note what happens, and do nothing: they run within a poll.
pub(super) struct Context {
    source: String,
    notes: Mutex<Vec<Note>>,
    /// Nothing is read any more: what is revoked is answered at once.
    closing: AtomicBool,
    /// What the client last complained of.
    complaint: Mutex<Option<String>>,
    /// Who makes tokens, where they are asked for.
    iam: Option<Iam>,
}

impl Context {
    pub(super) fn new(source: &str, iam: Option<Iam>) -> Self {
        Self {
            source: source.to_owned(),
            notes: Mutex::default(),
            closing: AtomicBool::new(false),
            complaint: Mutex::default(),
            iam,
        }
    }

    /// What was noted since the last call.
    pub(super) fn take(&self) -> Vec<Note> {
        std::mem::take(&mut *lock(&self.notes))
    }

    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// What the client last complained of: why it does not get through.
    pub(super) fn complaint(&self) -> Option<Complaint> {
        let said = lock(&self.complaint).clone()?;
        let by_iam = self.iam.is_some();
        Some(Complaint { said, by_iam })
    }

    fn note(&self, note: Note) {
        lock(&self.notes).push(note);
    }

    fn answered(&self, answer: KafkaResult<()>) {
        if let Err(error) = answer {
            self.note(Note::Failed(error.to_string()));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn places(list: &TopicPartitionList) -> Vec<Place> {
    let elements = list.elements();
    let place = |e: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| {
        (e.topic().to_owned(), e.partition())
    };
    elements.iter().map(place).collect()
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    /// What it cannot do is said by `error`, and asked for again within seconds.
    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        match &self.iam {
            Some(iam) => iam.token(),
            None => Err("no token was to be asked for".into()),
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let source = &self.source;
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", %source, "{facility}: {message}");
            }
            // Of each connection that fails, again and again: `error` has said it by then.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
                tracing::info!(target: "librdkafka", %source, "{facility}: {message}");
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", %source, "{facility}: {message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let said = if reason.is_empty() {
            error.to_string()
        } else {
            reason.to_owned()
        };
        // It follows every other complaint, and says less.
        let follows = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        let mut complaint = lock(&self.complaint);
        if complaint.as_ref() != Some(&said) && !(follows && complaint.is_some()) {
            tracing::warn!(source = %self.source, "Kafka: {said}");
            *complaint = Some(said);
        }
    }
}

impl ConsumerContext for Context {
    /// An assignment is answered at once with nothing: each partition is added when it is claimed and
    /// its place is known, exactly once, with its offset. A revocation is answered when what runs of it
    /// has ended; meanwhile the other partitions go on.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let nothing = TopicPartitionList::new();
        if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.note(Note::Assigned(places(list)));
            self.answered(consumer.incremental_assign(&nothing));
        } else if self.closing.load(Ordering::Relaxed) {
            self.answered(consumer.incremental_unassign(&nothing));
        } else {
            self.note(Note::Revoked {
                partitions: places(list),
                lost: consumer.assignment_lost(),
            });
        }
    }
}
