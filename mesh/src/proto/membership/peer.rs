//! What this node knows of one other member, and the steps from one state into another.

use std::time::Duration;

use crate::id::{LinkId, NodeId};
use crate::proto::outbox::Outbox;
use crate::proto::output::{Note, Output, PeerAddress};
use crate::time::{Instant, Now};

use super::dial::{Attempt, Whom};
use super::record::{Known, Phase, Record};
use super::suspicion::Suspicion;
use super::timers::Timer;
use super::{Event, Membership, State};

/// One other member.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) record: Record,
    pub(super) state: State,
    pub(super) phase: Phase,
    /// Since when it has been down; some only while it is.
    pub(super) down: Option<Since>,
    /// Open links to its present life, the one that frames go over first.
    pub(super) links: Vec<LinkId>,
    /// Who reached it when it was last probed; none while there is a link that is not silent.
    pub(super) helper: Option<NodeId>,
    /// The probe that is under way.
    pub(super) round: Option<u64>,
    /// Who could not reach it; kept also where this node itself can, to pass on the refutation.
    pub(super) suspicion: Option<Suspicion>,
    /// Refutations heard since this node itself last had a way to it.
    pub(super) refuted: u32,
    /// The last sign of life, as far as it is not noted at a link.
    pub(super) heard: Instant,
    /// Where it was seen: an address that worked, or one made from where it came from.
    pub(super) seen_at: Option<PeerAddress>,
    pub(super) attempt: Attempt,
}

impl Peer {
    /// Neither down nor gone for good: it counts among the N that vote.
    pub(super) fn is_living(&self) -> bool {
        matches!(self.state, State::Alive | State::Suspect)
    }

    /// How old its being down is; `None`: it is not.
    pub(super) fn down_for(&self, now: Now) -> Option<Duration> {
        self.down.map(|since| since.age(now.at))
    }

    /// Addresses to dial, best first.
    pub(super) fn addresses(&self) -> Vec<PeerAddress> {
        let mut addresses: Vec<_> = self.seen_at.iter().cloned().collect();
        for address in &self.record.addresses {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// As it is told to others.
    pub(super) fn known(&self, now: Now) -> Known {
        Known {
            record: self.record.clone(),
            state: self.state,
            phase: self.phase,
            down_ms: self.down_for(now).map_or(0, millis),
            seen_at: self.seen_at.clone(),
        }
    }
}

/// A point of monotonic time that may lie before this node's start, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Since(i64);

impl Since {
    /// That long before `now`.
    pub(super) fn ago(now: Instant, age: Duration) -> Self {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        Self(i64::try_from(now.0).unwrap_or(i64::MAX).saturating_sub(age))
    }

    /// How long ago it is.
    pub(super) fn age(self, now: Instant) -> Duration {
        let age = i128::from(now.0) - i128::from(self.0);
        Duration::from_micros(u64::try_from(age.max(0)).unwrap_or(u64::MAX))
    }

    /// As far as it can be said in this node's time.
    pub(super) fn instant(self) -> Instant {
        Instant(u64::try_from(self.0).unwrap_or(0))
    }

    /// When it will be that old.
    pub(super) fn when(self, age: Duration) -> Instant {
        let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
        Instant(u64::try_from(self.0.saturating_add(age)).unwrap_or(0))
    }
}

/// Whole milliseconds, as far as 64 bits go.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Membership {
    /// How many members are not down, this node included: the N of all rules of suspicion.
    pub(super) fn living(&self) -> usize {
        1 + self.peers.values().filter(|peer| peer.is_living()).count()
    }

    /// A sign of life of a member's present life came: it is not dead, and this node does not suspect it.
    pub(super) fn become_alive(&mut self, now: Now, node: NodeId, out: &mut Outbox) {
        let me = self.record.node;
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        if peer.state == State::Left {
            return;
        }
        peer.heard = now.at;
        let mut told = false;
        if let Some(suspicion) = &mut peer.suspicion {
            told = suspicion.voters.remove(&me) && suspicion.told;
            suspicion.since = now.at;
        }
        let idle = |suspicion: &mut Suspicion| suspicion.voters.is_empty();
        if peer.suspicion.take_if(idle).is_some() {
            self.timers.cancel(Timer::Suspicion(node));
        }
        let doubt = peer.record.suspect();
        if peer.state != State::Alive {
            peer.down = None;
            self.timers.cancel(Timer::Down(node));
            self.set_state(now, node, State::Alive, out);
        }
        if told {
            // It has not heard of the suspicion itself, and only it can refute that for all.
            out.send(node, doubt);
        }
        self.judge_isolation(out);
    }

    /// Somebody could not reach a member, and this node has no better evidence.
    pub(super) fn become_suspect(&mut self, now: Now, node: NodeId, out: &mut Outbox) {
        if self.state(node) == Some(State::Alive) {
            self.set_state(now, node, State::Suspect, out);
        }
    }

    /// A member is dead as far as is known.
    pub(super) fn become_down(&mut self, now: Now, node: NodeId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node).filter(|peer| peer.is_living()) else {
            return;
        };
        peer.down = Some(Since::ago(now.at, Duration::ZERO));
        peer.suspicion = None;
        peer.helper = None;
        let links = peer.links.clone();
        self.end_round(node);
        self.timers.cancel(Timer::Suspicion(node));
        self.timers.cancel(Timer::Check(node));
        self.set_state(now, node, State::Down, out);
        for link in links {
            self.hang_up(now, link, out);
        }
        self.set_down_timer(now, node);
        self.ensure_dial(now, node);
        self.judge_isolation(out);
        // With one member less, fewer votes are enough for the others.
        for (other, peer) in &self.peers {
            if peer.state == State::Suspect {
                self.timers.set_earlier(Timer::Suspicion(*other), now.at);
            }
        }
    }

