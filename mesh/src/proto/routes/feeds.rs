//! The origin's side towards its peers: cursors into the log, snapshots under way.
//!
//! All catching up is drawn by the receiver: it asks, gets one frame, and asks on. So nothing is
//! queued here for a slow peer. Of a snapshot few parts are on their way at a time, and few
//! different snapshots are alive at a time. What was pushed and is not acknowledged is sent again
//! (`tail`).

mod tail;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::id::{Epoch, NodeId, RouteKey};
use crate::proto::outbox::Outbox;
use crate::proto::routes::SLICE_KEYS;
use crate::proto::routes::chunks::Chunk;
use crate::proto::routes::due::Due;
use crate::proto::routes::keys::Keys;
use crate::proto::routes::message::{Batch, Message, Part, Summary};
use crate::proto::routes::own::Own;
use crate::proto::routes::stats::Stats;
use crate::time::Instant;

use tail::Tail;

/// Most peers that are fed: four full meshes, since also members behind a helper are. A further
/// one gets no answers; it is counted.
const PEERS_MAX: usize = 1_024;

/// Most batches in an answer: with their heads and [`SLICE_KEYS`] keys it stays below 64 KiB.
const BATCHES_MAX: usize = 1_024;

/// Parts of a snapshot on their way to one peer: 100 KiB, enough to keep a link busy for a round
/// trip of some milliseconds.
const PARTS_IN_FLIGHT: u32 = 4;

/// Parts sent in one tick, to all peers together: about half a millisecond of coding.
const PARTS_PER_TICK: usize = 8;

/// Chunks in a part: at most [`SLICE_KEYS`] keys.
const PART_CHUNKS: usize = 16;

/// Most different snapshots alive, each of which may hold a copy of what changed since.
const SNAPSHOTS_MAX: usize = 4;

/// A snapshot is shared with who asks within this time after it was made.
const SHARED_FOR: Duration = Duration::from_secs(2);

/// A peer that takes no part for so long has lost its place: it asks anew when it can. Longer than
/// a receiver waits, so that normally the receiver decides.
const STALLED_AFTER: Duration = Duration::from_secs(15);

/// Bytes per key of a snapshot, about: where its size is compared with the log's.
const SNAPSHOT_KEY_BYTES: u64 = 5;

/// This node's set as of one batch.
#[derive(Debug)]
struct Snapshot {
    of: Summary,
    chunks: Vec<Chunk>,
    taken: Instant,
}

impl Snapshot {
    fn parts(&self) -> u32 {
        u32::try_from(self.chunks.len().div_ceil(PART_CHUNKS).max(1)).unwrap_or(u32::MAX)
    }

    fn part(&self, index: u32) -> Part {
        let first = index as usize * PART_CHUNKS;
        let last = (first + PART_CHUNKS).min(self.chunks.len());
        let chunks = self.chunks.get(first..last).unwrap_or_default();
        let keys: Vec<RouteKey> = chunks
            .iter()
            .flat_map(|chunk| chunk.iter().copied())
            .collect();
        Part {
            of: self.of,
            index,
            parts: self.parts(),
            keys: Keys::pack(&keys),
        }
    }
}

/// A snapshot on its way to one peer.
#[derive(Debug)]
struct Sending {
    snapshot: Arc<Snapshot>,
    sent: u32,
    taken: u32,
    moved_at: Instant,
}

impl Sending {
    fn may_send(&self) -> bool {
        self.sent < self.snapshot.parts() && self.sent - self.taken < PARTS_IN_FLIGHT
    }
}

/// What one peer was sent.
#[derive(Debug, Default)]
struct Feed {
    /// The last batch sent to it; `None`: it has not said what it holds, or takes a snapshot.
    cursor: Option<u64>,
    sending: Option<Sending>,
    /// In the queue for parts.
    queued: bool,
    linked: bool,
    tail: Tail,
}

/// All peers.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    peers: BTreeMap<NodeId, Feed>,
    /// Peers to which parts may be sent, each once.
    queue: VecDeque<NodeId>,
    /// When to send what to whom again: each peer once at most.
    resends: Due,
    snapshots: Vec<Arc<Snapshot>>,
    /// When to look for stalled peers; `None`: no snapshot is under way.
    look_at: Option<Instant>,
}

