//! The libp2p driver: [`Input`]s from the network to the machine, [`Output`]s from the machine to it.
//!
//! TCP, Noise and Yamux; one long-lived stream for each link and lane, framed by [`wire`](crate::wire)
//! and batched by what waits. A stranger fails in the Noise handshake, whose prologue is derived from
//! the mesh key; an admission proves the key again and compares mesh names before any frame is read.
//!
//! What it does not do: it decides nothing. Whom to dial and when again, which of two links to keep,
//! whether a silent peer is alive: the machine says so. It never waits for the machine to say it, and
//! the machine never waits for it.
//!
//! ```text
//! machine ── perform, flush ──▶ outboxes ──▶ link ⇄ Yamux, Noise, TCP ⇄ peer
//!         ◀──── inputs ───────────────────── link
//!         ── dial ──▶ driver ─▶ dial ─▶ swarm
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | `driver` | the task that owns the swarm |
//! | `behaviour` | which streams a connection has |
//! | `links` | the table of links, through which frames go out |
//! | `link`, `lane` | one connection: admission, then its lanes |
//! | `admission` | who may join |
//! | `outbox` | what waits to be written |
//! | `dial` | from a target to a connection |
//! | [`Identity`], [`Keys`], [`SystemClock`] | what the node gives to the machine |

mod address;
mod admission;
mod behaviour;
mod clock;
mod counters;
mod dial;
mod driver;
mod identity;
mod keys;
mod lane;
mod link;
mod links;
mod outbox;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use admission::MESH_NAME_MAX;
pub use clock::SystemClock;
pub use identity::Identity;
pub use keys::Keys;

use driver::{Dial, Driver};
use links::Links;

use crate::id::{LinkId, NodeId};
use crate::proto::{DialId, Input, Output, Target};
use crate::wire::{Envelope, Lane};

/// How many dials may wait for the driver, which takes them at once.
const WANTED_MAX: usize = 1024;

/// Who a node is on the network.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its key pair.
    pub identity: Identity,
    /// Where it listens for peers. Port 0: any that is free.
    pub listen: SocketAddr,
    /// Nodes of another name are refused. At most [`MESH_NAME_MAX`] bytes.
    pub mesh_name: String,
    /// Made of the mesh key. Nodes with others fail in the handshake.
    pub keys: Keys,
    /// Whether to tell and ask the local network who is there (multicast DNS).
    pub mdns: bool,
    /// Tuning.
    pub limits: Limits,
}

/// How much and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that wait on the control lane of one link before frames are dropped. 256 KiB: some
    /// seconds of heartbeats and route deltas, which are told again anyway.
    pub control_bytes: usize,
    /// The same for the data lane. 4 MiB: a fifth of a second at 100,000 messages per second.
    pub data_bytes: usize,
    /// The same for the bulk lane. 8 MiB: some of the longest frames; the machine paces itself.
    pub bulk_bytes: usize,
    /// How long [16 KiB](wire) may take to be written before the link is given up. 5 s.
    pub write_timeout: Duration,
    /// How long connecting, Noise and Yamux may take together. 5 s.
    pub handshake_timeout: Duration,
    /// How long a peer may take to open its streams and to prove the mesh key. 3 s.
    pub admission_timeout: Duration,
    /// Connections in all. 1,024: two to each member of the largest mesh, and slack.
    pub connections_max: u32,
    /// Connections with one peer. 8: both ends dialled, over two addresses, twice.
    pub connections_per_peer_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            control_bytes: 256 * 1024,
            data_bytes: 4 * 1024 * 1024,
            bulk_bytes: 8 * 1024 * 1024,
            write_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            admission_timeout: Duration::from_secs(3),
            connections_max: 1024,
            connections_per_peer_max: 8,
        }
    }
}

impl Limits {
    fn outbox(&self, lane: Lane) -> usize {
        match lane {
            Lane::Control => self.control_bytes,
            Lane::Data => self.data_bytes,
            Lane::Bulk => self.bulk_bytes,
        }
    }
}

