//! What must hold when a history is over.

use super::{
    chaos::Ended,
    dynamodb,
    log::offset,
    plan::Temper,
    world::{Shared, lock, now},
};
use lanekeeper::{
    Position,
    audit::Audit,
    record::{LaneKey, OrderBy, PartitionName},
    store::{LaneItem, LaneState, Verb, memory::Contents},
};
use partitions::Stops;

/// Why things are not at rest yet; `None`: every record has passed, or stands where an operator finds
/// it.
pub(super) fn unsettled(shared: &Shared) -> Option<String> {
    shared.store.tamper(|contents| {
        let log = shared.log();
        (0..log.len()).find_map(|partition| unsettled_in(shared, &log, contents, partition))
    })
}

fn unsettled_in(
    shared: &Shared,
    log: &super::log::Log,
    contents: &Contents,
    partition: usize,
) -> Option<String> {
    let name = log.name(partition);
    let lanes: Vec<&LaneItem> = lanes(contents, name).collect();
    let moving = lanes.iter().find(|item| {
        let barred = stops_before(shared, &lanes, offset(&item.head));
        // A head that a full partition does not take in is not acted on.
        let full = is_small(shared) && !shared.plan.mended;
        // Nor does a chain run before the source was at its head.
        let others = lanes.iter().any(|other| !runs(other));
        if runs(item) {
            !(barred || full && others)
        } else {
            item.decision.is_some() && !full
        }
    });
    if let Some(item) = moving {
        return Some(format!("lane {} of {name}: {item:?}", item.lane));
    }
    if shared.plan.mended && !lanes.is_empty() {
        return Some(format!("lane {} of {name} stands", lanes[0].lane));
    }
    let Some(checkpoint) = contents
        .ownerships
        .get(name)
        .and_then(|o| o.checkpoint.as_ref())
    else {
        return Some(format!("{name} has no checkpoint"));
    };
    for (position, entry) in log.entries(partition) {
        let Some(key) = &entry.key else { continue };
        let settled = checkpoint.settles(&Position::Offset(position));
        if settled || log.is_compacted(partition, position) {
            continue;
        }
        if !stands(shared, &lanes, key, position) {
            return Some(format!(
                "record {position} (key {key}, {:?}) of {name} is open",
                entry.temper
            ));
        }
    }
    None
}

fn lanes<'c>(
    contents: &'c Contents,
    name: &'c PartitionName,
) -> impl Iterator<Item = &'c LaneItem> {
    let own = contents.lanes.iter().filter(move |((of, _), _)| of == name);
    own.map(|(_, item)| item)
        .filter(|item| item.state != LaneState::Live)
}

/// Whether a chain is released, and is cut or still too long for that.
fn runs(item: &LaneItem) -> bool {
    let verb = item.taken().map(|decision| decision.verb);
    let released = matches!(verb, Some(Verb::Release | Verb::Retry));
    item.state == LaneState::Draining || item.state == LaneState::Parked && released
}

/// Whether a stopped lane stops its partition at or before a position.
fn stops_before(shared: &Shared, lanes: &[&LaneItem], position: u64) -> bool {
    let stopped = |item: &&LaneItem| item.state == LaneState::Stopped;
    shared.plan.settings.failure.stops == Stops::Partition
        && lanes
            .iter()
            .copied()
            .filter(stopped)
            .any(|item| offset(&item.head) <= position)
}

/// Whether held records may fill a partition's share of the memory.
fn is_small(shared: &Shared) -> bool {
    shared.plan.settings.memory < 1 << 20
}

/// Whether an open record is held by a lane that stands.
fn stands(shared: &Shared, lanes: &[&LaneItem], key: &str, position: u64) -> bool {
    let settings = &shared.plan.settings;
    let lane = match settings.order.by {
        OrderBy::Key => LaneKey::of_key(key.as_bytes()),
        OrderBy::Partition => LaneKey::of_partition(),
    };
    let held = lanes
        .iter()
        .any(|item| item.lane == lane && offset(&item.head) <= position);
    let stopped = stops_before(shared, lanes, position);
    // Held records may fill the partition's share: then it takes in nothing more.
    let full = is_small(shared) && !lanes.is_empty();
    held || stopped || full
}

/// The audit's verdict, the target's table and the store's values, against each other.
pub(super) fn judge(shared: &Shared, rested: bool) -> Ended {
    let mut problems = shared.problems();
    if !rested {
        let why = unsettled(shared).unwrap_or_else(|| "workers or partitions".to_owned());
        problems.push(format!("not at rest at {:?}: {why}", now()));
    }
    let audit = std::mem::replace(&mut *lock(&shared.audit), Audit::new());
    let verdict = audit.finish();
    if !verdict.passes() {
        problems.push(verdict.to_string());
    }
    shared
        .store
        .tamper(|contents| dynamodb::unequal(&shared.log(), contents, &mut problems));
    if rested {
        shared
            .store
            .tamper(|contents| lost(shared, contents, &mut problems));
    }
    let mut counters = shared.counters();
    counters.histories = 1;
    counters.add_audit(&verdict.counts);
    let store = shared.store.counters();
    counters.conflicts = store.conflicts;
    counters.landed_late = store.landed_late;
    counters.late_behind_a_successor = store.late_behind_a_successor;
    counters.claims_overtaken = store.claims_overtaken;
    counters.as_dynamodb = u64::from(shared.plan.dynamodb.is_some());
    let transcript = shared.transcript.as_ref();
    Ended {
        problems,
        counters,
        transcript: transcript
            .map(|text| lock(text).clone())
            .unwrap_or_default(),
    }
}

/// Each record is done, or somebody answers for it; each effect is there once in each generation
/// that the record was to run in.
fn lost(shared: &Shared, contents: &Contents, problems: &mut Vec<String>) {
    let (log, seen) = (shared.log(), shared.seen());
    for partition in 0..log.len() {
        let name = log.name(partition);
        let generation = seen.passed.generation(partition);
        let lanes: Vec<&LaneItem> = lanes(contents, name).collect();
        let chained = |position: u64| {
            let own = contents.chains.iter().filter(|((of, _), _)| of == name);
            own.into_iter()
                .any(|(_, chain)| chain.contains_key(&Position::Offset(position)))
        };
        for (position, entry) in log.entries(partition) {
            let Some(key) = &entry.key else { continue };
            let place = (partition, position);
            let passed = &seen.passed;
            let gone = log.is_compacted(partition, position);
            let excused = passed.is_excused(place, generation) || gone;
            let checkpoint = contents
                .ownerships
                .get(name)
                .and_then(|o| o.checkpoint.as_ref());
            let settled = checkpoint.is_some_and(|c| c.settles(&Position::Offset(position)));
            let waits = chained(position) || (!settled && stands(shared, &lanes, key, position));
            let done = passed.is_done(place, generation);
            if !(done || excused || waits) {
                problems.push(format!("record {position} of {name} is lost"));
            }
            let effects = matches!(entry.temper, Temper::Effect | Temper::BadEffect);
            let last = passed.ran_last_in(place);
            let excused = passed.is_excused(place, last) || gone;
            let expected = effects && settled && !excused && !chained(position);
            for generation in 0..=generation {
                let id = format!("{name}/{position}/{generation}");
                let value = contents.values.get(&("done".to_owned(), id.clone()));
                let times = value.and_then(serde_json::Value::as_i64).unwrap_or(0);
                let most = i64::from(!passed.is_kept(place, generation));
                if times > most || (expected && generation == last && times != 1) {
                    problems.push(format!("the effect of {id} is there {times} times"));
                }
            }
        }
    }
}
