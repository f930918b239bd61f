//! What a cluster says when it is asked: topics, ends of partitions, the group's offsets. Each call waits
//! for its answer, so that the thread that polls asks through a thread of its own.

use super::{
    Settings,
    advice::{Complaint, advised},
    client::{self, Context, Place},
    iam::Iam,
    properties::no_client,
    topic_ids::topic_ids,
};
use crate::source::pattern::Pattern;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    metadata::Metadata,
    types::RDKafkaRespErr,
};
use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

mod scan;
pub use scan::Scanned;

/// How long an answer may take.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The same of topic ids, without which a worker can do.
const IDS_MAX: Duration = Duration::from_secs(3);

/// Events of a client that are served after each question.
pub(super) const EVENTS_MAX: usize = 32;

/// How long to wait for a coordinator before it is asked again.
const COORDINATOR_AGAIN: Duration = Duration::from_millis(200);

/// How long one is waited for before the client's complaints are looked at.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(2);

/// A client that reads no records and is no member of the group.
pub struct Cluster {
    consumer: BaseConsumer<Context>,
    config: ClientConfig,
    servers: String,
    /// Brokers ask for tokens of it, which events of the client make.
    iam: Option<Iam>,
}

/// Why a cluster gave no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClusterError {
    /// A setting that librdkafka does not take.
    #[error("Kafka's client does not start: {0}")]
    Settings(String),
    /// It does not answer, or refuses.
    #[error("Kafka at `{servers}` does not answer ({question}): {why}")]
    OutOfReach {
        /// `bootstrap_servers`.
        servers: String,
        /// What was asked for.
        question: &'static str,
        /// What the client said.
        why: String,
    },
}

/// Where a partition begins and ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Offset of the first record that is still there.
    pub first: u64,
    /// The offset that the next record will get.
    pub next: u64,
}

/// A consumer group with members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// How many.
    pub members: usize,
    /// How they share partitions, such as `cooperative-sticky`; empty while they come and go.
    pub protocol: String,
}

impl Cluster {
    /// A client; nothing is asked yet.
    ///
    /// # Errors
    /// When librdkafka does not take the settings.
    pub fn open(settings: &Settings) -> Result<Self, ClusterError> {
        let context = client::context(settings);
        let config = client::common(settings);
        let consumer = { &config }
            .create_with_context(context)
            .map_err(|error| ClusterError::Settings(no_client(&error)))?;
        let cluster = Self {
            consumer,
            config,
            servers: settings.bootstrap_servers.clone(),
            iam: Iam::of(&settings.bootstrap_servers, &settings.properties),
        };
        // Where brokers want a token it is asked for now, by an event.
        cluster.listen();
        Ok(cluster)
    }

    fn unanswered(&self, question: &'static str, error: &KafkaError) -> ClusterError {
        unanswered(
            &self.servers,
            question,
            error,
            self.consumer.context().complaint(),
        )
    }

    /// Serves what the client has to say, so that a refusal can name its cause.
    pub(super) fn listen(&self) {
        // A poll without waiting serves one event, and says nothing of others.
        for _ in 0..EVENTS_MAX {
            drop(self.consumer.poll(Duration::ZERO));
        }
    }

    /// Partitions of each topic that is named, 0 where it does not exist, and of those that match a pattern
    /// (`^…`).
    ///
    /// # Errors
    /// When there is no answer, and for a pattern that does not compile.
    pub fn topics(&self, topics: &[String]) -> Result<BTreeMap<String, u32>, ClusterError> {
        let mut all = BTreeMap::new();
        let (patterns, names): (Vec<_>, Vec<_>) =
            topics.iter().partition(|topic| Pattern::is_one(topic));
        if !patterns.is_empty() {
            all = self.matching(&patterns)?;
        }
        for topic in names {
            let found = partitions_of(
                &self.servers,
                topic,
                |wait| {
                    let found = self.consumer.fetch_metadata(Some(topic), wait);
                    self.listen();
                    found
                },
                || self.consumer.context().complaint(),
            );
            all.insert(topic.clone(), found?);
        }
        Ok(all)
    }

    /// Topics that match any of these patterns.
    fn matching(&self, patterns: &[&String]) -> Result<BTreeMap<String, u32>, ClusterError> {
        let patterns: Result<Vec<Pattern>, _> =
            { patterns.iter() }.map(|text| Pattern::new(text)).collect();
        let patterns = patterns.map_err(ClusterError::Settings)?;
        let ask = |wait| {
            let found = self.consumer.fetch_metadata(None, wait);
            self.listen();
            found
        };
        let complaint = || self.consumer.context().complaint();
        let metadata = metadata(&self.servers, ask, complaint)?;
        let matches = |name: &str| patterns.iter().any(|pattern| pattern.matches(name));
        let found = { metadata.topics().iter() }
            .filter(|found| matches(found.name()) && !found.partitions().is_empty())
            .map(|found| {
                let partitions = u32::try_from(found.partitions().len()).unwrap_or(u32::MAX);
                (found.name().to_owned(), partitions)
            });
        Ok(found.collect())
    }

