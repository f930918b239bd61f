//! Whether brokers are there, as a client sees it.

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use std::{io, time::Duration};

/// How long one question may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(1);

/// A client that knows one broker alone.
pub(super) struct Probe {
    client: BaseConsumer,
}

impl Probe {
    pub(super) fn new(address: &str) -> io::Result<Self> {
        let client = config(address).create().map_err(io::Error::other)?;
        Ok(Self { client })
    }

    /// The ids of the brokers that take part, by this one's word.
    pub(super) fn brokers(&self) -> Result<Vec<i32>, KafkaError> {
        let metadata = self.client.fetch_metadata(None, QUESTION_LIMIT)?;
        Ok(metadata
            .brokers()
            .iter()
            .map(|broker| broker.id())
            .collect())
    }

    /// The cluster that it belongs to.
    pub(super) fn cluster(&self) -> Option<String> {
        self.client.client().fetch_cluster_id(QUESTION_LIMIT)
    }
}

/// The settings of a client of ours: it looks for a broker that is down again and again.
pub(super) fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200");
    config
}
