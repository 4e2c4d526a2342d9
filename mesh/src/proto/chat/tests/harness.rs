//! A node with this layer alone: routes are a table, the replicas a map, time stands still until told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::command::{Code, Command, Hello, Page, Push, Reply, Send, limits};
use crate::event::{Event as StreamEvent, EventKind, Json, SharedEvent};
use crate::id::{
    Address, Conversation, Device, EventId, NodeId, Nonce, RouteHasher, RouteKey, SessionId,
    StreamId, UserName,
};
use crate::proto::chat::{Chat, Config, Event, Facts, Message};
use crate::proto::input::Closing;
use crate::proto::outbox::{Effect, Outbox};
use crate::proto::output::{CloseCode, Output, Ticket};
use crate::proto::streams::{Appended, Draft};
use crate::proto::view::Sight;
use crate::store::{Answer, End, Head, HeadQuery, Query};
use crate::time::{Clock, Instant, Now, Stamp};
use crate::wire::Frame;

/// Unix milliseconds at which all tests begin.
pub(super) const START_MS: u64 = 1_732_032_876_000;

pub(super) fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

pub(super) fn address(name: &str) -> Address {
    name.parse().unwrap()
}

pub(super) fn direct(a: &str, b: &str) -> Conversation {
    Conversation::direct(user(a), user(b))
}

pub(super) fn device(name: &str) -> Device {
    name.try_into().unwrap()
}

pub(super) fn node_id(n: u8) -> NodeId {
    NodeId([n; 32])
}

pub(super) fn json(text: &str) -> Json {
    Json::from_valid(text)
}

/// An id stamped that many milliseconds after the start of the test.
pub(super) fn id_at(ms: i64) -> EventId {
    EventId {
        stamp: Stamp::from_unix_ms(START_MS.saturating_add_signed(ms)),
        origin: 7,
    }
}

pub(super) fn message(id: EventId, from: &str, to: &str, body: &str) -> SharedEvent {
    Arc::new(StreamEvent {
        id,
        conversation: direct(from, to),
        author: user(from),
        nonce: Some(Nonce(id.to_u128())),
        kind: EventKind::Message {
            body: json(body),
            reply_to: None,
        },
    })
}

/// What the layers below would know.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) now: Now,
    hasher: RouteHasher,
    routes: BTreeMap<RouteKey, BTreeMap<NodeId, Sight>>,
    /// What is seen of a key without any route.
    pub(super) unrouted: Sight,
    /// All users have one key.
    pub(super) collide: bool,
}

impl Table {
    pub(super) fn set(&mut self, name: &str, node: NodeId, sight: Sight) -> RouteKey {
        let key = (&*self).key(&user(name));
        self.routes.entry(key).or_default().insert(node, sight);
        key
    }

    pub(super) fn clear(&mut self, name: &str, node: NodeId) -> RouteKey {
        let key = (&*self).key(&user(name));
        self.routes.entry(key).or_default().remove(&node);
        key
    }
}

impl Facts for &Table {
    fn now(&self) -> Now {
        self.now
    }

    fn key(&self, user: &UserName) -> RouteKey {
        if self.collide {
            RouteKey(1)
        } else {
            self.hasher.user(user)
        }
    }

    fn sight(&self, key: RouteKey) -> Sight {
        let routes = self.routes.get(&key);
        let best = routes.and_then(|nodes| nodes.values().copied().max());
        best.unwrap_or(self.unrouted)
    }

    fn each_node_with(&self, key: RouteKey, visit: &mut dyn FnMut(NodeId)) {
        let routes = self.routes.get(&key);
        let reachable = routes
            .into_iter()
            .flatten()
            .filter(|(_, sight)| sight.online());
        reachable.for_each(|(node, _)| visit(*node));
    }
}

/// What a node answers by itself, and what the test answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// At once.
    AtOnce,
    /// When the test says so.
    ByHand,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) chat: Chat,
    pub(super) clock: Clock,
    pub(super) table: Table,
    streams: BTreeMap<StreamId, BTreeMap<EventId, SharedEvent>>,
    pub(super) reads: Answers,
    pub(super) appends: Answers,
    pub(super) drains: Answers,
    pub(super) complete: bool,
    pub(super) asked: VecDeque<(Ticket, Query)>,
    pub(super) drafts: VecDeque<(Ticket, Draft)>,
    /// Routes attached and detached, and the end of stopping.
    pub(super) events: Vec<Event>,
}

