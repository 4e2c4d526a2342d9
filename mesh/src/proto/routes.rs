//! Address → nodes: the table of all routes of all nodes, its log of deltas, gossip and repair.
//!
//! A node alone writes its own set of routes. It counts the sessions of each key and announces the
//! first and the last of them, in batches: each has the next `seq` of this life (`epoch`) and carries
//! count and fingerprint of the set after it. A set is known elsewhere as of exactly one (epoch,
//! seq). So nothing ever conflicts, and there are no clocks and no tombstones: a receiver applies the
//! batch that follows, or asks for what is missing.
//!
//! ```text
//! receiver                                        origin
//!   on_linked ── Resume(what I hold of yours) ──▶  log serves it? ── Log(batches, head) ──▶ apply,
//!                                                                      ask on while behind head
//!                                                  else ── Part(of, index, keys) ──▶ build beside
//!   Ack ◀── each part but the last ──                  the shown set; whole: show it, Resume
//!   then, once caught up:                          ── Batch ──▶ each once
//!   Have ◀── a while after a batch; without it: Log once more
//!   gap, or a heartbeat's pulse ahead: Resume; equal seq, other check: a mismatch
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | `message`, `keys` | what is said, and key lists as bytes |
//! | `own`, `chunks`, `log` | this node's set, copies of it at no cost, its ring of batches |
//! | `feeds` | the origin towards its peers: cursors, snapshots under way |
//! | `origins` | the receiver: what is held of whom, requests, snapshots coming in |
//! | `due` | for both: which peer something is due for when |
//! | `sets`, `table` | which set is looked up, and the table of all |
//!
//! It does not know who is down: `lookup` gives node and life, and the caller decides what that is
//! worth. Above the full mesh there would be relays and third-party repair; there are none here.

mod chunks;
mod due;
mod feeds;
mod inspect;
mod keys;
mod log;
mod message;
mod origins;
mod own;
mod sets;
mod stats;
mod table;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use feeds::Feeds;
pub use inspect::Loads;
pub use keys::Keys;
pub use message::{Batch, Message, Part, Pulse, Summary};
use origins::{Context, Origins};
use own::{Effect, Own};
use sets::Sets;
use stats::Stats;

use crate::id::{Epoch, NodeId, RouteKey};
use crate::proto::membership::State;
use crate::proto::outbox::Outbox;
use crate::time::{Instant, Now};

/// Most keys in a batch, a part of a snapshot or an event: what is handled in one step, well within
/// its 1 ms.
pub const SLICE_KEYS: usize = 4_096;

/// Between two slices of work (parts of snapshots, sweeps): a step takes at most half of that.
const SLICE_EVERY: Duration = Duration::from_millis(2);

/// How long after a batch a receiver acknowledges it and all that came meanwhile: longer than the
/// longest window, so that under load an acknowledgement is for several batches, and costs little.
const HAVE_AFTER: Duration = Duration::from_millis(125);

/// How long to wait for an answer from a node whose round trip has not been measured yet.
const PATIENCE: Duration = Duration::from_millis(250);

/// How long to wait for an answer.
fn patience(least: Duration, round_trip: Option<Duration>) -> Duration {
    round_trip.map_or(PATIENCE, |trip| least.max(2 * trip))
}

/// Tuning of this layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Changes of a quiet period go at once, then in windows of this length. 20 ms: fifty frames a
    /// second to each peer at most.
    pub window: Duration,
    /// Under load windows stretch up to this. 100 ms: what a person does not notice yet.
    pub window_max: Duration,
    /// Operations in the log: who is further behind takes a snapshot. 64 Ki: about half a megabyte.
    pub log_ops: usize,
    /// Age of a batch in the log. 60 s: longer cuts are rare, and a snapshot costs little more.
    pub log_age: Duration,
    /// A request without an answer is sent again after a few round trips, then ever more rarely, up to
    /// this. 1 s: a few heartbeats.
    pub retry: Duration,
    /// A snapshot of which no part has come for so long is given up and asked for again; also
    /// between two requests after mismatches, and for a set that had no room. 5 s: a full bulk
    /// lane waits.
    pub stall: Duration,
    /// Routes in the table, this node's own and those being built or swept included. 12 million:
    /// about 150 MB. Above it the set of the node that has been down the longest is purged, one
    /// at a time; until there is room, and where nobody is down, batches and snapshots are
    /// refused, counted and asked for again. Own routes are always taken.
    pub routes_max: u64,
    /// Routes that one origin may claim. 4 million: some times what one machine can serve. A
    /// larger set is refused and counted.
    pub origin_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: Duration::from_millis(20),
            window_max: Duration::from_millis(100),
            log_ops: 65_536,
            log_age: Duration::from_secs(60),
            retry: Duration::from_secs(1),
            stall: Duration::from_secs(5),
            routes_max: 12_000_000,
            origin_max: 4_000_000,
        }
    }
}

