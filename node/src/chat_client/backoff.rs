//! How long to wait before the next try.

use std::time::Duration;

/// The first wait is random below this.
pub(super) const FIRST: Duration = Duration::from_millis(400);

/// No wait is longer.
pub(super) const LONGEST: Duration = Duration::from_secs(8);

/// Exponential with full jitter: thousands of clients of a node that died come back spread out, not
/// in waves.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// One more failure; the wait after it, made from a random number.
    pub(super) fn next(&mut self, random: u64) -> Duration {
        let ceiling = FIRST
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let micros = u64::try_from(ceiling.as_micros()).expect("below LONGEST");
        Duration::from_micros(random % (micros + 1))
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Tries in a row that failed.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest wait of a try: 400 ms doubled `n` times and bounded.
    fn ceiling(n: u32) -> Duration {
        (FIRST * 2_u32.pow(n)).min(LONGEST)
    }

    #[test]
    fn waits_are_spread_below_a_ceiling_that_doubles_up_to_a_bound() {
        for n in 0..10 {
            let mut backoff = Backoff { failures: n };
            let whole = u64::try_from(ceiling(n).as_micros()).unwrap();
            assert_eq!(backoff.next(whole), ceiling(n));
            let mut backoff = Backoff { failures: n };
            assert_eq!(backoff.next(0), Duration::ZERO);
        }
        let mut tired = Backoff { failures: u32::MAX };
        assert!(tired.next(u64::MAX) <= LONGEST);
    }

    #[test]
    fn success_starts_over() {
        let mut backoff = Backoff::default();
        (0..5).for_each(|_| {
            backoff.next(1);
        });
        assert_eq!(backoff.failures(), 5);
        backoff.reset();
        assert!(backoff.next(u64::MAX) <= FIRST);
    }
}