    /// A member said that it has stopped. Its links stay for what is still under way on them.
    pub(super) fn become_stopped(&mut self, now: Now, node: NodeId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        if peer.phase == Phase::Stopped {
            return;
        }
        peer.phase = Phase::Stopped;
        let links = std::mem::take(&mut peer.links);
        if !links.is_empty() {
            self.events.push_back(Event::Unlinked(node));
            self.lost_helper(now, node);
        }
        for link in links {
            self.timers.cancel(Timer::Heartbeat(link));
            self.timers.cancel(Timer::Silence(link));
            self.timers
                .set(Timer::Linger(link), now.at + super::link::LINGER);
        }
        self.stats.downs_stopped += 1;
        self.become_down(now, node, out);
    }

    /// The state changed: everybody who derived something from it is told.
    fn set_state(&mut self, now: Now, node: NodeId, state: State, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        peer.state = state;
        let after = (state == State::Down).then(|| now.at.since(peer.heard));
        self.generation += 1;
        out.push(Output::Note(Note::Member { node, state, after }));
        self.changed(node);
        self.keep_soon(now);
    }

    /// Tells the facade that what it derived from a member is stale.
    pub(super) fn changed(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get(&node) {
            self.events.push_back(Event::Changed {
                node,
                epoch: peer.record.epoch,
                state: peer.state,
            });
        }
    }

    /// A member's state here.
    pub(super) fn state(&self, node: NodeId) -> Option<State> {
        self.peers.get(&node).map(|peer| peer.state)
    }

    /// The next of the two moments that matter to a member that stays down.
    pub(super) fn set_down_timer(&mut self, now: Now, node: NodeId) {
        let Some(since) = self.peers.get(&node).and_then(|peer| peer.down) else {
            return;
        };
        let (wait, forget) = (self.config.storing_wait, self.config.forget_after);
        let age = if since.age(now.at) < wait {
            wait
        } else {
            forget
        };
        self.timers.set(Timer::Down(node), since.when(age));
    }

    /// A member has been down for long: its slots move, later it is forgotten.
    pub(super) fn on_down_timer(&mut self, now: Now, node: NodeId) {
        let Some(age) = self.peers.get(&node).and_then(|peer| peer.down_for(now)) else {
            return;
        };
        if age >= self.config.forget_after {
            self.forget(now, node);
            return;
        }
        if age >= self.config.storing_wait {
            self.generation += 1;
            self.changed(node);
        }
        self.set_down_timer(now, node);
    }

    /// Starts to dial a member that has no link, unless that is under way.
    pub(super) fn ensure_dial(&mut self, now: Now, node: NodeId) {
        if !self.has_link(node) && !self.timers.is_set(Timer::Dial(Whom::Member(node))) {
            let delay = self.first_delay(node);
            self.dial_in(now, Whom::Member(node), delay);
        }
    }
}
