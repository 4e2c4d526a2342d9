//! A filter of hashes: proves in constant time that one was never added.
//!
//! A blocked Bloom filter (Putze, Sanders, Singler 2007): eight bits within one cache line per hash.

const LINE_WORDS: usize = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct Filter {
    lines: Vec<[u64; LINE_WORDS]>,
}

impl Filter {
    /// Room for that many bits; memory is taken as they are set.
    pub(super) fn new(bits: usize) -> Self {
        let lines = bits.div_ceil(64 * LINE_WORDS).max(1);
        Self {
            lines: vec![[0; LINE_WORDS]; lines],
        }
    }

    /// False: it was never added.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let line = &self.lines[self.line(hash)];
        let masks = Self::masks(hash);
        line.iter().zip(masks).all(|(word, mask)| word & mask != 0)
    }

    pub(super) fn add(&mut self, hash: u64) {
        let line = self.line(hash);
        for (word, mask) in self.lines[line].iter_mut().zip(Self::masks(hash)) {
            *word |= mask;
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
}
