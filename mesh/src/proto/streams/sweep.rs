//! A walk over a table, a slice per step, so that no step takes long however large the table is.

use std::collections::BTreeMap;

/// Where a walk stands.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    next: Option<u64>,
    again: bool,
}

impl Sweep {
    /// Walks over everything from now on: what was passed already is passed again.
    pub(super) fn start(&mut self) {
        match self.next {
            Some(_) => self.again = true,
            None => self.next = Some(0),
        }
    }

    /// Whether a slice is due.
    pub(super) fn is_under_way(&self) -> bool {
        self.next.is_some()
    }

    /// The next numbers to visit.
    pub(super) fn slice<T>(&mut self, table: &BTreeMap<u64, T>, max: usize) -> Vec<u64> {
        let Some(from) = self.next else {
            return Vec::new();
        };
        let numbers: Vec<u64> = table.range(from..).take(max).map(|(&n, _)| n).collect();
        self.next = numbers.last().map(|last| last + 1);
        if self.next.is_none() && std::mem::take(&mut self.again) {
            self.next = Some(0);
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_visits_everything_in_slices_and_again_when_asked_meanwhile() {
        let table: BTreeMap<u64, ()> = (0..5).map(|n| (n, ())).collect();
        let mut sweep = Sweep::default();
        assert!(sweep.slice(&table, 2).is_empty());
        sweep.start();
        assert_eq!(sweep.slice(&table, 2), [0, 1]);
        sweep.start();
        assert_eq!(sweep.slice(&table, 9), [2, 3, 4]);
        assert!(sweep.slice(&table, 9).is_empty());
        assert_eq!(sweep.slice(&table, 9), [0, 1, 2, 3, 4]);
        assert!(sweep.slice(&table, 9).is_empty());
        assert!(!sweep.is_under_way());
    }
}
