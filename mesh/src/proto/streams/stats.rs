//! What this layer counts.

/// Everything done, refused or dropped since the start.
#[derive(Debug, Default)]
pub(super) struct Stats {
    /// Appends acknowledged as new.
    pub(super) appends: u64,
    /// Appends acknowledged as stored before.
    pub(super) appends_duplicate: u64,
    /// Appends acknowledged with one copy, since no second disk could be had.
    pub(super) appends_lowered: u64,
    /// Appends answered `unavailable`.
    pub(super) appends_unavailable: u64,
    /// Those of them that a bound refused.
    pub(super) appends_refused: u64,
    /// Appends answered `conflict`.
    pub(super) appends_conflict: u64,
    /// Ids given up for a smaller one of the same nonce.
    pub(super) ids_adopted: u64,
    /// Nonces looked up.
    pub(super) look_ups: u64,
    /// Events shown to clients that did not reach enough disks in the time after their deadline.
    pub(super) offers_dropped: u64,
    /// Events written to this node's disk.
    pub(super) events_stored: u64,
    /// Events that this node's store had no room for.
    pub(super) events_without_room: u64,
    /// Events under a known id with another content.
    pub(super) events_differ: u64,
    /// Streams whose first event made contact entries here.
    pub(super) contacts: u64,
    /// Events sent to nodes that attached a user just then.
    pub(super) sent_to_attached: u64,
    /// Questions to storing members.
    pub(super) reads: u64,
    /// Questions that a bound refused, own and peers'.
    pub(super) reads_refused: u64,
    /// Questions ended by their deadline.
    pub(super) reads_timed_out: u64,
    /// Answers told to be incomplete.
    pub(super) reads_incomplete: u64,
    /// Answers of peers that were none, or not to what was asked.
    pub(super) answers_refused: u64,
    /// Frames of peers that are not well formed or were not expected.
    pub(super) messages_refused: u64,
}

impl Stats {
    /// Name and value of each.
    pub(super) fn list(&self) -> [(&'static str, u64); 20] {
        [
            ("streams_appends_total", self.appends),
            ("streams_appends_duplicate_total", self.appends_duplicate),
            ("streams_appends_lowered_total", self.appends_lowered),
            (
                "streams_appends_unavailable_total",
                self.appends_unavailable,
            ),
            ("streams_appends_refused_total", self.appends_refused),
            ("streams_appends_conflict_total", self.appends_conflict),
            ("streams_ids_adopted_total", self.ids_adopted),
            ("streams_nonce_lookups_total", self.look_ups),
            ("streams_offers_dropped_total", self.offers_dropped),
            ("streams_events_stored_total", self.events_stored),
            (
                "streams_events_without_room_total",
                self.events_without_room,
            ),
            ("streams_events_differ_total", self.events_differ),
            ("streams_contacts_total", self.contacts),
            (
                "streams_events_sent_to_attached_total",
                self.sent_to_attached,
            ),
            ("streams_reads_total", self.reads),
            ("streams_reads_refused_total", self.reads_refused),
            ("streams_reads_timed_out_total", self.reads_timed_out),
            ("streams_reads_incomplete_total", self.reads_incomplete),
            ("streams_read_answers_refused_total", self.answers_refused),
            ("streams_messages_refused_total", self.messages_refused),
        ]
    }
}
