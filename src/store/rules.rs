//! What every store decides alike: whether a commit is admitted, whether a lane is as its owner knows
//! it, what an effect makes of a value.

use super::{
    Commit, CommitError, ContentId, DecideError, DecisionNote, LaneChange, LaneItem, Lease,
    TooLarge, Verb, WorkerId,
};
use crate::{
    checkpoint::Checkpoint,
    effect::{Condition, Effect, VALUE_BYTES_MAX},
    position::Position,
    record::{Assignment, LaneKey, PartitionName, Record},
};
use serde_json::Value;
use std::sync::Arc;

/// Most bytes of open set, attempts and announced positions of a checkpoint, encoded.
pub const CHECKPOINT_BYTES_MAX: u64 = 300 * 1024;

/// Most bytes of a table name of the value table.
pub const TABLE_BYTES_MAX: usize = 512;

/// Most bytes of a key of the value table (DynamoDB's bound of a sort key).
pub const KEY_BYTES_MAX: usize = 1024;

/// How long a partition's history is kept, in milliseconds: seven days.
pub const HISTORY_MILLIS: i64 = 7 * 24 * 60 * 60 * 1000;

/// What a checkpoint item says of the last commit.
pub(crate) struct Found {
    pub(crate) worker: Option<WorkerId>,
    pub(crate) epoch: u64,
    pub(crate) commit: u64,
    pub(crate) content: ContentId,
}

/// What is to be done with a commit.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Admission {
    /// It is the next one.
    Write,
    /// It is in the store.
    Repeated,
}

/// The condition of every commit: `worker = mine AND epoch = e AND commit < n`; where it does not
/// hold, whether that is because this very commit landed.
pub(crate) fn admit(commit: &Commit, found: Option<&Found>) -> Result<Admission, CommitError> {
    let refused = |found| CommitError::Fenced {
        partition: commit.partition.clone(),
        fence: commit.fence,
        number: commit.number,
        found,
    };
    let Some(found) = found else {
        return Err(refused((None, 0, 0)));
    };
    let ours = found.worker == Some(commit.fence.worker) && found.epoch == commit.fence.epoch;
    if ours && found.commit < commit.number {
        Ok(Admission::Write)
    } else if ours && found.commit == commit.number && found.content == commit.content {
        Ok(Admission::Repeated)
    } else if ours && found.commit == commit.number {
        Err(CommitError::OtherContent {
            number: commit.number,
            content: found.content,
        })
    } else {
        Err(refused((found.worker, found.epoch, found.commit)))
    }
}

/// As [`admit`], of a commit with a mark: nobody but its invocation writes it, so that its number alone
/// decides.
pub(crate) fn admit_mark(
    commit: &Commit,
    found: Option<(u64, ContentId)>,
) -> Result<Admission, CommitError> {
    let Some((number, content)) = found else {
        return Ok(Admission::Write);
    };
    let found = Found {
        worker: Some(commit.fence.worker),
        epoch: commit.fence.epoch,
        commit: number,
        content,
    };
    admit(commit, Some(&found))
}

/// What a commit must keep to, whatever the store holds.
pub(crate) fn check_size(commit: &Commit, lane_bytes_max: u64) -> Result<(), CommitError> {
    let bytes = match &commit.mark {
        None => checkpoint_bytes(&commit.checkpoint),
        Some(mark) => mark.bytes(),
    };
    if bytes > CHECKPOINT_BYTES_MAX {
        return Err(CommitError::TooLarge {
            what: TooLarge::Checkpoint,
            bytes,
            max: CHECKPOINT_BYTES_MAX,
        });
    }
    for (index, change) in commit.lanes.iter().enumerate() {
        let bytes = change_bytes(change);
        if bytes > lane_bytes_max {
            return Err(CommitError::TooLarge {
                what: TooLarge::Lane(index),
                bytes,
                max: lane_bytes_max,
            });
        }
    }
    Ok(())
}

/// Bytes of open set, attempts and announced positions, encoded. Every store counts like this.
pub fn checkpoint_bytes(checkpoint: &Checkpoint) -> u64 {
    let attempts = checkpoint.attempts.iter().map(|(p, _)| attempt_bytes(p));
    let announced = checkpoint.announced.iter().map(|(p, _)| attempt_bytes(p));
    checkpoint.open.encode().len() as u64 + attempts.sum::<u64>() + announced.sum::<u64>()
}

