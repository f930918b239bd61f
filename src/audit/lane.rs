//! One lane of one ownership: what waits in it, its chain, and whether it may run (G1, G3).

use crate::{position::Position, store::Verb};
use std::{collections::VecDeque, sync::Arc};

/// What stands in the way of a lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Nothing.
    Live,
    /// The head failed for good.
    Stopped { head: Position },
    /// Head and successors are in the chain; `releasing`: it runs.
    Parked { head: Position, releasing: bool },
}

/// A record of the lane's chain that has not passed.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) position: Position,
    pub(super) state: Step,
    /// It joined the chain under this ownership; else it was met when it started.
    pub(super) own: bool,
}

/// How far a chain's record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Waiting,
    Running { ticket: u64 },
    Answered,
}

/// A lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) key: Arc<[u8]>,
    pub(super) mode: Mode,
    /// Records that were handed over and have neither passed nor joined the chain, ascending.
    pub(super) waiting: VecDeque<Position>,
    /// Its call without an answer, and since which line.
    pub(super) running: Option<(u64, u64)>,
    /// The first record of its last call: the attempt on the lines is that one's.
    pub(super) first: Option<Position>,
    /// A call of unknown end may run until then, in nanoseconds, and since which line.
    pub(super) shut_until: (u64, u64),
    pub(super) chain: VecDeque<Link>,
    /// Records of a former owner's chain that have not passed.
    pub(super) inherited_left: u64,
    /// First and last position of that chain, also once it has run.
    pub(super) inherited_ends: Option<(Position, Position)>,
    /// Last position of the chain, as far as it is known.
    pub(super) tail: Option<Position>,
    /// The head before a record joined the chain's front: what lies between comes along.
    pub(super) front_to: Option<Position>,
    /// The chain is passed up to here.
    pub(super) chain_passed: Option<Position>,
    /// Records of a former owner's chain that passed under this one, in order.
    pub(super) inherited: Vec<Position>,
    /// A decision that is not acted on yet.
    pub(super) decided: Option<Verb>,
    /// Found by the claim.
    pub(super) found: bool,
    /// The chain ran empty and the lane was live again, under this ownership.
    pub(super) released: bool,
}

impl Lane {
    pub(super) fn new(key: Arc<[u8]>) -> Self {
        Self {
            key,
            mode: Mode::Live,
            waiting: VecDeque::new(),
            running: None,
            first: None,
            shut_until: (0, 0),
            chain: VecDeque::new(),
            inherited_left: 0,
            inherited_ends: None,
            tail: None,
            front_to: None,
            chain_passed: None,
            inherited: Vec::new(),
            decided: None,
            found: false,
            released: false,
        }
    }

    /// Nothing of it needs to be remembered.
    pub(super) fn is_idle(&self) -> bool {
        self.mode == Mode::Live
            && self.waiting.is_empty()
            && self.running.is_none()
            && self.chain.is_empty()
            && self.inherited.is_empty()
            && !self.found
    }

    /// The chain has records that have not passed.
    pub(super) fn has_chain(&self) -> bool {
        self.inherited_left > 0 || self.chain.iter().any(|link| link.own)
    }

    pub(super) fn arrives(&mut self, position: &Position) {
        let at = self.waiting.partition_point(|p| p < position);
        self.waiting.insert(at, position.clone());
    }

    /// The record leaves the lane's queue; `false`: it was not in it.
    pub(super) fn leaves(&mut self, position: &Position) -> bool {
        match self.waiting.binary_search(position) {
            Ok(at) => self.waiting.remove(at).is_some(),
            Err(_) => false,
        }
    }

    /// Whether a record is in the chain, also where only the chain's bounds are known.
    pub(super) fn chains(&self, position: &Position) -> bool {
        let Mode::Parked { head, .. } = &self.mode else {
            return false;
        };
        let within = position >= head && self.tail.as_ref().is_some_and(|tail| position <= tail);
        within && self.waiting.binary_search(position).is_err()
    }

    /// Whether a record was in the chain that the claim found: after a rewind that kept it, its
    /// records may have passed before the source comes by them.
    pub(super) fn was_chained(&self, position: &Position) -> bool {
        { self.inherited_ends.as_ref() }
            .is_some_and(|(first, last)| (first..=last).contains(&position))
    }

    pub(super) fn link(&mut self, position: &Position) -> Option<&mut Link> {
        let at = self
            .chain
            .binary_search_by(|link| link.position.cmp(position));
        at.ok().and_then(|at| self.chain.get_mut(at))
    }

    /// The chain's record, put in its place where a former owner left it.
    pub(super) fn link_or_meet(&mut self, position: &Position) -> &mut Link {
        let at = self.chain.partition_point(|link| link.position < *position);
        if self
            .chain
            .get(at)
            .is_none_or(|link| link.position != *position)
        {
            let link = Link {
                position: position.clone(),
                state: Step::Waiting,
                own: false,
            };
            self.chain.insert(at, link);
        }
        &mut self.chain[at]
    }

    /// Whether a record lies where only what joins the chain's front may join it.
    pub(super) fn is_in_front(&self, position: &Position) -> bool {
        self.front_to.as_ref().is_some_and(|to| position < to)
    }

    /// A record joins the chain: its end, or, after a rewind, its front.
    pub(super) fn joins(&mut self, position: &Position) {
        let at = self.chain.partition_point(|l| l.position < *position);
        if self.chain.get(at).is_none_or(|l| l.position != *position) {
            let link = Link {
                position: position.clone(),
                state: Step::Waiting,
                own: true,
            };
            self.chain.insert(at, link);
        }
        if self.tail.as_ref().is_none_or(|tail| tail < position) {
            self.tail = Some(position.clone());
        }
    }

    /// A record of the chain passes; `false`: it was not in it.
    pub(super) fn passes_chained(&mut self, position: &Position) -> bool {
        let at = self
            .chain
            .binary_search_by(|link| link.position.cmp(position));
        let link = at.ok().and_then(|at| self.chain.remove(at));
        let known = link.is_some() || self.chains(position);
        if known {
            if link.is_none_or(|link| !link.own) {
                self.inherited.push(position.clone());
                self.inherited_left = self.inherited_left.saturating_sub(1);
            }
            self.chain_passed = Some(position.clone());
            if self.may_be_live() {
                self.tail = None;
            }
        }
        known
    }

    /// Whether the lane is parked for all that was told, but its chain was passed by decisions: it is
    /// live once that is durable, or arrivals join the chain before.
    pub(super) fn may_be_live(&self) -> bool {
        let standing = matches!(
            self.mode,
            Mode::Parked {
                releasing: false,
                ..
            }
        );
        standing && !self.has_chain()
    }

    /// Whether this record of a chain that runs can only have come out of the store: it joined the
    /// chain by a commit whose answer was not heard yet. Before the chain, after a rewind, records of
    /// the lane run as they come.
    pub(super) fn joined_untold(&self, position: &Position) -> bool {
        let releasing = matches!(
            self.mode,
            Mode::Parked {
                releasing: true,
                ..
            }
        );
        let behind = self.tail.as_ref().is_none_or(|tail| tail < position);
        releasing && behind && self.waiting.front() == Some(position)
    }

    pub(super) fn goes_live(&mut self) {
        self.released |= matches!(self.mode, Mode::Parked { .. });
        self.mode = Mode::Live;
        self.tail = None;
        self.front_to = None;
        self.decided = None;
        self.chain.clear();
        self.inherited_left = 0;
    }
}
