//! The one place of this crate that asks what time it is.

use std::time::{Instant as StdInstant, SystemTime};

use crate::time::{Instant, Now};

/// The clock of the machine this runs on.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: StdInstant,
}

impl SystemClock {
    /// Starts to count.
    #[expect(clippy::disallowed_methods, reason = "the driver reads the clock")]
    pub fn start() -> Self {
        Self {
            start: StdInstant::now(),
        }
    }

    /// Both kinds of time at this moment: read once for each wake-up of the driver and passed down.
    #[expect(clippy::disallowed_methods, reason = "the driver reads the clock")]
    pub fn now(&self) -> Now {
        let since_start = StdInstant::now().duration_since(self.start);
        let unix = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            at: Instant(u64::try_from(since_start.as_micros()).unwrap_or(u64::MAX)),
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_starts_near_zero_and_never_goes_back() {
        let clock = SystemClock::start();
        let (first, second) = (clock.now(), clock.now());
        assert!(first.at <= second.at);
        assert!(second.at < Instant(3_600_000_000));
        assert!(second.unix_ms > 1_700_000_000_000);
    }
}
