//! Records that are open though no lane of theirs stands: another invocation has them, or has taken its
//! claim with it.

use super::{Open, RecoveryError};
use crate::{
    lambda::{Delivery, Function},
    record::{LaneKey, OrderBy, PartitionName, Record},
    store::{LaneItem, LaneState},
};
use partitions::Stops;
use std::{collections::BTreeSet, sync::Arc};

/// How many of the open records of a delivery that are.
pub(super) async fn count(
    function: &Function,
    source: &Arc<str>,
    delivery: &Delivery,
    open: &Open,
) -> Result<u64, RecoveryError> {
    if open.is_empty() {
        return Ok(0);
    }
    let order = function.settings.order;
    let stops_all = function.settings.failure.stops == Stops::Partition;
    let mut count = 0;
    for delivered in &delivery.partitions {
        let place = match order.by {
            OrderBy::Key => PartitionName::of_all(source),
            OrderBy::Partition => delivered.full_name(source),
        };
        let items = function.store.lane_items(&place).await?;
        let stands = |item: &&LaneItem| item.state != LaneState::Live;
        // One that stopped bars all of its own shard, or of whatever its copy does not say.
        let bars = |item: &LaneItem| {
            let of = item.record.as_deref().and_then(Record::stored_partition);
            item.state == LaneState::Stopped && of.is_none_or(|of| *of == **delivered.name())
        };
        if stops_all && items.iter().any(bars) {
            continue;
        }
        let standing: BTreeSet<LaneKey> = { items.iter().filter(stands) }
            .map(|item| item.lane.clone())
            .collect();
        let is_adrift = |entry: &crate::lambda::Entry<'_>| {
            let is_open = open.contains(&(Arc::clone(delivered.name()), entry.position().clone()));
            let lane = order.lane(entry.key(), entry.position());
            is_open && !lane.is_ok_and(|lane| standing.contains(&lane))
        };
        count += delivered.entries().filter(is_adrift).count() as u64;
    }
    Ok(count)
}
