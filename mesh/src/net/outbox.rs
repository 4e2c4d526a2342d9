//! What waits to be written on one lane of one link.
//!
//! Frames are encoded when they are put in, so the bound is in true bytes, nothing is copied twice,
//! and whoever writes takes all that waits in one swap.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::wire::{self, Envelope};

/// How many bytes go into one write: one Yamux frame; more gains nothing.
pub(crate) const BATCH: usize = 16 * 1024;

/// A buffer that grew beyond this is given back to the system once it is empty, bytes.
pub(crate) const KEPT: usize = 64 * 1024;

/// A bounded queue of encoded frames with one reader.
#[derive(Debug)]
pub(crate) struct Outbox {
    bound: usize,
    waiting: Mutex<Waiting>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The caller was asked to flush and has not done so yet.
    unflushed: bool,
    closed: bool,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It waits, and the caller is to flush when it has put in all. Asked for once until then.
    Unflushed,
    /// It waits with others.
    Waiting,
    /// There was no room.
    Full,
    /// It is longer than any frame may be.
    TooLong,
    /// The link is closing.
    Closed,
}

impl Outbox {
    /// An empty one. It takes frames while it holds less than `bound` bytes, so it may run over by
    /// one frame.
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            bound,
            waiting: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// Encodes a frame at the end. Never waits.
    pub(crate) fn put(&self, envelope: &Envelope) -> Put {
        let mut waiting = self.lock();
        let before = waiting.bytes.len();
        if waiting.closed {
            return Put::Closed;
        }
        if before >= self.bound {
            return Put::Full;
        }
        if !wire::encode(envelope, &mut waiting.bytes) {
            return Put::TooLong;
        }
        if before < BATCH && waiting.bytes.len() >= BATCH {
            // A full write's worth need not wait for the rest of the caller's round.
            self.wake.notify_one();
        }
        if before == 0 && !waiting.unflushed {
            waiting.unflushed = true;
            Put::Unflushed
        } else {
            Put::Waiting
        }
    }

    /// Wakes the reader.
    pub(crate) fn flush(&self) {
        self.lock().unflushed = false;
        self.wake.notify_one();
    }

    /// Takes no more frames; the reader gets what waits, then the end.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Waits until there is something and swaps it with `batch`, which must be empty. False: closed
    /// and empty. Cancellation loses nothing.
    pub(crate) async fn take(&self, batch: &mut Vec<u8>) -> bool {
        debug_assert!(batch.is_empty(), "what is in the batch would be mixed up");
        loop {
            {
                let mut waiting = self.lock();
                if !waiting.bytes.is_empty() {
                    std::mem::swap(&mut waiting.bytes, batch);
                    return true;
                }
                if waiting.closed {
                    return false;
                }
            }
            self.wake.notified().await;
        }
    }

    /// Puts in bytes that need not be a frame.
    #[cfg(test)]
    pub(crate) fn put_raw(&self, bytes: &[u8]) {
        self.lock().bytes.extend_from_slice(bytes);
        self.flush();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nobody panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tests::frame;
    use crate::wire::Lane;

    fn taken(outbox: &Outbox) -> Vec<u8> {
        std::mem::take(&mut outbox.lock().bytes)
    }

    #[test]
    fn a_flush_is_asked_for_once_until_it_comes() {
        let outbox = Outbox::new(1024);
        assert_eq!(outbox.put(&frame(Lane::Data, 1)), Put::Unflushed);
        assert_eq!(outbox.put(&frame(Lane::Data, 2)), Put::Waiting);
        taken(&outbox);
        assert_eq!(outbox.put(&frame(Lane::Data, 3)), Put::Waiting);
        taken(&outbox);
        outbox.flush();
        assert_eq!(outbox.put(&frame(Lane::Data, 4)), Put::Unflushed);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_what_waits_stays() {
        let outbox = Outbox::new(1);
        assert_eq!(outbox.put(&frame(Lane::Data, 1)), Put::Unflushed);
        assert_eq!(outbox.put(&frame(Lane::Data, 2)), Put::Full);
        let bytes = taken(&outbox);
        let (envelope, length) = wire::decode(&bytes).unwrap().unwrap();
        assert_eq!((envelope, length), (frame(Lane::Data, 1), bytes.len()));
    }

    #[tokio::test]
    async fn a_closed_outbox_gives_what_waits_and_then_the_end() {
        let outbox = Outbox::new(1024);
        outbox.put(&frame(Lane::Bulk, 1));
        outbox.close();
        assert_eq!(outbox.put(&frame(Lane::Bulk, 2)), Put::Closed);
        let mut batch = Vec::new();
        assert!(outbox.take(&mut batch).await);
        assert!(!batch.is_empty());
        batch.clear();
        assert!(!outbox.take(&mut batch).await);
    }
}
