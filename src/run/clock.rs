//! The time, as the machine tells it.

use crate::processor::Clock;
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The machine's clock that goes on while it sleeps: the same for all its processes.
#[derive(Clone, Copy, Debug, Default)]
pub struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> Duration {
        #[cfg(target_os = "linux")]
        let clock = ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = ClockId::Monotonic;
        let time = clock_gettime(clock);
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    }

    fn wall_millis(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_on() {
        let clock = MachineClock;
        let before = clock.now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(clock.now() > before);
        assert!(clock.wall_millis() > 1_700_000_000_000);
    }
}
