//! What layers tell each other, carried by the facade.

use super::Mesh;
use crate::id::NodeId;
use crate::proto::membership::{self, Reach};
use crate::proto::output::{Note, Output};
use crate::proto::{chat, routes, streams};
use crate::time::Now;

impl Mesh {
    /// Passes facts on until no layer has one.
    pub(super) fn carry_facts(&mut self, now: Now) {
        loop {
            if let Some(event) = self.ground.membership.poll_event() {
                self.on_membership(now, event);
            } else if let Some(event) = self.ground.routes.poll_event() {
                self.on_routes(now, event);
            } else if let Some(event) = self.streams.poll_event() {
                self.on_streams(now, event);
            } else if let Some(event) = self.chat.poll_event() {
                self.on_chat(now, event);
            } else {
                return;
            }
        }
    }

    fn on_membership(&mut self, now: Now, event: membership::Event) {
        match event {
            membership::Event::Epoch(epoch) => self.ground.routes.set_epoch(epoch),
            membership::Event::Linked { node, .. } => {
                // A new link begins with what each end holds: frames of the old one may be lost.
                self.ground.fed.remove(&node);
                self.follow_reach(now, node);
                self.on_members(now, node);
            }
            membership::Event::Unlinked(node) => {
                self.stop_feeding(node);
                self.follow_reach(now, node);
                self.streams
                    .on_reach(self.ground.view(now), &mut self.outbox);
            }
            membership::Event::Changed { node, epoch, state } => {
                self.ground.routes.on_member(now, node, epoch, state);
                self.follow_reach(now, node);
                self.on_members(now, node);
            }
            membership::Event::Pulse {
                node,
                epoch,
                routes,
            } => {
                self.ground
                    .routes
                    .on_pulse(now, node, (epoch, routes), &mut self.outbox);
            }
            membership::Event::RoundTrip { node, round_trip } => {
                self.ground.routes.on_round_trip(node, round_trip);
            }
            membership::Event::Forgotten(node) => {
                self.ground.routes.on_forgotten(now, node);
                self.on_members(now, node);
            }
        }
    }

    /// Exchanges routes with whoever can be reached, over a link or through a helper.
    fn follow_reach(&mut self, now: Now, node: NodeId) {
        let reachable = self.ground.membership.reach(node) != Reach::None;
        let life = self.ground.membership.member(node);
        match life.filter(|_| reachable) {
            Some(life) if self.ground.fed.insert(node) => {
                self.ground
                    .routes
                    .on_linked(now, node, life.epoch, &mut self.outbox);
                self.chat
                    .on_linked(self.ground.view(now), node, &mut self.outbox);
            }
            Some(_) => {}
            None => self.stop_feeding(node),
        }
    }

    fn stop_feeding(&mut self, node: NodeId) {
        if self.ground.fed.remove(&node) {
            self.ground.routes.on_unlinked(node);
        }
    }

    fn on_members(&mut self, now: Now, node: NodeId) {
        let ground = &mut self.ground;
        if ground.generation == ground.membership.generation() {
            ground.refresh_sets(now);
        } else {
            ground.refresh(now);
        }
        self.streams.on_reach(ground.view(now), &mut self.outbox);
        self.chat
            .on_member(ground.view(now), node, &mut self.outbox);
    }

    fn on_routes(&mut self, now: Now, event: routes::Event) {
        match event {
            routes::Event::Changed {
                node,
                attached,
                detached,
            } => {
                let view = self.ground.view(now);
                self.chat
                    .on_routes(view, node, &attached, &detached, &mut self.outbox);
                self.streams
                    .on_attached(view, node, &attached, &mut self.outbox);
            }
            routes::Event::Complete(node) => {
                self.ground.refresh_sets(now);
                self.chat
                    .on_member(self.ground.view(now), node, &mut self.outbox);
            }
            routes::Event::Mismatch(node) => self.outbox.push(Output::Note(Note::Mismatch(node))),
        }
    }

    fn on_streams(&mut self, now: Now, event: streams::Event) {
        let view = self.ground.view(now);
        let out = &mut self.outbox;
        match event {
            streams::Event::Appended { ticket, result } => {
                self.chat.on_appended(view, ticket, result, out)
            }
            streams::Event::Read {
                ticket,
                answer,
                complete,
            } => {
                self.chat.on_read(view, ticket, answer, complete, out);
            }
            streams::Event::Arrived {
                event,
                except,
                late,
            } => {
                self.chat.on_arrived(view, event, except, late, out);
            }
        }
    }

    fn on_chat(&mut self, now: Now, event: chat::Event) {
        match event {
            chat::Event::Attach(key) => self.ground.routes.attach(now, key, &mut self.outbox),
            chat::Event::Detach(key) => self.ground.routes.detach(now, key, &mut self.outbox),
            chat::Event::Append { ticket, draft } => {
                self.streams.append(
                    self.ground.view(now),
                    &mut self.clock,
                    ticket,
                    draft,
                    &mut self.outbox,
                );
            }
            chat::Event::Read { ticket, query } => {
                self.streams
                    .read(self.ground.view(now), ticket, query, &mut self.outbox);
            }
            chat::Event::Empty => self.stopped(now),
        }
    }
}
