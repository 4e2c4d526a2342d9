//! The world of these tests: nodes with this layer alone, a queue of frames, disks in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::disk::Disk;
use crate::event::{Event as Fact, SharedEvent};
use crate::id::{
    Conversation, NodeId, Nonce, RouteHasher, RouteKey, SessionId, Slot, UserName, splitmix64,
};
use crate::proto::outbox::{Effect, Outbox};
use crate::proto::output::{Note, Output, Ticket};
use crate::proto::placement::Placement;
use crate::proto::streams::samples::{body, user};
use crate::proto::streams::{
    AppendError, Appended, Config, Draft, Event, Message, Purpose, Streams, Surroundings,
};
use crate::store::{Answer, Query, Store};
use crate::time::{Clock, Instant, Now, Stamp};
use crate::wire::{self, Envelope, Frame};

pub(super) const START_UNIX_MS: u64 = 1_700_000_000_000;

/// What all nodes agree on, and who reaches whom.
#[derive(Debug)]
pub(super) struct Ground {
    placement: Placement,
    hasher: RouteHasher,
    routes: BTreeMap<RouteKey, BTreeSet<NodeId>>,
    cut: BTreeSet<(NodeId, NodeId)>,
    pub(super) stopping: BTreeSet<NodeId>,
}

/// The world as one node sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Near<'a> {
    ground: &'a Ground,
    me: NodeId,
    now: Now,
}

impl Surroundings for Near<'_> {
    fn me(&self) -> NodeId {
        self.me
    }

    fn now(&self) -> Now {
        self.now
    }

    fn reachable(&self, node: NodeId) -> bool {
        !self.ground.cut.contains(&(self.me, node))
    }

    fn stopping(&self, node: NodeId) -> bool {
        self.ground.stopping.contains(&node)
    }

    fn replicas(&self, slot: Slot) -> impl Iterator<Item = NodeId> {
        self.ground.placement.order(slot)
    }

    fn storing(&self) -> &[(NodeId, u32)] {
        self.ground.placement.storing()
    }

    fn nodes_with(&self, key: RouteKey) -> impl Iterator<Item = NodeId> {
        let nodes = self.ground.routes.get(&key).into_iter().flatten().copied();
        nodes.filter(|node| self.reachable(*node))
    }

    fn key(&self, user: &UserName) -> RouteKey {
        self.ground.hasher.user(user)
    }
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) streams: Streams,
    pub(super) clock: Clock,
    pub(super) disk: Disk,
    /// The disk takes no orders until this is over.
    pub(super) disk_paused: bool,
    orders: VecDeque<Output>,
    pub(super) events: Vec<Event>,
    pub(super) notes: Vec<Note>,
    out: Outbox,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) ground: Ground,
    pub(super) nodes: Vec<Node>,
    pub(super) at: Instant,
    frames: VecDeque<(NodeId, NodeId, Message)>,
    /// Frames between these are lost, though they can reach each other.
    pub(super) lossy: BTreeSet<(usize, usize)>,
    /// All frames delivered since it was last emptied.
    pub(super) log: Vec<(usize, usize, Message)>,
    tickets: u64,
}

impl World {
    /// Ready nodes that all keep slots and reach each other.
    pub(super) fn new(nodes: usize) -> Self {
        Self::with(nodes, nodes, Config::default())
    }

    /// Of `nodes` the first `storing` keep slots.
    pub(super) fn with(nodes: usize, storing: usize, config: Config) -> Self {
        let mut world = Self::unready(nodes, storing, config);
        for node in 0..nodes {
            world.ready(node);
        }
        world
    }

    pub(super) fn unready(nodes: usize, storing: usize, config: Config) -> Self {
        let id = |index| NodeId([u8::try_from(index + 1).unwrap(); 32]);
        let node = |index| Node {
            id: id(index),
            streams: Streams::new(config.clone(), index as u64 + 1),
            clock: Clock::new(Stamp(0)),
            disk: Disk::default(),
            disk_paused: false,
            orders: VecDeque::new(),
            events: Vec::new(),
            notes: Vec::new(),
            out: Outbox::default(),
        };
        Self {
            ground: Ground {
                placement: Placement::new((0..storing).map(|index| (id(index), 1)).collect()),
                hasher: RouteHasher::new(&[7; 16]),
                routes: BTreeMap::new(),
                cut: BTreeSet::new(),
                stopping: BTreeSet::new(),
            },
            nodes: (0..nodes).map(node).collect(),
            at: Instant(0),
            frames: VecDeque::new(),
            lossy: BTreeSet::new(),
            log: Vec::new(),
            tickets: 0,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now {
            at: self.at,
            unix_ms: START_UNIX_MS + self.at.0 / 1_000,
        }
    }

    pub(super) fn unix_ms(&self) -> u64 {
        self.now().unix_ms
    }

    /// Does something with one node's layer.
    pub(super) fn with_node<T>(
        &mut self,
        node: usize,
        act: impl FnOnce(&mut Streams, Near<'_>, &mut Clock, &mut Outbox) -> T,
    ) -> T {
        let now = self.now();
        let node = &mut self.nodes[node];
        let near = Near {
            ground: &self.ground,
            me: node.id,
            now,
        };
        let result = act(&mut node.streams, near, &mut node.clock, &mut node.out);
        self.drain();
        result
    }

    /// A node dies and comes back at once with its disk and nothing else.
    pub(super) fn restart(&mut self, index: usize) {
        self.tickets += 1;
        let node = &mut self.nodes[index];
        node.streams = Streams::new(Config::default(), splitmix64(self.tickets));
        node.clock = Clock::new(node.disk.newest());
        node.orders.clear();
        self.ready(index);
    }

    pub(super) fn ready(&mut self, node: usize) {
        self.with_node(node, |streams, near, clock, out| {
            streams.on_ready(near, clock, out)
        });
    }

    pub(super) fn attach(&mut self, name: &str, node: usize) -> RouteKey {
        let key = self.ground.hasher.user(&user(name));
        let id = self.nodes[node].id;
        self.ground.routes.entry(key).or_default().insert(id);
        key
    }

    /// Nobody outside the group is reached by anybody inside, and the other way round.
    pub(super) fn isolate(&mut self, group: &[usize]) {
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                if group.contains(&a) != group.contains(&b) {
                    self.ground.cut.insert((self.nodes[a].id, self.nodes[b].id));
                }
            }
        }
        self.reach_changed();
    }

