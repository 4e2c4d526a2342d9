//! The task that owns the swarm: connections begin and end here, frames do not pass.
//!
//! It never waits for the machine: what it has to tell waits in a queue that is as long as there are
//! links and dials.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::identity::Keypair;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{SwarmBuilder, mdns, noise, tcp, yamux};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::behaviour::{Behaviour, Down};
use super::dial::{self, Try};
use super::identity::peer_of;
use super::links::Links;
use super::{BindError, Config, address};
use crate::proto::{DialFailure, DialId, Input, Target};

/// How many addresses are dialled at once, from connecting to the end of admission.
const TRIES_MAX: usize = 48;

/// How many connections to others may be under way; above [`TRIES_MAX`], so that only ours queue.
const PENDING_OUT_MAX: u32 = 64;

/// How many connections from outside may be in the handshake: bounds what strangers cost.
const PENDING_IN_MAX: u32 = 256;

/// How many streams of one connection may be under way or open: six are used.
const STREAMS_MAX: usize = 16;

/// How many dials may be under way or wait: more than a mesh has members and contacts.
const DIALS_MAX: usize = 1024;

/// How many addresses found on the local network wait for the machine.
const DISCOVERED_MAX: usize = 256;

/// How long [`Driver`] goes on after it was told to stop, so that what waits is written.
const STOP_MAX: Duration = Duration::from_secs(3);

/// How long to wait for the address of one more interface.
const INTERFACES_WAIT: Duration = Duration::from_millis(50);

/// A dial that the machine wants.
#[derive(Debug)]
pub(crate) struct Dial(pub(crate) DialId, pub(crate) Target);

/// What runs on each connection. The limits come first: what they refuse gets no handler.
#[derive(NetworkBehaviour)]
pub(crate) struct Stack {
    limits: connection_limits::Behaviour,
    links: Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

/// See [the module](self).
pub(crate) struct Driver {
    swarm: Swarm<Stack>,
    listener: ListenerId,
    links: Arc<Links>,
    wanted: mpsc::Receiver<Dial>,
    tries: mpsc::Receiver<Try>,
    /// Given to every dial.
    try_sender: mpsc::Sender<Try>,
    permits: Arc<Semaphore>,
    dials: JoinSet<Option<(DialId, DialFailure)>>,
    /// What the machine is to be told.
    pending: VecDeque<Input>,
}

impl Driver {
    /// Binds the listener. The addresses, never none, have the port it really has.
    pub(crate) async fn bind(
        config: &Config,
        links: Arc<Links>,
        wanted: mpsc::Receiver<Dial>,
    ) -> Result<(Self, Vec<SocketAddr>), BindError> {
        let mut swarm = build(config, &links)?;
        let (listener, addresses) = listen(&mut swarm, config.listen).await?;
        let (try_sender, tries) = mpsc::channel(TRIES_MAX);
        let driver = Self {
            swarm,
            listener,
            links,
            wanted,
            tries,
            try_sender,
            permits: Arc::new(Semaphore::new(TRIES_MAX)),
            dials: JoinSet::new(),
            pending: VecDeque::new(),
        };
        Ok((driver, addresses))
    }

    /// Runs until nobody can ask for a dial any more.
    pub(crate) async fn run(mut self) {
        let links = Arc::clone(&self.links);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                wanted = self.wanted.recv() => match wanted {
                    Some(dial) => self.on_wanted(dial),
                    None => break,
                },
                Some(attempt) = self.tries.recv() => self.on_try(attempt),
                Some(ended) = self.dials.join_next() => self.on_dial_ended(ended.ok().flatten()),
                Ok(room) = links.inputs.reserve(), if !self.pending.is_empty() => {
                    if let Some(input) = self.pending.pop_front() {
                        room.send(input);
                    }
                }
            }
        }
        self.stop().await;
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<StackEvent>) {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the behaviour sees the others"
        )]
        match event {
            SwarmEvent::Behaviour(StackEvent::Links(Down(link))) => {
                self.pending.push_back(Input::LinkDown { link });
            }
            SwarmEvent::Behaviour(StackEvent::Mdns(mdns::Event::Discovered(found))) => {
                for (_, address) in found {
                    if let Some(address) = address::from_multiaddr(&address) {
                        self.on_discovered(address);
                    }
                }
            }
            SwarmEvent::ListenerError { error, .. } => {
                self.links.counters.listener_errors.one();
                tracing::warn!(%error, "a connection from a peer could not be accepted");
            }
            SwarmEvent::ListenerClosed { reason, .. } => {
                self.links.counters.listener_errors.one();
                tracing::error!(?reason, "peers cannot connect to this node any more");
            }
            _ => {}
        }
    }

    fn on_discovered(&mut self, address: SocketAddr) {
        if self.pending.len() < DISCOVERED_MAX {
            let address = address.into();
            self.pending.push_back(Input::Discovered { address });
        } else {
            self.links.counters.discoveries_dropped.one();
        }
    }

    fn on_wanted(&mut self, Dial(dial, target): Dial) {
        if self.dials.len() >= DIALS_MAX {
            let why = "too many dials are under way".to_owned();
            self.on_dial_ended(Some((dial, DialFailure::Unreachable(why))));
            return;
        }
        let tries = self.try_sender.clone();
        let permits = Arc::clone(&self.permits);
        self.dials.spawn(async move {
            let failure = dial::run(dial, target, tries, permits).await?;
            Some((dial, failure))
        });
    }

    fn on_dial_ended(&mut self, failed: Option<(DialId, DialFailure)>) {
        if let Some((dial, failure)) = failed {
            self.pending.push_back(Input::DialFailed { dial, failure });
        }
    }

    fn on_try(&mut self, attempt: Try) {
        let address = address::to_multiaddr(attempt.address);
        // Dialling from the listening port gains nothing here, and a port of its own cannot clash
        // with an earlier connection to the same address.
        let options = match attempt.expected {
            Some(node) => DialOpts::peer_id(peer_of(node))
                .condition(PeerCondition::Always)
                .addresses(vec![address])
                .allocate_new_port()
                .build(),
            None => DialOpts::unknown_peer_id()
                .address(address)
                .allocate_new_port()
                .build(),
        };
        let behaviour = &mut self.swarm.behaviour_mut().links;
        behaviour.begin(options.connection_id(), attempt);
        if let Err(error) = self.swarm.dial(options) {
            // The behaviour has been told too, and has told whoever dials.
            tracing::debug!(%error, "an address is not dialled");
        }
    }

    /// Lets the links write what waits, and the connections close.
    async fn stop(mut self) {
        let deadline = Instant::now() + STOP_MAX;
        self.swarm.remove_listener(self.listener);
        self.dials.shutdown().await;
        self.links.hang_up_all();
        while self.swarm.network_info().num_peers() > 0 {
            match timeout_at(deadline, self.swarm.select_next_some()).await {
                Ok(event @ SwarmEvent::Behaviour(_)) => self.on_swarm_event(event),
                Ok(_) => {}
                Err(_) => break,
            }
        }
        for input in self.pending {
            if self.links.inputs.try_send(input).is_err() {
                // Whoever stops the network need not listen to its end.
                break;
            }
        }
    }
}

