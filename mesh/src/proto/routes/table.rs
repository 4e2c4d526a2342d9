//! The routing table: (key, node slot) pairs of all nodes, one `u64` each.
//!
//! Open addressing with linear probing in 256 shards that grow and shrink alone, so that no pause
//! grows with the whole table. Deletion shifts back instead of leaving tombstones: what is gone
//! costs nothing. A key may stand under any number of slots; the table knows nothing of what a slot
//! means. It takes 9.4 to 17 bytes per route.

use crate::id::RouteKey;

/// Under which a node's set stands in the table, interned on this node. Never 0: an empty cell is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeSlot(pub(super) u16);

/// How many shards: at 12 million routes the copy that one growth makes is still below 1 ms.
pub(super) const SHARDS: usize = 256;

/// The smallest shard that is not empty, cells.
const CELLS_MIN: usize = 8;

/// An empty cell. No route is 0, since no slot is.
const EMPTY: u64 = 0;

fn pack(key: RouteKey, slot: NodeSlot) -> u64 {
    debug_assert!(slot.0 != 0, "slot 0 would make an empty cell");
    key.0 << 16 | u64::from(slot.0)
}

fn key_of(cell: u64) -> RouteKey {
    RouteKey(cell >> 16)
}

fn slot_of(cell: u64) -> NodeSlot {
    NodeSlot(cell as u16)
}