/// Bytes of a record's attempts: its position as text with a number beside it.
pub fn attempt_bytes(position: &Position) -> u64 {
    let beside = 8;
    match position.offset() {
        // Twenty digits at most.
        Some(_) => 20 + beside,
        None => position.to_string().len() as u64 + beside,
    }
}

/// Bytes that a lane's change writes.
fn change_bytes(change: &LaneChange) -> u64 {
    let item = change.item.as_ref().map_or(0, |item| {
        item.record.as_ref().map_or(0, Vec::len)
            + item.lane.bytes().len()
            + item.first_error.len()
            + item.last_error.len()
    });
    let append: usize = change.append.iter().map(|record| record.bytes() + 32).sum();
    (item + append) as u64
}

/// Whether a lane item is not as its owner knows it, or records would join its chain out of order:
/// all of them join behind its tail, or all of them in front of its head.
pub(crate) fn moved(change: &LaneChange, found: Option<&LaneItem>) -> bool {
    if change.expected != found.map(|item| (item.rev, item.tail.clone())) {
        return true;
    }
    let (Some(first), Some(last)) = (change.append.first(), change.append.last()) else {
        return false;
    };
    let chain = found.and_then(|item| Some((&item.head, item.tail.as_ref()?)));
    let joins = chain.is_none_or(|(head, tail)| first.position() > tail || last.position() < head);
    let mut pairs = change.append.iter().zip(change.append.iter().skip(1));
    !joins || pairs.any(|(one, next)| one.position() >= next.position())
}

/// A record out of a chain.
///
/// # Errors
/// What is wrong with its bytes.
pub(crate) fn chained(
    assignment: &Arc<Assignment>,
    lane: &LaneKey,
    position: Position,
    stored: &[u8],
) -> Result<Record, String> {
    let place = format!(
        "chain of lane `{lane}` of {}, position {position}",
        assignment.name
    );
    match Record::from_stored(assignment, position, stored) {
        Ok(record) if record.lane() == lane.bytes() => Ok(record),
        Ok(record) => Err(format!(
            "{place}: the record there is of lane `{}`",
            record.lane().escape_ascii()
        )),
        Err(error) => Err(format!("{place}: {error}")),
    }
}

/// The item with an operator's word on it, if it may be written: one that nobody has taken yet stands
/// in no other's way, nor does one whose invocation is dead by now.
pub(crate) fn decided(
    partition: &PartitionName,
    item: LaneItem,
    rev: u64,
    decision: &DecisionNote,
) -> Result<LaneItem, DecideError> {
    let is_taken = item.taken().is_some_and(|taken| {
        let lease = taken.lease.as_ref();
        lease.is_none_or(|lease| lease.until > decision.at)
    });
    if item.rev != rev || is_taken || !item.state.offers(decision.verb) {
        return Err(state(partition, item));
    }
    Ok(LaneItem {
        rev: rev.saturating_add(1),
        decision: Some(DecisionNote {
            taken: false,
            lease: None,
            tried: None,
            ..decision.clone()
        }),
        ..item
    })
}

/// The item with its decision taken, if there is one to take.
pub(crate) fn taken(
    partition: &PartitionName,
    mut item: LaneItem,
    rev: u64,
) -> Result<LaneItem, DecideError> {
    match &mut item.decision {
        Some(decision) if item.rev == rev && !decision.taken => {
            decision.taken = true;
            item.rev = rev.saturating_add(1);
            Ok(item)
        }
        _ => Err(state(partition, item)),
    }
}

/// The item with its decision taken by one invocation, if it is free to be.
pub(crate) fn leased(
    partition: &PartitionName,
    mut item: LaneItem,
    rev: u64,
    lease: &Lease,
    now: i64,
) -> Result<LaneItem, DecideError> {
    match &mut item.decision {
        Some(decision) if item.rev == rev && is_free(decision, lease, now) => {
            decision.taken = true;
            decision.lease = Some(lease.clone());
            item.rev = rev.saturating_add(1);
            Ok(item)
        }
        _ => Err(state(partition, item)),
    }
}

