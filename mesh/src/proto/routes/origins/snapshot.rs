//! Taking in a snapshot: built beside the shown set, shown in its place once it is whole.

use crate::id::{NodeId, RouteKey};
use crate::proto::outbox::Outbox;
use crate::proto::routes::message::{Message, Part, Summary};
use crate::proto::routes::origins::{Ask, Context, Origin, Origins};
use crate::proto::routes::table::NodeSlot;
use crate::proto::routes::{Event, SLICE_KEYS};

/// A snapshot that is coming in.
#[derive(Debug)]
pub(super) struct Incoming {
    slot: NodeSlot,
    of: Summary,
    parts: u32,
    /// Parts here.
    taken: u32,
    last: Option<RouteKey>,
    /// What the keys so far add up to.
    sum: Summary,
}

impl Incoming {
    fn continues(&self, part: &Part) -> bool {
        (self.of, self.parts) == (part.of, part.parts)
    }

    fn is_whole(&self) -> bool {
        self.taken == self.parts
    }

    /// Routes still to come.
    fn missing(&self) -> u64 {
        self.of.count.saturating_sub(self.sum.count)
    }
}

/// What to do with a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The first of a snapshot.
    First,
    /// The one after those that are here.
    Next,
    /// It is here: the acknowledgement got lost, or the origin began again.
    Known,
    /// None that can be used now.
    Elsewhere,
}

impl Origins {
    /// An origin sent a part of its set.
    pub(in crate::proto::routes) fn on_part(
        &mut self,
        ctx: &mut Context<'_>,
        node: NodeId,
        part: &Part,
        out: &mut Outbox,
    ) {
        if !self.admit(ctx, node, part.of.epoch) {
            return;
        }
        let Some(origin) = self.all.get(&node) else {
            return;
        };
        if !origin.awaits_answer() {
            ctx.stats.unasked += 1;
            let current = origin.current();
            if part.index == 0 && current.is_some_and(|held| part.of.seq <= held.set.seq) {
                // It answers a request that came late or twice, and takes this node for one that has
                // to catch up: told what is held, it pushes again.
                self.ask(ctx, node, out);
            }
            return;
        }
        if is_overtaken(origin, part.of) {
            ctx.stats.stale += 1;
            return;
        }
        match place(origin, part) {
            Place::First => {
                if self.begin(ctx, node, part) {
                    self.take_part(ctx, node, part, out);
                }
            }
            Place::Next => self.take_part(ctx, node, part, out),
            Place::Known => {
                ctx.stats.parts_misplaced += 1;
                self.acknowledge(ctx, node, out);
            }
            Place::Elsewhere => ctx.stats.parts_misplaced += 1,
        }
    }

    fn begin(&mut self, ctx: &mut Context<'_>, node: NodeId, part: &Part) -> bool {
        let of = part.of;
        // Every part but the only one of an empty set brings a key.
        if part.parts == 0 || u64::from(part.parts) > of.count.max(1) {
            ctx.stats.malformed += 1;
            return false;
        }
        self.drop_incoming(ctx, node);
        if !self.has_room(ctx, node, of.count, of.count) {
            return false;
        }
        let Some(slot) = ctx.sets.open(node, of.epoch) else {
            ctx.stats.full += 1;
            return false;
        };
        let incoming = Incoming {
            slot,
            of,
            parts: part.parts,
            taken: 0,
            last: None,
            sum: Summary {
                count: 0,
                fingerprint: 0,
                ..of
            },
        };
        self.reserved += incoming.missing();
        let origin = self.all.entry(node).or_default();
        origin.incoming = Some(incoming);
        origin.lapses = 0;
        true
    }

