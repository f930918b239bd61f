//! What a cluster holds, for commands that show it.

use super::{ends::LogEnd, output};
use crate::{
    config::{Config, SourceConfig},
    record::PartitionName,
    run::{RunError, kafka::settings},
    source::kafka::cluster::{Cluster, ClusterError},
};

/// Where the partitions of a Kafka source end, or the `only` one. A cluster out of reach is told of, and
/// holds nothing.
pub(super) fn ends(
    config: &Config,
    source: &SourceConfig,
    only: Option<&PartitionName>,
) -> Vec<(PartitionName, LogEnd)> {
    match look(config, source, only) {
        Ok(ends) => ends,
        Err(error) => {
            output::note(&format!("{error}: how far it is behind is not known"));
            Vec::new()
        }
    }
}

fn look(
    config: &Config,
    source: &SourceConfig,
    only: Option<&PartitionName>,
) -> Result<Vec<(PartitionName, LogEnd)>, RunError> {
    let Some(settings) = settings(config, source)? else {
        return Ok(Vec::new());
    };
    let told = |error: ClusterError| RunError::Kafka {
        of: format!("source `{}`", source.name),
        error,
    };
    let cluster = Cluster::open(&settings).map_err(told)?;
    let mut all = Vec::new();
    for (topic, partitions) in cluster.topics(&settings.topics).map_err(told)? {
        for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
            let name = PartitionName::new(&source.name, &format!("{topic}/{partition}"));
            if only.is_some_and(|only| *only != name) {
                continue;
            }
            let bounds = cluster.bounds(&topic, partition).map_err(told)?;
            let end = LogEnd {
                first: bounds.first,
                next: bounds.next,
            };
            all.push((name, end));
        }
    }
    Ok(all)
}
