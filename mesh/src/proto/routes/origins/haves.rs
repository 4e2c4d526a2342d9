//! Acknowledgements: an origin is told what is held of its set, so that it need not send it again.

use crate::id::NodeId;
use crate::proto::outbox::Outbox;
use crate::proto::routes::HAVE_AFTER;
use crate::proto::routes::message::Message;
use crate::proto::routes::origins::{Context, Origin, Origins};
use crate::time::Instant;

impl Origins {
    /// Something new is held: it and what comes meanwhile are acknowledged together.
    pub(super) fn have_later(&mut self, ctx: &Context<'_>, node: NodeId) {
        if self.all.get(&node).is_some_and(|o| o.have.is_none()) {
            self.set_have(node, Some(ctx.now + HAVE_AFTER));
        }
    }

    /// An origin says what is here already: it waits for the acknowledgement.
    pub(super) fn have(&mut self, ctx: &mut Context<'_>, node: NodeId, out: &mut Outbox) {
        self.set_have(node, None);
        if let Some(held) = self.all.get(&node).and_then(Origin::current) {
            ctx.stats.haves_sent += 1;
            out.send(node, Message::Have { seq: held.set.seq });
        }
    }

    /// Sends the acknowledgements that are due.
    pub(in crate::proto::routes) fn have_due(&mut self, ctx: &mut Context<'_>, out: &mut Outbox) {
        while let Some(node) = self.haves.pop(ctx.now) {
            self.have(ctx, node, out);
        }
    }

    pub(super) fn set_have(&mut self, node: NodeId, at: Option<Instant>) {
        if let Some(origin) = self.all.get_mut(&node) {
            let before = std::mem::replace(&mut origin.have, at);
            self.haves.change(node, before, at);
        }
    }
}
