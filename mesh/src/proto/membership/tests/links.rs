//! Greeting, epochs, clones, and two links to one peer.

use super::world::{World, id, ms, secs};
use crate::id::Epoch;
use crate::proto::membership::{Event, State};

#[test]
fn nodes_started_in_a_chain_are_all_linked_to_each_other() {
    let mut world = World::new(5);
    world.start_chain();
    let took = world.run_until(secs(3), World::is_meshed);
    assert!(took < secs(1), "{took:?}");
}
