//! What a user's conversations are and how far each has come: the base of `conversations` and of a
//! resume.
//!
//! Two stages: the user's own stream is read to its end and folded (which conversations are listed,
//! the greatest read mark of each), then the replicas are asked for the heads of those conversations,
//! a batch at a time. Order, limits and what becomes of the heads is the caller's business.

use std::collections::BTreeMap;

use crate::event::{Event, EventKind};
use crate::id::{Conversation, EventId, UserName};
use crate::proto::chat::frame::PAGE_BYTES;
use crate::store::{Answer, End, Head, HeadQuery, Query, Range};

/// Entries of a user's stream that are read at once: folding them takes some 0.2 ms.
const FOLD_PAGE: u32 = 500;

/// Conversations of one user that are gone through. Later ones are left out, which counts as
/// incomplete: an account that nobody reads has that many correspondents.
const CONVERSATIONS_MAX: usize = 16_384;

/// Heads asked for at once: each carries a message, 32 KiB at most by default, and an answer must fit
/// into one frame between nodes.
const HEADS: usize = 24;

/// One conversation and how far it has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Surveyed {
    /// Which.
    pub(super) conversation: Conversation,
    /// The user's read mark, where there is one.
    pub(super) read: Option<EventId>,
    /// Its newest part.
    pub(super) head: Head,
}

/// What the fold knows of one conversation.
#[derive(Debug, Default)]
struct Found {
    listed: bool,
    read: Option<EventId>,
}

/// A survey under way.
#[derive(Debug)]
pub(super) struct Survey {
    reader: UserName,
    found: BTreeMap<Conversation, Found>,
    stage: Stage,
    complete: bool,
    left_out: u64,
}

#[derive(Debug)]
enum Stage {
    /// The user's stream is folded up to here.
    Fold { after: EventId },
    /// Those in `asked` are being asked for their heads, `rest` is still to be.
    Heads {
        asked: Vec<(Conversation, Option<EventId>)>,
        rest: std::vec::IntoIter<(Conversation, Option<EventId>)>,
    },
}

impl Survey {
    /// Of the conversations that the user's stream lists, and of these.
    pub(super) fn new(reader: UserName, also: impl IntoIterator<Item = Conversation>) -> Self {
        let listed = |conversation| {
            let found = Found {
                listed: true,
                read: None,
            };
            (conversation, found)
        };
        Self {
            reader,
            found: also.into_iter().map(listed).collect(),
            stage: Stage::Fold {
                after: EventId::MIN,
            },
            complete: true,
            left_out: 0,
        }
    }

    /// The first or next question; `None` where everything was asked.
    pub(super) fn question(&self) -> Option<Query> {
        match &self.stage {
            Stage::Fold { after } => Some(Query::Range(Range {
                stream: Conversation::User(self.reader.clone()).stream(),
                after: *after,
                before: EventId::MAX,
                limit: FOLD_PAGE,
                bytes: PAGE_BYTES,
                end: End::Oldest,
            })),
            Stage::Heads { asked, .. } if asked.is_empty() => None,
            Stage::Heads { asked, .. } => {
                let query = |(conversation, read): &(Conversation, Option<EventId>)| HeadQuery {
                    stream: conversation.stream(),
                    reader: self.reader.clone(),
                    read: read.unwrap_or(EventId::MIN),
                };
                Some(Query::Heads(asked.iter().map(query).collect()))
            }
        }
    }

    /// The answer to the last question: the conversations that it makes known, those without any
    /// message among them.
    pub(super) fn on_answer(&mut self, answer: Answer, complete: bool) -> Vec<Surveyed> {
        self.complete &= complete;
        match (&mut self.stage, answer) {
            (Stage::Fold { after }, Answer::Events { events, more }) => {
                let last = events.last().map(|event| event.id);
                *after = last.unwrap_or(*after);
                events.iter().for_each(|event| self.fold(event));
                if !more || last.is_none() {
                    self.begin_heads();
                }
                Vec::new()
            }
            (Stage::Heads { asked, rest }, Answer::Heads(heads)) => {
                self.complete &= heads.len() == asked.len();
                let next = rest.by_ref().take(HEADS).collect();
                let asked = std::mem::replace(asked, next);
                let surveyed = asked.into_iter().zip(heads);
                surveyed
                    .map(|((conversation, read), head)| Surveyed {
                        conversation,
                        read,
                        head,
                    })
                    .collect()
            }
            // An answer to another question: a defect below. The survey ends, and says so.
            (Stage::Fold { .. } | Stage::Heads { .. }, _) => {
                self.complete = false;
                self.stage = Stage::Heads {
                    asked: Vec::new(),
                    rest: Vec::new().into_iter(),
                };
                Vec::new()
            }
        }
    }

    /// False: not enough replicas could be asked, or something was left out.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Conversations left out for want of room.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    fn fold(&mut self, event: &Event) {
        let conversation = match &event.kind {
            EventKind::Contact { with } => with,
            EventKind::Read { of, .. } => of,
            EventKind::Message { .. } => return,
        };
        if self.found.len() >= CONVERSATIONS_MAX && !self.found.contains_key(conversation) {
            self.complete = false;
            self.left_out += 1;
            return;
        }
        let found = self.found.entry(conversation.clone()).or_default();
        match event.kind {
            EventKind::Contact { .. } => found.listed = true,
            EventKind::Read { upto, .. } => found.read = found.read.max(Some(upto)),
            EventKind::Message { .. } => {}
        }
    }

    fn begin_heads(&mut self) {
        let found = std::mem::take(&mut self.found);
        let listed: Vec<_> = found
            .into_iter()
            .filter(|(_, found)| found.listed)
            .map(|(conversation, found)| (conversation, found.read))
            .collect();
        let mut rest = listed.into_iter();
        let asked = rest.by_ref().take(HEADS).collect();
        self.stage = Stage::Heads { asked, rest };
    }
}
