//! The facade: one value that owns the layers and carries facts between them.
//!
//! Each step hands one input to the layer that it concerns, then passes on what the layers tell each
//! other until nothing is left to tell, then finds the way for every frame. No layer calls another.

mod facts;
mod ground;
mod inspect;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use ground::Ground;
pub use inspect::Loads;

use crate::command::Command;
use crate::id::{Address, Epoch, LinkId, NodeId, RouteHasher, SessionId, splitmix64};
use crate::proto::chat::{self, Chat};
use crate::proto::input::Input;
use crate::proto::membership::{self, Membership, Reach, State};
use crate::proto::outbox::{Effect, Outbox};
use crate::proto::output::{Note, Output};
use crate::proto::routes::{self, Routes};
use crate::proto::streams::{self, Streams};
use crate::proto::view::Sight;
use crate::time::{Clock, Instant, Now, Stamp};
use crate::wire::{Envelope, Frame, Relay};

/// Tuning of the machine, by layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Who is alive.
    pub membership: membership::Config,
    /// Who serves whom.
    pub routes: routes::Config,
    /// Events.
    pub streams: streams::Config,
    /// Sessions.
    pub chat: chat::Config,
}

/// What a node knows at its start.
#[derive(Debug, Clone)]
pub struct Start {
    /// Its own record, contacts and kept members.
    pub membership: membership::Start,
    /// Shared by all nodes of the mesh: keys the hash of addresses.
    pub route_key: [u8; 16],
    /// Newest stamp in the store.
    pub newest: Stamp,
    /// Seed of everything that is random in the machine.
    pub seed: u64,
}

/// How long after its start a node waits for the sets of members that it cannot link to, before it is
/// ready without them: as long as the slowest redial (60 s), so that each had its chance.
const SETS_PATIENCE: Duration = Duration::from_secs(60);

/// How often a node that is not ready looks whether it is.
const READY_INTERVAL: Duration = Duration::from_millis(100);

/// How often views that depend on how long somebody has been down are worked out anew: small against
/// the ten minutes after which slots move.
const REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// The machine, see [the module](super).
#[derive(Debug)]
pub struct Mesh {
    ground: Ground,
    streams: Streams,
    chat: Chat,
    clock: Clock,
    outbox: Outbox,
    outputs: VecDeque<Output>,
    started: Instant,
    phase: Phase,
    /// The store takes events.
    room: bool,
    /// When to look whether the node is ready, until it is.
    ready_check: Option<Instant>,
    refresh: Instant,
    stats: Stats,
}

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Joining,
    Ready,
    Stopping,
    Stopped,
}

/// What the facade itself counts.
#[derive(Debug, Clone, Copy, Default)]
struct Stats {
    ungreeted: u64,
    stamps_ahead: u64,
    undeliverable: u64,
    relayed: u64,
    relays_refused: u64,
}

impl Mesh {
    /// A node at its start.
    pub fn new(config: Config, start: Start, now: Now) -> Self {
        let me = start.membership.me.node;
        let epoch = start.membership.me.epoch;
        let mut seed = start.seed;
        let mut draw = || {
            seed = splitmix64(seed);
            seed
        };
        let membership = Membership::new(config.membership, start.membership, now);
        let routes = Routes::new(config.routes, me, epoch);
        let ground = Ground::new(membership, routes, RouteHasher::new(&start.route_key), now);
        Self {
            ground,
            streams: Streams::new(config.streams, origin(me, epoch, draw())),
            chat: Chat::new(config.chat, me, draw()),
            clock: Clock::new(start.newest),
            outbox: Outbox::default(),
            outputs: VecDeque::new(),
            started: now.at,
            phase: Phase::Joining,
            room: true,
            ready_check: Some(now.at),
            refresh: now.at + REFRESH_INTERVAL,
            stats: Stats::default(),
        }
    }

    /// Something happened.
    pub fn handle(&mut self, now: Now, input: Input) {
        debug_assert!(
            self.outputs.is_empty(),
            "outputs are drained after each step"
        );
        self.take(now, input);
        self.carry_facts(now);
        self.look_whether_ready(now);
        self.find_ways(now);
    }

    /// The next thing to do; to be drained to `None` after each `handle`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the next `Input::Tick` is due.
    pub fn poll_deadline(&self) -> Option<Instant> {
        let layers = [
            self.ground.membership.deadline(),
            self.ground.routes.deadline(),
            self.streams.deadline(),
            self.chat.deadline(),
            self.ready_check,
            Some(self.refresh),
        ];
        layers.into_iter().flatten().min()
    }

