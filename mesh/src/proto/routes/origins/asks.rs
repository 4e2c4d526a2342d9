//! Requests: what is missing is asked for once at a time, and again when no answer comes.

use std::time::Duration;

use crate::id::NodeId;
use crate::proto::outbox::Outbox;
use crate::proto::routes::message::Message;
use crate::proto::routes::origins::{Context, Origin, Origins};
use crate::proto::routes::{Event, patience};
use crate::time::Instant;

/// The least wait for an answer, where a round trip is shorter: what a loaded node takes to answer.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// The wait is doubled so often at most.
const LAPSES_MAX: u32 = 8;

/// A request that is due or under way: never more than one per origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// To be sent then, not before.
    Planned(Instant),
    /// Sent; sent again then, unless it is answered.
    Sent(Instant),
}

impl Ask {
    fn at(self) -> Instant {
        match self {
            Self::Planned(at) | Self::Sent(at) => at,
        }
    }
}

impl Origins {
    /// When [`Origins::ask_due`] or [`Origins::have_due`] has something to do.
    pub(in crate::proto::routes) fn deadline(&self) -> Option<Instant> {
        let next = [self.asks.next(), self.haves.next()];
        next.into_iter().flatten().min()
    }

    /// What came disagrees with itself or with what is held: fetched anew, but at most once in a
    /// while, should the origin itself be the defect.
    pub(super) fn mismatch(&mut self, ctx: &mut Context<'_>, node: NodeId, out: &mut Outbox) {
        let origin = self.all.entry(node).or_default();
        if let Some(held) = &mut origin.held
            && held.set.epoch == origin.epoch
        {
            held.defective = true;
        }
        ctx.stats.mismatches += 1;
        ctx.events.push_back(Event::Mismatch(node));
        let calm_until = origin.calm_until;
        if ctx.now < calm_until {
            self.drop_incoming(ctx, node);
            self.set_ask(node, Some(Ask::Planned(calm_until)));
        } else {
            origin.calm_until = ctx.now + ctx.config.stall;
            self.send_ask(ctx, node, out);
        }
    }

    /// Asks for what is missing, unless that is under way.
    pub(super) fn ask(&mut self, ctx: &mut Context<'_>, node: NodeId, out: &mut Outbox) {
        if self.all.get(&node).is_some_and(|o| o.ask.is_none()) {
            self.send_ask(ctx, node, out);
        }
    }

    pub(super) fn send_ask(&mut self, ctx: &mut Context<'_>, node: NodeId, out: &mut Outbox) {
        self.drop_incoming(ctx, node);
        let Some(origin) = self.all.get_mut(&node) else {
            return;
        };
        if origin.held.is_some_and(|held| held.defective) {
            origin.calm_until = ctx.now + ctx.config.stall;
        }
        let held = origin.current().map(|held| held.set).unwrap_or_default();
        ctx.stats.resumes_sent += 1;
        let wait = patience(RETRY_MIN, origin.round_trip) * (1 << origin.lapses.min(LAPSES_MAX));
        out.send(node, Message::Resume(held));
        self.set_ask(node, Some(Ask::Sent(ctx.now + wait.min(ctx.config.retry))));
        // It says what is held, too.
        self.set_have(node, None);
    }

    /// What was asked for came, or came unasked.
    pub(super) fn answered(&mut self, ctx: &mut Context<'_>, node: NodeId) {
        self.drop_incoming(ctx, node);
        self.set_ask(node, None);
        if let Some(origin) = self.all.get_mut(&node) {
            origin.lapses = 0;
        }
    }

    pub(super) fn set_ask(&mut self, node: NodeId, ask: Option<Ask>) {
        if let Some(origin) = self.all.get_mut(&node) {
            let before = std::mem::replace(&mut origin.ask, ask);
            self.asks
                .change(node, before.map(Ask::at), ask.map(Ask::at));
        }
    }

    /// Sends what is due. A request to a node without a link is not sent again: its next summary,
    /// through a helper, leads to one.
    pub(in crate::proto::routes) fn ask_due(&mut self, ctx: &mut Context<'_>, out: &mut Outbox) {
        let due: Vec<_> = std::iter::from_fn(|| self.asks.pop(ctx.now)).collect();
        for node in due {
            let origin = self.all.get(&node);
            let lapsed = origin.is_some_and(Origin::awaits_answer);
            let linked = origin.is_some_and(|origin| origin.linked);
            ctx.stats.resumes_lapsed += u64::from(lapsed);
            self.set_ask(node, None);
            if let Some(origin) = self.all.get_mut(&node).filter(|_| lapsed) {
                origin.lapses = origin.lapses.saturating_add(1);
            }
            if linked || !lapsed {
                self.send_ask(ctx, node, out);
            } else {
                self.drop_incoming(ctx, node);
            }
        }
    }
}
