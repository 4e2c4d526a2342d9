//! The coordinator: from a draft to an event on enough disks.
//!
//! ```text
//! draft ── not ready, or others of its session first ── waits
//!   │  fresh nonce                 any other nonce: looked up at the replicas
//!   │                                │ nowhere          │ found
//!   └──────── stamped with an id ────┘                  └─ that event, with the disks that have it
//!                    │
//!       sent: to the first three reachable replicas, to every node with a route, to own sessions
//!                    │
//!       W flushed: ok        smaller id heard: adopted, sent anew        deadline: unavailable,
//!                                                                        offered on for a while
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::{Event as Fact, SharedEvent};
use crate::id::{EventId, NodeId, Nonce, SessionId, StreamId, UserName};
use crate::proto::outbox::Outbox;
use crate::proto::output::Ticket;
use crate::proto::streams::deliver::Keep;
use crate::proto::streams::lanes::Entry;
use crate::proto::streams::message::{Ack, AppendId, Verdict};
use crate::proto::streams::pending::{Pending, Stage, Standing, Targets, Waiter};
use crate::proto::streams::reading::Purpose as Reason;
use crate::proto::streams::{AppendError, Appended, Draft, Event, Streams, Surroundings};
use crate::store::Query;
use crate::time::{Clock, Instant};

/// The most appends under way on one coordinator; above it an append answers `unavailable`. At 10,000 a
/// second more than six seconds of them.
pub(super) const PENDING_MAX: usize = 1 << 16;

/// The most tries of one nonce that wait for one append; above it a try answers `unavailable`.
const WAITERS_MAX: usize = 16;

/// The most events that are offered on after their deadline; above it the newest is dropped, counted.
const OFFERS_MAX: usize = 4_096;

/// How long an event is offered on after its deadline: a partition of a minute loses nothing shown.
const OFFERED: Duration = Duration::from_secs(60);

/// How often an event is offered again after its deadline.
pub(super) const OFFER_EVERY: Duration = Duration::from_secs(5);

/// How long a node that had no room is passed over: so much later it costs one message to find out.
const FULL_FOR: Duration = Duration::from_secs(1);

/// How many appends one step expires, renews or revisits: well below a millisecond.
pub(super) const SLICE: usize = 256;

const STOPPING: &str = "this node is stopping";
const BUSY: &str = "this node has too many messages under way";
const NOT_READY: &str = "this node is not ready";
const NO_REPLICA: &str = "no storing node can be reached";
const NO_ROOM: &str = "no storing node has room";
const TOO_LATE: &str = "too few disks answered in time: it may or may not be stored";

/// The name of a message.
pub(super) type Name = (StreamId, Nonce, UserName);

/// The end of a nonce's look-up.
#[derive(Debug)]
pub(super) struct LookedUp {
    pub(super) number: u64,
    pub(super) session: SessionId,
    pub(super) stream: StreamId,
    /// The event of that nonce with the smallest id, and the nodes whose disks hold it.
    pub(super) found: Option<(SharedEvent, Vec<NodeId>)>,
}

