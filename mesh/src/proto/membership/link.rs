//! Links: greeting, opening, and which of several to one peer is kept.
//!
//! A link is *open* once each side knows that the other accepted its greeting. Until then nothing else
//! is taken from it, so a way that works in one direction only is never used.
//!
//! Of two links in the same epochs the one dialled by the smaller node id is kept. That node alone
//! decides: it hangs the other one up a moment after both ends have the better one open, so that
//! neither ever sees itself without a link.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::Duration;

use crate::id::{Epoch, LinkId, NodeId};
use crate::proto::input::DialFailure;
use crate::proto::outbox::Outbox;
use crate::proto::output::{DialId, Halt, Note, Output, PeerAddress};
use crate::time::{Instant, Now};

use super::dial::Whom;
use super::message::{Greeting, MEMBERS_MAX, Message, WHY_MAX};
use super::pulse::RoundTrips;
use super::record::{Known, Phase};
use super::roster::Repair;
use super::timers::Timer;
use super::{Event, Membership, State};

/// How long a link that is not needed any more stays for what is under way on it. A guess: several
/// round trips around the world.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// How long a peer may take to greet; after that the link is hung up.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// The most links to one peer: each end dials once by itself and once by a contact.
const LINKS_PER_PEER_MAX: usize = 4;

/// One connection to a peer.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: NodeId,
    /// In which life of the peer it opened; `None`: it did not, or the peer is forgotten.
    pub(super) epoch: Option<Epoch>,
    /// Whom this node dialled to get it; none: the peer dialled.
    whom: Option<Whom>,
    remote: PeerAddress,
    /// Since when it waits for a greeting.
    up: Instant,
    pub(super) stage: Stage,
    /// When it opened, if it ever did.
    opened: Option<Instant>,
    /// When the peer was given the member list: what was learned before is known there.
    pub(super) told: Instant,
    /// When the last frame was handed to it.
    pub(super) sent: Instant,
    /// When the last heartbeat was handed to it.
    pub(super) beat: Instant,
    /// When the last frame came.
    pub(super) heard: Instant,
    /// Nothing came for too long.
    pub(super) silent: bool,
    /// How many heartbeats were sent.
    pub(super) beats: u64,
    /// The last vitals that came: their time there and here.
    pub(super) echo: Option<(u32, Instant)>,
    pub(super) trips: RoundTrips,
    pub(super) repair: Repair,
}

/// How far a link has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// The peer's greeting has not been accepted.
    Greeting,
    /// It has; whether the peer accepted this node's is not known.
    Greeted(Box<Greeting>),
    /// Both have.
    Open,
    /// The peer may not join; it is hung up once it has been told.
    Refused,
    /// Hung up; the driver has not confirmed it yet.
    Closing,
}

impl Link {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// Frames of membership may go over it: the peer has been heard.
    pub(super) fn is_greeted(&self) -> bool {
        matches!(self.stage, Stage::Greeted(_) | Stage::Open)
    }

    /// It may still open.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.stage, Stage::Greeting | Stage::Greeted(_))
    }

    /// Its remote end is on another machine.
    pub(super) fn is_far(&self) -> bool {
        !self.remote.is_loopback()
    }
}

impl Membership {
    /// See [`Membership::on_link_up`].
    pub(super) fn add_link(
        &mut self,
        now: Now,
        id: LinkId,
        peer: NodeId,
        dial: Option<DialId>,
        remote: PeerAddress,
        out: &mut Outbox,
    ) {
        let whom = dial.and_then(|dial| self.end_dial(now, dial));
        let same = self.links.values().filter(|link| link.peer == peer).count();
        let all = 2 * self.config.full_mesh_limit + self.config.dials_max;
        let own = peer == self.record.node;
        if own || same >= LINKS_PER_PEER_MAX || self.links.len() >= all || self.is_over() {
            self.stats.links_refused += 1;
            out.push(Output::HangUp { link: id });
            if let Some(whom) = whom.filter(|_| own) {
                self.dial_failed(now, whom, DialFailure::Own, out);
            } else if let Some(whom) = whom {
                self.retry(now, whom);
            }
            return;
        }
        let link = Link {
            peer,
            epoch: None,
            whom,
            remote,
            up: now.at,
            stage: Stage::Greeting,
            opened: None,
            told: now.at,
            sent: now.at,
            beat: now.at,
            heard: now.at,
            silent: false,
            beats: 0,
            echo: None,
            trips: RoundTrips::default(),
            repair: Repair::default(),
        };
        self.links.insert(id, link);
        self.greet(now, id, out);
    }

