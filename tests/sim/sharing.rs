//! Users who share a route key: the hash is short, so some do. Each still counts by itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use mesh::id::{Epoch, NodeId, RouteKey};
use mesh::proto::outbox::{Effect, Outbox};
use mesh::proto::routes::{Config, Message, Routes};
use mesh::time::{Instant, Now};
use mesh::wire::Frame;
use proptest::prelude::*;

/// Nodes, each linked to each.
const NODES: u8 = 4;

/// Keys for all users: many share one.
const KEYS: u64 = 3;

fn node(n: u8) -> NodeId {
    NodeId([n + 1; 32])
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Comes {
        at: u8,
        user: u16,
    },
    Goes {
        session: usize,
    },
    /// A node starts again, without its users.
    Restarts {
        at: u8,
    },
    Passes {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..NODES, any::<u16>()).prop_map(|(at, user)| Step::Comes { at, user }),
        5 => any::<usize>().prop_map(|session| Step::Goes { session }),
        1 => (0..NODES).prop_map(|at| Step::Restarts { at }),
        3 => (0..300_u64).prop_map(|ms| Step::Passes { ms }),
    ]
}

/// The layers of some nodes, what is on its way between them in order, and who is where.
struct Run {
    now: Now,
    layers: BTreeMap<NodeId, Routes>,
    flying: VecDeque<(NodeId, NodeId, Message)>,
    sessions: Vec<(NodeId, u16)>,
    lives: u64,
}

impl Run {
    fn new() -> Self {
        let mut run = Self {
            now: Now {
                at: Instant(1_000_000),
                unix_ms: 1_700_000_000_000,
            },
            layers: BTreeMap::new(),
            flying: VecDeque::new(),
            sessions: Vec::new(),
            lives: 100,
        };
        (0..NODES).for_each(|n| run.start(node(n)));
        run
    }

    fn key(user: u16) -> RouteKey {
        RouteKey(u64::from(user) % KEYS)
    }

    fn start(&mut self, node: NodeId) {
        self.lives += 1;
        self.flying
            .retain(|(from, to, _)| *from != node && *to != node);
        self.sessions.retain(|(at, _)| *at != node);
        let layer = Routes::new(Config::default(), node, Epoch(self.lives));
        self.layers.insert(node, layer);
        let epochs: Vec<_> = self
            .layers
            .iter()
            .map(|(n, l)| (*n, l.summary().epoch))
            .collect();
        for (other, epoch) in epochs.into_iter().filter(|(other, _)| *other != node) {
            let life = Epoch(self.lives);
            self.act(other, |layer, _, _| layer.on_unlinked(node));
            self.act(other, |layer, now, out| {
                layer.on_linked(now, node, life, out)
            });
            self.act(node, |layer, now, out| {
                layer.on_linked(now, other, epoch, out)
            });
        }
    }

    fn act(&mut self, at: NodeId, act: impl FnOnce(&mut Routes, Now, &mut Outbox)) {
        let layer = self.layers.get_mut(&at).expect("it runs");
        let mut out = Outbox::default();
        act(layer, self.now, &mut out);
        while layer.poll_event().is_some() {}
        while let Some(effect) = out.pop() {
            match effect {
                Effect::ToNode(to, Frame::Routes(message)) => {
                    self.flying.push_back((at, to, message));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn pass(&mut self, duration: Duration) {
        let end = self.now.at + duration;
        loop {
            while let Some((from, to, message)) = self.flying.pop_front() {
                self.act(to, |layer, now, out| {
                    layer.on_message(now, from, message, out)
                });
            }
            let due = |(node, layer): (&NodeId, &Routes)| Some((layer.deadline()?, *node));
            let next = self.layers.iter().filter_map(due).min();
            let Some((at, node)) = next.filter(|(at, _)| *at <= end) else {
                break;
            };
            self.now.at = self.now.at.max(at);
            self.act(node, |layer, now, out| layer.on_tick(now, out));
        }
        self.now.at = end;
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Comes { at, user } => {
                self.sessions.push((node(at), user));
                self.act(node(at), |layer, now, out| {
                    layer.attach(now, Self::key(user), out)
                });
            }
            Step::Goes { session } => {
                if !self.sessions.is_empty() {
                    let (at, user) = self.sessions.swap_remove(session % self.sessions.len());
                    self.act(at, |layer, now, out| {
                        layer.detach(now, Self::key(user), out)
                    });
                }
            }
            Step::Restarts { at } => self.start(node(at)),
            Step::Passes { ms } => self.pass(Duration::from_millis(ms)),
        }
    }

    /// A node is found for a key exactly while one of the users who share it is there, and once.
    fn check(&self) -> Result<(), TestCaseError> {
        for layer in self.layers.values() {
            for key in (0..KEYS).map(RouteKey) {
                let found: Vec<NodeId> = layer.lookup(key).map(|route| route.node).collect();
                let here = |(_, user): &&(NodeId, u16)| Self::key(*user) == key;
                let nodes: BTreeSet<NodeId> = self
                    .sessions
                    .iter()
                    .filter(here)
                    .map(|(at, _)| *at)
                    .collect();
                prop_assert_eq!(found.len(), nodes.len(), "{:?}", key);
                prop_assert_eq!(BTreeSet::from_iter(found), nodes, "{:?}", key);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(tests::cases(200))]

    #[test]
    fn a_key_is_shown_for_a_node_until_the_last_who_shares_it_leaves(
        steps in proptest::collection::vec(step(), 0..80),
    ) {
        let mut run = Run::new();
        for step in &steps {
            run.apply(step);
        }
        run.pass(Duration::from_secs(1));
        run.check()?;
    }
}
