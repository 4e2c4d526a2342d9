//! What sessions say to each other: messages, read marks, signals.

use rand_core::Rng as _;

use crate::command::{Audience, Code, Push, Reply, Send, limits};
use crate::event::{EventKind, Json, SharedEvent};
use crate::id::{Address, Conversation, EventId, Nonce, SessionId, UserName};
use crate::proto::chat::facts::Facts;
use crate::proto::chat::{Chat, Event, Message};
use crate::proto::outbox::Outbox;
use crate::proto::output::{Output, Ticket};
use crate::proto::streams::{AppendError, Appended, Draft};
use crate::time::Clock;

/// Bytes of appends under way of one session: thousands of short messages, or a hundred long ones.
pub(super) const SESSION_APPENDING_MAX: u32 = 4 * 1024 * 1024;

/// Bytes of appends under way of all sessions: what a stalled disk may cost in this layer.
pub(super) const APPENDING_MAX: u64 = 256 * 1024 * 1024;

/// What an append counts as besides its body, bytes: its entries in the tables on its way.
const APPEND_COST: u32 = 512;

/// An append under way.
#[derive(Debug)]
pub(super) struct Appending {
    session: SessionId,
    request: Option<u64>,
    cost: u32,
    purpose: Purpose,
}

/// What an append is the effect of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Send,
    Read,
}

/// A signal, on its way from one session to all of a user.
#[derive(Debug)]
pub(super) struct Signal {
    pub(super) to: UserName,
    pub(super) from: UserName,
    pub(super) kind: Box<str>,
    pub(super) body: Option<Json>,
}

impl Chat {
    /// A session writes a message.
    pub(super) fn send(
        &mut self,
        facts: &dyn Facts,
        clock: &mut Clock,
        session: SessionId,
        request: Option<u64>,
        send: Send,
        out: &mut Outbox,
    ) {
        let Some(to) = self.only_user(session, request, send.to, out) else {
            return;
        };
        let now = facts.now();
        if let Some(nonce) = send.nonce
            && nonce.unix_ms() > now.unix_ms.saturating_add(limits::NONCE_AHEAD_MS)
        {
            let message = format!(
                "the nonce is more than 60 s ahead of this node's clock, which says {} (Unix ms)",
                now.unix_ms
            );
            self.refuse(session, request, Code::BadRequest, message, out);
            return;
        }
        if let Some(id) = send.reply_to {
            clock.observe_client(now, id.stamp);
        }
        let nonce = send.nonce.unwrap_or_else(|| self.make_nonce(now.unix_ms));
        let Some(author) = self.sessions.get(session).map(|s| s.user.clone()) else {
            return;
        };
        self.stats.sends += 1;
        let draft = Unsent {
            conversation: Conversation::direct(author.clone(), to),
            author,
            nonce,
            kind: EventKind::Message {
                body: send.body,
                reply_to: send.reply_to,
            },
            copies: send.copies,
        };
        self.append(session, request, draft, Purpose::Send, out);
    }

    /// A session has read a conversation up to here.
    pub(super) fn mark_read(
        &mut self,
        facts: &dyn Facts,
        clock: &mut Clock,
        session: SessionId,
        request: Option<u64>,
        read: (Address, EventId),
        out: &mut Outbox,
    ) {
        let (of, upto) = read;
        let Some(of) = self.only_user(session, request, of, out) else {
            return;
        };
        clock.observe_client(facts.now(), upto.stamp);
        let Some((user, key)) = self.sessions.get(session).map(|s| (s.user.clone(), s.key)) else {
            return;
        };
        let of = Conversation::direct(user.clone(), of);
        let known = self.sessions.marks(key, &user).and_then(|m| m.get(&of));
        if known >= Some(upto) {
            self.stats.marks_known += 1;
            self.reply(session, request, Reply::Done, out);
            return;
        }
        let draft = Unsent {
            conversation: Conversation::User(user.clone()),
            author: user,
            nonce: self.make_nonce(facts.now().unix_ms),
            kind: EventKind::Read { of, upto },
            copies: None,
        };
        self.append(session, request, draft, Purpose::Read, out);
    }

    fn make_nonce(&mut self, unix_ms: u64) -> Nonce {
        let random = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        Nonce::new(unix_ms, random)
    }

