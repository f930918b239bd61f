//! The demo's operator: when nothing moves any more, it skips what can never succeed and releases
//! the chains behind it, with the same verbs as `lanekeeper lanes`.

use super::plan::{Plan, Request};
use crate::{
    record::{LaneKey, PartitionName},
    store::{DecideError, DecisionNote, LaneItem, LaneState, Store, StoreError, Verb},
};

/// What the operator found and did in one round.
#[derive(Default, Debug)]
pub(super) struct Round {
    /// Lanes that are not live, with their chains' lengths.
    pub(super) lanes: Vec<(String, u64)>,
    pub(super) skipped: u32,
    pub(super) released: u32,
    /// Decisions that wait for the worker.
    pub(super) pending: u32,
}

/// Looks at all lanes; decides where a lane stands parked and `act` says so.
pub(super) async fn round(
    store: &dyn Store,
    partitions: &[PartitionName],
    act: bool,
    is_valid: impl Fn(&PartitionName, &LaneItem) -> bool,
    wall: i64,
) -> Result<Round, StoreError> {
    let mut round = Round::default();
    for partition in partitions {
        for item in store.lanes(partition).await? {
            round.lanes.push((item.lane.to_string(), item.count));
            if item.decision.is_some() || item.state != LaneState::Parked {
                round.pending += 1;
                continue;
            }
            if !act {
                continue;
            }
            let verb = if is_valid(partition, &item) {
                Verb::Release
            } else {
                Verb::Skip
            };
            match decide(store, partition, &item.lane, item.rev, verb, wall).await {
                Ok(()) if verb == Verb::Skip => round.skipped += 1,
                Ok(()) => round.released += 1,
                // It moved meanwhile: the next round sees what it is now.
                Err(DecideError::State { .. } | DecideError::NoSuchLane { .. }) => {}
                Err(DecideError::Store(error)) => return Err(error),
            }
        }
    }
    Ok(round)
}

async fn decide(
    store: &dyn Store,
    partition: &PartitionName,
    lane: &LaneKey,
    rev: u64,
    verb: Verb,
    wall: i64,
) -> Result<(), DecideError> {
    let why = if verb == Verb::Skip {
        "it can never succeed"
    } else {
        "its head may succeed now"
    };
    let by = "the demo's operator".to_owned();
    let note = DecisionNote::new(verb, by, Some(why.to_owned()), wall);
    store.decide(partition, lane, rev, &note).await.map(|_| ())
}

/// The request at a lane's head.
pub(super) fn head<'p>(
    plan: &'p Plan,
    places: &std::collections::BTreeMap<(String, u64), u32>,
    partition: &PartitionName,
    item: &LaneItem,
) -> Option<&'p Request> {
    let position = item.head.offset()?;
    let id = places.get(&(partition.partition.to_string(), position))?;
    plan.requests.get(*id as usize - 1)
}
