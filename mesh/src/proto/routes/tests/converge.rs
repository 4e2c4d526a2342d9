//! Any faults, then healing: at every step each node holds exactly what each origin had as of the
//! batch it claims, and in the end what it has.
//!
//! Messages are lost, doubled, reordered and come late, also those of links and lives that are gone.
//! The oracle is the history of every origin's set by (epoch, seq).

use proptest::prelude::*;

use super::*;

const NODES: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Attach(usize, u64),
    Detach(usize, u64),
    /// One of the messages on their way, not the oldest.
    Deliver(usize),
    /// So many of the oldest.
    DeliverFirst(usize),
    Drop(usize),
    Double(usize),
    Link(usize, usize),
    Unlink(usize, usize),
    Heartbeat(usize, usize),
    Pass(u64),
    Restart(usize),
    Down(usize, usize),
    Up(usize, usize),
    Forget(usize, usize),
}

fn step(keys: u64) -> impl Strategy<Value = Step> {
    let n = || 0..NODES;
    let pair = || (0..NODES, 1..NODES).prop_map(|(a, b)| (a, (a + b) % NODES));
    prop_oneof![
        12 => (n(), 0..keys).prop_map(|(i, k)| Step::Attach(i, k)),
        10 => (n(), 0..keys).prop_map(|(i, k)| Step::Detach(i, k)),
        6 => any::<usize>().prop_map(Step::Deliver),
        8 => (1..8_usize).prop_map(Step::DeliverFirst),
        2 => any::<usize>().prop_map(Step::Drop),
        2 => any::<usize>().prop_map(Step::Double),
        4 => pair().prop_map(|(a, b)| Step::Link(a, b)),
        2 => pair().prop_map(|(a, b)| Step::Unlink(a, b)),
        6 => pair().prop_map(|(a, b)| Step::Heartbeat(a, b)),
        8 => prop_oneof![1..60_u64, Just(1_000), Just(5_000)].prop_map(Step::Pass),
        1 => n().prop_map(Step::Restart),
        1 => pair().prop_map(|(a, b)| Step::Down(a, b)),
        1 => pair().prop_map(|(a, b)| Step::Up(a, b)),
        1 => pair().prop_map(|(a, b)| Step::Forget(a, b)),
    ]
}

/// What is on its way: messages, and heartbeats with the summary of when they were sent.
#[derive(Debug, Clone)]
enum Flying {
    Message(usize, usize, Message),
    Summary(usize, usize, Summary),
}

/// Keys per index of a step: blocks make sets of several parts.
struct Run {
    world: World,
    block: u64,
    keys: u64,
    flying: Vec<Flying>,
    /// By origin: sessions per key.
    sessions: Vec<BTreeMap<RouteKey, u32>>,
    history: Vec<BTreeMap<(Epoch, u64), BTreeSet<RouteKey>>>,
    /// By holder and origin: the highest (epoch, seq) shown, and what events told.
    marks: BTreeMap<(usize, usize), (Epoch, u64)>,
    told: BTreeMap<(usize, usize), BTreeSet<RouteKey>>,
    /// By holder and origin: what was looked at already.
    checked: BTreeMap<(usize, usize), Option<Summary>>,
    epoch: u64,
}

impl Run {
    fn new(keys: u64, block: u64, config: &Config) -> Self {
        let mut run = Self {
            world: World::with(NODES, config.clone()),
            block,
            keys,
            flying: Vec::new(),
            sessions: vec![BTreeMap::new(); NODES],
            history: vec![BTreeMap::new(); NODES],
            marks: BTreeMap::new(),
            told: BTreeMap::new(),
            checked: BTreeMap::new(),
            epoch: 100,
        };
        (0..NODES).for_each(|i| run.record(i));
        run
    }

    fn all_keys(&self) -> impl Iterator<Item = RouteKey> + use<> {
        (0..self.keys * self.block).map(key)
    }

