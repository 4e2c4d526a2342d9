//! The client side of `chinwag.v1`: used by `chinwag chat` and by the tests of whole nodes.
//!
//! [`Client::start`] gives a handle for commands and a stream of [`Event`]s; a task of its own keeps
//! one WebSocket to a node and comes back when it breaks:
//!
//! - A [send](Client::send) gets a nonce and is repeated with it until it is answered, over any number
//!   of connections: stored once.
//! - After a break it waits (exponential, full jitter), says `hello` with `resume` for what it holds,
//!   and pages on where a node says `more`. Each message is an event once.
//! - `bye` is obeyed: its delay, the other nodes it names, and 4009 ends it.
//!
//! Memory is bounded: ids of the newest 1,000 messages of a conversation, of the latest
//! 500 conversations, and [`OUTBOX`] unanswered sends. Events that nobody takes
//! hold the connection up (a node then closes it as too slow, and it resumes): take them while
//! waiting for replies.
//!
//! No TLS: `wss://` is refused with a sentence.

mod backoff;
mod driver;
mod endpoint;
mod fill;
mod held;
mod lines;
mod link;
mod outbox;
pub mod terminal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use mesh::id::{EventId, Nonce};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

pub use endpoint::{Endpoint, EndpointError};
pub use lines::{
    Bye, Listed, Message, Page, Presence, Receipt, Refusal, Resumed, ResumedPart, Signal, Welcome,
};

use driver::{Driver, Order};

/// Unanswered sends that a client keeps; further ones wait.
pub const OUTBOX: usize = 1_000;

/// Events that wait to be taken; further ones hold up the connection.
const EVENTS: usize = 16 * 1024;

/// Commands that wait for the client's task; further ones wait before it.
const ORDERS: usize = 64;

/// How to connect.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which node first.
    pub endpoint: Endpoint,
    /// As whom, with the `@`.
    pub user: String,
    /// As which device; `None`: the node makes one up, and later connections keep it.
    pub device: Option<String>,
    /// What the first `hello` asks for.
    pub begin: Begin,
    /// What follows a broken connection.
    pub reconnect: Reconnect,
}

/// What the first `hello` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// Only what comes from now on.
    Live,
    /// Unread messages first: `resume` with nothing held.
    Unread,
}

/// What follows a broken connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconnect {
    /// Try again, for ever.
    Always,
    /// The client stops.
    Never,
}

/// What a client is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// `hello` was answered; commands work.
    Online(Welcome),
    /// The connection is gone, or could not be made.
    Offline {
        /// A sentence.
        why: String,
        /// The next try comes after that.
        retry: Duration,
    },
    /// The client has stopped by itself; the last event.
    Stopped(Stopped),
    /// A message that this client did not have.
    Message(Message),
    /// A watched user came or went.
    Presence(Presence),
    /// A read mark rose.
    Receipt(Receipt),
    /// Somebody's signal.
    Signal(Signal),
    /// All that a `resume` brings is there, but for conversations with `more`.
    Resumed(Resumed),
    /// The node is about to close.
    Bye(Bye),
    /// Something that this client does not know.
    Other {
        /// The event's name.
        name: String,
        /// Its fields.
        fact: Value,
    },
}

/// Why a client has stopped by itself.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Stopped {
    /// The node does not take this `hello`.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The same device is used elsewhere.
    #[error("replaced: the same device has connected again elsewhere")]
    Replaced,
    /// The connection is gone, and [`Reconnect::Never`] was asked for.
    #[error("{0}")]
    Lost(String),
}

/// Why a command has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CommandError {
    /// The node refused it.
    #[error("{0}")]
    Refused(Refusal),
    /// There is no connection, or it broke before the reply: it may have been done or not.
    #[error("not connected")]
    Disconnected,
    /// The reply is not what the protocol says.
    #[error("the node's reply cannot be understood: {0}")]
    Malformed(String),
}

impl CommandError {
    /// The node's error code, where there is one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => Some(&refusal.code),
            Self::Disconnected | Self::Malformed(_) => None,
        }
    }
}

/// What became of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// The message's id.
    pub id: EventId,
    /// How many disks hold it.
    pub copies: u8,
    /// It was stored before.
    pub duplicate: bool,
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// To whom: `@user` or `#room`.
    pub to: String,
    /// What.
    pub body: Value,
    /// Its name; `None`: made now.
    pub nonce: Option<Nonce>,
    /// How many disks to wait for; `None`: as the node does by itself.
    pub copies: Option<u8>,
}

