//! How long what is said to a client becomes as text, so that no frame is longer than clients allow.
//!
//! Upper bounds, without encoding anything: names and ids need no escapes, and a body is given back
//! as it came.

use crate::command::{Listed, limits};
use crate::event::{Event, EventKind};
use crate::id::Address;

/// What is around the list in a reply, bytes: id, `more`, `complete`, generously.
const AROUND: usize = 1_024;

/// Bytes of entries that a reply may hold.
pub(super) const REPLY_BYTES: usize = limits::NODE_FRAME - AROUND;

/// What a query for a page asks for: the store counts events in its own form, and the rest is cut
/// off by [`event`].
pub(super) const PAGE_BYTES: u32 = 192 * 1024;

/// All field names, quotes and ids of one message with its comma, bytes.
const MESSAGE: usize = 192;

/// All field names, quotes, numbers and ids of one listed conversation but its last message, bytes.
const LISTED: usize = 112;

/// Bytes of an event as a message, or 0 where clients are shown nothing of the sort.
pub(super) fn event(event: &Event, within: &Address) -> usize {
    match &event.kind {
        EventKind::Message { body, .. } => {
            MESSAGE + within.as_str().len() + event.author.as_str().len() + body.as_str().len()
        }
        EventKind::Contact { .. } | EventKind::Read { .. } => 0,
    }
}

/// Whether clients see this event in a conversation.
pub(super) fn is_shown(event: &Event) -> bool {
    match event.kind {
        EventKind::Message { .. } => true,
        EventKind::Contact { .. } | EventKind::Read { .. } => false,
    }
}

/// Bytes of one listed conversation.
pub(super) fn listed(listed: &Listed) -> usize {
    LISTED + listed.of.as_str().len() + event(&listed.last, &listed.of)
}
