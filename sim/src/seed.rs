//! Chance: one seed, and from it independent streams of random numbers, each with a name.
//!
//! A new consumer draws from a stream of its own and does not shift what the others draw. Chances are
//! whole numbers, so that they come out the same on every machine.

use std::fmt;
use std::time::Duration;

use mesh::id::splitmix64;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use serde::Serialize;

/// A named stream of random numbers.
#[derive(Debug, Clone)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The stream of that name.
    pub fn new(seed: u64, name: &str) -> Self {
        let mix = |hash: u64, byte: u8| splitmix64(hash ^ u64::from(byte));
        let named = name.bytes().fold(splitmix64(seed), mix);
        Self(ChaCha8Rng::seed_from_u64(named))
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 to below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.number()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("a product of two u64 shifted by 64")
    }

    /// A number of this range, both ends included.
    pub fn within(&mut self, (least, most): (u64, u64)) -> u64 {
        least + self.below((most.saturating_sub(least)).saturating_add(1))
    }

    /// A duration of this range, to the microsecond.
    pub fn duration(&mut self, (least, most): (Duration, Duration)) -> Duration {
        if least == most {
            return least;
        }
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.within((micros(least), micros(most))))
    }

    /// Whether something happens that has this probability. Draws nothing where it never does.
    pub fn happens(&mut self, probability: Probability) -> bool {
        probability.0 > 0 && self.below(u64::from(Probability::ONE.0)) < u64::from(probability.0)
    }

    /// One of these; `None` where there are none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(self.below(of.len() as u64)).expect("below a length"))
    }

    /// Any bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

/// How likely something is, in millionths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Probability(u32);

impl Probability {
    /// It never happens.
    pub const ZERO: Self = Self(0);

    /// It always happens.
    pub const ONE: Self = Self(1_000_000);

    /// So many millionths, at most one million.
    pub const fn millionths(millionths: u32) -> Self {
        if millionths < Self::ONE.0 {
            Self(millionths)
        } else {
            Self::ONE
        }
    }

    /// So many hundredths, at most a hundred.
    pub const fn percent(percent: u32) -> Self {
        Self::millionths(percent.saturating_mul(10_000))
    }

    /// From a text: `0.1`, or `10%`. `None` where it is no number from 0 to 1 (100 %).
    pub fn parse(text: &str) -> Option<Self> {
        let (number, whole) = match text.strip_suffix('%') {
            Some(percent) => (percent.trim(), 100.0),
            None => (text, 1.0),
        };
        let share = number.parse::<f64>().ok()? / whole;
        // Within the range the rounded number fits.
        (0.0..=1.0)
            .contains(&share)
            .then(|| Self((share * f64::from(Self::ONE.0)).round() as u32))
    }

    /// In millionths.
    pub fn as_millionths(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        let fraction = format!("{rest:04}");
        match fraction.trim_end_matches('0') {
            "" => write!(f, "{whole}%"),
            fraction => write!(f, "{whole}.{fraction}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_by_name_and_stay_the_same() {
        let draw = |seed, name| Chance::new(seed, name).number();
        assert_eq!(draw(1, "a"), draw(1, "a"));
        assert_ne!(draw(1, "a"), draw(1, "b"));
        assert_ne!(draw(1, "a"), draw(2, "a"));
        assert_eq!(draw(1, "network"), 17_955_552_468_513_115_775);
    }

    #[test]
    fn a_range_is_drawn_from_end_to_end() {
        let mut chance = Chance::new(3, "range");
        let drawn: std::collections::BTreeSet<u64> =
            (0..200).map(|_| chance.within((4, 7))).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [4, 5, 6, 7]);
        assert_eq!(chance.within((9, 9)), 9);
        assert!(chance.within((0, u64::MAX)) > 0);
        assert_eq!(chance.pick::<u8>(&[]), None);
    }

    #[test]
    fn what_has_no_chance_never_happens_and_what_is_certain_always_does() {
        let mut chance = Chance::new(4, "chance");
        assert!(!(0..1000).any(|_| chance.happens(Probability::ZERO)));
        assert!((0..1000).all(|_| chance.happens(Probability::ONE)));
        let tenth = (0..10_000).filter(|_| chance.happens(Probability::percent(10)));
        assert!((900..1100).contains(&tenth.count()));
    }

    #[test]
    fn a_probability_is_read_as_a_share_or_in_percent() {
        let parse = Probability::parse;
        assert_eq!(parse("0.1"), Some(Probability::percent(10)));
        assert_eq!(parse("10%"), Some(Probability::percent(10)));
        assert_eq!(parse("1"), Some(Probability::ONE));
        assert_eq!(parse("0.0005"), Some(Probability::millionths(500)));
        for wrong in ["", "-0.1", "1.1", "101%", "x", "NaN", "inf"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        assert_eq!(Probability::millionths(125_000).to_string(), "12.5%");
        assert_eq!(Probability::percent(30).to_string(), "30%");
        assert_eq!(Probability::millionths(500).to_string(), "0.05%");
    }
}