    /// See [`Membership::on_link_down`].
    pub(super) fn remove_link(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let (node, whom, opened) = (link.peer, link.whom, link.opened);
        let was_open = link.is_open();
        self.cancel_link_timers(id);
        if was_open {
            self.unlink(now, node, id, out);
        }
        self.links.remove(&id);
        if let Some(whom) = whom.filter(|_| opened.is_none()) {
            self.retry(now, whom);
        }
        self.ensure_dial(now, node);
    }

    /// Says who this node is.
    fn greet(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let peer = link.peer;
        let greeting = Greeting {
            record: self.record.clone(),
            phase: self.phase,
            known: self.highest(peer),
            linked: self
                .peers
                .get(&peer)
                .is_some_and(|peer| !peer.links.is_empty()),
            answered: link.is_greeted(),
            digest: self.digest(peer),
        };
        out.send_on(id, Message::Greeting(Box::new(greeting)));
        let again = now.at + 2 * self.config.heartbeat;
        self.timers.set(Timer::Greeting(id), again);
    }

    /// A greeting may have been lost: says it again, or gives the link up.
    pub(super) fn on_greeting_timer(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let Some(link) = self.links.get(&id).filter(|link| !link.is_open()) else {
            return;
        };
        if now.at.since(link.up.max(self.pardon)) < GREETING_TIMEOUT {
            self.greet(now, id, out);
        } else {
            self.stats.greetings_late += 1;
            self.hang_up(now, id, out);
        }
    }

    /// The peer says who it is.
    pub(super) fn on_greeting(
        &mut self,
        now: Now,
        id: LinkId,
        greeting: Box<Greeting>,
        out: &mut Outbox,
    ) {
        let Some(peer) = self.links.get(&id).map(|link| link.peer) else {
            return;
        };
        if greeting.record.node != peer || !greeting.record.is_valid() {
            self.stats.greetings_refused += 1;
            let why = "its greeting is malformed".to_owned();
            out.push(Output::Note(Note::Refused { node: peer, why }));
            return self.hang_up(now, id, out);
        }
        self.check_own_epoch(now, greeting.known, out);
        if self.is_over() {
            return;
        }
        if greeting.record.epoch < self.highest(peer) {
            // The greeting sent here names the higher epoch: whoever is there raises its own, or is a
            // copy that stops. Else the timer ends the link.
            self.stats.greetings_stale += 1;
            if let Some(link) = self.links.get_mut(&id).filter(|link| link.is_pending()) {
                link.stage = Stage::Greeting;
                self.greet(now, id, out);
            }
            return;
        }
        if !self.make_room(now, peer) {
            return self.refuse_join(now, id, out);
        }
        self.accept(now, id, greeting, out);
    }

    /// A good greeting: what it changes depends on what was heard on the link before.
    fn accept(&mut self, now: Now, id: LinkId, greeting: Box<Greeting>, out: &mut Outbox) {
        let newer = self.highest(greeting.record.node) < greeting.record.epoch;
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let (node, answered, digest) = (link.peer, greeting.answered, greeting.digest);
        match &link.stage {
            Stage::Closing | Stage::Refused => return,
            Stage::Greeting => {
                link.stage = Stage::Greeted(greeting);
                link.told = now.at;
                self.send_members(now, id, node, digest, out);
            }
            Stage::Greeted(_) => {
                link.stage = Stage::Greeted(greeting);
                if !answered {
                    self.greet(now, id, out);
                }
            }
            Stage::Open if newer => {
                self.demote(now, node, out);
                if let Some(link) = self.links.get_mut(&id) {
                    link.stage = Stage::Greeted(greeting);
                }
            }
            Stage::Open if !answered => return self.greet(now, id, out),
            Stage::Open => {
                // It goes on greeting since it has not heard that this node's greeting was accepted.
                return out.send_on(id, Message::Members(Vec::new()));
            }
        }
        let beat = now.at + self.config.heartbeat;
        self.timers.set_earlier(Timer::Heartbeat(id), beat);
        if answered {
            self.open(now, id, out);
        }
    }

