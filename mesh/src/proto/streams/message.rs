//! What nodes say to each other about events, and what of it is taken.
//!
//! ```text
//! coordinator → replica, node with a route    Offer    keep this, show this, or both
//! replica → coordinator                       Acks     what became of offers, many at once
//! reader → storing member                     Ask      a question to its store
//! storing member → reader                     Answer   whole or in parts, or refused
//! ```
//!
//! No frame is answered but `Offer` that asks to keep and `Ask`. A lost one is offered again or
//! counts as a missing answer.

use serde::{Deserialize, Serialize};

use crate::event::{Event, EventKind, SharedEvent};
use crate::id::{Conversation, UserName};
use crate::store::{Answer, Head, Query};
use crate::wire::Lane;

/// What nodes say to each other about events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// An event for the receiver's disk, its sessions or both.
    Offer {
        /// The event.
        event: SharedEvent,
        /// What for.
        purpose: Purpose,
    },
    /// What became of events that were to be kept.
    Acks(Vec<Ack>),
    /// A question to the receiver's store.
    Ask {
        /// The asker's number for it.
        question: u64,
        /// What.
        query: Query,
    },
    /// An answer.
    Answer {
        /// The asker's number for the question.
        question: u64,
        /// All of it, or a part.
        part: Part,
    },
}

/// What an event is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// For the receiver's sessions.
    Show,
    /// For the receiver's disk; what became of it is answered.
    Keep(AppendId),
    /// Both.
    KeepAndShow(AppendId),
}

impl Purpose {
    /// The append to answer, where the event is to be kept.
    pub fn keeps(self) -> Option<AppendId> {
        match self {
            Self::Show => None,
            Self::Keep(append) | Self::KeepAndShow(append) => Some(append),
        }
    }

    /// Whether the event is for sessions.
    pub fn shows(self) -> bool {
        match self {
            Self::Show | Self::KeepAndShow(_) => true,
            Self::Keep(_) => false,
        }
    }
}

/// Names an append at its coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AppendId {
    /// The coordinator's number for it.
    pub number: u64,
    /// Raised whenever a smaller id is adopted: an answer about an earlier id is no copy of this one.
    pub round: u8,
}

/// The most acknowledgements in one frame: as many as one flush makes, and a millisecond's work.
pub(super) const ACKS_MAX: usize = 1_024;

/// The most bytes of events in one frame, by [`size`], so that it stays below
/// [`FRAME_MAX`](crate::wire::FRAME_MAX); at least one event.
pub(super) const FRAME_EVENTS: usize = 512 * 1024;

/// Cuts what is to be sent into runs of at most `max` items and about [`FRAME_EVENTS`] bytes, at least
/// one item each.
pub(super) fn runs<T>(items: Vec<T>, max: usize, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut runs = Vec::with_capacity(1);
    let mut run = Vec::with_capacity(items.len().min(max));
    let mut bytes = 0;
    for item in items {
        bytes += size(&item);
        if !run.is_empty() && (run.len() >= max || bytes > FRAME_EVENTS) {
            bytes = size(&item);
            runs.push(std::mem::take(&mut run));
        }
        run.push(item);
    }
    runs.push(run);
    runs
}

/// What became of one event that was to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Which append.
    pub append: AppendId,
    /// What.
    pub verdict: Verdict,
}

/// What a replica says of an event that it was to keep. A differing content under a known id is
/// never answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It is on this disk.
    Flushed,
    /// It is not, since its nonce is here under this smaller id.
    Twin(SharedEvent),
    /// No room.
    Full,
}

/// An answer or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// All of it.
    Whole(Answer),
    /// Some of the heads asked for, in order.
    Heads {
        /// Which part, from 0.
        index: u16,
        /// Of how many.
        of: u16,
        /// The heads.
        heads: Vec<Head>,
    },
    /// The receiver cannot answer now.
    Refused,
}

/// Above so many bytes an answer goes on the bulk lane: what still leaves a message that waits behind
/// it on the data lane in well under a millisecond of a gigabit link.
const DATA_ANSWER: usize = 32 * 1024;