    fn take(&mut self, now: Now, input: Input) {
        let out = &mut self.outbox;
        match input {
            Input::Tick => self.tick(now),
            Input::LinkUp {
                link,
                peer,
                dial,
                remote,
            } => {
                self.ground
                    .membership
                    .on_link_up(now, link, peer, dial, remote, out);
            }
            Input::LinkDown { link } => self.ground.membership.on_link_down(now, link, out),
            Input::Frame { link, envelope } => self.on_envelope(now, link, envelope),
            Input::DialFailed { dial, failure } => {
                self.ground
                    .membership
                    .on_dial_failed(now, dial, failure, out);
            }
            Input::Discovered { address } => self.ground.membership.on_discovered(now, address),
            Input::Command {
                session,
                request,
                command,
            } => self.on_command(now, session, request, command),
            Input::Closed { session, closing } => {
                self.chat
                    .on_closed(self.ground.view(now), session, closing, out);
            }
            Input::Drained { session } => self.chat.on_drained(self.ground.view(now), session, out),
            Input::Appended { ticket, outcomes } => {
                self.streams
                    .on_appended(self.ground.view(now), ticket, outcomes, out);
            }
            Input::Loaded { ticket, answer } => {
                self.streams
                    .on_loaded(self.ground.view(now), ticket, answer, out);
            }
            Input::Room(room) => {
                self.room = room;
                self.streams.on_room(room);
            }
            Input::Stop => self.stop(now),
            Input::StopNow => self.stopped(now),
        }
    }

    fn tick(&mut self, now: Now) {
        let out = &mut self.outbox;
        let ground = &mut self.ground;
        let pulse = ground.routes.summary().pulse();
        ground.membership.on_tick(now, pulse, out);
        ground.routes.on_tick(now, out);
        if now.at >= self.refresh {
            self.refresh = now.at + REFRESH_INTERVAL;
            let missing = ground.sets_missing;
            ground.refresh(now);
            // By time alone everybody's absence may have become certain.
            if missing != ground.sets_missing {
                self.chat
                    .on_member(ground.view(now), ground.membership.me(), out);
            }
        }
        self.streams.on_tick(ground.view(now), &mut self.clock, out);
        self.chat.on_tick(ground.view(now), out);
    }

    fn on_command(&mut self, now: Now, session: SessionId, request: Option<u64>, command: Command) {
        let view = self.ground.view(now);
        self.chat.on_command(
            view,
            &mut self.clock,
            session,
            request,
            command,
            &mut self.outbox,
        );
    }

    fn on_envelope(&mut self, now: Now, link: LinkId, envelope: Envelope) {
        if !self.clock.observe_peer(now, envelope.stamp) {
            self.stats.stamps_ahead += 1;
            return;
        }
        let out = &mut self.outbox;
        let membership = &mut self.ground.membership;
        let heard = membership.on_frame(now, link);
        if let Frame::Membership(message) = envelope.frame {
            return membership.on_message(now, link, message, out);
        }
        let peer = heard.or_else(|| membership.on_confirmed(now, link, out));
        if heard.is_none() {
            // The link is one for the layers above, too, before its first frame is.
            self.carry_facts(now);
        }
        match (peer, envelope.frame) {
            (None, _) => self.stats.ungreeted += 1,
            (Some(peer), Frame::Relay(relay)) => self.on_relay(now, peer, relay),
            (Some(peer), frame) => self.on_frame(now, peer, frame),
        }
    }

    /// A frame from a member, over its link or through a helper.
    fn on_frame(&mut self, now: Now, from: NodeId, frame: Frame) {
        let out = &mut self.outbox;
        match frame {
            Frame::Membership(message) => {
                self.ground
                    .membership
                    .on_relayed_message(now, from, message, out);
            }
            Frame::Routes(message) => self.ground.routes.on_message(now, from, message, out),
            Frame::Streams(message) => {
                self.streams
                    .on_message(self.ground.view(now), &mut self.clock, from, message, out);
            }
            Frame::Chat(message) => self
                .chat
                .on_message(self.ground.view(now), from, message, out),
            Frame::Relay(_) => self.stats.relays_refused += 1,
        }
    }

    /// A frame that comes or goes through a helper. A helper takes it only from its author and hands
    /// it on only over a link of its own, so no frame ever travels further than two links.
    fn on_relay(&mut self, now: Now, peer: NodeId, relay: Relay) {
        let me = self.ground.membership.me();
        if relay.to == me && relay.from != me && self.ground.membership.member(relay.from).is_some()
        {
            let Some(frame) = relay.unpack() else {
                self.stats.relays_refused += 1;
                return;
            };
            self.ground.membership.on_relayed(now, relay.from);
            return self.on_frame(now, relay.from, frame);
        }
        match self.ground.membership.reach(relay.to) {
            Reach::Direct(link) if relay.from == peer => {
                self.stats.relayed += 1;
                self.outbox.send_on(link, Frame::Relay(relay));
            }
            Reach::Direct(_) | Reach::Through(..) | Reach::None => self.stats.relays_refused += 1,
        }
    }

    fn stop(&mut self, now: Now) {
        if matches!(self.phase, Phase::Stopping | Phase::Stopped) {
            return;
        }
        self.phase = Phase::Stopping;
        self.ready_check = None;
        self.ground.membership.stopping(now, &mut self.outbox);
        self.streams.on_stopping();
        let me = self.ground.membership.me();
        let others = self.ground.membership.members();
        let elsewhere =
            others.filter(|m| m.record.node != me && m.state == State::Alive && !m.stopping);
        let urls = elsewhere.filter_map(|member| member.record.url).collect();
        self.chat
            .stop(self.ground.view(now), urls, &mut self.outbox);
    }

