//! Hosts, their machines, their disks and their clients, in virtual time.
//!
//! A [`World`] is stepped by [`World::run_for`] and [`World::run_until`]; between steps a test or a
//! scenario crashes hosts, cuts links and lets clients speak. Frames are encoded and decoded on their
//! way, as on a real wire.

mod clients;
mod connect;
mod drive;
mod faults;
mod oracles;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use mesh::command::{Push, Reply};
use mesh::id::{Epoch, NodeId, SessionId};
use mesh::proto::{
    CloseCode, Config, Contact, DialId, Halt, Input, KeptMember, Mesh, Note, Output, PeerAddress,
    Target, Ticket,
};
use mesh::store::Store as _;
use mesh::time::{Instant, Now};
use mesh::wire;

use crate::check::Checks;
use crate::disk::Disk;
use crate::network::{self, End, Network};
use crate::queue::Queue;
use crate::report::traffic::Traffic;
use crate::seed::Chance;
use crate::trace::{self, Trace};

/// Unix milliseconds at the start of every world: an arbitrary day in 2024.
pub const UNIX_START_MS: u64 = 1_732_000_000_000;

/// What the machines of every world derive their route keys from.
pub const ROUTE_KEY: [u8; 16] = [7; 16];

/// How long a durable write takes: a fast disk's flush (`fdatasync` of a preallocated file, 0.1 to
/// 0.3 ms measured).
const FLUSH: Duration = Duration::from_micros(200);

/// How long a read from the store takes.
const LOAD: Duration = Duration::from_micros(50);

/// A frame that takes longer explains what is not known before it arrives, as a lost one does.
const LATE: Duration = Duration::from_secs(1);

/// Inputs that wait for a paused or slow machine: as many frames as sockets and outboxes hold. Frames
/// beyond it are lost, and counted.
pub const BACKLOG_MAX: usize = 65_536;

/// The outputs that one step of a machine may give before it is taken for a loop.
const OUTPUTS_MAX: usize = 1_000_000;

/// One of the world's hosts: a place where a node runs, with an address, an identity and a disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u16);

/// As in a trace.
impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h{}", self.0)
    }
}

/// A client's session: on which host, and which of its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    /// Where it is connected.
    pub host: HostId,
    /// Its session there.
    pub session: SessionId,
}

/// What a client heard from its node, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The answer to a command.
    Reply(u64, Reply),
    /// Something that it did not ask for.
    Push(Push),
    /// The node closed the session.
    Closed(CloseCode),
    /// The connection broke: the node is gone.
    Lost,
}

#[derive(Debug)]
struct Host {
    node: NodeId,
    address: PeerAddress,
    mesh: Option<Mesh>,
    /// Rises at each start and crash: what was planned for an earlier life is void.
    life: u64,
    data: Data,
    contacts: Vec<Contact>,
    config: Config,
    weight: u32,
    /// Milliseconds by which its wall clock is ahead (or behind).
    skew_ms: i64,
    tick_at: Option<Instant>,
    halted: Option<Halt>,
    is_stopping: bool,
    stopped: bool,
    is_paused: bool,
    /// How long each step takes it.
    slow: Duration,
    /// Until when it is at work.
    busy_until: Instant,
    /// What waits for it.
    backlog: VecDeque<Input>,
    notes: Vec<(Instant, Note)>,
}

/// What a node keeps in its data directory, but for its identity.
#[derive(Debug, Clone, Default)]
struct Data {
    disk: Disk,
    kept: Vec<KeptMember>,
    epoch: Epoch,
}

/// A copy of a data directory as it once was; by default of an empty one.
#[derive(Debug, Clone, Default)]
pub struct Backup(Data);

#[derive(Debug)]
enum Happening {
    Input(HostId, u64, Box<Input>),
    Frame(End, Vec<u8>),
    /// A slow machine has time for what waits for it.
    Work(HostId, u64),
    Dial {
        host: HostId,
        life: u64,
        dial: DialId,
        target: Target,
    },
    Appended {
        host: HostId,
        life: u64,
        ticket: Ticket,
        events: Vec<mesh::event::SharedEvent>,
    },
    Loaded {
        host: HostId,
        life: u64,
        ticket: Ticket,
        query: mesh::store::Query,
    },
}

/// Everything there is. See the module.
#[derive(Debug)]
pub struct World {
    now: Instant,
    identities: Chance,
    machines: Chance,
    queue: Queue<Happening>,
    network: Network,
    hosts: Vec<Host>,
    /// When which machine's deadline comes.
    ticks: BTreeSet<(Instant, HostId)>,
    inboxes: BTreeMap<Client, Vec<Heard>>,
    next_session: u64,
    next_request: u64,
    traffic: Traffic,
    /// Frames that came to nothing: lost by the network, in a cut, or beyond a backlog.
    lost: u64,
    backlog_max: usize,
    /// Emptied and filled again and again, to save allocations.
    outputs: Vec<Output>,
    buffers: Vec<Vec<u8>>,
    checks: Checks,
    audit_at: Instant,
    trace: Trace,
    /// The other host of each open end, for the trace: the network forgets it when it closes.
    peers: BTreeMap<End, HostId>,
}

