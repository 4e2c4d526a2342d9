//! Carries out what sessions read: questions to the replicas, bulk replies and pushes to the client.

use crate::command::{Code, Page, Push};
use crate::command::{Presence as Told, Reply, limits};
use crate::id::{Address, EventId, SessionId, UserName};
use crate::proto::chat::facts::Facts;
use crate::proto::chat::listing::{Conversations, History};
use crate::proto::chat::work::{Act, Job, Work};
use crate::proto::chat::{Chat, Event};
use crate::proto::outbox::Outbox;
use crate::proto::output::{Output, Ticket};
use crate::store::Answer;
use crate::time::Clock;

impl Chat {
    /// A session asks for a page of a conversation.
    pub(super) fn history(
        &mut self,
        facts: &dyn Facts,
        clock: &mut Clock,
        session: SessionId,
        request: Option<u64>,
        history: (Address, Page, u32),
        out: &mut Outbox,
    ) {
        let (of, from, limit) = history;
        let Some(of) = self.only_user(session, request, of, out) else {
            return;
        };
        if !(1..=limits::HISTORY).contains(&limit) {
            let message = format!("limit is 1 to {}", limits::HISTORY);
            self.refuse(session, request, Code::BadRequest, message, out);
            return;
        }
        match from {
            Page::Newest => {}
            Page::Before(id) | Page::After(id) => clock.observe_client(facts.now(), id.stamp),
        }
        if let (Some(reader), Some(_)) = (self.sessions.get(session), request) {
            let job = Job::History(Box::new(History::new(&reader.user, of, from, limit)));
            self.read(session, request, job, out);
        }
    }

    /// A session asks for its conversations.
    pub(super) fn conversations(
        &mut self,
        facts: &dyn Facts,
        clock: &mut Clock,
        session: SessionId,
        request: Option<u64>,
        (limit, before): (u32, Option<EventId>),
        out: &mut Outbox,
    ) {
        if !(1..=limits::CONVERSATIONS).contains(&limit) {
            let message = format!("limit is 1 to {}", limits::CONVERSATIONS);
            self.refuse(session, request, Code::BadRequest, message, out);
            return;
        }
        if let Some(id) = before {
            clock.observe_client(facts.now(), id.stamp);
        }
        if let (Some(reader), Some(_)) = (self.sessions.get(session), request) {
            let reader = reader.user.clone();
            let job = Job::Conversations(Box::new(Conversations::new(reader, limit, before)));
            self.read(session, request, job, out);
        }
    }

    /// Puts a read behind the others of its session.
    pub(super) fn read(&mut self, id: SessionId, request: Option<u64>, job: Job, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let work = session.work.get_or_insert_with(|| Box::new(Work::new()));
        if work.queue(request, job) {
            self.go_on(id, Work::begin, out);
        } else {
            let message = "too many reads are waiting: wait for replies before asking for more";
            self.refuse(id, request, Code::RateLimited, message, out);
        }
    }

    /// A question was answered.
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        answer: Answer,
        complete: bool,
        out: &mut Outbox,
    ) {
        let session = self.reads.remove(&ticket);
        let reading = |id: &SessionId| self.sessions.get(*id).is_some_and(|s| s.work.is_some());
        match session.filter(reading) {
            None => self.stats.answers_unheard += 1,
            Some(id) => {
                let go_on =
                    |work: &mut Work, live: &mut _| work.on_answer(ticket, answer, complete, live);
                self.go_on(id, go_on, out);
            }
        }
    }

    /// Takes the next step of what a session reads, and carries it out.
    pub(super) fn go_on(
        &mut self,
        id: SessionId,
        step: impl FnOnce(&mut Work, &mut Vec<Push>) -> Option<Act>,
        out: &mut Outbox,
    ) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let Some(work) = session.work.as_mut() else {
            return;
        };
        let mut live = Vec::new();
        let act = step(work, &mut live);
        let left_out = work.left_out();
        if work.is_idle() {
            session.work = None;
        }
        for push in live {
            self.stats.events_pushed += 1;
            push_to(id, push, Pace::Live, out);
        }
        match act {
            None => {}
            Some(Act::Ask(query)) => {
                let ticket = self.next_ticket();
                self.reads.insert(ticket, id);
                self.events.push_back(Event::Read { ticket, query });
                let work = self.sessions.get_mut(id).and_then(|s| s.work.as_mut());
                if let Some(work) = work {
                    work.asked(ticket);
                }
            }
            Some(Act::Reply(request, reply)) => {
                self.stats.conversations_left_out += left_out;
                out.push(Output::Reply {
                    session: id,
                    request,
                    reply,
                    bulk: true,
                });
            }
            Some(Act::Push(push)) => {
                if matches!(push, Push::Resumed { .. }) {
                    self.stats.conversations_left_out += left_out;
                } else {
                    self.stats.events_resumed += 1;
                }
                push_to(id, push, Pace::Bulk, out);
            }
        }
    }

    /// A session wants to be told about these users.
    pub(super) fn watch(
        &mut self,
        facts: &dyn Facts,
        id: SessionId,
        request: Option<u64>,
        users: &[UserName],
        out: &mut Outbox,
    ) {
        let states: Option<Vec<Told>> = self.sessions.get_mut(id).and_then(|session| {
            if users.len() > limits::WATCH {
                return None;
            }
            let watch = session.watch.get_or_insert_default();
            let states = self.presence.watch(facts, id, watch, users);
            session.watch.take_if(|watch| watch.is_empty());
            states
        });
        match states {
            Some(states) => self.reply(id, request, Reply::Presence(states), out),
            None => {
                let message = format!("a session watches at most {} users", limits::WATCH);
                self.refuse(id, request, Code::BadRequest, message, out);
            }
        }
    }

    /// A session no longer wants to be told about these users.
    pub(super) fn unwatch(
        &mut self,
        facts: &dyn Facts,
        id: SessionId,
        request: Option<u64>,
        users: &[UserName],
        out: &mut Outbox,
    ) {
        if users.len() > limits::WATCH {
            let message = format!("at most {} users at once", limits::WATCH);
            self.refuse(id, request, Code::BadRequest, message, out);
            return;
        }
        if let Some(session) = self.sessions.get_mut(id)
            && let Some(watch) = &mut session.watch
        {
            self.presence.unwatch(facts, id, watch, users);
            session.watch.take_if(|watch| watch.is_empty());
        }
        self.reply(id, request, Reply::Done, out);
    }
}

/// Whether a push waits for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Live,
    Bulk,
}

fn push_to(session: SessionId, push: Push, pace: Pace, out: &mut Outbox) {
    out.push(Output::Push {
        audience: vec![session],
        push,
        bulk: pace == Pace::Bulk,
    });
}
