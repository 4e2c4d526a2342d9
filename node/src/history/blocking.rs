//! The store as a plain [`Store`]: each call returns when it is done. For tests and tools; the node
//! uses [`History`] itself.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use mesh::event::SharedEvent;
use mesh::id::{NodeId, StreamId};
use mesh::proto::output::Ticket;
use mesh::store::{Answer, Outcome, Query, Store, StoreError};
use mesh::time::Stamp;

use super::{Config, Done, History, OpenError};

/// Reports that wait at most: one question or append is under way at a time, and the rest is about
/// free space.
const REPORTS_MAX: usize = 64;

/// How long a call waits before it asks whether the store has failed.
const FAILURE_SEEN_AFTER: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Blocking {
    history: History,
    reports: Receiver<Vec<Done>>,
}

impl Blocking {
    /// Opens the store of a node, see [`History::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(config: Config, owner: NodeId) -> Result<Self, OpenError> {
        let (sender, reports): (SyncSender<Vec<Done>>, _) = sync_channel(REPORTS_MAX);
        let report = move |done| {
            // Nobody listens any more once the store is being dropped.
            let _ = sender.try_send(done);
        };
        let history = History::open(config, owner, Box::new(report))?;
        Ok(Self { history, reports })
    }

    /// The store behind it.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Folds and flushes everything, see [`History::close`].
    ///
    /// # Errors
    /// As there.
    pub fn close(self) -> Result<(), StoreError> {
        self.history.close()
    }

    fn next_reports(&self) -> Result<Vec<Done>, StoreError> {
        loop {
            match self.reports.recv_timeout(FAILURE_SEEN_AFTER) {
                Ok(reports) => return Ok(reports),
                // A failure is said once, and may have been said to an earlier call.
                Err(_) if self.history.shared.has_failed() => {
                    return Err(StoreError("the history has failed before".to_owned()));
                }
                Err(_) => {}
            }
        }
    }

    fn wait(&self) -> Result<Done, StoreError> {
        loop {
            for done in self.next_reports()? {
                match done {
                    Done::Failed(error) => return Err(error),
                    Done::Room(_) => {}
                    done @ (Done::Appended { .. } | Done::Loaded { .. }) => return Ok(done),
                }
            }
        }
    }
}

impl Store for Blocking {
    fn append(&mut self, events: &[SharedEvent]) -> Result<Vec<Outcome>, StoreError> {
        self.history.append(Ticket(0), events.to_vec());
        let done = self.wait()?;
        if let Done::Appended { outcomes, .. } = done {
            Ok(outcomes)
        } else {
            Err(StoreError(format!("an append is answered by {done:?}")))
        }
    }

    fn list(&mut self, stream: StreamId) -> Result<(), StoreError> {
        self.history.list(stream);
        Ok(())
    }

    fn load(&mut self, query: &Query) -> Result<Answer, StoreError> {
        let taken = self.history.load(Ticket(0), query.clone());
        taken.map_err(|e| StoreError(e.to_string()))?;
        let done = self.wait()?;
        if let Done::Loaded { answer, .. } = done {
            Ok(answer)
        } else {
            Err(StoreError(format!("a question is answered by {done:?}")))
        }
    }

    fn newest(&self) -> Stamp {
        self.history.newest()
    }
}