impl Feeds {
    /// A link is there: nothing is known of what the peer holds until it says so.
    pub(super) fn link(
        &mut self,
        now: Instant,
        node: NodeId,
        round_trip: Option<Duration>,
        stats: &mut Stats,
    ) {
        self.drop_peer(node);
        if let Some(feed) = self.peer(node, stats) {
            feed.linked = true;
            self.expect(now, node, round_trip);
        }
    }

    /// The peer can no longer be reached directly; through a helper it asks again.
    pub(super) fn drop_peer(&mut self, node: NodeId) {
        self.set_resend(node, None);
        self.peers.remove(&node);
    }

    /// The peer is down: one that asked through a helper is no longer fed.
    pub(super) fn on_down(&mut self, node: NodeId) {
        if self.peers.get(&node).is_some_and(|feed| !feed.linked) {
            self.drop_peer(node);
        }
    }

    /// Another life began: all ask anew.
    pub(super) fn reset(&mut self) {
        for feed in self.peers.values_mut() {
            feed.cursor = None;
            feed.sending = None;
            feed.tail = Tail::default();
        }
        self.resends.clear();
        self.snapshots.clear();
    }

    fn peer(&mut self, node: NodeId, stats: &mut Stats) -> Option<&mut Feed> {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&node) {
            stats.nodes_refused += 1;
            return None;
        }
        Some(self.peers.entry(node).or_default())
    }

    /// Sends a new batch to all that were sent the one before it.
    pub(super) fn push(
        &mut self,
        now: Instant,
        batch: &Arc<Batch>,
        stats: &mut Stats,
        out: &mut Outbox,
    ) {
        let seq = batch.after.seq;
        for (&node, feed) in &mut self.peers {
            if feed.sending.is_none() {
                let resend = feed.tail.pushed(now);
                self.resends.change(node, None, resend);
            }
            if feed.cursor == Some(seq - 1) {
                feed.cursor = Some(seq);
                stats.batches_pushed += 1;
                out.send(node, Message::Batch(Arc::clone(batch)));
            }
        }
    }

    /// A peer said what it holds: it gets the next of the log or the first part of a snapshot.
    pub(super) fn on_resume(
        &mut self,
        now: Instant,
        from: NodeId,
        held: Summary,
        own: &Own,
        stats: &mut Stats,
        out: &mut Outbox,
    ) {
        let head = own.summary();
        let ahead = held.epoch == head.epoch && held.seq > head.seq;
        if held.epoch > head.epoch || ahead {
            stats.resumes_ahead += 1;
            return;
        }
        self.set_resend(from, None);
        let Some(feed) = self.peer(from, stats) else {
            return;
        };
        feed.cursor = None;
        feed.sending = None;
        if log_serves(held, own, stats) {
            let batches = own.log().after(held.seq, SLICE_KEYS, BATCHES_MAX);
            let last = batches.last().map_or(held.seq, |batch| batch.after.seq);
            feed.cursor = Some(last);
            stats.logs_sent += 1;
            out.send(from, Message::Log { batches, head });
            self.answered(now, from, held.seq);
            return;
        }
        let Some(snapshot) = self.snapshot(now, own) else {
            stats.snapshots_deferred += 1;
            return;
        };
        stats.snapshots_sent += 1;
        let sending = Sending {
            snapshot,
            sent: 0,
            taken: 0,
            moved_at: now,
        };
        self.peers.entry(from).or_default().sending = Some(sending);
        self.look_at.get_or_insert(now + STALLED_AFTER);
        self.send_part(from, stats, out);
    }

    /// The newest snapshot while it is fresh, else a new one; `None` where too many are alive and
    /// the newest is too old for the log to lead on from it.
    fn snapshot(&mut self, now: Instant, own: &Own) -> Option<Arc<Snapshot>> {
        self.snapshots.retain(|held| Arc::strong_count(held) > 1);
        let head = own.summary();
        let newest = self.snapshots.last().filter(|newest| {
            newest.of == head
                || newest.of.epoch == head.epoch && own.log().rest_bytes(newest.of.seq).is_some()
        });
        let full = self.snapshots.len() >= SNAPSHOTS_MAX;
        if let Some(newest) = newest
            && (full || newest.of == head || now.since(newest.taken) <= SHARED_FOR)
        {
            return Some(Arc::clone(newest));
        }
        if full {
            return None;
        }
        let snapshot = Arc::new(Snapshot {
            of: head,
            chunks: own.share(),
            taken: now,
        });
        self.snapshots.push(Arc::clone(&snapshot));
        Some(snapshot)
    }

    /// A peer has taken parts of its snapshot: the next may follow.
    pub(super) fn on_ack(
        &mut self,
        now: Instant,
        from: NodeId,
        (epoch, seq): (Epoch, u64),
        parts: u32,
        stats: &mut Stats,
        out: &mut Outbox,
    ) {
        let feed = self.peers.get_mut(&from);
        let Some(sending) = feed.and_then(|feed| feed.sending.as_mut()) else {
            stats.unasked += 1;
            return;
        };
        let of = sending.snapshot.of;
        if (of.epoch, of.seq) != (epoch, seq) || parts > sending.snapshot.parts() {
            stats.unasked += 1;
            return;
        }
        if parts > sending.taken {
            sending.taken = parts;
            // It may have parts that were sent before it asked anew.
            sending.sent = sending.sent.max(parts);
            sending.moved_at = now;
        }
        self.send_part(from, stats, out);
    }

    /// Sends one part if the peer may get one, and queues it where it may get more.
    fn send_part(&mut self, node: NodeId, stats: &mut Stats, out: &mut Outbox) {
        let Some(feed) = self.peers.get_mut(&node) else {
            return;
        };
        let Some(sending) = feed.sending.as_mut().filter(|sending| sending.may_send()) else {
            return;
        };
        let part = sending.snapshot.part(sending.sent);
        sending.sent += 1;
        stats.parts_sent += 1;
        out.send(node, Message::Part(part));
        if sending.may_send() && !feed.queued {
            feed.queued = true;
            self.queue.push_back(node);
        }
    }

    /// A slice of the snapshots under way: every peer in turn.
    pub(super) fn work(&mut self, now: Instant, stats: &mut Stats, out: &mut Outbox) {
        for _ in 0..PARTS_PER_TICK {
            let Some(node) = self.queue.pop_front() else {
                break;
            };
            if let Some(feed) = self.peers.get_mut(&node) {
                feed.queued = false;
            }
            self.send_part(node, stats, out);
        }
        if self.look_at.is_some_and(|at| at <= now) {
            self.drop_stalled(now, stats);
        }
    }

    fn drop_stalled(&mut self, now: Instant, stats: &mut Stats) {
        let mut oldest = None;
        for feed in self.peers.values_mut() {
            let Some(sending) = &feed.sending else {
                continue;
            };
            let stalls_at = sending.moved_at + STALLED_AFTER;
            if stalls_at <= now {
                feed.sending = None;
                stats.snapshots_stalled += 1;
            } else {
                oldest = Some(oldest.map_or(stalls_at, |oldest: Instant| oldest.min(stalls_at)));
            }
        }
        self.snapshots.retain(|held| Arc::strong_count(held) > 1);
        self.look_at = oldest;
    }

    /// How many peers are fed.
    pub(super) fn len(&self) -> usize {
        self.peers.len()
    }

    /// How many different snapshots are kept.
    pub(super) fn snapshots(&self) -> usize {
        self.snapshots.len()
    }

    /// Whether parts wait to be sent.
    pub(super) fn is_due(&self) -> bool {
        !self.queue.is_empty()
    }

    /// When to look for stalled peers.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.look_at
    }
}

/// Whether the log leads on from what a peer holds, and is not larger than the whole set.
fn log_serves(held: Summary, own: &Own, stats: &mut Stats) -> bool {
    let head = own.summary();
    if held.epoch != head.epoch || held.epoch == Epoch(0) {
        return false;
    }
    let known = if held.seq == head.seq {
        Some(head)
    } else {
        own.log().summary_at(held.seq)
    };
    if known.is_some_and(|known| known != held) {
        stats.resumes_disagreed += 1;
        return false;
    }
    let snapshot = head.count.saturating_mul(SNAPSHOT_KEY_BYTES);
    held.seq == head.seq
        || own
            .log()
            .rest_bytes(held.seq)
            .is_some_and(|rest| rest <= snapshot.max(SMALL_REST))
}

/// A rest below this is sent as it is, bytes: the set need not be looked at.
const SMALL_REST: u64 = 256;