/// What this layer tells the facade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Keys of another node's set came or went, at most [`SLICE_KEYS`] in all. After a snapshot
    /// some may be told that were told before; taken in order, what was told of a node ends up as
    /// what [`Routes::lookup`] shows of it.
    Changed {
        /// Whose.
        node: NodeId,
        /// Newly in its visible set.
        attached: Vec<RouteKey>,
        /// No longer in it.
        detached: Vec<RouteKey>,
    },
    /// The set of a node's present life is all here now. What it changed is told after this.
    Complete(NodeId),
    /// A set disagreed with its origin's fingerprint and is fetched anew.
    Mismatch(NodeId),
}

/// One node that has, or was last known to have, a session for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Which node.
    pub node: NodeId,
    /// The life of it that the route belongs to; older than the node's present life while the new
    /// life's set is not complete here.
    pub epoch: Epoch,
}

/// The layer.
#[derive(Debug)]
pub struct Routes {
    config: Config,
    me: NodeId,
    own: Own,
    feeds: Feeds,
    origins: Origins,
    sets: Sets,
    /// Emptied by the facade after each call: bounded by the work of one step.
    events: VecDeque<Event>,
    stats: Stats,
    /// When the next slice of work is due.
    work_at: Option<Instant>,
    /// The newest moment told, for calls that tell none.
    told_at: Instant,
}

impl Routes {
    /// An empty set of this node's own in this life, and nothing known of others.
    pub fn new(config: Config, me: NodeId, epoch: Epoch) -> Self {
        Self {
            own: Own::new(&config, epoch),
            feeds: Feeds::default(),
            origins: Origins::default(),
            sets: Sets::new(me, epoch),
            events: VecDeque::new(),
            stats: Stats::default(),
            work_at: None,
            told_at: Instant(0),
            config,
            me,
        }
    }

    /// This node's epoch was raised before its first frame was accepted.
    pub fn set_epoch(&mut self, epoch: Epoch) {
        self.own.set_epoch(epoch);
        self.sets.set_epoch(epoch);
        self.feeds.reset();
    }

    /// One more session here has this key.
    pub fn attach(&mut self, now: Now, key: RouteKey, out: &mut Outbox) {
        let present = self.sets.contains(Sets::OWN, key);
        if self.own.attach(key, present) == Effect::Came {
            self.sets.insert(Sets::OWN, key);
            if self.sets.len() > self.config.routes_max {
                let me = self.me;
                let (origins, mut ctx) = self.origins(now.at);
                origins.purge_longest_down(&mut ctx, me);
            }
            self.flush(now, out);
            self.schedule(now.at);
        }
    }

    /// One session here less has this key.
    pub fn detach(&mut self, now: Now, key: RouteKey, out: &mut Outbox) {
        let present = self.sets.contains(Sets::OWN, key);
        match self.own.detach(key, present) {
            Effect::Came | Effect::None => {}
            Effect::Unknown => self.stats.detaches_unknown += 1,
            Effect::Went => {
                self.sets.remove(Sets::OWN, key);
                self.flush(now, out);
            }
        }
    }

    /// Makes the next batch if one is due, and pushes it.
    fn flush(&mut self, now: Now, out: &mut Outbox) {
        if let Some(batch) = self.own.flush(now.at) {
            self.stats.batches_made += 1;
            self.feeds.push(now.at, &batch, &mut self.stats, out);
        }
    }

    /// This node's own set, as of its last batch.
    pub fn summary(&self) -> Summary {
        self.own.summary()
    }

    /// A link to this life of a node is there: says what is held of its set.
    pub fn on_linked(&mut self, now: Now, node: NodeId, epoch: Epoch, out: &mut Outbox) {
        if node == self.me {
            return;
        }
        let round_trip = self.origins.round_trip(node);
        self.feeds.link(now.at, node, round_trip, &mut self.stats);
        let (origins, mut ctx) = self.origins(now.at);
        origins.on_linked(&mut ctx, node, epoch, out);
        self.schedule(now.at);
    }

    /// The link to a node is gone: its cursor into this node's log goes.
    pub fn on_unlinked(&mut self, node: NodeId) {
        self.feeds.drop_peer(node);
        let now = self.told_at;
        let (origins, mut ctx) = self.origins(now);
        origins.on_unlinked(&mut ctx, node);
        self.schedule(now);
    }

    /// A member's state or life changed: a set of an older life is superseded once the new one is
    /// known, one of a node that left or was forgotten is purged, by (node, epoch).
    pub fn on_member(&mut self, now: Now, node: NodeId, epoch: Epoch, state: State) {
        if node == self.me {
            return;
        }
        if matches!(state, State::Down | State::Left) {
            self.feeds.on_down(node);
        }
        let (origins, mut ctx) = self.origins(now.at);
        origins.on_member(&mut ctx, node, epoch, state);
        self.schedule(now.at);
    }

