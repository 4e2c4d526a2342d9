//! Questions to all reachable storing members, and the union of what they answer.
//!
//! Until replicas repair each other, any single one may lack what it missed, so all are asked. An
//! answer is complete while fewer than two storing members failed to give theirs: every event that was
//! acknowledged with two copies is with one of the others. A node that has never been ready has yet to
//! find those whom it knows, and they may have acknowledged on one disk while it was away: a question
//! stays open for them until the node is ready, and is incomplete where that takes too long.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::event::SharedEvent;
use crate::id::EventId;
use crate::id::{NodeId, SessionId, StreamId};
use crate::proto::outbox::Outbox;
use crate::proto::output::Ticket;
use crate::proto::streams::counting::{Count, CountId};
use crate::proto::streams::drafts::LookedUp;
use crate::proto::streams::message::{Message, Part};
use crate::proto::streams::serving::{HEADS_MAX, Load};
use crate::proto::streams::union::{self, Agreement, Page};
use crate::proto::streams::{Event, Streams, Surroundings};
use crate::store::{Answer, End, Head, HeadQuery, NONCE_REACH_MS, Query, Range};
use crate::time::{Instant, Stamp};

/// After that a question is answered with what there is: many times a round trip and a read from disk.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// The most questions under way; above it one is answered at once with nothing, as incomplete.
pub(super) const READS_MAX: usize = 4_096;

/// The most events of one answer: with longest names below half a megabyte, without their bodies.
pub(super) const RANGE_EVENTS: u32 = 1_024;

/// The most bytes of events that a store is asked for.
pub(super) const RANGE_BYTES: u32 = 384 * 1024;

/// So many storing members may fail to answer a complete reading.
const MISSING_MAX: usize = 1;

/// Who wants to know.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker {
    /// The caller of [`Streams::read`].
    Client(Ticket),
    /// A draft whose nonce is not fresh.
    LookUp {
        number: u64,
        session: SessionId,
        stream: StreamId,
    },
    /// A head on whose unread messages the replicas disagree.
    Count(CountId),
}

/// A question under way.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) deadline: Instant,
    asker: Asker,
    query: Query,
    /// Those who have not answered, and what heads they have sent so far.
    waiting: Vec<(NodeId, Vec<Head>)>,
    answers: Vec<(NodeId, Answer)>,
    /// Storing members that could not be asked or did not answer.
    missing: usize,
    /// The node was not ready yet: whoever else can be reached by then is asked too.
    open: bool,
}

impl Reading {
    fn is_over(&self) -> bool {
        self.waiting.is_empty() && !self.open
    }
}

impl Streams {
    /// Asks all reachable storing members. False: too many questions are under way.
    pub(super) fn ask(
        &mut self,
        near: impl Surroundings,
        query: Query,
        asker: Asker,
        out: &mut Outbox,
    ) -> bool {
        if self.reads.len() >= READS_MAX {
            self.stats.reads_refused += 1;
            return false;
        }
        let query = bounded(query);
        let question = self.next_question;
        self.next_question += 1;
        let mut reading = Reading {
            deadline: near.now().at + READ_TIMEOUT,
            asker,
            query,
            waiting: Vec::new(),
            answers: Vec::new(),
            missing: 0,
            open: !self.ready,
        };
        self.ask_others(near, question, &mut reading, out);
        self.stats.reads += 1;
        if reading.is_over() {
            self.answered.push_back(question);
        }
        self.reads.insert(question, reading);
        true
    }

    /// Asks all reachable storing members that were not asked yet.
    fn ask_others(
        &mut self,
        near: impl Surroundings,
        question: u64,
        reading: &mut Reading,
        out: &mut Outbox,
    ) {
        let waiting = reading.waiting.iter().map(|(node, _)| *node);
        let answered = reading.answers.iter().map(|(node, _)| *node);
        let asked: BTreeSet<NodeId> = waiting.chain(answered).collect();
        reading.missing = 0;
        for &(node, _) in near.storing() {
            if asked.contains(&node) {
                continue;
            }
            if !near.reachable(node) {
                reading.missing += 1;
                continue;
            }
            let query = reading.query.clone();
            if node != near.me() {
                out.send(node, Message::Ask { question, query });
            } else if !self.load(Load::Own(question), query, out) {
                reading.missing += 1;
                continue;
            }
            reading.waiting.push((node, Vec::new()));
        }
    }

    /// Asks for the caller; the answer is an event in any case.
    pub(super) fn read_for(
        &mut self,
        near: impl Surroundings,
        ticket: Ticket,
        query: Query,
        out: &mut Outbox,
    ) {
        let bearable = !matches!(&query, Query::Heads(asked) if asked.len() > HEADS_MAX);
        let nothing = match &query {
            Query::Range(_) => Answer::Events {
                events: Vec::new(),
                more: false,
            },
            Query::Nonce { .. } => Answer::Nonce(None),
            Query::Heads(asked) => Answer::Heads(asked.iter().map(|_| no_head()).collect()),
        };
        if !bearable || !self.ask(near, query, Asker::Client(ticket), out) {
            self.answer(ticket, nothing, Completeness::Partial);
        }
    }

