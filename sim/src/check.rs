//! Oracles: what must hold in every world after every step of every machine.
//!
//! They stand outside the machines and keep their own truth: what each origin has announced, by its own
//! set and their own arithmetic (`history`); who is where, as the clients know it (`sessions`); which
//! hosts ran and could reach each other (`paths`). Each step of a machine costs them O(1), or O(what it
//! changed); [`Checks::audit`] compares the whole tables, some hosts at a time.
//!
//! | # | invariant | how |
//! | --- | --- | --- |
//! | 1 | prefix equality | at each move of a replica: count, fingerprint and changed keys against the history; the audit adds up the real table |
//! | 2 | (epoch, seq) only rises | at each move |
//! | 3, 4, 7 | contiguous batches; no frame claims more than it holds; replays change nothing | follow from 1 and 2; of the origin: each `seq` is the next and changes something |
//! | 5 | nothing of a superseded, purged or left life is shown | at each move, for all keys of the old life; audit |
//! | 6 | a purge leaves later lives alone | follows from 1: the audit finds what is missing |
//! | 8, 14 | union of the live origins' sets | [`Checks::converged`] |
//! | 9–11 | detection, false deaths | measured: [`Detection`] |
//! | 13 | every miss is explained | audit, a sample of all users at a time |
//! | 16 | bounds | replies at each frame; loads at the audit. That no frame is above its cap the world asserts when it encodes it |
//! | 17 | count and fingerprint carried are those of the set | at each batch of the origin; audit; and no machine ever finds a mismatch |
//! | 19 | a copy of a node halts and says nothing more | at the halt; [`Checks::converged`] |
//!
//! Streams are no concern of theirs.

mod audit;
mod bounds;
mod cause;
mod convergence;
mod detection;
mod eventual;
mod history;
mod members;
mod paths;
mod replicas;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use mesh::id::{Epoch, LinkId, NodeId, RouteHasher, RouteKey};
use mesh::proto::membership::State;
use mesh::proto::routes::Summary;
use mesh::proto::{Config, Input, Mesh, Output};
use mesh::time::Instant;

pub use bounds::{SNAPSHOTS_MAX, Worst};
pub use cause::Cause;
pub use convergence::Convergence;
pub use detection::{Death, Detection, FalseDeath};
pub use paths::HEALING;

use crate::world::{HostId, ROUTE_KEY};
use cause::Kind;
use history::Lives;
use paths::Paths;
use replicas::Seen;
use sessions::Sessions;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    /// What a replica shows of an origin at a `seq` is the origin's set at that `seq`.
    PrefixEquality,
    /// What a replica shows of an origin only goes forward.
    Rises,
    /// Each batch of an origin has the next number and changes something.
    Contiguous,
    /// Nothing of a life that is over is shown once the next one is, or it was purged or left.
    Superseded,
    /// A lookup finds whoever has been there for long, unless something explains that it does not.
    Explained,
    /// Everything has a bound, and no frame asks for more than one reply.
    Bounded,
    /// Count and fingerprint that are said are those of the set.
    Carried,
    /// Of two processes of one node the earlier halts, and says nothing more.
    OneLife,
    /// States of members change only as they may, and are told when they do.
    Transitions,
}

impl Invariant {
    /// Its number in the list of all invariants of routing; 20 stands for what is not in it.
    pub fn number(self) -> u8 {
        match self {
            Self::PrefixEquality => 1,
            Self::Rises => 2,
            Self::Contiguous => 3,
            Self::Superseded => 5,
            Self::Explained => 13,
            Self::Bounded => 16,
            Self::Carried => 17,
            Self::OneLife => 19,
            Self::Transitions => 20,
        }
    }
}

/// What an oracle found, before it is known where.
type Fault = (Invariant, String);

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub invariant: Invariant,
    /// When.
    pub at: Instant,
    /// At whose machine it was seen.
    pub host: HostId,
    /// What was found, a sentence.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            invariant,
            at,
            host,
            what,
        } = self;
        let number = invariant.number();
        write!(
            f,
            "invariant {number} ({invariant:?}) broken at {at:?} on {host:?}: {what}"
        )
    }
}

/// What is done when an invariant is broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Upon {
    /// Panic with its text: a test fails at once, and shrinks.
    #[default]
    Panic,
    /// Keep the first.
    Collect,
    /// Nothing is checked or measured.
    Off,
}

