//! What topics hold, read from their first record to their end: for mappings.

use super::{
    Kafka,
    offsets::{LIMIT, asking, partitions},
};
use crate::{
    lambda::{TopicRecord, Topics},
    scene::PATIENCE,
};
use rdkafka::{
    Message as _, Offset, Timestamp, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaResult,
    message::{BorrowedMessage, Headers as _},
};
use std::{
    io,
    time::{Duration, Instant, UNIX_EPOCH},
};

/// How long one look for records may take.
const POLL: Duration = Duration::from_millis(100);

impl Kafka {
    /// All records that a topic holds now, as a mapping reads them.
    ///
    /// # Errors
    /// When they cannot be read to their end in time.
    pub fn records(&self, topic: &str) -> io::Result<Topics> {
        let reading = asking(self.bootstrap(), topic)?;
        let topics = Topics::self_managed();
        let mut open = assign(&reading, topic).map_err(io::Error::other)?;
        let began = Instant::now();
        while !open.is_empty() {
            if began.elapsed() > PATIENCE {
                return Err(io::Error::other(format!(
                    "not read to their ends within {PATIENCE:?}: {open:?} of `{topic}`"
                )));
            }
            if let Some(message) = reading.poll(POLL) {
                let message = message.map_err(io::Error::other)?;
                let (partition, record) = record(&message);
                topics.put_record(topic, partition, record);
            }
            // Past records of transactions that nobody sees, too.
            let position = reading.position().map_err(io::Error::other)?;
            open.retain(|(partition, end)| {
                let at = position.find_partition(topic, *partition);
                let at = at.and_then(|at| at.offset().to_raw());
                at.is_none_or(|at| at < *end)
            });
        }
        Ok(topics)
    }
}

/// Reads all partitions from their beginnings; gives those that hold something, and where they end.
fn assign(reading: &BaseConsumer, topic: &str) -> KafkaResult<Vec<(i32, i64)>> {
    let mut open = Vec::new();
    let mut from = TopicPartitionList::new();
    for partition in 0..partitions(reading, topic)? {
        let (begin, end) = reading.fetch_watermarks(topic, partition, LIMIT)?;
        if begin < end {
            open.push((partition, end));
            from.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
    }
    reading.assign(&from)?;
    Ok(open)
}

fn record(message: &BorrowedMessage<'_>) -> (u32, TopicRecord) {
    let millis = match message.timestamp() {
        Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => millis,
        Timestamp::NotAvailable => 0,
    };
    let headers = message.headers().into_iter().flat_map(|all| all.iter());
    let headers = headers.map(|header| {
        let value = header.value.map(<[u8]>::to_vec).unwrap_or_default();
        (header.key.to_owned(), value)
    });
    let record = TopicRecord {
        offset: u64::try_from(message.offset()).unwrap_or_default(),
        timestamp: UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or_default()),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.collect(),
    };
    (
        u32::try_from(message.partition()).unwrap_or_default(),
        record,
    )
}
