//! Reading: threads that answer questions, so that nothing else waits for the database's disk.
//!
//! They also look for what an append could not prove new from memory: an id below what is in
//! blocks, a nonce that may have been stored before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mesh::event::{EventKind, SharedEvent};
use mesh::id::{EventId, Nonce, StreamId, UserName};
use mesh::proto::output::Ticket;
use mesh::store::{Answer, End, Head, HeadQuery, Query, Range, StoreError, UNREAD_MAX};

use super::block::Encoded;
use super::cursor::Cursor;
use super::database::damaged;
use super::tails::{Needle, twin_in};
use super::writer::{Command, Place};
use super::{Done, Shared};

/// Answers that are reported together at most.
const REPORT_MAX: usize = 32;

/// How long an answer may wait for others to be reported with it.
const REPORT_WITHIN: Duration = Duration::from_millis(1);

/// What a reading thread is asked.
#[derive(Debug)]
pub(super) enum Job {
    /// By the machine.
    Load {
        /// Which question.
        ticket: Ticket,
        /// What.
        query: Query,
    },
    /// By the journal's thread: what blocks hold of an event that is to be appended.
    Check {
        /// Where the answer belongs.
        place: Place,
        /// Of which stream the event is.
        stream: StreamId,
        /// The event.
        event: SharedEvent,
        /// How often this was asked.
        tries: u32,
    },
}

/// What the stream held of an event when it was looked for.
#[derive(Debug)]
pub(super) struct Checked {
    /// The event that has its id, as encoded.
    pub(super) known: Option<Bytes>,
    /// The twin with the smallest id.
    pub(super) twin: Option<SharedEvent>,
    /// The stream's number of changes when the look began.
    pub(super) changes: u64,
    /// How often it was looked for.
    pub(super) tries: u32,
}

/// Runs one reading thread.
pub(super) fn run(shared: &Arc<Shared>) {
    let mut done = Vec::new();
    while let Some(mut job) = shared.jobs.take_first() {
        let began = Instant::now();
        loop {
            match shared.work(job) {
                Ok(answered) => done.extend(answered),
                Err(e) => return shared.fail(e),
            }
            let report = done.len() >= REPORT_MAX || began.elapsed() > REPORT_WITHIN;
            if report || shared.jobs.is_empty() {
                break;
            }
            match shared.jobs.take_first() {
                Some(next) => job = next,
                None => break,
            }
        }
        if !done.is_empty() {
            (shared.report)(std::mem::take(&mut done));
        }
    }
}

impl Shared {
    fn work(&self, job: Job) -> Result<Option<Done>, StoreError> {
        match job {
            Job::Load { ticket, query } => {
                let answer = self.answer(&query)?;
                self.stats.loads.add(1);
                Ok(Some(Done::Loaded { ticket, answer }))
            }
            Job::Check {
                place,
                stream,
                event,
                tries,
            } => {
                let checked = self.check(stream, &event, tries)?;
                self.stats.checks.add(1);
                self.commands.push_first(Command::Checked {
                    place,
                    event,
                    checked,
                });
                Ok(None)
            }
        }
    }

    /// Answers a question.
    pub(super) fn answer(&self, query: &Query) -> Result<Answer, StoreError> {
        match query {
            Query::Range(range) => self.range(range),
            Query::Nonce {
                stream,
                author,
                nonce,
            } => self.nonce(*stream, author, *nonce).map(Answer::Nonce),
            Query::Heads(heads) => heads
                .iter()
                .map(|head| self.head(head))
                .collect::<Result<_, _>>()
                .map(Answer::Heads),
        }
    }

    fn cursor(&self, stream: StreamId, after: EventId, before: EventId, from: End) -> Cursor<'_> {
        Cursor::new(self, stream, after, before, from)
    }

    fn range(&self, range: &Range) -> Result<Answer, StoreError> {
        let mut cursor = self.cursor(range.stream, range.after, range.before, range.end);
        let mut events = Vec::new();
        let mut bytes = 0;
        let more = loop {
            let Some(event) = cursor.next()? else {
                break false;
            };
            bytes += event.bytes.len();
            let over = bytes > range.bytes as usize && !events.is_empty();
            if over || events.len() >= range.limit as usize {
                break true;
            }
            events.push(decode(range.stream, &event)?);
        };
        if range.end == End::Newest {
            events.reverse();
        }
        Ok(Answer::Events { events, more })
    }

    fn nonce(
        &self,
        stream: StreamId,
        author: &UserName,
        nonce: Nonce,
    ) -> Result<Option<SharedEvent>, StoreError> {
        let needle = Needle::new(author, nonce);
        let mut cursor = self.cursor(stream, below(needle.from()), EventId::MAX, End::Oldest);
        while let Some(event) = cursor.next()? {
            if twin_in(&event, &needle) {
                return decode(stream, &event).map(Some);
            }
        }
        Ok(None)
    }

    fn head(&self, query: &HeadQuery) -> Result<Head, StoreError> {
        let mut head = Head {
            last: None,
            unread: 0,
            unread_digest: 0,
        };
        let mut cursor = self.cursor(query.stream, EventId::MIN, EventId::MAX, End::Newest);
        while let Some(event) = cursor.next()? {
            let unread = event.id > query.read && head.unread < UNREAD_MAX;
            if !unread && head.last.is_some() {
                break;
            }
            let event = decode(query.stream, &event)?;
            if !matches!(event.kind, EventKind::Message { .. }) {
                continue;
            }
            if unread && event.author != query.reader {
                head.unread += 1;
                head.unread_digest ^= event.id.mix();
            }
            head.last.get_or_insert(event);
        }
        Ok(head)
    }

    fn check(
        &self,
        stream: StreamId,
        event: &SharedEvent,
        tries: u32,
    ) -> Result<Checked, StoreError> {
        let changes = self.shard(stream).changes();
        let beyond = EventId::from_u128(event.id.to_u128().saturating_add(1));
        let known = self
            .cursor(stream, below(event.id), beyond, End::Oldest)
            .next()?
            .map(|event| event.bytes);
        let twin = match event.nonce {
            Some(nonce) => self.nonce(stream, &event.author, nonce)?,
            None => None,
        };
        Ok(Checked {
            known,
            twin,
            changes,
            tries,
        })
    }
}

fn decode(stream: StreamId, event: &Encoded) -> Result<SharedEvent, StoreError> {
    event.decode().ok_or_else(|| damaged(stream, "an event"))
}

/// The id before, as far as there is one.
fn below(id: EventId) -> EventId {
    EventId::from_u128(id.to_u128().saturating_sub(1))
}
