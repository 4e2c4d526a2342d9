//! What becomes of a message: whether it counts at all, and whose business it is.

use crate::id::{LinkId, NodeId};
use crate::proto::outbox::Outbox;
use crate::time::Now;

use super::Membership;
use super::link::{Link, Stage};
use super::message::Message;

impl Membership {
    /// A message of this layer came, over this link.
    pub(super) fn receive(&mut self, now: Now, link: LinkId, message: Message, out: &mut Outbox) {
        let Some(entry) = self.links.get(&link).filter(|_| !self.halted) else {
            self.stats.messages_ungreeted += 1;
            return;
        };
        let from = entry.peer;
        let taken = match (&entry.stage, &message) {
            (Stage::Closing | Stage::Refused, _) => false,
            (Stage::Open | Stage::Greeted(_), _) => true,
            (Stage::Greeting, message) => {
                matches!(message, Message::Greeting(_) | Message::Refused { .. })
            }
        };
        if !taken {
            self.stats.messages_ungreeted += 1;
            return;
        }
        match message {
            Message::Greeting(greeting) => self.on_greeting(now, link, greeting, out),
            Message::Refused { why } => self.on_refused(now, link, &why, out),
            Message::Heartbeat { .. }
            | Message::Members(_)
            | Message::Probe { .. }
            | Message::Check { .. }
            | Message::Checked { .. }
            | Message::Probed { .. }
            | Message::Suspect { .. }
            | Message::Stopping { .. }
            | Message::Stopped { .. } => {
                // Whoever says more than its greeting has accepted the one from here.
                self.open(now, link, out);
                if self.links.get(&link).is_some_and(Link::is_open) {
                    self.on_peer_message(now, from, Some(link), message, out);
                }
            }
        }
    }

    /// A message of this layer came through a helper.
    pub(super) fn receive_relayed(
        &mut self,
        now: Now,
        from: NodeId,
        message: Message,
        out: &mut Outbox,
    ) {
        if self.peers.contains_key(&from) && !self.halted {
            self.on_peer_message(now, from, None, message, out);
        } else {
            self.stats.messages_ignored += 1;
        }
    }

    /// A member says something; over a link, or through a helper.
    fn on_peer_message(
        &mut self,
        now: Now,
        from: NodeId,
        link: Option<LinkId>,
        message: Message,
        out: &mut Outbox,
    ) {
        match (message, link) {
            (Message::Members(members), _) => self.on_members(now, from, link, members, out),
            (
                Message::Suspect {
                    node,
                    epoch,
                    incarnation,
                },
                _,
            ) => self.on_suspect(now, from, (node, epoch, incarnation), out),
            (Message::Stopping { epoch }, _) if self.highest(from) == epoch => {
                self.set_stopping(from);
            }
            (Message::Stopped { epoch }, _) if self.highest(from) == epoch => {
                self.become_stopped(now, from, out);
            }
            (Message::Heartbeat { routes, vitals }, Some(link)) => {
                self.on_heartbeat(now, link, routes, vitals, out);
            }
            (Message::Probe { round, target }, Some(link)) => {
                self.on_probe((from, link), round, target, out);
            }
            (
                Message::Check {
                    origin,
                    epoch,
                    round,
                },
                Some(_),
            ) => self.on_check(now, from, (origin, epoch, round), out),
            (
                Message::Checked {
                    origin,
                    round,
                    epoch,
                },
                Some(_),
            ) => self.on_checked(from, (origin, round, epoch), out),
            (
                Message::Probed {
                    round,
                    target,
                    epoch,
                },
                Some(_),
            ) => self.on_probed(now, from, (round, target, epoch), out),
            (
                Message::Greeting(_)
                | Message::Refused { .. }
                | Message::Heartbeat { .. }
                | Message::Probe { .. }
                | Message::Check { .. }
                | Message::Checked { .. }
                | Message::Probed { .. }
                | Message::Stopping { .. }
                | Message::Stopped { .. },
                _,
            ) => self.stats.messages_ignored += 1,
        }
    }
}
