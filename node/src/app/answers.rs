//! What `/readyz`, `/metrics` and `/api/` say.

use mesh::id::Address;
use mesh::proto::membership::{Member, State};
use mesh::time::Now;
use serde_json::{Value, json};

use super::Node;
use crate::front::Ask;
use crate::telemetry::metrics::Exposition;

/// What is fixed for the life of the process.
#[derive(Debug)]
pub(super) struct About {
    pub(super) mesh: String,
    pub(super) started_unix_ms: u64,
}

/// The version of this program.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Node {
    /// Answers a question of the HTTP side. An asker that is gone is no error.
    pub(super) fn answer(&self, now: Now, ask: Ask) {
        match ask {
            Ask::Ready(to) => drop(to.send(self.mesh.unready(now).map_or(Ok(()), Err))),
            Ask::Metrics(to) => drop(to.send(self.metrics(now))),
            Ask::Mesh(to) => drop(to.send(self.mesh_json().to_string())),
            Ask::Route(address, to) => drop(to.send(self.route_json(now, &address).to_string())),
        }
    }

    fn mesh_json(&self) -> Value {
        let members: Vec<Value> = self
            .mesh
            .members()
            .iter()
            .map(|(member, routes)| member_json(member, *routes))
            .collect();
        json!({
            "node": self.mesh.id().to_string(),
            "mesh": self.about.mesh,
            "version": VERSION,
            "epoch": self.mesh.epoch().0,
            "members": members,
            "routes": self.mesh.routes(),
            "sessions": self.mesh.sessions(),
        })
    }

    fn route_json(&self, now: Now, address: &Address) -> Value {
        let (nodes, sight) = self.mesh.route(now, address);
        let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        json!({"address": address.as_str(), "nodes": nodes, "certain": sight.certain()})
    }

    fn metrics(&self, now: Now) -> String {
        let mut metrics = Exposition::new();
        metrics.push("build_info", &[("version", VERSION)], 1.0);
        let ready = self.mesh.unready(now).is_none();
        metrics.push("ready", &[], f64::from(u8::from(ready)));
        metrics.push_process(self.about.started_unix_ms);
        metrics.push("front_connections", &[], self.front.connections() as f64);
        metrics.push("session_connections", &[], self.sessions.open() as f64);
        self.push_members(&mut metrics);
        metrics.push_counters(self.mesh.counters());
        metrics.push_counters(self.net.counters());
        metrics.push_counters(self.front.counters());
        metrics.push_counters(self.history.counters());
        metrics.render()
    }

    fn push_members(&self, metrics: &mut Exposition) {
        let members = self.mesh.members();
        for (state, name) in STATES {
            let of_state = members.iter().filter(|(member, _)| member.state == state);
            let labels = [("state", name)];
            metrics.push("membership_members", &labels, of_state.count() as f64);
        }
        let links = members.iter().filter(|(member, _)| member.link);
        metrics.push("membership_links", &[], links.count() as f64);
        for (member, routes) in &members {
            let node = member.record.node.to_string();
            let labels = [("node", node.as_str())];
            metrics.push("routes_held", &labels, *routes as f64);
            if let Some(rtt) = member.rtt {
                metrics.push("membership_link_rtt_seconds", &labels, rtt.as_secs_f64());
            }
        }
    }
}

const STATES: [(State, &str); 4] = [
    (State::Alive, "alive"),
    (State::Suspect, "suspect"),
    (State::Down, "down"),
    (State::Left, "left"),
];

fn state_name(state: State) -> &'static str {
    STATES
        .iter()
        .find(|(known, _)| *known == state)
        .map_or("unknown", |(_, name)| name)
}

fn member_json(member: &Member, routes: u64) -> Value {
    json!({
        "node": member.record.node.to_string(),
        "state": state_name(member.state),
        "link": member.link,
        "rtt_ms": member.rtt.map(|rtt| (rtt.as_secs_f64() * 1e6).round() / 1e3),
        "epoch": member.record.epoch.0,
        "routes": routes,
        "address": member.record.addresses.first().map(mesh::proto::PeerAddress::as_str),
        "version": member.record.version,
    })
}

#[cfg(test)]
mod tests;
