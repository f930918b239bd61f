//! Log lines about records and lanes: with their ids, never with a key or anything of a payload.

use super::owned::{Errors, Owned};
use crate::{
    position::Position,
    record::{LaneKey, Record},
};
use partitions::Change;

/// Something happened to a lane, durably. `head`: the record that it happened to, where that is known.
pub(super) fn changed(
    owned: &Owned,
    key: &LaneKey,
    head: Option<&Position>,
    change: Change,
    errors: &Errors,
) {
    let name = &owned.assignment.name;
    let (source, partition) = (&*name.source, &*name.partition);
    let lane = || key.id(partition);
    let record = || {
        head.map(|head| owned.assignment.record_id(head))
            .unwrap_or_default()
    };
    match change {
        Change::Park => {
            // One that stood, and is parked as decided, has failed before: its item tells of it.
            let item = owned.lanes.get(key).filter(|_| errors.attempts == 0);
            let (attempts, error) = item.map_or((errors.attempts, &errors.last), |item| {
                (item.attempts, &item.last_error)
            });
            tracing::warn!(
                source, partition, lane = lane(), record = record(), attempts, error,
                "lane parked: `lanekeeper lanes release` puts it to work again, in order",
            );
        }
        Change::Skip => tracing::info!(
            source, partition, lane = lane(), record = record(), "record skipped, as decided",
        ),
        Change::Reopen => tracing::info!(
            source, partition, lane = lane(), record = record(), "lane goes on, as decided",
        ),
        Change::Live => tracing::info!(
            source, partition, lane = lane(), record = record(),
            "lane released: its chain is worked off",
        ),
        Change::Append => tracing::debug!(
            source, partition, lane = lane(), record = record(),
            "record joined the chain of its parked lane",
        ),
        // That it stands is said once nothing that it stops is out.
        Change::Stop
        // That it is published is said when the target has it.
        | Change::Verdict
        | Change::DeadLettered
        | Change::Effects
        | Change::Cut
        | Change::Announce => {}
    }
}

/// A lane stands, and nothing that it stops is out.
pub(super) fn stopped(owned: &Owned, lane: &LaneKey) {
    let Some(item) = owned.lanes.get(lane) else {
        return;
    };
    let name = &owned.assignment.name;
    tracing::error!(
        source = %name.source,
        partition = %name.partition,
        lane = lane.id(&name.partition),
        record = owned.assignment.record_id(&item.head),
        attempts = item.attempts,
        error = item.last_error,
        "lane stopped: decide with `lanekeeper lanes retry|skip|park|dead-letter`",
    );
}

/// A try failed.
pub(super) fn failed(record: &Record, attempt: u32, outcome: &str, error: &str) {
    let name = &record.assignment().name;
    tracing::debug!(
        source = %name.source,
        partition = %name.partition,
        record = record.id(),
        attempt,
        outcome,
        error,
        "try failed",
    );
}

/// A record is published to the dead-letter target.
pub(super) fn dead_lettered(record: &Record, attempts: u32, error: &str) {
    let name = &record.assignment().name;
    tracing::warn!(
        source = %name.source,
        partition = %name.partition,
        record = record.id(),
        attempts,
        error,
        "record dead-lettered: its lane goes on",
    );
}

/// Records of a chain were read; `is_broken`: none, and there should be some.
pub(super) fn loaded(owned: &Owned, lane: Option<&LaneKey>, records: usize, is_broken: bool) {
    let name = &owned.assignment.name;
    let (source, partition) = (&*name.source, &*name.partition);
    let id = || lane.map(|lane| lane.id(partition)).unwrap_or_default();
    if is_broken {
        tracing::error!(
            source,
            partition,
            lane = id(),
            "the store has no record of this chain up to its tail: somebody deleted them; the lane waits for them",
        );
    } else {
        tracing::debug!(source, partition, lane = id(), records, "chain loaded");
    }
}

/// A partition is taken up.
pub(super) fn claimed(owned: &Owned, clean: bool) {
    let name = &owned.assignment.name;
    tracing::debug!(
        source = %name.source,
        partition = %name.partition,
        epoch = owned.fence.epoch,
        clean,
        held_lanes = owned.lanes.len(),
        "partition claimed",
    );
}

/// A partition is given up, or was lost.
pub(super) fn let_go(owned: &Owned, clean: bool) {
    let name = &owned.assignment.name;
    let (source, partition) = (&*name.source, &*name.partition);
    let epoch = owned.fence.epoch;
    if clean {
        tracing::debug!(source, partition, epoch, "partition released");
    } else {
        tracing::warn!(
            source,
            partition,
            epoch,
            "partition given up without a release: what was in flight runs again with its next owner",
        );
    }
}
