//! Metrics of who is alive and who reaches whom.

use super::{Metric, counter, gauge};

pub(super) const METRICS: &[Metric] = &[
    counter(
        "membership_contacts_dropped_total",
        "Addresses of possible peers, found or told, for which there was no room. Harmless \
         once this node has joined.",
    ),
    counter(
        "membership_dials_failed_total",
        "Dials that led to no link. Rising without end: an address that does not answer, \
         which is so while a member is down.",
    ),
    counter(
        "membership_dials_total",
        "Dials begun, to addresses given, found or told by members.",
    ),
    counter(
        "membership_downs_stopped_total",
        "Members that said that they stop: restarts as planned.",
    ),
    counter(
        "membership_downs_timed_total",
        "Members declared down since no refutation came in time. Rising without machines that \
         fail: an overloaded node or network.",
    ),
    counter(
        "membership_downs_voted_total",
        "Members declared down since enough observers found them silent. Rising without \
         machines that fail: an overloaded node or network.",
    ),
    counter(
        "membership_echoes_refused_total",
        "Echoes of heartbeats that cannot be right, not taken as round trips. Above 0: a \
         defect of a peer.",
    ),
    counter(
        "membership_forgotten_total",
        "Members forgotten: they left, or were down the longest when room was needed.",
    ),
    counter(
        "membership_greetings_late_total",
        "Links hung up since their peer did not greet in time. Rising: a peer that hangs or \
         is overloaded.",
    ),
    counter(
        "membership_greetings_refused_total",
        "Greetings refused as malformed. Above 0: a peer of another version, or a defect of \
         it.",
    ),
    counter(
        "membership_greetings_stale_total",
        "Greetings of an earlier start of a node that has started again since. A few after a \
         restart are normal.",
    ),
    counter(
        "membership_heartbeats_total",
        "Heartbeats sent; only links that are silent otherwise need them.",
    ),
    counter(
        "membership_joins_refused_total",
        "Nodes refused since the mesh has as many members as it may have.",
    ),
    gauge(
        "membership_link_rtt_seconds",
        "Round trip of the direct link to a member, smoothed, seconds. Its rise is the \
         network's, or that of a node with too much to do.",
    ),
    gauge(
        "membership_links",
        "Members that this node has a direct link to. Fewer than it sees alive, without \
         itself: frames to the others are relayed.",
    ),
    counter(
        "membership_links_duplicate_total",
        "Second links to one peer, hung up. Normal when two nodes dial each other at once.",
    ),
    counter(
        "membership_links_opened_total",
        "Links that opened: both ends have greeted. Rising on: links that do not last.",
    ),
    counter(
        "membership_links_refused_total",
        "Links refused since there are too many, in all or to one peer. Rising: a peer that \
         dials without end.",
    ),
    counter(
        "membership_lists_repeated_total",
        "Member lists sent again since the two ends of a link knew different members. Rising \
         on: two nodes that cannot agree, a defect.",
    ),
    counter(
        "membership_marks_dropped_total",
        "Starts of forgotten members that were forgotten too, for want of room. Such a member \
         may be taken in again by mistake.",
    ),
    gauge(
        "membership_members",
        "Members of the mesh as this node sees them, itself included, by state. The nodes of \
         one mesh should agree.",
    ),
    counter(
        "membership_messages_ignored_total",
        "Messages that make no sense here: of unknown members, of another start, through a \
         helper that may not. A few while nodes start and fail are normal.",
    ),
    counter(
        "membership_messages_ungreeted_total",
        "Messages on a link before its greeting, or on one that is closed. A few while links \
         break are normal.",
    ),
    counter(
        "membership_pauses_total",
        "Times that this node woke so late that silence before proves nothing. Rising: the \
         machine is overloaded, swaps or was suspended.",
    ),
    counter(
        "membership_probes_failed_total",
        "Probes that no helper answered; suspicion follows.",
    ),
    counter(
        "membership_probes_total",
        "Members probed through others since their link was silent. Rising: links that stall \
         or nodes that hang.",
    ),
    counter(
        "membership_records_dropped_total",
        "Records of members for which the table has no room. Above 0: too many nodes for one \
         mesh.",
    ),
    counter(
        "membership_records_refused_total",
        "Records of members refused as out of bounds. Above 0: a peer of another version, or \
         a defect of it.",
    ),
    counter(
        "membership_records_stale_total",
        "Records of starts that are over, not taken. A few after restarts are normal.",
    ),
    counter(
        "membership_refutations_total",
        "Suspicions of this very node that it refuted. Rising: this node, or the network \
         around it, is too slow.",
    ),
    counter(
        "membership_suspicions_total",
        "Suspicions that this node began itself. Rising without machines that fail: an \
         overloaded node or network.",
    ),
];
