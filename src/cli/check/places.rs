//! Where a run would begin: the store's checkpoints against the embedded log.

use crate::{
    cli::{block_on, exit::CommandError},
    config::{Config, SourceConfig, SourceKind, StoreKind},
    record::PartitionName,
    run::{local_settings, open_store},
    source::local::{
        self,
        log::{Log, LogError},
    },
    sqlite::Access,
    store::sqlite::SqliteStore,
};

/// Of each partition where a run would not simply go on: what it would go on without, or why it would
/// not start.
///
/// # Errors
/// Store or log cannot be read.
pub(super) fn foreseen(
    config: &Config,
    source: &SourceConfig,
) -> Result<Vec<Result<String, String>>, CommandError> {
    let SourceKind::Local { path, topic, .. } = &source.kind else {
        return Ok(Vec::new());
    };
    let read = |error: LogError| CommandError::OutOfReach(error.to_string());
    let log = Log::open(path, Access::Read).map_err(read)?;
    let (Some(topic), Some(settings)) = (
        log.topic(topic).map_err(read)?,
        local_settings(config, source),
    ) else {
        return Ok(Vec::new());
    };
    let missing = match &config.store.kind {
        StoreKind::Local { path } => {
            !path.exists() || SqliteStore::is_missing(path).unwrap_or(true)
        }
        StoreKind::Dynamodb { .. } => false,
    };
    let store = if missing {
        None
    } else {
        Some(open_store(config, Access::Read)?)
    };
    let mut all = Vec::new();
    for partition in 0..topic.partitions() {
        let name = PartitionName::new(&source.name, &topic.partition_name(partition));
        let checkpoint = match &store {
            None => None,
            Some(store) => block_on(async { Ok(store.ownership(&name).await?) })?
                .and_then(|owner| owner.checkpoint),
        };
        match local::foreseen(&log, &topic, partition, &settings, checkpoint.as_ref()) {
            Ok(None) => {}
            Ok(Some(gap)) => all.push(Ok(gap)),
            Err(error) => all.push(Err(error.to_string())),
        }
    }
    Ok(all)
}
