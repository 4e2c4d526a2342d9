//! The full comparison: every table added up, every view held against what was told of it.

use std::time::Duration;

use mesh::id::NodeId;
use mesh::proto::Mesh;
use mesh::time::Instant;

use super::history::Sum;
use super::replicas::{compare, life_of};
use super::{Checks, Fault, Invariant};
use crate::world::HostId;

/// Routes that one partial audit looks at, about 20 ms of work; at least one host is audited.
const ROUTES_PER_AUDIT: u64 = 500_000;

/// Users that one audit of a host looks up.
const SAMPLE: usize = 128;

/// For so long nothing has to explain that a user is not found: some tries of every request.
const FOUND_AFTER: Duration = Duration::from_secs(5);

/// How many of the machine's own refusals explain a miss, by the names of their counters: it has no
/// room.
const NO_ROOM: [&str; 3] = [
    "routes_refused_full_total",
    "routes_refused_oversized_total",
    "routes_refused_nodes_total",
];

impl Checks {
    /// Compares whole tables, of some hosts at a time, in turn.
    pub fn audit(&mut self, at: Instant, running: &[(HostId, &Mesh)]) {
        if self.is_off() || running.is_empty() {
            return;
        }
        let first = running
            .iter()
            .position(|(host, _)| *host >= self.audit_next);
        let turn = running
            .iter()
            .cycle()
            .skip(first.unwrap_or(0))
            .take(running.len());
        let mut routes = 0;
        for (host, mesh) in turn {
            if routes >= ROUTES_PER_AUDIT {
                self.audit_next = *host;
                return;
            }
            routes += mesh.loads().routes.table;
            self.audit_host(at, *host, mesh);
            self.audit_next = HostId(host.0.wrapping_add(1));
        }
    }

    /// Compares the whole tables of all hosts.
    pub fn audit_all(&mut self, at: Instant, running: &[(HostId, &Mesh)]) {
        if !self.is_off() {
            running
                .iter()
                .for_each(|(host, mesh)| self.audit_host(at, *host, mesh));
        }
    }

    fn audit_host(&mut self, at: Instant, host: HostId, mesh: &Mesh) {
        let result = self
            .check_all_moves(at, host, mesh)
            .and_then(|()| self.check_announced(host, mesh))
            .and_then(|()| self.check_table(host, mesh))
            .and_then(|()| self.check_states(host, mesh))
            .and_then(|()| self.check_loads(host, mesh))
            .and_then(|()| self.check_misses(at, host, mesh));
        self.settle(at, host, result);
    }

    /// Whether a node's own set is what its batches led to.
    fn check_announced(&self, host: HostId, mesh: &Mesh) -> Result<(), Fault> {
        let (node, summary) = (self.host(host).node, mesh.summary());
        let life = self.lives[node].get(&summary.epoch);
        let same = life.is_none_or(|life| life.keys() == mesh.announced());
        if same || self.contested.contains(&(node, summary.epoch)) {
            return Ok(());
        }
        let what = format!("its own set at {summary:?} has changed without a batch");
        Err((Invariant::Carried, what))
    }

    /// Whether all that is shown adds up to what is said to be shown.
    fn check_table(&self, host: HostId, mesh: &Mesh) -> Result<(), Fault> {
        let own = self.host(host);
        let sums = self.added_up(host, mesh)?;
        for ((origin, node), sum) in self.nodes.iter().enumerate().zip(sums) {
            if origin == own.node {
                continue;
            }
            let shown = own.seen[origin].held;
            if !sum.is_of(shown.unwrap_or_default()) {
                let what = format!("{node:?} is shown as {shown:?}, its keys add up to {sum:?}");
                return Err((Invariant::PrefixEquality, what));
            }
            if let Some(shown) = shown
                && !self.contested.contains(&(origin, shown.epoch))
                && let Some(life) = life_of(&self.lives[origin], *node, shown.epoch)?
            {
                compare(*node, life, shown)?;
            }
        }
        Ok(())
    }

    /// What the shown keys of each node add up to.
    fn added_up(&self, host: HostId, mesh: &Mesh) -> Result<Vec<Sum>, Fault> {
        let own = self.host(host);
        let mut order: Vec<(NodeId, usize)> = self
            .numbers
            .iter()
            .map(|(node, number)| (*node, *number))
            .collect();
        order.sort_unstable();
        let mut sums = vec![Sum::default(); self.nodes.len()];
        for (key, route) in mesh.shown() {
            let Ok(place) = order.binary_search_by(|(node, _)| node.cmp(&route.node)) else {
                let what = format!("a route of {:?}, which never was", route.node);
                return Err((Invariant::PrefixEquality, what));
            };
            let origin = order[place].1;
            let epoch = if origin == own.node {
                Some(mesh.epoch())
            } else {
                own.seen[origin].held.map(|held| held.epoch)
            };
            if epoch != Some(route.epoch) {
                let what = format!("{key:?} of {route:?} is shown, its set is of {epoch:?}");
                return Err((Invariant::Superseded, what));
            }
            sums[origin].add(key);
        }
        Ok(sums)
    }

    /// Whether some users who have been there for long are found, or something explains that they are
    /// not.
    fn check_misses(&mut self, now: Instant, host: HostId, mesh: &Mesh) -> Result<(), Fault> {
        let mut sample: Vec<_> = self
            .sessions
            .after(self.sample_after)
            .take(SAMPLE)
            .collect();
        self.sample_after = match sample.last() {
            Some((at, key, _)) if sample.len() == SAMPLE => (*at, *key),
            Some(_) | None => (HostId(0), mesh::id::RouteKey(0)),
        };
        sample.retain(|(at, _, user)| *at != host && now.since(user.since) > FOUND_AFTER);
        for (at, key, _) in sample {
            let member = self.host(at).node;
            let node = self.nodes[member];
            if mesh.found(key).any(|found| found == node) || !self.has_met(host, member) {
                continue;
            }
            let no_room = || {
                let counters = mesh.counters();
                counters
                    .iter()
                    .any(|(name, count)| NO_ROOM.contains(name) && *count > 0)
            };
            if self.paths.is_steady(now, host, at) && !no_room() {
                let state = self.host(host).states[member];
                let what = format!("{key:?} has been on {at:?} ({state:?}) and is not found");
                return Err((Invariant::Explained, what));
            }
        }
        Ok(())
    }

    /// Whether a host knows a member, and is the only one of its own node.
    fn has_met(&self, host: HostId, member: usize) -> bool {
        let own = self.host(host);
        own.states[member].is_some()
            && self.host_of(own.node).is_some()
            && self.host_of(member).is_some()
    }
}
