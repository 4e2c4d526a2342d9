//! The coordinator, second half: from an event with an id to one on enough disks.
//!
//! The event is sent at once to the first [`REPLICAS`](crate::proto::placement::REPLICAS) of its slot
//! that can be reached, to every node with a route for it, and to own sessions. Those who wait for it are
//! answered when as many disks as they asked for have flushed it. A replica that is lost or has no room is
//! replaced by the next; a smaller id of the same nonce, of which any replica tells, is adopted. At the
//! deadline the answer is `unavailable`, and what was shown goes on being offered for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::{Event as Fact, SharedEvent};
use crate::id::{NodeId, Nonce, StreamId, UserName};
use crate::proto::outbox::Outbox;
use crate::proto::output::Ticket;
use crate::proto::streams::deliver::Keep;
use crate::proto::streams::message::{Ack, AppendId, Verdict, is_valid};
use crate::proto::streams::pending::{Pending, Stage, Standing, Targets, Waiter};
use crate::proto::streams::{AppendError, Appended, Event, Streams, Surroundings};
use crate::time::Instant;

/// The most events that are offered on after their deadline; above it the newest is dropped, counted.
const OFFERS_MAX: usize = 4_096;

/// How long an event is offered on after its deadline: a partition of a minute loses nothing shown.
const OFFERED: Duration = Duration::from_secs(60);

/// How often an event is offered again after its deadline: as often as a client tries again.
const OFFER_EVERY: Duration = Duration::from_secs(5);

/// How long a node that had no room is passed over: so much later it costs one message to find out.
const FULL_FOR: Duration = Duration::from_secs(1);

/// How many appends one step expires, renews or revisits: well below a millisecond.
pub(super) const SLICE: usize = 256;

/// Too much is under way: of the node, of a session, or of one nonce.
pub(super) const BUSY: &str = "this node has too many messages under way";
const NOT_READY: &str = "this node is not ready";
const NO_REPLICA: &str = "no storing node can be reached";
const NO_ROOM: &str = "no storing node has room";
const TOO_LATE: &str = "too few disks answered in time";

/// The name of a message.
pub(super) type Name = (StreamId, Nonce, UserName);

impl Streams {
    /// Sends an event to as many replicas as it lacks and, the first time, to all whom it concerns.
    /// Where no disk can be had it is shown to nobody.
    pub(super) fn offer(&mut self, near: impl Surroundings, number: u64, out: &mut Outbox) {
        let (room, full) = (self.room, &self.full);
        let (me, at) = (near.me(), near.now().at);
        let Some(pending) = pending_mut(&mut self.pending, &mut self.offers, number) else {
            return;
        };
        let mut saw_full = false;
        let order = near.replicas(pending.stream.slot());
        let asked = pending.targets.fill(order, |node| {
            let has_room = if node == me {
                room
            } else {
                full.get(&node).is_none_or(|&until| until <= at)
            };
            let may_keep = near.takes_appends(node);
            saw_full |= may_keep && !has_room;
            may_keep && has_room
        });
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
            Verdict::Twin(twin) => self.on_twin(near, number, twin, out),
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
        // Another replica told of it before, and all have been asked to keep it since.
        if twin.id == pending.event.id {
            return true;
        }
        if !twin.is_twin_of(&pending.event) || !is_valid(&twin) {
            return false;
        }
        if twin.id > pending.event.id {
            return true;
        }
        let Some(round) = pending.round.checked_add(1) else {
            self.conflict(number);
            return true;
        };
        pending.round = round;
        self.stats.ids_adopted += u64::from(twin.same_body(&pending.event));
        self.adopt(near, number, twin, Stage::Stamped, out);
        true
    }

    /// A draft's nonce names an event on so many disks. Where they are enough for those who wait it is
    /// kept only: it was shown.
    pub(super) fn found(
        &mut self,
        near: impl Surroundings,
        number: u64,
        stored: SharedEvent,
        disks: u8,
        out: &mut Outbox,
    ) {
        let Some(pending) = self.pending.get(&number) else {
            return;
        };
        let min_copies = self.config.min_copies;
        let suffices = |waiter: &Waiter| enough(near, *waiter, min_copies, disks) != Enough::No;
        let stage = if pending.waiters.iter().all(suffices) {
            Stage::Sent
        } else {
            Stage::Stamped
        };
        self.adopt(near, number, stored, stage, out);
    }