    /// Identities of topics; those without are left out.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn topic_ids(&self, topics: &[&str]) -> Result<BTreeMap<String, String>, ClusterError> {
        let ids = topic_ids(&self.consumer, topics, IDS_MAX);
        self.listen();
        ids.map_err(|why| ClusterError::OutOfReach {
            servers: self.servers.clone(),
            question: "topic ids",
            why,
        })
    }

    /// How long a topic keeps records at least; `None`: for ever. It takes the permission to describe the
    /// topic's configuration, which a consumer need not have.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn retention(&self, topic: &str) -> Result<Option<Duration>, ClusterError> {
        let refused = |why: String| ClusterError::OutOfReach {
            servers: self.servers.clone(),
            question: "retention",
            why,
        };
        // It has a client of its own, whose tokens nobody would make.
        if self.iam.is_some() {
            return Err(refused("it is not asked for with AWS_MSK_IAM".to_owned()));
        }
        let admin: AdminClient<DefaultClientContext> =
            { self.config.create() }.map_err(|e| refused(no_client(&e)))?;
        let options = AdminOptions::new().request_timeout(Some(ANSWER_MAX));
        let asked = [ResourceSpecifier::Topic(topic)];
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|e| refused(e.to_string()))?;
        let told = runtime.block_on(admin.describe_configs(&asked, &options));
        let told = told.map_err(|e| refused(e.to_string()))?;
        let Some(Ok(configs)) = told.into_iter().next() else {
            return Err(refused(format!(
                "the settings of topic `{topic}` are not told"
            )));
        };
        let value = |name: &str| configs.get(name).and_then(|entry| entry.value.clone());
        // Of a compacted topic a record may go at any time, or stay for ever: its age says nothing.
        let deletes = value("cleanup.policy").is_none_or(|policy| policy.contains("delete"));
        let millis = value("retention.ms").and_then(|millis| millis.parse().ok());
        Ok(millis.filter(|_| deletes).map(Duration::from_millis))
    }

    /// Where a partition begins and ends now.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn bounds(&self, topic: &str, partition: i32) -> Result<Bounds, ClusterError> {
        self.bounds_within(ANSWER_MAX, topic, partition)
    }

    /// The same, waited for so long at most: a partition without a leader gives no answer.
    pub(super) fn bounds_within(
        &self,
        wait: Duration,
        topic: &str,
        partition: i32,
    ) -> Result<Bounds, ClusterError> {
        let bounds = self.consumer.fetch_watermarks(topic, partition, wait);
        self.listen();
        let (first, next) = bounds.map_err(|e| self.unanswered("watermarks", &e))?;
        let sound = |offset: i64| u64::try_from(offset).unwrap_or(0);
        Ok(Bounds {
            first: sound(first),
            next: sound(next),
        })
    }

    /// Offsets that the group has committed: of the next record each.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn committed(&self, places: &[Place]) -> Result<BTreeMap<Place, u64>, ClusterError> {
        let found = with_coordinator(|| {
            let found = self.consumer.committed_offsets(list(places), ANSWER_MAX);
            self.listen();
            offsets(&found?)
        });
        found.map_err(|e| self.unanswered("the group's offsets", &e))
    }

    /// The same with the metadata that stand beside each offset.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn committed_with_metadata(
        &self,
        places: &[Place],
    ) -> Result<BTreeMap<Place, (u64, String)>, ClusterError> {
        let found = with_coordinator(|| {
            let found = self.consumer.committed_offsets(list(places), ANSWER_MAX);
            self.listen();
            let found = found?;
            let mut all = BTreeMap::new();
            for element in found.elements() {
                element.error()?;
                if let Offset::Offset(offset) = element.offset() {
                    let place = (element.topic().to_owned(), element.partition());
                    let offset = u64::try_from(offset).unwrap_or(0);
                    all.insert(place, (offset, element.metadata().to_owned()));
                }
            }
            Ok(all)
        });
        found.map_err(|e| self.unanswered("the group's offsets", &e))
    }

    /// Who is in the group now, as far as brokers tell of groups of the classic protocol; `None`: nobody.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn group(&self, group_id: &str) -> Result<Option<Group>, ClusterError> {
        let found = with_coordinator(|| {
            let found = self.consumer.fetch_group_list(Some(group_id), ANSWER_MAX);
            self.listen();
            found
        });
        let found = found.map_err(|e| self.unanswered("the group's members", &e))?;
        let group = { found.groups().iter() }
            .find(|group| group.name() == group_id && !group.members().is_empty());
        Ok(group.map(|group| Group {
            members: group.members().len(),
            protocol: group.protocol().to_owned(),
        }))
    }

    /// Offsets of the first records of this time (milliseconds since 1970) or later; left out where there
    /// is none.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn at_time(
        &self,
        places: &[Place],
        millis: i64,
    ) -> Result<BTreeMap<Place, u64>, ClusterError> {
        self.at_time_within(ANSWER_MAX, places, millis)
    }

    /// The same, waited for so long at most.
    pub(super) fn at_time_within(
        &self,
        wait: Duration,
        places: &[Place],
        millis: i64,
    ) -> Result<BTreeMap<Place, u64>, ClusterError> {
        let mut asked = list(places);
        asked
            .set_all_offsets(Offset::Offset(millis))
            .map_err(|e| self.unanswered("offsets of a time", &e))?;
        let found = self.consumer.offsets_for_times(asked, wait);
        self.listen();
        offsets(&found.map_err(|e| self.unanswered("offsets of a time", &e))?)
            .map_err(|e| self.unanswered("offsets of a time", &e))
    }
}

