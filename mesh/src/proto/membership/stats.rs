//! Plain counters of this layer.

/// How often what happened since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stats {
    /// Links that opened.
    pub(super) links_opened: u64,
    /// Second links to one peer that were hung up.
    pub(super) links_duplicate: u64,
    /// Links refused since there are too many, in all or to one peer.
    pub(super) links_refused: u64,
    /// Links that were not greeted in time.
    pub(super) greetings_late: u64,
    /// Greetings that are malformed.
    pub(super) greetings_refused: u64,
    /// Greetings of a life that is superseded.
    pub(super) greetings_stale: u64,
    /// Joins refused since the mesh is full.
    pub(super) joins_refused: u64,
    /// Messages on a link before its greeting, or on one that is closed.
    pub(super) messages_ungreeted: u64,
    /// Messages that make no sense here: of unknown members, of another life, through a helper
    /// though they may not.
    pub(super) messages_ignored: u64,
    /// Records out of bounds.
    pub(super) records_refused: u64,
    /// Records for which the table has no room.
    pub(super) records_dropped: u64,
    /// Records of lives that were forgotten or superseded.
    pub(super) records_stale: u64,
    /// Member lists sent again since two ends of a link knew different members.
    pub(super) lists_repeated: u64,
    /// Epochs of forgotten members that had to make room.
    pub(super) marks_dropped: u64,
    /// Addresses found for which there was no room.
    pub(super) contacts_dropped: u64,
    /// Dials begun.
    pub(super) dials: u64,
    /// Dials that led nowhere.
    pub(super) dials_failed: u64,
    /// Heartbeats sent.
    pub(super) heartbeats: u64,
    /// Echoes that cannot be right.
    pub(super) echoes_refused: u64,
    /// Ticks that came so late that silence before them proves nothing.
    pub(super) pauses: u64,
    /// Members probed through others.
    pub(super) probes: u64,
    /// Probes that no helper answered.
    pub(super) probes_failed: u64,
    /// Suspicions of this node's own.
    pub(super) suspicions: u64,
    /// Suspicions of this node that it refuted.
    pub(super) refutations: u64,
    /// Members declared down by enough observers.
    pub(super) downs_voted: u64,
    /// Members declared down by the timer.
    pub(super) downs_timed: u64,
    /// Members that said that they stopped.
    pub(super) downs_stopped: u64,
    /// Members forgotten.
    pub(super) forgotten: u64,
}

impl Stats {
    /// Names and values.
    pub(super) fn list(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("membership_links_opened_total", self.links_opened),
            ("membership_links_duplicate_total", self.links_duplicate),
            ("membership_links_refused_total", self.links_refused),
            ("membership_greetings_late_total", self.greetings_late),
            ("membership_greetings_refused_total", self.greetings_refused),
            ("membership_greetings_stale_total", self.greetings_stale),
            ("membership_joins_refused_total", self.joins_refused),
            (
                "membership_messages_ungreeted_total",
                self.messages_ungreeted,
            ),
            ("membership_messages_ignored_total", self.messages_ignored),
            ("membership_records_refused_total", self.records_refused),
            ("membership_records_dropped_total", self.records_dropped),
            ("membership_records_stale_total", self.records_stale),
            ("membership_lists_repeated_total", self.lists_repeated),
            ("membership_marks_dropped_total", self.marks_dropped),
            ("membership_contacts_dropped_total", self.contacts_dropped),
            ("membership_dials_total", self.dials),
            ("membership_dials_failed_total", self.dials_failed),
            ("membership_heartbeats_total", self.heartbeats),
            ("membership_echoes_refused_total", self.echoes_refused),
            ("membership_pauses_total", self.pauses),
            ("membership_probes_total", self.probes),
            ("membership_probes_failed_total", self.probes_failed),
            ("membership_suspicions_total", self.suspicions),
            ("membership_refutations_total", self.refutations),
            ("membership_downs_voted_total", self.downs_voted),
            ("membership_downs_timed_total", self.downs_timed),
            ("membership_downs_stopped_total", self.downs_stopped),
            ("membership_forgotten_total", self.forgotten),
        ]
    }
}
