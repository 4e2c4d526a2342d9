//! Lists of route keys on the wire: the first key, then the gaps between sorted keys, bit-packed.
//!
//! All gaps of a list have the width of the largest. Keys are hashes, so gaps differ little: 100,000
//! random keys take about 4.4 bytes each, a lone one 6. The list has one reading only, and it is
//! strictly ascending by its form: no reader has to check order or doubles.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::RouteKey;

/// Bytes of a key that stands for itself.
const FIRST: usize = 6;

/// The narrowest gap, bits. Padding to a full byte is then always less than one gap, so that the
/// number of keys follows from the length.
const WIDTH_MIN: u32 = 8;

/// A strictly ascending list of route keys, coded. What a peer sent may be junk until unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Keys(Bytes);

impl Keys {
    /// Codes strictly ascending keys of 48 bits.
    pub fn pack(keys: &[RouteKey]) -> Self {
        debug_assert!(keys.is_sorted_by(|a, b| a < b), "ascending, none twice");
        debug_assert!(keys.last().is_none_or(|key| key.0 >> RouteKey::BITS == 0));
        let Some(first) = keys.first() else {
            return Self::default();
        };
        let gaps = keys.windows(2).map(|pair| pair[1].0 - pair[0].0 - 1);
        let widest = gaps.clone().max().unwrap_or(0);
        let width = (u64::BITS - widest.leading_zeros()).max(WIDTH_MIN);
        let mut coded = Vec::with_capacity(FIRST + 2 + keys.len() * width as usize / 8);
        coded.extend_from_slice(&first.0.to_be_bytes()[8 - FIRST..]);
        if keys.len() > 1 {
            coded.push(width as u8);
        }
        let (mut held, mut bits) = (0, 0);
        for gap in gaps {
            held |= gap << bits;
            bits += width;
            while bits >= 8 {
                coded.push(held as u8);
                held >>= 8;
                bits -= 8;
            }
        }
        if bits > 0 {
            coded.push(held as u8);
        }
        Self(coded.into())
    }

    /// The keys, strictly ascending; `None` where the bytes are no such list of at most `max`.
    pub fn unpack(&self, max: usize) -> Option<Vec<RouteKey>> {
        if self.0.is_empty() {
            return Some(Vec::new());
        }
        let (first, rest) = self.0.split_at_checked(FIRST)?;
        let mut key = first
            .iter()
            .fold(0, |key, &byte| key << 8 | u64::from(byte));
        let Some((&width, packed)) = rest.split_first() else {
            return (max >= 1).then(|| vec![RouteKey(key)]);
        };
        let width = u32::from(width);
        if !(WIDTH_MIN..=RouteKey::BITS).contains(&width) {
            return None;
        }
        let gaps = self.gaps(width);
        if gaps == 0 || packed.len() * 8 - gaps * width as usize >= 8 || gaps >= max {
            return None;
        }
        let mut keys = Vec::with_capacity(gaps + 1);
        keys.push(RouteKey(key));
        let (mut held, mut bits) = (0, 0);
        for &byte in packed {
            held |= u64::from(byte) << bits;
            bits += 8;
            if bits >= width {
                // Below 2^48 + 2^48 before the check: cannot overflow.
                key += 1 + (held & ((1 << width) - 1));
                if key >> RouteKey::BITS != 0 {
                    return None;
                }
                keys.push(RouteKey(key));
                held >>= width;
                bits -= width;
            }
        }
        Some(keys)
    }

    /// How many keys there are, if it is a list.
    pub(super) fn len(&self) -> usize {
        match self.0.get(FIRST) {
            Some(&width) => 1 + self.gaps(u32::from(width).max(WIDTH_MIN)),
            None => usize::from(!self.0.is_empty()),
        }
    }

    fn gaps(&self, width: u32) -> usize {
        (self.0.len() - FIRST - 1) * 8 / width as usize
    }

    /// Bytes on the wire, without their length.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::id::splitmix64;

    fn random(count: u64) -> Vec<RouteKey> {
        let mut keys: Vec<_> = (0..count).map(|i| RouteKey(splitmix64(i) >> 16)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    #[test]
    fn a_lone_key_takes_six_bytes_and_none_takes_none() {
        assert_eq!(Keys::pack(&[]).size(), 0);
        assert_eq!(Keys::pack(&random(1)).size(), 6);
    }

    #[test]
    fn a_list_is_refused_above_its_bound() {
        let keys = random(10);
        assert_eq!(Keys::pack(&keys).unpack(10), Some(keys.clone()));
        assert_eq!(Keys::pack(&keys).unpack(9), None);
        assert_eq!(Keys::pack(&keys[..1]).unpack(0), None);
    }

    #[test]
    fn a_list_that_runs_over_48_bits_is_refused() {
        let mut coded = vec![0xff; FIRST];
        coded.extend([8, 0]);
        assert_eq!(Keys(coded.into()).unpack(10), None);
    }

    proptest! {
        #[test]
        fn a_list_reads_back_as_it_was_packed(
            keys in prop::collection::btree_set(0..1_u64 << 48, 0..300),
            dense in prop::collection::btree_set(0..1_000_u64, 0..300),
        ) {
            for keys in [keys, dense] {
                let keys: Vec<_> = keys.into_iter().map(RouteKey).collect();
                let packed = Keys::pack(&keys);
                prop_assert_eq!(packed.len(), keys.len());
                prop_assert_eq!(packed.unpack(300), Some(keys));
            }
        }

        #[test]
        fn any_bytes_are_an_ascending_list_or_none(bytes: Vec<u8>) {
            let packed = Keys(bytes.into());
            if let Some(keys) = packed.unpack(1_000) {
                prop_assert_eq!(keys.len(), packed.len());
                prop_assert!(keys.is_sorted_by(|a, b| a < b));
                prop_assert!(keys.iter().all(|key| key.0 < 1 << 48));
            }
        }
    }
}
