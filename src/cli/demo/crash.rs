//! When the demo kills its worker: a few times at random, and at the moments that are hardest: as
//! lanes park, and as a release has just been decided.

use super::{plan::Random, watch::View};
use std::time::Duration;

/// Kills at random moments, and kills at each kind of hard moment.
const AT_RANDOM: u32 = 3;
const AT_PARKS: u32 = 2;
const AT_RELEASES: u32 = 2;

/// The kills that are still to come.
pub(super) struct Crashes {
    random: Random,
    at: Vec<Duration>,
    parks: u32,
    releases: u32,
    seen_parks: u64,
    seen_releases: u64,
    /// The next kill, once a hard moment was seen.
    aimed: Option<Duration>,
    pub(super) kills: u32,
}

impl Crashes {
    /// Kills of a run of about `span`; none when `wanted` is false.
    pub(super) fn new(seed: u64, span: Duration, wanted: bool) -> Self {
        let mut random = Random(seed ^ 0xc4a5);
        let count = if wanted { AT_RANDOM } else { 0 };
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let mut at: Vec<Duration> = (0..count)
            .map(|_| Duration::from_millis(random.below(millis)))
            .collect();
        at.sort_unstable_by(|a, b| b.cmp(a));
        Self {
            random,
            at,
            parks: if wanted { AT_PARKS } else { 0 },
            releases: if wanted { AT_RELEASES } else { 0 },
            seen_parks: 0,
            seen_releases: 0,
            aimed: None,
            kills: 0,
        }
    }

    /// Whether the worker is to be killed now, `elapsed` after the start. `decided`: a decision was
    /// written just now.
    pub(super) fn strike(&mut self, elapsed: Duration, view: &View, decided: bool) -> bool {
        if view.parks > self.seen_parks && self.parks > 0 && self.aimed.is_none() {
            self.parks -= 1;
            self.aim(elapsed, 10);
        }
        if (decided || view.releases > self.seen_releases)
            && self.releases > 0
            && self.aimed.is_none()
        {
            self.releases -= 1;
            self.aim(elapsed, 60);
        }
        self.seen_parks = view.parks;
        self.seen_releases = view.releases;
        let due = self.aimed.is_some_and(|at| at <= elapsed);
        let drawn = self.at.last().is_some_and(|at| *at <= elapsed);
        if due {
            self.aimed = None;
        } else if drawn {
            self.at.pop();
        }
        self.kills += u32::from(due || drawn);
        due || drawn
    }

    fn aim(&mut self, elapsed: Duration, within_millis: u64) {
        let wait = Duration::from_millis(self.random.below(within_millis));
        self.aimed = Some(elapsed + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_strikes_at_parks_releases_and_at_random() {
        let mut crashes = Crashes::new(1, Duration::from_secs(5), true);
        let mut view = View::default();
        for tick in 0..2_000u32 {
            view.parks = u64::from(tick / 200);
            crashes.strike(
                Duration::from_millis(u64::from(tick) * 5),
                &view,
                tick % 300 == 150,
            );
        }
        assert_eq!(crashes.kills, AT_RANDOM + AT_PARKS + AT_RELEASES);
        let mut none = Crashes::new(1, Duration::from_secs(5), false);
        assert!(!none.strike(Duration::from_secs(9), &view, true));
    }
}
