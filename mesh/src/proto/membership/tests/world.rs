//! A few [`Membership`] values, the connections between them and one virtual clock.
//!
//! It does what facade and driver do with effects, no more: frames take [`LATENCY`], dials succeed where
//! somebody listens and no cut is between, connections of a crashed node close.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::{Epoch, LinkId, NodeId, splitmix64};
use crate::proto::input::DialFailure;
use crate::proto::membership::timers::Timer;
use crate::proto::membership::{
    Config, Event, Life, Membership, Message, Phase, Reach, Record, Start, State,
};
use crate::proto::outbox::{Effect, Outbox};
use crate::proto::output::{Contact, DialId, Halt, KeptMember, Note, Output, PeerAddress, Target};
use crate::proto::routes::Pulse;
use crate::time::{Instant, Now};
use crate::wire::{Frame, Relay};

/// One way between two nodes.
pub(super) const LATENCY: Duration = Duration::from_millis(2);

/// The wall clock at the beginning, Unix milliseconds.
pub(super) const WALL: u64 = 1_700_000_000_000;

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// What is on its way to a node.
#[derive(Debug, Clone)]
enum Arrival {
    Up(usize, Option<DialId>),
    Down(usize),
    Frame(usize, Frame),
    Failed(DialId, DialFailure),
}

/// A connection between two nodes: the first one dialled.
#[derive(Debug, Clone, Copy)]
struct Wire {
    ends: [usize; 2],
    closed: [bool; 2],
}

/// One machine and what it said.
pub(super) struct Node {
    pub(super) machine: Option<Membership>,
    pub(super) events: Vec<Event>,
    pub(super) notes: Vec<Note>,
    pub(super) kept: Vec<KeptMember>,
    pub(super) kept_epoch: Option<Epoch>,
    pub(super) halt: Option<Halt>,
    /// Every membership message it sent, with the end it was for.
    pub(super) sent: Vec<(usize, Message)>,
    pub(super) dials: u64,
    pub(super) dialling: u64,
    pub(super) dialling_most: u64,
    id: NodeId,
    address: PeerAddress,
    /// What it says of itself besides that.
    pub(super) more_addresses: Vec<PeerAddress>,
    epoch: u64,
    paused_until: Instant,
}

pub(super) struct World {
    pub(super) config: Config,
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    queue: BTreeMap<(Instant, u64), (usize, Arrival)>,
    sequence: u64,
    wires: Vec<Wire>,
    /// Frames from the first to the second are lost.
    cuts: BTreeSet<(usize, usize)>,
    /// Frames from the first to the second take so much longer.
    delays: BTreeMap<(usize, usize), Duration>,
    /// So many of a hundred frames are lost, by lot.
    pub(super) loss: u64,
    /// Connections are made also through a cut.
    pub(super) half_open: bool,
}

pub(super) fn id(at: usize) -> NodeId {
    let mut bytes = [0; 32];
    bytes[0] = u8::try_from(at / 256).unwrap();
    bytes[1] = u8::try_from(at % 256).unwrap();
    NodeId(bytes)
}

pub(super) fn address(text: &str) -> PeerAddress {
    PeerAddress::parse(text).unwrap()
}

pub(super) fn contact(address: PeerAddress) -> Contact {
    Contact {
        address,
        every: false,
        node: None,
    }
}

impl World {
    /// So many nodes, none of them started.
    pub(super) fn new(nodes: usize) -> Self {
        let mut this = Self {
            config: Config::default(),
            now: Instant(1),
            nodes: Vec::new(),
            queue: BTreeMap::new(),
            sequence: 0,
            wires: Vec::new(),
            cuts: BTreeSet::new(),
            delays: BTreeMap::new(),
            loss: 0,
            half_open: false,
        };
        for at in 0..nodes {
            this.add(address(&format!("10.0.{}.{}:8090", at / 256, at % 256)));
        }
        this
    }

    /// So many nodes, each started with the one before as contact, all linked.
    pub(super) fn meshed(nodes: usize) -> Self {
        let mut this = Self::new(nodes);
        this.start_chain();
        this.run(secs(3));
        this.assert_meshed();
        for node in &mut this.nodes {
            node.events.clear();
            node.notes.clear();
            node.sent.clear();
            node.dials = 0;
        }
        this
    }

