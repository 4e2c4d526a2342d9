//! From a configuration to running parts, and the line that says so.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use mesh::net::{BindError, Identity, Keys, Limits, Net, SystemClock};
use mesh::proto::{self, Input, Mesh, PeerAddress, membership};
use mesh::time::Now;
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::mpsc::Sender;

use super::answers::{About, VERSION};
use super::keeper::Keeper;
use super::results::Results;
use super::{Failure, Node, Phase};
use crate::config::{Config, HostPort, MeshKey};
use crate::data_dir::{DataDir, Ports};
use crate::front::{self, Allowed, Ask, Deadlines, Front, Listeners};
use crate::history::{self, History};
use crate::{protocol, session};

/// The ends of the channels into which the parts speak.
pub(super) struct Wires {
    pub(super) to_mesh: Sender<Input>,
    pub(super) to_front: Sender<Input>,
    pub(super) results: Arc<Results>,
    pub(super) ask: Sender<Ask>,
}

/// Builds all parts: identity, store, network, machine, front.
pub(super) async fn node(config: &Config, wires: Wires) -> Result<(Node, Bound), Failure> {
    let data = DataDir::open(&config.data).map_err(Failure::new)?;
    let identity = data.identity().map_err(Failure::new)?;
    let clock = SystemClock::start();
    let now = clock.now();
    let history = open_history(config, &data, &identity, wires.results).await?;

    let before = data.ports();
    let net = bind_net(config, identity, before, wires.to_mesh).await?;
    let clients = bind_http("--listen", &config.listen, before.listen).await?;
    let admin = match &config.admin_listen {
        Some(admin) => Some(bind_http("--admin-listen", admin, before.admin).await?),
        None => None,
    };
    let bound = Bound {
        listen: local(&clients)?,
        mesh: net.listen_addr(),
        admin: admin.as_ref().map(local).transpose()?,
    };
    data.keep_ports(bound.ports()).map_err(Failure::new)?;

    let keys = keys(config);
    let mesh = machine(config, &data, &net, keys.route, &history, bound, now)?;
    let listeners = Listeners { clients, admin };
    let front = Front::start(front_config(config), listeners, wires.to_front, wires.ask);
    let front = front.map_err(|error| Failure(format!("cannot serve clients: {error}")))?;
    let node = Node {
        sessions: front.sessions(),
        mesh,
        clock,
        net,
        front,
        history,
        keeper: Keeper::start(data),
        about: About {
            mesh: config.mesh_name.clone(),
            started_unix_ms: now.unix_ms,
        },
        stop_timeout: config.stop_timeout,
        phase: Phase::Running,
        failure: None,
    };
    Ok((node, bound))
}

/// Opening may replay a journal: not on the task of the machine.
async fn open_history(
    config: &Config,
    data: &DataDir,
    identity: &Identity,
    results: Arc<Results>,
) -> Result<History, Failure> {
    let setup = history::Config {
        min_free: config.min_free,
        ..history::Config::new(data.path().join("history"))
    };
    let owner = identity.node();
    let tell = move |done| results.put(done);
    let opened =
        tokio::task::spawn_blocking(move || History::open(setup, owner, Box::new(tell))).await;
    opened.map_err(Failure::new)?.map_err(Failure::new)
}

fn keys(config: &Config) -> Keys {
    Keys::derive(config.mesh_key.as_ref().map(MeshKey::as_bytes))
}

async fn bind_net(
    config: &Config,
    identity: Identity,
    before: Ports,
    inputs: Sender<Input>,
) -> Result<Net, Failure> {
    let mut failure = None;
    for listen in candidates("--mesh-listen", &config.mesh_listen, before.mesh).await? {
        let setup = mesh::net::Config {
            identity: identity.clone(),
            listen,
            mesh_name: config.mesh_name.clone(),
            keys: keys(config),
            mdns: config.mdns,
            limits: Limits::default(),
        };
        match Net::bind(setup, inputs.clone()).await {
            Ok(net) => return Ok(net),
            Err(error @ BindError::Listen { .. }) => {
                failure = Some(Failure(format!(
                    "--mesh-listen: {error}; stop what listens there, or name another port"
                )));
            }
            Err(error) => return Err(Failure::new(error)),
        }
    }
    Err(failure.expect("there is at least one candidate"))
}

async fn bind_http(
    flag: &str,
    listen: &HostPort,
    before: Option<u16>,
) -> Result<TcpListener, Failure> {
    let mut failure = None;
    for address in candidates(flag, listen, before).await? {
        match front::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => {
                let advice = "stop what listens there, or name another port";
                failure = Some(Failure(format!(
                    "{flag}: cannot listen on {address}: {error}; {advice}"
                )));
            }
        }
    }
    Err(failure.expect("there is at least one candidate"))
}

/// The address to listen on; for port 0 first the port of the last start, then any.
async fn candidates(
    flag: &str,
    listen: &HostPort,
    before: Option<u16>,
) -> Result<Vec<SocketAddr>, Failure> {
    let resolved = lookup_host((listen.host.as_str(), listen.port)).await;
    let mut resolved =
        resolved.map_err(|error| Failure(format!("{flag}: {}: {error}", listen.host)))?;
    let address = resolved
        .next()
        .ok_or_else(|| Failure(format!("{flag}: {} has no address", listen.host)))?;
    let last = before
        .filter(|_| listen.port == 0)
        .map(|port| SocketAddr::new(address.ip(), port));
    Ok(last.into_iter().chain([address]).collect())
}

