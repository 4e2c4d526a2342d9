//! Indirect probes: whether a member lives that this node itself cannot hear.
//!
//! Three others are asked, several times, since frames may be lost. If the member answers one of them,
//! the link is down and the node is alive: frames go through that helper, and nobody else is told. The
//! helper is asked again and again, another takes its place when it fails, and the member goes on being
//! dialled. A link that is silent but open is asked itself, too, and given up only at the end: three
//! heartbeats in a row may be lost by chance.

use std::time::Duration;

use crate::id::{Epoch, LinkId, NodeId};
use crate::proto::outbox::Outbox;
use crate::proto::output::{Note, Output};
use crate::time::{Instant, Now};

use super::message::Message;
use super::record::Phase;
use super::timers::Timer;
use super::{Event, Membership, State};

/// How many others are asked (SWIM's k, as memberlist and foca have it).
const HELPERS: usize = 3;

/// How many intervals they have for it, beside the round trips.
const PROBE_INTERVALS: u32 = 2;

/// How often they are asked in that time: with a tenth of all frames lost, a member that lives fails to
/// answer in one of a hundred million cases.
const ASKS: u32 = 8;

/// Every so many intervals a member without a link is probed again.
const CHECK_INTERVALS: u32 = 4;

/// So many times in a row a refutation doubles that interval: up to 8 s.
const REFUTED_MAX: u32 = 3;

/// One question about one member.
#[derive(Debug)]
pub(super) struct Round {
    target: NodeId,
    started: Instant,
    patience: Duration,
    asked: Vec<NodeId>,
    /// Who reached the target, while the present helper or the silent link may still answer.
    other: Option<NodeId>,
}

impl Round {
    #[cfg(test)]
    pub(super) fn target(&self) -> NodeId {
        self.target
    }
}

impl Membership {
    /// Asks others whether they can reach a member. With nobody to ask, the time goes by all the same:
    /// the link may come back meanwhile.
    pub(super) fn start_probe(&mut self, now: Now, target: NodeId, out: &mut Outbox) {
        let Some(peer) = self.peers.get(&target) else {
            return;
        };
        if peer.round.is_some() || peer.state == State::Left || peer.phase == Phase::Stopped {
            return;
        }
        let asked = self.pick_helpers(target);
        let trip = asked.iter().map(|(_, _, trip)| *trip).max();
        let base = PROBE_INTERVALS * self.config.heartbeat + 4 * trip.unwrap_or_default();
        let patience = self.patience(base);
        let round = self.next_round;
        self.next_round += 1;
        let asked = asked.into_iter().map(|(node, ..)| node).collect();
        self.rounds.insert(
            round,
            Round {
                target,
                started: now.at,
                patience,
                asked,
                other: None,
            },
        );
        if let Some(peer) = self.peers.get_mut(&target) {
            peer.round = Some(round);
        }
        self.stats.probes += 1;
        self.ask(now, round, out);
    }

    /// Asks all of a round, once more.
    fn ask(&mut self, now: Now, round: u64, out: &mut Outbox) {
        let Some(open) = self.rounds.get(&round) else {
            return;
        };
        let target = open.target;
        let helpers = open.asked.iter().filter(|_| open.other.is_none());
        for node in helpers.chain([&target]) {
            if let Some(link) = self.link_to(*node) {
                out.send_on(link, Message::Probe { round, target });
            }
        }
        let again = now.at + open.patience / ASKS;
        self.timers.set(Timer::Probe(round), again);
    }

    /// Up to three linked members by lot, the present helper always among them.
    fn pick_helpers(&mut self, target: NodeId) -> Vec<(NodeId, LinkId, Duration)> {
        let mut others: Vec<_> = self
            .peers
            .iter()
            .filter(|(node, peer)| **node != target && peer.state == State::Alive)
            .filter_map(|(node, peer)| {
                let id = *peer.links.first()?;
                let link = self.links.get(&id).filter(|link| !link.silent)?;
                Some((*node, id, link.trips.longest()))
            })
            .collect();
        let helper = self.peers.get(&target).and_then(|peer| peer.helper);
        let mut chosen = 0;
        if let Some(at) = others.iter().position(|(node, ..)| Some(*node) == helper) {
            others.swap(0, at);
            chosen = 1;
        }
        while chosen < others.len().min(HELPERS) {
            let at = chosen + self.below((others.len() - chosen) as u64) as usize;
            others.swap(chosen, at);
            chosen += 1;
        }
        others.truncate(HELPERS);
        others
    }

    /// The answer to a probe is not needed any more.
    pub(super) fn end_round(&mut self, node: NodeId) {
        let round = self.peers.get_mut(&node).and_then(|peer| peer.round.take());
        if let Some(round) = round {
            self.rounds.remove(&round);
            self.timers.cancel(Timer::Probe(round));
        }
    }

    /// A probe had its time.
    pub(super) fn on_probe_timer(&mut self, now: Now, round: u64, out: &mut Outbox) {
        let Some(open) = self.rounds.get(&round) else {
            return;
        };
        let deadline = open.started.max(self.pardon) + open.patience;
        if now.at < deadline {
            return self.ask(now, round, out);
        }
        let target = open.target;
        let other = open.other.filter(|other| self.link_to(*other).is_some());
        self.end_round(target);
        if self.has_link(target) {
            return;
        }
        match other {
            Some(helper) => self.reached(now, target, helper, out),
            None => self.unreached(now, target, out),
        }
    }

    /// A member without a link is looked for.
    pub(super) fn on_check_timer(&mut self, now: Now, node: NodeId, out: &mut Outbox) {
        if !self.has_link(node) {
            self.start_probe(now, node, out);
        }
    }

