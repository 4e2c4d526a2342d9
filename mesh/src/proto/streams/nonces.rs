//! Which nonces were tried on this node: a first try is appended at once, a second is looked up.
//!
//! A nonce carries its time, and one that is far from the node's clock is looked up whatever was
//! tried. So a tried nonce is remembered only until its time is that far in the past; below `floor`
//! nothing is fresh, though the wall clock goes back.

use std::collections::BTreeSet;

use crate::id::{Nonce, StreamId};

/// How far a fresh nonce's time may be from the node's clock, milliseconds: what `client-protocol`
/// calls fresh.
pub(super) const FRESH_MS: u64 = 2_000;

/// The most nonces remembered: 30,000 new ones a second. In a tree about 5 MB.
const TRIED_MAX: usize = 1 << 17;

/// The nonces tried lately.
#[derive(Debug, Default)]
pub(super) struct Nonces {
    /// Time of the nonce in the upper 48 bits, then nonce and stream mixed: two that fall together
    /// cost a look-up.
    tried: BTreeSet<u128>,
    /// At or below it, Unix milliseconds, a nonce may have been tried and forgotten.
    floor: u64,
    /// Nonces that were not remembered for want of room.
    pub(super) overflows: u64,
}

impl Nonces {
    /// Notes a try. Whether it is the first and its time is near the clock: fresh as far as this node
    /// knows.
    pub(super) fn try_first(&mut self, unix_ms: u64, stream: StreamId, nonce: Nonce) -> bool {
        self.forget_before(unix_ms.saturating_sub(FRESH_MS));
        let time = nonce.unix_ms();
        let near = time.abs_diff(unix_ms) <= FRESH_MS;
        if time <= self.floor {
            return false;
        }
        if self.tried.len() >= TRIED_MAX {
            self.overflows += 1;
            self.floor = time;
            return false;
        }
        self.tried.insert(key(stream, nonce)) && near
    }

    fn forget_before(&mut self, unix_ms: u64) {
        // A nonce of exactly that millisecond is still near.
        let floor = unix_ms.saturating_sub(1);
        self.floor = self.floor.max(floor);
        for _ in 0..FORGOTTEN_AT_ONCE {
            match self.tried.first() {
                Some(&oldest) if (oldest >> TIME_SHIFT) as u64 <= floor => {
                    self.tried.pop_first();
                }
                Some(_) | None => return,
            }
        }
    }
}

/// How many old nonces one try forgets: more than it adds, and a small part of a step.
const FORGOTTEN_AT_ONCE: usize = 64;

/// Where the time begins in a nonce.
const TIME_SHIFT: u32 = 80;

fn key(stream: StreamId, nonce: Nonce) -> u128 {
    nonce.0 ^ stream.0 >> (128 - TIME_SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId(0x1234 << 100);
    const NOW: u64 = 1_000_000;

    fn nonce(unix_ms: u64, random: u128) -> Nonce {
        Nonce::new(unix_ms, random)
    }

    #[test]
    fn a_nonce_near_the_clock_is_fresh_once() {
        let mut nonces = Nonces::default();
        assert!(nonces.try_first(NOW, STREAM, nonce(NOW, 1)));
        assert!(!nonces.try_first(NOW, STREAM, nonce(NOW, 1)));
        assert!(nonces.try_first(NOW, STREAM, nonce(NOW, 2)));
        assert!(nonces.try_first(NOW, StreamId(1 << 70), nonce(NOW, 1)));
    }

    #[test]
    fn a_nonce_is_fresh_within_two_seconds_of_the_clock_either_way() {
        let mut nonces = Nonces::default();
        assert!(nonces.try_first(NOW, STREAM, nonce(NOW - FRESH_MS, 1)));
        assert!(nonces.try_first(NOW, STREAM, nonce(NOW + FRESH_MS, 1)));
        assert!(!nonces.try_first(NOW, STREAM, nonce(NOW - FRESH_MS - 1, 1)));
        assert!(!nonces.try_first(NOW, STREAM, nonce(NOW + FRESH_MS + 1, 1)));
    }

    #[test]
    fn a_nonce_tried_too_early_is_not_fresh_when_its_time_has_come() {
        let mut nonces = Nonces::default();
        assert!(!nonces.try_first(NOW, STREAM, nonce(NOW + 9_000, 1)));
        assert!(!nonces.try_first(NOW + 9_000, STREAM, nonce(NOW + 9_000, 1)));
    }

    #[test]
    fn a_forgotten_nonce_is_not_fresh_though_the_clock_goes_back() {
        let mut nonces = Nonces::default();
        assert!(nonces.try_first(NOW, STREAM, nonce(NOW, 1)));
        assert!(nonces.try_first(NOW + 10_000, STREAM, nonce(NOW + 10_000, 2)));
        assert_eq!(nonces.tried.len(), 1);
        assert!(!nonces.try_first(NOW, STREAM, nonce(NOW, 1)));
    }

    #[test]
    fn what_could_not_be_remembered_is_never_fresh() {
        let mut nonces = Nonces::default();
        for i in 0..TRIED_MAX as u128 {
            assert!(nonces.try_first(NOW, STREAM, nonce(NOW, i)));
        }
        let late = nonce(NOW + 1, 1);
        assert!(!nonces.try_first(NOW, STREAM, late));
        assert_eq!(nonces.overflows, 1);
        let after = NOW + FRESH_MS + 1;
        assert!(!nonces.try_first(after, STREAM, late));
        assert!(nonces.try_first(after, STREAM, nonce(after, 1)));
        assert!(nonces.tried.len() < TRIED_MAX);
    }
}
