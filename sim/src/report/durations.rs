//! Many durations, folded into quantiles and a histogram.
//!
//! Quantiles are taken from the exact list by nearest rank: each is a duration that occurred, and p99
//! of fewer than 100 durations is the longest of them. The histogram is for the eye: ten buckets to a
//! decade, at the preferred numbers of ISO 3 (1, 1.25, 1.6, 2 …).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the buckets of one decade end, hundredths of its beginning.
const STEPS: [u64; 10] = [100, 125, 160, 200, 250, 315, 400, 500, 630, 800];

/// Where the decades begin: 100 µs, as nothing crosses a link sooner, to 10,000 s.
const DECADES: std::ops::RangeInclusive<u32> = 0..=8;

/// How many there were, how long they took, and how they were spread.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Durations {
    count: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    /// How many by the end of their bucket, µs; empty buckets are left out. The first bucket begins at
    /// 0, and what is longer than the last ends counts there.
    histogram: BTreeMap<u64, u64>,
}

/// What of a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantile {
    /// Half of all took at most so long.
    P50,
    /// 99 of 100 took at most so long.
    P99,
    /// The longest.
    Max,
}

impl Quantile {
    /// All of them, rising.
    pub const ALL: [Self; 3] = [Self::P50, Self::P99, Self::Max];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::Max => "max",
        }
    }

    fn percent(self) -> usize {
        match self {
            Self::P50 => 50,
            Self::P99 => 99,
            Self::Max => 100,
        }
    }
}

impl From<Vec<Duration>> for Durations {
    fn from(durations: Vec<Duration>) -> Self {
        let mut sorted: Vec<u64> = durations.into_iter().map(in_micros).collect();
        sorted.sort_unstable();
        let rank = |quantile: Quantile| {
            let rank = (sorted.len() * quantile.percent()).div_ceil(100);
            rank.checked_sub(1).map_or(0, |index| sorted[index])
        };
        let mut histogram = BTreeMap::new();
        for &us in &sorted {
            *histogram.entry(bucket(us)).or_insert(0) += 1;
        }
        Self {
            count: sorted.len() as u64,
            p50_us: rank(Quantile::P50),
            p99_us: rank(Quantile::P99),
            max_us: rank(Quantile::Max),
            histogram,
        }
    }
}

impl Durations {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// One of the list, µs; `None` where it is empty.
    pub fn quantile(&self, quantile: Quantile) -> Option<u64> {
        let us = match quantile {
            Quantile::P50 => self.p50_us,
            Quantile::P99 => self.p99_us,
            Quantile::Max => self.max_us,
        };
        (self.count > 0).then_some(us)
    }

    /// How many ended in each bucket, by the end of the bucket in µs, from the first bucket that has
    /// some to the last one.
    pub fn histogram(&self) -> Vec<(u64, u64)> {
        let ends = self.histogram.keys();
        let (Some(&first), Some(&last)) = (ends.clone().next(), ends.clone().next_back()) else {
            return Vec::new();
        };
        let within = ends_of_buckets().filter(|end| (first..=last).contains(end));
        let count = |end| self.histogram.get(&end).copied().unwrap_or(0);
        within.map(|end| (end, count(end))).collect()
    }

    /// What is wrong with it, where a file gave what no list folds into.
    pub(super) fn fault(&self) -> Option<&'static str> {
        let sum = self
            .histogram
            .values()
            .copied()
            .map(u128::from)
            .sum::<u128>();
        let known = |end: &u64| ends_of_buckets().any(|known| known == *end);
        if sum != u128::from(self.count) {
            Some("the buckets of the histogram do not add up to its count")
        } else if !self.histogram.keys().all(known) {
            Some("a bucket of the histogram ends where none does")
        } else if !(self.p50_us <= self.p99_us && self.p99_us <= self.max_us) {
            Some("its quantiles do not rise")
        } else {
            None
        }
    }
}

fn ends_of_buckets() -> impl Iterator<Item = u64> {
    DECADES.flat_map(|decade| STEPS.map(|step| step * 10_u64.pow(decade)))
}

/// The end of the bucket that a duration belongs in.
fn bucket(us: u64) -> u64 {
    ends_of_buckets()
        .find(|end| us <= *end)
        .or_else(|| ends_of_buckets().last())
        .expect("there are buckets")
}

fn in_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A [`Duration`] as a whole number of microseconds.
pub(super) mod micros {
    use super::{Deserialize, Duration, in_micros};

    pub(crate) fn serialize<S: serde::Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(in_micros(*duration))
    }

    pub(crate) fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(us: impl IntoIterator<Item = u64>) -> Durations {
        let durations: Vec<Duration> = us.into_iter().map(Duration::from_micros).collect();
        Durations::from(durations)
    }

    fn quantiles(durations: &Durations) -> [Option<u64>; 3] {
        Quantile::ALL.map(|quantile| durations.quantile(quantile))
    }

    #[test]
    fn quantiles_are_taken_by_nearest_rank_whatever_the_order() {
        assert_eq!(quantiles(&of([])), [None; 3]);
        assert_eq!(quantiles(&of([7])), [Some(7); 3]);
        assert_eq!(quantiles(&of([9, 1])), [Some(1), Some(9), Some(9)]);
        assert_eq!(quantiles(&of([5, 1, 3])), [Some(3), Some(5), Some(5)]);
        let hundred = quantiles(&of((1..=100).rev()));
        assert_eq!(hundred, [Some(50), Some(99), Some(100)]);
        let more = quantiles(&of(1..=101));
        assert_eq!(more, [Some(51), Some(100), Some(101)]);
        assert_eq!(quantiles(&of([0, 0])), [Some(0); 3]);
    }

    #[test]
    fn the_histogram_has_ten_buckets_to_a_decade_and_shows_the_empty_ones_between() {
        let durations = of([0, 100, 101, 125, 126, 200]);
        let shown = durations.histogram();
        assert_eq!(shown, [(100, 2), (125, 2), (160, 1), (200, 1)]);
        let spread = of([1_000, 10_000]).histogram();
        assert_eq!(spread.len(), 11);
        assert_eq!((spread[0], spread[10]), ((1_000, 1), (10_000, 1)));
        assert_eq!(of([u64::MAX]).histogram(), [(80_000_000_000, 1)]);
    }

    proptest! {
        #[test]
        fn every_quantile_is_a_duration_of_the_list_with_its_share_at_or_below_it(
            us in proptest::collection::vec(0..2_000_000_u64, 1..300),
        ) {
            let durations = of(us.clone());
            prop_assert_eq!(durations.fault(), None);
            for quantile in Quantile::ALL {
                let value = durations.quantile(quantile).unwrap();
                let below = us.iter().filter(|us| **us < value).count();
                let upto = us.iter().filter(|us| **us <= value).count();
                prop_assert!(us.contains(&value));
                prop_assert!(upto * 100 >= us.len() * quantile.percent());
                prop_assert!(below * 100 < us.len() * quantile.percent());
            }
        }
    }
}
