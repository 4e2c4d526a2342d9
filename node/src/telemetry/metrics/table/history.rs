//! Metrics of this node's disk.

use super::{Metric, counter, gauge};

pub(super) const METRICS: &[Metric] = &[
    counter(
        "history_append_wait_seconds_total",
        "Time that writing waited for folding to make room in the journal, seconds. Rising: \
         the disk is too slow for what is written.",
    ),
    counter(
        "history_append_waits_total",
        "Times that writing waited for folding to make room in the journal.",
    ),
    counter(
        "history_blocks_rewritten_total",
        "Blocks read to be merged or to take in late events.",
    ),
    counter(
        "history_blocks_written_total",
        "Blocks of events written to the database.",
    ),
    counter(
        "history_checks_total",
        "Appended events that had to be looked for in blocks, being older than what is in \
         memory.",
    ),
    counter(
        "history_database_flush_seconds_total",
        "Time spent in flushes of the database, seconds.",
    ),
    counter("history_database_flushes_total", "Flushes of the database."),
    counter(
        "history_events_differ_total",
        "Events not stored, since their id is known with another content. Above 0: a defect, \
         or a copy of a node's data at work.",
    ),
    counter(
        "history_events_known_total",
        "Events that were here already: retries. Harmless.",
    ),
    counter(
        "history_events_refused_full_total",
        "Events not stored for want of disk space. Above 0: make room, see --min-free.",
    ),
    counter(
        "history_events_refused_overload_total",
        "Events not stored, since too many were waiting. Rising: the disk is too slow.",
    ),
    counter(
        "history_events_refused_too_large_total",
        "Events not stored, since no file of the journal could hold them. Above 0: a defect \
         of this program.",
    ),
    counter(
        "history_events_stored_total",
        "Events newly stored on this node's disk.",
    ),
    counter(
        "history_events_twin_total",
        "Events not stored, since the same message is here under a smaller id. Harmless.",
    ),
    counter(
        "history_folded_events_total",
        "Events moved from the journal into blocks.",
    ),
    counter(
        "history_folds_total",
        "Streams whose events were moved from the journal into blocks.",
    ),
    gauge(
        "history_free_bytes",
        "Free bytes on the file system of --data at the last look. At --min-free this node \
         stores no more and is not ready.",
    ),
    counter(
        "history_heads_read_total",
        "Conversations that were appended to and looked for on disk, being in no memory. Rising with \
         every append: more conversations are in use than are kept in memory.",
    ),
    counter(
        "history_journal_bytes_total",
        "Bytes of records written to the journal.",
    ),
    gauge(
        "history_journal_files",
        "Files of the journal in use. Rising without end: folding cannot keep up.",
    ),
    gauge(
        "history_journal_flush_max_seconds",
        "The longest flush of the journal since the start, seconds. Above 1: a disk that \
         stalls.",
    ),
    counter(
        "history_journal_flush_seconds_total",
        "Time spent in flushes of the journal, seconds. By their number: what a message waits \
         for the disk.",
    ),
    counter(
        "history_journal_flushes_total",
        "Flushes of the journal, one for each record, which holds all that had gathered.",
    ),
    counter(
        "history_lists_refused_total",
        "Conversations whose mark as listed was not taken, since too much was waiting; it is \
         asked for again. Rising: the disk is too slow.",
    ),
    counter(
        "history_loads_refused_total",
        "Reads not taken, since too many were waiting. Rising: the disk is too slow.",
    ),
    counter(
        "history_loads_total",
        "Reads answered from this node's disk and memory.",
    ),
    gauge(
        "history_tail_bytes",
        "Bytes of events in memory that are not in blocks yet.",
    ),
    gauge(
        "history_tails",
        "Streams with events in memory that are not in blocks yet.",
    ),
];
