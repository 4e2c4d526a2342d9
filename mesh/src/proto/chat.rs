//! Sessions, conversations, presence: what a command means, and who gets which push.

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::event::SharedEvent;
use crate::id::{Device, NodeId, RouteKey, SessionId, UserName};
use crate::proto::input::Closing;
use crate::proto::outbox::Outbox;
use crate::proto::output::Ticket;
use crate::proto::streams::{AppendError, Appended, Draft};
use crate::proto::view::View;
use crate::store::{Answer, Query};
use crate::time::{Clock, Instant, Stamp};

/// Tuning of this layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {}

impl Default for Config {
    fn default() -> Self {
        Self {}
    }
}

/// What nodes say to each other about sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The sender's named sessions of a user that both serve, with the stamps of their `hello`.
    Devices {
        /// Whose.
        user: UserName,
        /// Which, since when.
        devices: Vec<(Device, Stamp)>,
    },
}

/// What this layer wants of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// One more session has this key.
    Attach(RouteKey),
    /// One session less has this key.
    Detach(RouteKey),
    /// Append an event.
    Append {
        /// Named in [`Chat::on_appended`].
        ticket: Ticket,
        /// What.
        draft: Draft,
    },
    /// Read events.
    Read {
        /// Named in [`Chat::on_read`].
        ticket: Ticket,
        /// What.
        query: Query,
    },
    /// After [`Chat::stop`]: the last session is gone and detached, or the time for that is over.
    Empty,
}

/// The layer.
#[derive(Debug)]
pub struct Chat {}

#[allow(unused_variables, reason = "signatures only")]
impl Chat {
    /// No sessions. `seed` makes up devices and nonces.
    pub fn new(config: Config, me: NodeId, seed: u64) -> Self {
        unimplemented!()
    }

    /// A client asks for something.
    pub fn on_command(
        &mut self,
        view: View<'_>,
        clock: &mut Clock,
        session: SessionId,
        request: Option<u64>,
        command: Command,
        out: &mut Outbox,
    ) {
        unimplemented!()
    }

    /// A client's connection is gone.
    pub fn on_closed(
        &mut self,
        view: View<'_>,
        session: SessionId,
        closing: Closing,
        out: &mut Outbox,
    ) {
        unimplemented!()
    }

    /// A session has room for the next bulk reply.
    pub fn on_drained(&mut self, view: View<'_>, session: SessionId, out: &mut Outbox) {
        unimplemented!()
    }

    /// An append ended.
    pub fn on_appended(
        &mut self,
        view: View<'_>,
        ticket: Ticket,
        result: Result<Appended, AppendError>,
        out: &mut Outbox,
    ) {
        unimplemented!()
    }

    /// A question was answered.
    pub fn on_read(
        &mut self,
        view: View<'_>,
        ticket: Ticket,
        answer: Answer,
        complete: bool,
        out: &mut Outbox,
    ) {
        unimplemented!()
    }

    /// An event for this node's sessions came.
    pub fn on_arrived(
        &mut self,
        view: View<'_>,
        event: SharedEvent,
        except: Option<SessionId>,
        late: bool,
        out: &mut Outbox,
    ) {
        unimplemented!()
    }

    /// A message of this layer came.
    pub fn on_message(&mut self, view: View<'_>, from: NodeId, message: Message, out: &mut Outbox) {
        unimplemented!()
    }

    /// Another node's routes changed: presence of watched users, and devices of users served here.
    pub fn on_routes(
        &mut self,
        view: View<'_>,
        node: NodeId,
        attached: &[RouteKey],
        detached: &[RouteKey],
        out: &mut Outbox,
    ) {
        unimplemented!()
    }

    /// A member's state, reachability or completeness changed: presence may have.
    pub fn on_member(&mut self, view: View<'_>, node: NodeId, out: &mut Outbox) {
        unimplemented!()
    }

    /// A link to a node came back: named sessions of users that both serve are told to it.
    pub fn on_linked(&mut self, view: View<'_>, node: NodeId, out: &mut Outbox) {
        unimplemented!()
    }

    /// Says `bye` to all sessions; ends with [`Event::Empty`].
    pub fn stop(&mut self, view: View<'_>, urls: Vec<String>, out: &mut Outbox) {
        unimplemented!()
    }

    /// Timers: grace, presence in slices.
    pub fn on_tick(&mut self, view: View<'_>, out: &mut Outbox) {
        unimplemented!()
    }

    /// When [`Chat::on_tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// The next wish.
    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> u64 {
        unimplemented!()
    }
}
