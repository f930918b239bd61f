//! Records of a range, for those who look without processing.

use super::{ANSWER_MAX, Cluster, ClusterError, no_client};
use crate::source::kafka::client::Context;
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};

/// A record of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Scanned<'a> {
    /// Its place.
    pub offset: u64,
    /// `None` where it has none.
    pub key: Option<&'a [u8]>,
    /// Milliseconds since 1970; `None` where it has none.
    pub timestamp: Option<i64>,
}

impl Cluster {
    /// Lends the records of a partition from one offset to another, both included, as the group's members
    /// would read them. Nobody hears of it.
    ///
    /// # Errors
    /// When there is no answer for ten seconds; what came before was lent.
    pub fn scan(
        &self,
        topic: &str,
        partition: i32,
        (first, last): (u64, u64),
        mut each: impl FnMut(Scanned<'_>),
    ) -> Result<(), ClusterError> {
        const QUESTION: &str = "records";
        let consumer: BaseConsumer<Context> = { self.config.clone() }
            .set("enable.partition.eof", "true")
            .create_with_context(Context::new(topic, self.iam.clone()))
            .map_err(|error| ClusterError::Settings(no_client(&error)))?;
        let told = |error: &KafkaError| self.unanswered(QUESTION, error);
        let mut list = TopicPartitionList::new();
        let from = Offset::Offset(i64::try_from(first).unwrap_or(i64::MAX));
        list.add_partition_offset(topic, partition, from)
            .and_then(|()| consumer.assign(&list))
            .map_err(|error| told(&error))?;
        loop {
            match consumer.poll(ANSWER_MAX) {
                Some(Ok(message)) => {
                    let offset = u64::try_from(message.offset()).unwrap_or(0);
                    if offset > last {
                        return Ok(());
                    }
                    each(Scanned {
                        offset,
                        key: message.key(),
                        timestamp: message.timestamp().to_millis(),
                    });
                    if offset == last {
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) => return Err(told(&error)),
                None => {
                    return Err(ClusterError::OutOfReach {
                        servers: self.servers.clone(),
                        question: QUESTION,
                        why: format!("nothing came for {} s", ANSWER_MAX.as_secs()),
                    });
                }
            }
        }
    }
}
