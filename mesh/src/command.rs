//! What a session may ask, what it is answered and what is pushed to it: typed, without JSON.
//!
//! The names and meanings are those of the client protocol; the node translates to and from its text.

use std::collections::BTreeMap;

use crate::event::{Json, SharedEvent};
use crate::id::{Address, Device, EventId, NodeId, Nonce, SessionId, UserName};

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Who this is: first, once.
    Hello(Hello),
    /// Write a message, kept on disks.
    Send(Send),
    /// Tell the sessions of a user something that nobody keeps.
    Signal {
        /// To whom.
        to: Address,
        /// What kind, as the clients agree.
        kind: Box<str>,
        /// Anything.
        body: Option<Json>,
    },
    /// Read a conversation.
    History {
        /// Of whom.
        of: Address,
        /// From where.
        from: Page,
        /// At most that many events, 1 to [`limits::HISTORY`].
        limit: u32,
    },
    /// List the conversations.
    Conversations {
        /// At most that many, 1 to [`limits::CONVERSATIONS`].
        limit: u32,
        /// Only those whose last message is older.
        before: Option<EventId>,
    },
    /// Everything up to here has been read.
    Read {
        /// In which conversation.
        of: Address,
        /// The last event read.
        upto: EventId,
    },
    /// Be told when these users come and go.
    Watch(Vec<UserName>),
    /// Be told no longer.
    Unwatch(Vec<UserName>),
    /// Is anybody there.
    Ping,
}

/// The first command of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Who it is; checked by the front.
    pub user: UserName,
    /// Which device; `None`: the node makes up a fresh one.
    pub device: Option<Device>,
    /// What the client holds of which conversation; `None`: no resume is wanted.
    pub resume: Option<BTreeMap<Address, Window>>,
}

/// What a client holds of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Nothing at or below it is known to be missing.
    pub upto: EventId,
    /// The part above `after` described exactly, where the client gave it.
    pub exact: Option<ExactWindow>,
}

/// The ids `after < id ≤ upto` that a client holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExactWindow {
    /// Where the window begins, exclusive.
    pub after: EventId,
    /// How many ids; at most [`limits::WINDOW`].
    pub count: u32,
    /// XOR of [`EventId::mix`] over them.
    pub digest: u64,
}

/// A message to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Send {
    /// To whom.
    pub to: Address,
    /// What.
    pub body: Json,
    /// Its name for retries; `None`: the node makes one, and a retry cannot be recognised.
    pub nonce: Option<Nonce>,
    /// What it answers.
    pub reply_to: Option<EventId>,
    /// How many disks to wait for, 1 to 3; `None`: two, or one where no second can be had.
    pub copies: Option<u8>,
}

/// Where a page of history begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// The newest events.
    Newest,
    /// The newest below an id.
    Before(EventId),
    /// The oldest above an id.
    After(EventId),
}

/// The numbers of the client protocol.
pub mod limits {
    /// Events of one `history`.
    pub const HISTORY: u32 = 200;
    /// Events of one `history` where the client names no limit.
    pub const HISTORY_DEFAULT: u32 = 50;
    /// Conversations of one `conversations`.
    pub const CONVERSATIONS: u32 = 500;
    /// Conversations of one `conversations` where the client names no limit.
    pub const CONVERSATIONS_DEFAULT: u32 = 50;
    /// Users of one `watch`, and users that a session watches at once.
    pub const WATCH: usize = 500;
    /// Ids of one resume window.
    pub const WINDOW: u32 = 1_000;
    /// Events of one conversation that a resume sends.
    pub const RESUME_EVENTS: u32 = 500;
    /// Events that a resume sends in all.
    pub const RESUME_TOTAL: u32 = 2_000;
    /// Conversations that one `resume` may name: what fits a default frame.
    pub const RESUME_NAMED: usize = 1_000;
    /// Bytes of one frame to a client stay below this.
    pub const NODE_FRAME: usize = 256 * 1024;
    /// A nonce may be that far ahead of the node's clock, milliseconds.
    pub const NONCE_AHEAD_MS: u64 = 60_000;
}

