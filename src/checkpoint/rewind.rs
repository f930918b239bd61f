//! Going back: what the checkpoint is after an operator's rewind or import, and what becomes of the
//! lanes that stand. Nothing here is written; positions are compared and never computed, but for
//! offsets, whose neighbours are known.

use super::{Checkpoint, OpenSet};
use crate::{position::Position, record::LaneKey};
use partitions::Resume;
use std::collections::BTreeSet;

/// Where to go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// From this position on everything runs again.
    Position(Position),
    /// What this checkpoint settles is settled, and nothing else.
    Checkpoint(Checkpoint),
}

/// What becomes of chains that hold positions which would run again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Chains {
    /// Nothing is done while there is one.
    Refuse,
    /// They stay: what lies before them runs, they are not read from the log again.
    Keep,
    /// They go: their records are read from the log again.
    Drop,
}

/// A lane that is not live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Which one.
    pub lane: LaneKey,
    /// The record that failed for good, or the chain's first.
    pub head: Position,
    /// Positions of the records in its chain, ascending; empty where it is stopped.
    pub chain: Vec<Position>,
}

/// What would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The checkpoint from then on.
    pub checkpoint: Checkpoint,
    /// From where on settled records run again; `None`: none does.
    pub again: Option<Resume<Position>>,
    /// How many, as far as positions tell: where they have holes, fewer. `None`: positions do not tell.
    pub records: Option<u64>,
    /// Stopped lanes that go: their heads run again, or are settled.
    pub reopened: Vec<LaneKey>,
    /// Chains that stay, and hold positions that would run again.
    pub kept: Vec<LaneKey>,
    /// Chains that go: their records run again.
    pub dropped: Vec<LaneKey>,
}

/// Why there is no going there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RewindError {
    /// The target is where the checkpoint stands, or behind that.
    #[error("nothing from there on is settled, so that nothing would run again")]
    NothingSettled,
    /// It would settle what never ran.
    #[error("it is not back: {}", .0)]
    Forward(Forward),
    /// Positions of two kinds of log.
    #[error("`{0}` is no position of this log: offsets and sequence numbers do not mix")]
    Kind(Position),
    /// Another log of the same name.
    #[error("that checkpoint is of log `{there}`, and this one is of log `{here}`")]
    OtherLog {
        /// The target's.
        there: String,
        /// The partition's.
        here: String,
    },
    /// Between sequence numbers no place can be named.
    #[error(
        "position {0} before the target is open, and between sequence numbers no place can be named: decide its lane first, or go back to it or to a checkpoint of the history"
    )]
    OpenBefore(Position),
    /// [`Chains::Refuse`], and there are some.
    #[error("chains of parked lanes hold records that would run again ({} of them)", .0.len())]
    Chains(Vec<LaneKey>),
    /// [`Chains::Drop`] would lose what a chain holds from before the target.
    #[error(
        "the chain of lane `{lane}` begins at {head}, before the target: dropped, its records from there on would be lost"
    )]
    ChainBefore {
        /// Whose.
        lane: LaneKey,
        /// Its first record.
        head: Position,
    },
}

/// What a target would settle that is not settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forward {
    /// Open positions.
    pub open: Vec<Position>,
    /// Where it ends, if that is behind everything that is settled.
    pub to: Option<Resume<Position>>,
}

impl std::fmt::Display for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it would settle ")?;
        if let Some(first) = self.open.first() {
            let more = self.open.len() - 1;
            write!(f, "position {first}")?;
            if more > 0 {
                write!(f, " and {more} more")?;
            }
            f.write_str(" that are open here")?;
        }
        match &self.to {
            None => Ok(()),
            Some(to) => {
                if !self.open.is_empty() {
                    f.write_str(", and ")?;
                }
                write!(
                    f,
                    "what lies behind the last settled record, {}",
                    edge_text(to)
                )
            }
        }
    }
}

/// How far something reaches, for people.
pub fn edge_text(edge: &Resume<Position>) -> String {
    match edge {
        Resume::Beginning => "up to the beginning".to_owned(),
        Resume::At(position) => format!("up to before {position}"),
        Resume::After(position) => format!("up to {position}"),
    }
}

