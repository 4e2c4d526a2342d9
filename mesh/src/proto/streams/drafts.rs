//! The coordinator, first half: from a draft to an event with an id.
//!
//! ```text
//! draft ── not ready, or others of its session go first ── waits
//!   │ fresh nonce            any other nonce: looked up at the replicas
//!   │                          │ nowhere            │ found
//!   └── stamped with an id ────┘                    └─ that event takes its place
//!              │                                                  │
//!              └─────────────── offered to replicas ──────────────┘
//! ```

use crate::event::{Event as Fact, SharedEvent};
use crate::id::{EventId, SessionId, StreamId};
use crate::proto::outbox::Outbox;
use crate::proto::output::Ticket;
use crate::proto::streams::append::{BUSY, SLICE, name};
use crate::proto::streams::lanes::Entry;
use crate::proto::streams::listings::ListingId;
use crate::proto::streams::message::is_valid;
use crate::proto::streams::pending::{Pending, Stage, Targets, Waiter};
use crate::proto::streams::reading::Asker;
use crate::proto::streams::{AppendError, Draft, Streams, Surroundings};
use crate::store::Query;
use crate::time::Clock;

/// The most appends under way on one coordinator; above it an append answers `unavailable`. At 10,000 a
/// second more than six seconds of them.
pub(super) const PENDING_MAX: usize = 1 << 16;

/// The most tries of one nonce that wait for one append; above it a try answers `unavailable`.
const WAITERS_MAX: usize = 16;

const STOPPING: &str = "this node is stopping";
const UNKNOWN: &str = "this version keeps no such event";

/// The end of a nonce's look-up.
#[derive(Debug)]
pub(super) struct LookedUp {
    pub(super) number: u64,
    pub(super) session: SessionId,
    pub(super) stream: StreamId,
    /// The event of that nonce with the smallest id, and how many disks hold it.
    pub(super) found: Option<(SharedEvent, u8)>,
}

impl Streams {
    /// A session wants an event appended.
    pub(super) fn on_draft(
        &mut self,
        near: impl Surroundings,
        clock: &mut Clock,
        ticket: Ticket,
        draft: Draft,
        out: &mut Outbox,
    ) {
        if self.stopping {
            return self.refuse(ticket, STOPPING);
        }
        let waiter = Waiter::Client {
            ticket,
            copies: draft.copies,
            again: false,
        };
        let origin = Some((draft.session, draft.hello_unix_ms));
        let event = Fact {
            id: EventId::MIN,
            conversation: draft.conversation,
            author: draft.author,
            nonce: Some(draft.nonce),
            kind: draft.kind,
        };
        if !is_valid(&event) {
            return self.refuse(ticket, UNKNOWN);
        }
        let stream = event.stream();
        let first = name(stream, &event).and_then(|name| self.names.get(&name).copied());
        if let Some(number) = first {
            return self.join(near, number, &event, ticket, draft.copies, out);
        }
        let Some(number) = self.put_pending(near, stream, event.into(), waiter, origin) else {
            return self.refuse(ticket, BUSY);
        };
        if !self.ready || !self.held.is_empty() {
            self.held.push_back(number);
            return;
        }
        self.admit(near, clock, number, out);
    }

    /// Another try of a nonce whose first is under way, or offered on.
    fn join(
        &mut self,
        near: impl Surroundings,
        number: u64,
        event: &Fact,
        ticket: Ticket,
        copies: Option<u8>,
        out: &mut Outbox,
    ) {
        let number = match self.offers.remove(&number) {
            Some(offer) => self.revive(near, offer),
            None => number,
        };
        let Some(pending) = self.pending.get_mut(&number) else {
            return self.refuse(ticket, BUSY);
        };
        if !pending.event.same_body(event) {
            return self.end(ticket, Err(AppendError::Conflict));
        }
        if pending.waiters.len() >= WAITERS_MAX {
            return self.refuse(ticket, BUSY);
        }
        pending.waiters.push(Waiter::Client {
            ticket,
            copies,
            again: true,
        });
        if pending.stage != Stage::Draft {
            self.renew(near, number, out);
            self.conclude(near, number);
        }
    }

    /// Makes an append of one that was offered on, under a new number: numbers are in the order of
    /// deadlines.
    fn revive(&mut self, near: impl Surroundings, offer: Pending) -> u64 {
        let number = self.next_append;
        self.next_append += 1;
        if let Some(name) = name(offer.stream, &offer.event) {
            self.names.insert(name, number);
        }
        let deadline = near.now().at + self.config.append_timeout;
        self.pending.insert(number, Pending { deadline, ..offer });
        number
    }

    /// Takes an append on; `None` where there are too many.
    fn put_pending(
        &mut self,
        near: impl Surroundings,
        stream: StreamId,
        event: SharedEvent,
        waiter: Waiter,
        origin: Option<(SessionId, u64)>,
    ) -> Option<u64> {
        if self.pending.len() >= PENDING_MAX {
            self.stats.appends_refused += 1;
            return None;
        }
        let number = self.next_append;
        self.next_append += 1;
        if let Some(name) = name(stream, &event) {
            self.names.insert(name, number);
        }
        let pending = Pending {
            deadline: near.now().at + self.config.append_timeout,
            stream,
            event,
            stage: Stage::Draft,
            origin,
            waiters: vec![waiter],
            duplicate: false,
            round: 0,
            targets: Targets::default(),
        };
        self.pending.insert(number, pending);
        Some(number)
    }

