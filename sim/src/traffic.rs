//! What crossed the network, by kind.

use mesh::proto::{membership, routes};
use mesh::wire::Frame;

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Signs of life of idle links.
    Heartbeat,
    /// Greetings, member lists, probes, suspicions, goodbyes.
    Membership,
    /// Route deltas pushed by their origin.
    Batch,
    /// Questions for routes, and answers from the log.
    Resume,
    /// Parts of snapshots and their acknowledgements.
    Snapshot,
    /// Events: appends, deliveries, reads.
    Streams,
    /// Signals and other news between sessions.
    Chat,
    /// Anything on its way through a helper.
    Relay,
}

impl Kind {
    /// All kinds, in the order of a report.
    pub const ALL: [Self; 8] = [
        Self::Heartbeat,
        Self::Membership,
        Self::Batch,
        Self::Resume,
        Self::Snapshot,
        Self::Streams,
        Self::Chat,
        Self::Relay,
    ];

    /// What a frame is for.
    pub fn of(frame: &Frame) -> Self {
        match frame {
            Frame::Membership(membership::Message::Heartbeat { .. }) => Self::Heartbeat,
            Frame::Membership(_) => Self::Membership,
            Frame::Routes(routes::Message::Batch(_)) => Self::Batch,
            Frame::Routes(routes::Message::Part(_) | routes::Message::Ack { .. }) => Self::Snapshot,
            Frame::Routes(_) => Self::Resume,
            Frame::Streams(_) => Self::Streams,
            Frame::Chat(_) => Self::Chat,
            Frame::Relay(_) => Self::Relay,
        }
    }

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeats",
            Self::Membership => "membership",
            Self::Batch => "route batches",
            Self::Resume => "route catch-up",
            Self::Snapshot => "route snapshots",
            Self::Streams => "events",
            Self::Chat => "signals",
            Self::Relay => "relayed",
        }
    }
}

/// How much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Frames.
    pub frames: u64,
    /// Their encoded bytes, length prefix included.
    pub bytes: u64,
}

/// Totals of what was sent, lost frames included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    kinds: [Count; Kind::ALL.len()],
}

impl Traffic {
    /// Counts a frame.
    pub fn add(&mut self, kind: Kind, bytes: usize) {
        let count = &mut self.kinds[kind as usize];
        count.frames += 1;
        count.bytes += bytes as u64;
    }

    /// Of one kind.
    pub fn of(&self, kind: Kind) -> Count {
        self.kinds[kind as usize]
    }

    /// Of all kinds.
    pub fn total(&self) -> Count {
        let sum = |sum: Count, count: &Count| Count {
            frames: sum.frames + count.frames,
            bytes: sum.bytes + count.bytes,
        };
        self.kinds.iter().fold(Count::default(), sum)
    }

    /// What came on top of an earlier reading.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        for (count, before) in self.kinds.iter_mut().zip(&earlier.kinds) {
            count.frames -= before.frames;
            count.bytes -= before.bytes;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_where_their_number_says() {
        for (place, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }

    #[test]
    fn traffic_is_summed_and_compared_by_kind() {
        let mut traffic = Traffic::default();
        traffic.add(Kind::Chat, 10);
        let before = traffic;
        traffic.add(Kind::Chat, 5);
        traffic.add(Kind::Relay, 1);
        let since = traffic.since(&before);
        let count = |frames, bytes| Count { frames, bytes };
        assert_eq!(since.of(Kind::Chat), count(1, 5));
        assert_eq!(since.total(), count(2, 6));
        assert_eq!(traffic.total(), count(3, 16));
    }
}
