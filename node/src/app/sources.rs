//! What comes to the machine, and how much of it at a time.
//!
//! Each source has its share of a batch, so that a flood from one does not keep out the others.

use std::sync::Arc;
use std::time::Duration;

use mesh::proto::Input;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;

use super::Failure;
use super::results::Results;
use crate::front::Ask;
use crate::history::Done;

/// Inputs that a batch has room for from peers, and as many again from clients.
const SHARE: usize = 512;

/// Questions of the HTTP side answered in one round: a page of metrics takes about a millisecond.
const ASKS: usize = 4;

/// What comes to the machine.
pub(super) struct Sources {
    pub(super) from_peers: Receiver<Input>,
    pub(super) from_clients: Receiver<Input>,
    pub(super) from_store: Arc<Results>,
    pub(super) asks: Receiver<Ask>,
    pub(super) signals: Signals,
}

/// What was gathered from the sources and is not worked off.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) inputs: Vec<Input>,
    pub(super) done: Vec<Done>,
    pub(super) asks: Vec<Ask>,
    pub(super) signals: u32,
}

impl Sources {
    /// Waits for the first thing to do or for the deadline, then takes what is there. Cancel safe.
    pub(super) async fn gather(&mut self, batch: &mut Batch, wait: Option<Duration>) {
        tokio::select! {
            Some(input) = self.from_peers.recv() => batch.inputs.push(input),
            Some(input) = self.from_clients.recv() => batch.inputs.push(input),
            () = self.from_store.wait() => {}
            Some(ask) = self.asks.recv() => batch.asks.push(ask),
            () = self.signals.next() => batch.signals += 1,
            () = sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {}
        }
        self.take(batch);
    }

    /// Nobody needs to wait any more for what is said here to be heard, but for signals.
    pub(super) fn into_signals(self) -> Signals {
        self.signals
    }

    fn take(&mut self, batch: &mut Batch) {
        take(&mut self.from_peers, &mut batch.inputs, SHARE);
        take(&mut self.from_clients, &mut batch.inputs, 2 * SHARE);
        self.from_store.take(&mut batch.done);
        while batch.asks.len() < ASKS
            && let Ok(ask) = self.asks.try_recv()
        {
            batch.asks.push(ask);
        }
    }
}

/// Moves what waits, until there are `most`.
fn take(from: &mut Receiver<Input>, into: &mut Vec<Input>, most: usize) {
    while into.len() < most {
        let Ok(item) = from.try_recv() else { return };
        into.push(item);
    }
}

/// A signal that stops the node: SIGTERM or SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure(format!("cannot wait for signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Cancel safe.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh::id::{LinkId, SessionId};
    use tokio::sync::mpsc::{self, Sender};

    use super::*;

    fn sources() -> (Sources, Sender<Input>, Sender<Input>) {
        let (to_peers, from_peers) = mpsc::channel(4 * SHARE);
        let (to_clients, from_clients) = mpsc::channel(4 * SHARE);
        let sources = Sources {
            from_peers,
            from_clients,
            from_store: Arc::new(Results::default()),
            asks: mpsc::channel(1).1,
            signals: Signals::listen().unwrap(),
        };
        (sources, to_peers, to_clients)
    }

    fn peers(number: u64) -> Input {
        Input::LinkDown {
            link: LinkId(number),
        }
    }

    fn clients(number: u64) -> Input {
        Input::Drained {
            session: SessionId(number),
        }
    }

    fn from_clients(batch: &Batch) -> usize {
        let is_clients = |input: &&Input| matches!(input, Input::Drained { .. });
        batch.inputs.iter().filter(is_clients).count()
    }

    #[tokio::test]
    async fn a_flood_from_peers_leaves_clients_their_share_and_the_other_way_round() {
        for flooded_by_peers in [true, false] {
            let (mut sources, to_peers, to_clients) = sources();
            let flood = 4 * SHARE as u64;
            let (many, one) = if flooded_by_peers {
                (flood, 1)
            } else {
                (1, flood)
            };
            (0..many).for_each(|i| to_peers.try_send(peers(i)).unwrap());
            (0..one).for_each(|i| to_clients.try_send(clients(i)).unwrap());
            let mut batch = Batch::default();
            sources.gather(&mut batch, None).await;
            assert!(batch.inputs.len() <= 2 * SHARE);
            let of_clients = from_clients(&batch);
            assert!(0 < of_clients && of_clients < batch.inputs.len());
        }
    }

    #[tokio::test]
    async fn nothing_to_do_ends_at_the_deadline() {
        let (mut sources, _to_peers, _to_clients) = sources();
        let mut batch = Batch::default();
        sources.gather(&mut batch, Some(Duration::ZERO)).await;
        assert!(batch.inputs.is_empty() && batch.done.is_empty() && batch.signals == 0);
    }
}
