//! Who gets an event: replicas to keep it, nodes with a route to show it, own sessions. One frame per
//! node.

use crate::event::{Event as Fact, EventKind, SharedEvent};
use crate::id::{Conversation, NodeId, RouteKey, SessionId, StreamId};
use crate::proto::outbox::Outbox;
use crate::proto::streams::message::{AppendId, Message, Purpose};
use crate::proto::streams::sent::Keys;
use crate::proto::streams::writer::Write;
use crate::proto::streams::{Event, Streams, Surroundings};

/// An event learned so many milliseconds after its stamp is late.
const LATE_MS: u64 = 5_000;

/// Which nodes are to keep an event, and as which append they answer.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) nodes: Vec<NodeId>,
    pub(super) append: AppendId,
}

impl Streams {
    /// Sends an event to replicas, to all nodes with a route for it, and to own sessions but the one
    /// that sent it.
    pub(super) fn send_to_all(
        &mut self,
        near: impl Surroundings,
        stream: StreamId,
        event: &SharedEvent,
        sender: SessionId,
        keep: Keep,
        out: &mut Outbox,
    ) {
        let keys = keys(near, event);
        let mut nodes: Vec<NodeId> = keys
            .iter()
            .flatten()
            .flat_map(|&key| near.nodes_with(key))
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        for &node in nodes.iter().filter(|&&node| node != near.me()) {
            let purpose = if keep.nodes.contains(&node) {
                Purpose::KeepAndShow(keep.append)
            } else {
                Purpose::Show
            };
            out.send(node, offer(event, purpose));
        }
        let mut rest = keep;
        rest.nodes
            .retain(|node| *node == near.me() || !nodes.contains(node));
        self.send_to_keep(near, stream, event, rest, out);
        self.show(near, stream, event, Some(sender));
        self.sent.insert(near.now().at, keys, event.clone(), nodes);
    }

    /// Sends an event to replicas.
    pub(super) fn send_to_keep(
        &mut self,
        near: impl Surroundings,
        stream: StreamId,
        event: &SharedEvent,
        keep: Keep,
        out: &mut Outbox,
    ) {
        let me = near.me();
        for node in keep.nodes {
            if node != me {
                out.send(node, offer(event, Purpose::Keep(keep.append)));
                continue;
            }
            let write = Write {
                event: event.clone(),
                stream,
                coordinator: me,
                append: keep.append,
            };
            self.keep(near, write, out);
        }
    }

    /// Gives an event to own sessions, the first time that it comes.
    pub(super) fn show(
        &mut self,
        near: impl Surroundings,
        stream: StreamId,
        event: &SharedEvent,
        except: Option<SessionId>,
    ) {
        let now = near.now();
        if !self.shown.insert(now.at, stream, event) {
            return;
        }
        let late = now.unix_ms > event.id.stamp.unix_ms().saturating_add(LATE_MS);
        self.events.push_back(Event::Arrived {
            event: event.clone(),
            except,
            late,
        });
    }

    /// Another node attached users: what was sent for them just now goes there too.
    pub(super) fn send_recent(
        &mut self,
        near: impl Surroundings,
        node: NodeId,
        keys: &[RouteKey],
        out: &mut Outbox,
    ) {
        // Own sessions are told what was shown by what they read.
        if node == near.me() {
            return;
        }
        for event in self.sent.attached(near.now().at, node, keys) {
            self.stats.sent_to_attached += 1;
            out.send(node, offer(&event, Purpose::Show));
        }
    }
}

fn offer(event: &SharedEvent, purpose: Purpose) -> Message {
    Message::Offer {
        event: event.clone(),
        purpose,
    }
}

/// The users whom an event concerns.
fn keys(near: impl Surroundings, event: &Fact) -> Keys {
    match &event.conversation {
        Conversation::Direct(a, b) => [Some(near.key(a)), (a != b).then(|| near.key(b))],
        Conversation::User(user) => {
            let other = match &event.kind {
                // Whom one talks with sees what one has read.
                EventKind::Read { of, .. } => of.other(user).map(|other| near.key(other)),
                EventKind::Message { .. } | EventKind::Contact { .. } => None,
            };
            [Some(near.key(user)), other]
        }
        Conversation::Room(_) => [None, None],
    }
}