fn is_free(decision: &DecisionNote, lease: &Lease, now: i64) -> bool {
    let held = decision.lease.as_ref();
    held.is_none_or(|held| held.holder == lease.holder || held.until <= now)
}

fn state(partition: &PartitionName, item: LaneItem) -> DecideError {
    DecideError::State {
        partition: partition.clone(),
        item: Box::new(item),
    }
}

/// What an effect on the value table makes of a value; `None` is no value.
///
/// # Errors
/// Why it is refused: its condition does not hold, or it is malformed, oversized or cannot be
/// applied to the value.
pub(crate) fn next_value(
    effect: &Effect,
    current: Option<&Value>,
) -> Result<Option<Value>, String> {
    let (verb, table, key, condition) = match effect {
        Effect::Put(e) => ("put", &e.table, &e.key, &e.condition),
        Effect::Add(e) => ("add", &e.table, &e.key, &e.condition),
        Effect::Delete(e) => ("delete", &e.table, &e.key, &e.condition),
        Effect::Dynamodb(_) => {
            return Err("effect `dynamodb`: this store is not in DynamoDB: use `put`, `add` or `delete`, or a DynamoDB store".to_owned());
        }
        Effect::Sqlite(_) => {
            return Err("effect `sqlite`: this store is not in SQLite: use `put`, `add` or `delete`, or a local store".to_owned());
        }
    };
    let refused = |why: String| format!("effect `{verb}` on `{table}`/`{key}`: {why}");
    check_name("table", table, TABLE_BYTES_MAX).map_err(refused)?;
    check_name("key", key, KEY_BYTES_MAX).map_err(refused)?;
    if let Some(condition) = condition {
        check_condition(condition, current).map_err(refused)?;
    }
    match effect {
        Effect::Put(e) => {
            let bytes = encoded(&e.value).len();
            if bytes > VALUE_BYTES_MAX {
                return Err(refused(format!(
                    "its value takes {bytes} bytes, {VALUE_BYTES_MAX} are allowed"
                )));
            }
            Ok(Some(e.value.clone()))
        }
        Effect::Add(e) => {
            let before = match current {
                None => 0,
                Some(value) => value.as_i64().ok_or_else(|| {
                    refused(format!(
                        "the value is {}, not an integer that fits 64 bits",
                        shown(value)
                    ))
                })?,
            };
            let sum = before
                .checked_add(e.by)
                .ok_or_else(|| refused(format!("{before} and {} overflow 64 bits", e.by)))?;
            Ok(Some(sum.into()))
        }
        Effect::Delete(_) | Effect::Dynamodb(_) | Effect::Sqlite(_) => Ok(None),
    }
}

fn check_name(what: &str, name: &str, max: usize) -> Result<(), String> {
    match name.len() {
        0 => Err(format!("its {what} is empty")),
        n if n > max => Err(format!("its {what} takes {n} bytes, {max} are allowed")),
        _ => Ok(()),
    }
}

fn check_condition(condition: &Condition, current: Option<&Value>) -> Result<(), String> {
    let found = || {
        current.map_or_else(
            || "there is none".to_owned(),
            |v| format!("it is {}", shown(v)),
        )
    };
    match condition {
        Condition::Exists(true) if current.is_none() => {
            Err("`exists` asks for a value, there is none".to_owned())
        }
        Condition::Exists(false) if current.is_some() => {
            Err(format!("`exists` asks for no value, {}", found()))
        }
        Condition::Equals(wanted) if current != Some(wanted) => {
            Err(format!("`equals` asks for {}, {}", shown(wanted), found()))
        }
        Condition::AtLeast(least) if current.and_then(Value::as_i64).is_none_or(|n| n < *least) => {
            Err(format!("`at_least` asks for {least}, {}", found()))
        }
        Condition::Exists(_) | Condition::Equals(_) | Condition::AtLeast(_) => Ok(()),
    }
}

/// A value's text in the store.
pub(crate) fn encoded(value: &Value) -> String {
    value.to_string()
}

/// A value for a message, cut.
fn shown(value: &Value) -> String {
    const MAX: usize = 60;
    let text = encoded(value);
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}

impl Verb {
    /// Its name in the store, in arguments and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Skip => "skip",
            Self::Park => "park",
            Self::DeadLetter => "dead-letter",
            Self::Release => "release",
        }
    }
}
