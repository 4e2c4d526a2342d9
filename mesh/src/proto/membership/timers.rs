//! The deadlines of this layer: one ordered set, of which only the earliest leaves the machine.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{LinkId, NodeId};
use crate::proto::output::DialId;
use crate::time::Instant;

use super::dial::Whom;

/// What is due. Deadlines that every frame moves (heartbeat, silence) are not moved with it: they fire,
/// see that there is nothing to do yet, and are set anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A frame came over a link held for silent, or through a helper: the peer lives after all.
    Resumed(NodeId),
    /// A link on which nothing was sent for an interval sends a heartbeat.
    Heartbeat(LinkId),
    /// A link that is silent for too long is probed.
    Silence(LinkId),
    /// A greeting is said again, or given up.
    Greeting(LinkId),
    /// A link that is not needed any more is hung up, now that what was under way has arrived.
    Linger(LinkId),
    /// A member without a link is probed through others.
    Check(NodeId),
    /// A probe had its time.
    Probe(u64),
    /// A suspicion was not refuted: down.
    Suspicion(NodeId),
    /// A member has been down for so long that its slots no longer wait for it, or that it is forgotten.
    Down(NodeId),
    /// Somebody is dialled.
    Dial(Whom),
    /// The driver has not said what became of a dial.
    DialTimeout(DialId),
    /// Members learned since the last time are told to the others.
    Gossip,
    /// The member list is written down.
    Keep,
}

/// A timer per [`Timer`] at most: set, cancel, next.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// The same pairs as in `at`, by time.
    queue: BTreeSet<(Instant, Timer)>,
    at: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets a timer, or moves it.
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        if let Some(old) = self.at.insert(timer, at) {
            self.queue.remove(&(old, timer));
        }
        self.queue.insert((at, timer));
    }

    /// Sets a timer, unless it fires before that anyway.
    pub(super) fn set_earlier(&mut self, timer: Timer, at: Instant) {
        if self.at.get(&timer).is_none_or(|old| at < *old) {
            self.set(timer, at);
        }
    }

    /// It does not fire.
    pub(super) fn cancel(&mut self, timer: Timer) {
        if let Some(old) = self.at.remove(&timer) {
            self.queue.remove(&(old, timer));
        }
    }

    /// Whether it is going to fire.
    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    /// When the first one fires.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first one that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.queue.first()?;
        if now < at {
            return None;
        }
        self.queue.pop_first();
        self.at.remove(&timer);
        Some(timer)
    }
}
