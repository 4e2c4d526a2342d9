//! What the store counts: plain numbers, read at any time from any thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// One number that only its owner changes and anybody reads.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(super) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    pub(super) fn raise(&self, n: u64) {
        self.0.fetch_max(n, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

macro_rules! stats {
    ($($(#[$doc:meta])* $field:ident => $name:literal,)*) => {
        /// All numbers of one store.
        #[derive(Debug, Default)]
        pub(super) struct Stats {
            $($(#[$doc])* pub(super) $field: Counter,)*
        }

        impl Stats {
            /// Name and value of each.
            pub(super) fn pairs(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field.get()),)*]
            }
        }
    };
}

stats! {
    /// Events newly stored.
    stored => "history_events_stored_total",
    /// Events that were here already.
    known => "history_events_known_total",
    /// Events not stored, since a twin with a smaller id is here.
    twins => "history_events_twin_total",
    /// Events not stored, since their id is known with another content.
    differs => "history_events_differ_total",
    /// Events not stored for want of disk space.
    full => "history_events_refused_full_total",
    /// Events not stored, since too many were waiting.
    overload => "history_events_refused_overload_total",
    /// Events not stored, since none of the journal's files could hold them.
    too_large => "history_events_refused_too_large_total",
    /// Questions not taken, since too many were waiting.
    loads_refused => "history_loads_refused_total",
    /// Marks not taken, since too much was waiting; they are asked for again.
    lists_refused => "history_lists_refused_total",
    /// Questions answered.
    loads => "history_loads_total",
    /// Appended events that had to be looked for in blocks.
    checks => "history_checks_total",
    /// Heads of streams read from the database for events to be appended.
    heads_read => "history_heads_read_total",
    /// Records written to the journal, each with one flush.
    flushes => "history_journal_flushes_total",
    /// Bytes of these records.
    journal_bytes => "history_journal_bytes_total",
    /// Time spent in these flushes, microseconds.
    flush_us => "history_journal_flush_us_total",
    /// The longest of these flushes, microseconds.
    flush_us_max => "history_journal_flush_max_us",
    /// Journal files in use.
    journal_files => "history_journal_files",
    /// How often an append waited for folding to make room.
    waits => "history_append_waits_total",
    /// Time that appends waited so, microseconds.
    wait_us => "history_append_wait_us_total",
    /// Bytes of all tails.
    tail_bytes => "history_tail_bytes",
    /// Streams with something that is not in blocks yet.
    tails => "history_tails",
    /// Streams folded.
    folds => "history_folds_total",
    /// Events folded.
    folded_events => "history_folded_events_total",
    /// Blocks written.
    blocks_written => "history_blocks_written_total",
    /// Blocks read to be merged or to take in late events.
    blocks_rewritten => "history_blocks_rewritten_total",
    /// Flushes of the database.
    database_flushes => "history_database_flushes_total",
    /// Time spent in these, microseconds.
    database_flush_us => "history_database_flush_us_total",
    /// Free bytes on the file system at the last look.
    free_bytes => "history_free_bytes",
}

/// Whole microseconds of a duration.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
