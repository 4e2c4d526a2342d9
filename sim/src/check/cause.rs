//! What a step of a machine was about, as far as the oracles care: noted before the machine takes the
//! input.

use mesh::command::Command;
use mesh::id::{LinkId, NodeId, RouteHasher, RouteKey, SessionId};
use mesh::proto::Input;
use mesh::proto::routes::Message;
use mesh::wire::Frame;

/// A layer that speaks to its fellows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    Membership,
    Routes,
    Others,
}

/// What was put into a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause(pub(super) Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Linked {
        link: LinkId,
        peer: NodeId,
    },
    Unlinked(LinkId),
    Frame {
        link: LinkId,
        /// Who said it, where it came through a helper to this node.
        relayed: Option<NodeId>,
        layer: Layer,
    },
    Hello(SessionId, RouteKey),
    Closed(SessionId),
    Stop,
    Other,
}

impl Cause {
    /// Of an input to the node `me`.
    pub fn of(input: &Input, me: NodeId, hasher: &RouteHasher) -> Self {
        Self(match input {
            Input::LinkUp { link, peer, .. } => Kind::Linked {
                link: *link,
                peer: *peer,
            },
            Input::LinkDown { link } => Kind::Unlinked(*link),
            Input::Frame { link, envelope } => of_frame(*link, &envelope.frame, me),
            Input::Command {
                session,
                command: Command::Hello(hello),
                ..
            } => Kind::Hello(*session, hasher.user(&hello.user)),
            Input::Closed { session, .. } => Kind::Closed(*session),
            Input::Stop | Input::StopNow => Kind::Stop,
            Input::Tick
            | Input::DialFailed { .. }
            | Input::Discovered { .. }
            | Input::Command { .. }
            | Input::Drained { .. }
            | Input::Appended { .. }
            | Input::Loaded { .. }
            | Input::Room(_) => Kind::Other,
        })
    }
}

fn of_frame(link: LinkId, frame: &Frame, me: NodeId) -> Kind {
    let inner = unpacked(frame);
    let relayed = match frame {
        Frame::Relay(relay) if relay.to == me => Some(relay.from),
        Frame::Relay(_)
        | Frame::Membership(_)
        | Frame::Routes(_)
        | Frame::Streams(_)
        | Frame::Chat(_) => None,
    };
    Kind::Frame {
        link,
        relayed,
        layer: layer(inner.as_ref().unwrap_or(frame)),
    }
}

/// What a frame through a helper holds.
pub(super) fn unpacked(frame: &Frame) -> Option<Frame> {
    match frame {
        Frame::Relay(relay) => relay.unpack(),
        Frame::Membership(_) | Frame::Routes(_) | Frame::Streams(_) | Frame::Chat(_) => None,
    }
}

pub(super) fn layer(frame: &Frame) -> Layer {
    match frame {
        Frame::Membership(_) => Layer::Membership,
        Frame::Routes(_) => Layer::Routes,
        Frame::Streams(_) | Frame::Chat(_) | Frame::Relay(_) => Layer::Others,
    }
}

/// How many batches a frame carries.
pub(super) fn batches(frame: &Frame) -> u64 {
    match frame {
        Frame::Routes(Message::Batch(_)) => 1,
        Frame::Routes(Message::Log { batches, .. }) => batches.len() as u64,
        Frame::Routes(
            Message::Resume(_) | Message::Part(_) | Message::Ack { .. } | Message::Have { .. },
        )
        | Frame::Membership(_)
        | Frame::Streams(_)
        | Frame::Chat(_)
        | Frame::Relay(_) => 0,
    }
}

/// Whether a frame is an answer or a question of its layer, not news that goes to all.
pub(super) fn is_reply(frame: &Frame) -> bool {
    layer(frame) == Layer::Routes && !matches!(frame, Frame::Routes(Message::Batch(_)))
}
