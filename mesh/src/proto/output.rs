//! What the machine wants of the world.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::command::{Audience, Push, Reply};
use crate::event::SharedEvent;
use crate::id::{Epoch, LinkId, NodeId, SessionId, StreamId};
use crate::proto::membership;
use crate::store::Query;
use crate::wire::Envelope;

/// One thing that the machine wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "an output that is not carried out is lost"]
pub enum Output {
    /// Send a frame on the lane that [`Frame::lane`](crate::wire::Frame::lane) gives.
    Send {
        /// Over which connection.
        link: LinkId,
        /// What.
        envelope: Envelope,
    },
    /// Connect; answered by `LinkUp` (several where a name has several addresses) or `DialFailed`.
    Dial {
        /// The number of this attempt.
        dial: DialId,
        /// Whom.
        target: Target,
    },
    /// Close a connection; answered by `LinkDown`.
    HangUp {
        /// Which.
        link: LinkId,
    },
    /// Answer a command.
    Reply {
        /// Which session.
        session: SessionId,
        /// The client's number for the command; `None`: it wants no reply (the front may drop it).
        request: Option<u64>,
        /// What.
        reply: Reply,
        /// It waits for room and never makes a session too slow; `Drained` is told once there is
        /// room again. The machine has at most one of them under way per session.
        bulk: bool,
    },
    /// Tell sessions something: encoded once for all of them.
    Push {
        /// To whom.
        audience: Audience,
        /// What.
        push: Push,
        /// As in `Reply`; with one session only. `Drained` then comes once.
        bulk: bool,
    },
    /// Close a session after what was put in its outbox; answered by `Closed`.
    Close {
        /// Which.
        session: SessionId,
        /// Why.
        code: CloseCode,
    },
    /// Put events on disk; answered by `Appended`.
    Append {
        /// The number of this append.
        ticket: Ticket,
        /// What.
        events: Vec<SharedEvent>,
    },
    /// Mark a stream as listed in the store, see [`Store::list`](crate::store::Store::list).
    List {
        /// Which.
        stream: StreamId,
    },
    /// Ask the store; answered by `Loaded`.
    Load {
        /// The number of this question.
        ticket: Ticket,
        /// What.
        query: Query,
    },
    /// Keep the member list for the next start, instead of the one kept before.
    Keep {
        /// All members worth dialling then.
        members: Vec<KeptMember>,
    },
    /// Keep this epoch: the next start must be above it.
    KeepEpoch(Epoch),
    /// Something that an operator wants to read.
    Note(Note),
    /// This node must not go on: stop, exit 1.
    Halt(Halt),
    /// All that stopping takes is done: every route is detached and the mesh was told.
    Stopped,
}

/// Names an append or a question to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Names one attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// Where a node listens for peers: `ip:port`, `[ip]:port` or `name:port`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerAddress(Box<str>);

impl PeerAddress {
    /// The longest address that is kept, bytes: a DNS name (253) with a port.
    pub const MAX: usize = 262;

    /// From `host:port`; `None` where it has no port from 1 to 65535, no host, or is too long.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let valid = !host.is_empty()
            && text.len() <= Self::MAX
            && port.parse::<u16>().is_ok_and(|port| port > 0)
            && text.bytes().all(|c| c.is_ascii_graphic())
            && (!host.contains(':') || text.parse::<SocketAddr>().is_ok());
        valid.then(|| Self(text.into()))
    }

    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its IP address, where it is not a name.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0
            .parse::<SocketAddr>()
            .ok()
            .map(|address| address.ip())
    }

    /// Whether it leads back to the machine that dials it.
    pub fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.is_loopback(),
            None => self
                .0
                .rsplit_once(':')
                .is_some_and(|(host, _)| host.eq_ignore_ascii_case("localhost")),
        }
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string().into())
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node of the mesh that the operator named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Where it listens.
    pub address: PeerAddress,
    /// Every address that the name resolves to is meant, not just any.
    pub every: bool,
    /// Whom to expect there.
    pub node: Option<NodeId>,
}

/// Whom to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Whoever answers there.
    Contact(Contact),
    /// This member, at any of these addresses; anybody else there is a failure.
    Member {
        /// Who.
        node: NodeId,
        /// Where, best first.
        addresses: Vec<PeerAddress>,
    },
}

/// A member as it is kept in the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMember {
    /// Its record.
    pub record: membership::Record,
    /// It was last known not to be down at this Unix millisecond.
    pub seen_unix_ms: u64,
}

/// The close codes of the client protocol that the machine uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// 1000: as the client wished.
    Normal,
    /// 4001: no or bad `hello`.
    NoHello,
    /// 4009: replaced by the same device.
    Replaced,
    /// 4010: the node stops.
    Draining,
}

/// Why this node must not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Halt {
    /// A copy of this node runs under a higher epoch.
    Clone {
        /// The epoch it reports.
        epoch: Epoch,
    },
}

/// What an operator wants to read; the driver words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A node that was not known before belongs to the mesh.
    Joined(NodeId),
    /// A member's state changed.
    Member {
        /// Who.
        node: NodeId,
        /// Into what.
        state: membership::State,
        /// After being silent or unreachable for so long, where it went down.
        after: Option<Duration>,
    },
    /// The direct link to a live member broke; frames go through a helper.
    LinkBroken(NodeId),
    /// A direct link to a member is there.
    Linked(NodeId),
    /// A dial failed: told at the first failure and whenever the reason changes.
    Dial {
        /// Whom.
        target: Target,
        /// Why.
        failure: crate::proto::input::DialFailure,
        /// Again in.
        retry: Duration,
    },
    /// A peer was turned away: what is wrong with it.
    Refused {
        /// Who.
        node: NodeId,
        /// A sentence.
        why: String,
    },
    /// This node suspects so many members that it is probably cut off itself.
    Isolated(bool),
    /// A set of routes did not agree with its origin's fingerprint and is fetched anew: a defect.
    Mismatch(NodeId),
    /// An event came under a known id with another content: a defect or a forgery.
    EventDiffers(crate::id::EventId),
    /// The node is ready for clients.
    Ready,
}
