//! The receiver's side: what is held of every other origin's set.
//!
//! The state of an origin is (epoch, seq) and the set as of exactly that seq. It changes only by the
//! batch that follows, or by a whole snapshot, and it never goes back: the mark stays when the set is
//! purged, and nothing of a life below the highest known is taken.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::id::{Epoch, NodeId, RouteKey};
use crate::proto::membership::State;
use crate::proto::outbox::Outbox;
use crate::proto::routes::due::Due;
use crate::proto::routes::message::{Batch, Pulse, Summary};
use crate::proto::routes::sets::{Sets, tell};
use crate::proto::routes::stats::Stats;
use crate::proto::routes::table::NodeSlot;
use crate::proto::routes::{Config, Event, SLICE_KEYS};
use crate::time::Instant;

mod asks;
mod haves;
mod snapshot;

use asks::Ask;
use snapshot::Incoming;

/// Most nodes that are kept track of, marks of purged ones included: sixteen full meshes. Above it
/// the mark of the oldest life without a set goes; where all have sets, the new node is refused.
const ORIGINS_MAX: usize = 4_096;

/// What a step works on beside the origins.
pub(super) struct Context<'a> {
    pub(super) now: Instant,
    pub(super) config: &'a Config,
    pub(super) sets: &'a mut Sets,
    pub(super) events: &'a mut VecDeque<Event>,
    pub(super) stats: &'a mut Stats,
}

/// A set that is shown.
#[derive(Debug, Clone, Copy)]
struct Held {
    slot: NodeSlot,
    set: Summary,
    /// It disagreed with its origin: shown until the next snapshot, never added to.
    defective: bool,
}

/// One other node.
#[derive(Debug, Default)]
struct Origin {
    /// The highest life known.
    epoch: Epoch,
    /// This life and all before it have ended by a leave.
    ended: Epoch,
    /// The highest (epoch, seq) ever shown.
    mark: (Epoch, u64),
    held: Option<Held>,
    incoming: Option<Incoming>,
    ask: Option<Ask>,
    /// How often in a row it was asked in vain.
    lapses: u32,
    /// When it is told what is held of its set; `None`: it was.
    have: Option<Instant>,
    /// The round trip, where it was measured, if only on an earlier link.
    round_trip: Option<Duration>,
    /// After a mismatch: none of the next ones is acted upon before this.
    calm_until: Instant,
    linked: bool,
    down_since: Option<Instant>,
}

impl Origin {
    /// The shown set of the present life, where batches can be added to it.
    fn current(&self) -> Option<Held> {
        self.held
            .filter(|held| held.set.epoch == self.epoch && !held.defective)
    }

    /// Whether this is what is shown of the present life.
    fn has(&self, epoch: Epoch, pulse: Pulse) -> bool {
        let shown = self.current().map(|held| held.set.pulse());
        epoch == self.epoch && epoch > self.ended && shown == Some(pulse)
    }

    fn awaits_answer(&self) -> bool {
        matches!(self.ask, Some(Ask::Sent(_)))
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Applied,
    /// It was applied before.
    Known,
    /// The one before it is missing.
    Early,
    /// It cannot be taken.
    Refused,
}

/// All other nodes.
#[derive(Debug, Default)]
pub(super) struct Origins {
    all: BTreeMap<NodeId, Origin>,
    /// When to send which request (again).
    asks: Due,
    /// Whom to tell when what is held of its set.
    haves: Due,
    /// Who is down, the longest first.
    downs: BTreeSet<(Instant, NodeId)>,
    /// Whose snapshot is whole and waits for the sweep.
    whole: BTreeSet<NodeId>,
    /// Routes that snapshots under way have still to bring.
    reserved: u64,
}

impl Origins {
    pub(super) fn is_complete(&self, node: NodeId, epoch: Epoch) -> bool {
        let held = self.all.get(&node).and_then(|origin| origin.held);
        held.is_some_and(|held| held.set.epoch == epoch)
    }

