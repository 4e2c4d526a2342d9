//! All links of this node: what they have in common, and the table through which frames go out.
//!
//! Whoever sends holds the table's lock while a frame is encoded into its outbox; those who write
//! take only the lock of their outbox.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, mpsc};

use super::Limits;
use super::counters::Counters;
use super::keys::Keys;
use super::outbox::{Outbox, Put};
use crate::id::{LinkId, NodeId};
use crate::proto::Input;
use crate::wire::{Envelope, Lane};

/// What all links of this node share.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) node: NodeId,
    pub(crate) mesh_name: String,
    pub(crate) keys: Keys,
    pub(crate) limits: Limits,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) counters: Counters,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    open: BTreeMap<LinkId, Arc<Link>>,
    /// The number of the last link.
    last: u64,
    /// Lanes with frames whose writer has not been woken yet; at most three for each link.
    unflushed: Vec<(Arc<Link>, Lane)>,
}

/// An admitted connection, as those see it who send on it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) outboxes: [Outbox; 3],
    /// Told once, when the outboxes are closed.
    pub(crate) hung_up: Notify,
}

impl Links {
    pub(crate) fn new(
        node: NodeId,
        mesh_name: String,
        keys: Keys,
        limits: Limits,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        Self {
            node,
            mesh_name,
            keys,
            limits,
            inputs,
            counters: Counters::default(),
            table: Mutex::default(),
        }
    }

    /// Puts a frame in its lane's outbox, or drops and counts it.
    pub(crate) fn send(&self, link: LinkId, envelope: &Envelope) {
        let lane = envelope.frame.lane();
        let mut table = self.table();
        let Table {
            open, unflushed, ..
        } = &mut *table;
        let Some(link) = open.get(&link) else {
            self.counters.linkless.one();
            return;
        };
        let put = link.outboxes[lane as usize].put(envelope);
        match put {
            Put::Unflushed => unflushed.push((Arc::clone(link), lane)),
            Put::Waiting => {}
            Put::Full => self.counters.dropped.of(lane).one(),
            Put::TooLong => self.counters.unsendable.one(),
            Put::Closed => self.counters.linkless.one(),
        }
        if matches!(put, Put::Unflushed | Put::Waiting) {
            self.counters.sent.of(lane).one();
        }
    }

    /// Wakes everybody who has something to write.
    pub(crate) fn flush(&self) {
        for (link, lane) in self.table().unflushed.drain(..) {
            link.outboxes[lane as usize].flush();
        }
    }

    /// Closes a link once what waits is written.
    pub(crate) fn hang_up(&self, link: LinkId) {
        if let Some(link) = self.table().open.get(&link) {
            link.hang_up();
        }
    }

    /// Closes all links.
    pub(crate) fn hang_up_all(&self) {
        for link in self.table().open.values() {
            link.hang_up();
        }
    }

    /// Sends bytes that need not be a frame.
    #[cfg(test)]
    pub(crate) fn send_raw(&self, link: LinkId, lane: Lane, bytes: &[u8]) {
        self.table().open[&link].outboxes[lane as usize].put_raw(bytes);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nobody panics while holding it")
    }
}

impl Link {
    fn new(limits: &Limits) -> Self {
        Self {
            outboxes: Lane::ALL.map(|lane| Outbox::new(limits.outbox(lane))),
            hung_up: Notify::new(),
        }
    }

    fn hang_up(&self) {
        for outbox in &self.outboxes {
            outbox.close();
        }
        self.hung_up.notify_one();
    }
}

/// The place of a link in the table; gives it up when dropped.
pub(crate) struct Registered {
    links: Arc<Links>,
    pub(crate) id: LinkId,
    pub(crate) link: Arc<Link>,
}

impl Registered {
    pub(crate) fn new(links: Arc<Links>) -> Self {
        let link = Arc::new(Link::new(&links.limits));
        let id = {
            let mut table = links.table();
            table.last += 1;
            let id = LinkId(table.last);
            table.open.insert(id, Arc::clone(&link));
            id
        };
        Self { links, id, link }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.links.table().open.remove(&self.id);
    }
}