    pub(super) fn start_chain(&mut self) {
        for at in 0..self.nodes.len() {
            let before = at.checked_sub(1);
            self.start(at, before.into_iter().collect());
        }
    }

    /// A further node that is not started.
    pub(super) fn add(&mut self, address: PeerAddress) -> usize {
        let id = id(self.nodes.len());
        self.nodes.push(Node {
            id,
            machine: None,
            events: Vec::new(),
            notes: Vec::new(),
            kept: Vec::new(),
            kept_epoch: None,
            halt: None,
            sent: Vec::new(),
            dials: 0,
            dialling: 0,
            dialling_most: 0,
            address,
            more_addresses: Vec::new(),
            epoch: 100,
            paused_until: Instant(0),
        });
        self.nodes.len() - 1
    }

    pub(super) fn now(&self) -> Now {
        Now {
            at: self.now,
            unix_ms: WALL + self.now.0 / 1_000,
        }
    }

    pub(super) fn address(&self, at: usize) -> PeerAddress {
        self.nodes[at].address.clone()
    }

    pub(super) fn record(&self, at: usize) -> Record {
        Record {
            node: self.nodes[at].id,
            epoch: Epoch(self.nodes[at].epoch),
            incarnation: 0,
            addresses: [&[self.address(at)], &self.nodes[at].more_addresses[..]].concat(),
            url: None,
            weight: 1,
            version: "1.0.0".into(),
        }
    }

    /// Starts a node with other nodes as contacts.
    pub(super) fn start(&mut self, at: usize, contacts: Vec<usize>) {
        let contacts = contacts
            .into_iter()
            .map(|other| contact(self.address(other)))
            .collect();
        self.start_with(at, contacts, Vec::new());
    }

    /// Starts a node in its present epoch.
    pub(super) fn start_with(&mut self, at: usize, contacts: Vec<Contact>, kept: Vec<KeptMember>) {
        let start = Start {
            me: self.record(at),
            kept,
            contacts,
            seed: at as u64 + 1,
        };
        // Whatever an earlier life was connected to is unknown to this one.
        for wire in 0..self.wires.len() {
            if let Some(end) = self.end_of(wire, at) {
                self.wires[wire].closed[end] = true;
            }
        }
        let machine = Membership::new(self.config.clone(), start, self.now());
        self.nodes[at].machine = Some(machine);
    }

    /// Starts a node that ran before, with what it kept and a higher epoch.
    pub(super) fn restart(&mut self, at: usize) {
        self.nodes[at].epoch += 1;
        let kept = self.nodes[at].kept.clone();
        self.start_with(at, Vec::new(), kept);
    }

    /// The process dies: the machine it ran on closes its connections.
    pub(super) fn crash(&mut self, at: usize) {
        self.nodes[at].machine = None;
        for wire in 0..self.wires.len() {
            if let Some(end) = self.end_of(wire, at) {
                self.close(wire, end);
            }
        }
        self.nodes[at].dialling = 0;
    }

    /// The machine dies: nobody closes anything.
    pub(super) fn power_off(&mut self, at: usize) {
        self.nodes[at].machine = None;
    }

    /// Nothing arrives and no timer fires there for a while; what came meanwhile is read after it.
    pub(super) fn pause(&mut self, at: usize, duration: Duration) {
        self.nodes[at].paused_until = self.now + duration;
    }

    /// Makes a node a copy of another, under its own address.
    pub(super) fn copy_identity(&mut self, at: usize, of: usize) {
        self.nodes[at].id = self.nodes[of].id;
    }

    pub(super) fn set_epoch(&mut self, at: usize, epoch: u64) {
        self.nodes[at].epoch = epoch;
    }

    /// Frames between two nodes are lost in one direction.
    pub(super) fn cut_one_way(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.cut_one_way(a, b);
        self.cut_one_way(b, a);
    }

    /// Frames from one node to another take longer.
    pub(super) fn delay(&mut self, from: usize, to: usize, more: Duration) {
        self.delays.insert((from, to), more);
    }

