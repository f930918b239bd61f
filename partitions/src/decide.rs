//! An operator's word on stopped and parked lanes.

use crate::lane::{Front, Standing};
use crate::{Action, Change, Decision, Engine, Item, PartitionId, Stops};

impl<R: Item> Engine<R> {
    /// Acts on an operator's word; `false`: the lane's state does not offer it. What must wait for
    /// the lane's head to come, or for records before it, is kept.
    pub fn decide(&mut self, partition: PartitionId, key: &[u8], decision: Decision) -> bool {
        let Some(slot) = self.slot(partition) else {
            return false;
        };
        let part = &self.partitions[slot as usize];
        let hash = self.lanes.hash(part.identity, key);
        let Some(at) = self.lanes.find(&self.entries, (slot, hash), key) else {
            return false;
        };
        let busy = match self.lanes[at].front {
            Front::Shut => !self.is_announcing(at),
            Front::Publishing | Front::Republishing => true,
            Front::Idle
            | Front::Ready
            | Front::Cautious
            | Front::Trying
            | Front::Quarantined
            | Front::Waiting
            | Front::Displaced
            | Front::Failed => false,
        };
        let Some(aside) = &self.lanes[at].aside else {
            return false;
        };
        if busy || part.draining || aside.decided.is_some() {
            return false;
        }
        match self.lanes[at].standing {
            Standing::Live | Standing::Releasing | Standing::Draining => false,
            Standing::Stopped => {
                let offered = if self.head_is_gone(at) {
                    decision == Decision::Skip
                } else {
                    !aside.verdict && decision != Decision::Release
                };
                if offered {
                    self.aside(at).decided = Some(decision);
                    self.go_on(at);
                }
                offered
            }
            Standing::Parked => match decision {
                Decision::Park => false,
                _ if aside.verdict => false,
                Decision::Retry | Decision::Release => {
                    self.lanes[at].standing = Standing::Releasing;
                    self.go_on(at);
                    true
                }
                Decision::Skip | Decision::DeadLetter => {
                    self.aside(at).decided = Some(decision);
                    self.add_chore(at);
                    true
                }
            },
        }
    }

    /// Whether the stopped head can come no more, nor a copy of it: the source went by it and it is
    /// settled, or the checkpoint did.
    fn head_is_gone(&self, at: u32) -> bool {
        let lane = &self.lanes[at];
        let window = &self.partitions[lane.partition as usize].window;
        let head = lane.aside.as_ref().and_then(|aside| aside.head_at.as_ref());
        !self.head_is_here(at)
            && self.absent_head(at).is_none()
            && !self.runs_before(at)
            && head.is_some_and(|head| window.reached(&self.entries, head))
    }

    /// Nothing of a stopped lane is left to run before its head.
    pub(crate) fn go_on_stopped(&mut self, at: u32) {
        let Some(aside) = &self.lanes[at].aside else {
            return;
        };
        let (decided, verdict) = (aside.decided, aside.verdict);
        let here = self.head_is_here(at);
        if verdict && here {
            self.publish(at);
            return;
        }
        if self.part_of(at).draining {
            return;
        }
        let gone = self.head_is_gone(at);
        if gone && (verdict || decided.is_some_and(|decision| decision != Decision::Skip)) {
            self.decline(at);
            return;
        }
        let Some(decision) = decided else { return };
        let change = match decision {
            // Not before the head is here: its lane item has the only copy if it never comes.
            Decision::Retry if here => Some(Change::Reopen),
            // A head that may still come is settled early only where the checkpoint can say so.
            Decision::Skip if here || gone || self.absent_head(at).is_some() => Some(Change::Skip),
            Decision::Park if here => Some(Change::Park),
            Decision::DeadLetter if here => Some(Change::Verdict),
            Decision::Skip
            | Decision::Retry
            | Decision::Park
            | Decision::DeadLetter
            | Decision::Release => None,
        };
        if let Some(change) = change {
            self.aside(at).decided = None;
            self.want(at, change);
        }
    }

    /// The head that a decision is about is gone.
    fn decline(&mut self, at: u32) {
        let wide = self.limits.failure.stops == Stops::Partition;
        let aside = self.aside(at);
        aside.decided = None;
        aside.verdict = false;
        aside.bars = wide;
        let (lane, slot) = (self.lanes.id(at), self.lanes[at].partition);
        self.set_barrier(slot);
        let partition = self.partitions[slot as usize].id(slot);
        self.outbox.push_back(Action::Declined { lane, partition });
    }
}
