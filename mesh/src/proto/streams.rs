//! Sets of events: appends to a quorum of replicas, reads of their union.
//!
//! A stream is a set: replicas may receive events in any order and any number of times, ids order them.
//! This layer makes ids, sends events to replicas and to whom they concern, answers for this node's own
//! disk, and reads. It does not know what an event means to a session, nor who is alive; it does not
//! repair replicas that missed something.
//!
//! | part | job |
//! | --- | --- |
//! | `drafts`, `append`, `pending` | the coordinator: from a draft to an event on enough disks |
//! | `nonces`, `lanes` | first tries and others; the order of one session's drafts |
//! | `deliver`, `shown`, `sent` | who gets an event, what was shown here, what was sent just now |
//! | `replica`, `writer`, `listings` | this node's own disk, and first contact |
//! | `reading`, `union`, `counting` | questions to all replicas |
//! | `serving` | questions to this node's own store |
//!
//! The facade calls one method per fact; each ends with everything said that can be said at once. What
//! a fact leaves to be done without a clock at hand, or beyond one step's share, is due at the next
//! tick, at once.

mod append;
mod counting;
mod deliver;
mod drafts;
mod lanes;
mod listings;
mod message;
mod nonces;
mod pending;
mod reading;
mod replica;
#[cfg(test)]
mod samples;
mod sent;
mod serving;
mod shown;
mod stats;
mod sweep;
#[cfg(test)]
mod tests;
mod union;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::event::{EventKind, SharedEvent};
use crate::id::{Conversation, EventId, NodeId, Nonce, RouteKey, SessionId, Slot, UserName};
use crate::proto::outbox::Outbox;
use crate::proto::output::Ticket;
use crate::proto::view::View;
use crate::store::{Answer, Outcome, Query};
use crate::time::{Clock, Instant, Now};

pub use message::{Ack, AppendId, Message, Part, Purpose, Verdict};

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

/// What this layer asks of the layers below at one moment: the facade gives a [`View`], a test its own
/// small world.
pub trait Surroundings: Copy {
    /// This node.
    fn me(&self) -> NodeId;
    /// The moment.
    fn now(&self) -> Now;
    /// Whether frames can be sent there now, this node included.
    fn reachable(&self, node: NodeId) -> bool;
    /// Whether it has said that it is stopping.
    fn stopping(&self, node: NodeId) -> bool;
    /// All storing members in the order in which they ought to keep a slot.
    fn replicas(&self, slot: Slot) -> impl Iterator<Item = NodeId>;
    /// All storing members that have not left, with their weights.
    fn storing(&self) -> &[(NodeId, u32)];
    /// The nodes, this one included, that have a session for a key and can be reached.
    fn nodes_with(&self, key: RouteKey) -> impl Iterator<Item = NodeId>;
    /// The route key of a user.
    fn key(&self, user: &UserName) -> RouteKey;

    /// Whether a storing node can be given events to keep.
    fn takes_appends(&self, node: NodeId) -> bool {
        self.reachable(node) && !self.stopping(node)
    }
}

impl Surroundings for View<'_> {
    fn me(&self) -> NodeId {
        View::me(self)
    }

    fn now(&self) -> Now {
        self.now
    }

    fn reachable(&self, node: NodeId) -> bool {
        View::reachable(self, node)
    }

    fn stopping(&self, node: NodeId) -> bool {
        self.membership
            .member(node)
            .is_some_and(|life| life.stopping)
    }

    fn replicas(&self, slot: Slot) -> impl Iterator<Item = NodeId> {
        View::replicas(self, slot)
    }

    fn storing(&self) -> &[(NodeId, u32)] {
        self.placement.storing()
    }

    fn nodes_with(&self, key: RouteKey) -> impl Iterator<Item = NodeId> {
        View::nodes_with(self, key)
    }

    fn key(&self, user: &UserName) -> RouteKey {
        View::key(self, user)
    }
}

/// Appends and questions are numbered from these upper bits of the origin on. So an answer that was
/// meant for an earlier life of this node names nothing in this one; seven bytes on the wire.
const FIRST_NUMBER_SHIFT: u32 = 16;

/// The layer.
#[derive(Debug)]
pub struct Streams {
    config: Config,
    /// The origin half of all ids made here.
    origin: u64,
    ready: bool,
    stopping: bool,
    /// The own store takes events.
    room: bool,
    /// The last moment seen: what is due at once is due then.
    at: Instant,