    pub(super) fn count(&self, node: NodeId) -> u64 {
        let held = self.all.get(&node).and_then(|origin| origin.held);
        held.map_or(0, |held| held.set.count)
    }

    pub(super) fn total(&self) -> u64 {
        let held = self.all.values().filter_map(|origin| origin.held);
        held.map(|held| held.set.count).sum()
    }

    /// The shown set of a node.
    pub(super) fn held(&self, node: NodeId) -> Option<Summary> {
        Some(self.all.get(&node)?.held?.set)
    }

    /// Routes that snapshots under way have still to bring.
    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// How many nodes are kept track of.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many requests are planned or under way.
    pub(super) fn asks(&self) -> usize {
        self.asks.len()
    }

    pub(super) fn on_linked(
        &mut self,
        ctx: &mut Context<'_>,
        node: NodeId,
        epoch: Epoch,
        out: &mut Outbox,
    ) {
        if self.admit(ctx, node, epoch) {
            if let Some(origin) = self.all.get_mut(&node) {
                origin.linked = true;
                origin.lapses = 0;
            }
            // What was asked over an older link may never be answered.
            self.send_ask(ctx, node, out);
        }
    }

    pub(super) fn on_unlinked(&mut self, ctx: &mut Context<'_>, node: NodeId) {
        if let Some(origin) = self.all.get_mut(&node) {
            origin.linked = false;
            self.drop_incoming(ctx, node);
            self.set_ask(node, None);
            self.set_have(node, None);
        }
    }

    pub(super) fn on_member(
        &mut self,
        ctx: &mut Context<'_>,
        node: NodeId,
        epoch: Epoch,
        state: State,
    ) {
        self.raise(ctx, node, epoch);
        let Some(origin) = self.all.get_mut(&node) else {
            return;
        };
        if epoch < origin.epoch {
            return;
        }
        if let Some(since) = origin.down_since {
            self.downs.remove(&(since, node));
        }
        match state {
            State::Down => {
                let since = *origin.down_since.get_or_insert(ctx.now);
                self.downs.insert((since, node));
            }
            State::Alive | State::Suspect => origin.down_since = None,
            State::Left => {
                origin.down_since = None;
                origin.ended = origin.epoch;
                self.purge(ctx, node);
            }
        }
    }

    /// The node is forgotten: all but the mark goes.
    pub(super) fn on_forgotten(&mut self, ctx: &mut Context<'_>, node: NodeId) {
        self.purge(ctx, node);
        if let Some(origin) = self.all.get_mut(&node)
            && let Some(since) = origin.down_since.take()
        {
            self.downs.remove(&(since, node));
        }
    }

    /// The round trip to an origin was measured.
    pub(super) fn measured(&mut self, node: NodeId, round_trip: Duration) {
        if let Some(origin) = self.all.get_mut(&node) {
            origin.round_trip = Some(round_trip);
        }
    }

    /// The round trip to an origin, where it was measured.
    pub(super) fn round_trip(&self, node: NodeId) -> Option<Duration> {
        self.all.get(&node)?.round_trip
    }

    /// An origin said which set it has.
    pub(super) fn on_pulse(
        &mut self,
        ctx: &mut Context<'_>,
        node: NodeId,
        (epoch, pulse): (Epoch, Pulse),
        out: &mut Outbox,
    ) {
        // Nearly all of what is said is known.
        let news = |origin: &Origin| !origin.has(epoch, pulse);
        if self.all.get(&node).is_none_or(news) && self.admit(ctx, node, epoch) {
            self.compare(ctx, node, pulse, out);
        }
    }

    fn compare(&mut self, ctx: &mut Context<'_>, node: NodeId, pulse: Pulse, out: &mut Outbox) {
        let Some(held) = self.all.get(&node).and_then(Origin::current) else {
            self.ask(ctx, node, out);
            return;
        };
        if pulse.seq > held.set.seq {
            self.ask(ctx, node, out);
        } else if pulse.seq < held.set.seq {
            ctx.stats.stale += 1;
        } else if pulse != held.set.pulse() {
            self.mismatch(ctx, node, out);
        }
    }

