//! Everything between a client's socket and the machine: one port for HTTP and WebSocket.
//!
//! A connection begins as HTTP (hyper, routed by axum). An upgrade takes its socket back out of hyper
//! and makes it a session: one task and one bounded outbox, with tokio-tungstenite for the frames.
//! The front knows no rooms and no peers: it hands commands to the machine as [`Input`]s and is told
//! what to deliver through [`Sessions`].
//!
//! | module | what |
//! | --- | --- |
//! | `http` | the paths, and who may ask for which |
//! | `host` | which `Host` and `Origin` are let in |
//! | `ws` | from an HTTP request to a session |
//! | `connection` | one client's connection; the only user of tungstenite |
//! | `sweeper` | deadlines of all connections |
//! | `page` | the embedded pages |
//! | `open_files` | how many connections fit |

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use mesh::proto::input::Input;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::session::counters::{Count, Counters};
use crate::session::outbox::Ending;
use crate::session::registry::Registry;
use crate::session::{About, Sessions};

mod connection;
mod host;
mod http;
mod open_files;
mod page;
mod sweeper;
mod ws;

pub use host::Allowed;
pub use http::Ask;

/// Connections that may wait for being accepted: all clients of a node come back at once when another
/// node died.
const BACKLOG: u32 = 4096;

/// How long an HTTP connection is kept; then it is closed after the request under way.
const HTTP_LIFETIME: Duration = Duration::from_secs(60);

/// Bytes of a request's head: cookies of other services on this host included.
const HEAD_MAX: usize = 16 * 1024;

/// Pause after accepting failed: most likely descriptors ran out, and trying at once burns CPU.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Connections beyond those that may be sessions: a full node still answers the operator, and tells a
/// client why it is turned away.
const SLACK: usize = 64;

/// How the front is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// What every reply needs of the node.
    pub about: About,
    /// Origins besides the node's own.
    pub allowed: Allowed,
    /// When clients are given up.
    pub deadlines: Deadlines,
    /// Sessions at once; `None`: as many as the limit on open files allows.
    pub max_sessions: Option<usize>,
}

/// When clients are given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// A client is pinged that often, and dropped when silent for two of them. Default 25 s
    /// (`--ping-interval`).
    pub ping: Duration,
    /// A connection without `hello` is closed with 4001 after that. Default 10 s, as the client
    /// protocol has it.
    pub hello: Duration,
    /// A request's head has to be there after that, the first as any further one on its connection:
    /// a client without a session holds a descriptor no longer. Default 10 s.
    pub head: Duration,
    /// A connection that is being closed is hung up on after that. Default 5 s: time for a slow reader
    /// to come to its close frame.
    pub close: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            ping: Duration::from_secs(25),
            hello: Duration::from_secs(10),
            head: Duration::from_secs(10),
            close: Duration::from_secs(5),
        }
    }
}

/// The listeners of a front.
#[derive(Debug)]
pub struct Listeners {
    /// For clients (`--listen`).
    pub clients: TcpListener,
    /// For the operator's pages (`--admin-listen`); `None`: they answer on the clients' where that is
    /// loopback, and nowhere else.
    pub admin: Option<TcpListener>,
}

/// Opens a listener as the front wants it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A node that starts again takes its port though connections of its last life linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What all tasks of the front share.
#[derive(Debug)]
pub(crate) struct Shared {
    about: Arc<About>,
    allowed: Allowed,
    deadlines: Deadlines,
    max_sessions: usize,
    to_mesh: mpsc::Sender<Input>,
    ask: mpsc::Sender<Ask>,
    registry: Arc<Registry>,
    counters: Arc<Counters>,
    clock: sweeper::Clock,
    stopping: AtomicBool,
    /// Connections that are open, of either kind.
    connections: AtomicUsize,
    /// Told when the last connection ends.
    empty: Notify,
}

impl Shared {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Counts a connection as open until the guard is dropped.
    fn hold(self: &Arc<Self>) -> Held {
        self.connections.fetch_add(1, Ordering::SeqCst);
        Held(self.clone())
    }
}

/// A connection that counts as open.
struct Held(Arc<Shared>);

impl Drop for Held {
    fn drop(&mut self) {
        if self.0.connections.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.empty.notify_waiters();
        }
    }
}

/// The running front. Dropping it stops listening; sessions end by themselves or by
/// [`Front::stop`].
#[derive(Debug)]
pub struct Front {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    closing: watch::Sender<bool>,
}

