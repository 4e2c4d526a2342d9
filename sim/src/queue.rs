//! What is going to happen, ordered by time and then by the order in which it was planned: the only
//! place where order is decided.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mesh::time::Instant;

/// An ordered agenda.
#[derive(Debug)]
pub struct Queue<T> {
    /// When, in which order planned, and where in `things`: small, since a heap moves its items about.
    heap: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    things: Vec<Option<T>>,
    free: Vec<usize>,
    sequence: u64,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            things: Vec::new(),
            free: Vec::new(),
            sequence: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Plans something; what is planned for one instant happens in the order planned.
    pub fn plan(&mut self, at: Instant, what: T) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.things.push(None);
            self.things.len() - 1
        });
        self.things[place] = Some(what);
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, place)));
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next thing, where it happens at `until` or before.
    pub fn pop(&mut self, until: Instant) -> Option<(Instant, T)> {
        if self.next_at()? > until {
            return None;
        }
        let Reverse((at, _, place)) = self.heap.pop()?;
        self.free.push(place);
        let what = self.things[place].take().expect("planned there");
        Some((at, what))
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