    /// Somebody asks this node to look for another, or whether it is there itself.
    pub(super) fn on_probe(
        &mut self,
        (from, over): (NodeId, LinkId),
        round: u64,
        target: NodeId,
        out: &mut Outbox,
    ) {
        if target == self.record.node {
            let epoch = self.record.epoch;
            let here = Message::Probed {
                round,
                target,
                epoch,
            };
            return out.send_on(over, here);
        }
        let origin = self.peers.get(&from).map(|peer| peer.record.epoch);
        let link = self.link_to(target).filter(|_| self.has_link(target));
        let (Some(epoch), Some(link)) = (origin, link) else {
            return;
        };
        let origin = from;
        out.send_on(
            link,
            Message::Check {
                origin,
                epoch,
                round,
            },
        );
    }

    /// Somebody who cannot hear this node asks through a helper: it lives, and both can use that way.
    pub(super) fn on_check(
        &mut self,
        now: Now,
        helper: NodeId,
        (origin, life, round): (NodeId, Epoch, u64),
        out: &mut Outbox,
    ) {
        let epoch = self.record.epoch;
        if let Some(link) = self.link_to(helper) {
            out.send_on(
                link,
                Message::Checked {
                    origin,
                    round,
                    epoch,
                },
            );
        }
        let known = self.peers.get(&origin);
        if known.is_some_and(|peer| peer.record.epoch == life && peer.helper.is_none()) {
            self.helped(now, origin, helper, out);
        }
    }

    /// The target has answered this helper.
    pub(super) fn on_checked(
        &mut self,
        target: NodeId,
        (origin, round, epoch): (NodeId, u64, Epoch),
        out: &mut Outbox,
    ) {
        if let Some(link) = self.link_to(origin) {
            out.send_on(
                link,
                Message::Probed {
                    round,
                    target,
                    epoch,
                },
            );
        }
    }

    /// A helper has reached the target.
    pub(super) fn on_probed(
        &mut self,
        now: Now,
        helper: NodeId,
        (round, target, epoch): (u64, NodeId, Epoch),
        out: &mut Outbox,
    ) {
        let (Some(open), Some(peer)) = (self.rounds.get_mut(&round), self.peers.get(&target))
        else {
            return;
        };
        if helper == target {
            // That it came was all that it had to say.
            return;
        }
        let expected = open.target == target && open.asked.contains(&helper);
        let linked = self
            .peers
            .get(&helper)
            .is_some_and(|it| !it.links.is_empty());
        if !expected || !linked || peer.record.epoch != epoch {
            self.stats.messages_ignored += 1;
            return;
        }
        let present = peer.helper.filter(|present| open.asked.contains(present));
        if present.is_none_or(|present| present == helper) {
            self.helped(now, target, helper, out);
        } else {
            // No change of helper for being faster by a little.
            open.other.get_or_insert(helper);
        }
    }

    /// There is a way to a member through a helper. A link that is merely silent has its time to speak
    /// again.
    fn helped(&mut self, now: Now, node: NodeId, helper: NodeId, out: &mut Outbox) {
        let silent = |peer: &&super::peer::Peer| !peer.links.is_empty();
        let round = self
            .peers
            .get(&node)
            .filter(silent)
            .and_then(|peer| peer.round);
        if let Some(open) = round.and_then(|round| self.rounds.get_mut(&round)) {
            open.other.get_or_insert(helper);
        } else {
            self.reached(now, node, helper, out);
        }
    }

    /// A member lives, though this node has no link to it that works.
    fn reached(&mut self, now: Now, node: NodeId, helper: NodeId, out: &mut Outbox) {
        if self.has_link(node) || self.link_to(helper).is_none() {
            return;
        }
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        if peer.phase == Phase::Stopped || peer.state == State::Left {
            return;
        }
        peer.refuted = 0;
        let before = peer.helper.replace(helper);
        let links = peer.links.clone();
        self.end_round(node);
        for link in links {
            self.hang_up(now, link, out);
        }
        self.become_alive(now, node, out);
        if before.is_none() {
            out.push(Output::Note(Note::LinkBroken(node)));
        }
        if before != Some(helper) {
            self.changed(node);
        }
        self.ensure_dial(now, node);
        self.check_again(now, node);
    }

    /// Nobody reached it.
    fn unreached(&mut self, now: Now, node: NodeId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        self.stats.probes_failed += 1;
        let lost = peer.helper.take().is_some();
        if !peer.is_living() {
            return;
        }
        if lost {
            self.changed(node);
        }
        self.check_again(now, node);
        self.suspect(now, node, out);
    }

    fn check_again(&mut self, now: Now, node: NodeId) {
        let at = now.at + CHECK_INTERVALS * self.config.heartbeat;
        self.timers.set(Timer::Check(node), at);
    }

    /// A member to which this node has no way has refuted its suspicion: it lives where others can
    /// reach it. It is looked for ever more rarely, else it would be accused and refute for ever.
    pub(super) fn check_later(&mut self, now: Now, node: NodeId) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let times = 1 << peer.refuted.min(REFUTED_MAX);
        peer.refuted += 1;
        let at = now.at + times * CHECK_INTERVALS * self.config.heartbeat;
        self.timers.set(Timer::Check(node), at);
    }

    /// A node has no link any more: whom it helped to reach needs another helper.
    pub(super) fn lost_helper(&mut self, now: Now, helper: NodeId) {
        for (node, peer) in &self.peers {
            if peer.helper == Some(helper) {
                self.timers.set_earlier(Timer::Check(*node), now.at);
                self.events.push_back(Event::Changed {
                    node: *node,
                    epoch: peer.record.epoch,
                    state: peer.state,
                });
            }
        }
    }

    /// The link that frames to a member go over.
    pub(super) fn link_to(&self, node: NodeId) -> Option<LinkId> {
        self.peers.get(&node)?.links.first().copied()
    }
}
