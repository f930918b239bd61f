//! When to try again: jittered backoff and the health of the target.

use crate::{FailureRules, LaneId, Time};
use core::time::Duration;

/// So many tries in a row must fail by the target's fault before it counts as sick,
const SICK_TRIES: u32 = 20;
/// over so many lanes: one record that makes the target look bad is no outage.
const SICK_LANES: usize = 3;

/// The engine's only chance (splitmix64), seeded by its limits.
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Anything from nothing to `most`.
    fn up_to(&mut self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.next() % most.saturating_add(1).max(1))
    }

    /// Full jitter, for the `failures`th failure in a row; `after` is its floor.
    pub(crate) fn backoff(
        &mut self,
        rules: &FailureRules,
        failures: u32,
        after: Duration,
    ) -> Duration {
        self.up_to(step(rules, failures))
            .max(after.min(rules.backoff_max))
    }
}

/// The bound of the `failures`th wait, from 1.
fn step(rules: &FailureRules, failures: u32) -> Duration {
    let factor = 1_u32
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(u32::MAX);
    rules
        .backoff_min
        .saturating_mul(factor)
        .min(rules.backoff_max)
}

/// Whether the target is to be spared.
#[derive(Default)]
pub(crate) struct Health {
    failures: u32,
    lanes: [Option<LaneId>; SICK_LANES],
    since: Option<Time>,
    probes: u32,
    /// No probe before this.
    pub(crate) probe_at: Time,
}

impl Health {
    pub(crate) fn sick_since(&self) -> Option<Time> {
        self.since
    }

    /// A try ended well, or with a verdict on its record: the target answers.
    #[inline]
    pub(crate) fn answered(&mut self) {
        if self.failures > 0 {
            self.recover();
        }
    }

    #[cold]
    fn recover(&mut self) {
        *self = Self::default();
    }

    /// A try failed by its record's fault: the failures are in a row no more.
    pub(crate) fn interrupted(&mut self) {
        if self.since.is_none() {
            self.answered();
        }
    }

    /// A try ended by the target's fault; `quiet`: nothing else is in flight.
    pub(crate) fn failed(
        &mut self,
        lane: LaneId,
        now: Time,
        quiet: bool,
        rules: &FailureRules,
        jitter: &mut Jitter,
    ) {
        self.failures = self.failures.saturating_add(1);
        if !self.lanes.contains(&Some(lane))
            && let Some(free) = self.lanes.iter_mut().find(|known| known.is_none())
        {
            *free = Some(lane);
        }
        let over_lanes = self.lanes.iter().all(Option::is_some);
        if self.since.is_none() {
            if self.failures < SICK_TRIES || !over_lanes {
                return;
            }
            self.since = Some(now);
        } else if !quiet {
            return;
        }
        self.probes = self.probes.saturating_add(1);
        // Half of it is sure, or chance could let probe follow probe.
        let half = step(rules, self.probes) / 2;
        self.probe_at = Time(
            now.0
                .saturating_add(half)
                .saturating_add(jitter.up_to(half)),
        );
    }
}