/// What is known of a host's present life.
#[derive(Debug)]
struct Host {
    node: usize,
    config: Config,
    runs: bool,
    /// Its own set, as it said last.
    summary: Summary,
    held_changes: u64,
    /// By the number of the origin.
    seen: Vec<Seen>,
    /// By the number of the member; `None`: not known, or not known to be known.
    states: Vec<Option<State>>,
    /// To whom, and since when.
    links: BTreeMap<LinkId, (usize, Instant)>,
}

/// The oracles of one world.
#[derive(Debug)]
pub struct Checks {
    upon: Upon,
    broken: Option<Broken>,
    hasher: RouteHasher,
    hosts: BTreeMap<HostId, Host>,
    /// Nodes by number, in the order in which they were first seen, and their numbers.
    nodes: Vec<NodeId>,
    numbers: BTreeMap<NodeId, usize>,
    /// By the number of the node: on which hosts it runs.
    running: Vec<Vec<HostId>>,
    /// By the number of the origin.
    lives: Vec<Lives>,
    /// Lives that two processes claim: there is no one history of them.
    contested: BTreeSet<(usize, Epoch)>,
    /// Moves that could not be compared, since the history is forgotten.
    uncompared: u64,
    paths: Paths,
    sessions: Sessions,
    convergence: Convergence,
    detection: Detection,
    worst: Worst,
    /// Whom the next audit begins with, and after which user its sample.
    audit_next: HostId,
    sample_after: (HostId, RouteKey),
}

impl Default for Checks {
    /// Nothing has happened yet.
    fn default() -> Self {
        Self {
            upon: Upon::default(),
            broken: None,
            hasher: RouteHasher::new(&ROUTE_KEY),
            hosts: BTreeMap::new(),
            nodes: Vec::new(),
            numbers: BTreeMap::new(),
            running: Vec::new(),
            lives: Vec::new(),
            contested: BTreeSet::new(),
            uncompared: 0,
            paths: Paths::default(),
            sessions: Sessions::default(),
            convergence: Convergence::default(),
            detection: Detection::default(),
            worst: Worst::default(),
            audit_next: HostId(0),
            sample_after: (HostId(0), RouteKey(0)),
        }
    }
}

impl Checks {
    /// What is to be done when an invariant is broken. Off is for good: what was missed is not known.
    pub fn upon(&mut self, upon: Upon) {
        if self.upon != Upon::Off {
            self.upon = upon;
        }
    }

    /// The first invariant that was broken.
    pub fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// How soon batches were everywhere.
    pub fn convergence(&self) -> &Convergence {
        &self.convergence
    }

    /// How soon deaths were noticed.
    pub fn detection(&self) -> &Detection {
        &self.detection
    }

    /// The worst that was seen of everything that has a bound.
    pub fn worst(&self) -> Worst {
        self.worst
    }

    /// Moves of replicas that could not be compared with a history long forgotten.
    pub fn uncompared(&self) -> u64 {
        self.uncompared
    }

    fn is_off(&self) -> bool {
        self.upon == Upon::Off
    }

    fn settle(&mut self, at: Instant, host: HostId, result: Result<(), Fault>) {
        let Err((invariant, what)) = result else {
            return;
        };
        let broken = Broken {
            invariant,
            at,
            host,
            what,
        };
        assert!(self.upon != Upon::Panic, "{broken}");
        self.broken.get_or_insert(broken);
    }

    /// The number of a node.
    fn number(&mut self, node: NodeId) -> usize {
        if let Some(number) = self.numbers.get(&node) {
            return *number;
        }
        let number = self.nodes.len();
        self.nodes.push(node);
        self.numbers.insert(node, number);
        self.running.push(Vec::new());
        self.lives.push(Lives::new());
        for host in self.hosts.values_mut() {
            host.seen.push(Seen::default());
            host.states.push(None);
        }
        number
    }

    /// The only host on which a node runs; `None`: none does, or several.
    fn host_of(&self, node: usize) -> Option<HostId> {
        match self.running[node][..] {
            [host] => Some(host),
            _ => None,
        }
    }
}

/// What the world tells.
impl Checks {
    /// A host's node begins a life; before its first step.
    pub fn on_start(&mut self, at: Instant, host: HostId, config: &Config, mesh: &Mesh) {
        if self.is_off() {
            return;
        }
        let node = self.number(mesh.id());
        let members: Vec<_> = mesh
            .lives()
            .map(|(node, life)| (self.number(node), life.state))
            .collect();
        let mut states = vec![None; self.nodes.len()];
        members
            .into_iter()
            .for_each(|(member, state)| states[member] = Some(state));
        let begun = Host {
            node,
            config: config.clone(),
            runs: true,
            summary: mesh.summary(),
            held_changes: mesh.held_changes(),
            seen: vec![Seen::default(); self.nodes.len()],
            states,
            links: BTreeMap::new(),
        };
        self.hosts.insert(host, begun);
        self.running[node].push(host);
        self.paths.on_start(at, host);
        self.detection.on_start(host);
        let result = self.begin_life(at, host, mesh);
        self.settle(at, host, result);
    }

