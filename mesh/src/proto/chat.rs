//! Sessions, conversations, presence: what a command means, and who gets which push.
//!
//! # Shape
//!
//! A session begins with `hello` and is an entry in one table. Its user's route is attached with the
//! first session of the user here and detached after the last one, a lost one after a moment of grace.
//! What a session wants of other layers leaves as an [`Event`] with a ticket; what it is told leaves
//! as a typed reply or push. Nothing here is written to disk, and nothing is kept of a conversation:
//! every page is asked of the replicas.
//!
//! | module | what |
//! | --- | --- |
//! | `sessions`, `lifecycle` | the table; `hello`, replacement, grace, stopping |
//! | `devices` | one session per named device, mesh-wide |
//! | `messages` | `send`, `read`, `signal`, and events that arrive |
//! | `work`, `reading` | one read after another per session, at the client's pace |
//! | `listing`, `resume`, `survey` | `history`, `conversations`, `resume` as small machines |
//! | `presence` | who is told that whom came or went |
//!
//! # Bounds
//!
//! Everything that a client can make grow has one: reads that wait, bytes of appends under way, users
//! watched, events held back for a resume. What is above it is answered with an error, never dropped in
//! silence. Sessions themselves are bounded by the front's connections.

mod devices;
mod facts;
mod frame;
mod lifecycle;
mod listing;
mod marks;
mod messages;
mod presence;
mod reading;
mod resume;
mod sessions;
mod stats;
mod survey;
#[cfg(test)]
mod tests;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use serde::{Deserialize, Serialize};

pub use crate::proto::chat::facts::Facts;

use crate::command::{Code, Command, Refusal, Reply};
use crate::event::{Json, SharedEvent};
use crate::id::{Device, NodeId, RouteKey, SessionId, UserName};
use crate::proto::chat::devices::Claims;
use crate::proto::chat::messages::{Appending, Signal};
use crate::proto::chat::presence::Presence;
use crate::proto::chat::sessions::{Sessions, State};
use crate::proto::chat::stats::Stats;
use crate::proto::chat::work::Work;
use crate::proto::input::Closing;
use crate::proto::outbox::Outbox;
use crate::proto::output::{CloseCode, Output, Ticket};
use crate::proto::streams::{AppendError, Appended, Draft};
use crate::store::{Answer, Query};
use crate::time::{Clock, Instant, Stamp};

/// When a session that has too much under way is to try again, milliseconds: time for dozens of
/// flushes and pages, and short for a person who waits.
const RETRY_AFTER_MS: u32 = 250;

/// Tuning of this layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The route of a session that was lost, or told `bye` and closed, stays for that long. Longer: a
    /// client that flaps more slowly costs no gossip; shorter: those who left are seen to be gone
    /// earlier. 3 s, architecture section 3.
    pub grace: Duration,
    /// After that a stopping node waits no longer for sessions to go. 30 s, the default of
    /// `--stop-timeout`, which it is to be set from.
    pub stop_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            grace: Duration::from_secs(3),
            stop_timeout: Duration::from_secs(30),
        }
    }
}

/// What nodes say to each other about sessions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// The sender's named live sessions of a user that both serve, with the stamps of their `hello`.
    /// Answered by `DevicesHeld`, and repeated until then.
    Devices {
        /// Whose.
        user: UserName,
        /// Which, since when.
        devices: Vec<(Device, Stamp)>,
    },
    /// The answer to `Devices`: the same of the answering node, once it has closed what is older.
    DevicesHeld {
        /// Whose.
        user: UserName,
        /// Which, since when.
        devices: Vec<(Device, Stamp)>,
    },
    /// A session's signal for all live sessions of a user on the receiving node. Not answered.
    Signal {
        /// To whom.
        to: UserName,
        /// By whom.
        from: UserName,
        /// What kind.
        kind: Box<str>,
        /// Anything.
        body: Option<Json>,
    },
}

/// What this layer wants of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A user with this key has a first session here. Told once per user, not per session.
    Attach(RouteKey),
    /// A user with this key has no session here any more.
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
    /// After [`Chat::stop`]: the last session is gone and detached, or the time for that is over. Told
    /// once.
    Empty,
}

/// The layer.
#[derive(Debug)]
pub struct Chat {
    config: Config,
    me: NodeId,
    rng: ChaCha8Rng,
    sessions: Sessions,
    claims: Claims,
    presence: Presence,
    appends: BTreeMap<Ticket, Appending>,
    appending_bytes: u64,
    /// Which session a question is asked for: as many as sessions read at once.
    reads: BTreeMap<Ticket, SessionId>,
    last_ticket: u64,
    stopping: Option<Stopping>,
    /// Emptied by the facade before it returns.
    events: VecDeque<Event>,
    stats: Stats,
}