/// What a checkpoint and its lanes become. `forward`: it may settle what is not settled now.
///
/// # Errors
/// When the target is not back, not of this log, or chains are in the way.
pub fn plan(
    now: &Checkpoint,
    standing: &[Standing],
    target: &Target,
    chains: Chains,
    forward: bool,
) -> Result<Plan, RewindError> {
    let (mut checkpoint, again) = match target {
        Target::Position(position) => {
            let checkpoint = before(now, position)?;
            (checkpoint, Some(Resume::At(position.clone())))
        }
        Target::Checkpoint(past) => as_it_was(now, past, forward)?,
    };
    let runs = |position: &Position| again.as_ref().is_some_and(|from| is_from(from, position));
    let mut plan = Plan {
        checkpoint: Checkpoint::default(),
        again: again.clone(),
        records: None,
        reopened: Vec::new(),
        kept: Vec::new(),
        dropped: Vec::new(),
    };
    let mut kept = BTreeSet::new();
    for lane in standing {
        let Some(tail) = lane.chain.last() else {
            if runs(&lane.head) || checkpoint.settles(&lane.head) {
                plan.reopened.push(lane.lane.clone());
            }
            continue;
        };
        if !runs(tail) {
            continue;
        }
        match chains {
            Chains::Refuse | Chains::Keep => {
                kept.extend(lane.chain.iter().cloned());
                plan.kept.push(lane.lane.clone());
            }
            Chains::Drop => {
                if lane.chain.iter().any(|p| !runs(p) || checkpoint.settles(p)) {
                    return Err(RewindError::ChainBefore {
                        lane: lane.lane.clone(),
                        head: lane.head.clone(),
                    });
                }
                plan.dropped.push(lane.lane.clone());
            }
        }
    }
    if chains == Chains::Refuse && !plan.kept.is_empty() {
        return Err(RewindError::Chains(plan.kept));
    }
    // What a chain holds is settled. Behind the highest settled position that needs no word: a
    // lane with a chain takes nothing in that lies in it.
    let open = checkpoint.open.positions().iter();
    checkpoint.open = open.filter(|p| !kept.contains(p)).cloned().collect();
    // What ran here is known here; of what lies behind that the target knows.
    let known = edge(now);
    let behind = |position: &Position| !is_within(&known, position);
    let stays = |position: &Position| !runs(position) && !checkpoint.settles(position);
    let of_target = checkpoint.attempts.iter().filter(|(p, _)| behind(p));
    let attempts = { now.attempts.iter().chain(of_target) }.filter(|(p, _)| stays(p));
    let attempts = attempts.cloned().collect();
    let of_target = checkpoint.announced.iter().filter(|(p, _)| behind(p));
    let announced = { now.announced.iter().chain(of_target) }.filter(|(p, _)| stays(p));
    let announced = announced.cloned().collect();
    (checkpoint.attempts, checkpoint.announced) = (attempts, announced);
    checkpoint.incarnation = { checkpoint.incarnation.take() }.or_else(|| now.incarnation.clone());
    checkpoint.ended = false;
    let was_settled = |p: &&Position| now.settles(p) && !checkpoint.settles(p);
    let chained = kept.iter().filter(was_settled).count() as u64;
    plan.records = settled_count(now)
        .zip(settled_count(&checkpoint))
        .map(|(was, is)| u64::try_from(was - is).unwrap_or(0).saturating_sub(chained));
    plan.checkpoint = checkpoint;
    Ok(plan)
}

/// The checkpoint with nothing settled from a position on.
fn before(now: &Checkpoint, target: &Position) -> Result<Checkpoint, RewindError> {
    let known = edge(now);
    same_kind(&known, target)?;
    if !is_within(&known, target) {
        return Err(RewindError::NothingSettled);
    }
    let open: OpenSet = { now.open.positions().iter() }
        .filter(|position| *position < target)
        .cloned()
        .collect();
    let Some(first) = open.positions().first() else {
        return Ok(Checkpoint {
            resume: Resume::At(target.clone()),
            incarnation: now.incarnation.clone(),
            ..Checkpoint::default()
        });
    };
    let last = target.offset().and_then(|n| n.checked_sub(1));
    let last = last.ok_or_else(|| RewindError::OpenBefore(first.clone()))?;
    Ok(Checkpoint {
        resume: now.resume.clone(),
        settled_to: Some(Position::Offset(last)),
        open,
        incarnation: now.incarnation.clone(),
        ..Checkpoint::default()
    })
}

