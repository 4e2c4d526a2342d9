//! Time as the machine knows it: readings that others give it, never a clock of its own.
//!
//! [`Instant`] counts microseconds since the node's start and measures durations; [`Stamp`] is a
//! reading of the [`Clock`], a hybrid logical clock (Kulkarni et al. 2014) that orders events by
//! cause across nodes. Neither can ask the machine it runs on what time it is.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point of monotonic time: microseconds since the start of this node.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Instant(pub u64);

impl Instant {
    /// How long after `earlier` this is; zero where it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)),
        )
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// What the driver's one clock read gives: both kinds of time at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic; never goes back between two calls of the machine.
    pub at: Instant,
    /// Wall clock, Unix milliseconds; may jump either way.
    pub unix_ms: u64,
}

/// A hybrid logical clock reading: 48 bits of Unix milliseconds, 16 bits of counter.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The first stamp of a millisecond.
    pub fn from_unix_ms(unix_ms: u64) -> Self {
        Self(unix_ms.min((1 << 48) - 1) << 16)
    }

    /// Its 48 bits of Unix milliseconds.
    pub fn unix_ms(self) -> u64 {
        self.0 >> 16
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.unix_ms(), self.0 & 0xffff)
    }
}

/// How far ahead of the wall clock a client's id moves the clock, milliseconds: more than a badly
/// set client clock, less than what would let a client push a node's stamps into the future.
pub const CLIENT_AHEAD_MS: u64 = 90_000;

/// How far ahead of the wall clock a peer's stamp may be, milliseconds: a client's lead and the
/// skew between two nodes. Above it the stamp is refused and counted.
pub const PEER_AHEAD_MS: u64 = 120_000;

/// A hybrid logical clock: every stamp it gives is above all that it gave or observed.
#[derive(Debug, Clone)]
pub struct Clock {
    last: Stamp,
}

impl Clock {
    /// Starts above `newest`, the newest stamp known from an earlier life.
    pub fn new(newest: Stamp) -> Self {
        Self { last: newest }
    }

    /// The next stamp, above all earlier ones and not below the wall clock.
    pub fn tick(&mut self, now: Now) -> Stamp {
        self.last = Stamp::from_unix_ms(now.unix_ms).max(Stamp(self.last.0.saturating_add(1)));
        self.last
    }

    /// The newest stamp given or observed, without making a new one; not below the wall clock.
    pub fn latest(&self, now: Now) -> Stamp {
        Stamp::from_unix_ms(now.unix_ms).max(self.last)
    }

    /// Takes note of a peer's stamp. False where it is more than [`PEER_AHEAD_MS`] ahead: refused,
    /// and the clock stays.
    pub fn observe_peer(&mut self, now: Now, stamp: Stamp) -> bool {
        let accepted = stamp.unix_ms() <= now.unix_ms.saturating_add(PEER_AHEAD_MS);
        if accepted {
            self.last = self.last.max(stamp);
        }
        accepted
    }

    /// Takes note of an id that a client named, where it is at most [`CLIENT_AHEAD_MS`] ahead.
    pub fn observe_client(&mut self, now: Now, stamp: Stamp) {
        if stamp.unix_ms() <= now.unix_ms.saturating_add(CLIENT_AHEAD_MS) {
            self.last = self.last.max(stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(unix_ms: u64) -> Now {
        Now {
            at: Instant(0),
            unix_ms,
        }
    }

    #[test]
    fn stamps_rise_though_the_wall_clock_goes_back() {
        let mut clock = Clock::new(Stamp(0));
        let first = clock.tick(at(1_000));
        let second = clock.tick(at(500));
        assert!(first < second);
        assert_eq!(second.unix_ms(), 1_000);
    }

    #[test]
    fn a_stamp_is_above_every_stamp_observed() {
        let mut clock = Clock::new(Stamp(0));
        assert!(clock.observe_peer(at(1_000), Stamp::from_unix_ms(100_000)));
        assert!(clock.tick(at(1_000)) > Stamp::from_unix_ms(100_000));
    }

    #[test]
    fn a_stamp_too_far_ahead_leaves_the_clock_alone() {
        let mut clock = Clock::new(Stamp(0));
        assert!(!clock.observe_peer(at(1_000), Stamp::from_unix_ms(1_001 + PEER_AHEAD_MS)));
        clock.observe_client(at(1_000), Stamp::from_unix_ms(1_001 + CLIENT_AHEAD_MS));
        assert_eq!(clock.tick(at(1_000)), Stamp::from_unix_ms(1_000));
    }
}
