//! A user's read marks, as far as this node has seen them rise.

use std::collections::BTreeMap;

use crate::id::{Conversation, EventId};

/// Marks kept of one user. A client that reads raises the mark of the conversation that is open, a
/// few times a minute; a mark that fell out costs one superfluous append.
const MARKS_MAX: usize = 64;

/// Conversation → the greatest mark seen; bounded by [`MARKS_MAX`], the lowest marks go first.
#[derive(Debug, Default)]
pub(super) struct Marks(BTreeMap<Conversation, EventId>);

impl Marks {
    /// The mark of a conversation, where it is known.
    pub(super) fn get(&self, of: &Conversation) -> Option<EventId> {
        self.0.get(of).copied()
    }

    /// Takes note of a mark; a lower one than is known changes nothing.
    pub(super) fn raise(&mut self, of: &Conversation, upto: EventId) {
        if let Some(mark) = self.0.get_mut(of) {
            *mark = upto.max(*mark);
            return;
        }
        self.0.insert(of.clone(), upto);
        if self.0.len() > MARKS_MAX {
            let lowest = self.0.iter().min_by_key(|(_, mark)| **mark);
            let lowest = lowest.map(|(of, _)| of.clone());
            lowest.and_then(|of| self.0.remove(&of));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(i: u64) -> Conversation {
        let user = |name: String| name.parse().unwrap();
        Conversation::direct(user("@me".into()), user(format!("@u{i}")))
    }

    fn id(i: u64) -> EventId {
        EventId::from_u128(u128::from(i))
    }

    #[test]
    fn marks_only_rise() {
        let mut marks = Marks::default();
        marks.raise(&direct(0), id(5));
        marks.raise(&direct(0), id(3));
        assert_eq!(marks.get(&direct(0)), Some(id(5)));
        assert_eq!(marks.get(&direct(1)), None);
    }

    #[test]
    fn the_lowest_mark_makes_room() {
        let mut marks = Marks::default();
        let count = MARKS_MAX as u64 + 1;
        (1..=count).for_each(|i| marks.raise(&direct(i), id(i)));
        assert_eq!(marks.get(&direct(1)), None);
        assert_eq!(marks.get(&direct(2)), Some(id(2)));
        assert_eq!(marks.get(&direct(count)), Some(id(count)));
    }
}
