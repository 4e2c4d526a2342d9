//! What was delivered to this node lately: so that an event is shown once, and so that what sessions
//! have seen is part of every answer they get, though no replica has it yet.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::event::SharedEvent;
use crate::id::{EventId, StreamId};
use crate::proto::streams::message;
use crate::store::Range;
use crate::time::Instant;

/// How long a delivery is remembered: longer than any append is under way.
const REMEMBERED: Duration = Duration::from_secs(120);

/// The most deliveries remembered; above it the oldest is forgotten.
const SHOWN_MAX: usize = 1 << 16;

/// The most bytes of deliveries remembered; above it the oldest is forgotten.
const SHOWN_BYTES: usize = 32 * 1024 * 1024;

/// How many old deliveries one call forgets: more than it can add, and a small part of a step.
const EXPIRED_AT_ONCE: usize = 64;

/// The recent deliveries of this node.
#[derive(Debug, Default)]
pub(super) struct Shown {
    events: BTreeMap<(StreamId, EventId), SharedEvent>,
    order: VecDeque<(Instant, StreamId, EventId)>,
    bytes: usize,
    /// Deliveries forgotten before their time, for want of room.
    pub(super) forgotten: u64,
}

impl Shown {
    /// Notes a delivery; whether it is the first of this id.
    pub(super) fn insert(&mut self, at: Instant, stream: StreamId, event: &SharedEvent) -> bool {
        self.expire(at);
        let key = (stream, event.id);
        if self.events.contains_key(&key) {
            return false;
        }
        self.bytes += message::size(event);
        self.events.insert(key, event.clone());
        self.order.push_back((at, stream, event.id));
        while self.events.len() > SHOWN_MAX || self.bytes > SHOWN_BYTES {
            self.forgotten += 1;
            self.pop();
        }
        true
    }

    /// Forgets what is old, a slice of it.
    pub(super) fn expire(&mut self, at: Instant) {
        for _ in 0..EXPIRED_AT_ONCE {
            match self.order.front() {
                Some((since, ..)) if at.since(*since) > REMEMBERED => self.pop(),
                Some(_) | None => return,
            }
        }
    }

    /// What was delivered of a range, in rising order; both ends exclusive, limits ignored.
    pub(super) fn range(&self, range: &Range) -> impl DoubleEndedIterator<Item = &SharedEvent> {
        // The tree panics where the end is below the start, and such a range comes from clients.
        let end = range.before.max(range.after);
        self.events
            .range((range.stream, range.after)..(range.stream, end))
            .map(|(_, event)| event)
            .filter(|event| event.id > range.after)
    }

    fn pop(&mut self) {
        if let Some((_, stream, id)) = self.order.pop_front()
            && let Some(event) = self.events.remove(&(stream, id))
        {
            self.bytes -= message::size(&event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::streams::samples::{all_of, message_at};

    #[test]
    fn an_event_is_shown_once_within_two_minutes() {
        let mut shown = Shown::default();
        let event = message_at(1, "1");
        let stream = event.stream();
        assert!(shown.insert(Instant(0), stream, &event));
        assert!(!shown.insert(Instant(1), stream, &event));
        assert!(shown.insert(Instant(1) + REMEMBERED, stream, &event));
        assert_eq!(shown.events.len(), shown.order.len());
    }

    #[test]
    fn a_range_of_what_was_shown_excludes_both_ends() {
        let mut shown = Shown::default();
        let events: Vec<_> = (1..=4).map(|i| message_at(i, "1")).collect();
        let stream = events[0].stream();
        for event in &events {
            shown.insert(Instant(0), stream, event);
        }
        let mut range = all_of(stream);
        range.after = events[0].id;
        range.before = events[3].id;
        let found: Vec<_> = shown.range(&range).cloned().collect();
        assert_eq!(found, events[1..3]);
        (range.after, range.before) = (range.before, range.after);
        assert_eq!(shown.range(&range).count(), 0);
    }

    #[test]
    fn what_was_shown_is_bounded_by_forgetting_the_oldest() {
        let mut shown = Shown::default();
        let first = message_at(0, "1");
        let stream = first.stream();
        shown.insert(Instant(0), stream, &first);
        for i in 1..=SHOWN_MAX as u64 {
            shown.insert(Instant(0), stream, &message_at(i, "1"));
        }
        assert_eq!((shown.events.len(), shown.forgotten), (SHOWN_MAX, 1));
        assert!(shown.insert(Instant(0), stream, &first));
    }
}
