//! What nodes say to each other about routes.
//!
//! A receiver asks by [`Message::Resume`]; the origin answers with the rest of its log or with a
//! snapshot. Between answers it pushes each batch once. No message asks for more than one reply.

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
    /// Sum modulo 2^64 of a mixed hash of each key.
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
    /// An answer to `Resume`: the next batches of the sender's log.
    Log {
        /// In order, none left out; empty where there are none.
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
}

impl Message {
    /// Snapshots go on the bulk lane, all else on control.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Part(_) => Lane::Bulk,
            Self::Resume(_) | Self::Batch(_) | Self::Log { .. } | Self::Ack { .. } => Lane::Control,
        }
    }
}