    fn append(
        &mut self,
        id: SessionId,
        request: Option<u64>,
        unsent: Unsent,
        purpose: Purpose,
        out: &mut Outbox,
    ) {
        let cost = unsent.cost();
        let total = self.appending_bytes + u64::from(cost);
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let own = session.appending.saturating_add(cost);
        // Whatever is allowed as one message may be sent while nothing else is under way.
        let crowded = own > SESSION_APPENDING_MAX && session.appending > 0;
        if crowded || (total > APPENDING_MAX && self.appending_bytes > 0) {
            let message = "too much is under way: wait for replies before sending more";
            self.refuse(id, request, Code::RateLimited, message, out);
            return;
        }
        session.appending = own;
        self.appending_bytes = total;
        let draft = unsent.draft(id, session.hello_unix_ms);
        let ticket = self.next_ticket();
        let appending = Appending {
            session: id,
            request,
            cost,
            purpose,
        };
        self.appends.insert(ticket, appending);
        self.events.push_back(Event::Append { ticket, draft });
    }

    /// An append ended.
    pub(super) fn appended(
        &mut self,
        ticket: Ticket,
        result: Result<Appended, AppendError>,
        out: &mut Outbox,
    ) {
        let Some(appending) = self.appends.remove(&ticket) else {
            self.stats.answers_unheard += 1;
            return;
        };
        self.appending_bytes = self
            .appending_bytes
            .saturating_sub(u64::from(appending.cost));
        let Some(session) = self.sessions.get_mut(appending.session) else {
            self.stats.answers_unheard += 1;
            return;
        };
        session.appending = session.appending.saturating_sub(appending.cost);
        let (id, request) = (appending.session, appending.request);
        match (result, appending.purpose) {
            (Ok(appended), Purpose::Send) => {
                let sent = Reply::Sent {
                    id: appended.id,
                    copies: appended.copies,
                    duplicate: appended.duplicate,
                };
                self.reply(id, request, sent, out);
            }
            (Ok(_), Purpose::Read) => self.reply(id, request, Reply::Done, out),
            (Err(AppendError::Unavailable(why)), _) => {
                self.stats.sends_unavailable += 1;
                let message = format!("may or may not be stored, try again: {why}");
                self.refuse(id, request, Code::Unavailable, message, out);
            }
            (Err(AppendError::Conflict), Purpose::Send) => {
                self.stats.sends_conflicting += 1;
                let message = "this nonce was used for another message in this conversation";
                self.refuse(id, request, Code::Conflict, message, out);
            }
            (Err(AppendError::Conflict), Purpose::Read) => {
                let message = "the nonce that the node made is in use: try again";
                self.refuse(id, request, Code::Internal, message, out);
            }
        }
    }

    /// A session signals.
    pub(super) fn signal(
        &mut self,
        facts: &dyn Facts,
        session: SessionId,
        request: Option<u64>,
        signal: (Address, Box<str>, Option<Json>),
        out: &mut Outbox,
    ) {
        let (to, kind, body) = signal;
        let Some(to) = self.only_user(session, request, to, out) else {
            return;
        };
        let Some(from) = self.sessions.get(session).map(|s| s.user.clone()) else {
            return;
        };
        self.stats.signals += 1;
        let key = facts.key(&to);
        let mut reached: u32 = 0;
        let audience = self.sessions.audience(key, &to, |id, _| {
            reached = 1;
            id != session
        });
        let signal = Signal {
            to,
            from,
            kind,
            body,
        };
        // The last receiver gets the signal itself, the others copies: mostly there is one.
        let mut last = None;
        facts.each_node_with(key, &mut |node| {
            if node == self.me {
                return;
            }
            reached = reached.saturating_add(1);
            if let Some(earlier) = last.replace(node) {
                out.send(earlier, signal.message());
            }
        });
        match last {
            None => push_signal(audience, signal, out),
            Some(node) => {
                if !audience.is_empty() {
                    push_signal(audience, signal.copy(), out);
                }
                out.send(node, signal.into_message());
            }
        }
        self.reply(session, request, Reply::Reached(reached), out);
    }

    /// A session of another node signals.
    pub(super) fn on_signal(&mut self, facts: &dyn Facts, signal: Signal, out: &mut Outbox) {
        let key = facts.key(&signal.to);
        let audience = self.sessions.audience(key, &signal.to, |_, _| true);
        self.stats.signals_unheard += u64::from(audience.is_empty());
        push_signal(audience, signal, out);
    }

    /// An event for sessions here came.
    pub(super) fn arrived(
        &mut self,
        facts: &dyn Facts,
        event: &SharedEvent,
        except: Option<SessionId>,
        late: bool,
        out: &mut Outbox,
    ) {
        match (&event.kind, &event.conversation) {
            (EventKind::Message { .. }, Conversation::Direct(a, b)) => {
                let mut heard = self.push_event(facts, event, a, (except, late), out);
                if a != b {
                    heard |= self.push_event(facts, event, b, (except, late), out);
                }
                self.stats.events_unheard += u64::from(!heard);
            }
            (EventKind::Read { of, upto }, Conversation::User(user)) => {
                self.push_receipts(facts, user, (of, *upto), except, out);
            }
            // Nobody is pushed a contact: the message that made it is pushed itself.
            (EventKind::Contact { .. }, _) => {}
            (EventKind::Message { .. } | EventKind::Read { .. }, _) => {
                self.stats.events_unheard += 1;
            }
        }
    }

