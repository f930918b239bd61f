//! What a commit writes of lanes and effects, from the engine's changes.

use super::{
    owned::{Owned, Waiting},
    room::{Beside, item_of, new_items, weight},
};
use crate::{
    effect::Effect,
    position::Position,
    record::{LaneKey, Record},
    store::{CommitBounds, LaneChange, LaneItem, LaneState, RecordEffects},
};
use partitions::{Change, Engine, LaneId, Ticket};
use std::collections::{BTreeMap, HashSet};

/// A chain whose head moved, copied out of the engine's snapshot.
pub(super) struct Moved {
    pub(super) lane: LaneId,
    pub(super) through: Position,
    pub(super) head: Option<Position>,
    pub(super) records: u64,
    pub(super) bytes: u64,
}

/// The part of a commit beside its checkpoint.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) lanes: Vec<LaneChange>,
    pub(super) effects: Vec<RecordEffects>,
    pub(super) effects_of: Vec<(Ticket, u32)>,
}

/// The waiting changes that fit into one commit, in their order, and what goes beside them.
pub(super) fn choose(
    engine: &Engine<Record>,
    owned: &Owned,
    bounds: CommitBounds,
) -> (Vec<Waiting>, Beside) {
    let mut chosen = Vec::new();
    let (mut items, mut bytes) = (0, 0);
    let mut touched = HashSet::new();
    // Whether effects of a try are chosen, and whether they go alone.
    let (mut has_effects, mut alone) = (false, false);
    for &waiting in &owned.waiting {
        let is_apart = owned.apart.contains(&waiting.ticket);
        if waiting.change == Change::Effects && (alone || is_apart && has_effects) {
            continue;
        }
        let effects = owned
            .effects
            .get(&waiting.ticket)
            .map_or(&[][..], Vec::as_slice);
        let (more_items, more_bytes) = match waiting.change {
            Change::Effects => (
                // Out of a chain they move its head, too.
                new_items(&touched, effects) + usize::from(is_held(engine, owned, waiting)),
                effects.iter().map(|(_, e)| weight(e)).sum(),
            ),
            Change::Append | Change::Park => (
                // Its lane's item, and what holds its records: one more where they do not fit into one.
                3,
                engine
                    .records(waiting.ticket)
                    .map(|r| r.bytes() as u64 + 64)
                    .sum::<u64>()
                    + 1024,
            ),
            Change::Stop
            | Change::Reopen
            | Change::Skip
            | Change::Verdict
            | Change::DeadLettered
            | Change::Cut
            | Change::Live => (2, 1024),
            Change::Announce => (0, 0),
        };
        // The first always goes: what is too large alone is the store's to refuse by name.
        if !chosen.is_empty()
            && (items + more_items > bounds.items || bytes + more_bytes > bounds.bytes)
        {
            continue;
        }
        items += more_items;
        bytes += more_bytes;
        if waiting.change == Change::Effects {
            (has_effects, alone) = (true, is_apart);
        }
        touched.extend(effects.iter().filter_map(|(_, effect)| item_of(effect)));
        chosen.push(waiting);
    }
    let beside = Beside::new(owned, items, bounds);
    (chosen, beside)
}

fn is_held(engine: &Engine<Record>, owned: &Owned, waiting: Waiting) -> bool {
    let lane = engine.lane_key(waiting.lane).and_then(LaneKey::from_bytes);
    !owned.lanes.is_empty() && lane.is_some_and(|lane| owned.lanes.contains_key(&lane))
}

/// What the commit writes for these changes.
pub(super) fn draft(
    engine: &Engine<Record>,
    owned: &Owned,
    tickets: &[Waiting],
    moved: &[Moved],
    (clear, beside): (&[LaneKey], &Beside),
    wall: i64,
    record_bytes: usize,
) -> Draft {
    let mut lanes = BTreeMap::new();
    let mut draft = Draft::default();
    for m in moved {
        if let Some(change) = change_of(&mut lanes, engine, owned, m.lane) {
            advance(change, m);
        }
    }
    for waiting in tickets {
        if waiting.change == Change::Effects {
            add_effects(&mut draft, engine, owned, waiting.ticket);
        } else if waiting.change == Change::Announce {
            // The checkpoint names it, and nothing of its lane changes.
        } else if let Some(change) = change_of(&mut lanes, engine, owned, waiting.lane) {
            apply(change, engine, owned, *waiting, wall, record_bytes);
        }
    }
    for lane in owned.missing.iter().take(beside.missing) {
        lanes
            .entry(lane.clone())
            .or_insert_with(|| unchanged(owned, lane));
    }
    for lane in clear {
        let change = lanes
            .entry(lane.clone())
            .or_insert_with(|| unchanged(owned, lane));
        if let Some(item) = &mut change.item {
            item.decision = None;
            item.rev += 1;
        }
    }
    draft.lanes = lanes.into_values().collect();
    draft
}