    /// Both sides have accepted each other.
    pub(super) fn open(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let Stage::Greeted(greeting) = &mut link.stage else {
            return;
        };
        let greeting = greeting.clone();
        link.stage = Stage::Open;
        let (node, whom, up) = (link.peer, link.whom, link.up);
        let epoch = greeting.record.epoch;
        link.epoch = Some(epoch);
        link.opened = Some(now.at);
        link.heard = now.at;
        link.silent = false;
        let mut known = Known {
            seen_at: seen_at(link, &greeting),
            record: greeting.record,
            state: State::Alive,
            phase: greeting.phase,
            down_ms: 0,
        };
        if link.is_far() {
            known.drop_loopback();
        }
        self.timers.cancel(Timer::Greeting(id));
        self.settled = true;
        self.learn(now, known, node, out);
        if !self.peers.contains_key(&node) {
            return self.refuse_join(now, id, out);
        }
        if epoch < self.highest(node) {
            // A newer life became known while this one was being greeted.
            if let Some(link) = self.links.get_mut(&id) {
                link.stage = Stage::Greeting;
            }
            return self.greet(now, id, out);
        }
        self.stats.links_opened += 1;
        if !greeting.linked {
            self.drop_forgotten(now, node, up);
        }
        self.attach(now, node, id, greeting.phase, out);
        self.dial_succeeded(node, whom);
    }

    /// An open link becomes one of its peer's.
    fn attach(&mut self, now: Now, node: NodeId, id: LinkId, phase: Phase, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        if peer.phase == Phase::Stopped {
            peer.phase = phase;
        }
        peer.links.push(id);
        peer.helper = None;
        peer.refuted = 0;
        let (first, epoch) = (peer.links.len() == 1, peer.record.epoch);
        self.end_round(node);
        self.timers.cancel(Timer::Check(node));
        self.become_alive(now, node, out);
        self.sort_links(now, node);
        if first {
            self.events.push_back(Event::Linked { node, epoch });
            out.push(Output::Note(Note::Linked(node)));
            self.changed(node);
        }
        let soon = now.at + self.config.heartbeat;
        self.timers.set_earlier(Timer::Heartbeat(id), soon);
        let silence = now.at + self.silence_timeout(id);
        self.timers.set(Timer::Silence(id), silence);
    }

    /// A peer that says it has no link has lost those that opened well before it said so. They are not
    /// hung up before the new link is attached: the layers above never see the peer without one.
    fn drop_forgotten(&mut self, now: Now, node: NodeId, up: Instant) {
        let Some(peer) = self.peers.get(&node) else {
            return;
        };
        for id in &peer.links {
            let Some(link) = self.links.get_mut(id) else {
                continue;
            };
            if link.opened.is_some_and(|opened| opened + LINGER <= up) {
                link.silent = true;
                self.timers.set(Timer::Linger(*id), now.at);
            }
        }
    }

    /// Brings the link that frames go over to the front; the smaller node sees to the others.
    pub(super) fn sort_links(&mut self, now: Now, node: NodeId) {
        let smaller = self.record.node < node;
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        peer.links.sort_by_key(|id| {
            let link = self.links.get(id);
            let silent = link.is_none_or(|link| link.silent);
            let mine = link.is_some_and(|link| link.whom.is_some());
            let opened = link.and_then(|link| link.opened);
            (silent, mine != smaller, Reverse(opened), Reverse(*id))
        });
        if smaller {
            for id in peer.links.iter().skip(1) {
                self.timers.set_earlier(Timer::Linger(*id), now.at + LINGER);
            }
        }
    }

    /// A link has lingered long enough.
    pub(super) fn on_linger(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let Some(node) = self.links.get(&id).map(|link| link.peer) else {
            return;
        };
        self.sort_links(now, node);
        let links = self.peers.get(&node).map_or(&[][..], |peer| &peer.links);
        match links.iter().position(|link| *link == id) {
            Some(0) => return,
            Some(_) => self.stats.links_duplicate += 1,
            None => (),
        }
        self.hang_up(now, id, out);
    }

    /// Closes a link; the layers above see it gone at once.
    pub(super) fn hang_up(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let was = std::mem::replace(&mut link.stage, Stage::Closing);
        let node = link.peer;
        self.cancel_link_timers(id);
        match was {
            Stage::Closing => return,
            Stage::Open => self.unlink(now, node, id, out),
            Stage::Greeting | Stage::Greeted(_) | Stage::Refused => (),
        }
        out.push(Output::HangUp { link: id });
    }

    /// An open link to a member is gone.
    fn unlink(&mut self, now: Now, node: NodeId, id: LinkId, out: &mut Outbox) {
        let heard = self.links.get(&id).map_or(now.at, |link| link.heard);
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let before = peer.links.len();
        peer.links.retain(|other| *other != id);
        if peer.links.len() == before {
            return;
        }
        if !peer.links.is_empty() {
            return self.sort_links(now, node);
        }
        peer.heard = peer.heard.max(heard);
        let (living, reached) = (peer.is_living(), peer.helper.is_some());
        self.events.push_back(Event::Unlinked(node));
        self.changed(node);
        self.lost_helper(now, node);
        self.lost_contact(now, node);
        if living {
            self.ensure_dial(now, node);
        }
        if living && !reached {
            self.start_probe(now, node, out);
            self.doubt(now, node, out);
        }
    }

