//! One append on its way to enough disks: who was asked, who has flushed, who waits for it.

use crate::event::SharedEvent;
use crate::id::{NodeId, SessionId, StreamId};
use crate::proto::output::Ticket;
use crate::proto::placement::REPLICAS;
use crate::proto::streams::Surroundings;
use crate::proto::streams::listings::ListingId;
use crate::time::Instant;

/// An append that its coordinator has not concluded.
#[derive(Debug)]
pub(super) struct Pending {
    /// When it is given up; an offer after its deadline: when that is.
    pub(super) deadline: Instant,
    pub(super) stream: StreamId,
    /// Its id counts once the stage is beyond [`Stage::Draft`].
    pub(super) event: SharedEvent,
    pub(super) stage: Stage,
    /// The session that sent it, and when that said hello, Unix milliseconds; `None`: made by this node.
    pub(super) origin: Option<(SessionId, u64)>,
    pub(super) waiters: Vec<Waiter>,
    /// Its nonce was stored before under the id that it has now.
    pub(super) duplicate: bool,
    pub(super) round: u8,
    pub(super) targets: Targets,
}

/// How far an append has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has no id: the node is not ready, its nonce is looked up, or others go first.
    Draft,
    /// It has its id and was sent to nobody, since no disk for it could be reached.
    Stamped,
    /// It was sent to replicas and to those whom it concerns.
    Sent,
}

/// Who is told how an append ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiter {
    /// A session.
    Client {
        ticket: Ticket,
        copies: Option<u8>,
        /// It came while an earlier try was under way.
        again: bool,
    },
    /// The listing of a stream.
    Listing(ListingId),
}

impl Waiter {
    /// How many disks it asked for.
    pub(super) fn copies(self) -> Option<u8> {
        match self {
            Self::Client { copies, .. } => copies,
            Self::Listing(_) => None,
        }
    }
}

/// What is known of one replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was sent the event.
    Asked,
    /// It has the event on disk.
    Flushed,
    /// It has no room.
    Full,
    /// It could not be reached before it answered.
    Lost,
}

/// The replicas of one append.
#[derive(Debug, Default)]
pub(super) struct Targets(Vec<(NodeId, Standing)>);

impl Targets {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many disks hold the event, as far as is known.
    pub(super) fn copies(&self) -> u8 {
        u8::try_from(self.count(Standing::Flushed)).unwrap_or(u8::MAX)
    }

    /// Every node asked has answered that it has no room.
    pub(super) fn all_full(&self) -> bool {
        !self.0.is_empty() && self.count(Standing::Full) == self.0.len()
    }

    /// Notes an answer; false where that node was not asked.
    pub(super) fn answer(&mut self, node: NodeId, standing: Standing) -> bool {
        let target = self.0.iter_mut().find(|(target, _)| *target == node);
        match target {
            Some((_, Standing::Flushed)) => true,
            Some((_, old)) => {
                *old = standing;
                true
            }
            None => false,
        }
    }

    /// Takes note of nodes that can no longer be reached.
    pub(super) fn lose(&mut self, near: impl Surroundings) {
        for (node, standing) in &mut self.0 {
            if *standing == Standing::Asked && !near.reachable(*node) {
                *standing = Standing::Lost;
            }
        }
    }

    /// Asks further nodes, in the slot's order, until [`REPLICAS`] hold the event or may do so soon;
    /// `may_keep` tells who could. Returns whom.
    pub(super) fn fill(
        &mut self,
        order: impl Iterator<Item = NodeId>,
        mut may_keep: impl FnMut(NodeId) -> bool,
    ) -> Vec<NodeId> {
        let mut missing =
            REPLICAS.saturating_sub(self.count(Standing::Asked) + self.count(Standing::Flushed));
        let mut asked = Vec::new();
        for node in order {
            if missing == 0 {
                break;
            }
            let known = self.0.iter().position(|(target, _)| *target == node);
            let candidate = known.is_none_or(|at| self.0[at].1 == Standing::Lost);
            if !candidate || !may_keep(node) {
                continue;
            }
            match known {
                Some(at) => self.0[at].1 = Standing::Asked,
                None => self.0.push((node, Standing::Asked)),
            }
            asked.push(node);
            missing -= 1;
        }
        asked
    }

    /// Whom to ask again: those who have not answered. Those without room may be asked anew.
    pub(super) fn renew(&mut self) -> Vec<NodeId> {
        self.0.retain(|(_, standing)| *standing != Standing::Full);
        let asked = self
            .0
            .iter()
            .filter(|(_, standing)| *standing == Standing::Asked);
        asked.map(|&(node, _)| node).collect()
    }

    fn count(&self, standing: Standing) -> usize {
        self.0
            .iter()
            .filter(|(_, other)| *other == standing)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(i: u8) -> NodeId {
        NodeId([i; 32])
    }

    fn order() -> impl Iterator<Item = NodeId> {
        (1..=5).map(node)
    }

    #[test]
    fn the_first_three_that_may_keep_it_are_asked() {
        let mut targets = Targets::default();
        let asked = targets.fill(order(), |candidate| candidate != node(2));
        assert_eq!(asked, [node(1), node(3), node(4)]);
        assert!(targets.fill(order(), |_| true).is_empty());
    }

    #[test]
    fn a_node_without_room_is_replaced_by_the_next_and_not_asked_twice() {
        let mut targets = Targets::default();
        targets.fill(order(), |_| true);
        assert!(targets.answer(node(2), Standing::Full));
        assert_eq!(targets.fill(order(), |_| true), [node(4)]);
        assert!(targets.answer(node(4), Standing::Full));
        assert_eq!(targets.fill(order(), |_| true), [node(5)]);
        assert!(targets.answer(node(5), Standing::Full));
        assert!(targets.fill(order(), |_| true).is_empty());
    }

    #[test]
    fn copies_count_each_disk_once_and_only_those_asked() {
        let mut targets = Targets::default();
        targets.fill(order(), |_| true);
        assert!(targets.answer(node(1), Standing::Flushed));
        assert!(targets.answer(node(1), Standing::Flushed));
        assert!(targets.answer(node(1), Standing::Full));
        assert!(!targets.answer(node(5), Standing::Flushed));
        assert_eq!(targets.copies(), 1);
    }
}
