//! What a simulated mesh must look like, seen from outside its machines.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh::id::NodeId;
use mesh::proto::membership::State;
use sim::world::{HostId, World};

/// How long a healed mesh may take until every view is right: the longest backoff of a redial (60 s),
/// the detection of what died meanwhile, and the transfer.
pub const HEALED: Duration = Duration::from_secs(75);

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

/// Runs until these hosts are a full mesh.
///
/// # Panics
/// Where they are not within [`HEALED`].
pub fn settle(world: &mut World, hosts: &[HostId]) {
    let settled = world.run_until(HEALED, |world| is_full_mesh(world, hosts));
    assert!(settled, "no full mesh: {}", views(world));
}

/// Who is where, as the world's clients know it: the truth that routing is held against.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// User → hosts on which it has sessions, with how many.
    pub at: BTreeMap<String, BTreeMap<HostId, u32>>,
}

impl Truth {
    /// One more session of a user on a host.
    pub fn attach(&mut self, user: &str, host: HostId) {
        *self
            .at
            .entry(user.to_owned())
            .or_default()
            .entry(host)
            .or_default() += 1;
    }

    /// One session less.
    pub fn detach(&mut self, user: &str, host: HostId) {
        let hosts = self.at.entry(user.to_owned()).or_default();
        let sessions = hosts.get_mut(&host).expect("it was attached");
        *sessions -= 1;
        if *sessions == 0 {
            hosts.remove(&host);
        }
    }

    /// A host's node died, with all its sessions.
    pub fn crash(&mut self, host: HostId) {
        for hosts in self.at.values_mut() {
            hosts.remove(&host);
        }
    }

    /// The first table that differs from the truth, in words; `None` where all agree.
    pub fn first_difference(&self, world: &World) -> Option<String> {
        for host in world.hosts() {
            let Some(mesh) = world.mesh(host) else {
                continue;
            };
            for (user, hosts) in &self.at {
                let address = user.parse().expect("a valid address");
                let (found, sight) = mesh.route(world.clock(host), &address);
                let found: BTreeSet<NodeId> = found.into_iter().collect();
                let expected: BTreeSet<NodeId> =
                    hosts.keys().map(|host| world.node(*host)).collect();
                if found != expected || sight.online() == expected.is_empty() || !sight.certain() {
                    return Some(format!(
                        "{host:?} finds {user} at {found:?} ({sight:?}), it is at {expected:?}"
                    ));
                }
            }
        }
        None
    }

    /// Runs until all tables agree with the truth.
    ///
    /// # Panics
    /// Where they do not within the bound.
    pub fn converge(&self, world: &mut World, bound: Duration) {
        let converged = world.run_until(bound, |world| self.first_difference(world).is_none());
        assert!(
            converged,
            "{}\n{}",
            self.first_difference(world).unwrap_or_default(),
            views(world)
        );
    }
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
