//! What is durable of a partition, and its bytes in the store.

use crate::position::Position;
use partitions::Resume;

mod open_set;
pub mod rewind;

pub use open_set::{OpenSet, OpenSetError};

/// What is settled of one partition: everything within `resume`, and everything up to `settled_to`
/// that is not in `open`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Where the settled prefix ends.
    pub resume: Resume<Position>,
    /// Highest settled position.
    pub settled_to: Option<Position>,
    /// Open positions up to `settled_to`.
    pub open: OpenSet,
    /// Attempts used up by records that are open, ascending by position.
    pub attempts: Vec<(Position, u32)>,
    /// Careful mode: positions announced and not answered; `true` where it was alone.
    pub announced: Vec<(Position, bool)>,
    /// The log's own identity (stream creation time, topic id, log id), where the source knows it.
    pub incarnation: Option<String>,
    /// No record will ever come any more, and all are settled.
    pub ended: bool,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self {
            resume: Resume::Beginning,
            settled_to: None,
            open: OpenSet::default(),
            attempts: Vec::new(),
            announced: Vec::new(),
            incarnation: None,
            ended: false,
        }
    }
}

impl Checkpoint {
    /// Position of the last record of the settled prefix.
    pub fn frontier(&self) -> Option<&Position> {
        match &self.resume {
            Resume::After(position) => Some(position),
            Resume::Beginning | Resume::At(_) => None,
        }
    }

    /// Whether a position is settled.
    pub fn settles(&self, position: &Position) -> bool {
        let in_prefix = match &self.resume {
            Resume::Beginning => false,
            Resume::At(first) => position < first,
            Resume::After(last) => position <= last,
        };
        let is_within = || {
            self.settled_to
                .as_ref()
                .is_some_and(|last| position <= last)
        };
        in_prefix || (is_within() && !self.open.contains(position))
    }
}