impl Node {
    pub(super) fn new(n: u8) -> Self {
        Self {
            id: node_id(n),
            chat: Chat::new(Config::default(), node_id(n), u64::from(n)),
            clock: Clock::new(Stamp(0)),
            table: Table {
                now: Now {
                    at: Instant(1_000_000),
                    unix_ms: START_MS,
                },
                hasher: RouteHasher::new(&[1; 16]),
                routes: BTreeMap::new(),
                unrouted: Sight::Gone,
                collide: false,
            },
            streams: BTreeMap::new(),
            reads: Answers::AtOnce,
            appends: Answers::AtOnce,
            drains: Answers::AtOnce,
            complete: true,
            asked: VecDeque::new(),
            drafts: VecDeque::new(),
            events: Vec::new(),
        }
    }

    /// Something happens: all that follows from it.
    pub(super) fn act(
        &mut self,
        act: impl FnOnce(&mut Chat, &Table, &mut Clock, &mut Outbox),
    ) -> Said {
        let mut out = Outbox::default();
        let mut said = Said::default();
        act(&mut self.chat, &self.table, &mut self.clock, &mut out);
        loop {
            let drained = said.take_in(&mut out);
            let mut idle = drained.is_empty();
            for session in drained {
                if self.drains == Answers::AtOnce {
                    self.chat.on_drained(&self.table, session, &mut out);
                }
            }
            while let Some(event) = self.chat.poll_event() {
                idle = false;
                self.grant(event, &mut out);
            }
            if idle {
                return said;
            }
        }
    }

    fn grant(&mut self, event: Event, out: &mut Outbox) {
        match event {
            Event::Attach(key) => {
                let routes = self.table.routes.entry(key).or_default();
                routes.insert(self.id, Sight::Here);
                self.events.push(event);
            }
            Event::Detach(key) => {
                self.table.routes.entry(key).or_default().remove(&self.id);
                self.events.push(event);
            }
            Event::Empty => self.events.push(event),
            Event::Append { ticket, draft } if self.appends == Answers::AtOnce => {
                let (event, except) = self.store_draft(draft);
                let appended = Appended {
                    id: event.id,
                    copies: 2,
                    duplicate: false,
                };
                let (table, chat) = (&self.table, &mut self.chat);
                chat.on_arrived(table, event, Some(except), false, out);
                chat.on_appended(table, ticket, Ok(appended), out);
            }
            Event::Append { ticket, draft } => self.drafts.push_back((ticket, draft)),
            Event::Read { ticket, query } if self.reads == Answers::AtOnce => {
                let answer = self.answer(&query);
                let complete = self.complete;
                self.chat
                    .on_read(&self.table, ticket, answer, complete, out);
            }
            Event::Read { ticket, query } => self.asked.push_back((ticket, query)),
        }
    }

    fn store_draft(&mut self, draft: Draft) -> (SharedEvent, SessionId) {
        let event = Arc::new(StreamEvent {
            id: EventId {
                stamp: self.clock.tick(self.table.now),
                origin: 1,
            },
            conversation: draft.conversation,
            author: draft.author,
            nonce: Some(draft.nonce),
            kind: draft.kind,
        });
        self.put(event.clone());
        (event, draft.session)
    }

    /// An event is on the replicas; a first message makes both lists.
    pub(super) fn put(&mut self, event: SharedEvent) {
        let stream = self.streams.entry(event.stream()).or_default();
        let first = stream.is_empty();
        stream.insert(event.id, event.clone());
        if let (true, Conversation::Direct(a, b)) = (first, &event.conversation) {
            for owner in [a, b] {
                self.put(Arc::new(StreamEvent {
                    id: event.id,
                    conversation: Conversation::User(owner.clone()),
                    author: event.author.clone(),
                    nonce: None,
                    kind: EventKind::Contact {
                        with: event.conversation.clone(),
                    },
                }));
            }
        }
    }

    /// An event is on the replicas and comes to this node's sessions.
    pub(super) fn arrives(&mut self, event: SharedEvent) -> Said {
        self.put(event.clone());
        self.act(|chat, table, _, out| chat.on_arrived(table, event, None, false, out))
    }

    /// How the replicas answer.
    pub(super) fn answer(&self, query: &Query) -> Answer {
        match query {
            Query::Range(range) => {
                let stream = self.streams.get(&range.stream).into_iter().flatten();
                let mut events: Vec<_> = stream
                    .filter(|(id, _)| range.after < **id && **id < range.before)
                    .map(|(_, event)| event.clone())
                    .collect();
                let more = events.len() > range.limit as usize;
                let cut = events.len().saturating_sub(range.limit as usize);
                match range.end {
                    End::Oldest => events.truncate(range.limit as usize),
                    End::Newest => drop(events.drain(..cut)),
                }
                Answer::Events { events, more }
            }
            Query::Heads(heads) => {
                Answer::Heads(heads.iter().map(|head| self.head(head)).collect())
            }
            Query::Nonce { .. } => panic!("this layer never asks for a nonce"),
        }
    }

