//! What the world tells the machine.

use crate::command::Command;
use crate::id::{LinkId, NodeId, SessionId};
use crate::proto::output::{DialId, PeerAddress, Ticket};
use crate::store::{Answer, Outcome};
use crate::wire::Envelope;

/// One thing that happened outside. Derives what is needed to log, replay, generate and shrink it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The deadline has come.
    Tick,
    /// An admitted connection to a peer is open: mesh key and mesh name agree, nothing else is known.
    LinkUp {
        /// Which connection.
        link: LinkId,
        /// To whom.
        peer: NodeId,
        /// The dial that made it; `None`: the peer dialled.
        dial: Option<DialId>,
        /// The remote end, `ip:port`; the port means something only where this node dialled.
        remote: PeerAddress,
    },
    /// A connection is gone; nothing comes from it any more.
    LinkDown {
        /// Which.
        link: LinkId,
    },
    /// A frame came.
    Frame {
        /// Over which connection.
        link: LinkId,
        /// What it holds.
        envelope: Envelope,
    },
    /// A dial led nowhere.
    DialFailed {
        /// Which.
        dial: DialId,
        /// Why.
        failure: DialFailure,
    },
    /// Somebody was found on the local network.
    Discovered {
        /// Where.
        address: PeerAddress,
    },
    /// A client asks for something. The session begins with its first command.
    Command {
        /// Which session.
        session: SessionId,
        /// The client's number for it; `None`: it wants no reply.
        request: Option<u64>,
        /// What.
        command: Command,
    },
    /// A client's connection is gone.
    Closed {
        /// Which session.
        session: SessionId,
        /// How.
        closing: Closing,
    },
    /// The outbox of a session, in which a bulk reply or push was put, has room again.
    Drained {
        /// Which session.
        session: SessionId,
    },
    /// Appends are done: durable, or what else became of each event.
    Appended {
        /// Which append.
        ticket: Ticket,
        /// One for each of its events, in order.
        outcomes: Vec<Outcome>,
    },
    /// A question to the store is answered.
    Loaded {
        /// Which question.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
    /// Whether the store takes events: false while free space is below `--min-free`.
    Room(bool),
    /// The node was told to stop: clients are told, and once the last of them is gone, the mesh.
    Stop,
    /// The time for stopping is over: the mesh is told at once.
    StopNow,
}

/// How a client's connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// Closed with 1000: the client has gone.
    Gone,
    /// Lost, or closed in another way: the client may come back.
    Lost,
}

/// Why a dial led nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialFailure {
    /// Nobody answered: refused, timed out, no such name. A sentence for people.
    Unreachable(String),
    /// Somebody answered and this node or they refused: another mesh, another key. A sentence for people.
    Refused(String),
    /// It was this node itself.
    Own,
}
