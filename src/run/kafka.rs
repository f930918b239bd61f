//! Kafka sources and dead-letter targets as a configuration names them.

use super::RunError;
use crate::{
    config::{
        Config, DeadLetterConfig, GroupProtocol, Property, SourceConfig, SourceKind, StoreKind,
        dead_letter_link, source_link,
    },
    source::{
        Extent,
        kafka::{
            self, Settings,
            cluster::{Cluster, ClusterError},
            dead_letter,
        },
        pattern::Pattern,
    },
};
use std::collections::BTreeMap;

/// What a Kafka source of a configuration is opened with; `None`: it is of another type.
pub(crate) fn settings(
    config: &Config,
    source: &SourceConfig,
) -> Result<Option<Settings>, RunError> {
    let (
        Some(link),
        SourceKind::Kafka {
            topics,
            group_id,
            group_protocol,
            group_instance_id,
            new_partitions_wait,
            ..
        },
    ) = (source_link(source), &source.kind)
    else {
        return Ok(None);
    };
    let mut properties = revealed(&of_source(&source.name), link.properties)?;
    for (key, value) in [
        ("group.protocol", group_protocol.map(GroupProtocol::name)),
        ("group.instance.id", group_instance_id.as_deref()),
    ] {
        if let Some(value) = value {
            properties.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(Some(Settings {
        name: source.name.clone(),
        properties,
        bootstrap_servers: link.servers,
        topics: topics.clone(),
        group_id: group_id.clone(),
        order: config.order,
        start: source.start,
        on_gap: source.on_gap,
        new_partitions_wait: *new_partitions_wait,
        store_is_shared: !matches!(config.store.kind, StoreKind::Local { .. }),
        queue_bytes: kafka::queue_bytes(config.memory),
        extent: Extent::Everything,
    }))
}

/// What a Kafka dead-letter target is opened with; `None`: it is of another type, or there is none.
pub(crate) fn letters(config: &Config) -> Result<Option<dead_letter::Settings>, RunError> {
    let (Some(link), Some(DeadLetterConfig::Kafka { topic, .. })) =
        (dead_letter_link(config), &config.failure.dead_letter)
    else {
        return Ok(None);
    };
    Ok(Some(dead_letter::Settings {
        bootstrap_servers: link.servers,
        topic: topic.clone(),
        properties: revealed(DEAD_LETTER, link.properties)?,
        timeout: config.failure.timeout,
        bytes: kafka::queue_bytes(config.memory),
    }))
}

const DEAD_LETTER: &str = "`failure.dead_letter`";

fn of_source(name: &str) -> String {
    format!("source `{name}`")
}

/// Properties with the secrets that they name.
fn revealed(
    of: &str,
    properties: BTreeMap<String, Property>,
) -> Result<BTreeMap<String, String>, RunError> {
    let reveal = |(key, property)| match property {
        Property::Text(text) => Ok((key, text)),
        Property::Secret(secret) => match secret.read() {
            Ok(secret) => Ok((key, secret.reveal().to_owned())),
            Err(error) => Err(RunError::Secret {
                of: of.to_owned(),
                key,
                error,
            }),
        },
    };
    properties.into_iter().map(reveal).collect()
}

/// What of the memory budget is left for the processor: librdkafka's queues have their part of it, and as
/// much may wait for memory behind them.
pub(super) fn memory_left(config: &Config, memory: u64) -> u64 {
    let is_kafka = |source: &&SourceConfig| matches!(source.kind, SourceKind::Kafka { .. });
    let sources = config.sources.iter().filter(is_kafka).count() as u64;
    let letters = u64::from(dead_letter_link(config).is_some());
    memory
        .saturating_sub((2 * sources + letters) * kafka::queue_bytes(config.memory))
        .max(memory / 4)
}

/// Asks each cluster for the topics of its source, and for that of dead letters.
pub(super) async fn reach(config: &Config) -> Result<(), RunError> {
    for source in &config.sources {
        let Some(settings) = settings(config, source)? else {
            continue;
        };
        let (name, source_topics) = (settings.name.clone(), settings.topics.clone());
        let of = of_source(&name);
        let ask = move || Cluster::open(&settings)?.topics(&settings.topics);
        let topics = asked(&of, ask).await?;
        for pattern in unmatched(&source_topics, &topics) {
            tracing::warn!(source = %name, "no topic matches `{pattern}` yet: waiting for one");
        }
        for (topic, _) in topics.iter().filter(|(_, partitions)| **partitions == 0) {
            tracing::warn!(source = %name, "there is no topic `{topic}` yet: waiting for it");
        }
    }
    if let Some(settings) = letters(config)? {
        let topic = settings.topic.clone();
        let partitions = asked(DEAD_LETTER, move || dead_letter::partitions(&settings));
        if partitions.await? == 0 {
            tracing::warn!(
                "there is no topic `{topic}` for dead letters: what fails for good waits for it"
            );
        }
    }
    Ok(())
}

/// Patterns that none of these topics matches.
pub(crate) fn unmatched<'a>(
    topics: &'a [String],
    found: &BTreeMap<String, u32>,
) -> impl Iterator<Item = &'a String> {
    topics.iter().filter(|topic| {
        Pattern::is_one(topic)
            && Pattern::new(topic)
                .is_ok_and(|pattern| !found.keys().any(|found| pattern.matches(found)))
    })
}

/// Asks on a thread that may wait.
async fn asked<T: Send + 'static>(
    of: &str,
    ask: impl FnOnce() -> Result<T, ClusterError> + Send + 'static,
) -> Result<T, RunError> {
    let found = tokio::task::spawn_blocking(ask).await;
    found
        .unwrap_or_else(|error| Err(ClusterError::Settings(error.to_string())))
        .map_err(|error| RunError::Kafka {
            of: of.to_owned(),
            error,
        })
}

/// Refuses where members of a source's group run, as far as its brokers say: they have its partitions.
/// `else_do` says what can be done all the same.
pub(crate) fn unattended(
    config: &Config,
    source: &SourceConfig,
    group: Option<&str>,
    else_do: &str,
) -> Result<(), RunError> {
    let Some(mut settings) = settings(config, source)? else {
        return Ok(());
    };
    if let Some(group) = group {
        group.clone_into(&mut settings.group_id);
    }
    let group = Cluster::open(&settings).and_then(|cluster| cluster.group(&settings.group_id));
    let group = group.map_err(|error| RunError::Kafka {
        of: of_source(&source.name),
        error,
    })?;
    let Some(group) = group else {
        return Ok(());
    };
    let members = match group.members {
        1 => "1 member".to_owned(),
        members => format!("{members} members"),
    };
    Err(RunError::Selection(format!(
        "source `{}`: group `{}` has {members} at work: stop them first (one that died counts until its session has timed out, as does a static one that stopped); {else_do}",
        source.name, settings.group_id
    )))
}

/// Where dead letters go; `None`: not to Kafka.
pub(super) fn dead_letter(
    config: &Config,
) -> Result<Option<dead_letter::KafkaDeadLetter>, RunError> {
    let Some(settings) = letters(config)? else {
        return Ok(None);
    };
    dead_letter::KafkaDeadLetter::new(settings)
        .map(Some)
        .map_err(|error| RunError::Kafka {
            of: DEAD_LETTER.to_owned(),
            error,
        })
}
