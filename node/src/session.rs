//! The clients' sessions as the rest of the node sees them: whom to tell what.
//!
//! [`Sessions`] is held by the task that carries out the machine's outputs. Telling only puts bytes
//! into outboxes; [`Sessions::flush`], once per batch of outputs, writes each outbox that got something
//! with one system call. What a socket does not take then is left to the connection's own task, so
//! that no client holds up another.
//!
//! | module | what |
//! | --- | --- |
//! | `outbox` | the bounded queue to one client |
//! | `conn` | what the tasks share of one connection |
//! | `registry` | which session is which connection |
//! | `frame` | WebSocket framing of what the node sends |
//! | [`counters`] | what was done, refused and dropped |

use std::fmt;
use std::sync::Arc;

use mesh::command::{Push, Reply, limits as most};
use mesh::id::SessionId;
use mesh::proto::output::{CloseCode, Output};

use crate::protocol::{Limits, encode};

pub(crate) mod conn;
pub mod counters;
pub(crate) mod frame;
pub(crate) mod outbox;
pub(crate) mod registry;

use conn::Conn;
use counters::{Count, Counters};
use outbox::{Class, Ending, Pool, Queued};
use registry::Registry;

/// The number under which commands go to the machine whose client wants no reply: they are answered
/// all the same, so that every command counts as unanswered until it is, and the answer is dropped.
pub(crate) const UNNUMBERED: u64 = u64::MAX;

/// From so many receivers on, a push is framed once and shared by reference; below it is copied into
/// each receiver's gathered frame, which costs less than a frame of its own.
const SHARED_FROM: usize = 4;

/// Buffers of gathered frames that are kept for the next batch.
const POOLED: usize = 256;

/// What every reply needs of the node.
#[derive(Debug, Clone)]
pub struct About {
    /// Name of the mesh.
    pub mesh: String,
    /// What the operator set of the protocol.
    pub limits: Limits,
}

/// The way to the clients. Clones lead to the same sessions, each with its own batch.
pub struct Sessions {
    registry: Arc<Registry>,
    counters: Arc<Counters>,
    about: Arc<About>,
    line: Vec<u8>,
    pool: Pool,
    to_write: Vec<Arc<Conn>>,
}

impl Sessions {
    pub(crate) fn new(registry: Arc<Registry>, counters: Arc<Counters>, about: Arc<About>) -> Self {
        Self {
            registry,
            counters,
            about,
            line: Vec::new(),
            pool: Pool::keeping(POOLED),
            to_write: Vec::new(),
        }
    }

    /// Carries out an output that concerns sessions; gives back any other.
    pub fn deliver(&mut self, output: Output) -> Option<Output> {
        match output {
            Output::Reply {
                session,
                request,
                reply,
                bulk,
            } => self.reply(session, request, &reply, class(bulk)),
            Output::Push {
                audience,
                push,
                bulk,
            } => self.push(&audience, &push, class(bulk)),
            Output::Close { session, code } => self.close(session, code),
            other @ (Output::Send { .. }
            | Output::Dial { .. }
            | Output::HangUp { .. }
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

    fn reply(&mut self, session: SessionId, request: Option<u64>, reply: &Reply, class: Class) {
        let Some(conn) = self.registry.get(session) else {
            return self.counters.add(Count::Undelivered);
        };
        conn.answered();
        match request {
            // The machine waits for room to be told even where nobody is told the reply.
            None | Some(UNNUMBERED) => {
                if class == Class::Bulk {
                    conn.skip_bulk();
                }
            }
            Some(request) => {
                self.line.clear();
                let reader = encode::Reader {
                    user: conn.user(),
                    session,
                    mesh: &self.about.mesh,
                    limits: &self.about.limits,
                };
                encode::reply(&mut self.line, request, reply, &reader);
                self.put_line(conn, class);
            }
        }
    }

    fn push(&mut self, audience: &[SessionId], push: &Push, class: Class) {
        self.line.clear();
        encode::push(&mut self.line, push);
        if audience.len() < SHARED_FROM || class == Class::Bulk {
            for session in audience {
                match self.registry.get(*session) {
                    Some(conn) => self.put_line(conn, class),
                    None => self.counters.add(Count::Undelivered),
                }
            }
            return;
        }
        let frame = frame::text(&self.line);
        self.mind_size();
        for session in audience {
            match self.registry.get(*session) {
                Some(conn) => {
                    let queued = conn.shared(frame.clone(), &mut self.pool);
                    self.mind(conn, queued);
                }
                None => self.counters.add(Count::Undelivered),
            }
        }
    }

    fn close(&mut self, session: SessionId, code: CloseCode) {
        if let Some(conn) = self.registry.get(session) {
            conn.end(Ending::Code(match code {
                CloseCode::Normal => 1000,
                CloseCode::NoHello => 4001,
                CloseCode::Replaced => 4009,
                CloseCode::Draining => 4010,
            }));
        }
    }

    /// Writes what was put into outboxes since the last time: once per batch of outputs.
    pub fn flush(&mut self) {
        for conn in self.to_write.drain(..) {
            conn.flush(&mut self.pool);
        }
    }

    /// Sessions open, those included that have not said `hello` yet.
    pub fn open(&self) -> usize {
        self.registry.len()
    }

    fn put_line(&mut self, conn: Arc<Conn>, class: Class) {
        self.mind_size();
        let queued = conn.line(&self.line, class, &mut self.pool);
        self.mind(conn, queued);
    }

    /// A frame above the bound is a defect of whoever made the page, and a client is better served by
    /// a large frame than by none.
    fn mind_size(&self) {
        if self.line.len() + frame::HEADER_MAX >= most::NODE_FRAME {
            self.counters.add(Count::Oversize);
        }
    }

    fn mind(&mut self, conn: Arc<Conn>, queued: Queued) {
        match queued {
            Queued::ToWrite => self.to_write.push(conn),
            Queued::Waiting | Queued::Over => {}
            Queued::Ended => self.counters.add(Count::Undelivered),
        }
    }
}

fn class(bulk: bool) -> Class {
    if bulk { Class::Bulk } else { Class::Live }
}

impl Clone for Sessions {
    fn clone(&self) -> Self {
        let (registry, counters) = (self.registry.clone(), self.counters.clone());
        Self::new(registry, counters, self.about.clone())
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("open", &self.open())
            .finish_non_exhaustive()
    }
}
