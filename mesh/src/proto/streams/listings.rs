//! First contact: the first event of a direct conversation puts an entry into both users' streams, and
//! is acknowledged only after that.
//!
//! The entry's id is made of the first event's stamp and the stream, its author is the user whose
//! stream it is: whichever replica makes it, and however often, it is one and the same. Where replicas
//! saw different events first, there are two entries for one conversation, which a fold takes as one.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{Event, EventKind, SharedEvent};
use crate::id::{Conversation, EventId, NodeId, StreamId, splitmix64};
use crate::proto::streams::message::Ack;
use crate::time::Stamp;

/// The most streams that are being listed at once; above it the acknowledgement is withheld, and a
/// later event of that stream tries again.
const OPEN_MAX: usize = 1 << 14;

/// The most acknowledgements held back for one stream; above it they are withheld for good.
const HELD_MAX: usize = 1_024;

/// One attempt to list a stream: what is left of a failed one does not count for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ListingId {
    pub(super) stream: StreamId,
    attempt: u64,
}

/// The streams that this replica is listing.
#[derive(Debug, Default)]
pub(super) struct Listings {
    attempts: u64,
    open: BTreeMap<StreamId, Listing>,
    /// Listed while the store was writing: what that batch says of them is out of date.
    listed: BTreeSet<StreamId>,
    /// Acknowledgements withheld for want of room or because listing failed.
    pub(super) withheld: u64,
}

#[derive(Debug)]
struct Listing {
    attempt: u64,
    entries_left: usize,
    held: Vec<(NodeId, Ack)>,
}

/// What an event of a stream that the store does not call listed has to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Contact {
    /// Nothing: the stream was listed meanwhile, here is the acknowledgement back.
    Listed(Ack),
    /// The entries under way; there was no room to hold the acknowledgement, or it is held.
    Held,
    /// These entries, to be appended now; the acknowledgement is held.
    Begin(ListingId, Vec<SharedEvent>),
}

impl Listings {
    /// Whether a stream is being listed: its events' acknowledgements wait.
    pub(super) fn hold(
        &mut self,
        stream: StreamId,
        event: &Event,
        coordinator: NodeId,
        ack: Ack,
    ) -> Contact {
        if self.listed.contains(&stream) {
            return Contact::Listed(ack);
        }
        if let Some(listing) = self.open.get_mut(&stream) {
            if listing.held.len() < HELD_MAX {
                listing.held.push((coordinator, ack));
            } else {
                self.withheld += 1;
            }
            return Contact::Held;
        }
        if self.open.len() >= OPEN_MAX {
            self.withheld += 1;
            return Contact::Held;
        }
        self.attempts += 1;
        let attempt = self.attempts;
        let entries = entries(stream, event);
        let listing = Listing {
            attempt,
            entries_left: entries.len(),
            held: vec![(coordinator, ack)],
        };
        self.open.insert(stream, listing);
        Contact::Begin(ListingId { stream, attempt }, entries)
    }

    /// One entry is on enough disks. With the last one the stream is listed: what was held.
    pub(super) fn confirm(
        &mut self,
        of: ListingId,
        store_is_busy: bool,
    ) -> Option<Vec<(NodeId, Ack)>> {
        let listing = self.attempt_mut(of)?;
        listing.entries_left -= 1;
        if listing.entries_left > 0 {
            return None;
        }
        if store_is_busy {
            self.listed.insert(of.stream);
        }
        self.open.remove(&of.stream).map(|listing| listing.held)
    }

    /// An entry could not be kept in time: what was held is withheld, the next event tries again.
    pub(super) fn fail(&mut self, of: ListingId) {
        if self.attempt_mut(of).is_some()
            && let Some(listing) = self.open.remove(&of.stream)
        {
            self.withheld += listing.held.len() as u64;
        }
    }

    fn attempt_mut(&mut self, of: ListingId) -> Option<&mut Listing> {
        let listing = self.open.get_mut(&of.stream)?;
        (listing.attempt == of.attempt).then_some(listing)
    }

    /// All that the store says from now on knows of the streams listed so far.
    pub(super) fn on_store_idle(&mut self) {
        self.listed.clear();
    }
}

