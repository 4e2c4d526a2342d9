//! Walking through one stream, tails and blocks together, while both change.
//!
//! A step reads one block. The folding thread changes a stream's blocks and its tail under the
//! writing half of the stream's [`Shard`]; a step holds the reading half and sees either all of a
//! change or nothing. Where the stream changed between two steps, the cursor takes the tail anew and
//! looks for its place by the last id it gave: so a walk of any length gives every event that was
//! there when it began, once, in order, and holds folding up for one block at the most.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock, RwLockWriteGuard};

use mesh::id::{EventId, StreamId};
use mesh::store::{End, StoreError};

use super::Shared;
use super::block::Encoded;

/// Keeps readers of some streams from seeing half of a change.
#[derive(Debug, Default)]
pub(super) struct Shard {
    /// Written to while blocks and tail change.
    changing: RwLock<()>,
    /// How many changes there were.
    changes: AtomicU64,
}

impl Shard {
    /// How many changes there were. Under the lock of the tails it does not change.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Relaxed)
    }

    /// Keeps readers away while blocks and tails change. One thread alone does this, so that it may
    /// hold several.
    pub(super) fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.changing
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Both have changed. Called under the lock of the tails.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Relaxed);
    }
}

/// See the module.
pub(super) struct Cursor<'a> {
    shared: &'a Shared,
    stream: StreamId,
    /// The end it begins at: [`End::Oldest`] walks up.
    from: End,
    /// What is left to walk through, both exclusive.
    after: EventId,
    before: EventId,
    /// The number of changes that tail and block are of; `None` before the first step.
    changes: Option<u64>,
    /// Events of the tail that are left, in walking order.
    tail: VecDeque<Encoded>,
    /// Events of the block read last that are left, in walking order.
    block: VecDeque<Encoded>,
    /// The first id of the block read last.
    at: Option<EventId>,
    /// No block is left.
    exhausted: bool,
}

impl<'a> Cursor<'a> {
    /// Over the events between two ids, both exclusive.
    pub(super) fn new(
        shared: &'a Shared,
        stream: StreamId,
        after: EventId,
        before: EventId,
        from: End,
    ) -> Self {
        Self {
            shared,
            stream,
            from,
            after,
            before,
            changes: None,
            tail: VecDeque::new(),
            block: VecDeque::new(),
            at: None,
            exhausted: false,
        }
    }

    /// The next event.
    pub(super) fn next(&mut self) -> Result<Option<Encoded>, StoreError> {
        while self.changes.is_none() || self.block.is_empty() && !self.exhausted {
            self.step()?;
        }
        let block_first = match (self.block.front(), self.tail.front()) {
            (Some(block), Some(tail)) => match self.from {
                End::Oldest => block.id <= tail.id,
                End::Newest => block.id >= tail.id,
            },
            (Some(_), None) => true,
            (None, _) => false,
        };
        let next = if block_first {
            self.block.pop_front()
        } else {
            self.tail.pop_front()
        };
        if let Some(event) = &next {
            match self.from {
                End::Oldest => self.after = event.id,
                End::Newest => self.before = event.id,
            }
            // One that was just folded would be in both.
            for queue in [&mut self.block, &mut self.tail] {
                if queue.front().is_some_and(|other| other.id == event.id) {
                    queue.pop_front();
                }
            }
        }
        Ok(next)
    }

    /// Reads the next block, and the tail where the stream changed.
    fn step(&mut self) -> Result<(), StoreError> {
        let shard = self.shared.shard(self.stream);
        let _unchanging = shard
            .changing
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if self.changes != Some(shard.changes()) {
            self.changes = Some(shard.changes());
            self.take_tail();
        }
        if self.exhausted {
            return Ok(());
        }
        let database = &self.shared.database;
        let block = match (self.from, self.at) {
            (End::Newest, at) => database.block_below(self.stream, at.unwrap_or(self.before))?,
            (End::Oldest, Some(at)) => database.block_from(self.stream, above(at))?,
            // The block that holds the place, if it reaches beyond it, else the next one.
            (End::Oldest, None) => match database.block_below(self.stream, above(self.after))? {
                Some(block) => Some(block),
                None => database.block_from(self.stream, self.after)?,
            },
        };
        let Some(block) = block else {
            self.exhausted = true;
            return Ok(());
        };
        self.at = Some(block.first);
        self.exhausted = match self.from {
            End::Oldest => block.first >= self.before,
            End::Newest => block.first <= self.after,
        };
        let inside = |event: &Encoded| self.after < event.id && event.id < self.before;
        self.block = block.events.into_iter().filter(inside).collect();
        if self.from == End::Newest {
            self.block.make_contiguous().reverse();
        }
        Ok(())
    }

    fn take_tail(&mut self) {
        let state = self.shared.state();
        let tail = state
            .tails
            .durable_between(self.stream, self.after, self.before);
        // Where the stream's head is known to lie below, no block need be read.
        self.exhausted = state
            .tails
            .get(self.stream)
            .is_some_and(|tail| tail.head.is_below(above(self.after)));
        drop(state);
        self.tail = tail.into();
        if self.from == End::Newest {
            self.tail.make_contiguous().reverse();
        }
        self.at = None;
        self.block.clear();
    }
}

/// The id that follows, as far as there is one.
fn above(id: EventId) -> EventId {
    EventId::from_u128(id.to_u128().saturating_add(1))
}