fn unchanged(owned: &Owned, lane: &LaneKey) -> LaneChange {
    let item = owned.lanes.get(lane);
    let found = item.filter(|_| !owned.missing.contains(lane));
    LaneChange {
        lane: lane.clone(),
        expected: found.map(|i| (i.rev, i.tail.clone())),
        item: item.cloned(),
        append: Vec::new(),
        passed: None,
    }
}

fn change_of<'c>(
    lanes: &'c mut BTreeMap<LaneKey, LaneChange>,
    engine: &Engine<Record>,
    owned: &Owned,
    lane: LaneId,
) -> Option<&'c mut LaneChange> {
    let key = LaneKey::from_bytes(engine.lane_key(lane)?)?;
    Some(
        lanes
            .entry(key)
            .or_insert_with_key(|key| unchanged(owned, key)),
    )
}

fn advance(change: &mut LaneChange, moved: &Moved) {
    if let Some(item) = &mut change.item {
        item.count = item.count.saturating_sub(moved.records);
        item.bytes = item.bytes.saturating_sub(moved.bytes);
        if let Some(head) = &moved.head {
            item.head = head.clone();
        }
        change.passed = Some(moved.through.clone());
    }
}

fn add_effects(draft: &mut Draft, engine: &Engine<Record>, owned: &Owned, ticket: Ticket) {
    let effects = owned.effects.get(&ticket).map_or(&[][..], Vec::as_slice);
    let mut seen = HashSet::new();
    for (index, record) in engine.records(ticket).enumerate() {
        let own: Vec<Effect> = effects
            .iter()
            .filter(|(of, _)| *of == index)
            .map(|(_, e)| e.clone())
            .collect();
        let Some(lane) = LaneKey::from_bytes(record.lane()) else {
            continue;
        };
        if !own.is_empty() && seen.insert(index) {
            draft.effects.push(RecordEffects {
                lane,
                partition: Some(&record.assignment().name)
                    .filter(|name| **name != owned.assignment.name)
                    .cloned(),
                position: record.position().clone(),
                effects: own,
            });
            draft
                .effects_of
                .push((ticket, u32::try_from(index).unwrap_or(u32::MAX)));
        }
    }
}

fn apply(
    change: &mut LaneChange,
    engine: &Engine<Record>,
    owned: &Owned,
    waiting: Waiting,
    wall: i64,
    record_bytes: usize,
) {
    let head = engine.records(waiting.ticket).next();
    match waiting.change {
        Change::Effects | Change::Announce => {}
        Change::Stop => stop(change, owned, head, wall, record_bytes),
        Change::Park => {
            let records = engine.records(waiting.ticket).cloned().collect();
            park(change, owned, records, wall);
        }
        Change::Append => append(change, engine, waiting.ticket),
        Change::Reopen | Change::Live => change.item = None,
        Change::Skip | Change::DeadLettered => {
            pass_head(
                change,
                engine.chain_next(waiting.ticket).map(Record::position),
            );
        }
        Change::Verdict => verdict(change, owned, head, wall, record_bytes),
        Change::Cut => {
            if let Some(item) = &mut change.item {
                item.state = LaneState::Draining;
                item.cut = item.tail.clone();
                item.decision = None;
                item.rev += 1;
            }
        }
    }
}

/// A fresh item for a head that failed for good, or the standing one with its newest error.
fn failed_item(
    change: &LaneChange,
    owned: &Owned,
    head: Option<&Record>,
    wall: i64,
) -> Option<LaneItem> {
    let errors = owned.errors.get(&change.lane).cloned().unwrap_or_default();
    if let Some(item) = &change.item {
        let mut item = item.clone();
        item.rev += 1;
        item.decision = None;
        if !errors.last.is_empty() {
            item.last_error = errors.last;
            item.attempts = errors.attempts.max(item.attempts);
        }
        return Some(item);
    }
    Some(LaneItem {
        lane: change.lane.clone(),
        state: LaneState::Stopped,
        head: head?.position().clone(),
        record: None,
        tail: None,
        tails: Vec::new(),
        cut: None,
        count: 0,
        bytes: 0,
        attempts: errors.attempts,
        first_error: errors.first,
        last_error: errors.last,
        since: wall,
        // Unique over the lane's lives: a decision on a former stop never fits a later one.
        rev: (owned.fence.epoch & 0x7f_ffff) << 40 | ((owned.number + 1) & 0xffff_ffff) << 8,
        decision: None,
    })
}