    next_append: u64,
    /// By number, which is the order of deadlines.
    pending: BTreeMap<u64, pending::Pending>,
    /// Appends of messages by name, of [`Self::pending`] and [`Self::offers`].
    names: BTreeMap<append::Name, u64>,
    /// Appends that wait for the node to be ready, in order.
    held: VecDeque<u64>,
    /// All appends below this number were sent again, or are too young.
    renewed: u64,
    /// Appends that were shown, failed, and are offered on.
    offers: BTreeMap<u64, pending::Pending>,
    offers_due: Option<Instant>,
    offering: sweep::Sweep,
    /// Nodes that had no room, and until when they are passed over; at most one entry per replica.
    full: BTreeMap<NodeId, Instant>,
    nonces: nonces::Nonces,
    lanes: lanes::Lanes,
    looked_up: VecDeque<drafts::LookedUp>,

    shown: shown::Shown,
    sent: sent::Sent,

    writer: writer::Writer,
    listings: listings::Listings,
    /// Listings of which one more contact entry is on enough disks.
    listed: VecDeque<listings::ListingId>,
    own_acks: VecDeque<Ack>,
    next_ticket: u64,

    next_question: u64,
    /// By number, which is the order of deadlines.
    reads: BTreeMap<u64, reading::Reading>,
    /// Questions that nobody could be asked.
    answered: VecDeque<u64>,
    loads: BTreeMap<Ticket, serving::Load>,
    counts: BTreeMap<u64, counting::Counting>,

    revisiting_appends: sweep::Sweep,
    revisiting_reads: sweep::Sweep,
    stats: stats::Stats,
    events: VecDeque<Event>,
}

impl Streams {
    /// An empty layer. `origin` is the origin half of all ids it makes: a hash, other in every life.
    pub fn new(config: Config, origin: u64) -> Self {
        let first = origin >> FIRST_NUMBER_SHIFT;
        Self {
            config,
            origin,
            ready: false,
            stopping: false,
            room: true,
            at: Instant(0),
            next_append: first,
            pending: BTreeMap::new(),
            names: BTreeMap::new(),
            held: VecDeque::new(),
            renewed: 0,
            offers: BTreeMap::new(),
            offers_due: None,
            offering: sweep::Sweep::default(),
            full: BTreeMap::new(),
            nonces: nonces::Nonces::default(),
            lanes: lanes::Lanes::default(),
            looked_up: VecDeque::new(),
            shown: shown::Shown::default(),
            sent: sent::Sent::default(),
            writer: writer::Writer::default(),
            listings: listings::Listings::default(),
            listed: VecDeque::new(),
            own_acks: VecDeque::new(),
            next_ticket: 0,
            next_question: first,
            reads: BTreeMap::new(),
            answered: VecDeque::new(),
            loads: BTreeMap::new(),
            counts: BTreeMap::new(),
            revisiting_appends: sweep::Sweep::default(),
            revisiting_reads: sweep::Sweep::default(),
            stats: stats::Stats::default(),
            events: VecDeque::new(),
        }
    }

    /// Appends an event; ends with [`Event::Appended`] of this ticket.
    pub fn append(
        &mut self,
        view: impl Surroundings,
        clock: &mut Clock,
        ticket: Ticket,
        draft: Draft,
        out: &mut Outbox,
    ) {
        self.on_draft(view, clock, ticket, draft, out);
        self.settle_with(view, clock, out);
    }

    /// Asks all reachable storing members; ends with [`Event::Read`] of this ticket. Of a range at most
    /// 1,024 events or about 384 KiB are answered, of heads at most 512 may be asked for.
    pub fn read(
        &mut self,
        view: impl Surroundings,
        ticket: Ticket,
        query: Query,
        out: &mut Outbox,
    ) {
        self.read_for(view, ticket, query, out);
        self.settle(view, out);
    }

    /// A message of this layer came.
    pub fn on_message(
        &mut self,
        view: impl Surroundings,
        clock: &mut Clock,
        from: NodeId,
        message: Message,
        out: &mut Outbox,
    ) {
        match message {
            Message::Offer { event, purpose } => {
                self.on_offer(view, clock, from, event, purpose, out);
            }
            Message::Acks(acks) if acks.len() <= message::ACKS_MAX => {
                for ack in acks {
                    self.on_ack(view, from, ack, out);
                }
            }
            Message::Acks(_) => self.stats.messages_refused += 1,
            Message::Ask { question, query } => self.on_ask(from, question, query, out),
            Message::Answer { question, part } => self.on_part(view, from, question, part, out),
        }
        self.settle_with(view, clock, out);
    }

