//! The facade: carries facts between the layers.

use crate::id::{Epoch, NodeId};
use crate::proto::input::Input;
use crate::proto::output::Output;
use crate::proto::{chat, membership, routes, streams};
use crate::time::{Instant, Now, Stamp};

/// Tuning of the machine, by layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Who is alive.
    pub membership: membership::Config,
    /// Who serves whom.
    pub routes: routes::Config,
    /// Events.
    pub streams: streams::Config,
    /// Sessions.
    pub chat: chat::Config,
}

/// What a node knows at its start.
#[derive(Debug, Clone)]
pub struct Start {
    /// Its own record, contacts and kept members.
    pub membership: membership::Start,
    /// Shared by all nodes of the mesh: keys the hash of addresses.
    pub route_key: [u8; 16],
    /// Newest stamp in the store.
    pub newest: Stamp,
    /// Seed of everything that is random in the machine.
    pub seed: u64,
}

/// The machine, see [the module](super).
#[derive(Debug)]
pub struct Mesh {}

#[allow(unused_variables, reason = "signatures only")]
impl Mesh {
    /// A node at its start.
    pub fn new(config: Config, start: Start, now: Now) -> Self {
        unimplemented!()
    }

    /// Something happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        unimplemented!()
    }

    /// The next thing to do; to be drained to `None` after each `handle`.
    pub fn poll_output(&mut self) -> Option<Output> {
        unimplemented!()
    }

    /// When the next `Input::Tick` is due.
    pub fn poll_deadline(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        unimplemented!()
    }

    /// The present life of this node.
    pub fn epoch(&self) -> Epoch {
        unimplemented!()
    }

    /// Why clients are not welcome yet; `None`: ready.
    pub fn unready(&self, now: Now) -> Option<String> {
        unimplemented!()
    }

    /// All members, for `/api/mesh`; with the number of each one's routes.
    pub fn members(&self) -> Vec<(membership::Member, u64)> {
        unimplemented!()
    }

    /// Routes of all nodes in the table.
    pub fn routes(&self) -> u64 {
        unimplemented!()
    }

    /// Sessions open here.
    pub fn sessions(&self) -> u64 {
        unimplemented!()
    }

    /// The nodes with a route for an address, and whether that is certain: for `/api/route/`.
    pub fn route(&self, now: Now, address: &crate::id::Address) -> (Vec<NodeId>, bool) {
        unimplemented!()
    }

    /// Counters of everything done, refused or dropped: name and value, names ending in `_total`.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        unimplemented!()
    }
}
