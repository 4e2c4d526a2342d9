//! Frames between nodes: what they hold, how long they may be, how they become bytes.
//!
//! A frame is `u32` little-endian length, then a postcard [`Envelope`]. Postcard does not describe
//! itself, so a struct on the wire never changes and enums grow at their end; a frame of an unknown
//! variant is skipped by its length and counted. The protocol id of a lane carries the version.
//!
//! Any bytes from a peer are legal input: decoding gives a frame or a [`DecodeError`], nothing else.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::proto::{chat, membership, routes, streams};
use crate::time::Stamp;

/// The longest encoded frame, bytes: a full page of events for a reader and a slice of a snapshot
/// both stay far below it.
pub const FRAME_MAX: usize = 1024 * 1024;

/// The three streams between two nodes, so that bulk never delays a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Membership and route deltas. When full, frames are dropped and heartbeats repair.
    Control,
    /// Appends, deliveries, questions and their answers. When full, frames are dropped and counted:
    /// appends then end with `unavailable`.
    Data,
    /// Snapshots and large answers. When full, the sender waits.
    Bulk,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 3] = [Self::Control, Self::Data, Self::Bulk];

    /// The libp2p protocol id, version included.
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Control => "/chinwag/1/control",
            Self::Data => "/chinwag/1/data",
            Self::Bulk => "/chinwag/1/bulk",
        }
    }
}

/// A frame and the sender's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// The sender's newest stamp: cause comes before effect on any node.
    pub stamp: Stamp,
    /// What is said.
    pub frame: Frame,
}

/// What one node says to another, by layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// Who is alive.
    Membership(membership::Message),
    /// Who serves whom.
    Routes(routes::Message),
    /// Events.
    Streams(streams::Message),
    /// Sessions.
    Chat(chat::Message),
    /// A frame that goes through a helper, since its two ends cannot reach each other.
    Relay(Relay),
}

/// A frame on its way through a helper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relay {
    /// Who said it.
    pub from: NodeId,
    /// Whom it is for. The helper hands it on only over a link of its own, once.
    pub to: NodeId,
    /// The lane it goes on.
    pub lane: Lane,
    /// The encoded [`Frame`], which is never a relay itself: nested as bytes, so that no peer can
    /// make the decoder recurse.
    pub frame: Vec<u8>,
}

impl Relay {
    /// Packs a frame for a way through a helper.
    pub fn pack(from: NodeId, to: NodeId, frame: &Frame) -> Self {
        let lane = frame.lane();
        let frame =
            postcard::to_stdvec(frame).expect("frames are made of types that postcard can encode");
        Self {
            from,
            to,
            lane,
            frame,
        }
    }

    /// The frame inside; `None` where it is junk or a relay.
    pub fn unpack(&self) -> Option<Frame> {
        postcard::from_bytes(&self.frame)
            .ok()
            .filter(|frame| !matches!(frame, Frame::Relay(_)))
    }
}

impl Frame {
    /// The lane that this frame belongs on.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Membership(_) => Lane::Control,
            Self::Routes(message) => message.lane(),
            Self::Streams(message) => message.lane(),
            Self::Chat(_) => Lane::Data,
            Self::Relay(relay) => relay.lane,
        }
    }
}

impl From<membership::Message> for Frame {
    fn from(message: membership::Message) -> Self {
        Self::Membership(message)
    }
}

impl From<routes::Message> for Frame {
    fn from(message: routes::Message) -> Self {
        Self::Routes(message)
    }
}

impl From<streams::Message> for Frame {
    fn from(message: streams::Message) -> Self {
        Self::Streams(message)
    }
}

impl From<chat::Message> for Frame {
    fn from(message: chat::Message) -> Self {
        Self::Chat(message)
    }
}

/// Why bytes are no frame. The peer's fault, or that of a newer version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length before the frame is above [`FRAME_MAX`]: nothing after it can be read.
    #[error("a frame of {got} bytes, {FRAME_MAX} are allowed")]
    TooLong {
        /// The length given.
        got: usize,
    },
    /// The bytes are no frame that this version knows; the next frame can be read.
    #[error("not a frame: {0}")]
    Junk(postcard::Error),
}

/// Appends length and encoding of a frame to `buffer`. False: it would be longer than
/// [`FRAME_MAX`], and the buffer is as it was; a layer that cuts its messages never sees that.
pub fn encode(envelope: &Envelope, buffer: &mut Vec<u8>) -> bool {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 4]);
    let taken = std::mem::take(buffer);
    *buffer = postcard::to_extend(envelope, taken)
        .expect("frames are made of types that postcard can encode");
    let length = buffer.len() - start - 4;
    if length > FRAME_MAX {
        buffer.truncate(start);
        return false;
    }
    let prefix = u32::try_from(length)
        .expect("below FRAME_MAX")
        .to_le_bytes();
    buffer[start..start + 4].copy_from_slice(&prefix);
    true
}

/// Takes the first frame off `buffer`: the frame and how many bytes it took, or `None` where it is
/// not all there yet.
///
/// # Errors
/// See [`DecodeError`]. After `Junk`, `skip` of [`length`] bytes brings the next frame.
pub fn decode(buffer: &[u8]) -> Result<Option<(Envelope, usize)>, DecodeError> {
    let Some(length) = length(buffer)? else {
        return Ok(None);
    };
    let Some(frame) = buffer.get(4..length) else {
        return Ok(None);
    };
    let (envelope, rest) = postcard::take_from_bytes(frame).map_err(DecodeError::Junk)?;
    if rest.is_empty() {
        Ok(Some((envelope, length)))
    } else {
        Err(DecodeError::Junk(postcard::Error::SerdeDeCustom))
    }
}

/// How many bytes the first frame of `buffer` takes, its length prefix included; `None` where not
/// even that is there.
///
/// # Errors
/// `TooLong`.
pub fn length(buffer: &[u8]) -> Result<Option<usize>, DecodeError> {
    let Some(prefix) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let got = u32::from_le_bytes(*prefix) as usize;
    if got > FRAME_MAX {
        Err(DecodeError::TooLong { got })
    } else {
        Ok(Some(got + 4))
    }
}