    fn take_part(&mut self, ctx: &mut Context<'_>, node: NodeId, part: &Part, out: &mut Outbox) {
        let Some(incoming) = self.all.get_mut(&node).and_then(|o| o.incoming.as_mut()) else {
            return;
        };
        let keys = part.keys.unpack(SLICE_KEYS).filter(|keys| {
            keys.first().copied() > incoming.last && keys.len() as u64 <= incoming.missing()
                || keys.is_empty() && incoming.of.count == 0
        });
        let Some(keys) = keys else {
            ctx.stats.malformed += 1;
            self.drop_incoming(ctx, node);
            return;
        };
        for &key in &keys {
            ctx.sets.insert(incoming.slot, key);
            incoming.sum.add(key);
        }
        incoming.last = keys.last().copied().or(incoming.last);
        incoming.taken += 1;
        self.reserved -= keys.len() as u64;
        if !incoming.is_whole() {
            self.acknowledge(ctx, node, out);
        } else if incoming.sum == incoming.of {
            self.whole.insert(node);
            self.set_ask(node, Some(Ask::Sent(ctx.now + ctx.config.stall)));
            self.show_whole(ctx, node, out);
        } else {
            self.mismatch(ctx, node, out);
        }
    }

    /// Asks for further parts; the request stands as long as they come.
    fn acknowledge(&mut self, ctx: &mut Context<'_>, node: NodeId, out: &mut Outbox) {
        let incoming = self.all.get(&node).and_then(|o| o.incoming.as_ref());
        let Some(incoming) = incoming.filter(|incoming| !incoming.is_whole()) else {
            return;
        };
        let ack = Message::Ack {
            epoch: incoming.of.epoch,
            seq: incoming.of.seq,
            parts: incoming.taken,
        };
        out.send(node, ack);
        self.set_ask(node, Some(Ask::Sent(ctx.now + ctx.config.stall)));
    }

    /// Shows a whole snapshot, unless the last change of this node's set is still being told.
    fn show_whole(&mut self, ctx: &mut Context<'_>, node: NodeId, out: &mut Outbox) {
        if !ctx.sets.is_settled(node) {
            return;
        }
        self.whole.remove(&node);
        let Some(origin) = self.all.get_mut(&node) else {
            return;
        };
        let Some(incoming) = origin.incoming.take() else {
            return;
        };
        if is_overtaken(origin, incoming.of) {
            // Late batches led the shown set past it while it waited.
            origin.incoming = Some(incoming);
            self.send_ask(ctx, node, out);
            return;
        }
        let before = origin.held.take();
        ctx.sets.show(incoming.slot, before.map(|held| held.slot));
        self.shown(node, incoming.slot, incoming.of);
        ctx.stats.snapshots_received += 1;
        if before.is_none_or(|held| held.set.epoch != incoming.of.epoch) {
            ctx.events.push_back(Event::Complete(node));
        }
        // The last part is acknowledged by asking for what came after it.
        self.send_ask(ctx, node, out);
    }

    /// A pass of the sweep ended: what waited for it is shown.
    pub(in crate::proto::routes) fn on_swept(&mut self, ctx: &mut Context<'_>, out: &mut Outbox) {
        for node in std::mem::take(&mut self.whole) {
            self.whole.insert(node);
            self.show_whole(ctx, node, out);
        }
    }

    /// Gives up what has come of a snapshot.
    pub(super) fn drop_incoming(&mut self, ctx: &mut Context<'_>, node: NodeId) {
        self.whole.remove(&node);
        if let Some(incoming) = self.all.get_mut(&node).and_then(|o| o.incoming.take()) {
            self.reserved -= incoming.missing();
            ctx.sets.abandon(incoming.slot);
            ctx.stats.snapshots_dropped += 1;
        }
    }
}

/// Whether a snapshot is of no use: not above what is shown, or below what was ever shown.
fn is_overtaken(origin: &Origin, of: Summary) -> bool {
    let shown = origin.current().is_some_and(|held| held.set.seq >= of.seq);
    shown || (of.epoch, of.seq) < origin.mark
}

fn place(origin: &Origin, part: &Part) -> Place {
    match &origin.incoming {
        Some(incoming) if incoming.continues(part) => {
            if part.index < incoming.taken {
                Place::Known
            } else if part.index == incoming.taken {
                Place::Next
            } else {
                Place::Elsewhere
            }
        }
        Some(incoming) if part.of.seq < incoming.of.seq => Place::Elsewhere,
        _ if part.index == 0 => Place::First,
        _ => Place::Elsewhere,
    }
}