impl World {
    /// An empty world. The seed decides everything that is left to chance.
    pub fn new(seed: u64, network: network::Config) -> Self {
        Self {
            now: Instant(0),
            identities: Chance::new(seed, "identities"),
            machines: Chance::new(seed, "machines"),
            queue: Queue::default(),
            network: Network::new(network, Chance::new(seed, "network")),
            hosts: Vec::new(),
            ticks: BTreeSet::new(),
            inboxes: BTreeMap::new(),
            next_session: 1,
            next_request: 1,
            traffic: Traffic::default(),
            lost: 0,
            backlog_max: 0,
            outputs: Vec::new(),
            buffers: Vec::new(),
            checks: Checks::default(),
            audit_at: Instant(0),
            trace: Trace::off(),
            peers: BTreeMap::new(),
        }
    }

    /// Virtual time since the world's start.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What was sent so far.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Frames that came to nothing so far: lost by the network, in a cut, or beyond a backlog.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The most inputs that ever waited for a paused or slow machine.
    pub fn backlog_max(&self) -> usize {
        self.backlog_max
    }

    /// The network between the hosts.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The network between the hosts, to be told how to behave.
    pub fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    /// Adds a host whose node is not running yet and names these others as its contacts.
    pub fn add_host(&mut self, config: Config, contacts: &[HostId]) -> HostId {
        let id = HostId(u16::try_from(self.hosts.len()).expect("at most 65,535 hosts"));
        let mut key = [0; 32];
        self.identities.fill(&mut key);
        let contacts = contacts.iter().map(|host| self.contact(*host)).collect();
        self.hosts.push(Host {
            node: NodeId(key),
            address: address(id),
            mesh: None,
            life: 0,
            data: Data::default(),
            contacts,
            config,
            weight: 1,
            skew_ms: 0,
            tick_at: None,
            halted: None,
            is_stopping: false,
            stopped: false,
            is_paused: false,
            slow: Duration::ZERO,
            busy_until: Instant(0),
            backlog: VecDeque::new(),
            notes: Vec::new(),
        });
        id
    }

    fn contact(&self, host: HostId) -> Contact {
        Contact {
            address: self.hosts[usize::from(host.0)].address.clone(),
            every: false,
            node: None,
        }
    }

    /// Names another contact for a host's next start.
    pub fn add_contact(&mut self, host: HostId, contact: HostId) {
        let contact = self.contact(contact);
        self.host_mut(host).contacts.push(contact);
    }

    /// A mesh of that many nodes, chained: each names the one before it. Running.
    pub fn chain(seed: u64, nodes: u16) -> Self {
        let mut world = Self::new(seed, network::Config::default());
        world.add_chain(nodes, &Config::default());
        world.hosts().for_each(|host| world.start(host));
        world
    }

    /// Adds the first hosts, of which each names the one before it; none of their nodes runs yet.
    pub fn add_chain(&mut self, nodes: u16, config: &Config) {
        for n in 0..nodes {
            let contacts: Vec<HostId> = n.checked_sub(1).map(HostId).into_iter().collect();
            self.add_host(config.clone(), &contacts);
        }
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..self.hosts.len()).map(|n| HostId(u16::try_from(n).expect("at most 65,535 hosts")))
    }

    /// The node that runs there, in every life of it.
    pub fn node(&self, host: HostId) -> NodeId {
        self.host(host).node
    }

    /// The machine, where it runs.
    pub fn mesh(&self, host: HostId) -> Option<&Mesh> {
        self.host(host).mesh.as_ref()
    }

    /// Whether a host's node is up: not crashed, perhaps paused or stopping.
    pub fn is_up(&self, host: HostId) -> bool {
        self.host(host).mesh.is_some()
    }

    /// Whether a host's node takes clients: it is up, neither paused nor stopping.
    pub fn runs(&self, host: HostId) -> bool {
        let host = self.host(host);
        host.mesh.is_some() && !host.is_paused && !host.is_stopping
    }

    /// The host's disk.
    pub fn disk_mut(&mut self, host: HostId) -> &mut Disk {
        &mut self.host_mut(host).data.disk
    }

    /// Why the machine wished to halt, where it did.
    pub fn halted(&self, host: HostId) -> Option<&Halt> {
        self.host(host).halted.as_ref()
    }

    /// Whether the machine said that it has stopped as it was told.
    pub fn has_stopped(&self, host: HostId) -> bool {
        self.host(host).stopped
    }

    /// What the machine noted for its operator, and when.
    pub fn notes(&self, host: HostId) -> &[(Instant, Note)] {
        &self.host(host).notes
    }

    fn host(&self, host: HostId) -> &Host {
        &self.hosts[usize::from(host.0)]
    }

    fn host_mut(&mut self, host: HostId) -> &mut Host {
        &mut self.hosts[usize::from(host.0)]
    }

    /// A host's clocks now.
    pub fn clock(&self, host: HostId) -> Now {
        let unix_ms = UNIX_START_MS + self.now.0 / 1000;
        Now {
            at: self.now,
            unix_ms: unix_ms.saturating_add_signed(self.host(host).skew_ms),
        }
    }

    /// Sets a host's wall clock that many milliseconds ahead of the others.
    pub fn skew(&mut self, host: HostId, ms: i64) {
        if std::mem::replace(&mut self.host_mut(host).skew_ms, ms) != ms {
            self.trace_fault(host, &format!("clock {ms:+} ms"), None);
        }
    }
}