    /// A newer life of a member is known: its links belong to a dead one, or to a copy that has to
    /// hear of the newer, so they are greeted once more.
    pub(super) fn demote(&mut self, now: Now, node: NodeId, out: &mut Outbox) {
        let Some(peer) = self.peers.get_mut(&node) else {
            return;
        };
        let links = std::mem::take(&mut peer.links);
        if links.is_empty() {
            return;
        }
        self.events.push_back(Event::Unlinked(node));
        self.lost_helper(now, node);
        for id in links {
            self.cancel_link_timers(id);
            if let Some(link) = self.links.get_mut(&id) {
                link.stage = Stage::Greeting;
                link.up = now.at;
            }
            self.greet(now, id, out);
        }
    }

    /// A peer reports an epoch of this node.
    pub(super) fn check_own_epoch(&mut self, now: Now, epoch: Epoch, out: &mut Outbox) {
        let own = self.record.epoch;
        if epoch < own || (epoch == own && self.settled) || self.halted {
            return;
        }
        if self.settled {
            self.halted = true;
            out.push(Output::KeepEpoch(epoch));
            out.push(Output::Halt(Halt::Clone { epoch }));
            return;
        }
        let raised = Epoch(epoch.0.saturating_add(1));
        self.record.epoch = raised;
        self.record.incarnation = 0;
        out.push(Output::KeepEpoch(raised));
        self.events.push_back(Event::Epoch(raised));
        let links: Vec<_> = self.links.keys().copied().collect();
        for id in links {
            let closing = |link: &Link| matches!(link.stage, Stage::Closing);
            if !self.links.get(&id).is_none_or(closing) {
                self.greet(now, id, out);
            }
        }
    }

    /// The mesh is full.
    fn refuse_join(&mut self, now: Now, id: LinkId, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let node = link.peer;
        link.stage = Stage::Refused;
        let limit = self.config.full_mesh_limit;
        let why = format!(
            "this mesh has {limit} members, the most that it can have: \
             stop another node and wait until it has been down for ten minutes"
        );
        self.stats.joins_refused += 1;
        self.cancel_link_timers(id);
        out.send_on(id, Message::Refused { why: why.clone() });
        out.push(Output::Note(Note::Refused { node, why }));
        self.timers.set(Timer::Linger(id), now.at + LINGER);
    }

    /// This node may not join.
    pub(super) fn on_refused(&mut self, now: Now, id: LinkId, why: &str, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let whom = link.whom.take();
        let why = why.chars().take(WHY_MAX / 4).collect();
        if let Some(whom) = whom {
            self.dial_failed(now, whom, DialFailure::Refused(why), out);
        }
        self.hang_up(now, id, out);
    }

    /// The whole member list, where the peer's differs; an empty one else, which is an answer too.
    fn send_members(&mut self, now: Now, id: LinkId, node: NodeId, digest: u64, out: &mut Outbox) {
        if digest == self.digest(node) {
            out.send_on(id, Message::Members(Vec::new()));
        } else {
            self.send_list(now, id, node, out);
        }
    }

    /// The whole member list but for the receiver, in slices; an empty one where there is none.
    pub(super) fn send_list(&self, now: Now, id: LinkId, node: NodeId, out: &mut Outbox) {
        let all: Vec<_> = self
            .peers
            .values()
            .filter(|peer| peer.record.node != node && peer.state != State::Left)
            .map(|peer| peer.known(now))
            .collect();
        if all.is_empty() {
            out.send_on(id, Message::Members(all));
            return;
        }
        for slice in all.chunks(MEMBERS_MAX) {
            out.send_on(id, Message::Members(slice.to_vec()));
        }
    }

    fn cancel_link_timers(&mut self, id: LinkId) {
        self.timers.cancel(Timer::Heartbeat(id));
        self.timers.cancel(Timer::Silence(id));
        self.timers.cancel(Timer::Greeting(id));
        self.timers.cancel(Timer::Linger(id));
    }
}

/// Where a peer can probably be dialled besides what it says itself: the address that worked, or the
/// one it came from with the port it listens on.
fn seen_at(link: &Link, greeting: &Greeting) -> Option<PeerAddress> {
    if link.whom.is_some() {
        return Some(link.remote.clone());
    }
    let (_, port) = greeting
        .record
        .addresses
        .first()?
        .as_str()
        .rsplit_once(':')?;
    let ip = link.remote.ip()?;
    PeerAddress::parse(&SocketAddr::new(ip, port.parse().ok()?).to_string())
}