    /// Pushes an event to a user's sessions, but to those whose resume takes it. False: it has none.
    fn push_event(
        &mut self,
        facts: &dyn Facts,
        event: &SharedEvent,
        reader: &UserName,
        (except, late): (Option<SessionId>, bool),
        out: &mut Outbox,
    ) -> bool {
        let mut heard = false;
        let key = facts.key(reader);
        let audience = self.sessions.audience(key, reader, |id, session| {
            heard = true;
            let work = session.work.as_mut();
            Some(id) != except && !work.is_some_and(|work| work.takes(event, late))
        });
        let within = event.conversation.seen_by(reader);
        if let (Some(within), false) = (within, audience.is_empty()) {
            self.stats.events_pushed += audience.len() as u64;
            let push = Push::Event {
                event: event.clone(),
                within,
                late,
            };
            push_to(audience, push, out);
        }
        heard
    }

    /// A user has read a conversation up to here: its other sessions learn of it, and whom it talks
    /// with.
    fn push_receipts(
        &mut self,
        facts: &dyn Facts,
        user: &UserName,
        (of, upto): (&Conversation, EventId),
        except: Option<SessionId>,
        out: &mut Outbox,
    ) {
        let key = facts.key(user);
        let known = self.sessions.marks(key, user).and_then(|m| m.get(of));
        if known > Some(upto) {
            return;
        }
        self.sessions.raise_mark(key, user, of, upto);
        let told = self
            .sessions
            .audience(key, user, |id, _| Some(id) != except);
        push_receipt(told, user, user, (of, upto), out);
        if let Some(other) = of.other(user)
            && self.sessions.hears(facts.key(other), other, of, upto)
        {
            let told = self.sessions.audience(facts.key(other), other, |_, _| true);
            push_receipt(told, other, user, (of, upto), out);
        }
    }

    /// The user of an address; a room is refused.
    pub(super) fn only_user(
        &mut self,
        session: SessionId,
        request: Option<u64>,
        address: Address,
        out: &mut Outbox,
    ) -> Option<UserName> {
        match address {
            Address::User(user) => Some(user),
            Address::Room(room) => {
                let message = format!("this version knows no rooms, {room} is one");
                self.refuse(session, request, Code::Unsupported, message, out);
                None
            }
        }
    }
}

/// A draft without what belongs to its session.
struct Unsent {
    conversation: Conversation,
    author: UserName,
    nonce: Nonce,
    kind: EventKind,
    copies: Option<u8>,
}

impl Unsent {
    fn cost(&self) -> u32 {
        let body = match &self.kind {
            EventKind::Message { body, .. } => body.as_str().len(),
            EventKind::Contact { .. } | EventKind::Read { .. } => 0,
        };
        u32::try_from(body)
            .unwrap_or(u32::MAX)
            .saturating_add(APPEND_COST)
    }

    fn draft(self, session: SessionId, hello_unix_ms: u64) -> Draft {
        Draft {
            session,
            conversation: self.conversation,
            author: self.author,
            nonce: self.nonce,
            hello_unix_ms,
            kind: self.kind,
            copies: self.copies,
        }
    }
}

impl Signal {
    fn copy(&self) -> Self {
        Self {
            to: self.to.clone(),
            from: self.from.clone(),
            kind: self.kind.clone(),
            body: self.body.clone(),
        }
    }

    fn message(&self) -> Message {
        self.copy().into_message()
    }

    fn into_message(self) -> Message {
        Message::Signal {
            to: self.to,
            from: self.from,
            kind: self.kind,
            body: self.body,
        }
    }
}

fn push_signal(audience: Audience, signal: Signal, out: &mut Outbox) {
    if audience.is_empty() {
        return;
    }
    let push = Push::Signal {
        within: Address::User(signal.from.clone()),
        from: signal.from,
        kind: signal.kind,
        body: signal.body,
    };
    push_to(audience, push, out);
}

/// Tells sessions of `reader` how far `user` has read.
fn push_receipt(
    audience: Audience,
    reader: &UserName,
    user: &UserName,
    (of, upto): (&Conversation, EventId),
    out: &mut Outbox,
) {
    if let (Some(within), false) = (of.seen_by(reader), audience.is_empty()) {
        let (user, read) = (user.clone(), upto);
        push_to(audience, Push::Receipt { within, user, read }, out);
    }
}

fn push_to(audience: Audience, push: Push, out: &mut Outbox) {
    out.push(Output::Push {
        audience,
        push,
        bulk: false,
    });
}
