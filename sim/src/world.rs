//! Hosts, their machines, their disks and their clients, in virtual time.
//!
//! A [`World`] is stepped by [`World::run_for`] and [`World::run_until`]; between steps a test or a
//! scenario crashes hosts, cuts links and lets clients speak. Frames are encoded and decoded on their
//! way, as on a real wire.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh::command::{Command, Hello, Push, Reply};
use mesh::id::{Device, Epoch, LinkId, NodeId, SessionId, UserName};
use mesh::proto::{
    CloseCode, Closing, Config, Contact, DialFailure, DialId, Halt, Input, KeptMember, Mesh, Note,
    Output, PeerAddress, Start, Target, Ticket, membership,
};
use mesh::store::Store as _;
use mesh::time::{Instant, Now};
use mesh::wire::{self, Envelope};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use crate::disk::Disk;
use crate::network::{self, End, Network};
use crate::queue::Queue;

/// Unix milliseconds at the start of every world: an arbitrary day in 2024.
pub const UNIX_START_MS: u64 = 1_732_000_000_000;

/// How long a durable write takes: a fast disk's flush (`fdatasync` of a preallocated file, 0.1 to
/// 0.3 ms measured).
const FLUSH: Duration = Duration::from_micros(200);

/// How long a read from the store takes.
const LOAD: Duration = Duration::from_micros(50);

/// How long a dial takes to fail where nobody listens.
const REFUSED: Duration = Duration::from_millis(1);

/// How long a dial takes to fail where nothing answers.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// The outputs that one step of a machine may give before it is taken for a loop.
const OUTPUTS_MAX: usize = 1_000_000;

/// One of the world's hosts: a place where a node runs, with an address, an identity and a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub u16);

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
    /// Rises at each start: what was planned for an earlier life is void.
    life: u64,
    disk: Disk,
    kept: Vec<KeptMember>,
    epoch: Epoch,
    contacts: Vec<Contact>,
    config: Config,
    weight: u32,
    /// Milliseconds by which its wall clock is ahead (or behind).
    skew_ms: i64,
    tick_at: Option<Instant>,
    halted: Option<Halt>,
    stopped: bool,
    paused: Vec<Input>,
    is_paused: bool,
    notes: Vec<(Instant, Note)>,
}

#[derive(Debug)]
enum Happening {
    Input(HostId, u64, Input),
    Frame(End, Vec<u8>),
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

/// Totals of what crossed the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames sent.
    pub frames: u64,
    /// Their encoded bytes, length prefix included.
    pub bytes: u64,
}

/// Everything there is. See the module.
#[derive(Debug)]
pub struct World {
    now: Instant,
    rng: ChaCha8Rng,
    queue: Queue<Happening>,
    network: Network,
    hosts: Vec<Host>,
    /// When which machine's deadline comes.
    ticks: BTreeSet<(Instant, HostId)>,
    inboxes: BTreeMap<Client, Vec<Heard>>,
    next_session: u64,
    next_request: u64,
    traffic: Traffic,
}

impl World {
    /// An empty world. The seed decides everything that is left to chance.
    pub fn new(seed: u64, network: network::Config) -> Self {
        Self {
            now: Instant(0),
            rng: ChaCha8Rng::seed_from_u64(seed),
            queue: Queue::default(),
            network: Network::new(network),
            hosts: Vec::new(),
            ticks: BTreeSet::new(),
            inboxes: BTreeMap::new(),
            next_session: 1,
            next_request: 1,
            traffic: Traffic::default(),
        }
    }