/// What a command is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To `hello`; the front adds what it knows itself (version, limits, features).
    Welcome {
        /// As whom.
        user: UserName,
        /// As which device.
        device: Device,
        /// On which node.
        node: NodeId,
        /// The node's Unix milliseconds.
        unix_ms: u64,
    },
    /// To `send`.
    Sent {
        /// The message's id.
        id: EventId,
        /// How many disks hold it now.
        copies: u8,
        /// It was stored before.
        duplicate: bool,
    },
    /// To `signal`: the number of nodes with a route.
    Reached(u32),
    /// To `history`, oldest first.
    History {
        /// The events.
        events: Vec<SharedEvent>,
        /// There are further ones in the direction asked for.
        more: bool,
        /// False: not enough replicas could be asked.
        complete: bool,
    },
    /// To `conversations`, newest first.
    Conversations {
        /// The entries.
        conversations: Vec<Listed>,
        /// There are older ones.
        more: bool,
        /// False: not enough replicas could be asked.
        complete: bool,
    },
    /// To `watch`.
    Presence(Vec<Presence>),
    /// To `read` and `unwatch`.
    Done,
    /// To `ping`: the node's Unix milliseconds.
    Pong(u64),
    /// Refused.
    Error(Refusal),
}

/// One conversation in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// As the reader names it.
    pub of: Address,
    /// Its last message.
    pub last: SharedEvent,
    /// Messages by others after the read mark.
    pub unread: u32,
    /// The reader's own read mark.
    pub read: Option<EventId>,
}

/// Whether a user is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Who.
    pub user: UserName,
    /// Has a session, as far as is known.
    pub online: bool,
    /// False: the node that knew is unreachable, not known dead.
    pub certain: bool,
    /// When the last session was seen, Unix milliseconds, where that is known and it is offline.
    pub last_seen: Option<u64>,
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code of the client protocol.
    pub code: Code,
    /// A sentence for people.
    pub message: String,
    /// When trying again makes sense, milliseconds; with [`Code::RateLimited`] always.
    pub retry_after_ms: Option<u32>,
}

impl Refusal {
    /// A refusal of which trying again after a while is no cure.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
        }
    }
}

/// The error codes of the client protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// The command is malformed.
    BadRequest,
    /// `hello` was missing or refused.
    Unauthenticated,
    /// Not allowed.
    Forbidden,
    /// No such thing.
    NotFound,
    /// Not in that room.
    NotMember,
    /// A nonce used for another body, a room that exists.
    Conflict,
    /// Larger than allowed.
    TooLarge,
    /// Too often.
    RateLimited,
    /// May or may not be stored: try again with the same nonce.
    Unavailable,
    /// Nobody answered in time.
    Timeout,
    /// Unknown, or not yet.
    Unsupported,
    /// The node's own fault.
    Internal,
}

/// What a session is told without having asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Push {
    /// A new event of a conversation.
    Event {
        /// The event.
        event: SharedEvent,
        /// The conversation, as this client names it.
        within: Address,
        /// Learned more than five seconds after its stamp.
        late: bool,
    },
    /// Another session's signal.
    Signal {
        /// The conversation, as this client names it.
        within: Address,
        /// By whom.
        from: UserName,
        /// What kind.
        kind: Box<str>,
        /// Anything.
        body: Option<Json>,
    },
    /// A read mark rose.
    Receipt {
        /// The conversation, as this client names it.
        within: Address,
        /// Whose mark.
        user: UserName,
        /// Read up to here.
        read: EventId,
    },
    /// A watched user came or went.
    Presence(Presence),
    /// The end of the answer to `resume`.
    Resumed {
        /// What was sent of each conversation.
        conversations: BTreeMap<Address, Resumed>,
        /// False: not enough replicas could be asked.
        complete: bool,
    },
    /// The node will close the session.
    Bye {
        /// Why.
        reason: ByeReason,
        /// When to come back, milliseconds.
        reconnect_after_ms: u32,
        /// Where else to go.
        urls: Vec<String>,
    },
}

/// What a resume sent of one conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resumed {
    /// How many events.
    pub sent: u32,
    /// There are further ones: page with `history`.
    pub more: bool,
    /// Count and digest of the client's window as it should be, where it differed.
    pub window: Option<(u32, u64)>,
}

/// Why a node closes a session after `bye`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByeReason {
    /// The node stops.
    Shutdown,
    /// The node leaves the mesh.
    Drain,
    /// The same device said `hello` elsewhere.
    Replaced,
}

/// Several sessions that are given the same push: encoded once, shared by all.
pub type Audience = Vec<SessionId>;
