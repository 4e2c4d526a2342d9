//! What members say to each other about members.
//!
//! ```text
//! link:       A ── Greeting ──▶ B          both, as soon as the connection is there, again until heard
//!             A ◀── Greeting ── B
//!             A ── Members ───▶ B          A has accepted B's greeting: the link is open for B
//!             A ◀── Members ─── B          … and for A
//!             A ── Heartbeat ─▶ B          whenever nothing else was sent for an interval
//! probe:      A ── Probe ──▶ H ── Check ──▶ X ── Checked ──▶ H ── Probed ──▶ A     X lives, the link A–X does not
//!             A ── Probe ──▶ X ── Probed ──▶ A                                     it does after all
//! suspicion:  A ── Suspect(X) ──▶ all      no helper reached X
//!             X ── Members(X, incarnation + 1) ──▶ all                             it refutes
//! end:        X ── Stopping ──▶ all, later X ── Stopped ──▶ all
//! ```
//!
//! On the wire: variants are added at the end, and none ever changes.

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, NodeId};
use crate::proto::routes;

use super::record::{Known, Phase, Record};

/// The most members in one [`Message::Members`]: at the bounds of a record about 320 KiB, in practice 15.
pub const MEMBERS_MAX: usize = 64;

/// The longest sentence of a [`Message::Refused`], bytes.
pub const WHY_MAX: usize = 512;

/// What members say to each other about members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A sign of life of a link that has nothing else to say.
    Heartbeat {
        /// The sender's own set of routes, in the life of its greeting.
        routes: routes::Pulse,
        /// What need not be said every time; with every fourth heartbeat.
        vitals: Option<Vitals>,
    },
    /// The first message of both sides on every link.
    Greeting(Box<Greeting>),
    /// The receiver may not join, and why: a sentence. The link is closed after it.
    Refused {
        /// A sentence for people.
        why: String,
    },
    /// Members that the sender knows, itself perhaps among them. The first one on a link, even if it
    /// is empty, says that the receiver's greeting was accepted.
    Members(Vec<Known>),
    /// To a helper: is this node there? To the node itself, on a silent link: are you?
    Probe {
        /// The sender's number for the question.
        round: u64,
        /// Who is meant.
        target: NodeId,
    },
    /// From a helper to the target: somebody who cannot hear you asks whether you live.
    Check {
        /// Who asks.
        origin: NodeId,
        /// Which life of it.
        epoch: Epoch,
        /// Its number for the question.
        round: u64,
    },
    /// From the target to the helper.
    Checked {
        /// Who asked.
        origin: NodeId,
        /// Its number for the question.
        round: u64,
        /// The target's present life.
        epoch: Epoch,
    },
    /// From the helper to whom asked: it answered. From the node itself: here I am.
    Probed {
        /// The number of the question.
        round: u64,
        /// Who was meant.
        target: NodeId,
        /// The target's present life.
        epoch: Epoch,
    },
    /// The sender cannot reach this node in any way.
    Suspect {
        /// Who is suspected.
        node: NodeId,
        /// Which life of it.
        epoch: Epoch,
        /// A higher one refutes the suspicion.
        incarnation: u64,
    },
    /// The sender stops: no new sessions or appends there, but it is still delivered to.
    Stopping {
        /// Which life of it.
        epoch: Epoch,
    },
    /// The sender has stopped: down without suspicion.
    Stopped {
        /// Which life of it.
        epoch: Epoch,
    },
}

/// Who opens a link, and what it knows of the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Who the sender is now.
    pub record: Record,
    /// What it has said of its end.
    pub phase: Phase,
    /// The highest epoch of the receiver that the sender knows; 0: none. A receiver that finds it at
    /// or above its own, before anybody accepted it, has forgotten an earlier life and raises its
    /// own; one that finds a higher one later has a clone.
    pub known: Epoch,
    /// The sender has an open link to the receiver already.
    pub linked: bool,
    /// The sender has accepted the receiver's greeting on this link. Where not, the receiver says it
    /// again: frames may be lost.
    pub answered: bool,
    /// Of the members that the sender knows, the two ends left out: where it equals the receiver's
    /// own, no list needs to be sent.
    pub digest: u64,
}

/// What heartbeats carry now and then. Idle links are most of what an idle mesh sends, so this is small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vitals {
    /// The sender's monotonic time, microseconds, its lower half: to be given back.
    pub sent_us: u32,
    /// What the receiver sent, with the time added for which it lay here: taken from the receiver's
    /// present time it gives the round trip.
    pub echo_us: Option<u32>,
    /// Of all members that the sender knows, itself included: while it differs from the receiver's own,
    /// a list may have been lost.
    pub digest: u32,
    /// What the sender has said of its end, in case that was lost.
    pub phase: Phase,
}
