//! Suspicion, votes and refutation: when a member that nobody reaches is down.
//!
//! Only suspicion travels, never a verdict: each observer counts by itself who suspects. This node's own
//! evidence (a link that is not silent, a helper that reached it) beats whatever others say.

use std::collections::BTreeSet;

use crate::id::{Epoch, NodeId};
use crate::proto::outbox::Outbox;
use crate::proto::output::{Note, Output};
use crate::time::{Instant, Now};

use super::message::Message;
use super::record::{Phase, Record};
use super::timers::Timer;
use super::{Membership, State};

/// Enough observers, whatever the size of the mesh: one broken switch port cannot be three.
const VOTES_MAX: usize = 3;

/// Fewer own suspects than this do not make a node think that it is cut off itself.
const ISOLATED_MIN: usize = 3;

/// Who could not reach a member, in its present incarnation.
#[derive(Debug)]
pub(super) struct Suspicion {
    pub(super) since: Instant,
    /// Observers, this node perhaps among them; all of them members, so no more than there are.
    pub(super) voters: BTreeSet<NodeId>,
    /// This node has told others.
    pub(super) told: bool,
    /// This node has told the suspected member, so that it refutes.
    forwarded: bool,
}

impl Suspicion {
    fn new(now: Now) -> Self {
        Self {
            since: now.at,
            voters: BTreeSet::new(),
            told: false,
            forwarded: false,
        }
    }
}

impl Record {
    /// The accusation that a higher incarnation refutes.
    pub(super) fn suspect(&self) -> Message {
        Message::Suspect {
            node: self.node,
            epoch: self.epoch,
            incarnation: self.incarnation,
        }
    }
}

impl Membership {
    /// This node has found no way to a member: tells all, unless it is probably cut off itself.
    pub(super) fn suspect(&mut self, now: Now, node: NodeId, out: &mut Outbox) {
        let me = self.record.node;
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let suspicion = peer.suspicion.get_or_insert_with(|| Suspicion::new(now));
        if suspicion.voters.insert(me) {
            self.stats.suspicions += 1;
        }
        let doubt = peer.record.suspect();
        self.become_suspect(now, node, out);
        self.judge_isolation(out);
        if !self.isolated {
            let told = self.tell_all(&doubt, out);
            let suspicion = self.suspicion_of(node);
            suspicion.into_iter().for_each(|it| it.told |= told);
        }
        self.judge(now, node, out);
    }

    /// An observer has found no way to a member.
    pub(super) fn on_suspect(
        &mut self,
        now: Now,
        from: NodeId,
        (node, epoch, incarnation): (NodeId, Epoch, u64),
        out: &mut Outbox,
    ) {
        if node == self.record.node {
            return self.refute(now, from, epoch, incarnation, out);
        }
        let observer = self.peers.get(&from).is_some_and(|peer| peer.is_living());
        let Some(peer) = self.peers.get_mut(&node).filter(|_| observer) else {
            self.stats.messages_ignored += 1;
            return;
        };
        if (epoch, incarnation) < peer.record.rank() || peer.phase == Phase::Stopped {
            // The accuser has missed something: a refutation, a new life, a goodbye.
            let known = vec![peer.known(now)];
            return out.send(from, Message::Members(known));
        }
        if !peer.is_living() {
            return self.say_down(now, from, node, out);
        }
        if peer.record.epoch < epoch {
            // That life is not known here yet; its record comes from whoever knows it.
            self.stats.messages_ignored += 1;
            return;
        }
        if peer.record.incarnation < incarnation {
            peer.record.incarnation = incarnation;
            peer.suspicion = None;
        }
        let suspicion = peer.suspicion.get_or_insert_with(|| Suspicion::new(now));
        suspicion.voters.insert(from);
        let end = suspicion.since + self.config.suspicion;
        self.timers.set_earlier(Timer::Suspicion(node), end);
        if self.has_evidence(node) {
            self.forward(node, out);
        } else {
            self.doubt(now, node, out);
            self.say_down(now, from, node, out);
        }
    }

    /// An accuser of a member that is down here lacks votes that were counted, perhaps this node's own.
    fn say_down(&self, now: Now, accuser: NodeId, node: NodeId, out: &mut Outbox) {
        let peer = self.peers.get(&node);
        if let Some(peer) = peer.filter(|peer| peer.state == State::Down) {
            out.send(accuser, Message::Members(vec![peer.known(now)]));
        }
    }

    /// An observer holds a member for down: he has found no way to it either.
    pub(super) fn on_held_down(&mut self, now: Now, from: NodeId, node: NodeId, out: &mut Outbox) {
        if self.state(node) != Some(State::Suspect) {
            return;
        }
        if let Some(suspicion) = self.suspicion_of(node) {
            suspicion.voters.insert(from);
            self.judge(now, node, out);
        }
    }

    /// Tells a member that lives that it is suspected, once for each incarnation: the accuser has no
    /// way to it.
    fn forward(&mut self, node: NodeId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let doubt = peer.record.suspect();
        let Some(suspicion) = peer.suspicion.as_mut() else {
            return;
        };
        if !std::mem::replace(&mut suspicion.forwarded, true) {
            out.send(node, doubt);
        }
    }

