//! What crossed the network, by kind of frame.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh::proto::{membership, routes};
use mesh::wire::Frame;
use serde::{Deserialize, Serialize};

use super::durations::micros;
use super::per;

/// A kind of frame, as traffic is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Signs of life.
    Heartbeat,
    /// All else that members say of members.
    Membership,
    /// Pushed route changes.
    Batch,
    /// Acknowledgements of pushed route changes.
    Acknowledgement,
    /// Questions for missed route changes, and their answers from a log.
    Log,
    /// Whole sets of routes in parts, and their acknowledgements.
    Snapshot,
    /// Events: appends, deliveries, reads.
    Streams,
    /// Sessions.
    Chat,
    /// Anything that goes through a helper; counted once for each leg.
    Relayed,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Heartbeat,
        Self::Membership,
        Self::Batch,
        Self::Acknowledgement,
        Self::Log,
        Self::Snapshot,
        Self::Streams,
        Self::Chat,
        Self::Relayed,
    ];

    /// The kind of a frame.
    pub fn of(frame: &Frame) -> Self {
        match frame {
            Frame::Membership(membership::Message::Heartbeat { .. }) => Self::Heartbeat,
            Frame::Membership(_) => Self::Membership,
            Frame::Routes(routes::Message::Batch(_)) => Self::Batch,
            Frame::Routes(routes::Message::Have { .. }) => Self::Acknowledgement,
            Frame::Routes(routes::Message::Resume(_) | routes::Message::Log { .. }) => Self::Log,
            Frame::Routes(routes::Message::Part(_) | routes::Message::Ack { .. }) => Self::Snapshot,
            Frame::Streams(_) => Self::Streams,
            Frame::Chat(_) => Self::Chat,
            Frame::Relay(_) => Self::Relayed,
        }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeats",
            Self::Membership => "membership, other",
            Self::Batch => "route batches",
            Self::Acknowledgement => "acknowledgements",
            Self::Log => "resumes and logs",
            Self::Snapshot => "snapshots",
            Self::Streams => "streams",
            Self::Chat => "chat",
            Self::Relayed => "relayed",
        }
    }
}

/// Frames and their encoded bytes, length prefix included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// How many frames.
    pub frames: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What was sent, and by how many nodes for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// For how long nodes ran, summed over all nodes.
    #[serde(rename = "node_us", with = "micros")]
    pub ran: Duration,
    /// What was sent of each kind; kinds of which nothing was sent are left out.
    pub kinds: BTreeMap<Kind, Load>,
}

impl Traffic {
    /// Counts a frame sent, with its encoded length.
    pub fn count(&mut self, frame: &Frame, bytes: u64) {
        let load = self.kinds.entry(Kind::of(frame)).or_default();
        load.frames = load.frames.saturating_add(1);
        load.bytes = load.bytes.saturating_add(bytes);
    }

    /// What was sent of one kind.
    pub fn of(&self, kind: Kind) -> Load {
        self.kinds.get(&kind).copied().unwrap_or_default()
    }

    /// What was sent of all kinds.
    pub fn total(&self) -> Load {
        self.kinds.values().fold(Load::default(), |sum, load| Load {
            frames: sum.frames.saturating_add(load.frames),
            bytes: sum.bytes.saturating_add(load.bytes),
        })
    }

    /// Thousandths of so much per node and second; `None` where no node ran.
    pub fn rate(&self, amount: u64) -> Option<u64> {
        let ran_us = u64::try_from(self.ran.as_micros()).unwrap_or(u64::MAX);
        per(amount, ran_us, 1_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use mesh::id::{Epoch, NodeId};
    use mesh::proto::routes::Summary;
    use mesh::wire::Relay;

    use super::*;

    #[test]
    fn each_frame_is_counted_under_its_kind_and_a_relayed_one_as_relayed() {
        let mut traffic = Traffic::default();
        let heartbeat = Frame::from(membership::Message::Heartbeat {
            routes: routes::Pulse::default(),
            vitals: None,
        });
        let stopped = Frame::from(membership::Message::Stopped { epoch: Epoch(1) });
        let resume = Frame::from(routes::Message::Resume(Summary::default()));
        let relay = Frame::Relay(Relay::pack(NodeId([1; 32]), NodeId([2; 32]), &heartbeat));
        for (frame, bytes) in [
            (&heartbeat, 10),
            (&heartbeat, 11),
            (&stopped, 5),
            (&resume, 7),
            (&relay, 90),
        ] {
            traffic.count(frame, bytes);
        }
        let load = |frames, bytes| Load { frames, bytes };
        assert_eq!(traffic.of(Kind::Heartbeat), load(2, 21));
        assert_eq!(traffic.of(Kind::Membership), load(1, 5));
        assert_eq!(traffic.of(Kind::Log), load(1, 7));
        assert_eq!(traffic.of(Kind::Relayed), load(1, 90));
        assert_eq!(traffic.of(Kind::Chat), load(0, 0));
        assert_eq!(traffic.total(), load(5, 123));
    }

    #[test]
    fn a_rate_is_per_node_and_second() {
        let traffic = Traffic {
            ran: Duration::from_secs(10) * 4,
            ..Traffic::default()
        };
        assert_eq!(traffic.rate(400), Some(10_000));
        assert_eq!(traffic.rate(1), Some(25));
        assert_eq!(traffic.rate(u64::MAX), Some(u64::MAX));
        assert_eq!(Traffic::default().rate(1), None);
    }
}
