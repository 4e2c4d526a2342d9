//! The origin's log: one ring of recent batches for all peers.
//!
//! A peer has a cursor into it, never a queue. Who falls out of the ring takes a snapshot, so a slow
//! peer costs no memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::proto::routes::message::{Batch, Summary};
use crate::time::Instant;

/// Bytes that a batch has on the wire besides its keys, about: summary and lengths.
const BATCH_HEAD: u64 = 24;

#[derive(Debug)]
struct Entry {
    batch: Arc<Batch>,
    ops: usize,
    at: Instant,
    /// Bytes of all batches before this one since the start of the log.
    bytes_before: u64,
}

/// The ring.
#[derive(Debug)]
pub(super) struct Log {
    ops_max: usize,
    age_max: Duration,
    /// Consecutive in `seq`.
    entries: VecDeque<Entry>,
    ops: usize,
    bytes: u64,
}

impl Log {
    /// Keeps at most so many operations, none older than that.
    pub(super) fn new(ops_max: usize, age_max: Duration) -> Self {
        Self {
            ops_max,
            age_max,
            entries: VecDeque::new(),
            ops: 0,
            bytes: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.ops = 0;
    }

    /// Adds the next batch, and drops what is over the bounds.
    pub(super) fn push(&mut self, now: Instant, batch: Arc<Batch>, ops: usize) {
        let bytes = (batch.attached.size() + batch.detached.size()) as u64 + BATCH_HEAD;
        self.entries.push_back(Entry {
            batch,
            ops,
            at: now,
            bytes_before: self.bytes,
        });
        self.bytes = self.bytes.saturating_add(bytes);
        self.ops += ops;
        self.expire(now);
    }

    /// Drops what is over the bounds.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(oldest) = self.entries.front()
            && (self.ops > self.ops_max || now.since(oldest.at) > self.age_max)
        {
            self.ops -= oldest.ops;
            self.entries.pop_front();
        }
    }

    /// Where the batch with this number is.
    fn position(&self, seq: u64) -> Option<usize> {
        let first = self.entries.front()?.batch.after.seq;
        let position = usize::try_from(seq.checked_sub(first)?).ok()?;
        (position < self.entries.len()).then_some(position)
    }

    /// The set after a batch that is in the ring.
    pub(super) fn summary_at(&self, seq: u64) -> Option<Summary> {
        let position = self.position(seq)?;
        Some(self.entries[position].batch.after)
    }

    /// When a batch that is in the ring was made.
    pub(super) fn made_at(&self, seq: u64) -> Option<Instant> {
        let position = self.position(seq)?;
        Some(self.entries[position].at)
    }

    /// About how many bytes all batches after this one take; `None` where the next is gone.
    pub(super) fn rest_bytes(&self, seq: u64) -> Option<u64> {
        let position = self.position(seq.checked_add(1)?)?;
        Some(self.bytes - self.entries[position].bytes_before)
    }

    /// The batches after this one, up to so many operations and batches, but at least one.
    pub(super) fn after(&self, seq: u64, ops_max: usize, batches_max: usize) -> Vec<Arc<Batch>> {
        let Some(position) = seq.checked_add(1).and_then(|next| self.position(next)) else {
            return Vec::new();
        };
        let mut ops = 0;
        self.entries
            .range(position..)
            .take(batches_max)
            .enumerate()
            .take_while(|(i, entry)| {
                ops += entry.ops;
                *i == 0 || ops <= ops_max
            })
            .map(|(_, entry)| Arc::clone(&entry.batch))
            .collect()
    }

    /// Operations in the ring.
    pub(super) fn ops(&self) -> usize {
        self.ops
    }
}
