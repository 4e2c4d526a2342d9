//! Metrics of which node each user is on.

use super::{Metric, counter, gauge};

pub(super) const METRICS: &[Metric] = &[
    counter(
        "routes_batches_applied_total",
        "Batches of other nodes' changes applied to this node's table.",
    ),
    counter(
        "routes_batches_early_total",
        "Batches that came before one that is missing, which is asked for. Rising: frames are \
         lost, see net_frames_dropped_total.",
    ),
    counter(
        "routes_batches_known_total",
        "Batches that were here already. Harmless.",
    ),
    counter(
        "routes_batches_made_total",
        "Batches made of this node's own changes: users that came and went.",
    ),
    counter(
        "routes_batches_pushed_total",
        "Frames with one batch pushed to other nodes, one for each of them.",
    ),
    counter(
        "routes_detaches_unknown_total",
        "Own routes taken away that were not there. Above 0: a defect of this program.",
    ),
    counter(
        "routes_haves_sent_total",
        "Acknowledgements sent of route changes of other nodes.",
    ),
    gauge(
        "routes_held",
        "Routes in this node's table by the node they lead to; their sum is the whole table. \
         All nodes should show the same for one.",
    ),
    counter(
        "routes_logs_sent_total",
        "Nodes that were behind and got the rest of the log.",
    ),
    counter(
        "routes_mismatches_total",
        "Sets and messages of other nodes that disagree with their fingerprint, count or \
         content. Above 0: a defect; the set is fetched anew.",
    ),
    counter(
        "routes_ops_applied_total",
        "Routes added or taken away by batches of other nodes.",
    ),
    counter(
        "routes_refused_ahead_total",
        "Requests that claim a later set than this node has. Above 0: a defect of a peer.",
    ),
    counter(
        "routes_refused_full_total",
        "Batches and snapshots for which the table has no room. Above 0: more routes than one \
         node can hold, and users that cannot be found.",
    ),
    counter(
        "routes_refused_malformed_total",
        "Messages whose keys are junk, or too many for one frame. Above 0: a peer of another \
         version, or a defect of it.",
    ),
    counter(
        "routes_refused_nodes_total",
        "Nodes beyond those that this node keeps track of. Above 0: too many nodes for one \
         mesh.",
    ),
    counter(
        "routes_refused_oversized_total",
        "Sets larger than one node may claim. Above 0: a node with too many users, or a \
         defect of it.",
    ),
    counter(
        "routes_refused_parts_misplaced_total",
        "Parts of snapshots that came out of order or twice. A few while links break are \
         harmless: the snapshot is asked for again.",
    ),
    counter(
        "routes_refused_stale_total",
        "Messages of a start that is over, or of an older set than the one here. A few after \
         restarts are normal.",
    ),
    counter(
        "routes_refused_unasked_total",
        "Answers that nobody asked for, or no longer. A few while links break are harmless.",
    ),
    counter(
        "routes_resumes_disagreed_total",
        "Requests whose summary disagrees with this node's log: somebody's replica of its set \
         was wrong. Above 0: a defect; a snapshot mends it.",
    ),
    counter(
        "routes_resumes_lapsed_total",
        "Requests to other nodes that were not answered in time; they are repeated. Rising: a \
         peer that hangs or a slow network.",
    ),
    counter(
        "routes_resumes_sent_total",
        "Requests to other nodes for what is missing of their sets. One for each link that \
         opens is normal; rising otherwise: frames are lost.",
    ),
    counter(
        "routes_sets_purged_total",
        "Sets of nodes purged: the node left, was forgotten, or was down the longest when \
         room was needed.",
    ),
    counter(
        "routes_snapshot_parts_sent_total",
        "Parts of snapshots sent.",
    ),
    counter(
        "routes_snapshots_deferred_total",
        "Snapshots not begun since too many are under way; the peer asks again. Rises when \
         many nodes start at once.",
    ),
    counter(
        "routes_snapshots_dropped_total",
        "Snapshots of other nodes given up: overtaken, stalled, or the link broke. They are \
         asked for again.",
    ),
    counter(
        "routes_snapshots_received_total",
        "Snapshots of other nodes' sets received whole. One for each node that this one joins \
         is normal.",
    ),
    counter(
        "routes_snapshots_sent_total",
        "Nodes that were behind and got a snapshot. One for each node that joins is normal.",
    ),
    counter(
        "routes_snapshots_stalled_total",
        "Snapshots that a peer stopped taking. Rising: a slow peer or network.",
    ),
    counter(
        "routes_tails_resent_total",
        "Route changes sent again to nodes that did not acknowledge them in time. Rising: frames \
         between nodes are lost or late.",
    ),
];
