//! How often, and after which times, a batch comes again.

use std::time::{Duration, SystemTime};

/// The first of times that double: with it a batch that always fails is invoked eight times in a minute,
/// as recorded (K18).
const FIRST: Duration = Duration::from_millis(250);

/// Where they stop doubling. Nobody has recorded where Lambda does.
const MOST: Duration = Duration::from_secs(60);

/// What the tries of a batch have come to.
#[derive(Clone, Debug)]
pub(super) struct Tries {
    /// Invocations of just this batch.
    pub(super) invocations: u32,
    /// Those of them that used up a retry.
    pub(super) failures: u32,
    /// Waits in a row, for failures and for throttles.
    waits: u32,
    /// It does not go out before.
    pub(super) not_before: SystemTime,
}

impl Tries {
    /// Of a batch that may go out now.
    pub(super) fn none(now: SystemTime) -> Self {
        Self {
            invocations: 0,
            failures: 0,
            waits: 0,
            not_before: now,
        }
    }

    /// Of what is left of a batch that has come on, or of its half: after one wait.
    pub(super) fn anew(now: SystemTime) -> Self {
        let mut tries = Self::none(now);
        tries.wait(now);
        tries
    }

    /// The same batch goes out again, after a wait twice as long as the last one.
    pub(super) fn wait(&mut self, now: SystemTime) {
        let doubled = FIRST.saturating_mul(1_u32.checked_shl(self.waits).unwrap_or(u32::MAX));
        self.waits += 1;
        self.not_before = now + doubled.min(MOST);
    }

    /// Whether a batch that has failed just now may go out again.
    pub(super) fn are_left(&self, retries: Option<u32>) -> bool {
        retries.is_none_or(|retries| self.failures <= retries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k18_waits_double_up_to_a_minute() {
        let now = SystemTime::now();
        let mut tries = Tries::none(now);
        let waits = (0..40).map(|_| {
            tries.wait(now);
            tries.not_before.duration_since(now).unwrap()
        });
        let waits: Vec<Duration> = waits.collect();
        assert_eq!(waits[..3], [250, 500, 1000].map(Duration::from_millis));
        let until_the_eighth: Duration = waits[..7].iter().sum();
        let until_the_ninth: Duration = waits[..8].iter().sum();
        assert!(until_the_eighth < MOST && until_the_ninth > MOST);
        assert_eq!(waits[39], MOST);
    }

    #[test]
    fn k16_k17_so_many_retries_follow_the_first_try() {
        let mut tries = Tries::none(SystemTime::now());
        tries.failures = 1;
        assert!(!tries.are_left(Some(0)) && tries.are_left(Some(1)) && tries.are_left(None));
        tries.failures = 2;
        assert!(!tries.are_left(Some(1)));
    }
}