/// A stop under way.
#[derive(Debug)]
struct Stopping {
    urls: Vec<String>,
    /// From which session on `bye` is still to be said, and when to go on.
    bye_from: Option<(Instant, SessionId)>,
    over: Instant,
    said_empty: bool,
}

impl Chat {
    /// No sessions. `seed` makes up devices, nonces and the times to come back after a `bye`.
    pub fn new(config: Config, me: NodeId, seed: u64) -> Self {
        Self {
            config,
            me,
            rng: ChaCha8Rng::seed_from_u64(seed),
            sessions: Sessions::default(),
            claims: Claims::default(),
            presence: Presence::default(),
            appends: BTreeMap::new(),
            appending_bytes: 0,
            reads: BTreeMap::new(),
            last_ticket: 0,
            stopping: None,
            events: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// A client asks for something.
    pub fn on_command(
        &mut self,
        view: impl Facts,
        clock: &mut Clock,
        session: SessionId,
        request: Option<u64>,
        command: Command,
        out: &mut Outbox,
    ) {
        let facts: &dyn Facts = &view;
        if self.sessions.is_shut(session) {
            self.stats.commands_dropped += 1;
            return;
        }
        match (self.sessions.get(session).map(|s| s.state), command) {
            (Some(State::Live), command) | (None, command @ Command::Hello(_)) => {
                self.obey(facts, clock, session, request, command, out);
            }
            (Some(State::Leaving | State::Grace), _) => {
                let message = "this node is stopping: go on elsewhere";
                self.refuse(session, request, Code::Unavailable, message, out);
            }
            (None, _) => {
                self.stats.unauthenticated += 1;
                let message = "say hello first";
                self.refuse(session, request, Code::Unauthenticated, message, out);
                self.close(session, CloseCode::NoHello, out);
            }
        }
    }

    /// A command of a live session, or the `hello` of a new one.
    fn obey(
        &mut self,
        facts: &dyn Facts,
        clock: &mut Clock,
        id: SessionId,
        request: Option<u64>,
        command: Command,
        out: &mut Outbox,
    ) {
        match command {
            Command::Hello(hello) => self.hello(facts, clock, id, request, hello, out),
            Command::Send(send) => self.send(facts, clock, id, request, send, out),
            Command::Signal { to, kind, body } => {
                self.signal(facts, id, request, (to, kind, body), out);
            }
            Command::History { of, from, limit } => {
                self.history(facts, clock, id, request, (of, from, limit), out);
            }
            Command::Conversations { limit, before } => {
                self.conversations(facts, clock, id, request, (limit, before), out);
            }
            Command::Read { of, upto } => {
                self.mark_read(facts, clock, id, request, (of, upto), out);
            }
            Command::Watch(users) => self.watch(facts, id, request, &users, out),
            Command::Unwatch(users) => self.unwatch(facts, id, request, &users, out),
            Command::Ping => {
                let pong = Reply::Pong(facts.now().unix_ms);
                self.reply(id, request, pong, out);
            }
        }
    }

    /// A client's connection is gone.
    pub fn on_closed(
        &mut self,
        view: impl Facts,
        session: SessionId,
        closing: Closing,
        _out: &mut Outbox,
    ) {
        self.closed(&view, session, closing);
    }

    /// A session has room for the next bulk reply.
    pub fn on_drained(&mut self, _view: impl Facts, session: SessionId, out: &mut Outbox) {
        self.go_on(session, Work::on_drained, out);
    }

    /// An append ended.
    pub fn on_appended(
        &mut self,
        _view: impl Facts,
        ticket: Ticket,
        result: Result<Appended, AppendError>,
        out: &mut Outbox,
    ) {
        self.appended(ticket, result, out);
    }

    /// A question was answered.
    pub fn on_read(
        &mut self,
        _view: impl Facts,
        ticket: Ticket,
        answer: Answer,
        complete: bool,
        out: &mut Outbox,
    ) {
        self.answered(ticket, answer, complete, out);
    }

    /// An event for this node's sessions came.
    pub fn on_arrived(
        &mut self,
        view: impl Facts,
        event: SharedEvent,
        except: Option<SessionId>,
        late: bool,
        out: &mut Outbox,
    ) {
        self.arrived(&view, &event, except, late, out);
    }

    /// A message of this layer came.
    pub fn on_message(
        &mut self,
        view: impl Facts,
        from: NodeId,
        message: Message,
        out: &mut Outbox,
    ) {
        let facts: &dyn Facts = &view;
        match message {
            Message::Devices { user, devices } => {
                self.on_devices(facts, from, &user, devices, out);
            }
            Message::DevicesHeld { user, devices } => {
                self.on_devices_held(facts, from, user, devices, out);
            }
            Message::Signal {
                to,
                from,
                kind,
                body,
            } => {
                let signal = Signal {
                    to,
                    from,
                    kind,
                    body,
                };
                self.on_signal(facts, signal, out);
            }
        }
    }

    /// Another node's routes changed: presence of watched users, and devices of users served here.
    pub fn on_routes(
        &mut self,
        view: impl Facts,
        node: NodeId,
        attached: &[RouteKey],
        detached: &[RouteKey],
        out: &mut Outbox,
    ) {
        let now = view.now();
        for key in attached {
            self.presence.on_route(now.at, *key);
            self.claim_attached(&view, node, *key, out);
            self.moved(&view, *key);
        }
        for key in detached {
            self.presence.on_gone(*key, now.unix_ms);
            self.presence.on_route(now.at, *key);
        }
    }

    /// A member's state, reachability or completeness changed: presence may have.
    pub fn on_member(&mut self, view: impl Facts, _node: NodeId, _out: &mut Outbox) {
        self.presence.on_member(view.now().at);
    }

    /// A link to a node came back: named sessions of users that both serve are told to it.
    pub fn on_linked(&mut self, view: impl Facts, node: NodeId, _out: &mut Outbox) {
        self.claim_linked(view.now().at, node);
    }

    /// Says `bye` to all sessions; ends with [`Event::Empty`].
    pub fn stop(&mut self, view: impl Facts, urls: Vec<String>, out: &mut Outbox) {
        self.begin_stop(&view, urls, out);
    }

    /// Timers: grace, claims, presence and stopping in slices.
    pub fn on_tick(&mut self, view: impl Facts, out: &mut Outbox) {
        let facts: &dyn Facts = &view;
        let now = facts.now().at;
        // Before anything is detached in this step: the table of routes learns of it afterwards.
        if self.presence.deadline().is_some_and(|due| due <= now) && self.events.is_empty() {
            self.stats.presence_pushed += self.presence.step(facts, &mut self.sessions, out);
        }
        self.tick_grace(facts);
        self.tick_claims(facts, out);
        self.tick_stop(facts, out);
    }

    /// When [`Chat::on_tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let stop = self.stopping.as_ref().and_then(Stopping::deadline);
        let claims = self.claims.deadline();
        let presence = self.presence.deadline();
        [self.sessions.next_lapse(), claims, presence, stop]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next wish.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// How many sessions are open.
    pub fn sessions(&self) -> u64 {
        self.sessions.open_count() as u64
    }

    /// Counters of everything done, refused or dropped, and how much is under way: names of counters
    /// end in `_total`.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let gauges = [
            ("chat_sessions", self.sessions.open_count() as u64),
            ("chat_sessions_in_grace", self.sessions.grace_count() as u64),
            ("chat_watches", self.presence.len() as u64),
            ("chat_reads_under_way", self.reads.len() as u64),
            ("chat_appends_under_way", self.appends.len() as u64),
            ("chat_append_bytes_under_way", self.appending_bytes),
        ];
        gauges.into_iter().chain(self.stats.pairs())
    }

    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    fn reply(&self, session: SessionId, request: Option<u64>, reply: Reply, out: &mut Outbox) {
        out.push(Output::Reply {
            session,
            request,
            reply,
            bulk: false,
        });
    }

    /// Answers a command with an error, and counts it by its code.
    fn refuse(
        &mut self,
        session: SessionId,
        request: Option<u64>,
        code: Code,
        message: impl Into<String>,
        out: &mut Outbox,
    ) {
        let counter = match code {
            Code::BadRequest => Some(&mut self.stats.bad_requests),
            Code::Unsupported => Some(&mut self.stats.unsupported),
            Code::RateLimited => Some(&mut self.stats.rate_limited),
            // These are counted by what causes them.
            Code::Unauthenticated | Code::Unavailable | Code::Conflict => None,
            Code::Forbidden | Code::NotFound | Code::NotMember => None,
            Code::TooLarge | Code::Timeout | Code::Internal => None,
        };
        if let Some(counter) = counter {
            *counter += 1;
        }
        let mut refusal = Refusal::new(code, message);
        refusal.retry_after_ms = (code == Code::RateLimited).then_some(RETRY_AFTER_MS);
        self.reply(session, request, Reply::Error(refusal), out);
    }
}

impl Stopping {
    fn deadline(&self) -> Option<Instant> {
        let over = (!self.said_empty).then_some(self.over);
        self.bye_from.map(|(at, _)| at).or(over)
    }
}
