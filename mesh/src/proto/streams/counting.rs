//! Exact counts of unread messages where replicas disagree: each may lack what another has, so that
//! neither the greatest nor the sum of their counts is right. The messages themselves are read, a page
//! at a time, and counted.

use std::collections::VecDeque;

use crate::id::EventId;
use crate::proto::outbox::Outbox;
use crate::proto::output::Ticket;
use crate::proto::streams::reading::{
    Asker, Completeness, RANGE_BYTES, RANGE_EVENTS, READ_TIMEOUT,
};
use crate::proto::streams::union::{self, Page};
use crate::proto::streams::{Streams, Surroundings};
use crate::store::{Answer, End, Head, HeadQuery, Query, Range, UNREAD_MAX};
use crate::time::Instant;

/// How many streams of one question are counted at once.
const AT_ONCE: usize = 8;

/// The most pages that are read of one stream: enough for [`UNREAD_MAX`] messages of two kilobytes
/// each among as many own ones; above it the greatest count of a replica stands.
const PAGES_MAX: u8 = 8;

/// The answer to a question for heads, on its way.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) ticket: Ticket,
    pub(super) asked: Vec<HeadQuery>,
    /// With the greatest count of a replica, until it is counted.
    pub(super) heads: Vec<Head>,
    pub(super) complete: Completeness,
}

/// A question for heads, some of which are being counted.
#[derive(Debug)]
pub(super) struct Counting {
    count: Count,
    left: VecDeque<usize>,
    open: usize,
    /// After that no further stream is counted.
    deadline: Instant,
}

/// One page of one stream's count.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountId {
    number: u64,
    index: usize,
    pages: u8,
    /// Counted on earlier pages.
    unread: u32,
    digest: u64,
}

impl Streams {
    /// Answers a question for heads, after counting the unread messages of those at `differ`.
    pub(super) fn count_unread(
        &mut self,
        near: impl Surroundings,
        count: Count,
        differ: Vec<usize>,
        out: &mut Outbox,
    ) {
        let number = self.next_question;
        self.next_question += 1;
        let counting = Counting {
            count,
            left: differ.into(),
            open: 0,
            deadline: near.now().at + READ_TIMEOUT,
        };
        self.counts.insert(number, counting);
        self.count_next(near, number, out);
    }

    /// Begins as many counts as may run at once; with none left the question is answered.
    fn count_next(&mut self, near: impl Surroundings, number: u64, out: &mut Outbox) {
        while let Some(counting) = self.counts.get_mut(&number)
            && counting.open < AT_ONCE
            && let Some(index) = counting.left.pop_front()
        {
            if counting.deadline <= near.now().at {
                counting.count.complete = Completeness::Partial;
                counting.left.clear();
                break;
            }
            let id = CountId {
                number,
                index,
                pages: 0,
                unread: 0,
                digest: 0,
            };
            self.count_page(near, id, EventId::MAX, out);
        }
        let done = |counting: &Counting| counting.open == 0 && counting.left.is_empty();
        if self.counts.get(&number).is_some_and(done)
            && let Some(Counting { count, .. }) = self.counts.remove(&number)
        {
            self.answer(count.ticket, Answer::Heads(count.heads), count.complete);
        }
    }

    fn count_page(
        &mut self,
        near: impl Surroundings,
        id: CountId,
        before: EventId,
        out: &mut Outbox,
    ) {
        let Some(counting) = self.counts.get_mut(&id.number) else {
            return;
        };
        let asked = &counting.count.asked[id.index];
        let query = Query::Range(Range {
            stream: asked.stream,
            after: asked.read,
            before,
            limit: RANGE_EVENTS,
            bytes: RANGE_BYTES,
            end: End::Newest,
        });
        counting.open += 1;
        if !self.ask(near, query, Asker::Count(id), out)
            && let Some(counting) = self.counts.get_mut(&id.number)
        {
            counting.open -= 1;
            counting.count.complete = Completeness::Partial;
        }
    }

    /// A page has been read.
    pub(super) fn on_counted(
        &mut self,
        near: impl Surroundings,
        id: CountId,
        page: &Page,
        complete: Completeness,
        out: &mut Outbox,
    ) {
        let Some(counting) = self.counts.get_mut(&id.number) else {
            return;
        };
        counting.open -= 1;
        counting.count.complete = counting.count.complete.and(complete);
        let mut counted = Head {
            last: None,
            unread: id.unread,
            unread_digest: id.digest,
        };
        union::count_unread(&counting.count.asked[id.index], &page.events, &mut counted);
        let further = page.more && counted.unread < UNREAD_MAX;
        if let Some(first) = page.events.first()
            && further
            && id.pages + 1 < PAGES_MAX
        {
            let next = CountId {
                pages: id.pages + 1,
                unread: counted.unread,
                digest: counted.unread_digest,
                ..id
            };
            self.count_page(near, next, first.id, out);
        } else {
            let head = &mut counting.count.heads[id.index];
            if !further || counted.unread > head.unread {
                head.unread = counted.unread;
                head.unread_digest = counted.unread_digest;
            }
        }
        self.count_next(near, id.number, out);
    }
}
