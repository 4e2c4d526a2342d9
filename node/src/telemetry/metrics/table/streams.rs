//! Metrics of messages on several disks, and reading them.

use super::{Metric, counter};

pub(super) const METRICS: &[Metric] = &[
    counter(
        "streams_acks_withheld_total",
        "Acknowledgements withheld by this replica since the conversation could not be \
         entered in both users' lists in time, or too many wait for that. Rising: senders get \
         `unavailable` and try again; look after slow disks.",
    ),
    counter(
        "streams_appends_conflict_total",
        "Messages answered `conflict`: their nonce names another message. Rising: a client \
         that uses nonces twice.",
    ),
    counter(
        "streams_appends_duplicate_total",
        "Messages acknowledged as stored before: retries of clients, shown once all the same.",
    ),
    counter(
        "streams_appends_lowered_total",
        "Messages acknowledged with one copy, since no second disk could be had. Above 0: if \
         this node's disk is lost, so are they.",
    ),
    counter(
        "streams_appends_refused_total",
        "Messages refused for a bound of this node, among those answered `unavailable`. \
         Rising: overload.",
    ),
    counter(
        "streams_appends_total",
        "Messages and marks acknowledged as new, each flushed to as many disks as was asked \
         for or could be had.",
    ),
    counter(
        "streams_appends_unavailable_total",
        "Messages answered `unavailable`: not known to be stored, to be tried again. Rising: \
         too few nodes with disk in reach, or too slow ones.",
    ),
    counter(
        "streams_contacts_total",
        "Conversations whose first event made entries in both users' lists at this node.",
    ),
    counter(
        "streams_events_differ_total",
        "Events refused under a known id with another content. Above 0: a defect of a peer, \
         or a copy of a node's data at work.",
    ),
    counter(
        "streams_events_sent_to_attached_total",
        "Events sent once more to a node that a user came to while they were under way.",
    ),
    counter(
        "streams_events_stored_total",
        "Events written to this node's disk as a replica.",
    ),
    counter(
        "streams_events_without_room_total",
        "Events that this node did not store for want of disk space or since its store is \
         overloaded. Rising: others keep them, until they are full too.",
    ),
    counter(
        "streams_ids_adopted_total",
        "Appends that took over the smaller id of the same nonce: one message sent through \
         two nodes at once.",
    ),
    counter(
        "streams_messages_refused_total",
        "Frames of peers that are malformed or were not expected. A few late ones are normal; \
         many: a peer of another version, or a defect.",
    ),
    counter(
        "streams_nonce_lookups_total",
        "Messages whose nonce had to be looked up first, being no fresh first try. Rising: \
         many retries, or clients whose clocks are wrong.",
    ),
    counter(
        "streams_nonces_forgotten_total",
        "Nonces not remembered for want of room; retries of theirs cost a look-up. Rising: \
         overload.",
    ),
    counter(
        "streams_offers_dropped_total",
        "Events that were shown to clients, answered `unavailable`, and did not reach enough \
         disks later either, or for which there was no room to try. Above 0: others may have \
         seen a message that is not kept.",
    ),
    counter(
        "streams_read_answers_refused_total",
        "Answers of peers that were malformed, or not to what was asked. Above 0: a peer of \
         another version, or a defect of it.",
    ),
    counter(
        "streams_reads_incomplete_total",
        "Answers marked incomplete, since not all nodes that may hold something could be \
         asked. Rises while nodes are down.",
    ),
    counter(
        "streams_reads_refused_total",
        "Reads that a bound of this node refused, its own clients' and peers'. Rising: \
         overload.",
    ),
    counter(
        "streams_reads_timed_out_total",
        "Reads that ended by their deadline, with what had come by then. Rising: nodes that \
         hang, or slow disks.",
    ),
    counter(
        "streams_reads_total",
        "Reads of histories and lists begun for this node's clients, each of them asking all \
         storing nodes in reach.",
    ),
    counter(
        "streams_sent_forgotten_total",
        "Events forgotten for want of room while a node that a user comes to should still get \
         them; the client finds them with `resume`. Rising: overload.",
    ),
    counter(
        "streams_shown_forgotten_total",
        "Events shown to clients that were forgotten for want of room, so that a read may \
         miss them for a moment. Rising: overload.",
    ),
];