    /// Whether frames of one node to another go over a connection that both ends have.
    pub(super) fn is_link_sound(&self, at: usize, to: usize) -> bool {
        let Reach::Direct(link) = self.machine(at).reach(id(to)) else {
            return false;
        };
        self.wires[usize::try_from(link.0).unwrap()].closed == [false; 2]
    }

    /// Cuts a node off from all others.
    pub(super) fn cut_off(&mut self, at: usize) {
        for other in 0..self.nodes.len() {
            self.cut(at, other);
        }
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
    }

    /// One end loses all its connections to another without the other hearing of it.
    pub(super) fn forget_wires(&mut self, at: usize, to: usize) {
        let cuts = self.cuts.clone();
        self.cut(at, to);
        for wire in 0..self.wires.len() {
            let ends = self.wires[wire].ends;
            if ends == [at, to] || ends == [to, at] {
                let end = self.end_of(wire, at).unwrap();
                self.close(wire, end);
            }
        }
        self.cuts = cuts;
    }

    /// A node says something to another over the link between them.
    pub(super) fn say(&mut self, from: usize, to: usize, message: Message) {
        let Reach::Direct(link) = self.machine(from).reach(self.nodes[to].id) else {
            panic!("no link from {from} to {to}");
        };
        self.send(from, link, message.into());
    }

    /// How many messages of a kind a node has sent.
    pub(super) fn count_sent(&self, at: usize, kind: impl Fn(&Message) -> bool) -> usize {
        let sent = &self.nodes[at].sent;
        sent.iter().filter(|(_, message)| kind(message)).count()
    }

    /// Closes all connections between two nodes, as a middle box does.
    pub(super) fn reset(&mut self, a: usize, b: usize) {
        for wire in 0..self.wires.len() {
            let ends = self.wires[wire].ends;
            if ends == [a, b] || ends == [b, a] {
                self.close(wire, 0);
                self.close(wire, 1);
            }
        }
    }

    /// How many connections between two nodes are open at both ends.
    pub(super) fn wires_between(&self, a: usize, b: usize) -> usize {
        let between = |wire: &&Wire| wire.ends == [a, b] || wire.ends == [b, a];
        let open = |wire: &&Wire| wire.closed == [false, false];
        self.wires.iter().filter(between).filter(open).count()
    }

    /// Who dialled the one connection between two nodes.
    pub(super) fn dialler(&self, a: usize, b: usize) -> usize {
        let between = |wire: &&Wire| wire.ends == [a, b] || wire.ends == [b, a];
        let open = |wire: &&Wire| wire.closed == [false, false];
        self.wires.iter().filter(between).find(open).unwrap().ends[0]
    }