impl Message {
    /// Large answers go on the bulk lane, all parts of one on the same; all else on data.
    pub fn lane(&self) -> Lane {
        let Self::Answer { part, .. } = self else {
            return Lane::Data;
        };
        let large = match part {
            Part::Whole(answer) => answer_size(answer) > DATA_ANSWER,
            Part::Heads { of, heads, .. } => *of > 1 || heads_size(heads) > DATA_ANSWER,
            Part::Refused => false,
        };
        if large { Lane::Bulk } else { Lane::Data }
    }
}

/// What an event takes beside its names and body, bytes: on the wire about 60, in memory about 130.
const EVENT_OVERHEAD: usize = 128;

/// About how many bytes an event takes, in memory or on the wire: for bounds.
pub(super) fn size(event: &Event) -> usize {
    let body = match &event.kind {
        EventKind::Message { body, .. } => body.as_str().len(),
        EventKind::Contact { with: of } | EventKind::Read { of, .. } => names_size(of),
    };
    EVENT_OVERHEAD + body + names_size(&event.conversation) + event.author.as_str().len()
}

fn names_size(conversation: &Conversation) -> usize {
    match conversation {
        Conversation::Direct(a, b) => a.as_str().len() + b.as_str().len(),
        Conversation::Room(room) => room.as_str().len(),
        Conversation::User(user) => user.as_str().len(),
    }
}

/// About how many bytes an acknowledgement takes.
pub(super) fn ack_size(ack: &Ack) -> usize {
    match &ack.verdict {
        Verdict::Flushed | Verdict::Full => 16,
        Verdict::Twin(twin) => 16 + size(twin),
    }
}

/// About how many bytes a head takes.
pub(super) fn head_size(head: &Head) -> usize {
    32 + head.last.as_deref().map_or(0, size)
}

fn heads_size(heads: &[Head]) -> usize {
    heads.iter().map(head_size).sum()
}

fn answer_size(answer: &Answer) -> usize {
    match answer {
        Answer::Events { events, .. } => events.iter().map(|event| size(event)).sum(),
        Answer::Nonce(event) => event.as_deref().map_or(0, size),
        Answer::Heads(heads) => heads_size(heads),
    }
}

/// Whether an event is one that this version's coordinators make: its conversation well formed, its
/// author one of the conversation, its kind one of that stream.
pub(super) fn is_valid(event: &Event) -> bool {
    match (&event.conversation, &event.kind) {
        (Conversation::Direct(..), EventKind::Message { body, .. }) => {
            is_within(&event.conversation, &event.author)
                && event.nonce.is_some()
                && !body.as_str().contains('\n')
        }
        (Conversation::User(owner), EventKind::Contact { with }) => {
            *owner == event.author && event.nonce.is_none() && is_within(with, owner)
        }
        (Conversation::User(owner), EventKind::Read { of, .. }) => {
            *owner == event.author && event.nonce.is_some() && is_within(of, owner)
        }
        (Conversation::Direct(..) | Conversation::User(_), _) | (Conversation::Room(_), _) => false,
    }
}

