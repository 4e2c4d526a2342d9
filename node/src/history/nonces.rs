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
//! The filter is a blocked Bloom filter (Putze, Sanders, Singler 2007): eight bits within one cache
//! line per nonce, 32 bits of memory per nonce. A false hit costs a search of the stream's last
//! minutes, up to thousands of events in a busy one, so they have to be rare: about 1 in 100,000 per
//! generation.

use std::hash::{BuildHasher as _, RandomState};

use mesh::id::{Nonce, StreamId, UserName};
use mesh::time::Stamp;

const LINE_WORDS: usize = 8;
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
    lines: Vec<[u64; LINE_WORDS]>,
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

    fn hash(&self, stream: StreamId, author: &UserName, nonce: Nonce) -> u64 {
        self.hasher.hash_one((stream.0, author.as_str(), nonce.0))
    }

    /// False: surely absent, within what is covered.
    pub(super) fn may_hold(&self, stream: StreamId, author: &UserName, nonce: Nonce) -> bool {
        let hash = self.hash(stream, author, nonce);
        self.generations
            .iter()
            .any(|generation| generation.holds(hash))
    }

    /// Remembers the nonce of an event with this stamp.
    pub(super) fn insert(
        &mut self,
        stream: StreamId,
        author: &UserName,
        nonce: Nonce,
        stamp: Stamp,
    ) {
        let hash = self.hash(stream, author, nonce);
        if self
            .generations
            .last()
            .is_none_or(|last| last.count >= self.capacity)
        {
            self.begin();
        }
        let last = self.generations.last_mut().expect("begun above");
        last.insert(hash);
        last.newest = last.newest.max(stamp);
    }

    fn begin(&mut self) {
        if self.generations.len() >= GENERATIONS {
            let dropped = self.generations.remove(0);
            let above = Stamp(dropped.newest.0.saturating_add(1));
            self.covers_from = self.covers_from.max(above);
        }
        self.generations.push(Generation::new(self.capacity));
    }
}

impl Generation {
    fn new(capacity: usize) -> Self {
        let lines = (capacity * BITS_PER_NONCE).div_ceil(64 * LINE_WORDS);
        Self {
            lines: vec![[0; LINE_WORDS]; lines],
            count: 0,
            newest: Stamp(0),
        }
    }

    fn line(&self, hash: u64) -> usize {
        // The upper half picks the line, the rest the bits in it.
        (((hash >> 32) * self.lines.len() as u64) >> 32) as usize
    }

    /// One bit in each word of a line.
    fn masks(hash: u64) -> [u64; LINE_WORDS] {
        let mixed = mesh::id::splitmix64(hash);
        std::array::from_fn(|i| 1 << (mixed >> (6 * i) & 63))
    }

    fn holds(&self, hash: u64) -> bool {
        let line = &self.lines[self.line(hash)];
        let masks = Self::masks(hash);
        line.iter().zip(masks).all(|(word, mask)| word & mask != 0)
    }

    fn insert(&mut self, hash: u64) {
        let line = self.line(hash);
        for (word, mask) in self.lines[line].iter_mut().zip(Self::masks(hash)) {
            *word |= mask;
        }
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn author() -> UserName {
        "@a".parse().unwrap()
    }

    #[test]
    fn a_nonce_remembered_is_never_absent_and_others_nearly_always_are() {
        let mut nonces = Nonces::new(4_000, Stamp(0));
        let (stream, author) = (StreamId(7), author());
        for n in 0..4_000 {
            nonces.insert(stream, &author, Nonce(n), Stamp(n as u64));
        }
        assert!((0..4_000).all(|n| nonces.may_hold(stream, &author, Nonce(n))));
        let hits = (4_000..14_000).filter(|n| nonces.may_hold(stream, &author, Nonce(*n)));
        assert!(hits.count() < 10, "1 in 1,000 at the very most");
        assert_eq!(nonces.covers_from(), Stamp(0));
    }

    #[test]
    fn what_is_forgotten_is_said_to_be_uncovered() {
        let mut nonces = Nonces::new(40, Stamp(5));
        let (stream, author) = (StreamId(7), author());
        for n in 0..41 {
            nonces.insert(stream, &author, Nonce(n), Stamp(100 + n as u64));
        }
        assert_eq!(nonces.covers_from(), Stamp(110), "the first ten are gone");
        assert!((10..41).all(|n| nonces.may_hold(stream, &author, Nonce(n))));
    }
}
