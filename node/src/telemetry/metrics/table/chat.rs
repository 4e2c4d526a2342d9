//! Metrics of users, devices and what they do.

use super::{Metric, counter, gauge};

pub(super) const METRICS: &[Metric] = &[
    counter(
        "chat_answers_unheard_total",
        "Answers to reads and appends whose session has gone meanwhile. Harmless.",
    ),
    gauge(
        "chat_append_bytes_under_way",
        "Bytes of messages that are being appended for sessions of this node. Stays high: \
         slow disks.",
    ),
    gauge(
        "chat_appends_under_way",
        "Messages of sessions of this node that are not answered yet. Stays high: slow disks \
         or nodes that hang.",
    ),
    counter(
        "chat_bad_requests_total",
        "Commands refused with `bad_request`. Rising: a client with a defect, or of another \
         version.",
    ),
    counter(
        "chat_commands_dropped_total",
        "Commands of sessions that are being closed. Harmless.",
    ),
    counter(
        "chat_conversations_left_out_total",
        "Conversations left out of answers, since a user has more than one answer may list.",
    ),
    counter(
        "chat_device_claims_sent_total",
        "Claims of devices sent to other nodes, repeated ones included: a device that comes \
         to one node is closed at the others.",
    ),
    counter(
        "chat_device_claims_unanswered_total",
        "Claims of devices that a node never answered: a device may be open twice. Rising: \
         nodes that hang.",
    ),
    counter(
        "chat_device_claims_unwatched_total",
        "Claims of devices sent but once, since too many wait for an answer. Rising: \
         overload.",
    ),
    counter(
        "chat_events_pushed_total",
        "Events pushed to sessions as they happened.",
    ),
    counter(
        "chat_events_resumed_total",
        "Events pushed to sessions in answer to `resume`: what they missed.",
    ),
    counter(
        "chat_events_unheard_total",
        "Events for users without an open session here. Some while users come and go are \
         normal; many: routes that are not up to date.",
    ),
    counter(
        "chat_graces_refused_total",
        "Lost sessions that were ended at once, since too many were in grace: their users \
         showed as offline a moment too early. Rising: overload.",
    ),
    counter(
        "chat_graces_total",
        "Sessions whose connection was lost and that got some time to come back. Rising fast: \
         clients lose their network, or a proxy cuts them off.",
    ),
    counter(
        "chat_hellos_refused_total",
        "`hello`s refused: malformed, a second one, or the node stops.",
    ),
    counter(
        "chat_hellos_total",
        "Sessions that said `hello`. Rising much faster than users come: clients that \
         reconnect without end.",
    ),
    counter(
        "chat_marks_known_total",
        "Read marks not appended, being no higher than a known one. Harmless.",
    ),
    counter(
        "chat_presence_pushed_total",
        "Changes of presence told to sessions.",
    ),
    counter(
        "chat_rate_limited_total",
        "Commands refused with `rate_limited`: too much of their session, or of all, is under \
         way. Rising: a client in a loop, or overload.",
    ),
    gauge(
        "chat_reads_under_way",
        "Reads of sessions of this node that are not answered yet. Stays high: slow disks or \
         nodes that hang.",
    ),
    counter(
        "chat_replaced_total",
        "Sessions closed since their device said `hello` again, here or elsewhere. Rising \
         fast: two clients with one device id.",
    ),
    counter(
        "chat_sends_conflicting_total",
        "Messages and marks of sessions of this node that ended in `conflict`.",
    ),
    counter(
        "chat_sends_total",
        "Messages that sessions of this node asked to be appended.",
    ),
    counter(
        "chat_sends_unavailable_total",
        "Messages and marks of sessions of this node that ended in `unavailable`.",
    ),
    gauge(
        "chat_sessions",
        "Sessions that have said `hello`, users that are on this node now, each as often as \
         it has devices.",
    ),
    gauge(
        "chat_sessions_in_grace",
        "Sessions whose connection is lost and that may still come back.",
    ),
    counter(
        "chat_signals_total",
        "Signals sent by clients: typing and the like, never stored.",
    ),
    counter(
        "chat_signals_unheard_total",
        "Signals of other nodes for users without an open session here. Harmless.",
    ),
    counter(
        "chat_unauthenticated_total",
        "Commands of sessions that had not said `hello`. Rising: a client with a defect.",
    ),
    counter(
        "chat_unsupported_total",
        "Commands refused since this version cannot do them. Rising: clients of a newer \
         version.",
    ),
    gauge(
        "chat_watches",
        "Users whose presence some session of this node watches.",
    ),
];
