//! The facts that the reference keeps: of each record, and of each lane.

use partitions::{Change, LaneId, Rest, Ticket};
use std::collections::VecDeque;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Not handed over in this assignment.
    Absent,
    Queued,
    Out,
    /// Done, but its effects are not durable.
    Answered,
    Passed,
    /// The source dropped it before anybody saw it.
    Void,
    /// The source dropped it although the checkpoint names it as open.
    Gone,
}

#[derive(Clone, Debug)]
pub struct Row {
    pub position: u64,
    pub key: u8,
    pub weight: u32,
    pub stage: Stage,
    pub attempts: u32,
    /// In the lane's chain in the store: settled, not passed until it ran from there.
    pub chained: bool,
    pub loaded: bool,
    pub failed: bool,
    pub durable: bool,
    pub published: bool,
    /// The engine took it in this assignment.
    pub accepted: bool,
    /// The source dropped it: it never comes (again).
    pub dropped: bool,
    /// Named as open by the checkpoint of this assignment.
    pub restored: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Mode {
    Live,
    Stopped,
    Parked,
    Releasing,
    Draining,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owed {
    Change(Change),
    Publish,
}

#[derive(Clone, Debug)]
pub struct Lane {
    pub mode: Mode,
    /// Head of the stop, or first position of the chain when it was parked.
    pub head: Option<u64>,
    pub verdict: bool,
    /// What the engine must still ask for, in this order.
    pub owes: VecDeque<Owed>,
    pub persist: Option<(Ticket, Change, Vec<u64>)>,
    pub publishing: Option<Ticket>,
    pub publications: u32,
    /// Not before the first, at the latest at the second.
    pub wait: (u64, u64),
    pub single_to: u64,
    /// What follows once the effects of the done records are durable.
    pub rest: Option<(u64, Rest)>,
    pub announced: bool,
    /// A load of the chain is out: what the store held when it was asked.
    pub loading: Option<(LaneId, Vec<u64>)>,
}

impl Lane {
    pub fn new() -> Self {
        Self {
            mode: Mode::Live,
            head: None,
            verdict: false,
            owes: VecDeque::new(),
            persist: None,
            publishing: None,
            publications: 0,
            wait: (0, 0),
            single_to: 0,
            rest: None,
            announced: true,
            loading: None,
        }
    }

    pub fn asks(&self, change: Change) -> bool {
        let out = self
            .persist
            .as_ref()
            .is_some_and(|(_, out, _)| *out == change);
        out || self.owes.contains(&Owed::Change(change))
    }

    /// Something of this lane must be durable, or published, before anything of it may start.
    pub fn shut(&self) -> bool {
        use Change::{Effects, Live, Park, Reopen, Skip, Stop, Verdict};
        let changes = [Effects, Stop, Park, Reopen, Skip, Verdict, Live];
        self.publishing.is_some()
            || self.owes.contains(&Owed::Publish)
            || changes.iter().any(|&change| self.asks(change))
    }
}
