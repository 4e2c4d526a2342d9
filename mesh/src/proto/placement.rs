//! Slot → replicas: weighted rendezvous hashing over members. Pure functions of what is given.

use crate::id::{NodeId, Slot};

/// How many nodes ought to keep each slot.
pub const REPLICAS: usize = 3;

/// The order of storing members for every slot, worked out when first asked for.
#[derive(Debug)]
pub struct Placement {}

#[allow(unused_variables, reason = "signatures only")]
impl Placement {
    /// From members that keep slots and their weights, see
    /// [`Membership::storing`](super::membership::Membership::storing).
    pub fn new(storing: Vec<(NodeId, u32)>) -> Self {
        unimplemented!()
    }

    /// All storing members in the slot's rendezvous order: the first [`REPLICAS`] are preferred.
    pub fn order(&self, slot: Slot) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::empty()
    }

    /// All storing members, in the order of their ids.
    pub fn storing(&self) -> &[(NodeId, u32)] {
        unimplemented!()
    }
}
