//! A partition's lanes whose turn may come.

use alloc::{collections::VecDeque, vec::Vec};

/// So many lanes may pass others over; of more, those with the oldest records.
const EARLY_MAX: usize = 8;

/// Every other start goes by turn, in the order in which lanes became ready, and every other to the
/// oldest record of those lanes that would fall behind younger ones by that. By turn alone, lanes of
/// many records fall ever further behind those of few, and are worked off alone at the end of a burst;
/// by age alone, as many lanes of many records as there are slots keep all others waiting until they
/// are through.
pub(crate) struct Ready<P> {
    turns: VecDeque<u32>,
    /// The oldest last.
    early: Vec<Early<P>>,
    /// The lane whose turn is next was passed over.
    passed: bool,
    /// Turns that are over.
    taken: u64,
    /// No lane is due that may pass others over before so many turns are over.
    due: u64,
}

/// A lane that may pass others over.
struct Early<P> {
    /// Its record's `settled_after`, which is at hand where a position may be three pointers away.
    age: Option<P>,
    lane: u32,
    /// After so many turns it has its own, whatever is older.
    due: u64,
}

impl<P: Ord + Clone> Ready<P> {
    pub(crate) fn new() -> Self {
        Self {
            turns: VecDeque::new(),
            early: Vec::new(),
            passed: false,
            taken: 0,
            due: u64::MAX,
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty() && self.early.is_empty()
    }

    /// The lane that has its turn behind all others.
    #[inline]
    pub(crate) fn last(&self) -> Option<u32> {
        self.turns.back().copied()
    }

    /// The lane has its turn behind all others.
    #[inline]
    pub(crate) fn push(&mut self, lane: u32) {
        self.turns.push_back(lane);
    }

    /// The lane may pass others over, unless there are enough with older records.
    #[inline]
    pub(crate) fn push_early(&mut self, lane: u32, age: &Option<P>) {
        let full = self.early.len() >= EARLY_MAX;
        if full && self.early.first().is_some_and(|one| one.age < *age) {
            self.push(lane);
        } else {
            self.insert(lane, age);
        }
    }

    #[inline(never)]
    fn insert(&mut self, lane: u32, age: &Option<P>) {
        if self.early.len() >= EARLY_MAX {
            let youngest = self.early.remove(0);
            self.push(youngest.lane);
        }
        let due = self.taken + self.turns.len() as u64;
        self.due = self.due.min(due);
        let younger = self.early.iter().take_while(|one| one.age > *age);
        let at = younger.count();
        let age = age.clone();
        self.early.insert(at, Early { age, lane, due });
    }

    /// The lane that is next.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        if !self.early.is_empty() {
            self.passed = !self.passed;
            if self.passed {
                return self.early.pop().map(|one| one.lane);
            }
            if self.due <= self.taken
                && let Some(lane) = self.pop_due()
            {
                return Some(lane);
            }
        }
        let lane = self.turns.pop_front()?;
        self.passed = false;
        self.taken += 1;
        Some(lane)
    }

    #[cold]
    fn pop_due(&mut self) -> Option<u32> {
        let due = |one: &Early<P>| one.due <= self.taken;
        let lane = self.early.iter().position(due);
        let lane = lane.map(|at| self.early.remove(at).lane);
        let next = self.early.iter().map(|one| one.due).min();
        self.due = next.unwrap_or(u64::MAX);
        lane
    }
}
