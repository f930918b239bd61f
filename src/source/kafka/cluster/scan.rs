//! Records of a range, for those who look without processing.

use super::{ANSWER_MAX, Cluster, ClusterError, is_of_the_connection, no_client, unanswered};
use crate::source::kafka::{advice::Complaint, client::Context};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use std::time::{Duration, Instant};

/// What is asked for.
const QUESTION: &str = "records";

/// How long nothing may come while the connection to the brokers fails: they may be starting again.
const OUTAGE_MAX: Duration = Duration::from_secs(30);

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(500);

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

/// How long nothing has come, and why.
struct Silence {
    since: Instant,
    outage: Option<KafkaError>,
}

impl Silence {
    fn begin() -> Self {
        Self {
            since: Instant::now(),
            outage: None,
        }
    }

    /// How long it may last.
    fn max(&self) -> Duration {
        if self.outage.is_some() {
            OUTAGE_MAX
        } else {
            ANSWER_MAX
        }
    }
}

impl Cluster {
    /// Lends the records of a partition from one offset to another, both included, as the group's members
    /// would read them. Nobody hears of it.
    ///
    /// # Errors
    /// When nothing comes for ten seconds, or for thirty while the connection fails; what came before was
    /// lent.
    pub fn scan(
        &self,
        topic: &str,
        partition: i32,
        (first, last): (u64, u64),
        mut each: impl FnMut(Scanned<'_>),
    ) -> Result<(), ClusterError> {
        let consumer: BaseConsumer<Context> = { self.config.clone() }
            .set("enable.partition.eof", "true")
            .create_with_context(Context::new(topic, self.iam.clone()))
            .map_err(|error| ClusterError::Settings(no_client(&error)))?;
        let complaint = || consumer.context().complaint();
        let told = |error: &KafkaError| unanswered(&self.servers, QUESTION, error, complaint());
        let mut list = TopicPartitionList::new();
        let from = Offset::Offset(i64::try_from(first).unwrap_or(i64::MAX));
        list.add_partition_offset(topic, partition, from)
            .and_then(|()| consumer.assign(&list))
            .map_err(|error| told(&error))?;
        let mut silence = Silence::begin();
        loop {
            match consumer.poll(POLL) {
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
                    silence = Silence::begin();
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                // The client connects again by itself.
                Some(Err(error)) if passes(&error, complaint()) => silence.outage = Some(error),
                Some(Err(error)) => return Err(told(&error)),
                None => {}
            }
            if silence.since.elapsed() >= silence.max() {
                return Err(self.silent(&silence, told));
            }
        }
    }

    /// Nothing came for too long.
    fn silent(
        &self,
        silence: &Silence,
        told: impl Fn(&KafkaError) -> ClusterError,
    ) -> ClusterError {
        let waited = format!("nothing came for {} s", silence.max().as_secs());
        let why = match silence.outage.as_ref().map(told) {
            Some(ClusterError::OutOfReach { why, .. } | ClusterError::Settings(why)) => {
                format!("{waited}: {why}")
            }
            None => waited,
        };
        ClusterError::OutOfReach {
            servers: self.servers.clone(),
            question: QUESTION,
            why,
        }
    }
}

/// Whether it is of a connection that may be there again soon.
fn passes(error: &KafkaError, complaint: Option<Complaint>) -> bool {
    is_of_the_connection(error) && !complaint.is_some_and(|complaint| complaint.stays())
}

#[cfg(test)]
mod tests;