    /// A storing member has answered, or this node's own store.
    pub(super) fn on_part(
        &mut self,
        near: impl Surroundings,
        from: NodeId,
        question: u64,
        part: Part,
        out: &mut Outbox,
    ) {
        let Some(reading) = self.reads.get_mut(&question) else {
            return;
        };
        let Some(at) = reading.waiting.iter().position(|(node, _)| *node == from) else {
            self.stats.messages_refused += 1;
            return;
        };
        let answer = match part {
            Part::Refused => None,
            Part::Whole(answer) => Some(answer),
            Part::Heads { index, of, heads } => {
                let so_far = &mut reading.waiting[at].1;
                so_far.extend(heads);
                let room =
                    matches!(&reading.query, Query::Heads(asked) if so_far.len() <= asked.len());
                if room && index.saturating_add(1) < of {
                    return;
                }
                Some(Answer::Heads(std::mem::take(so_far)))
            }
        };
        reading.waiting.swap_remove(at);
        match answer.filter(|answer| union::answers(&reading.query, answer)) {
            Some(answer) => reading.answers.push((from, answer)),
            None => {
                self.stats.answers_refused += 1;
                reading.missing += 1;
            }
        }
        if reading.is_over() {
            self.finish_read(near, question, out);
        }
    }

    /// Some node can no longer be reached, and nobody waits for its answer; or it now can be.
    pub(super) fn revisit_read(
        &mut self,
        near: impl Surroundings,
        question: u64,
        out: &mut Outbox,
    ) {
        let Some(mut reading) = self.reads.remove(&question) else {
            return;
        };
        let before = reading.waiting.len();
        reading.waiting.retain(|(node, _)| near.reachable(*node));
        reading.missing += before - reading.waiting.len();
        if reading.open {
            self.ask_others(near, question, &mut reading, out);
            reading.open = !self.ready;
        }
        let over = reading.is_over();
        self.reads.insert(question, reading);
        if over {
            self.finish_read(near, question, out);
        }
    }

    /// Ends what has waited for too long.
    pub(super) fn tick_reads(&mut self, near: impl Surroundings, out: &mut Outbox) {
        for _ in 0..READS_SLICE {
            let Some((&question, reading)) = self.reads.first_key_value() else {
                return;
            };
            if near.now().at < reading.deadline {
                return;
            }
            self.stats.reads_timed_out += 1;
            self.finish_read(near, question, out);
        }
    }

    pub(super) fn finish_read(&mut self, near: impl Surroundings, question: u64, out: &mut Outbox) {
        let Some(reading) = self.reads.remove(&question) else {
            return;
        };
        let missing = reading.missing + reading.waiting.len();
        let complete = if reading.open {
            Completeness::Partial
        } else {
            Completeness::of(reading.answers.len(), missing)
        };
        match reading.query {
            Query::Range(range) => {
                let page = self.union_of_pages(&range, reading.answers);
                self.finish_page(near, reading.asker, page, complete, out);
            }
            Query::Nonce {
                stream,
                nonce,
                author,
            } => {
                let reach = nonce.unix_ms().saturating_sub(NONCE_REACH_MS);
                let shown = range_from(stream, Stamp::from_unix_ms(reach));
                let seen = self
                    .shown
                    .range(&shown)
                    .find(|event| event.nonce == Some(nonce) && event.author == author)
                    .cloned();
                let found = smallest(reading.answers, seen);
                self.finish_nonce(reading.asker, found, complete);
            }
            Query::Heads(asked) => {
                self.finish_heads(near, reading.asker, asked, reading.answers, complete, out);
            }
        }
    }

    fn union_of_pages(&self, range: &Range, answers: Vec<(NodeId, Answer)>) -> Page {
        let mut pages: Vec<Page> = answers
            .into_iter()
            .filter_map(|(_, answer)| match answer {
                Answer::Events { events, more } => Some(Page { events, more }),
                Answer::Nonce(_) | Answer::Heads(_) => None,
            })
            .collect();
        let enough = range.limit as usize + 1;
        let mut events: Vec<SharedEvent> = match range.end {
            End::Oldest => self.shown.range(range).take(enough).cloned().collect(),
            End::Newest => self
                .shown
                .range(range)
                .rev()
                .take(enough)
                .cloned()
                .collect(),
        };
        if range.end == End::Newest {
            events.reverse();
        }
        let more = union::cut(range, &mut events);
        pages.push(Page { events, more });
        union::pages(range, pages)
    }