fn local(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(Failure::new)
}

/// Where the node listens, with the ports it really has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    listen: SocketAddr,
    mesh: SocketAddr,
    admin: Option<SocketAddr>,
}

impl Bound {
    fn ports(self) -> Ports {
        Ports {
            listen: Some(self.listen.port()),
            mesh: Some(self.mesh.port()),
            admin: self.admin.map(|admin| admin.port()),
        }
    }
}

fn machine(
    config: &Config,
    data: &DataDir,
    net: &Net,
    route_key: [u8; 16],
    history: &History,
    bound: Bound,
    now: Now,
) -> Result<Mesh, Failure> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)
        .map_err(|error| Failure(format!("no random numbers from the system: {error}")))?;
    let seed = u64::from_le_bytes(seed);
    let me = membership::Record {
        node: net.node(),
        epoch: data.next_epoch(now.unix_ms).map_err(Failure::new)?,
        incarnation: 0,
        addresses: advertised(config, bound.mesh),
        url: Some(client_url(config, bound.listen)),
        weight: config.weight,
        version: VERSION.to_owned(),
    };
    let mut tuning = proto::Config::default();
    tuning.streams.append_timeout = config.append_timeout;
    tuning.streams.min_copies = config.min_copies;
    tuning.streams.storing = config.weight > 0;
    tuning.chat.stop_timeout = config.stop_timeout;
    let membership = membership::Start {
        me,
        kept: data.members(),
        contacts: config.peers.clone(),
        seed,
    };
    let start = proto::Start {
        membership,
        route_key,
        newest: history.newest(),
        seed,
    };
    Ok(Mesh::new(tuning, start, now))
}

/// The addresses that other nodes are told to dial.
fn advertised(config: &Config, bound: SocketAddr) -> Vec<PeerAddress> {
    if !config.advertise.is_empty() {
        return config.advertise.clone();
    }
    interfaces(bound)
        .into_iter()
        .map(PeerAddress::from)
        .collect()
}

/// The URL that clients are sent to when another node stops.
fn client_url(config: &Config, bound: SocketAddr) -> String {
    let default = || {
        interfaces(bound)
            .first()
            .map_or_else(|| bound.to_string(), ToString::to_string)
    };
    config
        .advertise_url
        .clone()
        .unwrap_or_else(|| format!("ws://{}/ws", default()))
}

/// What an address stands for: a wildcard for the machine's interface addresses, those first that lead
/// out of it.
fn interfaces(bound: SocketAddr) -> Vec<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return vec![bound];
    }
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let fits = |ip: &IpAddr| ip.is_ipv4() == bound.is_ipv4() && !is_link_local(*ip);
    let mut found: Vec<IpAddr> = all
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(fits)
        .collect();
    found.sort_by_key(IpAddr::is_loopback);
    found
        .into_iter()
        .map(|ip| SocketAddr::new(ip, bound.port()))
        .collect()
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn front_config(config: &Config) -> front::Config {
    let identity = if config.open {
        protocol::Identity::Open
    } else {
        protocol::Identity::Closed
    };
    let limits = protocol::Limits {
        frame: config.max_frame,
        body: config.max_body,
        identity,
    };
    front::Config {
        about: session::About {
            mesh: config.mesh_name.clone(),
            limits,
        },
        allowed: Allowed::new(&config.allow_origin),
        deadlines: Deadlines {
            ping: config.ping_interval,
            ..Deadlines::default()
        },
        max_sessions: None,
    }
}

/// The one line on standard output; and, where a person looks on, what a newcomer needs.
pub(super) fn say_ready(config: &Config, mesh: &Mesh, bound: Bound) {
    let admin = bound
        .admin
        .map(|admin| format!(" admin={admin}"))
        .unwrap_or_default();
    let line = format!(
        "ready listen={} mesh={} node={}{admin}\n",
        bound.listen,
        bound.mesh,
        mesh.id()
    );
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(%error, "standard output does not take the ready line");
    }
    if io::stderr().is_terminal() {
        greet(config, bound);
    }
}

#[expect(
    clippy::print_stderr,
    reason = "for the person at the terminal, whatever the log filter"
)]
fn greet(config: &Config, bound: Bound) {
    let key = if config.mesh_key.is_some() {
        " --mesh-key-file FILE"
    } else {
        ""
    };
    let admin = bound.admin.unwrap_or(bound.listen);
    eprintln!("\n  chat      http://{}/", from_here(bound.listen));
    eprintln!("  the mesh  http://{}/mesh", from_here(admin));
    eprintln!(
        "  one more  chinwag --peer {} --listen 127.0.0.1:0 --mesh-listen 127.0.0.1:0 --data ./chinwag-data-2{key}\n",
        from_here(bound.mesh)
    );
}

/// How something that listens there is reached from this machine.
fn from_here(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, bound.port())
}