    /// The store has appended.
    pub fn on_appended(
        &mut self,
        view: impl Surroundings,
        ticket: Ticket,
        outcomes: Vec<Outcome>,
        out: &mut Outbox,
    ) {
        self.on_outcomes(view, ticket, outcomes, out);
        self.settle(view, out);
    }

    /// The store has answered.
    pub fn on_loaded(
        &mut self,
        view: impl Surroundings,
        ticket: Ticket,
        answer: Answer,
        out: &mut Outbox,
    ) {
        self.on_load(view, ticket, answer, out);
        self.settle(view, out);
    }

    /// Members came, went or can be reached otherwise: what waited for them goes on.
    pub fn on_reach(&mut self, view: impl Surroundings, out: &mut Outbox) {
        self.revisiting_appends.start();
        self.revisiting_reads.start();
        if !self.offers.is_empty() {
            self.offering.start();
        }
        self.revisit_some(view, out);
        self.settle(view, out);
    }

    /// Another node attached these users: recent events for them are offered to it.
    pub fn on_attached(
        &mut self,
        view: impl Surroundings,
        node: NodeId,
        keys: &[RouteKey],
        out: &mut Outbox,
    ) {
        self.send_recent(view, node, keys, out);
    }

    /// The store takes events, or has no room for them.
    pub fn on_room(&mut self, room: bool) {
        self.room = room;
    }

    /// The node has been ready once: appends and questions no longer wait for kept members.
    pub fn on_ready(&mut self, view: impl Surroundings, clock: &mut Clock, out: &mut Outbox) {
        self.ready = true;
        self.revisiting_reads.start();
        self.revisit_some(view, out);
        self.admit_held(view, clock, out);
        self.settle_with(view, clock, out);
    }

    /// The node stops: it coordinates no new appends (they answer `unavailable`), but goes on with those
    /// under way.
    pub fn on_stopping(&mut self) {
        self.stopping = true;
    }

    /// Timers.
    pub fn on_tick(&mut self, view: impl Surroundings, clock: &mut Clock, out: &mut Outbox) {
        self.admit_held(view, clock, out);
        self.revisit_some(view, out);
        self.tick_reads(view, out);
        self.settle_with(view, clock, out);
        self.tick_appends(view, out);
        self.shown.expire(view.now().at);
        self.sent.expire(view.now().at);
        self.settle_with(view, clock, out);
    }

    /// When [`Streams::on_tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let at_once = !self.looked_up.is_empty()
            || (self.ready && !self.held.is_empty())
            || self.offering.is_under_way()
            || self.revisiting_appends.is_under_way()
            || self.revisiting_reads.is_under_way();
        if at_once {
            return Some(self.at);
        }
        let append = self.pending.first_key_value();
        let read = self.reads.first_key_value();
        [
            append.map(|(_, pending)| pending.deadline),
            self.next_renewal().map(|(_, due)| due),
            self.offers_due,
            read.map(|(_, reading)| reading.deadline),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next fact for the facade.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Counters of everything done, refused or dropped: name and value.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let parts = [
            ("streams_nonces_forgotten_total", self.nonces.overflows),
            ("streams_shown_forgotten_total", self.shown.forgotten),
            ("streams_sent_forgotten_total", self.sent.forgotten),
            ("streams_acks_withheld_total", self.listings.withheld),
        ];
        self.stats.list().into_iter().chain(parts)
    }

    fn revisit_some(&mut self, near: impl Surroundings, out: &mut Outbox) {
        for number in self.revisiting_appends.slice(&self.pending, append::SLICE) {
            self.revisit(near, number, out);
        }
        for question in self
            .revisiting_reads
            .slice(&self.reads, reading::READS_SLICE)
        {
            self.revisit_read(near, question, out);
        }
    }

    /// Carries facts between the parts until none is left.
    fn settle(&mut self, near: impl Surroundings, out: &mut Outbox) {
        self.at = near.now().at;
        self.settle_acks(near, out);
        while let Some(question) = self.answered.pop_front() {
            self.finish_read(near, question, out);
        }
    }

    /// The same, and goes on with drafts, which takes a clock.
    fn settle_with(&mut self, near: impl Surroundings, clock: &mut Clock, out: &mut Outbox) {
        self.settle(near, out);
        if !self.looked_up.is_empty() {
            self.after_look_ups(near, clock, out);
            self.settle(near, out);
        }
    }
}
