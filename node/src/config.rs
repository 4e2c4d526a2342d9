//! What a node is told: flags, environment and file, made into one checked [`Config`].
//!
//! Two steps. [`layers`] collects what was typed, as text, and merges it: a flag beats the
//! environment, which beats the file, which beats the default of the [`settings`] table; the origin
//! of each value is kept. Then [`load`] gives every value its type and checks what values mean
//! together. All [`Mistakes`] are found in one go, each with the place where it was made.
//!
//! Nothing here opens a socket or resolves a name, and nothing behind it sees raw text.

mod layers;
mod mesh_key;
mod peer;
mod reader;
pub mod settings;
mod show;
#[cfg(test)]
mod tests;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use mesh::command::limits;
use mesh::proto::{Contact, PeerAddress};

pub use layers::{Origin, Sources};
pub use mesh_key::MeshKey;
pub use reader::{Mistake, Mistakes};
pub use show::show;
pub use value::HostPort;

use reader::Reader;

/// A node's configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// For clients. Port 0: that of the last start where it is free, else any.
    pub listen: HostPort,
    /// For peers. Port 0 as above.
    pub mesh_listen: HostPort,
    /// For `/metrics`, `/mesh` and `/api/`; `None`: on `listen` where that is loopback, else nowhere.
    pub admin_listen: Option<HostPort>,
    /// What other nodes are told to dial; empty: what `mesh_listen` is bound to.
    pub advertise: Vec<PeerAddress>,
    /// The client URL that other nodes name in `bye.try`; `None`: made from `listen`.
    pub advertise_url: Option<String>,
    /// Nodes to dial; empty: only those known from earlier.
    pub peers: Vec<Contact>,
    /// Find peers on the local network.
    pub mdns: bool,
    /// Browsers' origins accepted besides the node's own host: `*` or `scheme://host[:port]` in
    /// lower case without a path.
    pub allow_origin: Vec<String>,
    /// The largest frame of a client, bytes.
    pub max_frame: usize,
    /// The largest body, bytes of JSON text; never above `max_frame`.
    pub max_body: usize,
    /// A client is pinged that often, and dropped when silent for two of them.
    pub ping_interval: Duration,
    /// After that an append answers `unavailable`.
    pub append_timeout: Duration,
    /// Fewer disks are never acknowledged; 1 to 3.
    pub min_copies: u8,
    /// Below so much free space appends answer `unavailable`, bytes.
    pub min_free: u64,
    /// Identity and history.
    pub data: PathBuf,
    /// Nodes of another name are not joined.
    pub mesh_name: String,
    /// The secret that the nodes of a mesh share; `None` only where `mesh_listen` is loopback.
    pub mesh_key: Option<MeshKey>,
    /// Anybody may say `hello` with any user name.
    pub open: bool,
    /// Share of slots relative to others; 0: keeps none.
    pub weight: u32,
    /// A `tracing` filter.
    pub log: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Sessions are told `bye` within it, and then the node stops.
    pub stop_timeout: Duration,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object per line.
    Json,
}

/// A configuration and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// Every setting as text with its origin, in the order of the table; secrets hidden.
    pub in_force: Vec<InForce>,
}

/// One setting as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Its name, as the flag has it.
    pub name: &'static str,
    /// One text, several for a list, none where it is not set.
    pub values: Vec<String>,
    /// Who set it.
    pub origin: Origin,
}

/// Frames of clients may be so small and so large, bytes: a `hello` fits, and one client cannot make
/// a node keep more than a mesh frame for it.
const MAX_FRAME_RANGE: (u64, u64) = (1024, 1024 * 1024);

/// Bodies may be so small and so large, bytes: with its envelope the largest fits a node's frame.
const MAX_BODY_RANGE: (u64, u64) = (64, limits::NODE_FRAME as u64 - 16 * 1024);

/// The largest weight: one node counts for at most so many of weight 1.
const MAX_WEIGHT: u64 = 1000;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads all sources. Every mistake is reported, not only the first.
pub fn load(sources: &Sources) -> Result<Loaded, Mistakes> {
    let mut reader = Reader::new(sources);
    let config = read(&mut reader, sources);
    reader.finish(config)
}

