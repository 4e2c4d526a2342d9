//! This node's own set of routes: sessions counted per key, changes gathered in windows.
//!
//! Only the first and the last session of a key are operations. The set as others see it is that
//! after the last batch; the changes since then wait in `pending`, where one undoes the other.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use crate::id::{Epoch, RouteKey};
use crate::proto::routes::chunks::{Chunk, Chunks};
use crate::proto::routes::keys::Keys;
use crate::proto::routes::log::Log;
use crate::proto::routes::message::{Batch, Summary};
use crate::proto::routes::{Config, SLICE_KEYS};
use crate::time::Instant;

/// A window in which at least so many keys changed makes the next one twice as long: frames are
/// then large enough for all to gain by fewer of them, and more changes undo each other.
const BUSY_OPS: usize = 256;

/// What became of a key since the last batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Attached,
    Detached,
}

/// What a session more or less did to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Its first session came.
    Came,
    /// Its last session went.
    Went,
    /// It has others.
    None,
    /// It had no session that could go.
    Unknown,
}

/// The own set.
#[derive(Debug)]
pub(super) struct Own {
    /// The set after the last batch.
    summary: Summary,
    announced: Chunks,
    /// Changes against `announced`, at most one per key, all of them real.
    pending: BTreeMap<RouteKey, Change>,
    /// Sessions beyond the first, of keys that have several.
    further: BTreeMap<RouteKey, u32>,
    live: u64,
    log: Log,
    window_min: Duration,
    window_max: Duration,
    window: Duration,
    /// No batch before this moment.
    open_at: Instant,
}

impl Own {
    pub(super) fn new(config: &Config, epoch: Epoch) -> Self {
        Self {
            summary: Summary::empty(epoch),
            announced: Chunks::default(),
            pending: BTreeMap::new(),
            further: BTreeMap::new(),
            live: 0,
            log: Log::new(config.log_ops, config.log_age),
            window_min: config.window,
            window_max: config.window_max.max(config.window),
            window: config.window,
            open_at: Instant(0),
        }
    }

    /// The set goes over to another life, whose log begins here.
    pub(super) fn set_epoch(&mut self, epoch: Epoch) {
        self.summary.epoch = epoch;
        self.log.clear();
    }

    /// The set after the last batch.
    pub(super) fn summary(&self) -> Summary {
        self.summary
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// How many keys have a session now.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    /// All keys after the last batch.
    pub(super) fn share(&self) -> Vec<Chunk> {
        self.announced.share()
    }

    /// A session more. `present`: whether the key has one already.
    pub(super) fn attach(&mut self, key: RouteKey, present: bool) -> Effect {
        if present {
            let further = self.further.entry(key).or_default();
            *further = further.saturating_add(1);
            return Effect::None;
        }
        self.live += 1;
        self.change(key, Change::Attached);
        Effect::Came
    }

    /// A session less. `present`: whether the key has one.
    pub(super) fn detach(&mut self, key: RouteKey, present: bool) -> Effect {
        if !present {
            return Effect::Unknown;
        }
        if let Entry::Occupied(mut further) = self.further.entry(key) {
            *further.get_mut() -= 1;
            if *further.get() == 0 {
                further.remove();
            }
            return Effect::None;
        }
        self.live -= 1;
        self.change(key, Change::Detached);
        Effect::Went
    }

    /// Changes of a key alternate, so a second one in a window undoes the first.
    fn change(&mut self, key: RouteKey, change: Change) {
        if self.pending.remove(&key).is_none() {
            self.pending.insert(key, change);
        }
    }

    /// When the next batch is due; at once (in the past) after a quiet period.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.pending.is_empty()).then_some(self.open_at)
    }

    /// The batch of the changes so far, if one is due: at most [`SLICE_KEYS`], the rest is left for
    /// the next window.
    pub(super) fn flush(&mut self, now: Instant) -> Option<Arc<Batch>> {
        if self.pending.is_empty() || now < self.open_at {
            return None;
        }
        let (mut attached, mut detached) = (Vec::new(), Vec::new());
        while attached.len() + detached.len() < SLICE_KEYS
            && let Some((key, change)) = self.pending.pop_first()
        {
            match change {
                Change::Attached => {
                    self.announced.insert(key);
                    attached.push(key);
                }
                Change::Detached => {
                    self.announced.remove(key);
                    detached.push(key);
                }
            }
        }
        self.summary = self.summary.after(&attached, &detached);
        let batch = Arc::new(Batch {
            after: self.summary,
            attached: Keys::pack(&attached),
            detached: Keys::pack(&detached),
        });
        let ops = attached.len() + detached.len();
        self.log.push(now, Arc::clone(&batch), ops);
        self.stretch(ops);
        self.open_at = now + self.window;
        Some(batch)
    }

    fn stretch(&mut self, ops: usize) {
        self.window = if !self.pending.is_empty() {
            // More than one batch holds: the backlog goes first.
            self.window_min
        } else if ops >= BUSY_OPS {
            (self.window * 2).min(self.window_max)
        } else {
            (self.window / 2).max(self.window_min)
        };
    }

    /// Drops what is too old from the log.
    pub(super) fn expire(&mut self, now: Instant) {
        self.log.expire(now);
    }
}
