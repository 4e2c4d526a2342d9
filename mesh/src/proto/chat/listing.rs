//! The answer to `history` and to `conversations`: what is asked for it, and what fits into a frame.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::command::{Listed, Page, Reply};
use crate::event::SharedEvent;
use crate::id::{Address, Conversation, EventId, UserName};
use crate::proto::chat::frame::{self, PAGE_BYTES, REPLY_BYTES};
use crate::proto::chat::survey::{Survey, Surveyed};
use crate::proto::chat::work::Step;
use crate::store::{Answer, End, Query, Range};

/// A `history` under way.
#[derive(Debug)]
pub(super) struct History {
    within: Address,
    query: Range,
}

impl History {
    /// A page of a conversation, at most `limit` events of it.
    pub(super) fn new(reader: &UserName, of: UserName, from: Page, limit: u32) -> Self {
        let stream = Conversation::direct(reader.clone(), of.clone()).stream();
        let (after, before, end) = match from {
            Page::Newest => (EventId::MIN, EventId::MAX, End::Newest),
            Page::Before(id) => (EventId::MIN, id, End::Newest),
            Page::After(id) => (id, EventId::MAX, End::Oldest),
        };
        Self {
            within: Address::User(of),
            query: Range {
                stream,
                after,
                before,
                limit,
                bytes: PAGE_BYTES,
                end,
            },
        }
    }

    /// The question to the replicas.
    pub(super) fn start(&self) -> Step {
        Step::Ask(Query::Range(self.query.clone()))
    }

    /// The reply.
    pub(super) fn on_answer(&self, answer: Answer, complete: bool) -> Step {
        let Answer::Events { mut events, more } = answer else {
            return Step::Reply(Reply::History {
                events: Vec::new(),
                more: false,
                complete: false,
            });
        };
        events.retain(|event| frame::is_shown(event));
        let cut = cut(&mut events, self.query.end, &self.within);
        Step::Reply(Reply::History {
            events,
            more: more || cut,
            complete,
        })
    }
}

/// Cuts a page down to what fits into a frame, at the end that is not kept. True: something was cut.
fn cut(events: &mut Vec<SharedEvent>, end: End, within: &Address) -> bool {
    let mut room = REPLY_BYTES;
    let mut fits = |event: &&SharedEvent| {
        let bytes = frame::event(event, within);
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    };
    let fitting = match end {
        End::Oldest => events.iter().take_while(&mut fits).count(),
        End::Newest => events.iter().rev().take_while(&mut fits).count(),
    };
    let kept = fitting.max(1).min(events.len());
    let cut = events.len() - kept;
    match end {
        End::Oldest => events.truncate(kept),
        End::Newest => drop(events.drain(..cut)),
    }
    cut > 0
}

/// A `conversations` under way.
#[derive(Debug)]
pub(super) struct Conversations {
    reader: UserName,
    survey: Survey,
    limit: usize,
    before: EventId,
    /// The newest so far, never more than fit into one reply.
    newest: BTreeMap<(EventId, Address), Listed>,
    bytes: usize,
    more: bool,
}

impl Conversations {
    /// The conversations with the newest messages, at most `limit`.
    pub(super) fn new(reader: UserName, limit: u32, before: Option<EventId>) -> Self {
        Self {
            survey: Survey::new(reader.clone(), []),
            reader,
            limit: limit as usize,
            before: before.unwrap_or(EventId::MAX),
            newest: BTreeMap::new(),
            bytes: 0,
            more: false,
        }
    }

    /// The first or next question to the replicas, or the reply.
    pub(super) fn step(&mut self) -> Step {
        if let Some(question) = self.survey.question() {
            return Step::Ask(question);
        }
        let newest = std::mem::take(&mut self.newest);
        Step::Reply(Reply::Conversations {
            conversations: newest.into_values().rev().collect(),
            more: self.more,
            complete: self.survey.is_complete(),
        })
    }

    /// What was asked last is answered.
    pub(super) fn on_answer(&mut self, answer: Answer, complete: bool) -> Step {
        for surveyed in self.survey.on_answer(answer, complete) {
            self.consider(surveyed);
        }
        self.step()
    }

    /// Conversations left out for want of room.
    pub(super) fn left_out(&self) -> u64 {
        self.survey.left_out()
    }

    fn consider(&mut self, surveyed: Surveyed) {
        let of = surveyed.conversation.seen_by(&self.reader);
        let (Some(of), Some(last)) = (of, surveyed.head.last) else {
            return;
        };
        if last.id >= self.before {
            return;
        }
        let listed = Listed {
            of: of.clone(),
            last: Arc::clone(&last),
            unread: surveyed.head.unread,
            read: surveyed.read,
        };
        self.bytes += frame::listed(&listed);
        self.newest.insert((last.id, of), listed);
        while self.newest.len() > self.limit.max(1)
            || (self.bytes > REPLY_BYTES && self.newest.len() > 1)
        {
            if let Some((_, oldest)) = self.newest.pop_first() {
                self.bytes -= frame::listed(&oldest);
                self.more = true;
            }
        }
    }
}
