//! The order of one session's drafts: while a nonce is looked up, later drafts of that session to that
//! conversation wait, and so does the session's next look-up.
//!
//! A lane exists only while something in it waits. Drafts are known by their append number; one that
//! was given up in the meantime is skipped by the caller when its turn comes.

use std::collections::{BTreeMap, VecDeque};

use crate::id::{SessionId, StreamId};

/// The most drafts of one session that wait: what can be sent off in one step once a look-up ends. Above
/// it a draft answers `unavailable`.
pub(super) const WAITING_MAX: usize = 256;

/// All sessions' lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    sessions: BTreeMap<SessionId, Lane>,
}

#[derive(Debug, Default)]
struct Lane {
    /// The conversation of the look-up under way.
    looking: Option<StreamId>,
    /// What waits per conversation; the first of each needs the look-up.
    queues: BTreeMap<StreamId, VecDeque<u64>>,
    /// Conversations whose first draft waits for its look-up, in order.
    turns: VecDeque<StreamId>,
    waiting: usize,
}

/// What a draft has to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing: its look-up begins now.
    LookUp,
    /// Those before it.
    Wait,
    /// Too much waits already: it is not in the lane.
    Overflow,
}

impl Lanes {
    /// Whether an earlier draft of this conversation still waits.
    pub(super) fn is_blocked(&self, session: SessionId, stream: StreamId) -> bool {
        // Nearly always there is no lane at all.
        !self.sessions.is_empty()
            && self
                .sessions
                .get(&session)
                .is_some_and(|lane| lane.queues.contains_key(&stream))
    }

    /// Puts in a draft that needs a look-up, or that [`Lanes::is_blocked`].
    pub(super) fn enter(&mut self, session: SessionId, stream: StreamId, append: u64) -> Entry {
        let lane = self.sessions.entry(session).or_default();
        if lane.waiting >= WAITING_MAX {
            return Entry::Overflow;
        }
        lane.waiting += 1;
        let queue = lane.queues.entry(stream).or_default();
        queue.push_back(append);
        if queue.len() > 1 {
            return Entry::Wait;
        }
        if lane.looking.is_some() {
            lane.turns.push_back(stream);
            return Entry::Wait;
        }
        lane.looking = Some(stream);
        Entry::LookUp
    }

    /// The look-up of this conversation has ended: its draft leaves the lane.
    pub(super) fn leave(&mut self, session: SessionId, stream: StreamId) {
        let Some(lane) = self.sessions.get_mut(&session) else {
            return;
        };
        if lane.looking == Some(stream) {
            lane.looking = None;
            lane.pop(stream);
        }
    }

    /// The next draft of a conversation whose look-up has ended, to be judged: it leaves the lane by
    /// [`Lanes::pass`], or waits for its turn by [`Lanes::queue`]. `None`: none is left there.
    pub(super) fn next_of(&mut self, session: SessionId, stream: StreamId) -> Option<u64> {
        let lane = self.sessions.get_mut(&session)?;
        let first = lane.queues.get(&stream)?.front().copied();
        if first.is_none() {
            lane.queues.remove(&stream);
        }
        first
    }

    /// The first draft of a conversation needs no look-up.
    pub(super) fn pass(&mut self, session: SessionId, stream: StreamId) {
        if let Some(lane) = self.sessions.get_mut(&session) {
            lane.pop(stream);
        }
    }

    /// The first draft of a conversation needs a look-up.
    pub(super) fn queue(&mut self, session: SessionId, stream: StreamId) {
        if let Some(lane) = self.sessions.get_mut(&session) {
            lane.turns.push_back(stream);
        }
    }

    /// Begins the session's next look-up: the draft and its conversation.
    pub(super) fn next_look_up(&mut self, session: SessionId) -> Option<(StreamId, u64)> {
        let lane = self.sessions.get_mut(&session)?;
        if lane.looking.is_some() {
            return None;
        }
        let next = lane.turns.pop_front().and_then(|stream| {
            let first = lane.queues.get(&stream)?.front()?;
            Some((stream, *first))
        });
        lane.looking = next.map(|(stream, _)| stream);
        if next.is_none() && lane.waiting == 0 {
            self.sessions.remove(&session);
        }
        next
    }
}

impl Lane {
    fn pop(&mut self, stream: StreamId) {
        if self
            .queues
            .get_mut(&stream)
            .and_then(VecDeque::pop_front)
            .is_some()
        {
            self.waiting -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: SessionId = SessionId(1);
    const A: StreamId = StreamId(1);
    const B: StreamId = StreamId(2);

    #[test]
    fn one_look_up_per_session_and_the_next_waits_for_its_turn() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.enter(S, A, 1), Entry::LookUp);
        assert_eq!(lanes.enter(S, B, 2), Entry::Wait);
        assert_eq!(lanes.enter(SessionId(2), A, 3), Entry::LookUp);
        lanes.leave(S, A);
        assert_eq!(lanes.next_of(S, A), None);
        assert_eq!(lanes.next_look_up(S), Some((B, 2)));
        assert!(!lanes.is_blocked(S, A) && lanes.is_blocked(S, B));
    }

    #[test]
    fn drafts_to_one_conversation_leave_in_the_order_given() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.enter(S, A, 1), Entry::LookUp);
        assert_eq!(lanes.enter(S, A, 2), Entry::Wait);
        assert_eq!(lanes.enter(S, A, 3), Entry::Wait);
        lanes.leave(S, A);
        assert_eq!(lanes.next_of(S, A), Some(2));
        lanes.pass(S, A);
        assert_eq!(lanes.next_of(S, A), Some(3));
        lanes.queue(S, A);
        assert_eq!(lanes.next_look_up(S), Some((A, 3)));
        lanes.leave(S, A);
        assert_eq!(lanes.next_of(S, A), None);
        assert_eq!(lanes.next_look_up(S), None);
        assert!(lanes.sessions.is_empty());
    }

    #[test]
    fn a_lane_is_bounded() {
        let mut lanes = Lanes::default();
        for append in 0..WAITING_MAX as u64 {
            assert_ne!(lanes.enter(S, A, append), Entry::Overflow);
        }
        assert_eq!(lanes.enter(S, B, 9_999), Entry::Overflow);
        assert!(!lanes.is_blocked(S, B));
    }
}
