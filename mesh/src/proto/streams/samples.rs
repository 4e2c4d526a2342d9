//! Events and questions for tests.

use crate::event::{Event, EventKind, Json, SharedEvent};
use crate::id::{Conversation, EventId, Nonce, StreamId, UserName};
use crate::store::{End, Range};
use crate::time::Stamp;

pub(super) fn user(name: &str) -> UserName {
    name.parse().unwrap()
}

pub(super) fn alice_and_bob() -> Conversation {
    Conversation::direct(user("@alice"), user("@bob"))
}

pub(super) fn body(json: &str) -> EventKind {
    EventKind::Message {
        body: Json::from_valid(json),
        reply_to: None,
    }
}

/// A message of alice to bob with that stamp and a nonce of its own.
pub(super) fn message_at(stamp: u64, json: &str) -> SharedEvent {
    message_by("@alice", stamp, u128::from(stamp), json)
}

pub(super) fn message_by(author: &str, stamp: u64, nonce: u128, json: &str) -> SharedEvent {
    SharedEvent::new(Event {
        id: EventId {
            stamp: Stamp(stamp),
            origin: 7,
        },
        conversation: alice_and_bob(),
        author: user(author),
        nonce: Some(Nonce(nonce)),
        kind: body(json),
    })
}

pub(super) fn all_of(stream: StreamId) -> Range {
    Range {
        stream,
        after: EventId::MIN,
        before: EventId::MAX,
        limit: 100,
        bytes: 1 << 20,
        end: End::Oldest,
    }
}