/// Whether a conversation is a well-formed direct one of this user.
fn is_within(conversation: &Conversation, user: &UserName) -> bool {
    matches!(conversation, Conversation::Direct(a, b) if a <= b && (a == user || b == user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Json;
    use crate::golden::assert_pinned;
    use crate::id::{EventId, Nonce};

    fn user(name: &str) -> UserName {
        name.parse().unwrap()
    }

    fn message(conversation: Conversation, author: &str) -> Event {
        Event {
            id: EventId::MIN,
            conversation,
            author: user(author),
            nonce: Some(Nonce(1)),
            kind: EventKind::Message {
                body: Json::from_valid("1"),
                reply_to: None,
            },
        }
    }

    fn ab() -> Conversation {
        Conversation::direct(user("@a"), user("@b"))
    }

    #[test]
    fn a_message_is_by_one_of_the_two_whose_conversation_it_is_in() {
        assert!(is_valid(&message(ab(), "@a")));
        assert!(!is_valid(&message(ab(), "@c")));
        let unsorted = Conversation::Direct(user("@b"), user("@a"));
        assert!(!is_valid(&message(unsorted, "@a")));
        assert!(!is_valid(&message(Conversation::User(user("@a")), "@a")));
        let mut unnamed = message(ab(), "@a");
        unnamed.nonce = None;
        assert!(!is_valid(&unnamed));
    }

    #[test]
    fn a_users_stream_takes_contacts_and_read_marks_of_its_owner_alone() {
        let entry = |author: &str, nonce, kind| Event {
            nonce,
            kind,
            ..message(Conversation::User(user("@a")), author)
        };
        let contact = || EventKind::Contact { with: ab() };
        let read = || EventKind::Read {
            of: ab(),
            upto: EventId::MIN,
        };
        assert!(is_valid(&entry("@a", None, contact())));
        assert!(is_valid(&entry("@a", Some(Nonce(1)), read())));
        assert!(!is_valid(&entry("@b", None, contact())));
        assert!(!is_valid(&entry("@b", Some(Nonce(1)), read())));
        let others = Conversation::direct(user("@b"), user("@c"));
        let foreign = EventKind::Contact { with: others };
        assert!(!is_valid(&entry("@a", None, foreign)));
    }

    #[test]
    fn the_bytes_of_every_message_stay_as_they_are() {
        let append = AppendId {
            number: 300,
            round: 1,
        };
        let event = SharedEvent::new(message(ab(), "@a"));
        let offer = |purpose| Message::Offer {
            event: event.clone(),
            purpose,
        };
        let acks = [
            Verdict::Flushed,
            Verdict::Twin(event.clone()),
            Verdict::Full,
        ]
        .map(|verdict| Ack { append, verdict });
        let query = Query::Nonce {
            stream: crate::id::StreamId(5),
            author: user("@a"),
            nonce: Nonce(1),
        };
        let answer = |part| Message::Answer { question: 9, part };
        let messages = [
            offer(Purpose::Show),
            offer(Purpose::Keep(append)),
            offer(Purpose::KeepAndShow(append)),
            Message::Acks(acks.into()),
            Message::Ask { question: 9, query },
            answer(Part::Whole(Answer::Nonce(None))),
            answer(Part::Heads {
                index: 1,
                of: 2,
                heads: Vec::new(),
            }),
            answer(Part::Refused),
        ];
        let golden = [
            "0000000002406102406202406101010001310000",
            "0000000002406102406202406101010001310001ac0201",
            "0000000002406102406202406101010001310002ac0201",
            "0103ac020100ac020101000000024061024062024061010100013100ac020102",
            "0209010502406101",
            "0309000100",
            "030901010200",
            "030902",
        ];
        assert_pinned(messages.into_iter().zip(golden));
    }

    #[test]
    fn what_is_sent_is_cut_into_runs_of_bounded_number_and_bytes() {
        let lengths = |items: &[usize], max| -> Vec<usize> {
            let runs = runs(items.to_vec(), max, |&size| size);
            runs.iter().map(Vec::len).collect()
        };
        assert_eq!(lengths(&[], 2), [0]);
        assert_eq!(lengths(&[1, 1, 1], 2), [2, 1]);
        let half = FRAME_EVENTS / 2;
        assert_eq!(lengths(&[half, half, 1, FRAME_EVENTS, 1], 9), [2, 1, 1, 1]);
        assert_eq!(lengths(&[2 * FRAME_EVENTS], 9), [1]);
    }

    #[test]
    fn large_answers_and_all_parts_of_one_go_on_the_bulk_lane() {
        let answer = |part| Message::Answer { question: 1, part }.lane();
        assert_eq!(answer(Part::Whole(Answer::Nonce(None))), Lane::Data);
        let heads = |of| Part::Heads {
            index: 0,
            of,
            heads: Vec::new(),
        };
        assert_eq!(answer(heads(1)), Lane::Data);
        assert_eq!(answer(heads(2)), Lane::Bulk);
        let mut long = message(ab(), "@a");
        let text = format!("\"{}\"", "x".repeat(DATA_ANSWER));
        long.kind = EventKind::Message {
            body: Json::from_valid(text),
            reply_to: None,
        };
        let page = Answer::Events {
            events: vec![long.into()],
            more: false,
        };
        assert_eq!(answer(Part::Whole(page)), Lane::Bulk);
    }
}
