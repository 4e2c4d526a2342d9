//! A histogram of durations in little memory.

use std::collections::BTreeMap;
use std::time::Duration;

/// Values of one power of two are told apart by this many leading bits: to 3 %.
const BITS: u32 = 5;

/// How often which duration was measured; within 3 % above [`1 << BITS`](BITS) microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Durations {
    /// By microseconds, rounded down to [`BITS`] bits.
    counts: BTreeMap<u64, u64>,
    count: u64,
    max: Duration,
}

impl Durations {
    /// One more.
    pub fn add(&mut self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let shift = (u64::BITS - us.leading_zeros()).saturating_sub(BITS);
        *self.counts.entry(us >> shift << shift).or_default() += 1;
        self.count += 1;
        self.max = self.max.max(duration);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly.
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then_some(self.max)
    }

    /// The duration that this share of all (0 to 1) does not exceed, rounded down; `None`: there are
    /// none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.counts
            .iter()
            .find(|(_, count)| {
                seen += **count;
                seen >= rank
            })
            .map(|(us, _)| Duration::from_micros(*us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_three_percent_and_the_longest_is_exact() {
        let mut durations = Durations::default();
        assert_eq!((durations.quantile(0.5), durations.max()), (None, None));
        (1..=1_000).for_each(|ms| durations.add(Duration::from_millis(ms)));
        let ms = |share| durations.quantile(share).unwrap().as_secs_f64() * 1e3;
        assert!((485.0..=500.0).contains(&ms(0.5)), "{}", ms(0.5));
        assert!((960.0..=990.0).contains(&ms(0.99)), "{}", ms(0.99));
        assert_eq!(durations.max(), Some(Duration::from_secs(1)));
        assert_eq!(durations.count(), 1_000);
    }
}