fn read(reader: &mut Reader, sources: &Sources) -> Option<Config> {
    let listen = reader.one("listen", value::host_port);
    let mesh_listen = reader.one("mesh-listen", value::host_port);
    let admin_listen = reader.optional("admin-listen", value::host_port);
    let advertise = reader.list("advertise", value::peer_address);
    let advertise_url = reader.optional("advertise-url", value::client_url);
    let peers = reader.list("peer", peer::parse);
    let mdns = reader.one("mdns", value::switch);
    let allow_origin = reader.list("allow-origin", value::web_origin);
    let max_frame = reader.one("max-frame", value::bytes_in(MAX_FRAME_RANGE));
    let max_body = reader.one("max-body", value::bytes_in(MAX_BODY_RANGE));
    let ping_interval = reader.one("ping-interval", value::seconds(HUNDRED_MS..=HOUR));
    let append_timeout = reader.one("append-timeout", value::seconds(HUNDRED_MS..=HOUR));
    let min_copies = reader.one("min-copies", value::whole(1..=3));
    let min_free = reader.one("min-free", value::bytes_in((0, u64::MAX)));
    let data = reader.one("data", value::path);
    let mesh_name = reader.one("mesh-name", value::mesh_name);
    let mesh_key = mesh_key::read(reader, mesh_listen.as_ref());
    let open = read_open(reader, listen.as_ref());
    let weight = reader.one("weight", value::whole(0..=MAX_WEIGHT));
    let log = reader.one("log", value::log_filter);
    let log_format = reader.one_or("log-format", default_format(sources), value::log_format);
    let stop_timeout = reader.one("stop-timeout", value::seconds(Duration::ZERO..=DAY));
    reader.note("config");
    let max_body = fit_body(reader, max_frame, max_body);
    check_ports(reader, [&listen, &mesh_listen, &admin_listen]);

    Some(Config {
        listen: listen?,
        mesh_listen: mesh_listen?,
        admin_listen,
        advertise,
        advertise_url,
        peers,
        mdns: mdns?,
        allow_origin,
        max_frame: usize::try_from(max_frame?).ok()?,
        max_body: usize::try_from(max_body?).ok()?,
        ping_interval: ping_interval?,
        append_timeout: append_timeout?,
        min_copies: u8::try_from(min_copies?).ok()?,
        min_free: min_free?,
        data: data?,
        mesh_name: mesh_name?,
        mesh_key,
        open: open?,
        weight: u32::try_from(weight?).ok()?,
        log: log?,
        log_format: log_format?,
        stop_timeout: stop_timeout?,
    })
}

/// Shorter intervals and timeouts are taken for a mistake in the unit.
const HUNDRED_MS: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn default_format(sources: &Sources) -> &'static str {
    if sources.terminal { "human" } else { "json" }
}

/// Open to any user name: by default on loopback only, where who can connect is on this machine.
fn read_open(reader: &mut Reader, listen: Option<&HostPort>) -> Option<bool> {
    let loopback = listen.is_none_or(HostPort::is_loopback);
    let default = if loopback { "true" } else { "false" };
    let open = reader.one_or("open", default, value::switch)?;
    if !open && let Some(listen) = listen.filter(|_| !loopback) {
        reader.mistake(
            reader.place("listen"),
            format!("{listen} can be reached from other machines, where anybody could take any user name"),
            "--open, to say that this is meant, or an address of this machine alone such as 127.0.0.1:8080",
        );
    }
    Some(open)
}

/// The default body shrinks with a smaller frame; one that was asked for does not.
fn fit_body(reader: &mut Reader, frame: Option<u64>, body: Option<u64>) -> Option<u64> {
    let (frame, body) = (frame?, body?);
    if body > frame && reader.origin("max-body") != &Origin::Default {
        reader.mistake(
            reader.place("max-body"),
            format!("a body of {body} bytes does not fit a frame of {frame}"),
            "at most --max-frame",
        );
    }
    Some(body.min(frame))
}

fn check_ports(reader: &mut Reader, listeners: [&Option<HostPort>; 3]) {
    const NAMES: [&str; 3] = ["listen", "mesh-listen", "admin-listen"];
    for (first, second) in [(0, 1), (0, 2), (1, 2)] {
        if let (Some(a), Some(b)) = (listeners[first], listeners[second])
            && a.collides_with(b)
        {
            reader.mistake(
                reader.place(NAMES[second]),
                format!("{b} is taken by --{} {a}", NAMES[first]),
                "another port, or port 0 for any that is free",
            );
        }
    }
}
