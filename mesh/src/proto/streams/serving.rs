//! This node's own store, asked by this node and by peers.

use crate::id::NodeId;
use crate::proto::outbox::Outbox;
use crate::proto::output::{Output, Ticket};
use crate::proto::streams::message::{self, Message, Part};
use crate::proto::streams::reading::{RANGE_BYTES, RANGE_EVENTS, READS_MAX};
use crate::proto::streams::{Streams, Surroundings};
use crate::store::{Answer, Query};

/// The most questions before this node's own store, own ones included; above it a peer's is refused,
/// and an own one goes without this store's answer. A reading may be over long before a slow store
/// answers, so the number of readings alone bounds nothing. The store takes more than that, and so
/// answers every one.
pub(super) const LOADS_MAX: usize = 2 * READS_MAX;

/// The most heads that one question asks for, each with a message: 16 MiB with the longest; one for
/// more is answered with nothing, as incomplete.
pub(super) const HEADS_MAX: usize = 512;

/// For whom this node's own store is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    /// For a reading of this node.
    Own(u64),
    /// For a peer.
    Peer(NodeId, u64),
}

impl Streams {
    /// Asks the store. False: too many questions are before it.
    pub(super) fn load(&mut self, load: Load, query: Query, out: &mut Outbox) -> bool {
        if self.loads.len() >= LOADS_MAX {
            self.stats.reads_refused += 1;
            return false;
        }
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.loads.insert(ticket, load);
        out.push(Output::Load { ticket, query });
        true
    }

    /// A peer asks this node's store.
    pub(super) fn on_ask(&mut self, from: NodeId, question: u64, query: Query, out: &mut Outbox) {
        let bearable = match &query {
            Query::Range(range) => range.limit <= RANGE_EVENTS && range.bytes <= RANGE_BYTES,
            Query::Nonce { .. } => true,
            Query::Heads(asked) => asked.len() <= HEADS_MAX,
        };
        if !bearable {
            self.stats.messages_refused += 1;
        } else if !self.config.storing {
            self.stats.reads_refused += 1;
        } else if self.load(Load::Peer(from, question), query, out) {
            return;
        }
        let part = Part::Refused;
        out.send(from, Message::Answer { question, part });
    }

    /// The own store has answered.
    pub(super) fn on_load(
        &mut self,
        near: impl Surroundings,
        ticket: Ticket,
        answer: Answer,
        out: &mut Outbox,
    ) {
        match self.loads.remove(&ticket) {
            None => {}
            Some(Load::Own(question)) => {
                self.on_part(near, near.me(), question, Part::Whole(answer), out);
            }
            Some(Load::Peer(node, question)) => {
                for part in parts(answer) {
                    out.send(node, Message::Answer { question, part });
                }
            }
        }
    }
}

/// An answer in frames of bounded size.
fn parts(answer: Answer) -> Vec<Part> {
    match answer {
        Answer::Nonce(_) | Answer::Events { .. } => vec![Part::Whole(answer)],
        Answer::Heads(heads) => {
            let chunks = message::runs(heads, HEADS_MAX, message::head_size);
            let of = u16::try_from(chunks.len()).expect("at most as many parts as heads");
            (0..)
                .zip(chunks)
                .map(|(index, heads)| Part::Heads { index, of, heads })
                .collect()
        }
    }
}
