//! Frames between nodes: what they hold, how long they may be, how they become bytes.
//!
//! A frame is its length (as postcard writes a number: seven bits a byte, the lowest first), then a
//! postcard [`Envelope`]: most frames are heartbeats, of some 20 bytes. Postcard does not describe
//! itself, so a struct on the wire never changes and enums grow at their end; a frame of an unknown
//! variant is skipped by its length and counted. The protocol id of a lane carries the version.
//!
//! Any bytes from a peer are legal input: decoding gives a frame or a [`DecodeError`], nothing else.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::proto::{chat, membership, routes, streams};
use crate::time::Stamp;

/// The longest encoded frame, bytes: a full page of events for a reader and a slice of a snapshot
/// both stay far below it.
pub const FRAME_MAX: usize = 1024 * 1024;

/// The most bytes of a length: 21 bits, and so [`FRAME_MAX`].
const PREFIX_MAX: usize = 3;

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
    pub frame: Bytes,
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
            frame: frame.into(),
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
    #[error("a frame of {got} bytes or more, {FRAME_MAX} are allowed")]
    TooLong {
        /// The length given, or the least that it is.
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
    buffer.extend_from_slice(&[0; PREFIX_MAX]);
    let body = buffer.len();
    let taken = std::mem::take(buffer);
    *buffer = postcard::to_extend(envelope, taken)
        .expect("frames are made of types that postcard can encode");
    let length = buffer.len() - body;
    if length > FRAME_MAX {
        buffer.truncate(start);
        return false;
    }
    let used = postcard::to_slice(&length, &mut buffer[start..body])
        .expect("a length up to FRAME_MAX takes PREFIX_MAX bytes at most")
        .len();
    buffer.copy_within(body.., start + used);
    buffer.truncate(start + used + length);
    true
}

