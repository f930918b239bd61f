//! Kafka sources as a configuration names them.

use super::RunError;
use crate::{
    config::{Config, Property, SourceConfig, SourceKind, StoreKind},
    source::kafka::{
        self, Settings,
        cluster::{Cluster, ClusterError},
    },
};
use std::collections::BTreeMap;

/// What a Kafka source of a configuration is opened with; `None`: it is of another type.
pub(crate) fn settings(
    config: &Config,
    source: &SourceConfig,
) -> Result<Option<Settings>, RunError> {
    let SourceKind::Kafka {
        bootstrap_servers,
        topics,
        group_id,
        properties,
    } = &source.kind
    else {
        return Ok(None);
    };
    let mut revealed = BTreeMap::new();
    for (key, property) in properties {
        let value = match property {
            Property::Text(text) => text.clone(),
            Property::Secret(secret) => {
                let read = secret.read().map_err(|error| RunError::Secret {
                    source_name: source.name.clone(),
                    key: key.clone(),
                    error,
                });
                read?.reveal().to_owned()
            }
        };
        revealed.insert(key.clone(), value);
    }
    Ok(Some(Settings {
        name: source.name.clone(),
        bootstrap_servers: bootstrap_servers.clone(),
        topics: topics.clone(),
        group_id: group_id.clone(),
        properties: revealed,
        order: config.order,
        start: source.start,
        on_gap: source.on_gap,
        new_partitions_wait: true,
        store_is_shared: !matches!(config.store.kind, StoreKind::Local { .. }),
        queue_bytes: kafka::queue_bytes(config.memory),
    }))
}

/// What of the memory budget is left for the processor: librdkafka's queues have their part of it.
pub(super) fn memory_left(config: &Config, memory: u64) -> u64 {
    let is_kafka = |source: &&SourceConfig| matches!(source.kind, SourceKind::Kafka { .. });
    let sources = config.sources.iter().filter(is_kafka).count() as u64;
    memory
        .saturating_sub(sources * kafka::queue_bytes(config.memory))
        .max(memory / 4)
}

/// Asks each cluster for the topics of its source.
pub(super) async fn reach(config: &Config) -> Result<(), RunError> {
    for source in &config.sources {
        let Some(settings) = settings(config, source)? else {
            continue;
        };
        let name = settings.name.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let cluster = Cluster::open(&settings)?;
            cluster.topics(&settings.topics)
        });
        let topics = asked
            .await
            .unwrap_or_else(|error| Err(ClusterError::Settings(error.to_string())))
            .map_err(|error| RunError::Kafka {
                source_name: name.clone(),
                error,
            })?;
        for (topic, _) in topics.iter().filter(|(_, partitions)| **partitions == 0) {
            tracing::warn!(source = %name, "there is no topic `{topic}` yet: waiting for it");
        }
    }
    Ok(())
}