    /// This node has no evidence any more that a member lives: what others said of it counts.
    pub(super) fn doubt(&mut self, now: Now, node: NodeId, out: &mut Outbox) {
        let suspected = self
            .suspicion_of(node)
            .is_some_and(|suspicion| !suspicion.voters.is_empty());
        if suspected && !self.has_evidence(node) {
            self.become_suspect(now, node, out);
            self.judge(now, node, out);
        }
    }

    /// Time to judge. Until then whoever suspects says so again every interval: frames may be lost.
    pub(super) fn on_suspicion_timer(&mut self, now: Now, node: NodeId, out: &mut Outbox) {
        self.judge(now, node, out);
        let me = self.record.node;
        let peer = self.peers.get_mut(&node);
        let Some(peer) = peer.filter(|peer| peer.state == State::Suspect) else {
            return;
        };
        let told = |suspicion: &Suspicion| suspicion.told && suspicion.voters.contains(&me);
        if !self.isolated && peer.suspicion.as_ref().is_some_and(told) {
            let doubt = peer.record.suspect();
            self.tell_all(&doubt, out);
        }
    }

    /// Whether a suspected member is down: by enough observers, or by the time.
    pub(super) fn judge(&mut self, now: Now, node: NodeId, out: &mut Outbox) {
        let Some(suspicion) = self
            .peers
            .get(&node)
            .and_then(|peer| peer.suspicion.as_ref())
        else {
            return;
        };
        let end = suspicion.since.max(self.pardon) + self.config.suspicion;
        let suspect = self.state(node) == Some(State::Suspect);
        if suspect && self.is_outvoted(suspicion) {
            self.stats.downs_voted += 1;
            self.become_down(now, node, out);
        } else if now.at < end {
            let soon = now.at + self.config.heartbeat;
            self.timers.set(Timer::Suspicion(node), end.min(soon));
        } else if suspect {
            self.stats.downs_timed += 1;
            self.become_down(now, node, out);
        } else if let Some(peer) = self.peers.get_mut(&node) {
            // It lives, and had its time to refute what others said.
            peer.suspicion = None;
        }
    }

    /// With two members the timer alone decides: the other end of a cut has no witness.
    fn is_outvoted(&self, suspicion: &Suspicion) -> bool {
        let members = self.living();
        if self.isolated || members <= 2 {
            return false;
        }
        let me = self.record.node;
        let counts = |voter: &&NodeId| {
            **voter == me || self.peers.get(voter).is_some_and(|peer| peer.is_living())
        };
        let votes = suspicion.voters.iter().filter(counts).count();
        VOTES_MAX.min(members / 2 + 1).min(members - 1) <= votes
    }

    /// This node is suspected: a higher incarnation says that it lives, and nothing of its data is
    /// sent again.
    fn refute(&mut self, now: Now, from: NodeId, epoch: Epoch, incarnation: u64, out: &mut Outbox) {
        self.check_own_epoch(now, epoch, out);
        if self.is_over() {
            return;
        }
        if epoch == self.record.epoch && self.record.incarnation <= incarnation {
            self.record.incarnation = incarnation.saturating_add(1);
            self.stats.refutations += 1;
            let own = Message::Members(vec![self.own_known()]);
            self.tell_all(&own, out);
        } else {
            out.send(from, Message::Members(vec![self.own_known()]));
        }
    }

    /// A member has a higher incarnation: it lives. Whoever accused it hears that from here too, since
    /// the member itself may have no way to him.
    pub(super) fn refuted(&mut self, now: Now, node: NodeId, teller: NodeId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let Some(suspicion) = peer.suspicion.take() else {
            return;
        };
        let known = vec![peer.known(now)];
        self.timers.cancel(Timer::Suspicion(node));
        let me = self.record.node;
        for voter in suspicion.voters {
            if voter != me && voter != teller && voter != node {
                out.send(voter, Message::Members(known.clone()));
            }
        }
        if self.state(node) == Some(State::Suspect) {
            self.become_alive(now, node, out);
        }
        if !self.has_evidence(node) {
            self.check_later(now, node);
        }
        self.judge_isolation(out);
    }

    /// Whether this node suspects so many that it is probably cut off itself.
    pub(super) fn judge_isolation(&mut self, out: &mut Outbox) {
        let me = self.record.node;
        let own = |suspicion: &Suspicion| suspicion.voters.contains(&me);
        let suspects = self
            .peers
            .values()
            .filter(|peer| peer.suspicion.as_ref().is_some_and(own))
            .count();
        let isolated = ISOLATED_MIN <= suspects && self.living() < 3 * suspects;
        if isolated != self.isolated {
            self.isolated = isolated;
            out.push(Output::Note(Note::Isolated(isolated)));
        }
    }

    fn suspicion_of(&mut self, node: NodeId) -> Option<&mut Suspicion> {
        self.peers.get_mut(&node)?.suspicion.as_mut()
    }

    /// Says something to every member that can be reached. False: there is none.
    pub(super) fn tell_all(&self, message: &Message, out: &mut Outbox) -> bool {
        let mut told = false;
        for (node, peer) in &self.peers {
            let reachable = !peer.links.is_empty() || peer.helper.is_some();
            if reachable {
                out.send(*node, message.clone());
                told = true;
            }
        }
        told
    }
}
