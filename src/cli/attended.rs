//! Whether workers are at work that brokers do not tell of: a recovery is no member of its group, and of
//! groups of the new protocol (KIP-848) librdkafka hears of no members.

use super::{exit::CommandError, output, status::is_alive};
use crate::{
    config::{Config, SourceKind},
    run::{RunError, Selection, open_store},
    sqlite::Access,
};

/// Refuses where a worker that lives owns one of the partitions that are meant. `else_do` says what can be
/// done all the same.
pub(super) async fn unattended(
    config: &Config,
    selection: &Selection,
    else_do: &str,
) -> Result<(), CommandError> {
    let store = match open_store(config, Access::Read) {
        Ok(store) => store,
        Err(RunError::NoStore(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let workers = store.workers().await?;
    for (source, logs) in selection.logs(config)? {
        if !matches!(source.kind, SourceKind::Kafka { .. }) {
            continue;
        }
        for log in logs {
            let owner = store.ownership(log.name()).await?;
            let owner = owner.and_then(|owner| owner.worker);
            let item = { workers.iter() }.find(|item| owner.is_some_and(|o| o.0 == item.worker));
            if let Some(item) = item.filter(|item| is_alive(item, output::now())) {
                return Err(CommandError::Usage(format!(
                    "`{}` is owned by worker {}, process {} on `{}`, which is at work: stop the workers first (one that died on another machine counts for two and a half minutes); {else_do}",
                    log.name(),
                    item.worker,
                    item.pid,
                    output::shown(&item.host)
                )));
            }
        }
    }
    Ok(())
}
