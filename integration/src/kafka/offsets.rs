//! Where logs end, and what groups have committed: Kafka's own word.

use super::{Kafka, probe::config};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaResult,
};
use std::{io, time::Duration};

/// How long one question may take.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

impl Kafka {
    /// The first and the next offset of each partition of a topic.
    ///
    /// # Errors
    /// When Kafka does not answer.
    pub fn extents(&self, topic: &str) -> io::Result<Vec<(i64, i64)>> {
        let asking = asking(self.bootstrap(), "nobody")?;
        let extents = partitions(&asking, topic).and_then(|partitions| {
            let each = (0..partitions).map(|n| asking.fetch_watermarks(topic, n, LIMIT));
            each.collect()
        });
        extents.map_err(io::Error::other)
    }

    /// What a group has committed of each partition of a topic.
    ///
    /// # Errors
    /// As [`Kafka::extents`].
    pub fn committed(&self, group: &str, topic: &str) -> io::Result<Vec<Option<i64>>> {
        let asking = asking(self.bootstrap(), group)?;
        let committed = partitions(&asking, topic).and_then(|partitions| {
            let mut list = TopicPartitionList::new();
            list.add_partition_range(topic, 0, partitions - 1);
            let committed = asking.committed_offsets(list, LIMIT)?;
            let of = |partition| match committed.find_partition(topic, partition)?.offset() {
                Offset::Offset(offset) => Some(offset),
                Offset::Beginning
                | Offset::End
                | Offset::Stored
                | Offset::Invalid
                | Offset::OffsetTail(_) => None,
            };
            Ok((0..partitions).map(of).collect())
        });
        committed.map_err(io::Error::other)
    }
}

pub(super) fn asking(bootstrap: &str, group: &str) -> io::Result<BaseConsumer> {
    let mut config = config(bootstrap);
    config.set("group.id", group);
    config.create().map_err(io::Error::other)
}

pub(super) fn partitions(asking: &BaseConsumer, topic: &str) -> KafkaResult<i32> {
    let metadata = asking.fetch_metadata(Some(topic), LIMIT)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    Ok(found.map_or(0, |found| {
        i32::try_from(found.partitions().len()).unwrap_or(0)
    }))
}