    /// Appends an entry that this node makes itself. False: too much is under way.
    pub(super) fn append_entry(
        &mut self,
        near: impl Surroundings,
        of: ListingId,
        entry: SharedEvent,
        out: &mut Outbox,
    ) -> bool {
        let stream = entry.stream();
        let number = self.put_pending(near, stream, entry, Waiter::Listing(of), None);
        let Some(number) = number else {
            return false;
        };
        if let Some(pending) = self.pending.get_mut(&number) {
            pending.stage = Stage::Stamped;
        }
        self.offer(near, number, out);
        true
    }

    /// Lets in what has waited for the node to be ready, a slice of it.
    pub(super) fn admit_held(
        &mut self,
        near: impl Surroundings,
        clock: &mut Clock,
        out: &mut Outbox,
    ) {
        if !self.ready {
            return;
        }
        for _ in 0..SLICE {
            let Some(number) = self.held.pop_front() else {
                return;
            };
            self.admit(near, clock, number, out);
        }
    }

    /// A draft's turn has come as far as readiness goes: at once, behind its session's others, or after
    /// a look-up.
    fn admit(&mut self, near: impl Surroundings, clock: &mut Clock, number: u64, out: &mut Outbox) {
        let Some(pending) = self.pending.get(&number) else {
            return;
        };
        let (stream, origin) = (pending.stream, pending.origin);
        let Some((session, _)) = origin else {
            return;
        };
        if !self.lanes.is_blocked(session, stream) && self.is_fresh(near, number) {
            return self.stamp(near, clock, number, out);
        }
        match self.lanes.enter(session, stream, number) {
            Entry::LookUp => self.look_up(near, number, out),
            Entry::Wait => {}
            Entry::Overflow => {
                self.stats.appends_refused += 1;
                self.fail(near, number, BUSY);
            }
        }
    }

    /// Whether a draft's nonce is tried for the first time anywhere, as far as can be told here. Notes
    /// the try.
    fn is_fresh(&mut self, near: impl Surroundings, number: u64) -> bool {
        let Some(pending) = self.pending.get(&number) else {
            return false;
        };
        let (Some(nonce), Some((_, hello_unix_ms))) = (pending.event.nonce, pending.origin) else {
            return false;
        };
        let first = self
            .nonces
            .try_first(near.now().unix_ms, pending.stream, nonce);
        first && nonce.unix_ms() >= hello_unix_ms
    }

    fn look_up(&mut self, near: impl Surroundings, number: u64, out: &mut Outbox) {
        let Some(pending) = self.pending.get(&number) else {
            return;
        };
        let (Some(nonce), Some((session, _))) = (pending.event.nonce, pending.origin) else {
            return;
        };
        let stream = pending.stream;
        let query = Query::Nonce {
            stream,
            author: pending.event.author.clone(),
            nonce,
        };
        let asker = Asker::LookUp {
            number,
            session,
            stream,
        };
        self.stats.look_ups += 1;
        if !self.ask(near, query, asker, out) {
            self.fail(near, number, BUSY);
            self.looked_up.push_back(LookedUp {
                number,
                session,
                stream,
                found: None,
            });
        }
    }

    /// Goes on where look-ups have ended: with their drafts, then with what waited for them.
    pub(super) fn after_look_ups(
        &mut self,
        near: impl Surroundings,
        clock: &mut Clock,
        out: &mut Outbox,
    ) {
        let mut budget = SLICE;
        while budget > 0
            && let Some(ended) = self.looked_up.pop_front()
        {
            let LookedUp {
                number,
                session,
                stream,
                found,
            } = ended;
            match found {
                Some((stored, disks)) => self.found(near, number, stored, disks, out),
                None => self.stamp(near, clock, number, out),
            }
            self.lanes.leave(session, stream);
            while let Some(next) = self.lanes.next_of(session, stream) {
                let gone = !self.pending.contains_key(&next);
                if !gone && !self.is_fresh(near, next) {
                    self.lanes.queue(session, stream);
                    break;
                }
                self.lanes.pass(session, stream);
                self.stamp(near, clock, next, out);
                budget = budget.saturating_sub(1);
            }
            self.next_look_up(near, session, out);
            budget = budget.saturating_sub(1);
        }
    }

    fn next_look_up(&mut self, near: impl Surroundings, session: SessionId, out: &mut Outbox) {
        let Some((stream, number)) = self.lanes.next_look_up(session) else {
            return;
        };
        if self.pending.contains_key(&number) {
            return self.look_up(near, number, out);
        }
        self.looked_up.push_back(LookedUp {
            number,
            session,
            stream,
            found: None,
        });
    }

    /// Gives a draft its id and sends it.
    fn stamp(&mut self, near: impl Surroundings, clock: &mut Clock, number: u64, out: &mut Outbox) {
        let draft = self.pending.get_mut(&number);
        let Some(pending) = draft.filter(|pending| pending.stage == Stage::Draft) else {
            return;
        };
        let event = SharedEvent::get_mut(&mut pending.event)
            .expect("a draft's event is not shared before it has its id");
        event.id = EventId {
            stamp: clock.tick(near.now()),
            origin: self.origin,
        };
        pending.stage = Stage::Stamped;
        self.offer(near, number, out);
    }
}
