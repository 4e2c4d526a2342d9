//! The rules of this layer, each between a few nodes on links that keep order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::proto::outbox::Effect;
use crate::wire::{Frame, Lane};

mod bounds;
mod converge;
mod golden;
mod repair;
mod snapshots;
mod tails;
mod windows;

fn node(i: usize) -> NodeId {
    NodeId([u8::try_from(i).unwrap() + 1; 32])
}

fn at(at: Instant) -> Now {
    Now {
        at,
        unix_ms: 1_700_000_000_000 + at.0 / 1_000,
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn key(i: u64) -> RouteKey {
    RouteKey(crate::id::splitmix64(i) >> 16)
}

/// Takes the messages of this layer out of an outbox.
fn drain(out: &mut Outbox) -> Vec<(NodeId, Message)> {
    std::iter::from_fn(|| out.pop())
        .map(|effect| {
            let Effect::ToNode(to, Frame::Routes(message)) = effect else {
                panic!("not of this layer: {effect:?}");
            };
            (to, message)
        })
        .collect()
}

/// Some nodes and all that is on its way between them.
struct World {
    now: Instant,
    nodes: Vec<Routes>,
    flying: VecDeque<(usize, usize, Message)>,
    /// What is lost as soon as it is said, by who says it.
    lost: fn(usize, &Message) -> bool,
    /// All that was ever said.
    said: Vec<(usize, usize, Message)>,
    events: Vec<(usize, Event)>,
}

impl World {
    fn new(nodes: usize) -> Self {
        Self::with(nodes, Config::default())
    }

    fn with(nodes: usize, config: Config) -> Self {
        Self {
            now: Instant(1_000_000),
            nodes: (0..nodes)
                .map(|i| Routes::new(config.clone(), node(i), Epoch(100)))
                .collect(),
            flying: VecDeque::new(),
            lost: |_, _| false,
            said: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Two linked nodes that have nothing more to say.
    fn pair() -> Self {
        let mut world = Self::new(2);
        world.link(0, 1);
        world.settle();
        world.said.clear();
        world
    }

    fn index(node: NodeId) -> usize {
        usize::from(node.0[0]) - 1
    }

    fn act(&mut self, i: usize, act: impl FnOnce(&mut Routes, Now, &mut Outbox)) {
        let mut out = Outbox::default();
        act(&mut self.nodes[i], at(self.now), &mut out);
        for (to, message) in drain(&mut out) {
            self.said.push((i, Self::index(to), message.clone()));
            if !(self.lost)(i, &message) {
                self.flying.push_back((i, Self::index(to), message));
            }
        }
        while let Some(event) = self.nodes[i].poll_event() {
            self.events.push((i, event));
        }
    }

    fn attach(&mut self, i: usize, key: RouteKey) {
        self.act(i, |routes, now, out| routes.attach(now, key, out));
    }

    fn detach(&mut self, i: usize, key: RouteKey) {
        self.act(i, |routes, now, out| routes.detach(now, key, out));
    }

    fn link(&mut self, a: usize, b: usize) {
        for (a, b) in [(a, b), (b, a)] {
            let epoch = self.nodes[b].summary().epoch;
            self.act(a, |r, now, out| r.on_linked(now, node(b), epoch, out));
        }
    }

    /// What is on its way is lost.
    fn cut(&mut self, a: usize, b: usize) {
        self.flying
            .retain(|&(from, to, _)| (from, to) != (a, b) && (from, to) != (b, a));
        for (a, b) in [(a, b), (b, a)] {
            self.act(a, |routes, _, _| routes.on_unlinked(node(b)));
        }
    }

    fn member(&mut self, i: usize, of: usize, epoch: Epoch, state: State) {
        self.act(i, |r, now, _| r.on_member(now, node(of), epoch, state));
    }

    fn say(&mut self, from: usize, to: usize, message: Message) {
        self.act(to, |r, now, out| {
            r.on_message(now, node(from), message, out);
        });
    }

    /// One hears the other's heartbeat.
    fn heartbeat(&mut self, from: usize, to: usize) {
        let summary = self.nodes[from].summary();
        self.pulse(from, to, summary);
    }

    /// One hears a heartbeat with this set of the other.
    fn pulse(&mut self, from: usize, to: usize, set: Summary) {
        self.act(to, |r, now, out| {
            r.on_pulse(now, node(from), (set.epoch, set.pulse()), out);
        });
    }

    fn deliver(&mut self) -> bool {
        let Some((from, to, message)) = self.flying.pop_front() else {
            return false;
        };
        self.say(from, to, message);
        true
    }

    /// Delivers at once, and moves on to each deadline within `time`.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while self.deliver() {}
            let deadlines = self.nodes.iter().filter_map(Routes::deadline);
            let Some(next) = deadlines.min().filter(|&next| next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            for i in 0..self.nodes.len() {
                if self.nodes[i].deadline().is_some_and(|at| at <= self.now) {
                    self.act(i, |routes, now, out| routes.on_tick(now, out));
                }
            }
        }
        self.now = end;
    }

    fn settle(&mut self) {
        self.run(Duration::from_secs(1));
    }

    /// What a node shows of another's keys, of those given.
    fn seen(
        &self,
        by: usize,
        of: usize,
        keys: impl IntoIterator<Item = RouteKey>,
    ) -> BTreeSet<RouteKey> {
        let routes = &self.nodes[by];
        let has = |key: &RouteKey| routes.lookup(*key).any(|route| route.node == node(of));
        keys.into_iter().filter(has).collect()
    }

    fn sees(&self, by: usize, of: usize, key: RouteKey) -> bool {
        !self.seen(by, of, [key]).is_empty()
    }

    fn held(&self, by: usize, of: usize) -> Option<Summary> {
        self.nodes[by].origins.held(node(of))
    }

    fn stats(&self, i: usize) -> &Stats {
        &self.nodes[i].stats
    }

    /// All parts that a node sent.
    fn parts(&self, from: usize) -> Vec<&Part> {
        let from_it = self.said.iter().filter(|(by, _, _)| *by == from);
        let parts = from_it.map(|(_, _, message)| match message {
            Message::Part(part) => Some(part),
            Message::Resume(_)
            | Message::Batch(_)
            | Message::Log { .. }
            | Message::Ack { .. }
            | Message::Have { .. } => None,
        });
        parts.flatten().collect()
    }

    fn said(&self, from: usize, which: impl Fn(&Message) -> bool) -> usize {
        let from_it = self.said.iter().filter(|(by, _, _)| *by == from);
        from_it.filter(|(_, _, message)| which(message)).count()
    }
}

fn is_resume(message: &Message) -> bool {
    matches!(message, Message::Resume(_))
}

fn is_batch(message: &Message) -> bool {
    matches!(message, Message::Batch(_))
}

fn is_log(message: &Message) -> bool {
    matches!(message, Message::Log { .. })
}

fn is_have(message: &Message) -> bool {
    matches!(message, Message::Have { .. })
}

fn is_part(message: &Message) -> bool {
    matches!(message, Message::Part(_))
}

/// A well-formed batch after a set.
fn batch(before: Summary, attached: &[RouteKey], detached: &[RouteKey]) -> Batch {
    Batch {
        after: before.after(attached, detached),
        attached: Keys::pack(attached),
        detached: Keys::pack(detached),
    }
}

/// What events tell of one node's set, folded.
fn told(events: &[(usize, Event)], by: usize, of: usize) -> BTreeSet<RouteKey> {
    let mut set = BTreeSet::new();
    for (i, event) in events {
        if let Event::Changed {
            node: n,
            attached,
            detached,
        } = event
            && (*i, *n) == (by, node(of))
        {
            assert!(attached.len() + detached.len() <= SLICE_KEYS);
            set.retain(|key| !detached.contains(key));
            set.extend(attached.iter().copied());
        }
    }
    set
}

#[test]
fn a_lookup_gives_every_node_with_a_session_this_one_included() {
    let mut world = World::pair();
    world.attach(0, key(1));
    world.attach(1, key(1));
    world.settle();
    for i in 0..2 {
        let routes: Vec<_> = world.nodes[i].lookup(key(1)).collect();
        let nodes: BTreeMap<_, _> = routes.iter().map(|r| (r.node, r.epoch)).collect();
        assert_eq!(
            nodes,
            BTreeMap::from([(node(0), Epoch(100)), (node(1), Epoch(100))])
        );
        assert_eq!(world.nodes[i].total(), 2);
        assert_eq!(world.nodes[i].count(node(0)), 1);
    }
}

#[test]
fn a_nodes_own_changes_are_no_events() {
    let mut world = World::pair();
    world.events.clear();
    world.attach(0, key(1));
    world.settle();
    assert_eq!(
        world.events,
        [(
            1,
            Event::Changed {
                node: node(0),
                attached: vec![key(1)],
                detached: vec![]
            }
        )]
    );
}

#[test]
fn a_set_is_complete_only_in_the_life_it_is_of() {
    let mut world = World::pair();
    assert!(world.nodes[0].is_complete(node(1), Epoch(100)));
    assert!(!world.nodes[0].is_complete(node(1), Epoch(101)));
    assert!(world.nodes[0].is_complete(node(0), Epoch(100)));
    assert!(!World::new(2).nodes[0].is_complete(node(1), Epoch(100)));
    world.member(0, 1, Epoch(101), State::Alive);
    assert!(!world.nodes[0].is_complete(node(1), Epoch(101)));
}

#[test]
fn an_epoch_raised_before_the_first_frame_is_that_of_everything_said() {
    let mut world = World::new(2);
    world.attach(0, key(1));
    world.nodes[0].set_epoch(Epoch(200));
    world.attach(0, key(2));
    world.link(0, 1);
    world.settle();
    assert_eq!(world.held(1, 0), Some(world.nodes[0].summary()));
    let route = world.nodes[1].lookup(key(1)).next().unwrap();
    assert_eq!(route.epoch, Epoch(200));
    assert_eq!(
        world.nodes[0].lookup(key(2)).next().unwrap().epoch,
        Epoch(200)
    );
}

#[test]
fn snapshots_go_on_the_bulk_lane_and_all_else_on_control() {
    let mut world = World::new(2);
    world.attach(0, key(1));
    world.link(0, 1);
    world.settle();
    for (_, _, message) in &world.said {
        let bulk = is_part(message);
        assert_eq!(message.lane() == Lane::Bulk, bulk, "{message:?}");
    }
    assert!(world.said(0, is_part) > 0);
}