    /// Goes on for a while.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some((at, step)) = self.next_step().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            match step {
                Step::Arrival(key) => self.arrive(key),
                Step::Tick(at) => self.with(at, |machine, now, out| {
                    machine.on_tick(now, Pulse::default(), out);
                }),
            }
        }
        self.now = end;
    }

    /// Goes on until something holds; panics where it does not within the time. Says how long it took.
    pub(super) fn run_until(&mut self, limit: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let begin = self.now;
        while !holds(self) {
            assert!(
                self.now.since(begin) < limit,
                "it does not hold in {limit:?}"
            );
            self.run(ms(1));
        }
        self.now.since(begin)
    }

    fn next_step(&self) -> Option<(Instant, Step)> {
        let pausing = self.nodes.iter().any(|node| self.now < node.paused_until);
        let due = |(key, (to, _)): (&(Instant, u64), &(usize, Arrival))| {
            let at = key.0.max(self.nodes[*to].paused_until);
            (at, Step::Arrival(*key))
        };
        let arrival = if pausing {
            self.queue.iter().map(due).min_by_key(|(at, _)| *at)
        } else {
            self.queue.iter().map(due).next()
        };
        let ticks = self.nodes.iter().enumerate().filter_map(|(at, node)| {
            let deadline = node.machine.as_ref()?.deadline()?;
            Some((deadline.max(node.paused_until), Step::Tick(at)))
        });
        let tick = ticks.min_by_key(|(at, _)| *at);
        arrival.into_iter().chain(tick).min_by_key(|(at, _)| *at)
    }

    fn arrive(&mut self, key: (Instant, u64)) {
        let (to, arrival) = self.queue.remove(&key).unwrap();
        match arrival {
            Arrival::Up(wire, dial) => {
                let end = self.end_of(wire, to).unwrap();
                let other = self.wires[wire].ends[1 - end];
                let remote = self.address(other);
                let peer = self.nodes[other].id;
                if self.nodes[to].machine.is_none() {
                    return self.close(wire, end);
                }
                self.ended(to, dial);
                self.with(to, |machine, now, out| {
                    machine.on_link_up(now, link(wire), peer, dial, remote, out);
                });
            }
            Arrival::Down(wire) => self.with(to, |machine, now, out| {
                machine.on_link_down(now, link(wire), out);
            }),
            Arrival::Frame(wire, frame) => {
                let end = self.end_of(wire, to).unwrap();
                if !self.wires[wire].closed[end] {
                    self.take(to, wire, frame);
                }
            }
            Arrival::Failed(dial, failure) => {
                self.ended(to, Some(dial));
                self.with(to, |machine, now, out| {
                    machine.on_dial_failed(now, dial, failure, out);
                });
            }
        }
    }

    fn ended(&mut self, at: usize, dial: Option<DialId>) {
        if dial.is_some() {
            self.nodes[at].dialling = self.nodes[at].dialling.saturating_sub(1);
        }
    }

    /// A frame is there: what the facade does with it.
    fn take(&mut self, at: usize, wire: usize, frame: Frame) {
        self.with(at, |machine, now, out| {
            let from = machine.on_frame(now, link(wire));
            match (frame, from) {
                (Frame::Membership(message), _) => {
                    machine.on_message(now, link(wire), message, out);
                }
                (Frame::Relay(relay), Some(_)) if relay.to == machine.me() => {
                    machine.on_relayed(now, relay.from);
                    if let Some(Frame::Membership(message)) = relay.unpack() {
                        machine.on_relayed_message(now, relay.from, message, out);
                    }
                }
                (Frame::Relay(relay), Some(_)) => {
                    if let Reach::Direct(next) = machine.reach(relay.to) {
                        out.forward(next, Frame::Relay(relay));
                    }
                }
                (other, _) => panic!("no other layer speaks here: {other:?}"),
            }
        });
    }

    /// Lets a machine do something, and carries its effects out.
    pub(super) fn with(&mut self, at: usize, act: impl FnOnce(&mut Membership, Now, &mut Outbox)) {
        let now = self.now();
        let mut out = Outbox::default();
        let Some(machine) = self.nodes[at].machine.as_mut() else {
            return;
        };
        act(machine, now, &mut out);
        while let Some(effect) = out.pop() {
            self.carry_out(at, effect);
        }
        let node = &mut self.nodes[at];
        let machine = node.machine.as_mut().unwrap();
        while let Some(event) = machine.poll_event() {
            if !matches!(event, Event::Pulse { .. } | Event::RoundTrip { .. }) {
                node.events.push(event);
            }
        }
    }

    fn carry_out(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::ToLink(link, frame) => self.send(at, link, frame),
            Effect::ToNode(to, frame) => match self.machine(at).reach(to) {
                Reach::Direct(link) => self.send(at, link, frame),
                Reach::Through(_, link) => {
                    let relay = Relay::pack(self.nodes[at].id, to, &frame);
                    self.send(at, link, Frame::Relay(relay));
                }
                Reach::None => (),
            },
            Effect::Output(output) => self.put_out(at, output),
        }
    }

    fn put_out(&mut self, at: usize, output: Output) {
        let node = &mut self.nodes[at];
        match output {
            Output::Dial { dial, target } => self.dial(at, dial, &target),
            Output::HangUp { link } => {
                let wire = usize::try_from(link.0).unwrap();
                let end = self.end_of(wire, at).unwrap();
                self.close(wire, end);
            }
            Output::Keep { members } => node.kept = members,
            Output::KeepEpoch(epoch) => node.kept_epoch = Some(epoch),
            Output::Note(note) => node.notes.push(note),
            Output::Halt(halt) => node.halt = Some(halt),
            Output::Send { .. }
            | Output::Reply { .. }
            | Output::Push { .. }
            | Output::Close { .. }
            | Output::Append { .. }
            | Output::List { .. }
            | Output::Load { .. }
            | Output::Stopped => panic!("not of this layer: {output:?}"),
        }
    }

    fn send(&mut self, at: usize, link: LinkId, frame: Frame) {
        let wire = usize::try_from(link.0).unwrap();
        let end = self.end_of(wire, at).unwrap();
        let to = self.wires[wire].ends[1 - end];
        let now = self.now();
        let machine = self.nodes[at].machine.as_mut().unwrap();
        machine.on_sent(now, link);
        if let Frame::Membership(message) = &frame {
            self.nodes[at].sent.push((to, message.clone()));
        }
        self.sequence += 1;
        let lost = splitmix64(self.sequence) % 100 < self.loss;
        if !self.wires[wire].closed[end] && !self.cuts.contains(&(at, to)) && !lost {
            let more = self.delays.get(&(at, to)).copied().unwrap_or_default();
            self.later(to, LATENCY + more, Arrival::Frame(wire, frame));
        }
    }

    fn dial(&mut self, at: usize, dial: DialId, target: &Target) {
        let node = &mut self.nodes[at];
        node.dials += 1;
        node.dialling += 1;
        node.dialling_most = node.dialling_most.max(node.dialling);
        let (addresses, expected) = match target {
            Target::Contact(contact) => (vec![contact.address.clone()], contact.node),
            Target::Member { node, addresses } => (addresses.clone(), Some(*node)),
        };
        let listens = |address: &PeerAddress| {
            let same = |node: &Node| node.address == *address && node.machine.is_some();
            self.nodes.iter().position(same)
        };
        let to = addresses.iter().find_map(listens);
        let failure = match to {
            None => Some(DialFailure::Unreachable("connection refused".into())),
            Some(to) if to == at => Some(DialFailure::Own),
            Some(to) if self.is_cut(at, to) => Some(DialFailure::Unreachable("timed out".into())),
            Some(to) if expected.is_some_and(|node| node != self.nodes[to].id) => {
                Some(DialFailure::Refused("another node".into()))
            }
            Some(_) => None,
        };
        if let Some(failure) = failure {
            return self.later(at, 2 * LATENCY, Arrival::Failed(dial, failure));
        }
        self.connect(at, to.unwrap(), Some(dial));
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        !self.half_open && (self.cuts.contains(&(a, b)) || self.cuts.contains(&(b, a)))
    }

    /// A connection is made.
    pub(super) fn connect(&mut self, from: usize, to: usize, dial: Option<DialId>) {
        self.wires.push(Wire {
            ends: [from, to],
            closed: [false; 2],
        });
        let wire = self.wires.len() - 1;
        self.later(to, LATENCY, Arrival::Up(wire, None));
        self.later(from, 2 * LATENCY, Arrival::Up(wire, dial));
    }

    /// One end closes: it hears so at once, the other end if nothing is cut.
    fn close(&mut self, wire: usize, end: usize) {
        let ends = self.wires[wire].ends;
        if std::mem::replace(&mut self.wires[wire].closed[end], true) {
            return;
        }
        self.later(ends[end], Duration::ZERO, Arrival::Down(wire));
        let other = 1 - end;
        let lost = self.cuts.contains(&(ends[end], ends[other]));
        if !lost && !self.wires[wire].closed[other] {
            self.wires[wire].closed[other] = true;
            self.later(ends[other], 2 * LATENCY, Arrival::Down(wire));
        }
    }

    fn later(&mut self, to: usize, after: Duration, arrival: Arrival) {
        self.sequence += 1;
        self.queue
            .insert((self.now + after, self.sequence), (to, arrival));
    }

    fn end_of(&self, wire: usize, at: usize) -> Option<usize> {
        self.wires[wire].ends.iter().position(|end| *end == at)
    }

    pub(super) fn machine(&self, at: usize) -> &Membership {
        self.nodes[at].machine.as_ref().unwrap()
    }

    pub(super) fn life(&self, at: usize, of: usize) -> Option<Life> {
        self.machine(at).member(id(of))
    }

    pub(super) fn state(&self, at: usize, of: usize) -> Option<State> {
        self.life(at, of).map(|life| life.state)
    }

    pub(super) fn is_linked(&self, at: usize, to: usize) -> bool {
        matches!(self.machine(at).reach(id(to)), Reach::Direct(_))
    }

    pub(super) fn counter(&self, at: usize, name: &str) -> u64 {
        let counters = self.machine(at).counters();
        let found = counters.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no counter {name}")).1
    }

    /// Whether every running node is linked to every other and holds it for alive.
    pub(super) fn is_meshed(&self) -> bool {
        let running = |at: &usize| self.nodes[*at].machine.is_some();
        let all: Vec<_> = (0..self.nodes.len()).filter(running).collect();
        all.iter().all(|a| {
            let others = all.iter().filter(|b| *b != a);
            let fine =
                |b: &usize| self.is_linked(*a, *b) && self.state(*a, *b) == Some(State::Alive);
            others.copied().all(|b| fine(&b))
        })
    }

    pub(super) fn assert_meshed(&self) {
        assert!(self.is_meshed(), "every node is linked to every other");
    }

    /// What holds of every machine at any time.
    pub(super) fn assert_sound(&self, seed: u64) {
        for node in &self.nodes {
            if let Some(machine) = &node.machine {
                machine.assert_sound(seed);
            }
        }
    }

    /// Nobody but these changed its view of a node.
    pub(super) fn assert_unchanged_but(&self, of: usize, may: &[usize]) {
        for (at, node) in self.nodes.iter().enumerate() {
            if may.contains(&at) || at == of {
                continue;
            }
            let about = |event: &&Event| match event {
                Event::Linked { node, .. }
                | Event::Unlinked(node)
                | Event::Changed { node, .. }
                | Event::Forgotten(node) => *node == id(of),
                Event::Pulse { .. } | Event::RoundTrip { .. } | Event::Epoch(_) => false,
            };
            let seen: Vec<_> = node.events.iter().filter(about).collect();
            assert!(seen.is_empty(), "node {at} saw {seen:?}");
        }
    }
}