    /// Virtual time since the world's start.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What has crossed the network so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Adds a host whose node is not running yet and names these others as its contacts.
    pub fn add_host(&mut self, config: Config, contacts: &[HostId]) -> HostId {
        let id = HostId(u16::try_from(self.hosts.len()).expect("at most 65,535 hosts"));
        let mut key = [0; 32];
        self.rng.fill_bytes(&mut key);
        let contacts = contacts.iter().map(|host| self.contact(*host)).collect();
        self.hosts.push(Host {
            node: NodeId(key),
            address: address(id),
            mesh: None,
            life: 0,
            disk: Disk::default(),
            kept: Vec::new(),
            epoch: Epoch(0),
            contacts,
            config,
            weight: 1,
            skew_ms: 0,
            tick_at: None,
            halted: None,
            stopped: false,
            paused: Vec::new(),
            is_paused: false,
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
        for n in 0..nodes {
            let contacts: Vec<HostId> = n.checked_sub(1).map(HostId).into_iter().collect();
            let host = world.add_host(Config::default(), &contacts);
            world.start(host);
        }
        world
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

    /// The host's disk.
    pub fn disk_mut(&mut self, host: HostId) -> &mut Disk {
        &mut self.host_mut(host).disk
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
        self.host_mut(host).skew_ms = ms;
    }
}

/// Faults.
impl World {
    /// Starts a host's node from what its disk and data directory hold.
    pub fn start(&mut self, id: HostId) {
        let now = self.clock(id);
        let seed = self.rng.next_u64();
        let host = self.host_mut(id);
        assert!(host.mesh.is_none(), "host {id:?} runs already");
        host.life += 1;
        host.epoch = Epoch(now.unix_ms.max(host.epoch.0 + 1));
        host.stopped = false;
        host.halted = None;
        let me = membership::Record {
            node: host.node,
            epoch: host.epoch,
            incarnation: 0,
            addresses: vec![host.address.clone()],
            url: Some(format!("ws://{}/ws", host.address)),
            weight: host.weight,
            version: "sim".to_owned(),
        };
        let membership = membership::Start {
            me,
            kept: host.kept.clone(),
            contacts: host.contacts.clone(),
            seed,
        };
        let start = Start {
            membership,
            route_key: [7; 16],
            newest: host.disk.newest(),
            seed,
        };
        host.mesh = Some(Mesh::new(host.config.clone(), start, now));
        self.drive(id, Input::Tick);
    }

    /// Kills a host's node at once: connections break, unflushed appends are lost.
    pub fn crash(&mut self, id: HostId) {
        self.set_tick(id, None);
        let host = self.host_mut(id);
        host.mesh = None;
        host.life += 1;
        host.is_paused = false;
        host.paused.clear();
        for (client, inbox) in self.inboxes.range_mut(sessions_of(id)) {
            if client.host == id && !inbox.last().is_some_and(Heard::is_end) {
                inbox.push(Heard::Lost);
            }
        }
        for end in self.network.close_host(id) {
            self.plan_link_down(end);
        }
    }

    /// Takes away what a host's node has kept: disk, member list, epoch. Its identity stays.
    pub fn lose_data(&mut self, id: HostId) {
        let host = self.host_mut(id);
        assert!(host.mesh.is_none(), "host {id:?} runs");
        (host.disk, host.kept, host.epoch) = (Disk::default(), Vec::new(), Epoch(0));
    }

    /// A host that runs another life of the same node: its identity is taken from `of`.
    pub fn clone_identity(&mut self, id: HostId, of: HostId) {
        self.host_mut(id).node = self.host(of).node;
    }

    /// Tells a node to stop as SIGTERM does.
    pub fn stop(&mut self, id: HostId) {
        self.drive(id, Input::Stop);
    }

    /// A host does nothing for a while: what comes waits.
    pub fn pause(&mut self, id: HostId) {
        self.set_tick(id, None);
        self.host_mut(id).is_paused = true;
    }

    /// A paused host goes on with all that has come meanwhile.
    pub fn unpause(&mut self, id: HostId) {
        let host = self.host_mut(id);
        host.is_paused = false;
        for input in std::mem::take(&mut host.paused) {
            self.drive(id, input);
        }
        self.drive(id, Input::Tick);
    }

    /// Cuts the network between two hosts, both ways.
    pub fn cut(&mut self, a: HostId, b: HostId) {
        self.network.cut_one_way(a, b);
        self.network.cut_one_way(b, a);
    }

    /// Frames from one host no longer reach the other.
    pub fn cut_one_way(&mut self, from: HostId, to: HostId) {
        self.network.cut_one_way(from, to);
    }

    /// Cuts the network between two groups of hosts.
    pub fn split(&mut self, some: &[HostId], others: &[HostId]) {
        for a in some {
            for b in others {
                self.cut(*a, *b);
            }
        }
    }

    /// Heals what was cut between two hosts.
    pub fn heal(&mut self, a: HostId, b: HostId) {
        for end in self.network.heal(a, b) {
            self.plan_link_down(end);
        }
    }

    /// Heals everything.
    pub fn heal_all(&mut self) {
        for (a, b) in self.network.cuts() {
            self.heal(a, b);
        }
    }

    fn plan_link_down(&mut self, end: End) {
        let life = self.host(end.host).life;
        let at = self.now + self.network.latency(&mut self.rng);
        self.queue.plan(
            at,
            Happening::Input(end.host, life, Input::LinkDown { link: end.link }),
        );
    }
}

/// Clients.
impl World {
    /// Opens a session and says `hello`; whatever the answer, it is in the inbox later.
    pub fn hello(&mut self, host: HostId, user: &str, device: Option<&str>) -> Client {
        let hello = Hello {
            user: user.parse().expect("a valid user name"),
            device: device.map(|device| Device::try_from(device).expect("a valid device")),
            resume: None,
        };
        self.hello_with(host, hello)
    }

    /// Opens a session with that `hello`.
    pub fn hello_with(&mut self, host: HostId, hello: Hello) -> Client {
        let client = Client {
            host,
            session: SessionId(self.next_session),
        };
        self.next_session += 1;
        self.inboxes.insert(client, Vec::new());
        self.command(client, Command::Hello(hello));
        client
    }

    /// A client asks for something: the number of its request.
    pub fn command(&mut self, client: Client, command: Command) -> u64 {
        let request = self.next_request;
        self.next_request += 1;
        self.drive(
            client.host,
            Input::Command {
                session: client.session,
                request: Some(request),
                command,
            },
        );
        request
    }

    /// A client goes, or its connection is lost.
    pub fn close(&mut self, client: Client, closing: Closing) {
        self.drive(
            client.host,
            Input::Closed {
                session: client.session,
                closing,
            },
        );
    }

    /// All that a client has heard so far.
    pub fn heard(&self, client: Client) -> &[Heard] {
        self.inboxes.get(&client).map_or(&[], Vec::as_slice)
    }

    /// The answer to a request, where it has come.
    pub fn reply(&self, client: Client, request: u64) -> Option<&Reply> {
        self.heard(client).iter().find_map(|heard| match heard {
            Heard::Reply(number, reply) if *number == request => Some(reply),
            _ => None,
        })
    }

    /// Runs until a request is answered: the answer.
    ///
    /// # Panics
    /// Where none comes within 20 virtual seconds.
    pub fn ask(&mut self, client: Client, command: Command) -> Reply {
        let request = self.command(client, command);
        self.run_until(Duration::from_secs(20), |world| {
            world.reply(client, request).is_some()
        });
        self.reply(client, request)
            .cloned()
            .expect("an answer within 20 s")
    }

    /// Everything pushed to a client so far.
    pub fn pushes(&self, client: Client) -> impl Iterator<Item = &Push> {
        self.heard(client).iter().filter_map(|heard| match heard {
            Heard::Push(push) => Some(push),
            _ => None,
        })
    }

    /// A name as a client writes it.
    pub fn user(name: &str) -> UserName {
        name.parse().expect("a valid user name")
    }
}

impl Heard {
    fn is_end(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Lost)
    }
}

/// Time.
impl World {
    /// Runs for a while.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.step(until) {}
        self.now = until;
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

    /// The next thing happens; false where nothing does until then.
    fn step(&mut self, until: Instant) -> bool {
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
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Input(host, life, input) => self.drive_life(host, life, input),
            Happening::Frame(end, bytes) => {
                if self.network.is_open(end) {
                    let (envelope, _) = wire::decode(&bytes)
                        .expect("own frames")
                        .expect("whole frames");
                    self.drive(
                        end.host,
                        Input::Frame {
                            link: end.link,
                            envelope,
                        },
                    );
                }
            }
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
                        .disk
                        .load(&query)
                        .expect("a simulated disk");
                    self.drive(host, Input::Loaded { ticket, answer });
                }
            }
        }
    }

    fn dial(&mut self, host: HostId, life: u64, dial: DialId, target: &Target) {
        if self.host(host).life != life {
            return;
        }
        let (addresses, expected) = match target {
            Target::Contact(contact) => (std::slice::from_ref(&contact.address), contact.node),
            Target::Member { node, addresses } => (addresses.as_slice(), Some(*node)),
        };
        let found = addresses
            .iter()
            .find_map(|address| self.hosts().find(|h| self.host(*h).address == *address));
        let failure = match found {
            None => Some((REFUSED, DialFailure::Unreachable("no such host".to_owned()))),
            Some(other) if other == host => Some((REFUSED, DialFailure::Own)),
            Some(other)
                if !self.network.passes(host, other) || !self.network.passes(other, host) =>
            {
                Some((
                    DIAL_TIMEOUT,
                    DialFailure::Unreachable("timed out".to_owned()),
                ))
            }
            Some(other) if self.host(other).mesh.is_none() => Some((
                REFUSED,
                DialFailure::Unreachable("connection refused".to_owned()),
            )),
            Some(other) if expected.is_some_and(|node| node != self.host(other).node) => Some((
                REFUSED,
                DialFailure::Refused("another node answers there".to_owned()),
            )),
            Some(_) => None,
        };
        if let Some((after, failure)) = failure {
            let input = Input::DialFailed { dial, failure };
            return self
                .queue
                .plan(self.now + after, Happening::Input(host, life, input));
        }
        let listener = found.expect("no failure");
        self.link_up(host, listener, dial);
    }

    fn link_up(&mut self, dialler: HostId, listener: HostId, dial: DialId) {
        let (near, far) = self.network.connect(dialler, listener);
        let at = self.now + self.network.latency(&mut self.rng);
        for (end, other, dial) in [(near, far, Some(dial)), (far, near, None)] {
            let remote = self.host(other.host).address.clone();
            let peer = self.host(other.host).node;
            let life = self.host(end.host).life;
            let up = Input::LinkUp {
                link: end.link,
                peer,
                dial,
                remote,
            };
            self.queue.plan(at, Happening::Input(end.host, life, up));
        }
    }
}

