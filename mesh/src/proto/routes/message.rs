//! What nodes say to each other about routes.
//!
//! A receiver asks by [`Message::Resume`]; the origin answers with the rest of its log or with a
//! snapshot. Between answers it pushes each batch once, and sends again what is not acknowledged. No
//! message asks for more than one reply.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, RouteKey, splitmix64};
use crate::proto::routes::keys::Keys;
use crate::wire::Lane;

/// Which set of routes an origin has: after which batch, how many, and their fingerprint.
///
/// Epoch 0 names no life: the default summary is that of nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Life of the origin.
    pub epoch: Epoch,
    /// The last batch in the set.
    pub seq: u64,
    /// How many keys are in the set.
    pub count: u64,
    /// Sum modulo 2^64 of a mixed hash of each key; a hash is no shorter as a varint.
    #[serde(with = "postcard::fixint::le")]
    pub fingerprint: u64,
}

impl Summary {
    /// The empty set at the start of a life.
    pub(super) fn empty(epoch: Epoch) -> Self {
        Self {
            epoch,
            ..Self::default()
        }
    }

    /// Counts a key in.
    pub(super) fn add(&mut self, key: RouteKey) {
        self.count = self.count.wrapping_add(1);
        self.fingerprint = self.fingerprint.wrapping_add(splitmix64(key.0));
    }

    /// Counts a key out.
    pub(super) fn take(&mut self, key: RouteKey) {
        self.count = self.count.wrapping_sub(1);
        self.fingerprint = self.fingerprint.wrapping_sub(splitmix64(key.0));
    }

    /// The set after the next batch.
    pub(super) fn after(mut self, attached: &[RouteKey], detached: &[RouteKey]) -> Self {
        self.seq = self.seq.wrapping_add(1);
        attached.iter().for_each(|&key| self.add(key));
        detached.iter().for_each(|&key| self.take(key));
        self
    }

    /// As a heartbeat says it.
    pub fn pulse(self) -> Pulse {
        let words = [self.count, self.fingerprint];
        let check = words
            .into_iter()
            .fold(splitmix64(self.seq), |hash, word| splitmix64(hash ^ word));
        let [a, b, c, d, ..] = check.to_be_bytes();
        Pulse {
            seq: self.seq,
            check: [a, b, c, d],
        }
    }
}

/// A [`Summary`] as heartbeats say it, which are most of what an idle mesh sends. The life is that of
/// the greeting of their link; count and fingerprint are checked together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// The last batch in the set.
    pub seq: u64,
    /// 32 bits of a hash of seq, count and fingerprint: another set passes once in four billion, and
    /// no longer than to the next batch, which moves the hash and carries all 64 bits itself.
    pub check: [u8; 4],
}

/// What came and went in one window of the origin: applied as a whole, and only to the set of the
/// batch before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The set after this batch; its `seq` is the batch's.
    pub after: Summary,
    /// Keys that were not in the set.
    pub attached: Keys,
    /// Keys that were in the set.
    pub detached: Keys,
}

impl Batch {
    /// How many keys came and went, as far as can be told before unpacking them.
    pub(super) fn ops(&self) -> usize {
        self.attached.len() + self.detached.len()
    }
}

/// A slice of a snapshot. Parts are taken in order only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Of which set, as a whole.
    pub of: Summary,
    /// Which part, from 0.
    pub index: u32,
    /// How many parts there are, at least 1.
    pub parts: u32,
    /// The next keys, above those of the part before.
    pub keys: Keys,
}

/// What nodes say to each other about routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// What the sender has of the receiver's set: send the rest. The default summary: nothing.
    Resume(Summary),
    /// The sender's newest batch, pushed to all that have the one before. Shared by all frames.
    Batch(Arc<Batch>),
    /// The next batches of the sender's log: the answer to `Resume`, and what a peer has not
    /// acknowledged, once more.
    Log {
        /// In order, none left out; empty where there are none, or where they are not sent again
        /// unless they are asked for.
        batches: Vec<Arc<Batch>>,
        /// The sender's set now: where the batches end before it, there is more to ask for.
        head: Summary,
    },
    /// An answer to `Resume`: the sender's set, in parts.
    Part(Part),
    /// So many parts of a snapshot are here: send more. The last part is answered by `Resume`.
    Ack {
        /// Life of the snapshot.
        epoch: Epoch,
        /// The set's last batch.
        seq: u64,
        /// Parts taken, all from the first on.
        parts: u32,
    },
    /// The sender has the receiver's set as of this batch of its present life. Only a hint: what one
    /// of an older life hides, the next batch or heartbeat uncovers.
    Have {
        /// The last batch in it.
        seq: u64,
    },
}

impl Message {
    /// Snapshots go on the bulk lane, all else on control.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Part(_) => Lane::Bulk,
            Self::Resume(_)
            | Self::Batch(_)
            | Self::Log { .. }
            | Self::Ack { .. }
            | Self::Have { .. } => Lane::Control,
        }
    }
}