/// Why the network cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be listened on.
    #[error("cannot listen on {at}: {source}")]
    Listen {
        /// Which.
        at: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The mesh name is too long.
    #[error("the mesh name has {got} bytes, {MESH_NAME_MAX} are allowed")]
    MeshName {
        /// How long it is.
        got: usize,
    },
    /// Multicast DNS does not work here.
    #[error("cannot use multicast DNS: {0}")]
    Mdns(io::Error),
    /// The identity cannot sign.
    #[error("the identity is of no use: {0}")]
    Identity(String),
}

/// The network of one node. Dropped without [`Net::close`] it stops by itself, unobserved.
#[derive(Debug)]
pub struct Net {
    links: Arc<Links>,
    wanted: mpsc::Sender<Dial>,
    driver: JoinHandle<()>,
    listen: SocketAddr,
    interfaces: Vec<SocketAddr>,
}

impl Net {
    /// Listens and starts. What happens goes to `inputs`: where that is full, peers wait.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(config: Config, inputs: mpsc::Sender<Input>) -> Result<Self, BindError> {
        let got = config.mesh_name.len();
        if got > MESH_NAME_MAX {
            return Err(BindError::MeshName { got });
        }
        let links = Arc::new(Links::new(
            config.identity.node(),
            config.mesh_name.clone(),
            config.keys.clone(),
            config.limits.clone(),
            inputs,
        ));
        let (wanted, wants) = mpsc::channel(WANTED_MAX);
        let (driver, mut interfaces) = Driver::bind(&config, Arc::clone(&links), wants).await?;
        let port = interfaces.first().map_or(0, SocketAddr::port);
        interfaces.retain(|address| !is_link_local(address));
        interfaces.sort_by_key(|address| (address.ip().is_loopback(), *address));
        Ok(Self {
            links,
            wanted,
            driver: tokio::spawn(driver.run()),
            listen: SocketAddr::new(config.listen.ip(), port),
            interfaces,
        })
    }

    /// Where it listens, with the port it really has; a wildcard stays one.
    pub fn listen_addr(&self) -> SocketAddr {
        self.listen
    }

    /// Where others may reach it, as the machine's interfaces had it at the start: one address, or
    /// for a wildcard one for each interface, loopback last. Link-local ones are left out, since
    /// they mean nothing on another machine.
    pub fn interface_addrs(&self) -> &[SocketAddr] {
        &self.interfaces
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.links.node
    }

    /// Carries out `Send`, `Dial` and `HangUp`; gives back any other output, which is not for the
    /// network. Never waits. Frames leave with the next [`Net::flush`].
    pub fn perform(&self, output: Output) -> Option<Output> {
        match output {
            Output::Send { link, envelope } => self.send(link, &envelope),
            Output::Dial { dial, target } => self.dial(dial, target),
            Output::HangUp { link } => self.links.hang_up(link),
            other @ (Output::Reply { .. }
            | Output::Push { .. }
            | Output::Close { .. }
            | Output::Append { .. }
            | Output::List { .. }
            | Output::Load { .. }
            | Output::Keep { .. }
            | Output::KeepEpoch(_)
            | Output::Note(_)
            | Output::Halt(_)
            | Output::Stopped) => return Some(other),
        }
        None
    }

    /// Sends what was performed: call it when the machine has nothing more to say for the moment.
    /// One wake-up for each link, however many frames it got.
    pub fn flush(&self) {
        self.links.flush();
    }

    fn send(&self, link: LinkId, envelope: &Envelope) {
        self.links.send(link, envelope);
    }

    fn dial(&self, dial: DialId, target: Target) {
        if self.wanted.try_send(Dial(dial, target)).is_err() {
            self.links.counters.dials_dropped.one();
        }
    }

    /// What was counted so far, by name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.links.counters.list()
    }

    /// Stops: what waits is written and connections are closed, within some 3 seconds. `LinkDown`s
    /// are told as far as there is room for them.
    pub async fn close(self) {
        drop(self.wanted);
        if let Err(error) = self.driver.await {
            tracing::error!(%error, "the network driver failed");
        }
    }
}

fn is_link_local(address: &SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
