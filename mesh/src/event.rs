//! Events: the immutable facts that streams are sets of.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{Conversation, EventId, Nonce, StreamId, UserName};

/// A client's JSON value, kept as the text it came as: object order, number and string tokens are
/// given back untouched. One line: it holds no line feed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Box<str>);

impl Json {
    /// From text that has been parsed as one JSON value before, on one line.
    pub fn from_valid(text: impl Into<Box<str>>) -> Self {
        let text = text.into();
        debug_assert!(!text.contains('\n'), "a body is one line of a frame");
        Self(text)
    }

    /// The text as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether two bodies are the same as JSON values: object order ignored, numbers by their
    /// tokens, strings after unescaping.
    pub fn same_value(&self, other: &Self) -> bool {
        let parse = |json: &Self| serde_json::from_str::<serde_json::Value>(&json.0).ok();
        self.0 == other.0 || parse(self).is_some_and(|value| Some(value) == parse(other))
    }
}

/// What happened.
///
/// On the wire and on disk: variants are added at the end, and none ever changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// Somebody wrote something.
    Message {
        /// What was written.
        body: Json,
        /// The event it answers; not checked for existence.
        reply_to: Option<EventId>,
    },
    /// In a user's stream: a conversation began. The id is made from the conversation's first event
    /// and its stream, so that any number of nodes append one and the same entry.
    Contact {
        /// The conversation, as the owner of the stream lists it.
        with: Conversation,
    },
    /// In a user's stream: the owner has read a conversation up to here. Marks only rise: a fold
    /// takes the greatest.
    Read {
        /// The conversation that was read.
        of: Conversation,
        /// The last event read.
        upto: EventId,
    },
}

/// An immutable fact in a stream. Shared by reference count: one event goes to disk, to peers and to
/// sessions without being copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the stream, and its name everywhere.
    pub id: EventId,
    /// Which stream; [`Conversation::stream`] gives its id.
    pub conversation: Conversation,
    /// Who did it.
    pub author: UserName,
    /// (author, conversation, nonce) names a message; entries that nodes make have none.
    pub nonce: Option<Nonce>,
    /// What happened.
    pub kind: EventKind,
}

impl Event {
    /// The stream this event belongs to.
    pub fn stream(&self) -> StreamId {
        self.conversation.stream()
    }

    /// Whether the two say the same, whatever their ids: equal bodies as JSON values, equal
    /// everything else.
    pub fn same_body(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (
                EventKind::Message { body, reply_to },
                EventKind::Message {
                    body: other_body,
                    reply_to: other_reply_to,
                },
            ) => reply_to == other_reply_to && body.same_value(other_body),
            (mine, others) => mine == others,
        }
    }

    /// Whether this is a twin of the other: one (author, conversation, nonce) under another id.
    pub fn is_twin_of(&self, other: &Self) -> bool {
        self.id != other.id
            && self.nonce.is_some()
            && self.nonce == other.nonce
            && self.author == other.author
            && self.conversation == other.conversation
    }
}

/// An event as it is passed around.
pub type SharedEvent = Arc<Event>;

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: &str, b: &str) -> bool {
        Json::from_valid(a).same_value(&Json::from_valid(b))
    }

    #[test]
    fn bodies_are_the_same_when_equal_as_json_values() {
        assert!(same(r#"{"a":1,"b":2}"#, r#"{"b":2, "a":1}"#));
        assert!(same(r#""\u0041""#, r#""A""#));
        assert!(!same("1.0", "1"));
        assert!(!same("[1,2]", "[2,1]"));
    }
}