/// Partitions of a topic, by a client that `ask`s for it and may complain; 0 where it does not exist.
pub(super) fn partitions_of(
    servers: &str,
    topic: &str,
    ask: impl Fn(Duration) -> KafkaResult<Metadata>,
    complaint: impl Fn() -> Option<Complaint>,
) -> Result<u32, ClusterError> {
    let metadata = metadata(servers, ask, complaint)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Ok(0);
    };
    if found.error() == Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
        let error = KafkaError::MetadataFetch(RDKafkaErrorCode::TopicAuthorizationFailed);
        return Err(ClusterError::OutOfReach {
            servers: servers.to_owned(),
            question: TOPICS,
            why: format!("topic `{topic}`: {}", advised(&error.to_string())),
        });
    }
    Ok(u32::try_from(found.partitions().len()).unwrap_or(u32::MAX))
}

/// What a cluster says of topics.
fn metadata(
    servers: &str,
    ask: impl Fn(Duration) -> KafkaResult<Metadata>,
    complaint: impl Fn() -> Option<Complaint>,
) -> Result<Metadata, ClusterError> {
    // What will not change is not waited for.
    let found = ask(FIRST_ANSWER_MAX).or_else(|error| {
        if complaint().is_some_and(|complaint| complaint.stays()) {
            Err(error)
        } else {
            ask(ANSWER_MAX.saturating_sub(FIRST_ANSWER_MAX))
        }
    });
    found.map_err(|error| unanswered(servers, TOPICS, &error, complaint()))
}

const TOPICS: &str = "topics";

fn unanswered(
    servers: &str,
    question: &'static str,
    error: &KafkaError,
    complaint: Option<Complaint>,
) -> ClusterError {
    let why = complaint
        .filter(|_| is_of_the_connection(error))
        .map_or_else(
            || advised(&error.to_string()),
            |complaint| format!("{} ({error})", complaint.advised()),
        );
    ClusterError::OutOfReach {
        servers: servers.to_owned(),
        question,
        why,
    }
}

/// Asks what a group's coordinator knows, again while there is none: it moves when brokers come and go.
fn with_coordinator<T>(ask: impl Fn() -> KafkaResult<T>) -> KafkaResult<T> {
    const NONE: [RDKafkaErrorCode; 4] = [
        RDKafkaErrorCode::NotCoordinator,
        RDKafkaErrorCode::CoordinatorNotAvailable,
        RDKafkaErrorCode::CoordinatorLoadInProgress,
        RDKafkaErrorCode::WaitingForCoordinator,
    ];
    let until = Instant::now() + ANSWER_MAX;
    loop {
        match ask() {
            Err(error)
                if Instant::now() < until && { error.rdkafka_error_code() }
                    .is_some_and(|code| NONE.contains(&code)) =>
            {
                thread::sleep(COORDINATOR_AGAIN);
            }
            answer => return answer,
        }
    }
}

fn list(places: &[Place]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        list.add_partition(topic, *partition);
    }
    list
}

fn offsets(list: &TopicPartitionList) -> Result<BTreeMap<Place, u64>, KafkaError> {
    let mut all = BTreeMap::new();
    for element in list.elements() {
        element.error()?;
        if let Offset::Offset(offset) = element.offset() {
            let place = (element.topic().to_owned(), element.partition());
            all.insert(place, u64::try_from(offset).unwrap_or(0));
        }
    }
    Ok(all)
}

/// Whether the cause is one that the client complains of by itself, and better.
fn is_of_the_connection(error: &KafkaError) -> bool {
    let code = error.rdkafka_error_code();
    [
        RDKafkaErrorCode::BrokerTransportFailure,
        RDKafkaErrorCode::OperationTimedOut,
        RDKafkaErrorCode::AllBrokersDown,
        RDKafkaErrorCode::Authentication,
        RDKafkaErrorCode::Resolve,
        RDKafkaErrorCode::SSL,
    ]
    .iter()
    .any(|of_connection| code == Some(*of_connection))
}