/// The trace.
impl World {
    /// From now on what happens is traced there.
    pub fn set_trace(&mut self, trace: Trace) {
        self.trace = trace;
    }

    /// The trace so far; nothing is traced from here on.
    pub fn take_trace(&mut self) -> Trace {
        std::mem::take(&mut self.trace)
    }

    /// A part of a run begins.
    pub fn phase(&mut self, what: &str) {
        let event = || trace::Event::Phase(what.to_owned());
        self.trace.event(self.now, None, event);
    }

    /// An invariant is broken.
    pub fn trace_broken(&mut self, invariant: &str, why: &str) {
        let event = || trace::Event::Broken {
            invariant: invariant.to_owned(),
            why: why.to_owned(),
        };
        let host = self.broken().map(|broken| broken.host);
        self.trace.event(self.now, host, event);
    }

    fn trace_fault(&mut self, host: HostId, what: &str, other: Option<HostId>) {
        let event = || trace::Event::Fault {
            what: what.to_owned(),
            other,
        };
        self.trace.event(self.now, Some(host), event);
    }
}

/// Time.
impl World {
    /// Runs for a while.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.step(until) {}
        if self.broken().is_none() {
            self.now = until;
        }
    }

    /// Runs until something holds, looking after each step; false where it does not within the bound.
    pub fn run_until(&mut self, bound: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now + bound;
        loop {
            if holds(self) {
                return true;
            }
            if !self.step(until) {
                self.now = until;
                return holds(self);
            }
        }
    }

    /// The next thing happens; false where nothing does until then, or an invariant is broken.
    fn step(&mut self, until: Instant) -> bool {
        if self.broken().is_some() {
            return false;
        }
        let planned = self.queue.next_at();
        let first = |at: Instant| at <= until && planned.is_none_or(|planned| at < planned);
        if let Some((at, host)) = self.ticks.first().copied().filter(|(at, _)| first(*at)) {
            self.now = self.now.max(at);
            self.drive(host, Input::Tick);
            return true;
        }
        let Some((at, happening)) = self.queue.pop(until) else {
            return false;
        };
        self.now = self.now.max(at);
        self.happen(happening);
        self.audit();
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Input(host, life, input) => {
                let mut opened = None;
                if let Input::LinkUp { link, .. } = *input {
                    opened = Some(End { host, link });
                }
                self.drive_life(host, life, *input);
                // It broke while it opened, and that may have been told first.
                if let Some(end) = opened.filter(|end| !self.network.is_open(*end)) {
                    self.plan_link_down(end);
                }
            }
            Happening::Frame(end, bytes) => {
                if let Some(from) = self.network.peer(end) {
                    let (envelope, _) = wire::decode(&bytes)
                        .expect("own frames")
                        .expect("whole frames");
                    let fate = trace::Fate::Arrived;
                    self.trace.frame(self.now, from, end.host, &envelope, fate);
                    let link = end.link;
                    self.drive(end.host, Input::Frame { link, envelope });
                }
                self.buffers.push(bytes);
            }
            Happening::Work(host, life) => self.work(host, life),
            Happening::Dial {
                host,
                life,
                dial,
                target,
            } => self.dial(host, life, dial, &target),
            Happening::Appended {
                host,
                life,
                ticket,
                events,
            } => {
                if self.host(host).life == life {
                    let outcomes = self
                        .host_mut(host)
                        .data
                        .disk
                        .append(&events)
                        .expect("a simulated disk");
                    self.drive(host, Input::Appended { ticket, outcomes });
                }
            }
            Happening::Loaded {
                host,
                life,
                ticket,
                query,
            } => {
                if self.host(host).life == life {
                    let answer = self
                        .host_mut(host)
                        .data
                        .disk
                        .load(&query)
                        .expect("a simulated disk");
                    self.drive(host, Input::Loaded { ticket, answer });
                }
            }
        }
    }
}

fn address(host: HostId) -> PeerAddress {
    let [high, low] = host.0.to_be_bytes();
    PeerAddress::parse(&format!("10.0.{high}.{low}:8090")).expect("a valid address")
}

fn sessions_of(host: HostId) -> std::ops::RangeInclusive<Client> {
    Client {
        host,
        session: SessionId(0),
    }..=Client {
        host,
        session: SessionId(u64::MAX),
    }
}
