//! A checkpoint as JSON: what `show` and `export` print and `import` reads.

use crate::{
    checkpoint::Checkpoint,
    position::Position,
    record::{LaneKey, LaneKind},
    store::LaneState,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use partitions::Resume;
use serde::{Deserialize, Serialize};

/// Of the export.
pub(super) const FORMAT: u32 = 1;

/// More open positions than any partition has: what says so is not believed.
const POSITIONS_MAX: u64 = 1 << 22;

/// An export.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) format: u32,
    pub(super) app: String,
    /// When it was written.
    pub(super) at: String,
    pub(super) partitions: Vec<Exported>,
}

/// One partition of an export.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Exported {
    pub(super) source: String,
    pub(super) partition: String,
    pub(super) epoch: u64,
    pub(super) generation: u64,
    /// `None`: it was claimed, and nothing was committed yet.
    pub(super) checkpoint: Option<CheckpointView>,
    pub(super) lanes: Vec<ExportedLane>,
}

/// What is settled.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct CheckpointView {
    pub(super) resume: ResumeView,
    pub(super) settled_to: Option<Position>,
    /// First and last of each run of neighbours; sequence numbers have none, so theirs are the same.
    pub(super) open: Ranges,
    pub(super) attempts: Vec<(Position, u32)>,
    pub(super) announced: Vec<(Position, bool)>,
    pub(super) incarnation: Option<String>,
    pub(super) ended: bool,
}

/// [`Resume`] has no serde of its own: the engine knows no formats.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "lowercase")]
pub(super) enum ResumeView {
    Beginning,
    At(Position),
    After(Position),
}

/// Positions as first and last of each run of neighbours.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Ranges(Vec<(Position, Position)>);

/// A lane that is not live.
#[derive(Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportedLane {
    /// `key`, `partition`, `no_key` or `record`.
    pub(super) lane: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_base64: Option<String>,
    pub(super) state: LaneState,
    /// Its head.
    pub(super) position: Position,
    pub(super) attempts: u32,
    pub(super) error: String,
    pub(super) first_error: String,
    /// Of the failure for good.
    pub(super) since: String,
    /// Positions of the records in its chain.
    pub(super) chain: Ranges,
}

impl From<&Checkpoint> for CheckpointView {
    fn from(checkpoint: &Checkpoint) -> Self {
        Self {
            resume: (&checkpoint.resume).into(),
            settled_to: checkpoint.settled_to.clone(),
            open: Ranges::of(checkpoint.open.positions()),
            attempts: checkpoint.attempts.clone(),
            announced: checkpoint.announced.clone(),
            incarnation: checkpoint.incarnation.clone(),
            ended: checkpoint.ended,
        }
    }
}

impl From<&Resume<Position>> for ResumeView {
    fn from(resume: &Resume<Position>) -> Self {
        match resume {
            Resume::Beginning => Self::Beginning,
            Resume::At(position) => Self::At(position.clone()),
            Resume::After(position) => Self::After(position.clone()),
        }
    }
}

impl Ranges {
    /// Of ascending positions.
    pub(super) fn of(positions: &[Position]) -> Self {
        let mut ranges: Vec<(Position, Position)> = Vec::new();
        for position in positions {
            let joins = |last: &Position| match (last.offset(), position.offset()) {
                (Some(last), Some(next)) => last.checked_add(1) == Some(next),
                _ => false,
            };
            match ranges.last_mut() {
                Some((_, last)) if joins(last) => *last = position.clone(),
                Some(_) | None => ranges.push((position.clone(), position.clone())),
            }
        }
        Self(ranges)
    }

    /// The positions, ascending.
    pub(super) fn positions(&self) -> Result<Vec<Position>, String> {
        let mut all: Vec<Position> = Vec::new();
        for (first, last) in &self.0 {
            if all.last().is_some_and(|before| before >= first) || last < first {
                return Err(format!("positions do not ascend at {first}"));
            }
            match (first.offset(), last.offset()) {
                (Some(from), Some(to)) => {
                    if to - from >= POSITIONS_MAX - all.len().min(1 << 22) as u64 {
                        return Err(format!(
                            "{first} to {last} are more positions than a partition holds open"
                        ));
                    }
                    all.extend((from..=to).map(Position::Offset));
                }
                _ if first == last => all.push(first.clone()),
                _ => return Err(format!("{first} and {last} are no neighbours")),
            }
        }
        Ok(all)
    }

    /// For people.
    pub(super) fn text(&self, max: usize) -> String {
        let shown: Vec<_> = { self.0.iter().take(max) }
            .map(|(first, last)| {
                if first == last {
                    first.to_string()
                } else {
                    format!("{first}-{last}")
                }
            })
            .collect();
        match self.0.len().saturating_sub(max) {
            0 => shown.join(", "),
            more => format!("{} and {more} more runs", shown.join(", ")),
        }
    }
}

/// The name of a lane's kind, and its key as text or in base64.
pub(super) fn lane_name(lane: &LaneKey) -> (String, Option<String>, Option<String>) {
    let kind = match LaneKey::split(lane.bytes()) {
        Ok(_) => "key",
        Err(LaneKind::Partition) => "partition",
        Err(LaneKind::NoKey) => "no_key",
        Err(LaneKind::Each) => "record",
    };
    let (key, base64) = match lane.key().map(|key| (key, std::str::from_utf8(key))) {
        None => (None, None),
        Some((_, Ok(text))) => (Some(text.to_owned()), None),
        Some((bytes, Err(_))) => (None, Some(STANDARD.encode(bytes))),
    };
    (kind.to_owned(), key, base64)
}