    pub(super) fn heal(&mut self) {
        self.ground.cut.clear();
        self.reach_changed();
    }

    pub(super) fn reach_changed(&mut self) {
        for node in 0..self.nodes.len() {
            self.with_node(node, |streams, near, _, out| streams.on_reach(near, out));
        }
    }

    pub(super) fn pause_disks(&mut self, nodes: &[usize]) {
        for &node in nodes {
            self.nodes[node].disk_paused = true;
        }
    }

    pub(super) fn resume_disks(&mut self) {
        for node in &mut self.nodes {
            node.disk_paused = false;
        }
        self.run();
    }

    /// The nodes in the order in which they ought to keep a conversation.
    pub(super) fn order(&self, conversation: &Conversation) -> Vec<usize> {
        let slot = conversation.stream().slot();
        let index = |id| self.nodes.iter().position(|node| node.id == id).unwrap();
        self.ground.placement.order(slot).map(index).collect()
    }

    /// A draft of alice to bob with that nonce, whose session said hello at the start.
    pub(super) fn draft(&self, json: &str, nonce: Nonce) -> Draft {
        Draft {
            session: SessionId(1),
            conversation: Conversation::direct(user("@alice"), user("@bob")),
            author: user("@alice"),
            nonce,
            hello_unix_ms: START_UNIX_MS,
            kind: body(json),
            copies: None,
        }
    }

    /// A nonce of this moment.
    pub(super) fn nonce(&mut self) -> Nonce {
        self.tickets += 1;
        Nonce::new(self.unix_ms(), u128::from(self.tickets))
    }

