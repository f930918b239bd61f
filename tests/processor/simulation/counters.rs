//! What a set of histories must have met, lest it proves nothing.

use lanekeeper::audit::Counts;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often it happened.
        #[derive(Clone, Copy, Debug, Default)]
        pub(super) struct Counters {
            $($(#[$doc])* pub(super) $name: u64,)*
        }

        impl Counters {
            pub(super) fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// By name.
            pub(super) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }
    };
}

counters! {
    /// Histories.
    histories,
    /// Commits whose outcome was not known, and that had landed.
    unknown_landed,
    /// As before, and that had not.
    unknown_not_landed,
    /// Commits that were refused as a stale owner's.
    fenced,
    /// Tries that ended after their worker had lost the partition.
    late_completions,
    /// Lanes that parked with more than 100 records behind their head.
    crowds_parked,
    /// Appends to a chain that were sent again after a lost answer.
    appends_repeated,
    /// Commits by which records joined a chain that was released.
    appends_while_released,
    /// Releases that cut the chain.
    cuts,
    /// Commits that met a lane item changed by an operator.
    lanes_moved,
    /// Commits with an effect whose condition did not hold.
    effects_refused,
    /// Two requests at once on an item.
    conflicts,
    /// Requests that arrived after their sender had given up on them.
    landed_late,
    /// Commits that did so behind a successor's claim, and were refused for it.
    late_behind_a_successor,
    /// Claims that began anew, since the checkpoint item was written after they had read it.
    claims_overtaken,
    /// Histories whose store acts as the one in DynamoDB.
    as_dynamodb,
    /// There: commits with effects on one item, of which all but the first were asked to go apart.
    apart,
    /// Commits that cost so much that the next one waited longer.
    stretched,
    /// Changes and effects that were too large for any commit.
    too_large,
    /// Commits that landed at a repeat within one call.
    sent_again,
    /// Claims that found another worker, and waited for its tries to end.
    unclean_claims_waited,
    /// Tries that killed their worker.
    fatal_tries,
    /// Records found announced by a worker that died.
    suspects_found,
    /// Those of them that were alone in flight when it died.
    suspects_charged,
    /// Decisions of an operator that a running owner acted on.
    decisions,
    /// Partitions that took in nothing for want of memory.
    memory_pauses,
    /// Records that ran again after a crash.
    repeats,
    /// Handler calls.
    calls,
    /// Records parked, stopped, dead-lettered, gone.
    parked,
    stopped,
    dead_lettered,
    skipped,
    released,
    gone,
    quarantined,
    effects,
    /// Workers killed, frozen, drained.
    kills,
    freezes,
    drains,
    /// Partitions that went from one worker to another in order.
    rebalances,
    /// Operators' rewinds: in all, of a partition whose owner lived or not, to a past checkpoint.
    rewinds,
    rewinds_of_living,
    rewinds_of_dead,
    rewinds_to_history,
    /// Rewinds that were computed anew, since something moved; that had nowhere to go.
    rewinds_moved,
    rewinds_refused,
    /// Chains with records that would run again; stopped lanes that a rewind removed.
    chains_kept,
    chains_dropped,
    stops_reopened,
    /// Workers that ended since a partition of theirs was rewound.
    ended_by_rewinds,
    /// Times that the target was out.
    outages,
}

impl Counters {
    pub(super) fn add_audit(&mut self, counts: &Counts) {
        self.repeats += counts.repeats;
        self.calls += counts.calls;
        self.parked += counts.parked;
        self.stopped += counts.stopped;
        self.dead_lettered += counts.dead_lettered;
        self.skipped += counts.skipped;
        self.released += counts.released;
        self.gone += counts.gone;
        self.quarantined += counts.quarantined;
        self.effects += counts.effects;
        self.decisions += counts.decided;
        self.memory_pauses += counts.paused;
    }
}