type Again = Option<Resume<Position>>;

/// A past checkpoint, and from where on what is settled now is not settled by it.
fn as_it_was(
    now: &Checkpoint,
    past: &Checkpoint,
    forward: bool,
) -> Result<(Checkpoint, Again), RewindError> {
    if let (Some(here), Some(there)) = (&now.incarnation, &past.incarnation)
        && here != there
    {
        return Err(RewindError::OtherLog {
            there: there.clone(),
            here: here.clone(),
        });
    }
    let (was, is) = (edge(past), edge(now));
    if let Resume::At(position) | Resume::After(position) = &was {
        same_kind(&is, position)?;
    }
    let open = { now.open.positions().iter() }.filter(|position| past.settles(position));
    let ahead = Forward {
        open: open.cloned().collect(),
        to: reaches_behind(&was, &is).then(|| was.clone()),
    };
    if !forward && (!ahead.open.is_empty() || ahead.to.is_some()) {
        return Err(RewindError::Forward(ahead));
    }
    let reopened = { past.open.positions().iter() }.find(|position| now.settles(position));
    let again = match reopened {
        Some(first) => Some(Resume::At(first.clone())),
        None => reaches_behind(&is, &was).then_some(was),
    };
    if again.is_none() && !forward {
        return Err(RewindError::NothingSettled);
    }
    Ok((past.clone(), again))
}

/// How far a checkpoint settles anything.
fn edge(checkpoint: &Checkpoint) -> Resume<Position> {
    let settled_to = checkpoint.settled_to.clone().map(Resume::After);
    match settled_to {
        Some(to) if reaches_behind(&to, &checkpoint.resume) => to,
        Some(_) | None => checkpoint.resume.clone(),
    }
}

/// Whether one edge lies behind the other. Where nobody can tell (no position is known to lie between
/// them) it does.
fn reaches_behind(one: &Resume<Position>, other: &Resume<Position>) -> bool {
    match (one, other) {
        (Resume::Beginning, _) => false,
        (Resume::At(_) | Resume::After(_), Resume::Beginning) => true,
        (Resume::At(one), Resume::At(other)) | (Resume::After(one), Resume::After(other)) => {
            one > other
        }
        (Resume::After(one), Resume::At(other)) => one >= other,
        (Resume::At(one), Resume::After(other)) => match (one.offset(), other.offset()) {
            (Some(one), Some(other)) => one > other.saturating_add(1),
            _ => one > other,
        },
    }
}

/// Whether a position lies within an edge.
fn is_within(edge: &Resume<Position>, position: &Position) -> bool {
    match edge {
        Resume::Beginning => false,
        Resume::At(first) => position < first,
        Resume::After(last) => position <= last,
    }
}

/// Whether a position lies from there on.
fn is_from(from: &Resume<Position>, position: &Position) -> bool {
    match from {
        Resume::Beginning => true,
        Resume::At(first) => position >= first,
        Resume::After(last) => position > last,
    }
}

fn same_kind(known: &Resume<Position>, position: &Position) -> Result<(), RewindError> {
    match known {
        Resume::At(other) | Resume::After(other)
            if other.offset().is_some() != position.offset().is_some() =>
        {
            Err(RewindError::Kind(position.clone()))
        }
        Resume::Beginning | Resume::At(_) | Resume::After(_) => Ok(()),
    }
}

/// How many positions are settled, counted from offset 0; `None` where positions are no offsets.
fn settled_count(checkpoint: &Checkpoint) -> Option<i128> {
    let end = match edge(checkpoint) {
        Resume::Beginning => 0,
        Resume::At(position) => i128::from(position.offset()?),
        Resume::After(position) => i128::from(position.offset()?) + 1,
    };
    Some(end - checkpoint.open.positions().len() as i128)
}

#[cfg(test)]
mod tests;
