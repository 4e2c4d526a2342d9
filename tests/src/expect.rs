//! What a simulated mesh must look like, seen from outside its machines.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh::id::NodeId;
use mesh::proto::Config;
use mesh::proto::membership::State;
use mesh::proto::view::Sight;
use sim::check::HEALING;
use sim::network;
use sim::world::{HostId, World};

/// How long a healed mesh may take until every view is right.
pub const HEALED: Duration = HEALING;

/// The same with any tuning.
pub fn healed(config: &Config) -> Duration {
    let longest = |config: &mesh::proto::membership::Config| {
        config.dial_backoff_max + config.suspicion + 10 * config.heartbeat
    };
    let usual = longest(&Config::default().membership);
    HEALED + longest(&config.membership).saturating_sub(usual)
}

/// The state in which one host's machine sees another's node; `None` where it has never heard of it.
pub fn state(world: &World, seen_by: HostId, host: HostId) -> Option<State> {
    let members = world.mesh(seen_by)?.members();
    members
        .into_iter()
        .find(|(member, _)| member.record.node == world.node(host))
        .map(|(member, _)| member.state)
}

/// Whether all these hosts see all these hosts alive, over direct links, with their whole sets.
pub fn is_full_mesh(world: &World, hosts: &[HostId]) -> bool {
    hosts.iter().all(|host| {
        let Some(mesh) = world.mesh(*host) else {
            return false;
        };
        let members = mesh.members();
        let sees = |other: &HostId| {
            let node = world.node(*other);
            let own = |n: NodeId| world.mesh(*other).is_some_and(|mesh| mesh.id() == n);
            members.iter().any(|(member, routes)| {
                let linked = member.link || *other == *host;
                let whole = world
                    .mesh(*other)
                    .is_some_and(|mesh| mesh.summary().count == *routes);
                member.record.node == node
                    && own(node)
                    && member.state == State::Alive
                    && linked
                    && whole
            })
        };
        hosts.iter().all(sees)
    })
}

/// A mesh of that many nodes with that tuning, chained and settled.
///
/// # Panics
/// As [`settle`].
pub fn settled(seed: u64, network: network::Config, nodes: u16, config: &Config) -> World {
    let mut world = World::new(seed, network);
    world.add_chain(nodes, config);
    let hosts: Vec<HostId> = world.hosts().collect();
    hosts.iter().for_each(|host| world.start(*host));
    settle(&mut world, &hosts);
    world
}

/// Runs until these hosts are a full mesh.
///
/// # Panics
/// Where they are not within [`HEALED`].
pub fn settle(world: &mut World, hosts: &[HostId]) {
    let settled = world.run_until(HEALED, |world| is_full_mesh(world, hosts));
    assert!(settled, "no full mesh: {}", views(world));
}

/// Where one host's table has a user, and how sure it is; `None`: its node does not run.
pub fn route(world: &World, seen_by: HostId, user: &str) -> Option<(BTreeSet<NodeId>, Sight)> {
    let address = user.parse().expect("a valid address");
    let mesh = world.mesh(seen_by)?;
    let (found, sight) = mesh.route(world.clock(seen_by), &address);
    Some((found.into_iter().collect(), sight))
}

/// Every machine's view of every member, for a failure's message.
pub fn views(world: &World) -> String {
    let mut text = String::new();
    for host in world.hosts() {
        let Some(mesh) = world.mesh(host) else {
            text += &format!("{host:?} does not run\n");
            continue;
        };
        text += &format!(
            "{host:?} {:?} epoch {:?} unready: {:?}\n",
            mesh.id(),
            mesh.epoch(),
            mesh.unready(world.clock(host))
        );
        for (member, routes) in mesh.members() {
            let record = &member.record;
            text += &format!(
                "  {:?} {:?} {:?} link {} routes {routes}\n",
                record.node, member.state, record.epoch, member.link
            );
        }
    }
    text
}