    /// What a node has announced; where all changes of a window fit into a batch, that is what its
    /// sessions made when the batch was.
    fn record(&mut self, i: usize) {
        let summary = self.world.nodes[i].summary();
        let life = (summary.epoch, summary.seq);
        if self.history[i].contains_key(&life) {
            return;
        }
        let chunks = self.world.nodes[i].own.share();
        let set: BTreeSet<_> = chunks.iter().flat_map(|c| c.iter().copied()).collect();
        if self.keys * self.block <= SLICE_KEYS as u64 {
            assert!(set.iter().eq(self.sessions[i].keys()));
        }
        self.history[i].insert(life, set);
    }

    fn collect(&mut self) {
        let messages = self.world.flying.drain(..);
        self.flying
            .extend(messages.map(|(from, to, message)| Flying::Message(from, to, message)));
        for (by, event) in self.world.events.drain(..) {
            if let Event::Changed {
                node,
                attached,
                detached,
            } = event
            {
                let told = self.told.entry((by, World::index(node))).or_default();
                told.retain(|key| !detached.contains(key));
                told.extend(attached);
            }
        }
    }

    fn session(&mut self, i: usize, index: u64, more: bool) {
        for key in (index * self.block..(index + 1) * self.block).map(key) {
            let count = self.sessions[i].entry(key).or_default();
            *count = if more {
                *count + 1
            } else {
                count.saturating_sub(1)
            };
            if *count == 0 {
                self.sessions[i].remove(&key);
            }
            if more {
                self.world.attach(i, key);
            } else {
                self.world.detach(i, key);
            }
            self.record(i);
        }
    }

    fn deliver(&mut self, flying: Flying) {
        match flying {
            Flying::Message(from, to, message) => {
                let before = self.world.said.len();
                self.world.say(from, to, message);
                let replies = &self.world.said[before..];
                assert!(replies.len() <= 1, "one frame, one reply: {replies:?}");
                assert!(replies.iter().all(|(_, to, _)| *to == from));
            }
            Flying::Summary(from, to, summary) => self.world.pulse(from, to, summary),
        }
    }

    fn take(&mut self, index: usize) -> Option<Flying> {
        (!self.flying.is_empty()).then(|| self.flying.remove(index % self.flying.len()))
    }

    fn pass(&mut self, time: Duration) {
        let end = self.world.now + time;
        loop {
            let deadlines = self.world.nodes.iter().filter_map(Routes::deadline);
            let Some(next) = deadlines.min().filter(|&next| next <= end) else {
                break;
            };
            self.world.now = self.world.now.max(next);
            for i in 0..NODES {
                self.world
                    .act(i, |routes, now, out| routes.on_tick(now, out));
                self.record(i);
            }
        }
        self.world.now = end;
    }

