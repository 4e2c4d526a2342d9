//! How sessions begin and end: `hello`, replacement, grace, stopping.
//!
//! The route of a user is attached with its first session here and detached after its last, so that
//! the layer below sees one change each.

use std::collections::BTreeMap;

use rand_core::Rng as _;

use crate::command::{ByeReason, Code, Hello, Push, Reply, limits};
use crate::id::{Device, RouteKey, SessionId};
use crate::proto::chat::facts::Facts;
use crate::proto::chat::resume::Resume;
use crate::proto::chat::sessions::{Grace, Naming, Session, State};
use crate::proto::chat::work::Job;
use crate::proto::chat::{Chat, Event, Stopping};
use crate::proto::input::Closing;
use crate::proto::outbox::Outbox;
use crate::proto::output::{CloseCode, Output};
use crate::time::Clock;

/// Sessions told `bye` in one step. Each step draws its own time to come back, so that the clients of
/// a node do not all dial the next one at once.
const BYES: usize = 256;

/// Graces that end in one step: some 1 µs each.
const LAPSES: usize = 512;

/// The longest time to come back that a `bye` names, milliseconds.
const RECONNECT_MAX_MS: u32 = 1_000;

impl Chat {
    /// A connection says who it is.
    pub(super) fn hello(
        &mut self,
        facts: &dyn Facts,
        clock: &mut Clock,
        id: SessionId,
        request: Option<u64>,
        hello: Hello,
        out: &mut Outbox,
    ) {
        if let Some((code, message, close)) = self.hello_refused(id, &hello) {
            self.stats.hellos_refused += 1;
            self.refuse(id, request, code, message, out);
            if let Some(close) = close {
                self.close(id, close, out);
            }
            return;
        }
        let now = facts.now();
        for window in hello.resume.iter().flat_map(BTreeMap::values) {
            clock.observe_client(now, window.upto.stamp);
        }
        let (device, naming) = match hello.device {
            Some(device) => (device, Naming::Client),
            None => (self.make_up_device(), Naming::Node),
        };
        let key = facts.key(&hello.user);
        let session = Session {
            user: hello.user.clone(),
            key,
            device: device.clone(),
            naming,
            hello: clock.tick(now),
            hello_unix_ms: now.unix_ms,
            state: State::Live,
            appending: 0,
            watch: None,
            work: None,
        };
        let opened = self.sessions.open(id, session);
        self.stats.hellos += 1;
        let welcome = Reply::Welcome {
            user: hello.user.clone(),
            device,
            node: self.me,
            unix_ms: now.unix_ms,
        };
        self.reply(id, request, welcome, out);
        if opened.first {
            self.events.push_back(Event::Attach(key));
            self.presence.on_route(now.at, key);
        }
        for old in opened.displaced.into_iter().chain(opened.relieved) {
            self.replace(facts, old, out);
        }
        // Nodes that serve the user already are told by the new route, and answer with a claim.
        if !opened.first && naming == Naming::Client {
            self.claim_everywhere(facts, key, &hello.user, out);
        }
        if let Some(windows) = hello.resume {
            let resume = Job::Resume(Box::new(Resume::new(hello.user, windows)));
            self.read(id, None, resume, out);
        }
    }

    /// Why a `hello` is refused, where it is, and with what the connection is closed then.
    fn hello_refused(
        &self,
        id: SessionId,
        hello: &Hello,
    ) -> Option<(Code, &'static str, Option<CloseCode>)> {
        let named = hello.resume.as_ref().map_or(0, BTreeMap::len);
        if self.sessions.get(id).is_some() {
            Some((Code::BadRequest, "hello was said before", None))
        } else if self.stopping.is_some() {
            Some((
                Code::Unavailable,
                "this node is stopping",
                Some(CloseCode::Draining),
            ))
        } else if named > limits::RESUME_NAMED {
            Some((
                Code::BadRequest,
                "resume names more than 1,000 conversations",
                Some(CloseCode::NoHello),
            ))
        } else {
            None
        }
    }

    fn make_up_device(&mut self) -> Device {
        let name = format!("{:016x}", self.rng.next_u64());
        Device::try_from(name.as_str()).expect("16 hex digits are a device")
    }

    /// A session's device said `hello` again, here or elsewhere, or what is in grace holds nothing
    /// any more.
    pub(super) fn replace(&mut self, facts: &dyn Facts, id: SessionId, out: &mut Outbox) {
        let Some(state) = self.sessions.get(id).map(|session| session.state) else {
            return;
        };
        match state {
            State::Live => {
                self.stats.replaced += 1;
                out.push(Output::Push {
                    audience: vec![id],
                    push: Push::Bye {
                        reason: ByeReason::Replaced,
                        reconnect_after_ms: 0,
                        urls: Vec::new(),
                    },
                    bulk: false,
                });
                self.close(id, CloseCode::Replaced, out);
            }
            State::Leaving => self.sessions.shut(id),
            State::Grace => {}
        }
        self.end(facts, id);
    }

    /// Asks the front to close a connection; nothing that it still says counts.
    pub(super) fn close(&mut self, id: SessionId, code: CloseCode, out: &mut Outbox) {
        self.sessions.shut(id);
        out.push(Output::Close { session: id, code });
    }

