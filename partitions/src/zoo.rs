//! Bugs that can be planted, to prove that the tests would catch them. Without the feature
//! `bug-zoo` none can be, and the questions below cost nothing.

use crate::{Answer, Engine, Item};
use core::time::Duration;

/// A mistake that this or another processor of ordered records made, or could make.
#[cfg_attr(
    not(feature = "bug-zoo"),
    expect(unreachable_pub, reason = "public with the feature only")
)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A parked record counts as passed: its lane goes on.
    ParkedPasses,
    /// A record counts as parked when the store is asked, not when it answers.
    ParkedOnEmission,
    /// A revoked try gives back its slot while it runs.
    SlotFreedAtRevoke,
    /// A key may start again in a new assignment while a try of the old one runs.
    LaneFreedAtRevoke,
    /// Of a lane's effects only as many are dropped as were refused, not all behind the first.
    EffectsBehindRefusedKept,
    /// Effects are dropped: their records count as done at the answer.
    EffectsForgotten,
    /// A timeout at our side gives back slot and lane while the remote may still run the try.
    QuarantineIgnored,
    /// The commit of a stop counts the failed record as settled.
    CheckpointPastFailed,
    /// A record that failed for good is skipped as soon as its stop is durable.
    FailedSkipped,
    /// The lane goes on behind a record that failed for good.
    FailedOvertaken,
    /// A stop of the partition stops its lane only.
    BarrierIgnored,
    /// A lane that waits for its next try keeps its slot.
    WaitingKeepsSlot,
    /// Starting does not wait for commits.
    #[cfg(feature = "bug-zoo")]
    UnflushedIgnored,
}

impl<R: Item> Engine<R> {
    /// Plants a bug, for good.
    #[cfg(feature = "bug-zoo")]
    pub fn plant(&mut self, bug: Bug) {
        self.bug = Some(bug);
        if bug == Bug::UnflushedIgnored {
            self.limits.unflushed_max = u64::MAX;
        }
    }

    #[cfg(feature = "bug-zoo")]
    pub(crate) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    /// An answer as a planted bug takes it.
    pub(crate) fn misread(&self, answer: Answer) -> Answer {
        let forgotten = self.has(Bug::EffectsForgotten);
        let ignored = self.has(Bug::QuarantineIgnored);
        Answer {
            with_effects: answer.with_effects && !forgotten,
            quarantine: if ignored {
                Duration::ZERO
            } else {
                answer.quarantine
            },
            ..answer
        }
    }

    #[cfg(not(feature = "bug-zoo"))]
    #[expect(clippy::unused_self, reason = "the same question with the feature")]
    pub(crate) const fn has(&self, _: Bug) -> bool {
        false
    }
}
