//! What is going to happen, ordered by time and then by the order in which it was planned: the only
//! place where order is decided.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mesh::time::Instant;

/// An ordered agenda.
#[derive(Debug)]
pub struct Queue<T> {
    heap: BinaryHeap<Reverse<Planned<T>>>,
    sequence: u64,
}

#[derive(Debug)]
struct Planned<T> {
    at: Instant,
    sequence: u64,
    what: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            sequence: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Plans something; what is planned for one instant happens in the order planned.
    pub fn plan(&mut self, at: Instant, what: T) {
        self.sequence += 1;
        self.heap.push(Reverse(Planned {
            at,
            sequence: self.sequence,
            what,
        }));
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(planned)| planned.at)
    }

    /// Takes the next thing, where it happens at `until` or before.
    pub fn pop(&mut self, until: Instant) -> Option<(Instant, T)> {
        if self.next_at()? > until {
            return None;
        }
        self.heap
            .pop()
            .map(|Reverse(planned)| (planned.at, planned.what))
    }
}

impl<T> PartialEq for Planned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Planned<T> {}

impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Planned<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_by_time_and_then_in_the_order_planned() {
        let mut queue = Queue::default();
        queue.plan(Instant(2), 'c');
        queue.plan(Instant(1), 'a');
        queue.plan(Instant(1), 'b');
        let order: String = std::iter::from_fn(|| queue.pop(Instant(9)))
            .map(|(_, c)| c)
            .collect();
        assert_eq!(order, "abc");
    }

    #[test]
    fn what_is_planned_for_later_waits() {
        let mut queue = Queue::default();
        queue.plan(Instant(5), ());
        assert_eq!(queue.pop(Instant(4)), None);
        assert_eq!(queue.pop(Instant(5)), Some((Instant(5), ())));
    }
}