impl Front {
    /// Starts serving. Commands go to `to_mesh`, a bounded queue whose receiver should take them in
    /// batches; questions of the HTTP side go to `ask`.
    pub fn start(
        config: Config,
        listeners: Listeners,
        to_mesh: mpsc::Sender<Input>,
        ask: mpsc::Sender<Ask>,
    ) -> io::Result<Self> {
        let fitting = || open_files::for_clients().saturating_sub(SLACK);
        let shared = Arc::new(Shared {
            about: Arc::new(config.about),
            allowed: config.allowed,
            deadlines: config.deadlines,
            max_sessions: config.max_sessions.unwrap_or_else(fitting),
            to_mesh,
            ask,
            registry: Arc::default(),
            counters: Arc::default(),
            clock: sweeper::Clock::start(),
            stopping: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            empty: Notify::new(),
        });
        tracing::debug!(max_sessions = shared.max_sessions, "the front starts");
        let (closing, closes) = watch::channel(false);
        let loopback = listeners.clients.local_addr()?.ip().is_loopback();
        let face = if loopback && listeners.admin.is_none() {
            http::Face::All
        } else {
            http::Face::Clients
        };
        let mut tasks = vec![tokio::spawn(sweeper::sweep(shared.clone()))];
        let mut listen = |listener: TcpListener, face, loopback| {
            let site = http::Site {
                shared: shared.clone(),
                face,
                loopback,
            };
            let router = http::router(Arc::new(site));
            let accepting = accept(listener, router, shared.clone(), closes.clone());
            tasks.push(tokio::spawn(accepting));
        };
        listen(listeners.clients, face, loopback);
        if let Some(admin) = listeners.admin {
            let loopback = admin.local_addr()?.ip().is_loopback();
            listen(admin, http::Face::Admin, loopback);
        }
        Ok(Self {
            shared,
            tasks,
            closing,
        })
    }

    /// The way to the clients.
    pub fn sessions(&self) -> Sessions {
        let shared = &self.shared;
        Sessions::new(
            shared.registry.clone(),
            shared.counters.clone(),
            shared.about.clone(),
        )
    }

    /// Turns new sessions away with 503, for good. The pages and the open sessions stay.
    pub fn stop_accepting(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }

    /// What was done, refused and dropped: name and value, names ending in `_total`.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.shared.counters.all()
    }

    /// Connections open, HTTP and sessions.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Closes the listeners and, with 4010, what sessions are left; returns when all are gone, or a
    /// second later.
    pub async fn stop(self) {
        self.stop_accepting();
        self.closing.send_replace(true);
        let mut first = 0;
        while let Some(part) = self.shared.registry.part(first, PART) {
            for conn in part {
                conn.end(Ending::Code(DRAINING));
            }
            first += PART;
        }
        // What is left then is hung up on by the process's end.
        let _ = timeout(STOP_TIMEOUT, self.empty()).await;
    }

    async fn empty(&self) {
        loop {
            let mut empty = pin!(self.shared.empty.notified());
            // Registered before the look, so that an end in between is not missed.
            empty.as_mut().enable();
            if self.connections() == 0 {
                return;
            }
            empty.await;
        }
    }
}

/// How long stopping waits for connections to end. What they were told last is with the kernel by
/// then, or their clients do not read; one that does not hang up keeps nobody waiting.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Sessions that are taken from the registry at a time.
const PART: usize = 1024;

const DRAINING: u16 = 4010;

impl Drop for Front {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Takes connections until the front closes.
async fn accept(
    listener: TcpListener,
    router: Router,
    shared: Arc<Shared>,
    mut closes: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = closes.changed() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                shared.counters.add(Count::Accepted);
                let open = shared.connections.load(Ordering::Relaxed);
                if open >= shared.max_sessions.saturating_add(SLACK) {
                    shared.counters.add(Count::RefusedFull);
                    turn_away(&stream);
                    continue;
                }
                let http = serve(stream, router.clone(), shared.clone(), closes.clone());
                tokio::spawn(http);
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                shared.counters.add(Count::AcceptFailed);
                tracing::warn!(%error, "no connection can be accepted");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
}

/// Whether accepting failed because the client went away meanwhile.
fn is_the_clients(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

fn turn_away(stream: &TcpStream) {
    const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\
        Retry-After: 1\r\nContent-Type: text/plain\r\nContent-Length: 24\r\n\r\n\
        this node has no room.\r\n";
    // A new socket takes so little at once, and a client that cannot be told is hung up on.
    let _ = stream.try_write(FULL);
}

/// Serves one connection for as long as it speaks HTTP.
async fn serve(
    stream: TcpStream,
    router: Router,
    shared: Arc<Shared>,
    mut closes: watch::Receiver<bool>,
) {
    let _held = shared.hold();
    // A refusal only costs latency.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let head = shared.deadlines.head;
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut http = pin!(http);
    let served = tokio::select! {
        served = http.as_mut() => Some(served),
        () = sleep(HTTP_LIFETIME) => None,
        _ = closes.changed() => None,
    };
    let served = match served {
        Some(served) => served,
        None => {
            http.as_mut().graceful_shutdown();
            timeout(head, http).await.unwrap_or(Ok(()))
        }
    };
    if served.is_err() {
        shared.counters.add(Count::BadHttp);
    }
}

#[cfg(test)]
mod tests;
