//! One session per named device, mesh-wide.
//!
//! A node that learns that another serves a user whom it serves too *claims*: it says which named
//! devices are in live sessions here, and since when. The other closes what is older there and answers
//! with what it has left, from which this node concludes in the same way. A claim is repeated until
//! it is answered. Of two sessions the one with the smaller (stamp of `hello`, node id) goes.
//!
//! A session that is gone or going (in grace, or told `bye`) is never claimed, and yields to any claim
//! of its device. Devices whose name a node made up are in nobody's claims.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::id::{Device, NodeId, RouteKey, SessionId, UserName};
use crate::proto::chat::facts::Facts;
use crate::proto::chat::sessions::State;
use crate::proto::chat::{Chat, Message};
use crate::proto::outbox::Outbox;
use crate::time::{Instant, Stamp};

/// A claim without an answer is repeated after that long: many round trips.
const REPEAT: Duration = Duration::from_secs(1);

/// A claim is sent that often in all. A node that does not answer for so long is down, and a link
/// that comes back begins anew.
const TRIES: u8 = 5;

/// Claims that wait for an answer at once; more are sent once and not repeated.
const PENDING_MAX: usize = 16_384;

/// Devices in one frame; more go in several. 64 KiB.
const DEVICES_PER_FRAME: usize = 1_024;

/// Users looked at for one returning link in one step: each costs a look-up of routes.
const STEP: usize = 512;

/// Claims that wait for an answer, and links that came back.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// How often each was sent.
    pending: BTreeMap<(NodeId, UserName), u8>,
    /// When each may be due again, in order; some are answered by then.
    repeats: VecDeque<(Instant, NodeId, UserName)>,
    /// Nodes whose link came back, and from which key on users are still to be looked at.
    linked: BTreeMap<NodeId, RouteKey>,
    linked_at: Option<Instant>,
}

impl Claims {
    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let repeat = self.repeats.front().map(|(at, ..)| *at);
        [self.linked_at, repeat].into_iter().flatten().min()
    }

    fn due(&mut self, now: Instant) -> Option<(NodeId, UserName)> {
        let (at, ..) = self.repeats.front()?;
        if now < *at {
            return None;
        }
        self.repeats.pop_front().map(|(_, node, user)| (node, user))
    }
}

impl Chat {
    /// Tells the other nodes that serve a user which of its devices are here.
    pub(super) fn claim_everywhere(
        &mut self,
        facts: &dyn Facts,
        key: RouteKey,
        user: &UserName,
        out: &mut Outbox,
    ) {
        let mut others = Vec::new();
        facts.each_node_with(key, &mut |node| others.push(node));
        for node in others {
            self.claim(facts, node, key, user, out);
        }
    }

    /// Tells another node which of a user's devices are here, where there may be any.
    fn claim(
        &mut self,
        facts: &dyn Facts,
        to: NodeId,
        key: RouteKey,
        user: &UserName,
        out: &mut Outbox,
    ) {
        if to == self.me || self.sessions.named(key, user).is_empty() {
            return;
        }
        if self.claims.repeats.len() < PENDING_MAX {
            let pending = self.claims.pending.insert((to, user.clone()), 1);
            if pending.is_none() {
                let due = facts.now().at + REPEAT;
                self.claims.repeats.push_back((due, to, user.clone()));
            }
        } else {
            self.stats.claims_unwatched += 1;
        }
        self.send_devices(to, key, user, Reason::Claim, out);
    }

    fn send_devices(
        &mut self,
        to: NodeId,
        key: RouteKey,
        user: &UserName,
        reason: Reason,
        out: &mut Outbox,
    ) {
        let named = self.sessions.named(key, user);
        let held: Vec<_> = named
            .iter()
            .filter_map(|(device, id)| Some((device, self.sessions.get(*id)?)))
            .filter(|(_, session)| session.state == State::Live)
            .map(|(device, session)| (device.clone(), session.hello))
            .collect();
        let mut chunks = held.chunks(DEVICES_PER_FRAME);
        // An empty claim asks what the other has; an empty answer says that there is nothing.
        let mut chunk = chunks.next().unwrap_or_default();
        loop {
            let (user, devices) = (user.clone(), chunk.to_vec());
            let message = match reason {
                Reason::Claim => Message::Devices { user, devices },
                Reason::Answer => Message::DevicesHeld { user, devices },
            };
            self.stats.claims_sent += u64::from(reason == Reason::Claim);
            out.send(to, message);
            let Some(next) = chunks.next() else {
                return;
            };
            chunk = next;
        }
    }

