//! Which session is which connection: a table with a slot per connection.
//!
//! A session's id is its slot's number below a number that is never used twice, so that finding it is
//! an index and an id of a session that is gone finds nothing.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use mesh::id::SessionId;

use super::conn::Conn;

/// All open sessions.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Option<Arc<Conn>>>,
    free: Vec<u32>,
    /// Sessions that ever were.
    opened: u32,
}

impl Registry {
    /// Makes a connection known under an id of its own.
    pub(crate) fn insert(&self, make: impl FnOnce(SessionId) -> Conn) -> Arc<Conn> {
        let mut table = self.write();
        table.opened = table.opened.wrapping_add(1);
        let slot = table.free.pop().unwrap_or(table.slots.len() as u32);
        let id = SessionId(u64::from(table.opened) << 32 | u64::from(slot));
        let conn = Arc::new(make(id));
        let entry = Some(conn.clone());
        match table.slots.get_mut(slot as usize) {
            Some(free) => *free = entry,
            None => table.slots.push(entry),
        }
        conn
    }

    /// Forgets a connection.
    pub(crate) fn remove(&self, id: SessionId) {
        let mut table = self.write();
        let slot = slot(id);
        if let Some(entry) = table.slots.get_mut(slot)
            && entry.as_ref().is_some_and(|conn| conn.id == id)
        {
            *entry = None;
            table.free.push(slot as u32);
        }
    }

    /// The connection of a session, where it is still open.
    pub(crate) fn get(&self, id: SessionId) -> Option<Arc<Conn>> {
        let table = self.read();
        let conn = table.slots.get(slot(id))?.as_ref()?;
        (conn.id == id).then(|| conn.clone())
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        let table = self.read();
        table.slots.len() - table.free.len()
    }

    /// The connections of up to `count` slots from `start` on; `None` behind the last slot.
    pub(crate) fn part(&self, start: usize, count: usize) -> Option<Vec<Arc<Conn>>> {
        let table = self.read();
        let part = table.slots.get(start..).filter(|part| !part.is_empty())?;
        Some(part.iter().take(count).flatten().cloned().collect())
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        // Nothing between lock and unlock leaves the table half changed.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn slot(id: SessionId) -> usize {
    (id.0 & u64::from(u32::MAX)) as usize
}
