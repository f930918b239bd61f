//! Kafka: a member of a consumer group that reads what the store's checkpoint does not settle; or, for a
//! recovery or a replay, a reader of partitions that are named.
//!
//! One thread polls librdkafka (`member`): it hands over records, answers the group, and mirrors the
//! durable frontier to the group's offsets, for lag tools. What it must ask and wait for (`cluster`), a
//! thread beside it asks (`looker`). Where reading begins is decided in `place`.

use super::{Extent, OnGap, Ports, Source, SourceError, StartAt};
use crate::{checkpoint::Checkpoint, record::LaneOrder};
use futures_util::future::BoxFuture;
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::oneshot;

mod advice;
mod client;
pub mod cluster;
mod commits;
pub mod dead_letter;
mod fetch;
mod iam;
mod looker;
mod member;
pub mod offset_map;
mod place;
mod properties;
mod reading;
mod slot;
mod topic_ids;

pub use client::queue_bytes;
pub(crate) use properties::refused_property;

/// Which topics are read, and how.
#[derive(Clone)]
pub struct Settings {
    /// The `NAME` of `[sources.NAME]`.
    pub name: String,
    /// `host:port`, separated by commas.
    pub bootstrap_servers: String,
    /// Topics. One that does not exist yet is waited for.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group_id: String,
    /// To librdkafka, secrets among them: not to be shown.
    pub properties: BTreeMap<String, String>,
    /// Lanes.
    pub order: LaneOrder,
    /// Where to begin without a checkpoint; `None`: at the oldest record, but refuse where the group has
    /// an offset.
    pub start: Option<StartAt>,
    /// What to do when a partition does not hold what the checkpoint asks for.
    pub on_gap: OnGap,
    /// Whether a partition that was added lately waits while lanes of others stand stopped or parked.
    pub new_partitions_wait: bool,
    /// Whether the workers of the group share the store: a checkpoint behind the group's offset is then
    /// no sign of another worker's store.
    pub store_is_shared: bool,
    /// What librdkafka's queue of fetched records may hold, in bytes.
    pub queue_bytes: u64,
    /// Which partitions: those that the group gives us, or, without being a member of it, those that are
    /// named.
    pub extent: Extent,
}

impl Settings {
    /// Whether the broker shares partitions out (KIP-848).
    pub(crate) fn is_of_new_protocol(&self) -> bool {
        let protocol = self.properties.get("group.protocol");
        protocol.is_some_and(|protocol| protocol.eq_ignore_ascii_case("consumer"))
    }
}

/// A member of a group, or a reader of named partitions.
pub struct KafkaSource {
    settings: Settings,
}

impl KafkaSource {
    /// A reader of `settings.topics`. It joins the group once it is served, unless `settings.extent` names
    /// partitions.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

impl Source for KafkaSource {
    /// Polls on a thread of its own, since librdkafka blocks. The thread ends when the future is dropped.
    fn serve(self: Box<Self>, ports: Ports) -> BoxFuture<'static, Result<(), SourceError>> {
        let name: Arc<str> = self.settings.name.as_str().into();
        Box::pin(on_a_thread(name, move || member::run(self.settings, ports)))
    }
}

/// Lets a source's reader run on a thread of its own. Its end is the source's, also where it ends by a panic:
/// a worker that reads nothing must not stay.
async fn on_a_thread(
    name: Arc<str>,
    read: impl FnOnce() -> Result<(), SourceError> + Send + 'static,
) -> Result<(), SourceError> {
    let (end, ended) = oneshot::channel();
    let early = |why: &str| SourceError::OutOfReach {
        what: format!("the reader of source `{name}` {why}"),
    };
    std::thread::Builder::new()
        .name("lanekeeper-kafka".to_owned())
        .spawn(move || {
            let result = read();
            // Nobody waits for it any more when the future was dropped.
            let _ = end.send(result);
        })
        .map_err(|e| early(&format!("cannot start: {e}")))?;
    ended
        .await
        .unwrap_or_else(|_| Err(early("ended by a panic")))
}

/// Where a run would begin with a checkpoint of this partition (`{source}/{topic}/{n}`), or without one:
/// `Some` where it would not simply go on, with what it would go on without.
///
/// # Errors
/// `Err` of the outer: the cluster gave no answer. Of the inner: why a run would end.
pub fn foreseen(
    cluster: &cluster::Cluster,
    settings: &Settings,
    (topic, partition): (&str, i32),
    ownership: Option<(&Checkpoint, u64)>,
) -> Result<Result<Option<String>, SourceError>, cluster::ClusterError> {
    let at = (topic.to_owned(), partition);
    let one = std::slice::from_ref(&at);
    let found = place::Found {
        bounds: cluster.bounds(topic, partition)?,
        committed: cluster.committed(one)?.remove(&at),
        at_time: None,
    };
    let ids = cluster.topic_ids(&[topic])?;
    let known = ownership.map(|(checkpoint, generation)| place::Known {
        checkpoint,
        is_rewound: generation > 0,
        incarnation: ids.get(topic).map(String::as_str),
    });
    let name = format!("{}/{topic}/{partition}", settings.name);
    Ok(place::place(settings, &name, &found, known).map(|placed| placed.gap))
}

fn refused(what: String) -> SourceError {
    SourceError::Refused { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_ends_by_a_panic_ends_its_source_too() {
        let name: Arc<str> = "orders".into();
        let panics = || -> Result<(), SourceError> { panic!("on purpose") };
        let what = "the reader of source `orders` ended by a panic".to_owned();
        let ended = on_a_thread(Arc::clone(&name), panics).await;
        assert_eq!(ended, Err(SourceError::OutOfReach { what }));
        assert_eq!(on_a_thread(name, || Ok(())).await, Ok(()));
    }
}
