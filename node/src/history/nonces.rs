//! Which nonces were stored lately: proves in constant time that a nonce is new.
//!
//! A filter of hashes of (stream, author, nonce) in a few generations; the oldest is dropped when
//! the newest is full. The rule: *absence proves absence of every event whose stamp is at or above
//! [`Nonces::covers_from`]*, for each event that was stored since the filter began is in a
//! generation that is left, or has a stamp below that. A nonce names its message only from two
//! minutes before its own time on, so a nonce whose window begins at or above that stamp and whose
//! hash is absent is new. Anything else (an older nonce, a hash that is present) is looked for in
//! the stream itself.
//!
//! A [`Filter`] with 32 bits of memory per nonce. A false hit costs a search of the stream's last
//! minutes, up to thousands of events in a busy one, so they have to be rare: about 1 in 100,000 per
//! generation.

use std::hash::{BuildHasher as _, RandomState};

use mesh::id::{Nonce, StreamId, UserName};
use mesh::time::Stamp;

use super::filter::Filter;

const BITS_PER_NONCE: usize = 32;
const GENERATIONS: usize = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Nonces {
    /// Oldest first.
    generations: Vec<Generation>,
    /// Nonces per generation.
    capacity: usize,
    covers_from: Stamp,
    hasher: RandomState,
}

#[derive(Debug)]
struct Generation {
    filter: Filter,
    count: usize,
    /// The greatest stamp of its events.
    newest: Stamp,
}

impl Nonces {
    /// Remembers about `bound` nonces. Nothing below `covers_from` is covered from the start.
    pub(super) fn new(bound: usize, covers_from: Stamp) -> Self {
        Self {
            generations: Vec::new(),
            capacity: (bound / GENERATIONS).max(1),
            covers_from,
            // Seeded by the system, so that no client can choose nonces that hit.
            hasher: RandomState::new(),
        }
    }

    /// Absence proves absence for events whose stamp is at or above this.
    pub(super) fn covers_from(&self) -> Stamp {
        self.covers_from
    }

    /// What a nonce is remembered by.
    pub(super) fn hash(&self, stream: StreamId, author: &UserName, nonce: Nonce) -> u64 {
        self.hasher.hash_one((stream.0, author.as_str(), nonce.0))
    }

    /// False: surely absent, within what is covered.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let mut generations = self.generations.iter();
        generations.any(|generation| generation.filter.may_hold(hash))
    }

    /// Remembers the nonce of an event with this stamp.
    pub(super) fn insert(&mut self, hash: u64, stamp: Stamp) {
        if self
            .generations
            .last()
            .is_none_or(|last| last.count >= self.capacity)
        {
            self.begin();
        }
        let last = self.generations.last_mut().expect("begun above");
        last.filter.add(hash);
        last.count += 1;
        last.newest = last.newest.max(stamp);
    }

    fn begin(&mut self) {
        if self.generations.len() >= GENERATIONS {
            let dropped = self.generations.remove(0);
            let above = Stamp(dropped.newest.0.saturating_add(1));
            self.covers_from = self.covers_from.max(above);
        }
        self.generations.push(Generation {
            filter: Filter::new(self.capacity * BITS_PER_NONCE),
            count: 0,
            newest: Stamp(0),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(nonces: &Nonces, n: u128) -> u64 {
        nonces.hash(StreamId(7), &"@a".parse().unwrap(), Nonce(n))
    }

    #[test]
    fn a_nonce_remembered_is_never_absent_and_others_nearly_always_are() {
        let mut nonces = Nonces::new(4_000, Stamp(0));
        for n in 0..4_000 {
            nonces.insert(hash(&nonces, n), Stamp(n as u64));
        }
        assert!((0..4_000).all(|n| nonces.may_hold(hash(&nonces, n))));
        let hits = (4_000..14_000).filter(|n| nonces.may_hold(hash(&nonces, *n)));
        assert!(hits.count() < 10, "1 in 1,000 at the very most");
        assert_eq!(nonces.covers_from(), Stamp(0));
    }

    #[test]
    fn what_is_forgotten_is_said_to_be_uncovered() {
        let mut nonces = Nonces::new(40, Stamp(5));
        for n in 0..41 {
            nonces.insert(hash(&nonces, n), Stamp(100 + n as u64));
        }
        assert_eq!(nonces.covers_from(), Stamp(110), "the first ten are gone");
        assert!((10..41).all(|n| nonces.may_hold(hash(&nonces, n))));
    }
}