    /// A stored event of the same name takes the place of this one and is offered from that stage on. No
    /// copy counts before its disk is asked again: its node may have died before it listed the stream.
    fn adopt(
        &mut self,
        near: impl Surroundings,
        number: u64,
        stored: SharedEvent,
        stage: Stage,
        out: &mut Outbox,
    ) {
        let Some(pending) = pending_mut(&mut self.pending, &mut self.offers, number) else {
            return;
        };
        if !pending.event.same_body(&stored) {
            return self.conflict(number);
        }
        pending.event = stored;
        pending.duplicate = true;
        pending.stage = stage;
        pending.targets = Targets::default();
        self.offer(near, number, out);
    }

    /// Answers those who waited for no more disks than have flushed.
    pub(super) fn conclude(&mut self, near: impl Surroundings, number: u64) {
        let min_copies = self.config.min_copies;
        let Some(pending) = pending_mut(&mut self.pending, &mut self.offers, number) else {
            return;
        };
        let copies = pending.targets.copies();
        let (mut index, mut answered) = (0, false);
        while let Some(&waiter) = pending.waiters.get(index) {
            let enough = enough(near, waiter, min_copies, copies);
            if enough == Enough::No {
                index += 1;
                continue;
            }
            answered = true;
            pending.waiters.swap_remove(index);
            match waiter {
                Waiter::Client { ticket, again, .. } => {
                    let duplicate = pending.duplicate || again;
                    self.stats.appends += u64::from(!duplicate);
                    self.stats.appends_duplicate += u64::from(duplicate);
                    self.stats.appends_lowered += u64::from(enough == Enough::Lowered);
                    let result = Ok(Appended {
                        id: pending.event.id,
                        copies,
                        duplicate,
                    });
                    self.events.push_back(Event::Appended { ticket, result });
                }
                Waiter::Listing(listing) => self.listed.push_back(listing),
            }
        }
        let nobody_waits = pending.waiters.is_empty();
        if nobody_waits && (answered || copies >= min_copies.max(2)) {
            self.remove(number);
        } else if pending.targets.all_full() && self.pending.contains_key(&number) {
            self.fail(near, number, NO_ROOM);
        }
    }

    /// The nonce names an event with another body.
    pub(super) fn conflict(&mut self, number: u64) {
        let Some(pending) = self.remove(number) else {
            return;
        };
        self.stats.appends_conflict += 1;
        for waiter in pending.waiters {
            match waiter {
                Waiter::Client { ticket, .. } => self.end(ticket, Err(AppendError::Conflict)),
                Waiter::Listing(listing) => self.listings.fail(listing),
            }
        }
    }

    /// Ends an append without success. What was shown goes on being offered.
    pub(super) fn fail(&mut self, near: impl Surroundings, number: u64, why: &'static str) {
        let Some(mut pending) = self.remove(number) else {
            return;
        };
        for waiter in std::mem::take(&mut pending.waiters) {
            match waiter {
                Waiter::Client { ticket, .. } => {
                    self.stats.appends_unavailable += 1;
                    self.end(ticket, Err(AppendError::Unavailable(why)));
                }
                Waiter::Listing(listing) => self.listings.fail(listing),
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

    pub(super) fn refuse(&mut self, ticket: Ticket, why: &'static str) {
        self.stats.appends_unavailable += 1;
        self.end(ticket, Err(AppendError::Unavailable(why)));
    }

    pub(super) fn end(&mut self, ticket: Ticket, result: Result<Appended, AppendError>) {
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
    pub(super) fn renew(&mut self, near: impl Surroundings, number: u64, out: &mut Outbox) {
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

pub(super) fn name(stream: StreamId, event: &Fact) -> Option<Name> {
    Some((stream, event.nonce?, event.author.clone()))
}

/// Whether an append is on enough disks for one who waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