/// The entries for a direct conversation's users: two, or one for notes to oneself.
fn entries(stream: StreamId, first: &Event) -> Vec<SharedEvent> {
    let Conversation::Direct(a, b) = &first.conversation else {
        return Vec::new();
    };
    let second = (a != b).then_some(b);
    [Some(a), second]
        .into_iter()
        .flatten()
        .map(|owner| {
            SharedEvent::new(Event {
                id: entry_id(stream, first.id.stamp),
                conversation: Conversation::User(owner.clone()),
                author: owner.clone(),
                nonce: None,
                kind: EventKind::Contact {
                    with: first.conversation.clone(),
                },
            })
        })
        .collect()
}

fn entry_id(stream: StreamId, stamp: Stamp) -> EventId {
    let (upper, lower) = ((stream.0 >> 64) as u64, stream.0 as u64);
    EventId {
        stamp,
        origin: splitmix64(upper ^ splitmix64(lower)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::streams::message::{AppendId, Verdict};
    use crate::proto::streams::samples::{alice_and_bob, message_at, user};

    const NODE: NodeId = NodeId([1; 32]);

    fn ack(number: u64) -> Ack {
        Ack {
            append: AppendId { number, round: 0 },
            verdict: Verdict::Flushed,
        }
    }

    fn begin(listings: &mut Listings, stamp: u64) -> (ListingId, Vec<SharedEvent>) {
        let event = message_at(stamp, "1");
        let stream = event.stream();
        match listings.hold(stream, &event, NODE, ack(stamp)) {
            Contact::Begin(listing, entries) => (listing, entries),
            other @ (Contact::Listed(_) | Contact::Held) => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_replica_makes_the_same_entries_for_both_users() {
        let (_, mine) = begin(&mut Listings::default(), 5);
        let (_, theirs) = begin(&mut Listings::default(), 5);
        assert_eq!(mine, theirs);
        let owners: Vec<_> = mine.iter().map(|entry| entry.author.clone()).collect();
        assert_eq!(owners, [user("@alice"), user("@bob")]);
        for entry in &mine {
            assert_eq!(entry.id.stamp, Stamp(5));
            let with = alice_and_bob();
            assert_eq!(entry.kind, EventKind::Contact { with });
        }
    }

    #[test]
    fn notes_to_oneself_are_listed_once() {
        let me = user("@alice");
        let mut event = Event::clone(&message_at(1, "1"));
        event.conversation = Conversation::direct(me.clone(), me);
        assert_eq!(entries(event.stream(), &event).len(), 1);
    }

    #[test]
    fn acknowledgements_wait_until_both_entries_are_confirmed() {
        let mut listings = Listings::default();
        let (listing, _) = begin(&mut listings, 1);
        let later = message_at(2, "1");
        assert_eq!(
            listings.hold(listing.stream, &later, NODE, ack(2)),
            Contact::Held
        );
        assert_eq!(listings.confirm(listing, false), None);
        let held = listings.confirm(listing, false);
        assert_eq!(held, Some(vec![(NODE, ack(1)), (NODE, ack(2))]));
        assert!(listings.open.is_empty() && listings.listed.is_empty());
    }

    #[test]
    fn a_failed_listing_withholds_and_the_next_event_tries_again() {
        let mut listings = Listings::default();
        let (failed, _) = begin(&mut listings, 1);
        listings.fail(failed);
        assert_eq!(listings.withheld, 1);
        let (second, _) = begin(&mut listings, 2);
        assert_eq!(listings.confirm(failed, false), None);
        assert_eq!(
            listings.confirm(second, false),
            None,
            "the first one's entry does not count"
        );
        assert!(listings.confirm(second, false).is_some());
    }

    #[test]
    fn what_the_store_was_writing_when_a_stream_was_listed_does_not_list_it_again() {
        let mut listings = Listings::default();
        let (listing, _) = begin(&mut listings, 1);
        listings.confirm(listing, true);
        listings.confirm(listing, true);
        let late = message_at(2, "1");
        let answer = listings.hold(listing.stream, &late, NODE, ack(2));
        assert_eq!(answer, Contact::Listed(ack(2)));
        listings.on_store_idle();
        begin(&mut listings, 3);
    }
}
