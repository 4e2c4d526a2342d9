//! The table of all settings: one line here is a flag, an environment variable and a key of the file.

/// One thing that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// As the flag has it: `mesh-listen` is `--mesh-listen`, `CHINWAG_MESH_LISTEN`, `mesh_listen`.
    pub name: &'static str,
    /// How many values it takes.
    pub shape: Shape,
    /// What `--help` calls its value.
    pub value: &'static str,
    /// Where nobody sets it; `None`: unset, or it depends on other settings.
    pub default: Option<&'static str>,
    /// The heading in `--help`.
    pub group: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// How many values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One.
    One,
    /// Any number: the flag repeated, commas in the environment, an array in the file.
    List,
    /// `true` or `false`; the bare flag is `true`.
    Switch,
}

impl Setting {
    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// The key in the file.
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The setting of that name, where there is one.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }
}

/// What every environment variable of a node starts with.
pub const PREFIX: &str = "CHINWAG_";

/// The mesh key itself. Only the environment may hold it: flags are seen by every process of the
/// machine, and files get copied.
pub const MESH_KEY_VARIABLE: &str = "CHINWAG_MESH_KEY";

const CLIENTS: &str = "Clients";
const MESH: &str = "Mesh";
const HISTORY: &str = "History";
const PROCESS: &str = "Process";

const fn one(
    group: &'static str,
    name: &'static str,
    value: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        shape: Shape::One,
        value,
        default,
        group,
        help,
    }
}

const fn list(
    group: &'static str,
    name: &'static str,
    value: &'static str,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        shape: Shape::List,
        value,
        default: None,
        group,
        help,
    }
}

const fn switch(
    group: &'static str,
    name: &'static str,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting {
    Setting {
        name,
        shape: Shape::Switch,
        value: "BOOL",
        default,
        group,
        help,
    }
}

/// All of them, in the order in which `--help` and `chinwag config` show them.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    one(CLIENTS, "listen", "HOST:PORT", Some("127.0.0.1:8080"),
        "Where clients connect: WebSocket, page and HTTP. Port 0: the port of the last start where it is free, else any"),
    switch(CLIENTS, "open", None,
        "Anybody may say hello with any user name. On by default where --listen is loopback; elsewhere it has to be said"),
    list(CLIENTS, "allow-origin", "ORIGIN",
        "Web pages of this origin may connect too, such as https://chat.example.org; * for any. May be repeated"),
    one(CLIENTS, "advertise-url", "URL", None,
        "The URL at which clients reach this node, told to those whose node stops. Default: made from --listen"),
    one(CLIENTS, "admin-listen", "HOST:PORT", None,
        "/metrics, /mesh and /api/ answer here and only here. Default: on --listen where that is loopback, else nowhere"),
    one(CLIENTS, "max-frame", "BYTES", Some("64KiB"),
        "The largest WebSocket frame of a client"),
    one(CLIENTS, "max-body", "BYTES", Some("32KiB"),
        "The largest body of a message"),
    one(CLIENTS, "ping-interval", "SECONDS", Some("25"),
        "Clients are pinged that often, and dropped when silent for two intervals"),

    one(MESH, "mesh-listen", "HOST:PORT", Some("127.0.0.1:8090"),
        "Where other nodes connect. An address that is not loopback needs a mesh key. Port 0: as with --listen"),
    list(MESH, "peer", "PEER",
        "Any node of the mesh to join: host:port, a multiaddr (/ip4/…/tcp/…[/p2p/…]) or dns:NAME:PORT (every address of that name). May be repeated. None: start a mesh, or rejoin the one known from earlier"),
    switch(MESH, "mdns", Some("false"),
        "Find peers on the local network without any --peer"),
    list(MESH, "advertise", "HOST:PORT",
        "The address that other nodes are told to dial. May be repeated. Default: what --mesh-listen is bound to"),
    one(MESH, "mesh-name", "NAME", Some("default"),
        "Nodes of another name are not joined"),
    one(MESH, "mesh-key-file", "FILE", None,
        "A file with the secret of the mesh, the same for all its nodes: 64 hex digits or base64 of 32 bytes (chinwag key prints a new one). CHINWAG_MESH_KEY may hold the key itself"),

    one(HISTORY, "data", "DIR", Some("./chinwag-data"),
        "The node's identity and history. Created where it is missing"),
    one(HISTORY, "min-copies", "N", Some("1"),
        "Never acknowledge a message on fewer disks, 1 to 3. With 2 it is rather refused than kept on one disk"),
    one(HISTORY, "append-timeout", "SECONDS", Some("5"),
        "After that a message that is not on enough disks is answered with unavailable"),
    one(HISTORY, "min-free", "BYTES", Some("512MiB"),
        "With less free space messages are refused and the node is not ready"),
    one(HISTORY, "weight", "N", Some("1"),
        "Share of the mesh's history that this node keeps, relative to the others; 0: none"),

    one(PROCESS, "config", "FILE", None,
        "A TOML file with any of these settings, - as _ (mesh_listen = \"…\")"),
    one(PROCESS, "log", "FILTER", Some("info"),
        "What is logged to standard error: a level (error, warn, info, debug, trace) or a filter such as info,mesh=debug"),
    one(PROCESS, "log-format", "FORMAT", None,
        "human or json. Default: human on a terminal, else json"),
    one(PROCESS, "stop-timeout", "SECONDS", Some("30"),
        "Told to stop, a node takes at most that long to see its clients off"),
];