    fn finish_page(
        &mut self,
        near: impl Surroundings,
        asker: Asker,
        page: Page,
        complete: Completeness,
        out: &mut Outbox,
    ) {
        match asker {
            Asker::Client(ticket) => {
                let Page { events, more } = page;
                self.answer(ticket, Answer::Events { events, more }, complete);
            }
            Asker::Count(count) => self.on_counted(near, count, &page, complete, out),
            Asker::LookUp { .. } => {}
        }
    }

    fn finish_nonce(
        &mut self,
        asker: Asker,
        found: Option<(SharedEvent, u8)>,
        complete: Completeness,
    ) {
        match asker {
            Asker::Client(ticket) => {
                let event = found.map(|(event, _)| event);
                self.answer(ticket, Answer::Nonce(event), complete);
            }
            Asker::LookUp {
                number,
                session,
                stream,
            } => self.looked_up.push_back(LookedUp {
                number,
                session,
                stream,
                found,
            }),
            Asker::Count(_) => {}
        }
    }

    fn finish_heads(
        &mut self,
        near: impl Surroundings,
        asker: Asker,
        asked: Vec<HeadQuery>,
        answers: Vec<(NodeId, Answer)>,
        complete: Completeness,
        out: &mut Outbox,
    ) {
        let Asker::Client(ticket) = asker else {
            return;
        };
        let answers: Vec<Vec<Head>> = answers
            .into_iter()
            .filter_map(|(_, answer)| match answer {
                Answer::Heads(heads) => Some(heads),
                Answer::Events { .. } | Answer::Nonce(_) => None,
            })
            .collect();
        let mut heads = Vec::with_capacity(asked.len());
        let mut differ = Vec::new();
        for (index, asked) in asked.iter().enumerate() {
            let (mut head, agreement) =
                union::heads(answers.iter().filter_map(|heads| heads.get(index)));
            let mut unsure = agreement == Agreement::Differ;
            if let Some(newest) = self.shown_above(asked.stream, head.last.as_ref()) {
                unsure |= newest.id > asked.read;
                head.last = Some(newest);
            }
            if unsure {
                differ.push(index);
            }
            heads.push(head);
        }
        let count = Count {
            ticket,
            asked,
            heads,
            complete,
        };
        self.count_unread(near, count, differ, out);
    }

    /// The newest message that was delivered here, where no answer has it yet.
    fn shown_above(&self, stream: StreamId, last: Option<&SharedEvent>) -> Option<SharedEvent> {
        let mut newer = range_from(stream, Stamp(0));
        newer.after = last.map_or(EventId::MIN, |last| last.id);
        let mut newer = self.shown.range(&newer).rev();
        newer.find(|event| union::is_message(event)).cloned()
    }

    pub(super) fn answer(&mut self, ticket: Ticket, answer: Answer, complete: Completeness) {
        if complete == Completeness::Partial {
            self.stats.reads_incomplete += 1;
        }
        self.events.push_back(Event::Read {
            ticket,
            answer,
            complete: complete == Completeness::Complete,
        });
    }
}

/// How many readings one step ends or revisits.
pub(super) const READS_SLICE: usize = 32;

/// Whether enough replicas answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completeness {
    /// Nothing acknowledged with two copies is missing.
    Complete,
    /// Something may be.
    Partial,
}

impl Completeness {
    fn of(answered: usize, missing: usize) -> Self {
        if answered > 0 && missing <= MISSING_MAX {
            Self::Complete
        } else {
            Self::Partial
        }
    }

    /// What two readings make together.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Complete, Self::Complete) => Self::Complete,
            (Self::Partial, _) | (_, Self::Partial) => Self::Partial,
        }
    }
}

fn no_head() -> Head {
    Head {
        last: None,
        unread: 0,
        unread_digest: 0,
    }
}

fn range_from(stream: StreamId, stamp: Stamp) -> Range {
    Range {
        stream,
        after: EventId { stamp, origin: 0 },
        before: EventId::MAX,
        limit: RANGE_EVENTS,
        bytes: RANGE_BYTES,
        end: End::Oldest,
    }
}

/// The question within the bounds that peers take.
fn bounded(query: Query) -> Query {
    match query {
        Query::Range(range) => Query::Range(Range {
            limit: range.limit.clamp(1, RANGE_EVENTS),
            bytes: range.bytes.min(RANGE_BYTES),
            ..range
        }),
        Query::Nonce { .. } | Query::Heads(_) => query,
    }
}

/// The event with the smallest id, and how many disks hold it.
fn smallest(
    answers: Vec<(NodeId, Answer)>,
    seen: Option<SharedEvent>,
) -> Option<(SharedEvent, u8)> {
    let mut smallest = seen.map(|event| (event, 0_u8));
    for (_, answer) in answers {
        let Answer::Nonce(Some(event)) = answer else {
            continue;
        };
        match &mut smallest {
            Some((least, disks)) if least.id == event.id => *disks = disks.saturating_add(1),
            Some((least, _)) if least.id < event.id => {}
            Some(_) | None => smallest = Some((event, 1)),
        }
    }
    smallest
}
