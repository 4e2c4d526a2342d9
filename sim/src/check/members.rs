//! How a node sees the others: states change only as they may, and are told when they do.

use std::time::Duration;

use mesh::id::NodeId;
use mesh::proto::Mesh;
use mesh::proto::membership::State;
use mesh::time::Instant;

use super::{Checks, Fault, Invariant};
use crate::world::HostId;

/// A death is false where the way to the node was good for so long before: the longest suspicion.
const REACHED: Duration = Duration::from_secs(3);

/// Whether a member's state may change so, in one life of it or from one to the next.
fn is_legal(from: State, to: State) -> bool {
    match (from, to) {
        (State::Alive, State::Suspect | State::Down | State::Left)
        | (State::Suspect, State::Alive | State::Down | State::Left)
        | (State::Down, State::Alive | State::Left)
        // Only in a later life.
        | (State::Left, State::Alive | State::Down) => true,
        // Who is dead is suspected no more; and what does not change is not told.
        (State::Alive, State::Alive)
        | (State::Suspect, State::Suspect)
        | (State::Down, State::Down | State::Suspect)
        | (State::Left, State::Left | State::Suspect) => false,
    }
}

impl Checks {
    /// A machine says that it has met a node: what it is told next of it counts from here.
    pub(super) fn on_joined(
        &mut self,
        at: Instant,
        host: HostId,
        node: NodeId,
    ) -> Result<(), Fault> {
        let member = self.number(node);
        self.not_itself(host, member)?;
        if let Some(other) = self.host_of(member) {
            self.paths.on_met(at, host, other);
        }
        self.host_mut(host).states[member] = None;
        Ok(())
    }

    /// The step in which a node was met is over: where no change was told, it is as it was met.
    pub(super) fn after_joined(&mut self, host: HostId, node: NodeId, mesh: &Mesh) {
        let member = self.number(node);
        let state = &mut self.host_mut(host).states[member];
        *state = state.or_else(|| mesh.life(node).map(|life| life.state));
    }

    /// A machine says that a member's state has changed.
    pub(super) fn on_member(
        &mut self,
        at: Instant,
        host: HostId,
        (node, state): (NodeId, State),
        mesh: &Mesh,
    ) -> Result<(), Fault> {
        let member = self.number(node);
        self.not_itself(host, member)?;
        let before = self.host_mut(host).states[member].replace(state);
        if let Some(before) = before.filter(|before| !is_legal(*before, state)) {
            let what = format!("{node:?} went from {before:?} to {state:?}");
            return Err((Invariant::Transitions, what));
        }
        match state {
            State::Down => self.on_down(at, host, member),
            State::Left => {
                let seen = &mut self.host_mut(host).seen[member];
                seen.ended = mesh.life(node).map_or(seen.ended, |life| life.epoch);
                if mesh.held(node).is_some() {
                    let what = format!("routes of {node:?} are shown, which has left");
                    return Err((Invariant::Superseded, what));
                }
            }
            State::Alive | State::Suspect => {}
        }
        Ok(())
    }

    fn not_itself(&self, host: HostId, member: usize) -> Result<(), Fault> {
        if self.host(host).node == member {
            let what = "it counts itself among the others".to_owned();
            return Err((Invariant::Transitions, what));
        }
        Ok(())
    }

    fn on_down(&mut self, at: Instant, by: HostId, member: usize) {
        if let Some(of) = self.host_of(member)
            && self.paths.has_run(at, of, REACHED)
            && self.paths.has_run(at, by, REACHED)
            && self.is_reached(at, by, of)
        {
            self.detection.on_false_death(at, by, of);
        }
        let crashed = self
            .hosts
            .iter()
            .filter(|(_, host)| !host.runs && host.node == member);
        let crashed: Vec<HostId> = crashed.map(|(host, _)| *host).collect();
        for of in crashed {
            self.detection.on_down(at, by, of);
        }
    }

    /// Whether two hosts have reached each other of late, directly or through one other.
    fn is_reached(&self, now: Instant, a: HostId, b: HostId) -> bool {
        let knows = |by: HostId, of: HostId| {
            let (by, of) = (self.host(by), self.host(of).node);
            matches!(by.states[of], Some(State::Alive))
        };
        let way = |a: HostId, b: HostId| {
            let to = self.host(b).node;
            let lasts = |(peer, up): &(usize, Instant)| *peer == to && now.since(*up) > REACHED;
            let linked = self.host(a).links.values().any(lasts);
            self.paths.has_way(now, (a, b), REACHED, linked)
        };
        let helps = |by: HostId| {
            let between = by != a && by != b && self.paths.has_run(now, by, REACHED);
            between && knows(a, by) && knows(by, a) && knows(by, b) && way(a, by) && way(by, b)
        };
        way(a, b) || self.hosts.keys().any(|by| helps(*by))
    }

    /// Whether a machine has told all that changed in its view.
    pub(super) fn check_states(&mut self, host: HostId, mesh: &Mesh) -> Result<(), Fault> {
        let me = mesh.id();
        let mut states = vec![None; self.nodes.len()];
        for (node, life) in mesh.lives() {
            let Some(member) = self.numbers.get(&node).copied().filter(|_| node != me) else {
                return Err((
                    Invariant::Transitions,
                    format!("{node:?} was never told of"),
                ));
            };
            let told = self.host(host).states[member];
            if told != Some(life.state) {
                let what = format!("{node:?} is {:?}, it was told to be {told:?}", life.state);
                return Err((Invariant::Transitions, what));
            }
            states[member] = told;
        }
        // Who was forgotten is met anew.
        self.host_mut(host).states = states;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_member_is_not_suspected_and_no_change_is_no_news() {
        assert!(is_legal(State::Alive, State::Down) && is_legal(State::Down, State::Alive));
        assert!(!is_legal(State::Down, State::Suspect) && !is_legal(State::Down, State::Down));
        assert!(!is_legal(State::Left, State::Suspect));
    }
}
