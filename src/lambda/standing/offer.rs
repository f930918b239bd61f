//! Decisions on lanes that stand: which of them this invocation may act on, and what it hands on of those that
//! it could not bring to an end.

use super::{Standing, stands};
use crate::{
    position::Position,
    store::{DecisionNote, HeadTried, LaneItem, LaneState, Lease},
};

impl Standing {
    /// An item's decision for this invocation to take; none while another acts on it, or while its head has
    /// to wait for its next try.
    pub(super) fn offered(&self, item: &LaneItem, lease: &Lease, now: i64) -> Option<DecisionNote> {
        let decision = item.decision.as_ref()?;
        let held = decision.lease.as_ref();
        let is_free = held.is_none_or(|held| held.holder == lease.holder || held.until <= now);
        let tried = self.tried_so_far(item, decision);
        let rests = { tried.as_ref() }.is_some_and(|tried| tried.not_before > now);
        (is_free && !rests).then(|| DecisionNote {
            taken: false,
            lease: None,
            tried,
            ..decision.clone()
        })
    }

    /// Tries of a head that no batch brings: those that were handed on with the decision on it, and those of
    /// an invocation that could not hand them on, as far as its mark has them.
    fn tried_so_far(&self, item: &LaneItem, decision: &DecisionNote) -> Option<HeadTried> {
        let head = item.head.padded();
        let handed_on = decision.tried.clone().filter(|tried| tried.head == head);
        let Some(marked) = self.tried.get(&(item.head.clone(), item.rev)) else {
            return handed_on;
        };
        let (attempts, not_before) =
            { handed_on.as_ref() }.map_or((0, 0), |tried| (tried.attempts, tried.not_before));
        let error = marked.first.as_ref().map(|(_, said)| said.clone());
        Some(HeadTried {
            head,
            // Its own began behind those.
            attempts: attempts.max(marked.attempts),
            error: handed_on
                .map(|tried| tried.error)
                .or(error)
                .unwrap_or_default(),
            not_before: not_before.max(marked.not_before),
        })
    }

    /// Whether a record is tried out of the batch, and not out of a chain or a copy.
    pub(super) fn is_run_here(&self, position: &Position) -> bool {
        self.batch.lane_of(position).is_some()
            && !self.elsewhere.contains(position)
            && !self.mark.done.contains(position)
    }

    /// A decision for the next invocation, with what this one knows of the head's tries.
    pub(super) fn given_back(&self, item: &LaneItem, lease: &Lease) -> Option<DecisionNote> {
        let mut decision = self.offered(item, lease, i64::MAX)?;
        if let Some((attempts, failed)) = self.led.get(&item.head) {
            decision.tried = Some(HeadTried {
                head: item.head.padded(),
                attempts: *attempts,
                error: failed.error.clone(),
                not_before: failed.not_before,
            });
        }
        Some(decision)
    }

    pub(super) fn is_leased(&self, item: &LaneItem, lease: &Lease) -> bool {
        let held = item.decision.as_ref().and_then(|d| d.lease.as_ref());
        stands(item) && held.is_some_and(|held| held.holder == lease.holder)
    }

    /// The lanes that the processor knows, with what has been decided of them meanwhile. Of those that
    /// other invocations stopped or released since, it hears at the next delivery.
    pub(in crate::lambda) fn shown(&self, lease: &Lease, now: i64) -> Vec<LaneItem> {
        let known = self.shown.values().map(|known| {
            let mut item = known.clone();
            match self.actual.get(&known.lane) {
                Some(actual) if self.is_leased(actual, lease) => {}
                Some(actual) if self.may_act_on(known, actual) => {
                    item.rev = actual.rev;
                    item.decision = self.offered(actual, lease, now);
                }
                // Another has acted on it, or this one cannot.
                Some(_) | None => item.decision = None,
            }
            item
        });
        known.collect()
    }

    /// Whether a decision on a lane as it stands can be acted on here: it is about what the processor
    /// knows, and about nothing that its source cannot bring.
    fn may_act_on(&self, known: &LaneItem, actual: &LaneItem) -> bool {
        match (known.state, actual.state) {
            (LaneState::Stopped, LaneState::Stopped) => {
                known.head == actual.head && self.lane_of(&known.head).is_some()
            }
            (LaneState::Parked | LaneState::Draining, LaneState::Parked | LaneState::Draining) => {
                actual.head <= self.through
            }
            (
                LaneState::Stopped | LaneState::Parked | LaneState::Draining | LaneState::Live,
                LaneState::Stopped | LaneState::Parked | LaneState::Draining | LaneState::Live,
            ) => false,
        }
    }

    /// This invocation acts on a lane's decision.
    pub(in crate::lambda) fn leased(&mut self, had: LaneItem) -> LaneItem {
        let mut item = self.shown.get(&had.lane).unwrap_or(&had).clone();
        item.rev = had.rev;
        item.decision.clone_from(&had.decision);
        self.shown.insert(had.lane.clone(), item.clone());
        self.actual.insert(had.lane.clone(), had);
        item
    }
}