    fn head(&self, query: &HeadQuery) -> Head {
        let events = self.streams.get(&query.stream);
        let events = || events.into_iter().flat_map(BTreeMap::values);
        let unread = events().filter(|event| event.id > query.read && event.author != query.reader);
        Head {
            last: events().last().cloned(),
            unread: u32::try_from(unread.count()).unwrap(),
            unread_digest: 0,
        }
    }

    pub(super) fn command(&mut self, session: u64, command: Command) -> Said {
        let session = SessionId(session);
        self.act(|chat, table, clock, out| {
            chat.on_command(table, clock, session, Some(1), command, out);
        })
    }

    pub(super) fn hello_with(&mut self, session: u64, hello: Hello) -> Said {
        self.command(session, Command::Hello(hello))
    }

    /// A session without a device of its own.
    pub(super) fn hello(&mut self, session: u64, name: &str) -> Said {
        self.hello_with(session, hello(name, None))
    }

    pub(super) fn hello_on(&mut self, session: u64, name: &str, on: &str) -> Said {
        self.hello_with(session, hello(name, Some(on)))
    }

    pub(super) fn send(&mut self, session: u64, to: &str, body: &str) -> Said {
        self.command(session, Command::Send(send(to, body)))
    }

    pub(super) fn signal(&mut self, session: u64, to: &str) -> Said {
        self.command(
            session,
            Command::Signal {
                to: address(to),
                kind: "typing".into(),
                body: Some(json("true")),
            },
        )
    }

    pub(super) fn history(&mut self, session: u64, of: &str, from: Page, limit: u32) -> Said {
        let of = address(of);
        self.command(session, Command::History { of, from, limit })
    }

    pub(super) fn conversations(&mut self, session: u64) -> Said {
        self.command(
            session,
            Command::Conversations {
                limit: limits::CONVERSATIONS_DEFAULT,
                before: None,
            },
        )
    }

    pub(super) fn read(&mut self, session: u64, of: &str, upto: EventId) -> Said {
        let of = address(of);
        self.command(session, Command::Read { of, upto })
    }

    pub(super) fn watch(&mut self, session: u64, users: &[&str]) -> Said {
        let users = users.iter().map(|name| user(name)).collect();
        self.command(session, Command::Watch(users))
    }

    pub(super) fn closed(&mut self, session: u64, closing: Closing) -> Said {
        self.act(|chat, table, _, out| chat.on_closed(table, SessionId(session), closing, out))
    }

    pub(super) fn drained(&mut self, session: u64) -> Said {
        self.act(|chat, table, _, out| chat.on_drained(table, SessionId(session), out))
    }

    /// The replicas answer the oldest question that waits.
    pub(super) fn answer_next(&mut self) -> Said {
        let (ticket, query) = self.asked.pop_front().expect("a question waits");
        let answer = self.answer(&query);
        let complete = self.complete;
        self.act(|chat, table, _, out| chat.on_read(table, ticket, answer, complete, out))
    }

    pub(super) fn receive(&mut self, from: NodeId, message: Message) -> Said {
        self.act(|chat, table, _, out| chat.on_message(table, from, message, out))
    }

    /// Another node attached or detached users.
    pub(super) fn routes(&mut self, node: NodeId, attached: &[&str], detached: &[&str]) -> Said {
        let attached: Vec<_> = attached
            .iter()
            .map(|name| self.table.set(name, node, Sight::Here))
            .collect();
        let detached: Vec<_> = detached
            .iter()
            .map(|name| self.table.clear(name, node))
            .collect();
        self.act(|chat, table, _, out| chat.on_routes(table, node, &attached, &detached, out))
    }

    /// Timers that are due are run until none is.
    pub(super) fn tick(&mut self) -> Said {
        let mut said = Said::default();
        for _ in 0..100_000 {
            let due = |at: Instant| at <= self.table.now.at;
            if !self.chat.deadline().is_some_and(due) {
                return said;
            }
            let more = self.act(|chat, table, _, out| chat.on_tick(table, out));
            said.0.extend(more.0);
        }
        panic!("a timer is always due");
    }

    /// Time goes by, timers run when they are due.
    pub(super) fn pass(&mut self, time: Duration) -> Said {
        let end = self.table.now.at + time;
        let mut said = self.tick();
        while let Some(at) = self.chat.deadline().filter(|at| *at <= end) {
            self.set_time(at);
            said.0.extend(self.tick().0);
        }
        self.set_time(end);
        said
    }

    fn set_time(&mut self, at: Instant) {
        let passed = at.since(self.table.now.at);
        self.table.now.at = at;
        self.table.now.unix_ms += u64::try_from(passed.as_millis()).unwrap();
    }