    fn stopped(&mut self, now: Now) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.phase = Phase::Stopped;
        self.ready_check = None;
        self.ground.membership.stopped(now, &mut self.outbox);
        self.outbox.push(Output::Stopped);
    }

    fn look_whether_ready(&mut self, now: Now) {
        if self.ready_check.is_none_or(|at| now.at < at) {
            return;
        }
        self.ready_check = Some(now.at + READY_INTERVAL);
        if self.joining(now).is_none() {
            self.phase = Phase::Ready;
            self.ready_check = None;
            self.outbox.push(Output::Note(Note::Ready));
            self.streams
                .on_ready(self.ground.view(now), &mut self.clock, &mut self.outbox);
            self.carry_facts(now);
        }
    }

    /// Why the node has not joined yet.
    fn joining(&self, now: Now) -> Option<String> {
        if let Some(reason) = self.ground.membership.unready(now) {
            return Some(reason);
        }
        let missing = self.ground.alive_without_set();
        let patient = now.at.since(self.started) < SETS_PATIENCE;
        (missing > 0 && patient)
            .then(|| format!("the users of {missing} other nodes are not known here yet"))
    }

    /// Turns effects into outputs: each frame is given its stamp and its link.
    fn find_ways(&mut self, now: Now) {
        while let Some(effect) = self.outbox.pop() {
            match effect {
                Effect::Output(output) => self.outputs.push_back(output),
                Effect::ToLink(link, frame) => self.send(now, link, frame),
                Effect::ToNode(node, frame) => match self.ground.membership.reach(node) {
                    Reach::Direct(link) => self.send(now, link, frame),
                    Reach::Through(_, link) => {
                        let relay = Relay::pack(self.ground.membership.me(), node, &frame);
                        self.send(now, link, Frame::Relay(relay));
                    }
                    Reach::None => self.stats.undeliverable += 1,
                },
            }
        }
    }

    fn send(&mut self, now: Now, link: LinkId, frame: Frame) {
        self.ground.membership.on_sent(now, link);
        let envelope = Envelope {
            stamp: self.clock.latest(now),
            frame,
        };
        self.outputs.push_back(Output::Send { link, envelope });
    }
}

/// What others may ask of the machine between two steps.
impl Mesh {
    /// This node.
    pub fn id(&self) -> NodeId {
        self.ground.membership.me()
    }

    /// The present life of this node.
    pub fn epoch(&self) -> Epoch {
        self.ground.membership.epoch()
    }

    /// Why clients are not welcome, in a sentence; `None`: ready.
    pub fn unready(&self, now: Now) -> Option<String> {
        match self.phase {
            Phase::Stopping | Phase::Stopped => Some("this node is stopping".to_owned()),
            Phase::Joining => self.joining(now),
            Phase::Ready if !self.room => Some("too little disk space: see --min-free".to_owned()),
            Phase::Ready => None,
        }
    }

    /// All members, this node among them, with the number of each one's routes.
    pub fn members(&self) -> Vec<(membership::Member, u64)> {
        let routes = &self.ground.routes;
        self.ground
            .membership
            .members()
            .map(|member| (routes.count(member.record.node), member))
            .map(|(n, m)| (m, n))
            .collect()
    }

    /// Routes of all nodes in the table.
    pub fn routes(&self) -> u64 {
        self.ground.routes.total()
    }

    /// This node's own set of routes.
    pub fn summary(&self) -> routes::Summary {
        self.ground.routes.summary()
    }

    /// Sessions open here.
    pub fn sessions(&self) -> u64 {
        self.chat.sessions()
    }

    /// The nodes with a route for an address, as this node's table has it, and whether that is
    /// certain.
    pub fn route(&self, now: Now, address: &Address) -> (Vec<NodeId>, Sight) {
        let key = self.ground.hasher.address(address);
        let view = self.ground.view(now);
        (view.nodes_with(key).collect(), view.sight(key))
    }

    /// Counters of everything done, refused or dropped, by name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let own = [
            ("mesh_frames_ungreeted_total", self.stats.ungreeted),
            ("mesh_frames_ahead_total", self.stats.stamps_ahead),
            ("mesh_frames_undeliverable_total", self.stats.undeliverable),
            ("mesh_frames_relayed_total", self.stats.relayed),
            ("mesh_relays_refused_total", self.stats.relays_refused),
        ];
        let layers = self.ground.membership.counters().into_iter();
        let layers = layers.chain(self.ground.routes.counters());
        let layers = layers
            .chain(self.streams.counters())
            .chain(self.chat.counters());
        own.into_iter().chain(layers).collect()
    }
}

/// The origin half of the ids made in this life: a hash of node, epoch and a random number.
fn origin(node: NodeId, epoch: Epoch, random: u64) -> u64 {
    let words = node
        .0
        .chunks_exact(8)
        .map(|word| u64::from_be_bytes(word.try_into().expect("8 bytes")));
    words
        .chain([epoch.0, random])
        .fold(0, |hash, word| splitmix64(hash ^ word))
}