    pub(super) fn append(&mut self, node: usize, draft: Draft) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.with_node(node, |streams, near, clock, out| {
            streams.append(near, clock, ticket, draft, out);
        });
        ticket
    }

    /// Sends a fresh message and lets everything happen that needs no time.
    pub(super) fn send(&mut self, node: usize, json: &str) -> Ticket {
        let nonce = self.nonce();
        let draft = self.draft(json, nonce);
        let ticket = self.append(node, draft);
        self.run();
        ticket
    }

    pub(super) fn result(
        &self,
        node: usize,
        ticket: Ticket,
    ) -> Option<Result<Appended, AppendError>> {
        let mut results = self.nodes[node]
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Appended { ticket: of, result } if *of == ticket => Some(*result),
                Event::Appended { .. } | Event::Read { .. } | Event::Arrived { .. } => None,
            });
        let result = results.next();
        assert!(results.next().is_none(), "an append ends once");
        result
    }

    pub(super) fn appended(&self, node: usize, ticket: Ticket) -> Appended {
        self.result(node, ticket)
            .expect("answered")
            .expect("appended")
    }

    pub(super) fn arrived(&self, node: usize) -> Vec<(SharedEvent, Option<SessionId>, bool)> {
        let arrived = |event: &Event| match event {
            Event::Arrived {
                event,
                except,
                late,
            } => Some((event.clone(), *except, *late)),
            Event::Appended { .. } | Event::Read { .. } => None,
        };
        self.nodes[node].events.iter().filter_map(arrived).collect()
    }

    /// Asks a question; what it is answered once all has happened that needs no time.
    pub(super) fn ask(&mut self, node: usize, query: Query) -> Option<(Answer, bool)> {
        let ticket = self.start_read(node, query);
        self.run();
        self.read_result(node, ticket)
    }

    pub(super) fn start_read(&mut self, node: usize, query: Query) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.with_node(node, |streams, near, _, out| {
            streams.read(near, ticket, query, out)
        });
        ticket
    }

    pub(super) fn read_result(&self, node: usize, ticket: Ticket) -> Option<(Answer, bool)> {
        self.nodes[node]
            .events
            .iter()
            .find_map(|event| match event {
                Event::Read {
                    ticket: of,
                    answer,
                    complete,
                } if *of == ticket => Some((answer.clone(), *complete)),
                Event::Appended { .. } | Event::Read { .. } | Event::Arrived { .. } => None,
            })
    }

    pub(super) fn counter(&self, node: usize, name: &str) -> u64 {
        let mut counters = self.nodes[node].streams.counters();
        counters
            .find(|(other, _)| *other == name)
            .expect("a counter")
            .1
    }

    pub(super) fn receive(&mut self, node: usize, from: usize, message: Message) {
        let from = self.nodes[from].id;
        self.with_node(node, |streams, near, clock, out| {
            streams.on_message(near, clock, from, message, out);
        });
    }

    /// How many disks hold an event.
    pub(super) fn copies(&self, event: &Fact) -> usize {
        self.nodes
            .iter()
            .filter(|node| node.disk.holds(event))
            .count()
    }

    /// Takes what nodes want done: frames to the queue, orders to the disks.
    fn drain(&mut self) {
        for node in &mut self.nodes {
            while let Some(effect) = node.out.pop() {
                match effect {
                    Effect::ToNode(to, Frame::Streams(message)) => {
                        self.frames.push_back((node.id, to, message));
                    }
                    Effect::Output(Output::Note(note)) => node.notes.push(note),
                    Effect::Output(order) => node.orders.push_back(order),
                    other @ (Effect::ToNode(..) | Effect::ToLink(..)) => panic!("{other:?}"),
                }
            }
            while let Some(event) = node.streams.poll_event() {
                node.events.push(event);
            }
        }
    }

    /// Everything that happens without time passing.
    pub(super) fn run(&mut self) {
        for _ in 0..100_000 {
            if !(self.deliver_one() || self.obey_one() || self.tick_one()) {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn deliver_one(&mut self) -> bool {
        let Some((from, to, message)) = self.frames.pop_front() else {
            return false;
        };
        let index = |id| self.nodes.iter().position(|node| node.id == id).unwrap();
        let (a, b) = (index(from), index(to));
        if !self.ground.cut.contains(&(from, to)) && !self.lossy.contains(&(a, b)) {
            let message = through_the_wire(message);
            self.log.push((a, b, message.clone()));
            self.receive(b, a, message);
        }
        true
    }

    fn obey_one(&mut self) -> bool {
        let ready = |node: &Node| !node.disk_paused && !node.orders.is_empty();
        let Some(index) = self.nodes.iter().position(ready) else {
            return false;
        };
        let node = &mut self.nodes[index];
        let order = node.orders.pop_front().unwrap();
        if let Output::Append { ticket, events } = order {
            let outcomes = node.disk.append(&events).unwrap();
            self.with_node(index, |streams, near, _, out| {
                streams.on_appended(near, ticket, outcomes, out);
            });
        } else if let Output::Load { ticket, query } = order {
            let answer = node.disk.load(&query).unwrap();
            self.with_node(index, |streams, near, _, out| {
                streams.on_loaded(near, ticket, answer, out);
            });
        } else if let Output::List { stream } = order {
            node.disk.list(stream).unwrap();
        } else {
            panic!("{order:?}");
        }
        true
    }

    fn tick_one(&mut self) -> bool {
        let at = self.at;
        let due = |node: &Node| node.streams.deadline().is_some_and(|due| due <= at);
        let Some(index) = self.nodes.iter().position(due) else {
            return false;
        };
        self.with_node(index, |streams, near, clock, out| {
            streams.on_tick(near, clock, out)
        });
        true
    }

    /// Lets time pass, from deadline to deadline.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.at + time;
        self.run();
        loop {
            let next = self
                .nodes
                .iter()
                .filter_map(|node| node.streams.deadline())
                .min();
            self.at = next.map_or(end, |next| next.max(self.at)).min(end);
            self.run();
            if self.at == end {
                return;
            }
        }
    }

    /// Which nodes were sent an event to keep, in the order in which it came there.
    pub(super) fn asked_to_keep(&self) -> Vec<usize> {
        let kept = |(_, to, message): &(usize, usize, Message)| match message {
            Message::Offer {
                purpose: Purpose::Keep(_) | Purpose::KeepAndShow(_),
                ..
            } => Some(*to),
            Message::Offer { .. }
            | Message::Acks(_)
            | Message::Ask { .. }
            | Message::Answer { .. } => None,
        };
        self.log.iter().filter_map(kept).collect()
    }
}

/// Encodes and decodes, as a link does.
fn through_the_wire(message: Message) -> Message {
    let mut bytes = Vec::new();
    let envelope = Envelope {
        stamp: Stamp(0),
        frame: message.into(),
    };
    assert!(
        wire::encode(&envelope, &mut bytes),
        "below the longest frame"
    );
    let (decoded, _) = wire::decode(&bytes).unwrap().unwrap();
    assert_eq!(decoded, envelope);
    let Frame::Streams(message) = decoded.frame else {
        panic!("another frame came out");
    };
    message
}
