//! Lane items: why a lane is not live, and what was decided.

use super::mark::Lease;
use crate::{position::Position, record::LaneKey};

/// State of a lane item.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LaneState {
    /// The head failed for good; nothing of the lane starts.
    Stopped,
    /// Head and successors are in the chain.
    Parked,
    /// The chain runs; arrivals wait behind it.
    Draining,
    /// Outlives its release behind a mapping; owners delete the item instead.
    Live,
}

/// The lane item: why a lane is not live.
#[derive(Clone, PartialEq, Debug)]
pub struct LaneItem {
    /// Its name within the partition.
    pub lane: LaneKey,
    /// What it is in.
    pub state: LaneState,
    /// Position of the record that failed for good, or of the chain's first record.
    pub head: Position,
    /// [`crate::record::Record::to_stored`] of a stopped head, where it fits.
    pub record: Option<Vec<u8>>,
    /// Last position of the chain.
    pub tail: Option<Position>,
    /// Of a lane that partitions share: the last position of each one's records that are in the chain, or
    /// were. Empty where the lane is one partition's.
    pub tails: Vec<(Box<str>, Position)>,
    /// Draining: where the chain ends for good.
    pub cut: Option<Position>,
    /// Records in the chain.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Attempts that the head used up.
    pub attempts: u32,
    /// What the first failed try of this head said.
    pub first_error: String,
    /// What the last one said.
    pub last_error: String,
    /// Milliseconds since 1970 of the failure for good.
    pub since: i64,
    /// Moves with the state, the head of a stopped lane and the decision; not with appends.
    pub rev: u64,
    /// An operator's word, or the policy's verdict to dead-letter.
    pub decision: Option<DecisionNote>,
}

/// What an operator may decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Try the head again.
    Retry,
    /// Pass the head without doing it.
    Skip,
    /// Move a stopped lane into a chain.
    Park,
    /// Publish the head, then pass it.
    DeadLetter,
    /// Let the chain run.
    Release,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Retry,
        Self::Skip,
        Self::Park,
        Self::DeadLetter,
        Self::Release,
    ];
}

/// A decision and its circumstances.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct DecisionNote {
    /// What was decided.
    pub verb: Verb,
    /// Who decided.
    pub by: String,
    /// What for.
    pub why: Option<String>,
    /// Milliseconds since 1970.
    pub at: i64,
    /// The owner acts on it: it is not replaced any more.
    pub taken: bool,
    /// Behind a mapping: which invocation acts on it, and how long it alone may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Behind a mapping: failed tries by invocations that acted on it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<HeadTried>,
}

/// Failed tries of a lane's head that no batch brings: what one invocation had of them, the next one goes on
/// with.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct HeadTried {
    /// [`Position::padded`] of the head.
    pub head: String,
    /// How often it failed.
    pub attempts: u32,
    /// What the last try said.
    pub error: String,
    /// Milliseconds since 1970: it is not to be tried again before. 0: at once.
    pub not_before: i64,
}

impl DecisionNote {
    /// One that nobody acts on yet, made at `at`, in milliseconds since 1970.
    pub fn new(verb: Verb, by: String, why: Option<String>, at: i64) -> Self {
        Self {
            verb,
            by,
            why,
            at,
            taken: false,
            lease: None,
            tried: None,
        }
    }
}

impl LaneItem {
    /// Whether a record of this partition is in the chain, or was and has passed.
    ///
    /// Positions of two shards are compared with each other only in a lane whose records went on from one
    /// to the other. A producer that names hash keys of its own sends one key to several at once: of these
    /// each has its own tail.
    pub fn covers(&self, partition: &str, position: &Position) -> bool {
        if self.tails.is_empty() {
            return self.tail.as_ref().is_some_and(|tail| position <= tail);
        }
        let mut tails = self.tails.iter();
        tails.any(|(of, tail)| **of == *partition && position <= tail)
    }

    /// The decision that its owner acts on.
    pub fn taken(&self) -> Option<&DecisionNote> {
        self.decision.as_ref().filter(|decision| decision.taken)
    }
}

/// As every store of bytes has it.
#[cfg(any(feature = "dynamodb", feature = "local"))]
impl LaneItem {
    /// [`LaneItem::tails`] as text; `None`: there are none.
    pub(crate) fn tails_text(&self) -> Option<String> {
        let tails = self.tails.iter().map(|(of, tail)| (of, tail.padded()));
        let tails: Vec<_> = tails.collect();
        { !tails.is_empty() }.then(|| serde_json::to_string(&tails).unwrap_or_default())
    }

    /// Reads [`LaneItem::tails_text`] back.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn tails_from(text: Option<&str>) -> Result<Vec<(Box<str>, Position)>, String> {
        let Some(text) = text else {
            return Ok(Vec::new());
        };
        let tails: Vec<(Box<str>, String)> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        let tail = |(of, tail): (Box<str>, String)| {
            let tail = Position::from_padded(&tail).map_err(|error| error.to_string())?;
            Ok((of, tail))
        };
        tails.into_iter().map(tail).collect()
    }
}

/// What was decided of it, behind its state.
pub(super) fn decision_text(item: &LaneItem) -> String {
    match &item.decision {
        None => String::new(),
        Some(d) if d.taken => format!(
            ", and its worker acts on `{}` by {}: look again when it has",
            d.verb.name(),
            d.by
        ),
        Some(d) => format!(", and `{}` was decided by {}", d.verb.name(), d.by),
    }
}

pub(super) fn state_name(state: LaneState) -> &'static str {
    match state {
        LaneState::Stopped => "stopped",
        LaneState::Parked => "parked",
        LaneState::Draining => "draining",
        LaneState::Live => "live",
    }
}

impl LaneState {
    /// Whether an operator may decide this on a lane in this state.
    pub fn offers(self, verb: Verb) -> bool {
        match self {
            Self::Stopped => !matches!(verb, Verb::Release),
            Self::Parked => !matches!(verb, Verb::Park),
            Self::Draining | Self::Live => false,
        }
    }
}