    fn restart(&mut self, i: usize) {
        self.epoch += 1;
        let config = self.world.nodes[i].config.clone();
        self.world.nodes[i] = Routes::new(config, node(i), Epoch(self.epoch));
        self.sessions[i].clear();
        self.marks.retain(|&(by, _), _| by != i);
        self.told.retain(|&(by, _), _| by != i);
        for other in (0..NODES).filter(|&other| other != i) {
            self.world
                .act(other, |routes, _, _| routes.on_unlinked(node(i)));
        }
        self.record(i);
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Attach(i, k) => self.session(i, k, true),
            Step::Detach(i, k) => self.session(i, k, false),
            Step::Deliver(index) => {
                if let Some(flying) = self.take(index) {
                    self.deliver(flying);
                }
            }
            Step::DeliverFirst(count) => {
                for _ in 0..count {
                    if let Some(flying) = self.take(0) {
                        self.deliver(flying);
                        self.collect();
                    }
                }
            }
            Step::Drop(index) => drop(self.take(index)),
            Step::Double(index) => {
                if !self.flying.is_empty() {
                    let copy = self.flying[index % self.flying.len()].clone();
                    self.flying.push(copy);
                }
            }
            Step::Link(a, b) => self.world.link(a, b),
            Step::Unlink(a, b) => {
                self.world
                    .act(a, |routes, _, _| routes.on_unlinked(node(b)));
                self.world
                    .act(b, |routes, _, _| routes.on_unlinked(node(a)));
            }
            Step::Heartbeat(from, to) => {
                let summary = self.world.nodes[from].summary();
                self.flying.push(Flying::Summary(from, to, summary));
            }
            Step::Pass(time) => self.pass(ms(time)),
            Step::Restart(i) => self.restart(i),
            Step::Down(by, of) => self.member(by, of, State::Down),
            Step::Up(by, of) => self.member(by, of, State::Alive),
            Step::Forget(by, of) => self
                .world
                .act(by, |r, now, _| r.on_forgotten(now, node(of))),
        }
        self.collect();
    }

    fn member(&mut self, by: usize, of: usize, state: State) {
        let epoch = self.world.nodes[of].summary().epoch;
        self.world.member(by, of, epoch, state);
    }

    fn check(&mut self) {
        for by in 0..NODES {
            assert_eq!(self.world.stats(by).mismatches, 0);
            assert_eq!(self.world.stats(by).resumes_disagreed, 0);
            for of in (0..NODES).filter(|&of| of != by) {
                self.check_view(by, of);
            }
        }
    }

    fn check_view(&mut self, by: usize, of: usize) {
        let held = self.world.held(by, of);
        // Of large sets only what is claimed anew is looked at.
        if self.checked.insert((by, of), held) == Some(held) && self.block > 1 {
            return;
        }
        let seen = self.world.seen(by, of, self.all_keys());
        let Some(held) = held else {
            assert!(seen.is_empty(), "nothing is held, nothing is shown");
            return;
        };
        let then = &self.history[of][&(held.epoch, held.seq)];
        assert!(seen == *then, "{by} has {of} as of {held:?}");
        let mut sum = Summary {
            count: 0,
            fingerprint: 0,
            ..held
        };
        seen.iter().for_each(|&key| sum.add(key));
        assert_eq!(sum, held, "count and fingerprint are those of the set");
        let mark = self.marks.entry((by, of)).or_default();
        assert!((held.epoch, held.seq) >= *mark, "never back");
        *mark = (held.epoch, held.seq);
        assert_eq!(self.world.nodes[by].count(node(of)), held.count);
    }

    /// No faults any more: links between all, heartbeats, no loss.
    fn heal(&mut self) {
        self.flying.clear();
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            self.world.link(a, b);
        }
        for _ in 0..80 {
            self.collect();
            while !self.flying.is_empty() {
                let flying = self.flying.remove(0);
                self.deliver(flying);
                self.collect();
            }
            self.pass(ms(250));
            for from in 0..NODES {
                for to in (0..NODES).filter(|&to| to != from) {
                    self.step(&Step::Heartbeat(from, to));
                }
            }
        }
    }

    fn check_healed(&self) {
        for (by, of) in (0..NODES).flat_map(|by| (0..NODES).map(move |of| (by, of))) {
            let seen = self.world.seen(by, of, self.all_keys());
            assert!(
                seen.iter().eq(self.sessions[of].keys()),
                "{by} has all of {of}"
            );
            if by != of {
                let present = self.world.nodes[of].summary();
                assert_eq!(self.world.held(by, of), Some(present));
                assert!(self.world.nodes[by].is_complete(node(of), present.epoch));
                let told = self.told.get(&(by, of)).cloned().unwrap_or_default();
                assert!(told == seen, "events fold to what is shown");
            }
        }
        let all: u64 = self.sessions.iter().map(|s| s.len() as u64).sum();
        for routes in &self.world.nodes {
            assert_eq!(routes.total(), all);
            assert_eq!(routes.sets.len(), all, "what is not shown is swept away");
        }
    }
}

fn run(steps: &[Step], keys: u64, block: u64, config: &Config) {
    let mut run = Run::new(keys, block, config);
    for step in steps {
        run.step(step);
        run.check();
    }
    run.heal();
    run.check();
    run.check_healed();
}

proptest! {
    #[test]
    fn every_view_is_a_prefix_and_all_converge(
        steps in prop::collection::vec(step(12), 0..150),
        log_ops in prop_oneof![Just(4_usize), Just(30), Just(65_536)],
    ) {
        run(&steps, 12, 1, &Config { log_ops, ..Config::default() });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn views_of_sets_in_many_parts_are_prefixes_and_converge(
        steps in prop::collection::vec(step(8), 0..60),
        log_ops in prop_oneof![Just(2_000_usize), Just(65_536)],
    ) {
        run(&steps, 8, 1_000, &Config { log_ops, ..Config::default() });
    }
}
