//! Which streams may have something in the database: a stream that surely has not needs no look there,
//! and a look waits for whatever is being written.
//!
//! A [`Filter`] of the streams' ids, which are hashes. At two bytes per stream one look in some hundreds
//! is in vain; with more streams than it was made for more are, and nothing else changes. Until all
//! heads were read once after the start, every stream may be there.

use mesh::id::StreamId;

use super::filter::Filter;

/// How many streams it was made for: two megabytes, taken as they come.
const STREAMS: usize = 1024 * 1024;
const BITS_PER_STREAM: usize = 16;

/// See the module.
#[derive(Debug)]
pub(super) struct Stored {
    filter: Filter,
    known: bool,
}

impl Stored {
    pub(super) fn new() -> Self {
        Self {
            filter: Filter::new(STREAMS * BITS_PER_STREAM),
            known: false,
        }
    }

    /// False: it has nothing in the database.
    pub(super) fn may_hold(&self, stream: StreamId) -> bool {
        !self.known || self.filter.may_hold(hash(stream))
    }

    /// The stream has something there, or will have.
    pub(super) fn add(&mut self, stream: StreamId) {
        self.filter.add(hash(stream));
    }

    /// Whether absence proves anything yet.
    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// Every stream that was there at the start was added.
    pub(super) fn set_known(&mut self) {
        self.known = true;
    }
}

fn hash(stream: StreamId) -> u64 {
    // The last bits: those of one slot have the first in common.
    stream.0 as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_was_not_added_is_absent_once_all_are_known() {
        let mut stored = Stored::new();
        let stream = |n: u64| StreamId(u128::from(mesh::id::splitmix64(n)));
        (0..1_000).for_each(|n| stored.add(stream(n)));
        assert!(stored.may_hold(stream(5_000)), "not all are known");
        stored.set_known();
        assert!((0..1_000).all(|n| stored.may_hold(stream(n))));
        assert!((1_000..2_000).all(|n| !stored.may_hold(stream(n))));
    }
}