    /// A host's node is gone.
    pub fn on_crash(&mut self, at: Instant, host: HostId) {
        if !self.hosts.get(&host).is_some_and(|host| host.runs) {
            return;
        }
        self.lose_replica(at, host);
        let gone = self.hosts.get_mut(&host).expect("it is there");
        gone.runs = false;
        gone.links.clear();
        let (node, epoch) = (gone.node, gone.summary.epoch);
        self.running[node].retain(|on| *on != host);
        self.convergence.on_over((node, epoch));
        let has_it = |state: Option<State>| matches!(state, Some(State::Alive | State::Suspect));
        let watchers = self
            .hosts
            .iter()
            .filter(|(_, by)| by.runs && has_it(by.states[node]));
        let watchers = watchers.map(|(by, _)| *by).collect();
        self.detection.on_crash(at, host, watchers);
        self.paths.on_crash(at, host);
        self.sessions.on_crash(host);
    }

    /// A host does nothing from here on, and does not know it.
    pub fn on_pause(&mut self, at: Instant, host: HostId) {
        self.paths.on_pause(at, host);
    }

    /// It goes on.
    pub fn on_unpause(&mut self, at: Instant, host: HostId) {
        self.paths.on_unpause(at, host);
    }

    /// Frames of one host no longer reach the other.
    pub fn on_cut(&mut self, at: Instant, from: HostId, to: HostId) {
        self.paths.on_cut(at, from, to);
    }

    /// They do again.
    pub fn on_heal(&mut self, at: Instant, from: HostId, to: HostId) {
        self.paths.on_heal(at, from, to);
    }

    /// Something else went wrong between two hosts that explains what it leads to: heavy loss, a long
    /// delay, a broken connection.
    pub fn on_disturbed(&mut self, at: Instant, a: HostId, b: HostId) {
        self.paths.disturb(at, a, b);
    }

    /// A frame between two hosts was lost, or will arrive then and not before.
    pub fn on_lost(&mut self, at: Instant, a: HostId, b: HostId) {
        self.paths.on_lost(at, a, b);
    }

    /// What an input to a machine is about; to be given to [`Checks::after_step`].
    pub fn cause(&self, input: &Input, mesh: &Mesh) -> Cause {
        Cause::of(input, mesh.id(), &self.hasher)
    }

    /// A machine has taken an input and given these outputs.
    pub fn after_step(
        &mut self,
        at: Instant,
        host: HostId,
        mesh: &Mesh,
        cause: Cause,
        outputs: &[Output],
    ) {
        if self.is_off() {
            return;
        }
        let result = self.check_step(at, host, mesh, cause, outputs);
        self.settle(at, host, result);
    }

    fn check_step(
        &mut self,
        at: Instant,
        host: HostId,
        mesh: &Mesh,
        cause: Cause,
        outputs: &[Output],
    ) -> Result<(), Fault> {
        match cause.0 {
            Kind::Linked { link, peer } => {
                let peer = self.number(peer);
                self.host_mut(host).links.insert(link, (peer, at));
            }
            Kind::Unlinked(link) => {
                self.host_mut(host).links.remove(&link);
            }
            Kind::Hello(session, key) => self.sessions.on_hello(host, session, key),
            Kind::Closed(session) => self.sessions.on_closed(at, host, session),
            Kind::Stop => self.paths.on_stop(host),
            Kind::Frame { .. } | Kind::Other => {}
        }
        self.check_outputs(at, host, mesh, cause, outputs)?;
        self.check_own(at, host, mesh)?;
        self.check_moves(at, host, mesh, cause)
    }

    fn host(&self, host: HostId) -> &Host {
        self.hosts.get(&host).expect("a host that was started")
    }

    fn host_mut(&mut self, host: HostId) -> &mut Host {
        self.hosts.get_mut(&host).expect("a host that was started")
    }
}

#[cfg(test)]
impl Checks {
    /// As if the node that was seen first had announced another set than it did.
    pub(crate) fn doctor(&mut self) {
        let lives = self.lives[0].values_mut();
        lives.for_each(history::Life::doctor);
    }
}