    /// A connection is gone.
    pub(super) fn closed(&mut self, facts: &dyn Facts, id: SessionId, closing: Closing) {
        if self.sessions.unshut(id) {
            return;
        }
        let Some(session) = self.sessions.get(id) else {
            return;
        };
        let leaving = session.state == State::Leaving;
        let may_come_back = closing == Closing::Lost || leaving;
        if !may_come_back || (leaving && self.is_elsewhere(facts, session.key)) {
            self.end(facts, id);
            return;
        }
        self.free(id);
        let lapse = self.sessions.lapse_after(facts.now().at, self.config.grace);
        match self.sessions.grace(id, lapse) {
            Grace::Begun => self.stats.graces += 1,
            Grace::Needless => self.end(facts, id),
            Grace::Full => {
                self.stats.graces_refused += 1;
                self.end(facts, id);
            }
        }
        self.say_if_empty();
    }

    /// Whether another node has a route for the users with this key.
    fn is_elsewhere(&self, facts: &dyn Facts, key: RouteKey) -> bool {
        let mut elsewhere = false;
        facts.each_node_with(key, &mut |node| elsewhere |= node != self.me);
        elsewhere
    }

    /// Another node has a route for users with this key: where this one stops, theirs need not stay
    /// any longer.
    pub(super) fn moved(&mut self, facts: &dyn Facts, key: RouteKey) {
        if self.stopping.is_none() {
            return;
        }
        let graces: Vec<_> = self.sessions.graces(key).collect();
        for id in graces {
            self.end(facts, id);
        }
    }

    /// Graces that are over.
    pub(super) fn tick_grace(&mut self, facts: &dyn Facts) {
        for _ in 0..LAPSES {
            let Some(id) = self.sessions.lapsed(facts.now().at) else {
                return;
            };
            self.end(facts, id);
        }
    }

    /// Takes a session out of everything, and its user's route back with the last one.
    fn end(&mut self, facts: &dyn Facts, id: SessionId) {
        self.free(id);
        let Some((session, last)) = self.sessions.remove(id) else {
            return;
        };
        if last {
            self.detach(facts, session.key);
        }
    }

    /// Lets go of what a session watches and reads.
    fn free(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.work = None;
            if let Some(watch) = session.watch.take() {
                self.presence.forget(id, &watch);
            }
        }
    }

    fn detach(&mut self, facts: &dyn Facts, key: RouteKey) {
        let now = facts.now();
        self.events.push_back(Event::Detach(key));
        self.presence.on_gone(key, now.unix_ms);
        self.presence.on_route(now.at, key);
        self.say_if_empty();
    }

    /// Begins to say `bye` to all.
    pub(super) fn begin_stop(&mut self, facts: &dyn Facts, urls: Vec<String>, out: &mut Outbox) {
        if self.stopping.is_some() {
            return;
        }
        let now = facts.now().at;
        self.stopping = Some(Stopping {
            urls,
            bye_from: Some((now, SessionId(0))),
            over: now + self.config.stop_timeout,
            said_empty: false,
        });
        self.tick_stop(facts, out);
        self.say_if_empty();
    }

    /// Says `bye` to some more; once all were told, gives up waiting for the last to go when its time
    /// is over.
    pub(super) fn tick_stop(&mut self, facts: &dyn Facts, out: &mut Outbox) {
        let now = facts.now().at;
        let Some(stopping) = &mut self.stopping else {
            return;
        };
        let Some((_, from)) = stopping.bye_from else {
            if stopping.over <= now && !std::mem::replace(&mut stopping.said_empty, true) {
                self.events.push_back(Event::Empty);
            }
            return;
        };
        let slice: Vec<_> = self
            .sessions
            .slice(from, BYES)
            .map(|(id, session)| (id, session.state))
            .collect();
        stopping.bye_from = match slice.last() {
            Some((last, _)) if slice.len() == BYES => {
                Some((now, SessionId(last.0.saturating_add(1))))
            }
            _ => None,
        };
        let urls = stopping.urls.clone();
        let audience: Vec<_> = slice
            .into_iter()
            .filter(|(_, state)| *state == State::Live)
            .map(|(id, _)| id)
            .collect();
        self.say_bye(audience, urls, out);
    }

    fn say_bye(&mut self, audience: Vec<SessionId>, urls: Vec<String>, out: &mut Outbox) {
        if audience.is_empty() {
            return;
        }
        let reconnect_after_ms = self.rng.next_u32() % (RECONNECT_MAX_MS + 1);
        out.push(Output::Push {
            audience: audience.clone(),
            push: Push::Bye {
                reason: ByeReason::Shutdown,
                reconnect_after_ms,
                urls,
            },
            bulk: false,
        });
        for session in audience {
            self.free(session);
            if let Some(session) = self.sessions.get_mut(session) {
                session.state = State::Leaving;
            }
            out.push(Output::Close {
                session,
                code: CloseCode::Draining,
            });
        }
    }

    /// Routes stay for a moment so that nobody who moves is seen to go; where no other node is alive
    /// nobody moves and nobody sees.
    fn say_if_empty(&mut self) {
        let Some(stopping) = &mut self.stopping else {
            return;
        };
        let empty = if stopping.urls.is_empty() {
            self.sessions.open_count() == 0
        } else {
            self.sessions.is_empty()
        };
        if empty && !std::mem::replace(&mut stopping.said_empty, true) {
            self.events.push_back(Event::Empty);
        }
    }
}
