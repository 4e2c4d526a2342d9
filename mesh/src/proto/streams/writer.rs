//! What goes to this node's own store: one batch at a time, and meanwhile the next gathers. So there is
//! one answer per flush, and acknowledgements leave in as many frames as there are coordinators.

use std::collections::VecDeque;

use crate::event::SharedEvent;
use crate::id::{NodeId, StreamId};
use crate::proto::output::Ticket;
use crate::proto::streams::message::{self, AppendId};

/// The most events of one batch: as many as the journal writes in one record.
const BATCH_MAX: usize = 1_024;

/// The most bytes of one batch, but at least one event: as the journal's record.
const BATCH_BYTES: usize = 1024 * 1024;

/// The most events that wait for the store; above it the answer is that there is no room.
const WAITING_MAX: usize = 1 << 15;

/// The most bytes that wait for the store; above it the answer is that there is no room.
const WAITING_BYTES: usize = 32 * 1024 * 1024;

/// One event for the store, and whom to answer.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) event: SharedEvent,
    pub(super) stream: StreamId,
    pub(super) coordinator: NodeId,
    pub(super) append: AppendId,
}

/// The queue before the store.
#[derive(Debug, Default)]
pub(super) struct Writer {
    waiting: VecDeque<Write>,
    bytes: usize,
    under_way: Option<(Ticket, Vec<Write>)>,
}

impl Writer {
    /// Puts an event in the queue; false where it is full.
    pub(super) fn push(&mut self, write: Write) -> bool {
        let bytes = self.bytes + message::size(&write.event);
        let room = self.waiting.len() < WAITING_MAX && bytes <= WAITING_BYTES;
        if room {
            self.bytes = bytes;
            self.waiting.push_back(write);
        }
        room
    }

    /// The next batch, where the store is idle and something waits.
    pub(super) fn next(
        &mut self,
        ticket: impl FnOnce() -> Ticket,
    ) -> Option<(Ticket, Vec<SharedEvent>)> {
        if self.under_way.is_some() || self.waiting.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let mut count = 0;
        for write in self.waiting.iter().take(BATCH_MAX) {
            bytes += message::size(&write.event);
            if count > 0 && bytes > BATCH_BYTES {
                break;
            }
            count += 1;
        }
        let batch: Vec<_> = self.waiting.drain(..count).collect();
        let events: Vec<_> = batch.iter().map(|write| write.event.clone()).collect();
        self.bytes -= events
            .iter()
            .map(|event| message::size(event))
            .sum::<usize>();
        let ticket = ticket();
        self.under_way = Some((ticket, batch));
        Some((ticket, events))
    }

    /// The batch that the store is done with; `None` where it is not the one under way.
    pub(super) fn done(&mut self, ticket: Ticket) -> Option<Vec<Write>> {
        self.under_way
            .take_if(|(under_way, _)| *under_way == ticket)
            .map(|(_, batch)| batch)
    }

    /// Whether the store is writing.
    pub(super) fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::streams::samples::message_at;

    fn write(stamp: u64, json: &str) -> Write {
        let event = message_at(stamp, json);
        Write {
            stream: event.stream(),
            event,
            coordinator: NodeId([1; 32]),
            append: AppendId {
                number: stamp,
                round: 0,
            },
        }
    }

    #[test]
    fn what_comes_while_the_store_writes_is_the_next_batch() {
        let mut writer = Writer::default();
        assert!(writer.push(write(1, "1")));
        let (first, events) = writer.next(|| Ticket(1)).unwrap();
        assert_eq!(events.len(), 1);
        assert!(writer.push(write(2, "1")) && writer.push(write(3, "1")));
        assert!(writer.next(|| Ticket(2)).is_none());
        assert!(writer.done(Ticket(9)).is_none());
        assert_eq!(writer.done(first).unwrap().len(), 1);
        assert_eq!(writer.next(|| Ticket(2)).unwrap().1.len(), 2);
        assert_eq!(writer.bytes, 0);
    }

    #[test]
    fn a_batch_is_bounded_in_number_and_bytes_but_holds_an_event() {
        let mut writer = Writer::default();
        for i in 0..=BATCH_MAX as u64 {
            assert!(writer.push(write(i, "1")));
        }
        assert_eq!(writer.next(|| Ticket(1)).unwrap().1.len(), BATCH_MAX);
        let mut writer = Writer::default();
        let large = format!("\"{}\"", "x".repeat(BATCH_BYTES));
        assert!(writer.push(write(1, &large)) && writer.push(write(2, &large)));
        assert_eq!(writer.next(|| Ticket(1)).unwrap().1.len(), 1);
    }

    #[test]
    fn what_waits_for_the_store_is_bounded() {
        let mut writer = Writer::default();
        for i in 0..WAITING_MAX as u64 {
            assert!(writer.push(write(i, "1")));
        }
        assert!(!writer.push(write(0, "1")));
        let mut writer = Writer::default();
        let large = format!("\"{}\"", "x".repeat(WAITING_BYTES / 2));
        assert!(writer.push(write(1, &large)));
        assert!(!writer.push(write(2, &large)));
    }
}
