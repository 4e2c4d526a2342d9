//! Where layers put what leaves the node, in order.

use std::collections::VecDeque;

use crate::id::{LinkId, NodeId};
use crate::proto::output::Output;
use crate::wire::Frame;

/// One effect, before the facade has found the way for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A frame to a node: over its link, through a helper, or counted as undeliverable.
    ToNode(NodeId, Frame),
    /// A frame over one particular connection.
    ToLink(LinkId, Frame),
    /// Anything else.
    Output(Output),
}

/// The ordered effects of one `handle`; emptied by the facade before it returns, so its length is
/// bounded by the work of one step.
#[derive(Debug, Default)]
pub struct Outbox {
    effects: VecDeque<Effect>,
}

impl Outbox {
    /// A frame to a node, whichever way leads there.
    pub(crate) fn send(&mut self, to: NodeId, message: impl Into<Frame>) {
        self.effects.push_back(Effect::ToNode(to, message.into()));
    }

    /// A frame over one connection.
    pub(crate) fn send_on(&mut self, link: LinkId, message: impl Into<Frame>) {
        self.effects.push_back(Effect::ToLink(link, message.into()));
    }

    /// Any other effect.
    pub(crate) fn push(&mut self, output: Output) {
        self.effects.push_back(Effect::Output(output));
    }

    /// Takes the oldest effect.
    pub(crate) fn pop(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}