    /// A member has been forgotten: its set is purged, the mark (node, epoch, seq) stays.
    pub fn on_forgotten(&mut self, now: Now, node: NodeId) {
        self.feeds.on_down(node);
        let (origins, mut ctx) = self.origins(now.at);
        origins.on_forgotten(&mut ctx, node);
        self.schedule(now.at);
    }

    /// The round trip to a member was measured: how long to wait for its answers.
    pub fn on_round_trip(&mut self, node: NodeId, round_trip: Duration) {
        self.feeds.measured(node, round_trip);
        self.origins.measured(node, round_trip);
    }

    /// A member said which set it has in this life: behind, ask for the rest; equal seq but another
    /// check, a defect.
    pub fn on_pulse(
        &mut self,
        now: Now,
        node: NodeId,
        (epoch, pulse): (Epoch, Pulse),
        out: &mut Outbox,
    ) {
        if node == self.me {
            return;
        }
        let (origins, mut ctx) = self.origins(now.at);
        origins.on_pulse(&mut ctx, node, (epoch, pulse), out);
        self.schedule(now.at);
    }

    /// A message of this layer came.
    pub fn on_message(&mut self, now: Now, from: NodeId, message: Message, out: &mut Outbox) {
        if from == self.me {
            return;
        }
        match message {
            Message::Resume(held) => {
                let (own, stats) = (&self.own, &mut self.stats);
                self.feeds.on_resume(now.at, from, held, own, stats, out);
            }
            Message::Ack { epoch, seq, parts } => {
                let (of, stats) = ((epoch, seq), &mut self.stats);
                self.feeds.on_ack(now.at, from, of, parts, stats, out);
            }
            Message::Have { seq } => {
                self.feeds.on_have(from, seq, &self.own, &mut self.stats);
            }
            Message::Batch(batch) => {
                let (origins, mut ctx) = self.origins(now.at);
                origins.on_batch(&mut ctx, from, &batch, out);
            }
            Message::Log { batches, head } => {
                let (origins, mut ctx) = self.origins(now.at);
                origins.on_log(&mut ctx, from, &batches, head, out);
            }
            Message::Part(part) => {
                let (origins, mut ctx) = self.origins(now.at);
                origins.on_part(&mut ctx, from, &part, out);
            }
        }
        self.schedule(now.at);
    }

    /// Timers: windows, requests and batches without answers, acknowledgements, slices of snapshots and sweeps.
    pub fn on_tick(&mut self, now: Now, out: &mut Outbox) {
        self.own.expire(now.at);
        self.flush(now, out);
        let (own, stats) = (&self.own, &mut self.stats);
        self.feeds.resend_due(now.at, own, stats, out);
        let (origins, mut ctx) = self.origins(now.at);
        origins.ask_due(&mut ctx, out);
        origins.have_due(&mut ctx, out);
        if self.work_at.is_some_and(|at| at <= now.at) {
            self.work_at = None;
            self.feeds.work(now.at, &mut self.stats, out);
            let events = &mut self.events;
            if self.sets.sweep(|event| events.push_back(event)) {
                let (origins, mut ctx) = self.origins(now.at);
                origins.on_swept(&mut ctx, out);
            }
        }
        self.schedule(now.at);
    }

    /// When the next slice of work is due, if there is any.
    fn schedule(&mut self, now: Instant) {
        self.told_at = self.told_at.max(now);
        let sliced = self.feeds.is_due() || self.sets.is_due();
        let slice = sliced.then(|| now + SLICE_EVERY);
        let next = [slice, self.feeds.deadline(), self.work_at];
        self.work_at = next.into_iter().flatten().min();
    }

    /// When [`Routes::on_tick`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let next = [
            self.own.deadline(),
            self.feeds.resend_at(),
            self.origins.deadline(),
            self.work_at,
        ];
        next.into_iter().flatten().min()
    }

    /// The next fact for the facade.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// All nodes that have, or were last known to have, a session for a key, this node included,
    /// whatever their state: the caller knows who is down. At most one route per node.
    pub fn lookup(&self, key: RouteKey) -> impl Iterator<Item = Route> + '_ {
        self.sets.lookup(key)
    }

    /// Whether the set of this life of a node is all here.
    pub fn is_complete(&self, node: NodeId, epoch: Epoch) -> bool {
        if node == self.me {
            return epoch == self.own.summary().epoch;
        }
        self.origins.is_complete(node, epoch)
    }

    /// How many routes a node has, as far as is known here.
    pub fn count(&self, node: NodeId) -> u64 {
        if node == self.me {
            return self.own.live();
        }
        self.origins.count(node)
    }

    /// How many routes of all nodes are in the table.
    pub fn total(&self) -> u64 {
        self.own.live() + self.origins.total()
    }

    /// What was done, refused and dropped since the start.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.stats.pairs()
    }

    fn origins(&mut self, now: Instant) -> (&mut Origins, Context<'_>) {
        let ctx = Context {
            now,
            config: &self.config,
            sets: &mut self.sets,
            events: &mut self.events,
            stats: &mut self.stats,
        };
        (&mut self.origins, ctx)
    }
}
