//! Metrics of connections to peers.

use super::{Metric, counter};

pub(super) const METRICS: &[Metric] = &[
    counter(
        "net_batches_sent_total",
        "Writes to peers; frames sent by it is how many share one write.",
    ),
    counter(
        "net_bytes_received_total",
        "Bytes read from peers, all lanes, after decryption.",
    ),
    counter(
        "net_bytes_sent_total",
        "Bytes written to peers, all lanes, before encryption.",
    ),
    counter(
        "net_connections_over_limit_total",
        "Connections from outside refused for a limit on their number. Rising: somebody else \
         knocks, or a peer dials without end.",
    ),
    counter(
        "net_dials_dropped_total",
        "Dials that were dropped, since too many wait. Above 0: a defect of this program.",
    ),
    counter(
        "net_dials_failed_total",
        "Addresses dialled without success. Rising: members that are down, or addresses that \
         lead nowhere; see --advertise.",
    ),
    counter("net_dials_total", "Addresses dialled."),
    counter(
        "net_discoveries_dropped_total",
        "Addresses found on the local network that were dropped for overload; they are \
         announced again.",
    ),
    counter(
        "net_frames_dropped_total",
        "Frames to peers that did not fit in the outbox of their link, by lane. Rising: a \
         slow peer or network. Lane control is repaired by heartbeats; of lane data, messages \
         end as `unavailable`.",
    ),
    counter(
        "net_frames_junk_total",
        "Frames of peers that this version does not know, skipped. Rising: peers of a newer \
         version.",
    ),
    counter(
        "net_frames_received_total",
        "Frames of peers handed to the machine, by lane.",
    ),
    counter(
        "net_frames_sent_total",
        "Frames put in the outbox of a link, by lane.",
    ),
    counter(
        "net_frames_too_long_total",
        "Frames of peers above the longest length; the link was closed. Above 0: a defect of \
         a peer.",
    ),
    counter(
        "net_frames_unsendable_total",
        "Frames of this node above the longest length, not sent. Above 0: a defect of this \
         program.",
    ),
    counter(
        "net_frames_without_link_total",
        "Frames for a link that had just gone. A few when links break are normal.",
    ),
    counter(
        "net_incoming_failed_total",
        "Connections from outside that failed before it was known who they are: another mesh \
         key, another program, a scan. Rising: look after who may reach --mesh-listen.",
    ),
    counter(
        "net_links_down_total",
        "Links to peers that have ended. Rising without restarts: an unstable network.",
    ),
    counter("net_links_up_total", "Links to peers that were admitted."),
    counter(
        "net_listener_errors_total",
        "Errors of --mesh-listen, such as too many open files. Above 0: see the log and \
         process_max_fds.",
    ),
    counter(
        "net_refused_mesh_key_total",
        "Peers with another mesh key, as far as that shows here: the one that dials sees it. \
         Above 0: compare the key files.",
    ),
    counter(
        "net_refused_mesh_name_total",
        "Peers of another mesh name. Above 0: two meshes dial each other; compare \
         --mesh-name.",
    ),
    counter(
        "net_refused_other_total",
        "Peers that were not admitted for another reason, or not in time. Rising: another \
         version, or a peer that hangs; the log says.",
    ),
    counter(
        "net_streams_surplus_total",
        "Streams of peers beyond one for each lane, dropped. Above 0: a defect of a peer.",
    ),
    counter(
        "net_write_timeouts_total",
        "Links closed since a write took too long. Rising: a peer that hangs, or a network \
         that loses packets.",
    ),
];
