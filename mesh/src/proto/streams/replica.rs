//! The replica: events for this node's own store, and what is said of them.

use std::collections::BTreeMap;

use crate::event::SharedEvent;
use crate::id::{Conversation, NodeId};
use crate::proto::outbox::Outbox;
use crate::proto::output::{Note, Output, Ticket};
use crate::proto::streams::listings::Contact;
use crate::proto::streams::message::{self, ACKS_MAX, Ack, Message, Purpose, Verdict, is_valid};
use crate::proto::streams::writer::Write;
use crate::proto::streams::{Streams, Surroundings};
use crate::store::Outcome;
use crate::time::Clock;

/// Acknowledgements by coordinator: one frame each.
type Acks = BTreeMap<NodeId, Vec<Ack>>;

/// Whether a stream's contact entries are with its users, as the store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    Yes,
    No,
}

impl Streams {
    /// A coordinator sends an event.
    pub(super) fn on_offer(
        &mut self,
        near: impl Surroundings,
        clock: &mut Clock,
        from: NodeId,
        event: SharedEvent,
        purpose: Purpose,
        out: &mut Outbox,
    ) {
        if !is_valid(&event) || !clock.observe_peer(near.now(), event.id.stamp) {
            self.stats.messages_refused += 1;
            return;
        }
        let stream = event.stream();
        if purpose.shows() {
            self.show(near, stream, &event, None);
        }
        if let Some(append) = purpose.keeps() {
            let write = Write {
                event,
                stream,
                coordinator: from,
                append,
            };
            self.keep(near, write, out);
        }
    }

    /// Puts an event before this node's own store.
    pub(super) fn keep(&mut self, near: impl Surroundings, write: Write, out: &mut Outbox) {
        let (coordinator, append) = (write.coordinator, write.append);
        let accepted = self.room && self.config.storing && self.writer.push(write);
        if accepted {
            return self.write_next(out);
        }
        self.stats.events_without_room += 1;
        let ack = Ack {
            append,
            verdict: Verdict::Full,
        };
        self.acknowledge(near, Acks::from([(coordinator, vec![ack])]), out);
    }

    fn write_next(&mut self, out: &mut Outbox) {
        let tickets = &mut self.next_ticket;
        let next = self.writer.next(|| {
            *tickets += 1;
            Ticket(*tickets)
        });
        if let Some((ticket, events)) = next {
            out.push(Output::Append { ticket, events });
        }
    }

    /// The store has appended a batch.
    pub(super) fn on_outcomes(
        &mut self,
        near: impl Surroundings,
        ticket: Ticket,
        outcomes: Vec<Outcome>,
        out: &mut Outbox,
    ) {
        let Some(batch) = self.writer.done(ticket) else {
            return;
        };
        let mut acks = Acks::new();
        for (write, outcome) in batch.into_iter().zip(outcomes) {
            self.on_outcome(near, write, outcome, &mut acks, out);
        }
        self.listings.on_store_idle();
        self.write_next(out);
        self.acknowledge(near, acks, out);
    }

    fn on_outcome(
        &mut self,
        near: impl Surroundings,
        write: Write,
        outcome: Outcome,
        acks: &mut Acks,
        out: &mut Outbox,
    ) {
        let listed = |unlisted| if unlisted { Listed::No } else { Listed::Yes };
        let (verdict, listed) = match outcome {
            Outcome::Stored { unlisted } | Outcome::Beside { unlisted, .. } => {
                self.stats.events_stored += 1;
                (Verdict::Flushed, listed(unlisted))
            }
            Outcome::Known { unlisted } => (Verdict::Flushed, listed(unlisted)),
            Outcome::Twin(twin) => (Verdict::Twin(twin), Listed::Yes),
            Outcome::Full => {
                self.stats.events_without_room += 1;
                (Verdict::Full, Listed::Yes)
            }
            Outcome::Differs => {
                self.stats.events_differ += 1;
                out.push(Output::Note(Note::EventDiffers(write.event.id)));
                return;
            }
        };
        let ack = Ack {
            append: write.append,
            verdict,
        };
        let direct = matches!(write.event.conversation, Conversation::Direct(..));
        if direct && listed == Listed::No {
            self.list_first(near, write, ack, acks, out);
        } else {
            acks.entry(write.coordinator).or_default().push(ack);
        }
    }

    /// An event of a stream that is in nobody's list yet: its acknowledgement waits for that.
    fn list_first(
        &mut self,
        near: impl Surroundings,
        write: Write,
        ack: Ack,
        acks: &mut Acks,
        out: &mut Outbox,
    ) {
        match self
            .listings
            .hold(write.stream, &write.event, write.coordinator, ack)
        {
            Contact::Held => {}
            Contact::Listed(ack) => acks.entry(write.coordinator).or_default().push(ack),
            Contact::Begin(listing, entries) => {
                self.stats.contacts += 1;
                for entry in entries {
                    if !self.append_entry(near, listing, entry, out) {
                        self.listings.fail(listing);
                    }
                }
            }
        }
    }

    /// Marks what has been listed and lets go of the acknowledgements that waited for it.
    fn after_listing(&mut self, near: impl Surroundings, out: &mut Outbox) {
        while let Some(listing) = self.listed.pop_front() {
            let Some(held) = self.listings.confirm(listing, self.writer.is_busy()) else {
                continue;
            };
            let stream = listing.stream;
            out.push(Output::List { stream });
            let mut acks = Acks::new();
            for (coordinator, ack) in held {
                acks.entry(coordinator).or_default().push(ack);
            }
            self.acknowledge(near, acks, out);
        }
    }

    fn acknowledge(&mut self, near: impl Surroundings, acks: Acks, out: &mut Outbox) {
        for (coordinator, acks) in acks {
            if coordinator == near.me() {
                self.own_acks.extend(acks);
            } else {
                for acks in message::runs(acks, ACKS_MAX, message::ack_size) {
                    out.send(coordinator, Message::Acks(acks));
                }
            }
        }
    }

    /// Carries what this node's own replica says to its own appends, until nothing is left to say.
    pub(super) fn settle_acks(&mut self, near: impl Surroundings, out: &mut Outbox) {
        loop {
            self.after_listing(near, out);
            let Some(ack) = self.own_acks.pop_front() else {
                return;
            };
            self.on_ack(near, near.me(), ack, out);
        }
    }
}
