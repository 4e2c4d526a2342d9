//! What the store has done, on its way from the store's threads to the machine's task.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::history::Done;

/// Results that wait. Bounded by what the store takes: each is the answer to something that it
/// accepted, and what it accepts is bounded.
#[derive(Debug, Default)]
pub(super) struct Results {
    waiting: Mutex<Vec<Done>>,
    filled: Notify,
}

impl Results {
    /// Adds results; never waits.
    pub(super) fn put(&self, mut done: Vec<Done>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.append(&mut done);
        drop(waiting);
        self.filled.notify_one();
    }

    /// Waits until something was put. Cancel safe.
    pub(super) async fn wait(&self) {
        self.filled.notified().await;
    }

    /// Moves all results to the end of `into`.
    pub(super) fn take(&self, into: &mut Vec<Done>) {
        into.append(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