    pub(super) fn attached(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    pub(super) fn key(&self, name: &str) -> RouteKey {
        (&self.table).key(&user(name))
    }

    pub(super) fn counter(&self, name: &str) -> u64 {
        let mut counters = self.chat.counters();
        counters.find(|(other, _)| *other == name).unwrap().1
    }
}

pub(super) fn hello(name: &str, on: Option<&str>) -> Hello {
    Hello {
        user: user(name),
        device: on.map(device),
        resume: None,
    }
}

pub(super) fn send(to: &str, body: &str) -> Send {
    Send {
        to: address(to),
        body: json(body),
        nonce: None,
        reply_to: None,
        copies: None,
    }
}

/// Lets two nodes hear each other until they are silent: what each said to its clients.
pub(super) fn converse(a: &mut Node, b: &mut Node, from_a: Said) -> (Said, Said) {
    let (mut said_a, mut said_b) = (from_a.clone(), Said::default());
    let mut frames: VecDeque<_> = from_a
        .frames()
        .into_iter()
        .map(|(_, m)| (true, m))
        .collect();
    for _ in 0..1_000 {
        let Some((to_b, message)) = frames.pop_front() else {
            return (said_a, said_b);
        };
        let (receiver, sender, said) = if to_b {
            (&mut *b, a.id, &mut said_b)
        } else {
            (&mut *a, b.id, &mut said_a)
        };
        let new = receiver.receive(sender, message);
        frames.extend(new.frames().into_iter().map(|(_, m)| (!to_b, m)));
        said.0.extend(new.0);
    }
    panic!("two nodes never fall silent");
}

/// Everything that left a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said(pub(super) Vec<Effect>);

impl Said {
    /// Takes in what is new: the sessions to which something bulky was said.
    fn take_in(&mut self, out: &mut Outbox) -> Vec<SessionId> {
        let mut bulky = Vec::new();
        while let Some(effect) = out.pop() {
            match &effect {
                Effect::Output(Output::Reply {
                    session,
                    bulk: true,
                    ..
                }) => bulky.push(*session),
                Effect::Output(Output::Push {
                    audience,
                    bulk: true,
                    ..
                }) => {
                    assert_eq!(audience.len(), 1, "a bulk push is for one session");
                    bulky.extend(audience);
                }
                _ => {}
            }
            self.0.push(effect);
        }
        bulky
    }

    fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.0.iter().filter_map(|effect| match effect {
            Effect::Output(output) => Some(output),
            Effect::ToNode(..) | Effect::ToLink(..) => None,
        })
    }

    pub(super) fn replies(&self, session: u64) -> Vec<Reply> {
        let reply = |output: &Output| match output {
            Output::Reply {
                session: to, reply, ..
            } if to.0 == session => Some(reply.clone()),
            _ => None,
        };
        self.outputs().filter_map(reply).collect()
    }

    /// The one reply to a session.
    pub(super) fn reply(&self, session: u64) -> Reply {
        let mut replies = self.replies(session);
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.remove(0)
    }

    pub(super) fn code(&self, session: u64) -> Code {
        match self.reply(session) {
            Reply::Error(refusal) => {
                let limited = refusal.code == Code::RateLimited;
                assert_eq!(refusal.retry_after_ms.is_some(), limited, "{refusal:?}");
                refusal.code
            }
            reply => panic!("no error: {reply:?}"),
        }
    }

    pub(super) fn pushes(&self, session: u64) -> Vec<Push> {
        let push = |output: &Output| match output {
            Output::Push { audience, push, .. } => {
                let times = audience.iter().filter(|to| to.0 == session).count();
                assert!(times <= 1, "told once");
                (times == 1).then(|| push.clone())
            }
            _ => None,
        };
        self.outputs().filter_map(push).collect()
    }

    /// The bodies of the messages pushed to a session, and the conversations.
    pub(super) fn bodies(&self, session: u64) -> Vec<(String, String)> {
        let body = |push: Push| match push {
            Push::Event { event, within, .. } => Some((within.to_string(), body(&event))),
            _ => None,
        };
        self.pushes(session).into_iter().filter_map(body).collect()
    }

    pub(super) fn closes(&self) -> Vec<(u64, CloseCode)> {
        let close = |output: &Output| match output {
            Output::Close { session, code } => Some((session.0, *code)),
            _ => None,
        };
        self.outputs().filter_map(close).collect()
    }

    pub(super) fn frames(&self) -> Vec<(NodeId, Message)> {
        let frame = |effect: &Effect| match effect {
            Effect::ToNode(node, Frame::Chat(message)) => Some((*node, message.clone())),
            _ => None,
        };
        self.0.iter().filter_map(frame).collect()
    }

    pub(super) fn is_silent(&self) -> bool {
        self.0.is_empty()
    }
}

pub(super) fn body(event: &StreamEvent) -> String {
    match &event.kind {
        EventKind::Message { body, .. } => body.as_str().to_owned(),
        kind => panic!("no message: {kind:?}"),
    }
}