fn build(config: &Config, links: &Arc<Links>) -> Result<Swarm<Stack>, BindError> {
    let limits = &config.limits;
    let prologue = links.keys.prologue.to_vec();
    let connections = ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_IN_MAX))
        .with_max_pending_outgoing(Some(PENDING_OUT_MAX))
        .with_max_established(Some(limits.connections_max))
        .with_max_established_per_peer(Some(limits.connections_per_peer_max));
    let peer = config.identity.keypair().public().to_peer_id();
    let mdns = config
        .mdns
        .then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), peer));
    let mdns = mdns.transpose().map_err(BindError::Mdns)?;
    let stack = Stack {
        limits: connection_limits::Behaviour::new(connections),
        links: Behaviour::new(Arc::clone(links)),
        mdns: mdns.into(),
    };
    let swarm = SwarmBuilder::with_existing_identity(config.identity.keypair().clone())
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            |keypair: &Keypair| {
                noise::Config::new(keypair).map(|config| config.with_prologue(prologue))
            },
            || {
                let mut config = yamux::Config::default();
                config.set_max_num_streams(STREAMS_MAX);
                config
            },
        )
        .map_err(|error| BindError::Identity(error.to_string()))?
        .with_behaviour(|_| stack)
        .expect("an error of this kind has no value")
        .with_swarm_config(|config| {
            config
                .with_max_negotiating_inbound_streams(STREAMS_MAX)
                .with_idle_connection_timeout(Duration::from_secs(60))
        })
        .with_connection_timeout(limits.handshake_timeout)
        .build();
    Ok(swarm)
}

/// Listens. Gives the listener and the addresses under which the machine's interfaces have it.
async fn listen(
    swarm: &mut Swarm<Stack>,
    at: SocketAddr,
) -> Result<(ListenerId, Vec<SocketAddr>), BindError> {
    let failed = |source: io::Error| BindError::Listen { at, source };
    // libp2p shares a port among all that ask for it, so that a second node on the same address
    // would take half of the first one's connections. This one does not share: it fails instead.
    drop(std::net::TcpListener::bind(at).map_err(failed)?);
    let listener = swarm
        .listen_on(address::to_multiaddr(at))
        .map_err(|error| match error {
            TransportError::Other(source) => failed(source),
            TransportError::MultiaddrNotSupported(_) => failed(io::ErrorKind::Unsupported.into()),
        })?;
    let mut addresses = Vec::new();
    loop {
        // A wildcard has an address for each interface, and nothing tells which is the last.
        let patience = match (addresses.is_empty(), at.ip().is_unspecified()) {
            (true, _) => STOP_MAX,
            (false, true) => INTERFACES_WAIT,
            (false, false) => break,
        };
        match timeout(patience, swarm.select_next_some()).await {
            Ok(SwarmEvent::NewListenAddr { address, .. }) => {
                addresses.extend(address::from_multiaddr(&address));
            }
            Ok(SwarmEvent::ListenerClosed { reason, .. }) => {
                let unknown = || io::ErrorKind::Other.into();
                return Err(failed(reason.err().unwrap_or_else(unknown)));
            }
            Ok(_) => {}
            Err(_) if addresses.is_empty() => return Err(failed(io::ErrorKind::TimedOut.into())),
            Err(_) => break,
        }
    }
    Ok((listener, addresses))
}
