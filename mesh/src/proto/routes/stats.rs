//! What this layer counts.

macro_rules! stats {
    ($($(#[$doc:meta])* $field:ident => $name:literal,)*) => {
        /// Counters since the start, none ever falls.
        #[derive(Debug, Clone, Default)]
        pub(super) struct Stats {
            $($(#[$doc])* pub(super) $field: u64,)*
        }

        impl Stats {
            /// Each counter under its name.
            pub(super) fn pairs(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field),)*]
            }
        }
    };
}

stats! {
    /// Batches made of this node's own changes.
    batches_made => "routes_batches_made_total",
    /// Frames with one batch that were pushed.
    batches_pushed => "routes_batches_pushed_total",
    /// Batches of others applied.
    batches_applied => "routes_batches_applied_total",
    /// Keys attached or detached by those.
    ops_applied => "routes_ops_applied_total",
    /// Batches that were here already.
    batches_known => "routes_batches_known_total",
    /// Batches that came before one that is missing: asked for.
    batches_early => "routes_batches_early_total",
    /// Detaches of own keys that were not attached: a defect of the caller.
    detaches_unknown => "routes_detaches_unknown_total",
    /// Requests sent.
    resumes_sent => "routes_resumes_sent_total",
    /// Requests that were not answered in time.
    resumes_lapsed => "routes_resumes_lapsed_total",
    /// Requests answered with the rest of the log.
    logs_sent => "routes_logs_sent_total",
    /// Times that a peer was sent again what it had not acknowledged.
    tails_resent => "routes_tails_resent_total",
    /// Acknowledgements of batches sent.
    haves_sent => "routes_haves_sent_total",
    /// Requests answered with a snapshot.
    snapshots_sent => "routes_snapshots_sent_total",
    /// Parts of those sent.
    parts_sent => "routes_snapshot_parts_sent_total",
    /// Snapshots that a peer stopped taking.
    snapshots_stalled => "routes_snapshots_stalled_total",
    /// Snapshots not begun since too many are under way; the peer asks again.
    snapshots_deferred => "routes_snapshots_deferred_total",
    /// Snapshots of others that became their visible set.
    snapshots_received => "routes_snapshots_received_total",
    /// Snapshots of others given up: overtaken, stalled, or the link broke.
    snapshots_dropped => "routes_snapshots_dropped_total",
    /// Sets or messages that disagreed with their fingerprint, count or content: defects.
    mismatches => "routes_mismatches_total",
    /// Requests whose summary disagrees with the log: a replica of this node's set is wrong.
    resumes_disagreed => "routes_resumes_disagreed_total",
    /// Requests that claim a later set than there is.
    resumes_ahead => "routes_refused_ahead_total",
    /// Messages of a life that is over, or of a set older than the one here.
    stale => "routes_refused_stale_total",
    /// Messages whose keys are junk or too many for one frame.
    malformed => "routes_refused_malformed_total",
    /// Answers that nobody asked for.
    unasked => "routes_refused_unasked_total",
    /// Parts out of order, or twice.
    parts_misplaced => "routes_refused_parts_misplaced_total",
    /// Sets larger than one origin may claim.
    oversized => "routes_refused_oversized_total",
    /// Batches and snapshots for which the table has no room.
    full => "routes_refused_full_total",
    /// Nodes beyond those that this layer keeps track of.
    nodes_refused => "routes_refused_nodes_total",
    /// Sets purged: the node left, was forgotten, or was down the longest when room was needed.
    sets_purged => "routes_sets_purged_total",
}
