//! Topics, made and changed without a JVM.

use super::probe::config;
use rdkafka::{
    TopicPartitionList,
    admin::{
        AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
        TopicReplication, TopicResult,
    },
    client::DefaultClientContext,
    error::KafkaResult,
    types::RDKafkaErrorCode,
};
use std::{
    fmt, io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread, sleep},
    time::{Duration, Instant},
};

/// How long a change may take, also while a cluster looks for a controller.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a configuration that was accepted may take until it is seen.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// How long one question about a topic may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);

/// As many replicas as the cluster gives by itself.
const REPLICAS: TopicReplication<'static> = TopicReplication::Fixed(-1);

/// A client that changes things. Its calls block until they are done.
pub(super) struct Admin {
    client: AdminClient<DefaultClientContext>,
}

impl Admin {
    pub(super) fn new(bootstrap: &str) -> io::Result<Self> {
        let client = config(bootstrap).create().map_err(io::Error::other)?;
        Ok(Self { client })
    }

    /// Makes a topic, and waits until all its partitions have leaders.
    pub(super) fn create(
        &self,
        topic: &str,
        partitions: u32,
        configs: &[(&str, &str)],
    ) -> io::Result<()> {
        let count = i32::try_from(partitions).map_err(io::Error::other)?;
        let new = NewTopic::new(topic, count, REPLICAS);
        let new = configs
            .iter()
            .fold(new, |new, (name, value)| new.set(name, value));
        let made = block_on(self.client.create_topics([&new], &options()));
        each(made, &format!("make the topic `{topic}`"))?;
        self.wait_for(topic, |found| found == Some(partitions))
    }

    /// Gives a topic more partitions, and waits until they have leaders.
    pub(super) fn grow(&self, topic: &str, partitions: u32) -> io::Result<()> {
        let count = usize::try_from(partitions).map_err(io::Error::other)?;
        let new = NewPartitions::new(topic, count);
        let grown = block_on(self.client.create_partitions([&new], &options()));
        each(grown, &format!("give `{topic}` {partitions} partitions"))?;
        self.wait_for(topic, |found| found == Some(partitions))
    }

    /// Deletes a topic, and waits until it is gone.
    pub(super) fn delete(&self, topic: &str) -> io::Result<()> {
        let gone = block_on(self.client.delete_topics(&[topic], &options()));
        each(gone, &format!("delete the topic `{topic}`"))?;
        self.wait_for(topic, |found| found.is_none())
    }

    /// Deletes the records of a partition before an offset.
    pub(super) fn delete_records(
        &self,
        topic: &str,
        partition: i32,
        before: i64,
    ) -> io::Result<()> {
        let what = format!("delete the records of `{topic}` {partition} before {before}");
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset(topic, partition, rdkafka::Offset::Offset(before))
            .map_err(|e| failed(&what, &e))?;
        let deleted = block_on(self.client.delete_records(&offsets, &options()));
        let deleted = deleted.map_err(|e| failed(&what, &e))?;
        for element in deleted.elements() {
            element.error().map_err(|e| failed(&what, &e))?;
        }
        Ok(())
    }

    /// Sets these configurations of a topic, and all others back to what the cluster has.
    pub(super) fn alter(&self, topic: &str, configs: &[(&str, &str)]) -> io::Result<()> {
        let new = AlterConfig::new(ResourceSpecifier::Topic(topic));
        let new = configs
            .iter()
            .fold(new, |new, (name, value)| new.set(name, value));
        let what = format!("configure the topic `{topic}`");
        let altered = block_on(self.client.alter_configs([&new], &options()));
        for result in altered.map_err(|e| failed(&what, &e))? {
            result.map_err(|(_, code)| failed(&what, &code))?;
        }
        self.demand(topic, configs).map_err(|e| failed(&what, &e))
    }

    /// Waits until a topic is configured so: rdkafka 0.39 reports success also of what Kafka refused.
    fn demand(&self, topic: &str, configs: &[(&str, &str)]) -> io::Result<()> {
        let began = Instant::now();
        loop {
            let specifier = ResourceSpecifier::Topic(topic);
            let told = block_on(self.client.describe_configs([&specifier], &options()));
            let told = told.map_err(io::Error::other)?.into_iter().next();
            let told = told.transpose().map_err(io::Error::other)?;
            let value = |name| told.as_ref()?.get(name)?.value.as_deref();
            let Some((name, wanted)) =
                { configs.iter() }.find(|(name, wanted)| value(name) != Some(wanted))
            else {
                return Ok(());
            };
            if began.elapsed() > SETTLE_LIMIT {
                return Err(io::Error::other(format!(
                    "`{name}` is {:?} and does not become `{wanted}`",
                    value(name)
                )));
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a topic has so many partitions, all with leaders; `None`: there is no such topic.
    fn wait_for(&self, topic: &str, is_it: impl Fn(Option<u32>) -> bool) -> io::Result<()> {
        let began = Instant::now();
        loop {
            let found = self.partitions(topic);
            if found.as_ref().is_ok_and(|found| is_it(*found)) {
                return Ok(());
            }
            if began.elapsed() > LIMIT {
                return Err(io::Error::other(format!(
                    "waited {LIMIT:?} for a change of the topic `{topic}`: {found:?}"
                )));
            }
            sleep(Duration::from_millis(5));
        }
    }

    fn partitions(&self, topic: &str) -> io::Result<Option<u32>> {
        let client = self.client.inner();
        let metadata = client.fetch_metadata(Some(topic), QUESTION_LIMIT);
        let metadata = metadata.map_err(io::Error::other)?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Ok(None);
            }
            Some(code) => return Err(io::Error::other(code)),
        }
        let led = { found.partitions().iter() }
            .filter(|partition| partition.leader() >= 0 && partition.error().is_none());
        Ok(Some(u32::try_from(led.count()).map_err(io::Error::other)?))
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(LIMIT))
        .operation_timeout(Some(LIMIT))
}

/// All of them succeeded, or the first failure.
fn each(results: KafkaResult<Vec<TopicResult>>, what: &str) -> io::Result<()> {
    for result in results.map_err(|e| failed(what, &e))? {
        result.map_err(|(_, code)| failed(what, &code))?;
    }
    Ok(())
}

fn failed(what: &str, error: &dyn fmt::Display) -> io::Error {
    io::Error::other(format!("cannot {what}: {error}"))
}

/// Wakes the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Drives a future here, whatever runtime the caller has: librdkafka's own threads complete it.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
