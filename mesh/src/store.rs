//! What a store does: keeps the events of streams, durably, and answers questions about them.
//!
//! The trait has two real implementations, the node's journal and blocks and the simulator's disk
//! with faults, and one list of behaviours is run against both. The machine itself never calls it: it
//! asks by [`Output::Append`](crate::proto::Output) and [`Output::Load`](crate::proto::Output), and
//! the driver answers.

use serde::{Deserialize, Serialize};

use crate::event::SharedEvent;
use crate::id::{EventId, Nonce, StreamId, UserName};
use crate::time::Stamp;

/// How far back from a nonce's own time its message is looked for, milliseconds: a client's clock may
/// be that much ahead of the node's that stamped it.
pub const NONCE_REACH_MS: u64 = 120_000;

/// What became of one event that was to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// On disk, flushed.
    Stored {
        /// The stream is a direct conversation that is not marked as listed (see [`Store::list`]): its
        /// contact entries are due.
        unlisted: bool,
    },
    /// It was on disk already, with the same content.
    Known {
        /// The stream is not marked as listed.
        unlisted: bool,
    },
    /// Not stored: another event of the same (author, conversation, nonce) is here under a smaller id.
    Twin(SharedEvent),
    /// Stored, beside the twin of the same nonce that was here under a larger id.
    Beside {
        /// The twin that was here.
        larger: EventId,
        /// The stream is not marked as listed.
        unlisted: bool,
    },
    /// Not stored: the id is known with another content.
    Differs,
    /// Not stored: no room, see `--min-free`.
    Full,
}

/// A question to a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// Events of one stream between two ids, both exclusive.
    Range(Range),
    /// The event with the smallest id that has this author and nonce.
    Nonce {
        /// In which stream.
        stream: StreamId,
        /// Whose nonce.
        author: UserName,
        /// It is searched for from [`NONCE_REACH_MS`] before its own time on.
        nonce: Nonce,
    },
    /// Heads of several streams, in the order asked for.
    Heads(Vec<HeadQuery>),
}

/// Which events of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Of which stream.
    pub stream: StreamId,
    /// Only ids above this one; [`EventId::MIN`] for all.
    pub after: EventId,
    /// Only ids below this one; [`EventId::MAX`] for all.
    pub before: EventId,
    /// At most that many.
    pub limit: u32,
    /// At most about that many bytes of events, but at least one event.
    pub bytes: u32,
    /// Which end the limit keeps.
    pub end: End,
}

/// Which end of a range is kept where a limit cuts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The smallest ids.
    Oldest,
    /// The greatest ids.
    Newest,
}

/// What is asked about one stream's newest part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadQuery {
    /// Of which stream.
    pub stream: StreamId,
    /// Whose view: messages of this author are not unread.
    pub reader: UserName,
    /// Messages above this id count as unread.
    pub read: EventId,
}

/// The most messages that are counted as unread.
pub const UNREAD_MAX: u32 = 1_000;

/// A stream's newest part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The last message; `None` where there is none.
    pub last: Option<SharedEvent>,
    /// How many messages by others are above the read mark, at most [`UNREAD_MAX`] counted from the
    /// newest down.
    pub unread: u32,
    /// XOR of [`EventId::mix`] over those messages: equal counts of different sets show.
    pub unread_digest: u64,
}

/// The answer to a [`Query`], of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// In rising order of ids, whichever end was asked for. `more`: the limit cut something off.
    Events {
        /// The events.
        events: Vec<SharedEvent>,
        /// There are further ones in the range, at the end that was not kept.
        more: bool,
    },
    /// The event found.
    Nonce(Option<SharedEvent>),
    /// One for each stream asked for.
    Heads(Vec<Head>),
}

/// Why a store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// A store of events: see the module.
pub trait Store {
    /// Appends events and returns once all that were stored are durable: what each became, in order.
    ///
    /// # Errors
    /// The disk failed. Nothing appended after that can be trusted; the node stops.
    fn append(&mut self, events: &[SharedEvent]) -> Result<Vec<Outcome>, StoreError>;

    /// Marks a stream as listed: its contact entries are with its users. Durable before any later
    /// append is.
    ///
    /// # Errors
    /// As [`Store::append`].
    fn list(&mut self, stream: StreamId) -> Result<(), StoreError>;

    /// Answers a question.
    ///
    /// # Errors
    /// The disk failed or its content is damaged.
    fn load(&mut self, query: &Query) -> Result<Answer, StoreError>;

    /// The newest stamp of all events ever stored here; zero where there is none.
    fn newest(&self) -> Stamp;
}