/// Keys are hashes already; the multiplication is for keys that are not.
fn mix(key: RouteKey) -> u64 {
    key.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

fn shard_of(key: RouteKey) -> usize {
    (mix(key) >> 56) as usize
}

/// One part of the table: those keys whose mixed hash begins with its number.
#[derive(Debug, Default)]
struct Shard {
    cells: Vec<u64>,
    used: usize,
}

impl Shard {
    /// The cell where the search for a key starts: the hash scaled to any number of cells.
    fn home(&self, key: RouteKey) -> usize {
        let hash = mix(key) >> 24 & 0xffff_ffff;
        ((hash * self.cells.len() as u64) >> 32) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.cells.len() {
            0
        } else {
            at + 1
        }
    }

    /// The cells from a key's home to the next empty one. All routes of the key are among them.
    fn probe(&self, key: RouteKey) -> impl Iterator<Item = (usize, u64)> + '_ {
        let mut at = if self.cells.is_empty() {
            0
        } else {
            self.home(key)
        };
        std::iter::from_fn(move || {
            let cell = self.cells.get(at).copied().filter(|&cell| cell != EMPTY)?;
            let here = at;
            at = self.next(at);
            Some((here, cell))
        })
    }

    fn find(&self, route: u64) -> Option<usize> {
        self.probe(key_of(route))
            .find(|&(_, cell)| cell == route)
            .map(|(at, _)| at)
    }

    /// Puts a route that is not there into a shard that has room.
    fn put(&mut self, route: u64) {
        let mut at = self.home(key_of(route));
        while self.cells[at] != EMPTY {
            at = self.next(at);
        }
        self.cells[at] = route;
        self.used += 1;
    }

    fn resize(&mut self, cells: usize) {
        let old = std::mem::replace(&mut self.cells, vec![EMPTY; cells]);
        self.used = 0;
        for route in old.into_iter().filter(|&cell| cell != EMPTY) {
            self.put(route);
        }
    }

    /// Empties a cell and moves back those after it that a search would no longer reach.
    fn erase(&mut self, mut hole: usize) {
        let cells = self.cells.len();
        let mut at = self.next(hole);
        while self.cells[at] != EMPTY {
            let from_home = (at + cells - self.home(key_of(self.cells[at]))) % cells;
            let from_hole = (at + cells - hole) % cells;
            if from_home >= from_hole {
                self.cells[hole] = self.cells[at];
                hole = at;
            }
            at = self.next(at);
        }
        self.cells[hole] = EMPTY;
        self.used -= 1;
    }

    fn shrink(&mut self) {
        if self.cells.len() > CELLS_MIN && self.used * 4 < self.cells.len() {
            self.resize((self.used * 2).max(CELLS_MIN));
        }
    }
}

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Shard]>,
    routes: u64,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            routes: 0,
        }
    }

    /// How many routes are in it.
    pub(super) fn len(&self) -> u64 {
        self.routes
    }

    /// False: it was there.
    pub(super) fn insert(&mut self, key: RouteKey, slot: NodeSlot) -> bool {
        let number = shard_of(key);
        let shard = &mut self.shards[number];
        let route = pack(key, slot);
        if shard.find(route).is_some() {
            return false;
        }
        let cells = shard.cells.len();
        // Full at 70 to 85 %, by shard: they do not all grow within a few insertions.
        if (shard.used + 1) * 1_000 > cells * (700 + 150 * number / SHARDS) {
            shard.resize((cells * 3 / 2).max(CELLS_MIN));
        }
        shard.put(route);
        self.routes += 1;
        true
    }

    /// False: it was not there.
    pub(super) fn remove(&mut self, key: RouteKey, slot: NodeSlot) -> bool {
        let shard = &mut self.shards[shard_of(key)];
        let Some(at) = shard.find(pack(key, slot)) else {
            return false;
        };
        shard.erase(at);
        shard.shrink();
        self.routes -= 1;
        true
    }

    pub(super) fn contains(&self, key: RouteKey, slot: NodeSlot) -> bool {
        self.shards[shard_of(key)].find(pack(key, slot)).is_some()
    }

    /// The slots under which a key stands.
    pub(super) fn slots(&self, key: RouteKey) -> impl Iterator<Item = NodeSlot> + '_ {
        self.shards[shard_of(key)]
            .probe(key)
            .filter(move |&(_, cell)| key_of(cell) == key)
            .map(|(_, cell)| slot_of(cell))
    }

    /// How many cells a look at a whole shard touches.
    pub(super) fn cells(&self, shard: usize) -> usize {
        self.shards[shard].cells.len()
    }

    /// All routes of one shard.
    pub(super) fn routes(&self, shard: usize) -> impl Iterator<Item = (RouteKey, NodeSlot)> + '_ {
        let cells = self.shards[shard].cells.iter();
        cells
            .filter(|&&cell| cell != EMPTY)
            .map(|&cell| (key_of(cell), slot_of(cell)))
    }

    /// Removes the routes of one shard whose slot is not to be kept.
    pub(super) fn retain(&mut self, shard: usize, keep: impl Fn(NodeSlot) -> bool) {
        let shard = &mut self.shards[shard];
        let before = shard.used;
        let mut at = 0;
        // What moves back comes from after `at` or was looked at before: none is passed over.
        while at < shard.cells.len() {
            let cell = shard.cells[at];
            if cell != EMPTY && !keep(slot_of(cell)) {
                shard.erase(at);
            } else {
                at += 1;
            }
        }
        self.routes -= (before - shard.used) as u64;
        shard.shrink();
    }

    /// Bytes of all cells.
    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().map(|s| s.cells.capacity() * 8).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::id::splitmix64;

    const A: NodeSlot = NodeSlot(1);
    const B: NodeSlot = NodeSlot(2);

    fn random_key(i: u64) -> RouteKey {
        RouteKey(splitmix64(i) >> 16)
    }

    #[test]
    fn a_key_stands_under_several_slots_and_leaves_one_at_a_time() {
        let mut table = Table::new();
        assert!(table.insert(RouteKey(7), A) && table.insert(RouteKey(7), B));
        assert!(!table.insert(RouteKey(7), A), "once per slot");
        assert!(table.remove(RouteKey(7), A) && !table.remove(RouteKey(7), A));
        assert_eq!(table.slots(RouteKey(7)).collect::<Vec<_>>(), [B]);
        assert_eq!(table.slots(RouteKey(8)).count(), 0);
    }

    #[test]
    fn a_route_takes_at_most_seventeen_bytes_however_many_there_are() {
        let mut table = Table::new();
        let mut most = 0.0_f64;
        for i in 0..300_000 {
            table.insert(random_key(i), A);
            if i >= 20_000 && i % 1_000 == 0 {
                most = most.max(table.bytes() as f64 / table.len() as f64);
            }
        }
        assert!(most <= 17.2, "{most} bytes");
    }

    #[test]
    fn what_is_removed_gives_its_memory_back() {
        let mut table = Table::new();
        (0..50_000).for_each(|i| assert!(table.insert(random_key(i), A)));
        let full = table.bytes();
        (0..50_000).for_each(|i| assert!(table.remove(random_key(i), A)));
        assert_eq!(table.len(), 0);
        assert!(table.bytes() < full / 20);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64, u16),
        Remove(u64, u16),
        Purge(u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Few keys and multiples of one another's homes: long clusters that wrap around.
        let key = prop_oneof![0..40_u64, (0..40_u64).prop_map(|i| i << 40)];
        let step = prop_oneof![
            6 => (key.clone(), 1..4_u16).prop_map(|(k, s)| Step::Insert(k, s)),
            5 => (key, 1..4_u16).prop_map(|(k, s)| Step::Remove(k, s)),
            1 => (1..4_u16).prop_map(Step::Purge),
        ];
        prop::collection::vec(step, 0..400)
    }

    proptest! {
        #[test]
        fn the_table_holds_exactly_what_a_plain_set_holds(steps in steps()) {
            let (mut table, mut model) = (Table::new(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Insert(k, s) => prop_assert_eq!(
                        table.insert(RouteKey(k), NodeSlot(s)), model.insert((k, s))),
                    Step::Remove(k, s) => prop_assert_eq!(
                        table.remove(RouteKey(k), NodeSlot(s)), model.remove(&(k, s))),
                    Step::Purge(s) => {
                        (0..SHARDS).for_each(|shard| table.retain(shard, |slot| slot.0 != s));
                        model.retain(|&(_, slot)| slot != s);
                    }
                }
                prop_assert_eq!(table.len(), model.len() as u64);
            }
            let mut all: Vec<_> = (0..SHARDS)
                .flat_map(|shard| table.routes(shard))
                .map(|(key, slot)| (key.0, slot.0))
                .collect();
            all.sort_unstable();
            prop_assert_eq!(all, model.iter().copied().collect::<Vec<_>>());
            for &(k, s) in &model {
                prop_assert!(table.contains(RouteKey(k), NodeSlot(s)));
            }
        }

        #[test]
        fn a_crowded_shard_holds_exactly_what_a_plain_set_holds(
            steps in prop::collection::vec((any::<bool>(), 0..24_u64, 1..4_u16), 0..300),
            purge in 1..4_u16,
        ) {
            let mut keys = (0..).map(RouteKey).filter(|&key| shard_of(key) == 3);
            let keys: Vec<_> = keys.by_ref().take(24).collect();
            let (mut table, mut model) = (Table::new(), BTreeSet::new());
            for (insert, key, slot) in steps {
                let (key, slot) = (keys[key as usize], NodeSlot(slot));
                if insert {
                    prop_assert_eq!(table.insert(key, slot), model.insert((key, slot)));
                } else {
                    prop_assert_eq!(table.remove(key, slot), model.remove(&(key, slot)));
                }
            }
            table.retain(3, |slot| slot.0 != purge);
            model.retain(|(_, slot)| slot.0 != purge);
            let mut all: Vec<_> = table.routes(3).collect();
            all.sort_unstable();
            prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
        }
    }
}