/// Takes the first frame off `buffer`: the frame and how many bytes it took, or `None` where it is
/// not all there yet.
///
/// # Errors
/// See [`DecodeError`]. After `Junk`, `skip` of [`length`] bytes brings the next frame.
pub fn decode(buffer: &[u8]) -> Result<Option<(Envelope, usize)>, DecodeError> {
    let Some((prefix, length)) = take_length(buffer)? else {
        return Ok(None);
    };
    let Some(frame) = buffer.get(prefix..prefix + length) else {
        return Ok(None);
    };
    let (envelope, rest) = postcard::take_from_bytes(frame).map_err(DecodeError::Junk)?;
    if rest.is_empty() {
        Ok(Some((envelope, prefix + length)))
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
    Ok(take_length(buffer)?.map(|(prefix, length)| prefix + length))
}

/// The length before a frame: its own bytes, and those of the frame.
fn take_length(buffer: &[u8]) -> Result<Option<(usize, usize)>, DecodeError> {
    let prefix = &buffer[..buffer.len().min(PREFIX_MAX)];
    match postcard::take_from_bytes::<usize>(prefix) {
        Ok((got, rest)) if got <= FRAME_MAX => Ok(Some((prefix.len() - rest.len(), got))),
        Ok((got, _)) => Err(DecodeError::TooLong { got }),
        Err(_) if prefix.len() < PREFIX_MAX => Ok(None),
        // It goes on.
        Err(_) => Err(DecodeError::TooLong { got: FRAME_MAX + 1 }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::event::{Event, EventKind, Json};
    use crate::id::{Conversation, Epoch, EventId, Nonce};

    /// Frames of every kind that can be made here.
    fn samples() -> Vec<Envelope> {
        let user = |name: &str| name.parse().unwrap();
        let event = Event {
            id: EventId {
                stamp: Stamp(77),
                origin: u64::MAX,
            },
            conversation: Conversation::direct(user("@alice"), user("@bob")),
            author: user("@alice"),
            nonce: Some(Nonce(1 << 100)),
            kind: EventKind::Message {
                body: Json::from_valid(r#"{"text":"good morning"}"#),
                reply_to: Some(EventId::MIN),
            },
        };
        let deliver = Frame::from(streams::Message::Offer {
            event: Arc::new(event),
            purpose: streams::Purpose::Show,
        });
        let relay = Relay::pack(NodeId([1; 32]), NodeId([2; 32]), &deliver);
        let frames = [deliver, Frame::Relay(relay)];
        let stamps = [Stamp(0), Stamp(u64::MAX)];
        let envelope = |(frame, stamp)| Envelope { stamp, frame };
        frames.into_iter().zip(stamps).map(envelope).collect()
    }

    fn encoded(envelope: &Envelope) -> Vec<u8> {
        let mut bytes = Vec::new();
        assert!(encode(envelope, &mut bytes));
        bytes
    }

    /// A length, whatever comes after it.
    fn prefixed(length: usize, body: &[u8]) -> Vec<u8> {
        [&postcard::to_stdvec(&length).unwrap(), body].concat()
    }

    fn relay_of(length: usize) -> Envelope {
        Envelope {
            stamp: Stamp(1),
            frame: Frame::Relay(Relay {
                from: NodeId([1; 32]),
                to: NodeId([2; 32]),
                lane: Lane::Bulk,
                frame: vec![0; length].into(),
            }),
        }
    }

    /// One frame of each layer, a relay, and the bytes of each in its envelope.
    fn golden() -> [(Frame, &'static str); 5] {
        let stopped = membership::Message::Stopped { epoch: Epoch(1) };
        let signal = chat::Message::Signal {
            to: "@b".parse().unwrap(),
            from: "@a".parse().unwrap(),
            kind: "k".into(),
            body: None,
        };
        let (from, to) = (NodeId([0xaa; 32]), NodeId([0xbb; 32]));
        let inner = Frame::from(stopped.clone());
        [
            (stopped.into(), "05b424000a01"),
            (
                routes::Message::Resume(routes::Summary::default()).into(),
                "0fb42401000000000000000000000000",
            ),
            (streams::Message::Acks(Vec::new()).into(), "05b424020100"),
            (signal.into(), "0db4240302024062024061016b00"),
            (
                Frame::Relay(Relay::pack(from, to, &inner)),
                "48b42404 A B 0003000a01",
            ),
        ]
    }

    #[test]
    fn the_bytes_of_every_kind_of_frame_in_its_envelope_are_pinned() {
        for (frame, golden) in golden() {
            let envelope = Envelope {
                stamp: Stamp(0x1234),
                frame,
            };
            let bytes = encoded(&envelope);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let golden = golden.replace('A', &"aa".repeat(32));
            let golden = golden.replace('B', &"bb".repeat(32)).replace(' ', "");
            assert_eq!(hex, golden, "{envelope:?}");
            assert_eq!(decode(&bytes), Ok(Some((envelope, bytes.len()))));
        }
    }

    #[test]
    fn the_lanes_of_a_relay_are_pinned() {
        let bytes = Lane::ALL.map(|lane| postcard::to_stdvec(&lane).unwrap());
        assert_eq!(bytes, [[0], [1], [2]]);
        let protocols = Lane::ALL.map(Lane::protocol);
        let golden = ["/chinwag/1/control", "/chinwag/1/data", "/chinwag/1/bulk"];
        assert_eq!(protocols, golden);
    }

    #[test]
    fn frames_come_out_as_they_went_in_one_after_the_other() {
        let mut bytes = Vec::new();
        for envelope in samples() {
            assert!(encode(&envelope, &mut bytes));
        }
        let mut rest = &bytes[..];
        for envelope in samples() {
            assert_eq!(
                length(rest),
                decode(rest).map(|got| got.map(|(_, taken)| taken))
            );
            let (got, taken) = decode(rest).unwrap().unwrap();
            assert_eq!(got, envelope);
            rest = &rest[taken..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn the_beginning_of_a_frame_is_no_frame_yet() {
        for envelope in samples() {
            let bytes = encoded(&envelope);
            for length in 0..bytes.len() {
                assert_eq!(decode(&bytes[..length]), Ok(None));
            }
        }
    }

    #[test]
    fn a_frame_that_says_less_or_more_than_its_length_is_junk() {
        for envelope in samples() {
            let whole = encoded(&envelope);
            let (prefix, body) = take_length(&whole).unwrap().unwrap();
            for (length, change) in [(body - 1, -1), (body + 1, 1)] {
                let mut bytes = prefixed(length, &whole[prefix..]);
                bytes.resize(whole.len().saturating_add_signed(change), 0);
                assert!(matches!(decode(&bytes), Err(DecodeError::Junk(_))));
                assert_eq!(super::length(&bytes), Ok(Some(bytes.len())));
            }
        }
    }

    #[test]
    fn a_kind_of_frame_from_the_future_is_skipped_by_its_length() {
        let mut bytes = vec![3, /* stamp */ 0, /* kind */ 100, 0];
        assert!(matches!(decode(&bytes), Err(DecodeError::Junk(_))));
        assert_eq!(length(&bytes), Ok(Some(4)));
        let next = &samples()[0];
        assert!(encode(next, &mut bytes));
        assert_eq!(decode(&bytes[4..]).unwrap().unwrap().0, *next);
    }

    #[test]
    fn a_frame_may_be_as_long_as_the_limit_and_not_longer() {
        let overhead = encoded(&relay_of(FRAME_MAX / 2)).len() - FRAME_MAX / 2 - PREFIX_MAX;
        let longest = relay_of(FRAME_MAX - overhead);
        let bytes = encoded(&longest);
        assert_eq!(bytes.len(), FRAME_MAX + PREFIX_MAX);
        assert_eq!(decode(&bytes).unwrap().unwrap().0, longest);
        let mut buffer = vec![7];
        assert!(!encode(&relay_of(FRAME_MAX - overhead + 1), &mut buffer));
        assert_eq!(buffer, [7]);
        let got = FRAME_MAX + 1;
        assert_eq!(
            decode(&prefixed(got, &[])),
            Err(DecodeError::TooLong { got })
        );
    }

    #[test]
    fn a_length_takes_one_byte_up_to_127_two_up_to_16383_and_never_more_than_three() {
        let golden: [(usize, &[u8]); 6] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 0x01]),
            (FRAME_MAX, &[0x80, 0x80, 0x40]),
        ];
        for (length, bytes) in golden {
            assert_eq!(prefixed(length, &[]), bytes);
            assert_eq!(super::length(bytes), Ok(Some(bytes.len() + length)));
        }
        assert_eq!(length(&[0xff, 0xff]), Ok(None), "not all there yet");
        assert!(length(&[0x80; 3]).is_err(), "and no fourth");
    }

    #[test]
    fn a_relay_keeps_its_lane_and_never_holds_another() {
        let [deliver, relay] = &samples()[..] else {
            panic!("two samples");
        };
        let Frame::Relay(inner) = &relay.frame else {
            panic!("the second is a relay");
        };
        assert_eq!(relay.frame.lane(), deliver.frame.lane());
        assert_eq!(inner.unpack().as_ref(), Some(&deliver.frame));
        let nested = Relay::pack(inner.from, inner.to, &relay.frame);
        assert_eq!(nested.unpack(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_junk_too_long_or_too_short(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            // As they are, and as the body of a frame.
            drop(decode(&bytes));
            let framed = prefixed(bytes.len(), &bytes);
            match decode(&framed) {
                Ok(Some((envelope, taken))) => {
                    prop_assert_eq!(taken, framed.len());
                    let again = encoded(&envelope);
                    prop_assert_eq!(decode(&again), Ok(Some((envelope, again.len()))));
                }
                Err(DecodeError::Junk(_)) => prop_assert_eq!(length(&framed), Ok(Some(framed.len()))),
                other => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn a_frame_with_a_flipped_bit_never_panics(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
            for envelope in samples() {
                let mut bytes = encoded(&envelope);
                let at = at.index(bytes.len());
                bytes[at] ^= 1_u8 << bit;
                drop(decode(&bytes));
            }
        }
    }
}