    /// An origin pushed its newest batch.
    pub(super) fn on_batch(
        &mut self,
        ctx: &mut Context<'_>,
        node: NodeId,
        batch: &Batch,
        out: &mut Outbox,
    ) {
        if !self.admit(ctx, node, batch.after.epoch) {
            return;
        }
        match self.apply(ctx, node, batch, out) {
            Fate::Applied => self.have_later(ctx, node),
            Fate::Known => self.have(ctx, node, out),
            Fate::Early => {
                ctx.stats.batches_early += 1;
                self.ask(ctx, node, out);
            }
            Fate::Refused => {}
        }
    }

    /// An origin answered with the next of its log, or says again what was not acknowledged.
    pub(super) fn on_log(
        &mut self,
        ctx: &mut Context<'_>,
        node: NodeId,
        batches: &[Arc<Batch>],
        head: Summary,
        out: &mut Outbox,
    ) {
        if !self.admit(ctx, node, head.epoch) {
            return;
        }
        let mut ops = 0;
        let mut moved = false;
        for batch in batches {
            ops += batch.ops();
            if batch.after.epoch != head.epoch || ops > SLICE_KEYS {
                ctx.stats.malformed += 1;
                return;
            }
            match self.apply(ctx, node, batch, out) {
                Fate::Applied => moved = true,
                Fate::Known => {}
                // A request that is under way stands, and is sent again in time.
                Fate::Early => return self.ask(ctx, node, out),
                Fate::Refused => return,
            }
        }
        let current = self.all.get(&node).and_then(Origin::current);
        let there = current.is_some_and(|held| held.set.seq >= head.seq);
        if moved || there {
            self.answered(ctx, node);
        }
        // An answer that leads nowhere is not asked for again at once.
        self.compare(ctx, node, head.pulse(), out);
        let asks = self.all.get(&node).is_some_and(|o| o.ask.is_some());
        if there && !asks {
            self.have(ctx, node, out);
        }
    }

    /// Applies a batch as a whole, or leaves everything as it is.
    fn apply(
        &mut self,
        ctx: &mut Context<'_>,
        node: NodeId,
        batch: &Batch,
        out: &mut Outbox,
    ) -> Fate {
        let Some(held) = self.all.get(&node).and_then(Origin::current) else {
            return Fate::Early;
        };
        if batch.after.seq <= held.set.seq {
            ctx.stats.batches_known += 1;
            return Fate::Known;
        }
        if batch.after.seq - held.set.seq > 1 {
            return Fate::Early;
        }
        let Some((attached, detached)) = unpack(batch) else {
            ctx.stats.malformed += 1;
            return Fate::Refused;
        };
        if !agrees(ctx.sets, held, batch.after, &attached, &detached) {
            self.mismatch(ctx, node, out);
            return Fate::Refused;
        }
        let more = attached.len().saturating_sub(detached.len()) as u64;
        if !self.has_room(ctx, node, batch.after.count, more) {
            return Fate::Refused;
        }
        for &key in &detached {
            ctx.sets.remove(held.slot, key);
        }
        for &key in &attached {
            ctx.sets.insert(held.slot, key);
        }
        self.shown(node, held.slot, batch.after);
        ctx.stats.batches_applied += 1;
        ctx.stats.ops_applied += (attached.len() + detached.len()) as u64;
        tell(node, attached, detached, &mut |event| {
            ctx.events.push_back(event);
        });
        Fate::Applied
    }

    /// Takes note of what is shown of a node now.
    fn shown(&mut self, node: NodeId, slot: NodeSlot, set: Summary) {
        let origin = self.all.entry(node).or_default();
        debug_assert!((set.epoch, set.seq) >= origin.mark, "never back");
        origin.mark = (set.epoch, set.seq);
        origin.held = Some(Held {
            slot,
            set,
            defective: false,
        });
    }

