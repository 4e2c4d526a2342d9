//! A bounded queue from many threads to one or a few: what is over the bound is given back.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// See the module. Each item has a weight, and the bound is on their sum.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    bound: usize,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(usize, T)>,
    weight: usize,
    closed: bool,
}

/// What [`Queue::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Something, or nothing within the time given.
    Open,
    /// Closed, and nothing is left.
    Closed,
}

impl<T> Queue<T> {
    pub(super) fn new(bound: usize) -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                weight: 0,
                closed: false,
            }),
            filled: Condvar::new(),
            bound,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item at the end, or gives it back where the bound is reached or the queue closed. An
    /// empty queue takes an item of any weight.
    pub(super) fn push(&self, item: T, weight: usize) -> Result<(), T> {
        let mut state = self.lock();
        let over = state.weight > 0 && state.weight.saturating_add(weight) > self.bound;
        if over || state.closed {
            return Err(item);
        }
        state.weight += weight;
        state.items.push_back((weight, item));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Adds an item at the front, whatever the bound: for what the store itself waits for, which is
    /// bounded by what it has taken in.
    pub(super) fn push_first(&self, item: T) {
        self.lock().items.push_front((0, item));
        self.filled.notify_one();
    }

    /// Moves all items to the end of `into`, waiting for the first where there are none.
    pub(super) fn take(&self, into: &mut VecDeque<T>, wait: Duration) -> Taken {
        let state = self.lock();
        let (mut state, _) = self
            .filled
            .wait_timeout_while(state, wait, |state| state.items.is_empty() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        if state.items.is_empty() && state.closed {
            return Taken::Closed;
        }
        state.weight = 0;
        into.extend(state.items.drain(..).map(|(_, item)| item));
        Taken::Open
    }

    /// Takes the first item, waiting for one; `None` once the queue is closed and empty.
    pub(super) fn take_first(&self) -> Option<T> {
        let state = self.lock();
        let mut state = self
            .filled
            .wait_while(state, |state| state.items.is_empty() && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let (weight, item) = state.items.pop_front()?;
        state.weight -= weight;
        Some(item)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().items.is_empty()
    }

    /// Takes nothing more from outside; what is there is still given out.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_bound_is_given_back() {
        let queue = Queue::new(10);
        assert_eq!(
            queue.push('a', 100),
            Ok(()),
            "an empty queue takes anything"
        );
        assert_eq!(queue.push('b', 1), Err('b'));
        assert_eq!(queue.take_first(), Some('a'));
        assert_eq!(queue.push('c', 10), Ok(()));
    }

    #[test]
    fn a_closed_queue_gives_out_what_is_left() {
        let queue = Queue::new(10);
        assert_eq!(queue.push('a', 1), Ok(()));
        queue.close();
        assert_eq!(queue.push('b', 1), Err('b'));
        let mut taken = VecDeque::new();
        assert_eq!(queue.take(&mut taken, Duration::ZERO), Taken::Open);
        assert_eq!(taken, ['a']);
        assert_eq!(queue.take(&mut taken, Duration::ZERO), Taken::Closed);
        assert_eq!(queue.take_first(), None);
    }
}