impl Draft {
    /// Plain text.
    pub fn text(to: &str, text: &str) -> Self {
        Self {
            to: to.to_owned(),
            body: Value::from(text),
            nonce: None,
            copies: None,
        }
    }
}

/// A message on its way.
#[derive(Debug)]
pub struct Sending {
    answer: oneshot::Receiver<Result<Sent, CommandError>>,
}

impl Sending {
    /// Waits until it is kept.
    pub async fn kept(self) -> Result<Sent, CommandError> {
        self.answer.await.map_err(|_| CommandError::Disconnected)?
    }
}

/// A client's events, in order.
pub type Events = mpsc::Receiver<Event>;

/// A handle to a client. When the last one is dropped the client says goodbye and stops.
#[derive(Debug, Clone)]
pub struct Client {
    orders: mpsc::Sender<Order>,
}

impl Client {
    /// Starts a client, on the present tokio runtime. The first event is `Online`, `Offline` or
    /// `Stopped`.
    pub fn start(options: Options) -> (Self, Events) {
        let (orders, taken) = mpsc::channel(ORDERS);
        let (told, events) = mpsc::channel(EVENTS);
        tokio::spawn(Driver::new(options, taken, told).run());
        (Self { orders }, events)
    }

    /// Sends any command once and waits for its reply.
    pub async fn command(&self, name: &str, fields: Value) -> Result<Value, CommandError> {
        let (reply, answer) = oneshot::channel();
        let order = Order::Command {
            name: name.to_owned(),
            fields,
            reply,
        };
        self.order(order).await?;
        answer.await.map_err(|_| CommandError::Disconnected)?
    }

    /// Sends a message and waits until it is kept, over as many connections as it takes. Refusals
    /// that may pass are tried again a few times, with the same nonce.
    pub async fn send(&self, draft: Draft) -> Result<Sent, CommandError> {
        self.submit(draft).await?.kept().await
    }

    /// Hands a message over without waiting until it is kept. Messages are sent in the order in which
    /// they were handed over.
    pub async fn submit(&self, draft: Draft) -> Result<Sending, CommandError> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Send { draft, reply }).await?;
        Ok(Sending { answer })
    }

    /// Sends a text message.
    pub async fn say(&self, to: &str, text: &str) -> Result<Sent, CommandError> {
        self.send(Draft::text(to, text)).await
    }

    /// The newest messages of a conversation, or the newest below `before`.
    pub async fn history(
        &self,
        of: &str,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Page, CommandError> {
        let mut fields = json!({"of": of, "limit": limit});
        if let Some(before) = before {
            fields["before"] = before.to_string().into();
        }
        lines::typed(self.command("history", fields).await?)
    }

    /// The conversations, newest first.
    pub async fn conversations(&self, limit: u32) -> Result<Vec<Listed>, CommandError> {
        let reply = self
            .command("conversations", json!({"limit": limit}))
            .await?;
        lines::typed::<lines::List>(reply).map(|list| list.conversations)
    }

    /// Moves this user's read mark.
    pub async fn read(&self, of: &str, upto: EventId) -> Result<(), CommandError> {
        let fields = json!({"of": of, "upto": upto.to_string()});
        self.command("read", fields).await.map(|_| ())
    }

    /// Who of these is there; changes arrive as [`Event::Presence`]. Not repeated by itself after a
    /// reconnect.
    pub async fn watch(&self, users: &[String]) -> Result<Vec<Presence>, CommandError> {
        let reply = self.command("watch", json!({"users": users})).await?;
        lines::typed::<lines::Watched>(reply).map(|watched| watched.presence)
    }

    /// Sends a signal; the number of nodes that have the user.
    pub async fn signal(&self, to: &str, kind: &str, body: Value) -> Result<u64, CommandError> {
        let fields = json!({"to": to, "kind": kind, "body": body});
        let reply = self.command("signal", fields).await?;
        let reached = reply["reached"].as_u64();
        reached.ok_or_else(|| CommandError::Malformed(reply.to_string()))
    }

    /// Says goodbye: the node knows at once that this device is gone.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.order(Order::Close { done }).await.is_ok() {
            // Dropped unanswered where the client was stopping anyway.
            closed.await.ok();
        }
    }

    async fn order(&self, order: Order) -> Result<(), CommandError> {
        let sent = self.orders.send(order).await;
        sent.map_err(|_| CommandError::Disconnected)
    }
}

/// What a `resume` names, as JSON.
type Windows = BTreeMap<String, Value>;