impl Streams {
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
        let stream = event.stream();
        if let Some(&number) = self
            .names
            .get(&name(stream, &event).expect("drafts have nonces"))
        {
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
        of: StreamId,
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
        let reason = Reason::LookUp {
            number,
            session,
            stream,
        };
        self.stats.look_ups += 1;
        if !self.ask(near, query, reason, out) {
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
        for _ in 0..SLICE {
            let Some(ended) = self.looked_up.pop_front() else {
                return;
            };
            let LookedUp {
                number,
                session,
                stream,
                found,
            } = ended;
            match found {
                Some((event, holders)) => self.found(near, number, event, holders, out),
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
            }
            self.next_look_up(near, session, out);
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

    /// A draft's nonce names a stored event: that one takes its place.
    fn found(
        &mut self,
        near: impl Surroundings,
        number: u64,
        event: SharedEvent,
        holders: Vec<NodeId>,
        out: &mut Outbox,
    ) {
        let Some(pending) = self.pending.get_mut(&number) else {
            return;
        };
        if !pending.event.same_body(&event) {
            return self.conflict(number);
        }
        pending.event = event;
        pending.stage = Stage::Stamped;
        pending.duplicate = true;
        pending.targets = Targets::holding(holders);
        self.conclude(near, number);
        self.offer(near, number, out);
    }

    /// Gives a draft its id and sends it.
    fn stamp(&mut self, near: impl Surroundings, clock: &mut Clock, number: u64, out: &mut Outbox) {
        let Some(pending) = self.pending.get_mut(&number) else {
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

    /// Sends an event to as many replicas as it lacks and, the first time, to all whom it concerns.
    /// Where no disk can be had it is shown to nobody.
    fn offer(&mut self, near: impl Surroundings, number: u64, out: &mut Outbox) {
        let (room, full) = (self.room, &self.full);
        let (me, at) = (near.me(), near.now().at);
        let Some(pending) = pending_mut(&mut self.pending, &mut self.offers, number) else {
            return;
        };
        let mut saw_full = false;
        let mut order = near.replicas(pending.stream.slot()).filter(|&node| {
            let has_room = if node == me {
                room
            } else {
                full.get(&node).is_none_or(|&until| until <= at)
            };
            saw_full |= !has_room;
            has_room
        });
        let asked = pending
            .targets
            .fill(&mut order, |node| near.takes_appends(node));
        drop(order);
        if pending.targets.is_empty() {
            if saw_full && self.pending.contains_key(&number) {
                self.fail(near, number, NO_ROOM);
            }
            return;
        }
        let first = pending.stage == Stage::Stamped;
        pending.stage = Stage::Sent;
        let keep = Keep {
            nodes: asked,
            append: AppendId {
                number,
                round: pending.round,
            },
        };
        let (event, stream) = (pending.event.clone(), pending.stream);
        let origin = pending.origin;
        if first && let Some((session, _)) = origin {
            self.send_to_all(near, stream, &event, session, keep, out);
        } else {
            self.send_to_keep(near, stream, &event, keep, out);
        }
    }

    /// A replica, this node's own store included, says what became of an event.
    pub(super) fn on_ack(
        &mut self,
        near: impl Surroundings,
        from: NodeId,
        ack: Ack,
        out: &mut Outbox,
    ) {
        let number = ack.append.number;
        let Some(pending) = pending_mut(&mut self.pending, &mut self.offers, number) else {
            return;
        };
        let current = pending.round == ack.append.round && pending.stage == Stage::Sent;
        let known = match ack.verdict {
            Verdict::Flushed if current => pending.targets.answer(from, Standing::Flushed),
            Verdict::Full if current => {
                let known = pending.targets.answer(from, Standing::Full);
                if known {
                    self.full.insert(from, near.now().at + FULL_FOR);
                    self.offer(near, number, out);
                }
                known
            }
            // About an id that a smaller one has replaced.
            Verdict::Flushed | Verdict::Full => true,
            Verdict::Twin(twin) => self.on_twin(near, from, number, twin, out),
        };
        if !known {
            self.stats.messages_refused += 1;
        }
        self.conclude(near, number);
    }

    /// A replica holds this nonce under another id: the smaller one is adopted. False: it is no twin.
    fn on_twin(
        &mut self,
        near: impl Surroundings,
        from: NodeId,
        number: u64,
        twin: SharedEvent,
        out: &mut Outbox,
    ) -> bool {
        let Some(pending) = pending_mut(&mut self.pending, &mut self.offers, number) else {
            return true;
        };
        if pending.stage == Stage::Draft {
            return false;
        }
        if twin.id == pending.event.id {
            return pending.targets.answer(from, Standing::Flushed);
        }
        if !twin.is_twin_of(&pending.event) {
            return false;
        }
        if twin.id > pending.event.id {
            return true;
        }
        let same_body = twin.same_body(&pending.event);
        let Some(round) = pending.round.checked_add(1).filter(|_| same_body) else {
            self.conflict(number);
            return true;
        };
        self.stats.ids_adopted += 1;
        pending.event = twin;
        pending.duplicate = true;
        pending.round = round;
        pending.stage = Stage::Stamped;
        pending.targets.restart(from);
        let again = Keep {
            nodes: pending.targets.renew(),
            append: AppendId { number, round },
        };
        let (event, stream) = (pending.event.clone(), pending.stream);
        self.send_to_keep(near, stream, &event, again, out);
        self.offer(near, number, out);
        true
    }

    /// Answers those who waited for no more disks than have flushed.
    pub(super) fn conclude(&mut self, near: impl Surroundings, number: u64) {
        let min_copies = self.config.min_copies;
        let Some(pending) = pending_mut(&mut self.pending, &mut self.offers, number) else {
            return;
        };
        let copies = pending.targets.copies();
        let (id, duplicate) = (pending.event.id, pending.duplicate);
        let waiters = std::mem::take(&mut pending.waiters);
        let (mut left, mut answered) = (Vec::new(), Vec::new());
        for waiter in waiters {
            match enough(near, waiter, min_copies, copies) {
                Enough::No => left.push(waiter),
                Enough::Yes => answered.push(waiter),
                Enough::Lowered => {
                    let of_client = matches!(waiter, Waiter::Client { .. });
                    self.stats.appends_lowered += u64::from(of_client);
                    answered.push(waiter);
                }
            }
        }
        let done = left.is_empty() && (!answered.is_empty() || copies >= 2.max(min_copies));
        let no_room = pending.targets.all_full();
        pending.waiters = left;
        for waiter in answered {
            match waiter {
                Waiter::Client { ticket, again, .. } => {
                    let duplicate = duplicate || again;
                    self.stats.appends += u64::from(!duplicate);
                    self.stats.appends_duplicate += u64::from(duplicate);
                    let appended = Appended {
                        id,
                        copies,
                        duplicate,
                    };
                    self.end(ticket, Ok(appended));
                }
                Waiter::Listing(stream) => self.listed.push_back(stream),
            }
        }
        if done {
            self.remove(number);
        } else if no_room && self.pending.contains_key(&number) {
            self.fail(near, number, NO_ROOM);
        }
    }

    /// The nonce names an event with another body.
    fn conflict(&mut self, number: u64) {
        let Some(pending) = self.remove(number) else {
            return;
        };
        self.stats.appends_conflict += 1;
        for waiter in pending.waiters {
            match waiter {
                Waiter::Client { ticket, .. } => self.end(ticket, Err(AppendError::Conflict)),
                Waiter::Listing(stream) => self.listings.fail(stream),
            }
        }
    }

    /// Ends an append without success. What was shown goes on being offered.
    fn fail(&mut self, near: impl Surroundings, number: u64, why: &'static str) {
        let Some(mut pending) = self.remove(number) else {
            return;
        };
        for waiter in std::mem::take(&mut pending.waiters) {
            match waiter {
                Waiter::Client { ticket, .. } => {
                    self.stats.appends_unavailable += 1;
                    self.end(ticket, Err(AppendError::Unavailable(why)));
                }
                Waiter::Listing(stream) => self.listings.fail(stream),
            }
        }
        if pending.stage != Stage::Sent || pending.origin.is_none() {
            return;
        }
        if self.offers.len() >= OFFERS_MAX {
            self.stats.offers_dropped += 1;
            return;
        }
        let at = near.now().at;
        pending.deadline = at + OFFERED;
        if let Some(name) = name(pending.stream, &pending.event) {
            self.names.insert(name, number);
        }
        self.offers.insert(number, pending);
        self.offers_due.get_or_insert(at + OFFER_EVERY);
    }

    fn remove(&mut self, number: u64) -> Option<Pending> {
        let pending = self
            .pending
            .remove(&number)
            .or_else(|| self.offers.remove(&number))?;
        if let Some(name) = name(pending.stream, &pending.event) {
            self.names.remove(&name);
        }
        Some(pending)
    }

    fn refuse(&mut self, ticket: Ticket, why: &'static str) {
        self.stats.appends_unavailable += 1;
        self.end(ticket, Err(AppendError::Unavailable(why)));
    }

    fn end(&mut self, ticket: Ticket, result: Result<Appended, AppendError>) {
        self.events.push_back(Event::Appended { ticket, result });
    }

    /// Some node came or went: what lost a replica asks the next.
    pub(super) fn revisit(&mut self, near: impl Surroundings, number: u64, out: &mut Outbox) {
        let Some(pending) = pending_mut(&mut self.pending, &mut self.offers, number) else {
            return;
        };
        if pending.stage == Stage::Draft {
            return;
        }
        pending.targets.lose(near);
        self.offer(near, number, out);
        self.conclude(near, number);
    }

    /// Sends again to who has not answered: a frame may have been lost.
    fn renew(&mut self, near: impl Surroundings, number: u64, out: &mut Outbox) {
        let Some(pending) = pending_mut(&mut self.pending, &mut self.offers, number) else {
            return;
        };
        if pending.stage != Stage::Sent {
            return;
        }
        pending.targets.lose(near);
        let append = AppendId {
            number,
            round: pending.round,
        };
        let nodes = pending.targets.renew();
        let (event, stream) = (pending.event.clone(), pending.stream);
        self.send_to_keep(near, stream, &event, Keep { nodes, append }, out);
        self.offer(near, number, out);
    }

    /// Expires and renews what is due, a slice of each.
    pub(super) fn tick_appends(&mut self, near: impl Surroundings, out: &mut Outbox) {
        let at = near.now().at;
        self.full.retain(|_, until| at < *until);
        for _ in 0..SLICE {
            let Some((&number, pending)) = self.pending.first_key_value() else {
                break;
            };
            if at < pending.deadline {
                break;
            }
            let why = match pending.stage {
                Stage::Draft if !self.ready => NOT_READY,
                Stage::Draft => BUSY,
                Stage::Stamped => NO_REPLICA,
                Stage::Sent => TOO_LATE,
            };
            self.fail(near, number, why);
        }
        // What waits for readiness expires in order, so the queue is no longer than what is pending.
        while let Some(number) = self.held.front()
            && !self.pending.contains_key(number)
        {
            self.held.pop_front();
        }
        for _ in 0..SLICE {
            let Some((number, due)) = self.next_renewal() else {
                break;
            };
            if at < due {
                break;
            }
            self.renewed = number + 1;
            self.renew(near, number, out);
        }
        if self.offers_due.is_some_and(|due| due <= at) {
            self.offers_due = (!self.offers.is_empty()).then(|| at + OFFER_EVERY);
            self.offering.start();
        }
        self.offer_on(near, out);
    }

    /// The next append to be sent again, half-way to its deadline, and when.
    pub(super) fn next_renewal(&self) -> Option<(u64, Instant)> {
        let (&number, pending) = self.pending.range(self.renewed..).next()?;
        Some((number, pending.deadline - self.config.append_timeout / 2))
    }

    /// Offers on what was shown and is not on enough disks, a slice of it.
    fn offer_on(&mut self, near: impl Surroundings, out: &mut Outbox) {
        for number in self.offering.slice(&self.offers, SLICE) {
            let over = self
                .offers
                .get(&number)
                .is_some_and(|offer| offer.deadline <= near.now().at);
            if over {
                self.stats.offers_dropped += 1;
                self.remove(number);
            } else {
                self.renew(near, number, out);
            }
        }
    }
}

/// An append under way, or one that is offered on.
fn pending_mut<'a>(
    pending: &'a mut BTreeMap<u64, Pending>,
    offers: &'a mut BTreeMap<u64, Pending>,
    number: u64,
) -> Option<&'a mut Pending> {
    pending.get_mut(&number).or_else(|| offers.get_mut(&number))
}

fn name(stream: StreamId, event: &Fact) -> Option<Name> {
    Some((stream, event.nonce?, event.author.clone()))
}

/// Whether an append is on enough disks for one who waits for it.
enum Enough {
    No,
    Yes,
    /// On one disk, which is enough since no second can be had.
    Lowered,
}

fn enough(near: impl Surroundings, waiter: Waiter, min_copies: u8, copies: u8) -> Enough {
    let least = match waiter {
        Waiter::Client { .. } => min_copies,
        Waiter::Listing(_) => 1,
    };
    let wanted = waiter.copies().unwrap_or(2).max(least);
    if copies >= wanted {
        return Enough::Yes;
    }
    let may_lower = waiter.copies().is_none() && copies >= least.max(1);
    if may_lower && !has_two_disks(near) {
        Enough::Lowered
    } else {
        Enough::No
    }
}

/// Whether two storing nodes or more can be appended to. Looks at few: most can.
fn has_two_disks(near: impl Surroundings) -> bool {
    let storing = near.storing().iter();
    let takes = storing.filter(|&&(node, _)| near.takes_appends(node));
    takes.take(2).count() == 2
}