    /// Whether what is said of this life counts; a higher one is taken note of.
    fn admit(&mut self, ctx: &mut Context<'_>, node: NodeId, epoch: Epoch) -> bool {
        self.raise(ctx, node, epoch);
        let Some(origin) = self.all.get(&node) else {
            return false;
        };
        let counts = epoch > Epoch(0) && epoch >= origin.epoch && epoch > origin.ended;
        ctx.stats.stale += u64::from(!counts);
        counts
    }

    /// Takes note of a life: what was under way for an older one is over. The older set stays as
    /// the last known until the new one is whole.
    fn raise(&mut self, ctx: &mut Context<'_>, node: NodeId, epoch: Epoch) {
        if !self.all.contains_key(&node) && !self.make_place(ctx) {
            return;
        }
        let origin = self.all.entry(node).or_default();
        if epoch > origin.epoch {
            origin.epoch = epoch;
            origin.calm_until = Instant(0);
            self.drop_incoming(ctx, node);
            self.set_ask(node, None);
        }
    }

    fn make_place(&mut self, ctx: &mut Context<'_>) -> bool {
        if self.all.len() < ORIGINS_MAX {
            return true;
        }
        let idle =
            |origin: &Origin| origin.held.is_none() && origin.incoming.is_none() && !origin.linked;
        let oldest = self
            .all
            .iter()
            .filter(|(_, origin)| idle(origin))
            .min_by_key(|(_, origin)| origin.epoch)
            .map(|(&node, _)| node);
        let Some(oldest) = oldest else {
            ctx.stats.nodes_refused += 1;
            return false;
        };
        self.on_forgotten(ctx, oldest);
        self.all.remove(&oldest);
        true
    }

    /// Shows nothing of a node any more. By slot, so by (node, epoch): a later life's set has
    /// another.
    fn purge(&mut self, ctx: &mut Context<'_>, node: NodeId) {
        self.drop_incoming(ctx, node);
        self.set_ask(node, None);
        self.set_have(node, None);
        if let Some(held) = self.all.get_mut(&node).and_then(|o| o.held.take()) {
            ctx.sets.purge(held.slot);
            ctx.stats.sets_purged += 1;
        }
    }

    /// Whether `more` routes of a node, `count` in all, have a place. If not, the set of who has been
    /// down the longest is purged and the node asked again when that may be done.
    fn has_room(&mut self, ctx: &mut Context<'_>, node: NodeId, count: u64, more: u64) -> bool {
        if count > ctx.config.origin_max {
            ctx.stats.oversized += 1;
        } else if ctx
            .sets
            .len()
            .saturating_add(self.reserved.saturating_add(more))
            > ctx.config.routes_max
        {
            ctx.stats.full += 1;
            self.purge_longest_down(ctx, node);
        } else {
            return true;
        }
        self.set_ask(node, Some(Ask::Planned(ctx.now + ctx.config.stall)));
        false
    }

    /// Makes room, see [`Config::routes_max`], unless some is being made already.
    pub(super) fn purge_longest_down(&mut self, ctx: &mut Context<'_>, but: NodeId) {
        if ctx.sets.is_due() {
            return;
        }
        let longest = self
            .downs
            .iter()
            .map(|&(_, node)| node)
            .find(|&node| node != but && self.all.get(&node).is_some_and(|o| o.held.is_some()));
        if let Some(node) = longest {
            self.purge(ctx, node);
        }
    }
}

/// What came and went, if the batch is well-formed.
fn unpack(batch: &Batch) -> Option<(Vec<RouteKey>, Vec<RouteKey>)> {
    if batch.ops() > SLICE_KEYS {
        return None;
    }
    let attached = batch.attached.unpack(SLICE_KEYS)?;
    Some((attached, batch.detached.unpack(SLICE_KEYS)?))
}

/// Whether a batch leads from what is held to the set it claims.
fn agrees(
    sets: &Sets,
    held: Held,
    after: Summary,
    attached: &[RouteKey],
    detached: &[RouteKey],
) -> bool {
    let has = |key: &RouteKey| sets.contains(held.slot, *key);
    held.set.after(attached, detached) == after
        && !attached.iter().any(has)
        && detached.iter().all(has)
}
