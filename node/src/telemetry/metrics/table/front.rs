//! Metrics of connections of clients.

use super::{Metric, counter, gauge};

pub(super) const METRICS: &[Metric] = &[
    counter(
        "front_accept_failed_total",
        "Attempts to accept a connection that failed. Rising: no descriptors left, see \
         process_max_fds.",
    ),
    counter(
        "front_accepted_total",
        "Connections accepted on --listen and --admin-listen.",
    ),
    counter(
        "front_bad_http_total",
        "Connections that ended with an error of the client's in HTTP: junk, or a head not \
         sent in time. Some are normal where the internet can knock.",
    ),
    gauge(
        "front_connections",
        "Connections open, HTTP and WebSocket. As many as descriptors allow: new ones are \
         refused.",
    ),
    counter(
        "front_refused_admin_total",
        "Requests for the operator's pages where they are not answered. Rising: somebody \
         looks around, or a scraper has the wrong port.",
    ),
    counter(
        "front_refused_full_total",
        "Connections hung up at once or answered 503: no descriptor left for them. Above 0: \
         raise the limit on open files, or add a node.",
    ),
    counter(
        "front_refused_host_total",
        "Requests refused for their `Host`. Rising: a page elsewhere tries to get at this \
         machine, or --allow-origin lacks a name.",
    ),
    counter(
        "front_refused_origin_total",
        "Sessions refused for their `Origin`. Rising: a page elsewhere that --allow-origin \
         does not name.",
    ),
    counter(
        "front_refused_stopping_total",
        "Sessions refused because the node stops. Normal while it does.",
    ),
    counter(
        "front_refused_subprotocol_total",
        "Sessions refused since they offer only other subprotocols. Rising: clients of \
         something else, or of another version.",
    ),
    counter(
        "front_refused_upgrade_total",
        "Requests to /ws that were no proper WebSocket upgrade. Rising: a proxy that does not \
         pass upgrades on.",
    ),
    counter(
        "session_closed_binary_total",
        "Sessions closed with 1003: they sent a binary frame.",
    ),
    counter(
        "session_closed_no_hello_total",
        "Sessions closed with 4001 or 4003 by the front: no `hello` in time, or a bad one.",
    ),
    counter(
        "session_closed_protocol_total",
        "Sessions closed for breaking the WebSocket protocol.",
    ),
    counter(
        "session_closed_too_large_total",
        "Sessions closed with 1009: a frame above --max-frame.",
    ),
    counter(
        "session_closed_too_many_total",
        "Sessions closed with 4029: no descriptor left for them. Above 0: raise the limit on \
         open files, or add a node.",
    ),
    counter(
        "session_closed_too_slow_total",
        "Sessions closed with 4008: they did not take what was sent. Some are normal with bad \
         networks; many at once: this node's own network.",
    ),
    counter(
        "session_commands_total",
        "Commands of clients handed to the machine.",
    ),
    gauge(
        "session_connections",
        "WebSocket connections open, whether they have said `hello` or not.",
    ),
    counter(
        "session_dropped_silent_total",
        "Sessions dropped because their client was silent for too long, pings unanswered.",
    ),
    counter(
        "session_opened_total",
        "WebSocket connections opened. Rising much faster than users come: clients that \
         reconnect without end.",
    ),
    counter(
        "session_oversize_total",
        "Frames to clients above the length that the protocol promises, sent all the same. \
         Above 0: a defect of this program.",
    ),
    counter(
        "session_refused_lines_total",
        "Lines of clients that could not be read, or were refused without asking the machine. \
         Rising: a client with a defect.",
    ),
    counter(
        "session_undelivered_total",
        "Replies and pushes for sessions that were gone or ending. Some are normal.",
    ),
];
