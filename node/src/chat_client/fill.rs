//! Reading on in a conversation, page by page, from the last place known to be without gaps.

use std::time::Duration;

use mesh::id::EventId;
use tokio::time::Instant;

/// A walk in which some page was incomplete is begun again after that, the next after twice that, and so
/// on: a mesh is complete again soon after a restart, and far later where nodes are gone.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_LONGEST: Duration = Duration::from_secs(10);

/// One conversation's walk.
#[derive(Debug)]
pub(super) struct Fill {
    from: EventId,
    after: EventId,
    /// When to ask for the next page; `None`: it was asked for.
    due: Option<Instant>,
    /// Of all pages of this walk so far.
    complete: bool,
    again: Duration,
}

impl Fill {
    /// A walk that begins now, behind an id.
    pub(super) fn new(now: Instant, from: EventId) -> Self {
        Self {
            from,
            after: from,
            due: Some(now),
            complete: true,
            again: AGAIN_FIRST,
        }
    }

    /// When the next page is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Behind which id the next page begins, where it is due; it counts as asked for.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<EventId> {
        self.due.take_if(|due| *due <= now).map(|_| self.after)
    }

    /// A page came, with this last event. True: nothing is missing any more.
    pub(super) fn on_page(
        &mut self,
        now: Instant,
        last: Option<EventId>,
        more: bool,
        complete: bool,
    ) -> bool {
        self.complete &= complete;
        if let (Some(last), true) = (last, more) {
            self.after = last;
            self.due = Some(now);
            return false;
        }
        if self.complete {
            return true;
        }
        // What was missing may lie anywhere behind the beginning.
        self.after = self.from;
        self.complete = true;
        self.due = Some(now + self.again);
        self.again = (2 * self.again).min(AGAIN_LONGEST);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> EventId {
        EventId {
            stamp: mesh::time::Stamp::from_unix_ms(ms),
            origin: 1,
        }
    }

    #[test]
    fn a_walk_goes_on_behind_each_page_until_there_is_no_more() {
        let now = Instant::now();
        let mut fill = Fill::new(now, id(1));
        assert_eq!(fill.take_due(now), Some(id(1)));
        assert_eq!(fill.take_due(now), None, "it was asked for");
        assert!(!fill.on_page(now, Some(id(5)), true, true));
        assert_eq!(fill.take_due(now), Some(id(5)));
        assert!(fill.on_page(now, Some(id(6)), false, true));
    }

    #[test]
    fn a_walk_with_an_incomplete_page_is_begun_again_later_and_later() {
        let mut now = Instant::now();
        let mut fill = Fill::new(now, id(1));
        for wait in [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000].map(Duration::from_millis) {
            assert_eq!(fill.take_due(now), Some(id(1)));
            assert!(!fill.on_page(now, Some(id(5)), true, false));
            assert_eq!(fill.take_due(now), Some(id(5)));
            assert!(!fill.on_page(now, None, false, true));
            assert_eq!(fill.due(), Some(now + wait));
            now += wait;
        }
        assert_eq!(fill.take_due(now), Some(id(1)));
        assert!(fill.on_page(now, None, false, true));
    }
}
