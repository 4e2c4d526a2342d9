//! Slot → replicas: weighted rendezvous hashing over members. Pure functions of what is given.
//!
//! Every node works out the same order from the same members, without a word between them. A member
//! that comes or goes moves only the slots that it gains or gives up (Thaler and Ravishankar 1998);
//! weights enter by the logarithmic method: a slot's order is that of `-ln(h) / weight`, where `h` is
//! the hash of member and slot as a fraction of 1, so that a member comes first with a chance of its
//! weight among all weights (Schindelhauer and Schomaker 2005).
//!
//! Logarithm and comparison are exact integer arithmetic: a floating-point logarithm may differ in
//! its last bit from machine to machine, and then two nodes would disagree on who keeps a slot.
//!
//! Who is a member, and who can be reached, is not known here.

use std::cell::OnceCell;
use std::cmp::Ordering;

use crate::id::{NodeId, Slot, splitmix64};

/// How many nodes ought to keep each slot.
pub const REPLICAS: usize = 3;

/// The most members that are placed: what an index of 16 bits names. Further ones, in the order of
/// their ids, keep nothing; a mesh has hundreds.
pub const PLACED_MAX: usize = 1 << 16;

/// The order of storing members for every slot, worked out when first asked for: a change of members
/// costs nothing until then.
#[derive(Debug)]
pub struct Placement {
    storing: Vec<(NodeId, u32)>,
    orders: Box<[OnceCell<Box<[u16]>>]>,
}

impl Placement {
    /// From members that keep slots and their weights, see
    /// [`Membership::storing`](super::membership::Membership::storing). Weight 0 keeps nothing; of
    /// one member given twice the first counts.
    pub fn new(mut storing: Vec<(NodeId, u32)>) -> Self {
        storing.retain(|&(_, weight)| weight > 0);
        storing.sort_by_key(|&(node, _)| node);
        storing.dedup_by_key(|&mut (node, _)| node);
        storing.truncate(PLACED_MAX);
        let orders = vec![OnceCell::new(); usize::from(Slot::COUNT)].into();
        Self { storing, orders }
    }

    /// All storing members in the slot's rendezvous order: the first [`REPLICAS`] are preferred.
    pub fn order(&self, slot: Slot) -> impl Iterator<Item = NodeId> + '_ {
        let slot = slot.0 % Slot::COUNT;
        self.orders[usize::from(slot)]
            .get_or_init(|| self.work_out(slot))
            .iter()
            .map(|&index| self.storing[usize::from(index)].0)
    }

    /// All storing members, in the order of their ids.
    pub fn storing(&self) -> &[(NodeId, u32)] {
        &self.storing
    }

    fn work_out(&self, slot: u16) -> Box<[u16]> {
        let mut drawn: Vec<(Distance, u16)> = (0..)
            .zip(&self.storing)
            .map(|(index, &(node, weight))| (Distance::new(node, slot, weight), index))
            .collect();
        // Equal distances fall back to the index, which is the order of ids: the same everywhere.
        drawn.sort_unstable();
        drawn.into_iter().map(|(_, index)| index).collect()
    }
}

/// How far a member is from a slot: `-log2(hash) / weight`, kept as a fraction. The nearest is first.
#[derive(Debug, Clone, Copy)]
struct Distance {
    log: u64,
    weight: u32,
}

impl Distance {
    fn new(node: NodeId, slot: u16, weight: u32) -> Self {
        let (words, _) = node.0.as_chunks::<8>();
        let seed = words
            .iter()
            .fold(0, |seed, &word| splitmix64(seed ^ u64::from_le_bytes(word)));
        let hash = splitmix64(seed ^ splitmix64(u64::from(slot)));
        Self {
            log: negative_log2(hash),
            weight,
        }
    }
}

impl Ord for Distance {
    fn cmp(&self, other: &Self) -> Ordering {
        let cross = |log: u64, weight: u32| u128::from(log) * u128::from(weight);
        cross(self.log, other.weight).cmp(&cross(other.log, self.weight))
    }
}

impl PartialOrd for Distance {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Distance {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Distance {}

/// Bits after the point of [`negative_log2`]: two members of a mesh agree in so many bits about once
/// in a billion slots, and then their ids decide.
const FRACTION: u32 = 32;

/// `-log2(hash / 2^64)` with [`FRACTION`] bits after the point, above zero: the integer part is the
/// number of leading zeros, each further bit comes from squaring what is left.
fn negative_log2(hash: u64) -> u64 {
    let hash = hash.max(1);
    let leading = hash.leading_zeros();
    let mut rest = hash << leading;
    let mut log = u64::from(63 - leading);
    for _ in 0..FRACTION {
        let square = (u128::from(rest) * u128::from(rest)) >> 63;
        let bit = square >> 64;
        rest = (square >> bit) as u64;
        log = log << 1 | bit as u64;
    }
    (64 << FRACTION) - log
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(seed: u64) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&splitmix64(seed).to_le_bytes());
        NodeId(bytes)
    }