/// The next thing that happens.
enum Step {
    Arrival((Instant, u64)),
    Tick(usize),
}

fn link(wire: usize) -> LinkId {
    LinkId(wire as u64)
}

impl Outbox {
    fn forward(&mut self, link: LinkId, frame: Frame) {
        self.send_on(link, frame);
    }
}

impl Membership {
    /// How the parts of one machine agree with each other.
    fn assert_sound(&self, seed: u64) {
        assert!(self.peers.len() < self.config.full_mesh_limit);
        assert!(self.links.len() <= 2 * self.config.full_mesh_limit + self.config.dials_max);
        assert!(self.rounds.len() <= self.peers.len());
        for (id, peer) in &self.peers {
            let living = matches!(peer.state, State::Alive | State::Suspect);
            assert_eq!(living, peer.down.is_none(), "{id:?}");
            assert!(living || peer.links.is_empty(), "nothing goes to the dead");
            assert!(living || peer.suspicion.is_none());
            assert_eq!(peer.round.is_some(), {
                let about = |round: &&super::super::probe::Round| round.target() == *id;
                self.rounds.values().any(|round| about(&round))
            });
            for link in &peer.links {
                let link = self.links.get(link).expect("a link of a peer is known");
                assert!(link.is_open());
                assert_eq!(link.peer, *id);
            }
            let watched = peer
                .links
                .iter()
                .any(|link| self.timers.is_set(Timer::Silence(*link)) || self.links[link].silent);
            let probed = peer.round.is_some() || self.timers.is_set(Timer::Check(*id));
            let stopping = peer.phase == Phase::Stopped;
            assert!(
                !living || watched || probed || stopping,
                "{seed}: {id:?} is looked after: {peer:#?}"
            );
            let linked = peer.links.iter().any(|link| !self.links[link].silent);
            assert!(
                linked || self.is_dialled(*id),
                "{seed}: {id:?} is dialled: {peer:#?}"
            );
        }
    }
}