/// Driving the machines.
impl World {
    fn drive_life(&mut self, host: HostId, life: u64, input: Input) {
        if self.host(host).life == life {
            self.drive(host, input);
        }
    }

    /// Gives a machine an input and carries out what it wants.
    fn drive(&mut self, id: HostId, input: Input) {
        let now = self.clock(id);
        let host = self.host_mut(id);
        if host.is_paused {
            return host.paused.push(input);
        }
        let Some(mesh) = &mut host.mesh else { return };
        mesh.handle(now, input);
        let outputs: Vec<Output> = std::iter::from_fn(|| mesh.poll_output())
            .take(OUTPUTS_MAX)
            .collect();
        assert!(outputs.len() < OUTPUTS_MAX, "a step without end");
        let tick_at = mesh.poll_deadline().map(|at| at.max(now.at));
        self.set_tick(id, tick_at);
        for output in outputs {
            self.carry_out(id, output);
        }
    }

    fn set_tick(&mut self, id: HostId, at: Option<Instant>) {
        let before = std::mem::replace(&mut self.host_mut(id).tick_at, at);
        before.map(|before| self.ticks.remove(&(before, id)));
        self.ticks.extend(at.map(|at| (at, id)));
    }

    fn carry_out(&mut self, id: HostId, output: Output) {
        let life = self.host(id).life;
        match output {
            Output::Send { link, envelope } => self.send(End { host: id, link }, &envelope),
            Output::Dial { dial, target } => {
                let at = self.now + self.network.latency(&mut self.rng);
                self.queue.plan(
                    at,
                    Happening::Dial {
                        host: id,
                        life,
                        dial,
                        target,
                    },
                );
            }
            Output::HangUp { link } => self.hang_up(id, link),
            Output::Reply {
                session,
                request,
                reply,
                bulk,
            } => {
                if let Some(request) = request {
                    self.hear(Client { host: id, session }, Heard::Reply(request, reply));
                }
                self.drained(id, session, bulk);
            }
            Output::Push {
                audience,
                push,
                bulk,
            } => {
                for session in audience {
                    self.hear(Client { host: id, session }, Heard::Push(push.clone()));
                    self.drained(id, session, bulk);
                }
            }
            Output::Close { session, code } => {
                self.hear(Client { host: id, session }, Heard::Closed(code));
                let closed = Input::Closed {
                    session,
                    closing: Closing::Lost,
                };
                self.queue
                    .plan(self.now, Happening::Input(id, life, closed));
            }
            Output::Append { ticket, events } => {
                self.queue.plan(
                    self.now + FLUSH,
                    Happening::Appended {
                        host: id,
                        life,
                        ticket,
                        events,
                    },
                );
            }
            Output::List { stream } => self
                .host_mut(id)
                .disk
                .list(stream)
                .expect("a simulated disk"),
            Output::Load { ticket, query } => {
                self.queue.plan(
                    self.now + LOAD,
                    Happening::Loaded {
                        host: id,
                        life,
                        ticket,
                        query,
                    },
                );
            }
            Output::Keep { members } => self.host_mut(id).kept = members,
            Output::KeepEpoch(epoch) => self.host_mut(id).epoch = epoch,
            Output::Note(note) => {
                let now = self.now;
                self.host_mut(id).notes.push((now, note));
            }
            Output::Halt(halt) => {
                self.host_mut(id).halted = Some(halt);
                self.crash(id);
            }
            Output::Stopped => self.host_mut(id).stopped = true,
        }
    }

    fn send(&mut self, from: End, envelope: &Envelope) {
        let mut bytes = Vec::new();
        assert!(
            wire::encode(envelope, &mut bytes),
            "a frame above the limit: {envelope:?}"
        );
        self.traffic.frames += 1;
        self.traffic.bytes += bytes.len() as u64;
        if let Some((to, at)) = self.network.send(from, self.now, &mut self.rng) {
            self.queue.plan(at, Happening::Frame(to, bytes));
        }
    }

    fn hang_up(&mut self, host: HostId, link: LinkId) {
        for end in self.network.close(End { host, link }) {
            self.plan_link_down(end);
        }
    }

    fn hear(&mut self, client: Client, heard: Heard) {
        // A session that is over hears nothing.
        if let Some(inbox) = self
            .inboxes
            .get_mut(&client)
            .filter(|inbox| !inbox.last().is_some_and(Heard::is_end))
        {
            inbox.push(heard);
        }
    }

    fn drained(&mut self, host: HostId, session: SessionId, bulk: bool) {
        if bulk {
            let life = self.host(host).life;
            self.queue.plan(
                self.now,
                Happening::Input(host, life, Input::Drained { session }),
            );
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
