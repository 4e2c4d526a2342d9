//! Sets of events: appends to a quorum of replicas, reads of their union.

use serde::{Deserialize, Serialize};

use crate::event::{EventKind, SharedEvent};
use crate::id::{Conversation, EventId, Nonce, SessionId, UserName};
use crate::id::{NodeId, RouteKey};
use crate::proto::outbox::Outbox;
use crate::proto::output::Ticket;
use crate::proto::view::View;
use crate::store::{Answer, Outcome, Query};
use crate::time::{Clock, Instant};
use crate::wire::Lane;
use std::time::Duration;

/// Tuning of this layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// After that an append answers `unavailable`.
    pub append_timeout: Duration,
    /// Fewer copies are never acknowledged.
    pub min_copies: u8,
    /// This node keeps slots.
    pub storing: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            append_timeout: Duration::from_secs(5),
            min_copies: 1,
            storing: true,
        }
    }
}

/// What nodes say to each other about events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// An event for the receiver's sessions.
    Deliver(SharedEvent),
}

impl Message {
    /// Pages of events go on the bulk lane, all else on data.
    pub fn lane(&self) -> Lane {
        Lane::Data
    }
}

/// An event that a session wants appended: all but its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// On behalf of which session; its drafts for one conversation get rising ids in the order given.
    pub session: SessionId,
    /// To which stream.
    pub conversation: Conversation,
    /// By whom.
    pub author: UserName,
    /// Its name. A fresh one is appended at once, any other is looked up at the replicas first.
    pub nonce: Nonce,
    /// When the session said hello, Unix ms of this node: an older nonce is not fresh.
    pub hello_unix_ms: u64,
    /// What happened.
    pub kind: EventKind,
    /// How many disks to wait for; `None`: two, or one where no second storing node is reachable.
    pub copies: Option<u8>,
}

/// An append that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The event's id.
    pub id: EventId,
    /// How many disks hold it now.
    pub copies: u8,
    /// It was there before.
    pub duplicate: bool,
}

/// Why an append did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendError {
    /// Too few disks in time: may or may not be stored. The text says why.
    Unavailable(&'static str),
    /// The nonce names an event with another body.
    Conflict,
}

/// What this layer tells the facade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An append asked for by [`Streams::append`] ended.
    Appended {
        /// Which.
        ticket: Ticket,
        /// How.
        result: Result<Appended, AppendError>,
    },
    /// A question asked by [`Streams::read`] is answered.
    Read {
        /// Which.
        ticket: Ticket,
        /// The union of all answers.
        answer: Answer,
        /// False: not enough replicas could be asked.
        complete: bool,
    },
    /// An event for this node's sessions: told once for each id.
    Arrived {
        /// The event.
        event: SharedEvent,
        /// The session that sent it, which gets only its reply.
        except: Option<SessionId>,
        /// Learned more than five seconds after its stamp.
        late: bool,
    },
}

/// The layer.
#[derive(Debug)]
pub struct Streams {}

#[allow(unused_variables, reason = "signatures only")]
impl Streams {
    /// An empty layer. `origin` is the origin half of all ids it makes.
    pub fn new(config: Config, origin: u64) -> Self {
        unimplemented!()
    }

    /// Appends an event; ends with [`Event::Appended`] of this ticket.
    pub fn append(
        &mut self,
        view: View<'_>,
        clock: &mut Clock,
        ticket: Ticket,
        draft: Draft,
        out: &mut Outbox,
    ) {
        unimplemented!()
    }

    /// Asks all reachable storing members; ends with [`Event::Read`] of this ticket.
    pub fn read(&mut self, view: View<'_>, ticket: Ticket, query: Query, out: &mut Outbox) {
        unimplemented!()
    }

    /// A message of this layer came.
    pub fn on_message(
        &mut self,
        view: View<'_>,
        clock: &mut Clock,
        from: NodeId,
        message: Message,
        out: &mut Outbox,
    ) {
        unimplemented!()
    }

    /// The store has appended.
    pub fn on_appended(
        &mut self,
        view: View<'_>,
        ticket: Ticket,
        outcomes: Vec<Outcome>,
        out: &mut Outbox,
    ) {
        unimplemented!()
    }

    /// The store has answered.
    pub fn on_loaded(&mut self, view: View<'_>, ticket: Ticket, answer: Answer, out: &mut Outbox) {
        unimplemented!()
    }

    /// Members came, went or can be reached otherwise: what waited for them goes on.
    pub fn on_reach(&mut self, view: View<'_>, out: &mut Outbox) {
        unimplemented!()
    }

    /// Another node attached these users: recent events for them are offered to it.
    pub fn on_attached(
        &mut self,
        view: View<'_>,
        node: NodeId,
        keys: &[RouteKey],
        out: &mut Outbox,
    ) {
        unimplemented!()
    }

    /// The store takes events, or has no room for them.
    pub fn on_room(&mut self, room: bool) {
        unimplemented!()
    }

    /// The node has been ready once: appends no longer wait for kept members.
    pub fn on_ready(&mut self, view: View<'_>, clock: &mut Clock, out: &mut Outbox) {
        unimplemented!()
    }

    /// The node stops: it coordinates no new appends (they answer `unavailable`), but goes on with those
    /// under way.
    pub fn on_stopping(&mut self) {
        unimplemented!()
    }

    /// Timers.
    pub fn on_tick(&mut self, view: View<'_>, clock: &mut Clock, out: &mut Outbox) {
        unimplemented!()
    }

    /// When [`Streams::on_tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        unimplemented!()
    }

    /// The next fact for the facade.
    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }
}
