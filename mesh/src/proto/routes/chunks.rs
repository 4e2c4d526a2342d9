//! A sorted set of keys in shared chunks: a copy of it as of now costs no copy of its keys.
//!
//! A snapshot holds the chunks by reference count; a change copies the one small chunk that it
//! touches, where a snapshot still holds it. So a snapshot is consistent as of exactly one batch,
//! however long it takes to send, and making one is far below a step's 1 ms.

use std::sync::Arc;

use crate::id::RouteKey;

/// Most keys of a chunk: 2 KiB, so that even a full batch of scattered changes under a snapshot
/// copies less than a millisecond's worth.
const CHUNK_MAX: usize = 256;

/// Neighbours that fit together below this are merged.
const CHUNK_MERGED: usize = 128;

/// Some keys in a row.
pub(super) type Chunk = Arc<Vec<RouteKey>>;

/// A chunk in its place: the search for a key touches no chunk but the one it belongs in.
#[derive(Debug)]
struct Place {
    /// Not above any key of the chunk, above all of the chunk before.
    from: RouteKey,
    /// Not empty.
    chunk: Chunk,
}

/// The set.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    places: Vec<Place>,
}

impl Chunks {
    /// All keys as of now.
    pub(super) fn share(&self) -> Vec<Chunk> {
        let chunks = self.places.iter().map(|place| &place.chunk);
        chunks.map(Arc::clone).collect()
    }

    /// Where a key belongs.
    fn locate(&self, key: RouteKey) -> usize {
        let above = self.places.partition_point(|place| place.from <= key);
        above.saturating_sub(1)
    }

    /// False: it was there.
    pub(super) fn insert(&mut self, key: RouteKey) -> bool {
        let at = self.locate(key);
        let Some(place) = self.places.get_mut(at) else {
            let chunk = Arc::new(vec![key]);
            self.places.push(Place { from: key, chunk });
            return true;
        };
        let Err(index) = place.chunk.binary_search(&key) else {
            return false;
        };
        place.from = place.from.min(key);
        let keys = Arc::make_mut(&mut place.chunk);
        keys.insert(index, key);
        if keys.len() > CHUNK_MAX {
            let upper = keys.split_off(CHUNK_MAX / 2);
            let upper = Place {
                from: upper[0],
                chunk: Arc::new(upper),
            };
            self.places.insert(at + 1, upper);
        }
        true
    }

    /// False: it was not there.
    pub(super) fn remove(&mut self, key: RouteKey) -> bool {
        let at = self.locate(key);
        let Some(place) = self.places.get_mut(at) else {
            return false;
        };
        let Ok(index) = place.chunk.binary_search(&key) else {
            return false;
        };
        Arc::make_mut(&mut place.chunk).remove(index);
        if place.chunk.is_empty() {
            self.places.remove(at);
        } else {
            self.merge(at.saturating_sub(1));
        }
        true
    }

    fn merge(&mut self, at: usize) {
        let pair = self.places.get(at).zip(self.places.get(at + 1));
        if pair.is_some_and(|(a, b)| a.chunk.len() + b.chunk.len() < CHUNK_MERGED) {
            let upper = self.places.remove(at + 1).chunk;
            Arc::make_mut(&mut self.places[at].chunk).extend_from_slice(&upper);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn keys(chunks: &[Chunk]) -> Vec<u64> {
        chunks.iter().flat_map(|c| c.iter()).map(|k| k.0).collect()
    }

    #[test]
    fn chunks_split_and_merge_within_their_bounds() {
        let mut set = Chunks::default();
        (0..10_000).for_each(|key| assert!(set.insert(RouteKey(key * 7 % 10_000))));
        assert!(set.places.iter().all(|p| p.chunk.len() <= CHUNK_MAX));
        assert!(set.places.len() < 10_000 / 100);
        (100..10_000).for_each(|key| assert!(set.remove(RouteKey(key))));
        assert_eq!(set.places.len(), 1);
    }

    proptest! {
        #[test]
        fn a_share_stays_as_it_was_taken(
            steps in prop::collection::vec((any::<bool>(), 0..600_u64), 0..2_000),
            taken in 0..2_000_usize,
        ) {
            let (mut set, mut model) = (Chunks::default(), BTreeSet::new());
            let mut share = None;
            for (i, (insert, key)) in steps.into_iter().enumerate() {
                if i == taken {
                    share = Some((set.share(), model.clone()));
                }
                let changed = if insert {
                    (set.insert(RouteKey(key)), model.insert(key))
                } else {
                    (set.remove(RouteKey(key)), model.remove(&key))
                };
                prop_assert_eq!(changed.0, changed.1);
            }
            prop_assert_eq!(keys(&set.share()), model.into_iter().collect::<Vec<_>>());
            if let Some((share, model)) = share {
                prop_assert_eq!(keys(&share), model.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
