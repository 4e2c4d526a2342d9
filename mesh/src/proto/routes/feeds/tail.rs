//! The end of what a peer was pushed: sent again until it is acknowledged.
//!
//! A batch lost in the middle is noticed by the next one; the last of a burst would be missed until a
//! heartbeat. So receivers acknowledge batches, after a while and for all of them together, and what
//! goes on unacknowledged is sent once more (a tail loss probe, as in RFC 8985). That only saves time:
//! that nothing stays missing is up to the heartbeats, which go on when this has been given up.

use std::time::Duration;

use super::{BATCHES_MAX, Feeds};
use crate::id::NodeId;
use crate::proto::outbox::Outbox;
use crate::proto::routes::message::Message;
use crate::proto::routes::own::Own;
use crate::proto::routes::stats::Stats;
use crate::proto::routes::{HAVE_AFTER, SLICE_KEYS, patience};
use crate::time::Instant;

/// The least wait for an acknowledgement besides [`HAVE_AFTER`]: much more than a round trip in a data
/// centre with what its ends take to wake up. A tenth of lost frames is made up for in 0.2 s.
const RESEND_MIN: Duration = Duration::from_millis(30);

/// So often what is not acknowledged is sent again at most: with a third of all frames lost, none of a
/// hundred peers lacks it then, in all but one of a hundred cases. Heartbeats do the rest.
const RESENDS_MAX: u32 = 8;

/// Most bytes of batches that are sent again unasked, about. Of a larger rest only the head is told, as
/// to a peer that has not said what it holds: one that could not keep up would be sent the more, the
/// less it takes.
const RESEND_BYTES: u64 = 1_024;

/// What one peer has acknowledged.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The last batch that it said it has.
    acked: u64,
    /// When to send what it has not; `None`: it has all, or that was given up.
    due: Option<Instant>,
    /// How often it was sent since the last news of it.
    resends: u32,
    /// The round trip, where it was measured.
    round_trip: Option<Duration>,
}

impl Feeds {
    /// A peer is to say what it holds. It does not where only this end lost the link between them: then
    /// it is told the head.
    pub(super) fn expect(&mut self, now: Instant, node: NodeId, round_trip: Option<Duration>) {
        let Some(feed) = self.peers.get_mut(&node) else {
            return;
        };
        feed.tail.round_trip = round_trip;
        feed.tail.resends = 1;
        let wait = feed.tail.wait();
        self.set_resend(node, Some(now + wait));
    }

    /// A peer that has this much asked for what follows and was sent it: as with what is sent again, it
    /// acknowledges that at once.
    pub(super) fn answered(&mut self, now: Instant, node: NodeId, held: u64) {
        let Some(feed) = self.peers.get_mut(&node) else {
            return;
        };
        feed.tail.acked = held;
        feed.tail.resends = 1;
        let wait = feed.tail.wait();
        let due = feed.cursor.filter(|&cursor| cursor > held);
        self.set_resend(node, due.map(|_| now + wait));
    }

    /// How long a round trip to a peer takes.
    pub(in crate::proto::routes) fn measured(&mut self, node: NodeId, round_trip: Duration) {
        if let Some(feed) = self.peers.get_mut(&node) {
            feed.tail.round_trip = Some(round_trip);
        }
    }

    /// A peer has this node's set as of this batch.
    pub(in crate::proto::routes) fn on_have(
        &mut self,
        from: NodeId,
        seq: u64,
        own: &Own,
        stats: &mut Stats,
    ) {
        let head = own.summary().seq;
        let feed = self.peers.get_mut(&from);
        let Some(feed) = feed.filter(|feed| seq <= feed.cursor.unwrap_or(head)) else {
            stats.unasked += 1;
            return;
        };
        if feed.sending.is_none() {
            feed.cursor.get_or_insert(seq);
        }
        if seq > feed.tail.acked {
            feed.tail.acked = seq;
            feed.tail.resends = 0;
        }
        if feed.cursor == Some(feed.tail.acked) {
            self.set_resend(from, None);
        }
    }

    /// Sends again what was not acknowledged in time.
    pub(in crate::proto::routes) fn resend_due(
        &mut self,
        now: Instant,
        own: &Own,
        stats: &mut Stats,
        out: &mut Outbox,
    ) {
        while let Some(node) = self.resends.pop(now) {
            self.set_resend(node, None);
            self.resend(now, node, own, stats, out);
        }
    }

    fn resend(
        &mut self,
        now: Instant,
        node: NodeId,
        own: &Own,
        stats: &mut Stats,
        out: &mut Outbox,
    ) {
        let feed = self.peers.get_mut(&node);
        // A snapshot is drawn by the peer.
        let Some(feed) = feed.filter(|feed| feed.sending.is_none()) else {
            return;
        };
        let (tail, log, head) = (&mut feed.tail, own.log(), own.summary());
        let known = feed.cursor.is_some();
        if known && tail.acked == head.seq || tail.resends == RESENDS_MAX {
            return;
        }
        let wait = tail.wait();
        let made_at = log.made_at(tail.acked.saturating_add(1));
        let young = made_at.map(|at| at + HAVE_AFTER + wait);
        if let Some(young) = young.filter(|&young| now < young && tail.resends == 0) {
            return self.set_resend(node, Some(young));
        }
        tail.resends += 1;
        let rest = log.rest_bytes(tail.acked);
        let mut batches = Vec::new();
        if known && rest.is_some_and(|rest| rest <= RESEND_BYTES) {
            batches = log.after(tail.acked, SLICE_KEYS, BATCHES_MAX);
        }
        if let Some(last) = batches.last() {
            feed.cursor = feed.cursor.max(Some(last.after.seq));
        }
        stats.tails_resent += 1;
        out.send(node, Message::Log { batches, head });
        self.set_resend(node, Some(now + wait));
    }

    pub(super) fn set_resend(&mut self, node: NodeId, due: Option<Instant>) {
        if let Some(feed) = self.peers.get_mut(&node) {
            let before = std::mem::replace(&mut feed.tail.due, due);
            self.resends.change(node, before, due);
        }
    }

    /// When [`Feeds::resend_due`] has something to do.
    pub(in crate::proto::routes) fn resend_at(&self) -> Option<Instant> {
        self.resends.next()
    }
}

impl Tail {
    /// A further batch was pushed: the resend that this takes, unless one is due already.
    pub(super) fn pushed(&mut self, now: Instant) -> Option<Instant> {
        if self.due.is_some() {
            return None;
        }
        self.resends = 0;
        self.due = Some(now + HAVE_AFTER + self.wait());
        self.due
    }

    fn wait(&self) -> Duration {
        patience(RESEND_MIN, self.round_trip)
    }
}
