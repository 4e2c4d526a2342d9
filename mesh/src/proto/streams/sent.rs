//! What this node coordinated in the last two seconds, by the users concerned: a node that attaches one
//! of them while the event is under way is sent it then.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::event::SharedEvent;
use crate::id::{NodeId, RouteKey};
use crate::proto::streams::message;
use crate::time::Instant;

/// How long an append is kept for nodes that attach: many times what a delta of routes takes.
const KEPT: Duration = Duration::from_secs(2);

/// The most appends kept; above it the oldest goes.
const SENT_MAX: usize = 1 << 15;

/// The most bytes of appends kept; above it the oldest goes.
const SENT_BYTES: usize = 16 * 1024 * 1024;

/// How many old appends one call forgets: more than it can add, and a small part of a step.
const EXPIRED_AT_ONCE: usize = 64;

/// The users whose nodes an event is for: one or two.
pub(super) type Keys = [Option<RouteKey>; 2];

#[derive(Debug)]
struct Item {
    at: Instant,
    keys: Keys,
    event: SharedEvent,
    nodes: Vec<NodeId>,
}

/// The recent appends of this coordinator.
#[derive(Debug, Default)]
pub(super) struct Sent {
    items: VecDeque<Item>,
    /// The number of the first item.
    first: u64,
    by_key: BTreeSet<(RouteKey, u64)>,
    bytes: usize,
    /// Appends that went before their time, for want of room.
    pub(super) forgotten: u64,
}

impl Sent {
    /// Notes an append and the nodes that it went to.
    pub(super) fn insert(
        &mut self,
        at: Instant,
        keys: Keys,
        event: SharedEvent,
        nodes: Vec<NodeId>,
    ) {
        self.expire(at);
        let number = self.first + self.items.len() as u64;
        self.by_key
            .extend(keys.iter().flatten().map(|&key| (key, number)));
        self.bytes += message::size(&event);
        self.items.push_back(Item {
            at,
            keys,
            event,
            nodes,
        });
        while self.items.len() > SENT_MAX || self.bytes > SENT_BYTES {
            self.forgotten += 1;
            self.pop();
        }
    }

    /// What a node that attached these users has not been sent, each event once.
    pub(super) fn attached(
        &mut self,
        at: Instant,
        node: NodeId,
        keys: &[RouteKey],
    ) -> Vec<SharedEvent> {
        self.expire(at);
        if self.items.is_empty() {
            return Vec::new();
        }
        let numbers: BTreeSet<u64> = keys
            .iter()
            .flat_map(|&key| self.by_key.range((key, 0)..=(key, u64::MAX)))
            .map(|&(_, number)| number)
            .collect();
        let mut missed = Vec::new();
        for number in numbers {
            let index = usize::try_from(number - self.first).expect("kept items fit in memory");
            let item = &mut self.items[index];
            let recent = at.since(item.at) <= KEPT;
            if recent && !item.nodes.contains(&node) {
                item.nodes.push(node);
                missed.push(item.event.clone());
            }
        }
        missed
    }

    /// Forgets what is old, a slice of it.
    pub(super) fn expire(&mut self, at: Instant) {
        for _ in 0..EXPIRED_AT_ONCE {
            match self.items.front() {
                Some(item) if at.since(item.at) > KEPT => self.pop(),
                Some(_) | None => return,
            }
        }
    }

    fn pop(&mut self) {
        let Some(item) = self.items.pop_front() else {
            return;
        };
        for key in item.keys.into_iter().flatten() {
            self.by_key.remove(&(key, self.first));
        }
        self.bytes -= message::size(&item.event);
        self.first += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::streams::samples::message_at;

    const A: RouteKey = RouteKey(1);
    const B: RouteKey = RouteKey(2);
    const NODE: NodeId = NodeId([1; 32]);
    const OTHER: NodeId = NodeId([2; 32]);

    #[test]
    fn a_node_that_attaches_a_user_gets_what_it_was_not_sent_once() {
        let mut sent = Sent::default();
        let event = message_at(1, "1");
        sent.insert(Instant(0), [Some(A), Some(B)], event.clone(), vec![NODE]);
        assert!(sent.attached(Instant(0), NODE, &[A]).is_empty());
        assert!(sent.attached(Instant(0), OTHER, &[RouteKey(3)]).is_empty());
        assert_eq!(sent.attached(Instant(0), OTHER, &[B, A]), [event]);
        assert!(sent.attached(Instant(0), OTHER, &[A]).is_empty());
    }

    #[test]
    fn what_is_older_than_two_seconds_is_no_longer_sent() {
        let mut sent = Sent::default();
        sent.insert(Instant(0), [Some(A), None], message_at(1, "1"), Vec::new());
        let late = Instant(1) + KEPT;
        assert!(sent.attached(late, NODE, &[A]).is_empty());
        assert!(sent.by_key.is_empty() && sent.bytes == 0);
    }

    #[test]
    fn what_was_sent_is_bounded_by_forgetting_the_oldest() {
        let mut sent = Sent::default();
        for i in 0..=SENT_MAX as u64 {
            sent.insert(Instant(0), [Some(A), None], message_at(i, "1"), Vec::new());
        }
        assert_eq!((sent.items.len(), sent.forgotten), (SENT_MAX, 1));
        assert_eq!(sent.attached(Instant(0), NODE, &[A]).len(), SENT_MAX);
    }
}