    /// Another node claims devices, and wants to know what is here.
    pub(super) fn on_devices(
        &mut self,
        facts: &dyn Facts,
        from: NodeId,
        user: &UserName,
        devices: Vec<(Device, Stamp)>,
        out: &mut Outbox,
    ) {
        self.yield_to(facts, from, user, devices, out);
        self.send_devices(from, facts.key(user), user, Reason::Answer, out);
    }

    /// Another node answers a claim.
    pub(super) fn on_devices_held(
        &mut self,
        facts: &dyn Facts,
        from: NodeId,
        user: UserName,
        devices: Vec<(Device, Stamp)>,
        out: &mut Outbox,
    ) {
        self.yield_to(facts, from, &user, devices, out);
        self.claims.pending.remove(&(from, user));
    }

    /// Closes the sessions here that are older than those of another node, or gone already.
    fn yield_to(
        &mut self,
        facts: &dyn Facts,
        from: NodeId,
        user: &UserName,
        devices: Vec<(Device, Stamp)>,
        out: &mut Outbox,
    ) {
        let theirs: BTreeMap<Device, Stamp> = devices.into_iter().collect();
        let named = self.sessions.named(facts.key(user), user);
        let yields = |(device, id): &(Device, SessionId)| {
            let theirs = *theirs.get(device)?;
            let session = self.sessions.get(*id)?;
            let older = (session.hello, self.me) < (theirs, from);
            (older || session.state != State::Live).then_some(*id)
        };
        let yielding: Vec<_> = named.iter().filter_map(yields).collect();
        for id in yielding {
            self.replace(facts, id, out);
        }
    }

    /// Another node attached a key: what it holds of users served here is to be settled.
    pub(super) fn claim_attached(
        &mut self,
        facts: &dyn Facts,
        node: NodeId,
        key: RouteKey,
        out: &mut Outbox,
    ) {
        let users: Vec<_> = self.sessions.users_named(key).cloned().collect();
        for user in users {
            self.claim(facts, node, key, &user, out);
        }
    }

    /// A link came back: users whom both serve are looked for, in slices.
    pub(super) fn claim_linked(&mut self, now: Instant, node: NodeId) {
        if !self.sessions.is_empty() {
            self.claims.linked.insert(node, RouteKey(0));
            self.claims.linked_at.get_or_insert(now);
        }
    }

    /// Repeats claims that were not answered, and goes on looking for users of returned links.
    pub(super) fn tick_claims(&mut self, facts: &dyn Facts, out: &mut Outbox) {
        let now = facts.now().at;
        for _ in 0..STEP {
            let Some((node, user)) = self.claims.due(now) else {
                break;
            };
            self.repeat(facts, node, user, out);
        }
        if self.claims.linked_at.is_some_and(|at| at <= now) {
            self.look_through_linked(facts, out);
        }
    }

    fn repeat(&mut self, facts: &dyn Facts, node: NodeId, user: UserName, out: &mut Outbox) {
        let pending = (node, user);
        let Some(tries) = self.claims.pending.get_mut(&pending) else {
            return;
        };
        let key = facts.key(&pending.1);
        let concerned = !self.sessions.named(key, &pending.1).is_empty();
        if *tries >= TRIES || !concerned {
            self.stats.claims_unanswered += u64::from(concerned);
            self.claims.pending.remove(&pending);
            return;
        }
        *tries += 1;
        let (node, user) = pending;
        let due = facts.now().at + REPEAT;
        self.claims.repeats.push_back((due, node, user.clone()));
        self.send_devices(node, key, &user, Reason::Claim, out);
    }

    fn look_through_linked(&mut self, facts: &dyn Facts, out: &mut Outbox) {
        let Some((node, mut from)) = self.claims.linked.pop_first() else {
            self.claims.linked_at = None;
            return;
        };
        for _ in 0..STEP {
            let Some(key) = self.sessions.next_key(from) else {
                self.claims.linked_at =
                    self.claims.linked.first_key_value().map(|_| facts.now().at);
                return;
            };
            let mut serves = false;
            facts.each_node_with(key, &mut |other| serves |= other == node);
            if serves {
                self.claim_attached(facts, node, key, out);
            }
            from = RouteKey(key.0.saturating_add(1));
        }
        self.claims.linked.insert(node, from);
        self.claims.linked_at = Some(facts.now().at);
    }
}

/// Why devices are told to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Claim,
    Answer,
}