    fn members(count: u64) -> Vec<(NodeId, u32)> {
        (0..count).map(|i| (node(i), 1)).collect()
    }

    fn slots() -> impl Iterator<Item = Slot> {
        (0..Slot::COUNT).map(Slot)
    }

    fn first(placement: &Placement, slot: Slot) -> Vec<NodeId> {
        placement.order(slot).take(REPLICAS).collect()
    }

    #[test]
    fn the_logarithm_is_that_of_floating_point_to_nine_digits() {
        for i in 0..10_000 {
            let hash = splitmix64(i);
            let exact = 64.0 - (hash as f64).log2();
            let ours = negative_log2(hash) as f64 / (1_u64 << FRACTION) as f64;
            assert!((exact - ours).abs() < 1e-9, "{hash}: {exact} {ours}");
        }
        assert_eq!(negative_log2(0), 64 << FRACTION);
        assert_eq!(negative_log2(1 << 63), 1 << FRACTION);
        assert!(negative_log2(u64::MAX) > 0);
    }

    #[test]
    fn the_order_of_a_slot_is_the_same_on_every_machine() {
        let placement = Placement::new(vec![(node(1), 1), (node(2), 2), (node(3), 3)]);
        let order = |slot| -> Vec<u64> {
            let position = |id| (1..=3).find(|&i| node(i) == id).unwrap();
            placement.order(Slot(slot)).map(position).collect()
        };
        let pinned: Vec<_> = [0, 1, 2, 77, 4095].into_iter().map(order).collect();
        assert_eq!(
            pinned,
            [[1, 2, 3], [3, 2, 1], [3, 1, 2], [3, 2, 1], [2, 1, 3]]
        );
    }

    #[test]
    fn every_slot_has_all_members_in_its_order_once() {
        let placement = Placement::new(members(9));
        for slot in slots() {
            let mut order: Vec<_> = placement.order(slot).collect();
            order.sort();
            let all: Vec<_> = placement.storing().iter().map(|&(node, _)| node).collect();
            assert_eq!(order, all);
        }
    }

    #[test]
    fn a_share_of_slots_is_in_proportion_to_the_weight() {
        let mut weighted = members(8);
        weighted[0].1 = 4;
        weighted[1].1 = 2;
        let placement = Placement::new(weighted.clone());
        let total: u32 = weighted.iter().map(|&(_, weight)| weight).sum();
        for (node, weight) in weighted {
            let firsts = slots()
                .filter(|&slot| placement.order(slot).next() == Some(node))
                .count();
            let fair = f64::from(Slot::COUNT) * f64::from(weight) / f64::from(total);
            // Five standard deviations of a binomial.
            assert!(
                (firsts as f64 - fair).abs() < 5.0 * fair.sqrt(),
                "{firsts} {fair}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn who_joins_takes_slots_and_moves_none_between_others(
            count in 1_u64..12, weight in 1_u32..5,
        ) {
            let before = Placement::new(members(count));
            let newcomer = node(1_000);
            let mut joined = members(count);
            joined.push((newcomer, weight));
            let after = Placement::new(joined);
            for slot in slots().step_by(7) {
                let rest: Vec<_> = after.order(slot).filter(|&node| node != newcomer).collect();
                prop_assert_eq!(rest, before.order(slot).collect::<Vec<_>>());
            }
        }

        #[test]
        fn who_leaves_gives_up_its_own_slots_alone(count in 2_u64..12, leaver in 0_u64..12) {
            let leaver = node(leaver % count);
            let before = Placement::new(members(count));
            let rest = members(count).into_iter().filter(|&(node, _)| node != leaver);
            let after = Placement::new(rest.collect());
            for slot in slots().step_by(7) {
                if !first(&before, slot).contains(&leaver) {
                    prop_assert_eq!(first(&before, slot), first(&after, slot));
                }
            }
        }

        #[test]
        fn weight_zero_keeps_nothing(weights in prop::collection::vec(0_u32..3, 0..10)) {
            let members: Vec<_> = (0..).zip(weights).map(|(i, weight)| (node(i), weight)).collect();
            let placement = Placement::new(members.clone());
            for (node, weight) in members {
                let placed = slots().step_by(512).all(|slot| placement.order(slot).any(|n| n == node));
                prop_assert_eq!(placed, weight > 0);
            }
        }

        #[test]
        fn the_order_in_which_members_are_given_does_not_matter(count in 0_u64..10) {
            let given = Placement::new(members(count));
            let turned = Placement::new(members(count).into_iter().rev().collect());
            for slot in slots().step_by(64) {
                prop_assert!(given.order(slot).eq(turned.order(slot)));
            }
        }
    }
}
