//! The time of a model: it runs while a function does, and passes at once while none does.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// How long a mapping sleeps at most before it looks again for what came meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// The time of a source and of all mappings that read from it. A clone is the same clock.
///
/// A mapping that has nothing to do but wait (for a retry, a visibility timeout, a window) does not wait:
/// the clock skips that time, unless an invocation is under way on any mapping of this clock. So a test
/// takes as long as its functions take, and what happens in which order does not depend on the machine.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    began_at: SystemTime,
    /// Seconds of the model in a second, while invocations are under way.
    speed: f64,
    /// A server outside lives by its own time: nothing can be skipped.
    is_real: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    skipped: Duration,
    under_way: usize,
}

/// An invocation on this clock. Dropped, it is over.
pub(super) struct UnderWay(Clock);

impl Clock {
    /// One on which so many seconds pass in a second while functions run: 60 for a visibility timeout of
    /// 30 s that a function is to outlast in half a second.
    pub fn with_speed(speed: f64) -> Self {
        Self::start(speed, false)
    }

    /// The machine's, for sources that are servers. Nothing is skipped.
    pub fn real() -> Self {
        Self::start(1.0, true)
    }

    fn start(speed: f64, is_real: bool) -> Self {
        Self(Arc::new(Inner {
            began: Instant::now(),
            began_at: SystemTime::now(),
            speed,
            is_real,
            state: Mutex::default(),
        }))
    }

    /// The time of the model. It begins as the machine's.
    pub fn now(&self) -> SystemTime {
        self.at(self.state().skipped)
    }

    /// Lets this time pass at once; nothing where the clock is the machine's.
    pub fn pass(&self, time: Duration) {
        if !self.0.is_real {
            self.state().skipped += time;
        }
    }

    /// Goes on to that time, or, where an invocation is under way or the clock is the machine's, says how
    /// long to sleep before looking again.
    pub(super) fn skip_to(&self, time: SystemTime) -> Option<Duration> {
        let mut state = self.state();
        let left = time.duration_since(self.at(state.skipped)).ok()?;
        if state.under_way == 0 && !self.0.is_real {
            state.skipped += left;
            return None;
        }
        Some(left.div_f64(self.0.speed.max(f64::EPSILON)).min(LOOK))
    }

    /// Time runs until the value is dropped.
    pub(super) fn begin(&self) -> UnderWay {
        self.state().under_way += 1;
        UnderWay(self.clone())
    }

    fn at(&self, skipped: Duration) -> SystemTime {
        let ran = self.0.began.elapsed().mul_f64(self.0.speed);
        self.0.began_at + ran + skipped
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::with_speed(1.0)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.state().under_way -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn waiting_takes_no_time_unless_something_is_under_way() {
        let clock = Clock::default();
        let later = clock.now() + HOUR;
        let under_way = clock.begin();
        assert!(clock.skip_to(later).is_some());
        assert!(clock.now() < later);
        drop(under_way);
        assert_eq!(clock.skip_to(later), None);
        assert!(clock.now() >= later);
    }

    #[test]
    fn the_time_of_a_server_cannot_be_skipped() {
        let clock = Clock::real();
        let later = clock.now() + HOUR;
        assert_eq!(clock.skip_to(later), Some(LOOK));
        clock.pass(HOUR);
        assert!(clock.now() < later);
    }

    #[test]
    fn time_runs_at_the_given_speed() {
        let clock = Clock::with_speed(1e6);
        let (before, began) = (clock.now(), Instant::now());
        while began.elapsed() < Duration::from_millis(2) {}
        assert!(clock.now() >= before + Duration::from_secs(2000));
    }
}