fn stop(
    change: &mut LaneChange,
    owned: &Owned,
    head: Option<&Record>,
    wall: i64,
    record_bytes: usize,
) {
    let Some(mut item) = failed_item(change, owned, head, wall) else {
        return;
    };
    if item.state == LaneState::Stopped
        && item.record.is_none()
        && let Some(head) = head
        && head.bytes() + 64 <= record_bytes
    {
        item.record = Some(head.to_stored());
    }
    change.item = Some(item);
}

fn park(change: &mut LaneChange, owned: &Owned, records: Vec<Record>, wall: i64) {
    let Some(head) = records.first().cloned() else {
        return;
    };
    let Some(mut item) = failed_item(change, owned, Some(&head), wall) else {
        return;
    };
    let errors = owned.errors.get(&change.lane).cloned().unwrap_or_default();
    if item.state == LaneState::Stopped {
        item.tail = Some(head.position().clone());
        item.count = 1;
        item.bytes = head.bytes() as u64;
        item.record = None;
        change.append = vec![head.clone()];
    } else {
        // It failed out of its chain: there it is the head again. Or, after a rewind, before its chain:
        // then it joins its front, with what lies between.
        if *head.position() < item.head {
            item.count += records.len() as u64;
            item.bytes += records.iter().map(|r| r.bytes() as u64).sum::<u64>();
            change.append = records;
        }
        item.first_error = errors.first;
        item.last_error = errors.last;
        item.attempts = errors.attempts;
        item.since = wall;
    }
    item.state = LaneState::Parked;
    item.head = head.position().clone();
    item.cut = None;
    change.item = Some(item);
}

fn append(change: &mut LaneChange, engine: &Engine<Record>, ticket: Ticket) {
    let records: Vec<Record> = engine.records(ticket).cloned().collect();
    if let (Some(item), Some(first), Some(last)) =
        (&mut change.item, records.first(), records.last())
    {
        if item.count == 0 {
            item.head = first.position().clone();
        }
        item.tail = Some(last.position().clone());
        item.count += records.len() as u64;
        item.bytes += records.iter().map(|r| r.bytes() as u64).sum::<u64>();
        change.append = records;
    }
}

fn pass_head(change: &mut LaneChange, next: Option<&Position>) {
    let Some(item) = &mut change.item else { return };
    match next {
        Some(next) if item.state == LaneState::Parked && item.count > 1 => {
            let why = format!(
                "not tried: the record before it, at {}, was passed by a decision",
                item.head
            );
            change.passed = Some(item.head.clone());
            item.head = next.clone();
            item.count -= 1;
            item.attempts = 0;
            item.first_error.clone_from(&why);
            item.last_error = why;
            item.decision = None;
            item.rev += 1;
        }
        _ => change.item = None,
    }
}

fn verdict(
    change: &mut LaneChange,
    owned: &Owned,
    head: Option<&Record>,
    wall: i64,
    record_bytes: usize,
) {
    let standing = change.item.as_ref().and_then(|item| item.decision.clone());
    stop(change, owned, head, wall, record_bytes);
    if let Some(item) = &mut change.item {
        item.decision = Some(standing.unwrap_or_else(|| crate::store::DecisionNote {
            verb: crate::store::Verb::DeadLetter,
            by: "failure.then".to_owned(),
            why: None,
            at: wall,
            taken: true,
            lease: None,
            tried: None,
        }));
    }
}

/// How many records of a change that is too large may go without the rest. Of arrivals half go first,
/// until the one that is too large stands alone; what joins a chain's front goes whole or not at all.
pub(super) fn kept(change: Change, records: usize) -> u32 {
    match change {
        Change::Append => u32::try_from(records / 2).unwrap_or(u32::MAX),
        Change::Effects
        | Change::Stop
        | Change::Park
        | Change::Reopen
        | Change::Skip
        | Change::Verdict
        | Change::DeadLettered
        | Change::Cut
        | Change::Live
        | Change::Announce => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_arrivals_go_in_parts() {
        let arrivals = [5, 2, 1].map(|n| kept(Change::Append, n));
        assert_eq!(arrivals, [2, 1, 0]);
        assert_eq!([5, 2, 1].map(|n| kept(Change::Park, n)), [0, 0, 0]);
    }
}
