//! What a client holds: which messages it has, for dedup and for `resume`.
//!
//! Only ids and names are kept, not messages. A conversation is held from the first message seen of
//! it on; of a long one the newest [`WINDOW`] ids.

use std::collections::{BTreeMap, BTreeSet};

use mesh::command::limits;
use mesh::id::{EventId, Nonce};
use serde_json::{Value, json};

use super::Windows;
use super::lines::{Message, Resumed};

/// Ids held of one conversation: what a resume window may describe.
pub(super) const WINDOW: usize = limits::WINDOW as usize;

/// Conversations held; of more the one whose newest message is oldest is forgotten.
pub(super) const CONVERSATIONS: usize = 500;

/// What a client holds of all conversations.
#[derive(Debug, Default)]
pub(super) struct Held {
    conversations: BTreeMap<String, Window>,
    resuming: bool,
}

#[derive(Debug, Default)]
struct Window {
    /// Rising, at most [`WINDOW`].
    ids: BTreeSet<EventId>,
    /// The message of each nonce, and its body for comparison.
    names: BTreeMap<(String, Nonce), (EventId, Value)>,
    /// Nothing at or below it, and above the lowest id held, is known to be missing.
    upto: Option<EventId>,
    /// Ids that came since the latest `hello`.
    got: BTreeSet<EventId>,
    /// A page of history is awaited: `upto` waits too.
    filling: bool,
}

impl Held {
    /// Takes a message. False where it, or a twin of it with a smaller id, was held already.
    pub(super) fn insert(&mut self, message: &Message) -> bool {
        let window = self
            .conversations
            .entry(message.within.clone())
            .or_default();
        let fresh = window.insert(message, self.resuming);
        self.forget_oldest();
        fresh
    }

    /// The windows for `hello`, and the beginning of what answers them.
    pub(super) fn begin_resume(&mut self) -> Windows {
        self.resuming = true;
        for window in self.conversations.values_mut() {
            window.got.clear();
            window.filling = false;
        }
        let held = self.conversations.iter();
        held.filter_map(|(of, window)| Some((of.clone(), window.describe()?)))
            .collect()
    }

    /// The answer is there. The conversations of which more is left, and from where to read on.
    pub(super) fn end_resume(&mut self, resumed: &Resumed) -> Vec<(String, EventId)> {
        self.resuming = false;
        let mut open = Vec::new();
        for (of, window) in &mut self.conversations {
            let part = resumed.within.get(of);
            let more = part.is_some_and(|part| part.more);
            if part.is_some_and(|part| part.count.is_some()) && !more && resumed.complete {
                window.prune();
            }
            if more || !resumed.complete {
                window.filling = true;
                open.push((of.clone(), window.read_on_from(more && resumed.complete)));
            } else {
                window.settle();
            }
            window.got.clear();
        }
        open
    }

    /// Whether a conversation waits for a page of history.
    pub(super) fn filling(&self, of: &str) -> bool {
        self.conversations
            .get(of)
            .is_some_and(|window| window.filling)
    }

    /// History was read to its end.
    pub(super) fn filled(&mut self, of: &str) {
        if let Some(window) = self.conversations.get_mut(of) {
            window.filling = false;
            window.settle();
        }
    }

    /// The connection of a resume is gone.
    pub(super) fn interrupt(&mut self) {
        self.resuming = false;
    }

    fn forget_oldest(&mut self) {
        if self.conversations.len() <= CONVERSATIONS {
            return;
        }
        let newest = |(_, window): &(&String, &Window)| window.ids.last().copied();
        let oldest = self.conversations.iter().min_by_key(newest);
        if let Some(of) = oldest.map(|(of, _)| of.clone()) {
            self.conversations.remove(&of);
        }
    }
}

impl Window {
    fn insert(&mut self, message: &Message, resuming: bool) -> bool {
        let id = message.id;
        if resuming {
            self.got.insert(id);
        }
        if self.ids.contains(&id) {
            return false;
        }
        let name = (message.from.clone(), message.nonce);
        let twin = self
            .names
            .get(&name)
            .filter(|(_, body)| *body == message.body);
        let twin = twin.map(|(id, _)| *id);
        if twin.is_some_and(|twin| twin < id) {
            return false;
        }
        if let Some(larger) = twin {
            self.ids.remove(&larger);
        }
        self.ids.insert(id);
        self.names.insert(name, (id, message.body.clone()));
        self.shrink();
        if !resuming && !self.filling {
            self.settle();
        }
        twin.is_none()
    }

    fn shrink(&mut self) {
        while self.ids.len() > WINDOW {
            self.ids.pop_first();
        }
        let lowest = self.ids.first().copied();
        if self.names.len() > 2 * WINDOW {
            self.names.retain(|_, (id, _)| Some(*id) >= lowest);
        }
    }

    fn settle(&mut self) {
        self.upto = self.ids.last().copied().max(self.upto);
    }

    /// Drops the ids of the window that were not sent again.
    fn prune(&mut self) {
        let (got, upto) = (std::mem::take(&mut self.got), self.upto);
        self.ids.retain(|id| got.contains(id) || Some(*id) > upto);
    }

    /// After the last event sent where only newer ones are left, else two minutes before what is
    /// complete: ids of several nodes may come in either order for so long.
    fn read_on_from(&self, only_newer: bool) -> EventId {
        const OVERLAP_MS: u64 = 120_000;
        let last_sent = self.got.last().copied().filter(|_| only_newer);
        let before = || {
            let upto = self.upto.unwrap_or(EventId::MIN);
            let ms = upto.stamp.unix_ms().saturating_sub(OVERLAP_MS);
            EventId {
                stamp: mesh::time::Stamp::from_unix_ms(ms),
                origin: 0,
            }
        };
        last_sent.unwrap_or_else(before)
    }

    fn describe(&self) -> Option<Value> {
        let upto = self.upto?;
        let ids = self.ids.range(..=upto);
        let Some(lowest) = ids.clone().next() else {
            return Some(json!({"upto": upto.to_string()}));
        };
        let after = EventId::from_u128(lowest.to_u128().saturating_sub(1));
        let digest = ids.clone().fold(0, |digest, id| digest ^ id.mix());
        Some(json!({
            "after": after.to_string(),
            "upto": upto.to_string(),
            "count": ids.count(),
            "digest": format!("{digest:016x}"),
        }))
    }
}

#[cfg(test)]
mod tests;
