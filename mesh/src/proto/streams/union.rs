//! The union of what several stores answer. Pure: answers in, one answer out.
//!
//! A page that one store cut off is certain only up to where it was cut: there the union is cut too,
//! since a further event of that store might belong before one of another.

use std::collections::BTreeMap;

use crate::event::{EventKind, SharedEvent};
use crate::id::{EventId, Nonce, UserName};
use crate::proto::streams::message::{self, is_valid};
use crate::store::{Answer, End, Head, HeadQuery, Query, Range, UNREAD_MAX};

/// One store's page of a range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) events: Vec<SharedEvent>,
    pub(super) more: bool,
}

/// Whether a peer's answer is one to this question: of its kind, within what was asked, well formed.
pub(super) fn answers(query: &Query, answer: &Answer) -> bool {
    match (query, answer) {
        (Query::Range(range), Answer::Events { events, more }) => is_page(range, events, *more),
        (Query::Nonce { .. }, Answer::Nonce(None)) => true,
        (
            Query::Nonce {
                stream,
                author,
                nonce,
            },
            Answer::Nonce(Some(event)),
        ) => {
            event.author == *author
                && event.nonce == Some(*nonce)
                && event.stream() == *stream
                && is_valid(event)
        }
        (Query::Heads(asked), Answer::Heads(heads)) => {
            asked.len() == heads.len()
                && asked
                    .iter()
                    .zip(heads)
                    .all(|(asked, head)| is_head(asked, head))
        }
        (Query::Range(_) | Query::Nonce { .. } | Query::Heads(_), _) => false,
    }
}

fn is_page(range: &Range, events: &[SharedEvent], more: bool) -> bool {
    // Nearly always all events of a page name one conversation, which is hashed once.
    let mut conversation = None;
    let mut in_stream = |event: &SharedEvent| {
        if conversation.as_ref() == Some(&event.conversation) {
            return true;
        }
        conversation = Some(event.conversation.clone());
        event.stream() == range.stream
    };
    let rising = events.windows(2).all(|pair| pair[0].id < pair[1].id);
    let within = |event: &SharedEvent| range.after < event.id && event.id < range.before;
    let empty_cut = more && events.is_empty();
    rising
        && !empty_cut
        && events.len() <= range.limit as usize
        && events
            .iter()
            .all(|event| within(event) && is_valid(event) && in_stream(event))
}

fn is_head(asked: &HeadQuery, head: &Head) -> bool {
    head.unread <= UNREAD_MAX
        && head
            .last
            .as_ref()
            .is_none_or(|last| is_message(last) && is_valid(last) && last.stream() == asked.stream)
}

pub(super) fn is_message(event: &SharedEvent) -> bool {
    matches!(event.kind, EventKind::Message { .. })
}

/// The union of pages of one range: without doubles, twins of equal body under their smaller id, cut
/// to the range's limits.
pub(super) fn pages(range: &Range, answers: Vec<Page>) -> Page {
    let mut more = answers.iter().any(|page| page.more);
    let certain = certain(range.end, &answers);
    let mut merged: BTreeMap<EventId, SharedEvent> = BTreeMap::new();
    for event in answers.into_iter().flat_map(|page| page.events) {
        if certain.is_none_or(|cut| match range.end {
            End::Oldest => event.id <= cut,
            End::Newest => event.id >= cut,
        }) {
            merged.entry(event.id).or_insert(event);
        }
    }
    let mut events = without_twins(merged);
    more |= cut(range, &mut events);
    Page { events, more }
}

/// How far all pages that were cut off reach.
fn certain(end: End, pages: &[Page]) -> Option<EventId> {
    let cut_off = pages.iter().filter(|page| page.more);
    match end {
        End::Oldest => cut_off
            .map(|page| page.events.last().map_or(EventId::MIN, |e| e.id))
            .min(),
        End::Newest => cut_off
            .map(|page| page.events.first().map_or(EventId::MAX, |e| e.id))
            .max(),
    }
}

fn without_twins(merged: BTreeMap<EventId, SharedEvent>) -> Vec<SharedEvent> {
    let mut named: BTreeMap<(Nonce, UserName), Vec<SharedEvent>> = BTreeMap::new();
    let mut shown = Vec::with_capacity(merged.len());
    for event in merged.into_values() {
        if let Some(nonce) = event.nonce {
            let smaller = named.entry((nonce, event.author.clone())).or_default();
            if smaller.iter().any(|twin| twin.same_body(&event)) {
                continue;
            }
            smaller.push(event.clone());
        }
        shown.push(event);
    }
    shown
}

/// Cuts events to a range's limits at the end that is not kept; whether anything was cut off.
pub(super) fn cut(range: &Range, events: &mut Vec<SharedEvent>) -> bool {
    let mut bytes = 0;
    let mut kept = 0;
    let mut fits = |event: &SharedEvent| {
        bytes += message::size(event);
        kept += 1;
        kept == 1 || bytes <= range.bytes as usize
    };
    let limit = range.limit as usize;
    let count = match range.end {
        End::Oldest => events
            .iter()
            .take(limit)
            .take_while(|event| fits(event))
            .count(),
        End::Newest => events
            .iter()
            .rev()
            .take(limit)
            .take_while(|event| fits(event))
            .count(),
    };
    let cut_off = events.len() - count;
    match range.end {
        End::Oldest => events.truncate(count),
        End::Newest => drop(events.drain(..cut_off)),
    }
    cut_off > 0
}

/// The union of the heads of one stream, and whether the stores agree on what is unread. Where they do
/// not, the greatest count stands in until the messages themselves are counted.
pub(super) fn heads<'a>(answers: impl IntoIterator<Item = &'a Head>) -> (Head, Agreement) {
    let mut union = Head {
        last: None,
        unread: 0,
        unread_digest: 0,
    };
    let mut first = None;
    let mut agreement = Agreement::Same;
    for head in answers {
        let unread = (head.unread, head.unread_digest);
        if *first.get_or_insert(unread) != unread {
            agreement = Agreement::Differ;
        }
        if union.last.as_ref().map(|last| last.id) < head.last.as_ref().map(|last| last.id) {
            union.last.clone_from(&head.last);
        }
        if union.unread <= head.unread {
            (union.unread, union.unread_digest) = unread;
        }
    }
    (union, agreement)
}

/// Whether all stores say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// They do.
    Same,
    /// Some hold messages that others do not.
    Differ,
}

/// Adds messages to the unread ones of a head: those that are not by its reader, up to [`UNREAD_MAX`].
pub(super) fn count_unread(asked: &HeadQuery, events: &[SharedEvent], head: &mut Head) {
    for event in events.iter().rev() {
        if head.unread < UNREAD_MAX && is_message(event) && event.author != asked.reader {
            head.unread += 1;
            head.unread_digest ^= event.id.mix();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::StreamId;
    use crate::proto::streams::samples::{alice_and_bob, all_of, message_at, message_by, user};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn stream() -> StreamId {
        alice_and_bob().stream()
    }

    /// What a correct store answers that holds these, reckoning `weight` times the bytes that we do.
    fn page_of(range: &Range, weight: u32, held: &BTreeSet<u64>) -> Page {
        let range = &Range {
            bytes: range.bytes / weight,
            ..range.clone()
        };
        let mut events: Vec<_> = held
            .iter()
            .map(|&stamp| message_at(stamp, "1"))
            .filter(|event| range.after < event.id && event.id < range.before)
            .collect();
        let more = cut(range, &mut events);
        Page { events, more }
    }

    fn stamps(page: &Page) -> Vec<u64> {
        page.events.iter().map(|event| event.id.stamp.0).collect()
    }

    #[test]
    fn a_union_is_cut_where_one_store_cut_its_page() {
        let mut range = all_of(stream());
        range.limit = 2;
        let answers = vec![
            page_of(&range, 1, &[1, 2, 3].into()),
            page_of(&range, 1, &[1, 9].into()),
        ];
        let union = pages(&range, answers);
        assert_eq!((stamps(&union), union.more), (vec![1, 2], true));
    }

    #[test]
    fn of_two_events_of_one_nonce_and_body_the_smaller_id_is_shown() {
        let range = all_of(stream());
        let page = |events| Page {
            events,
            more: false,
        };
        let small = message_by("@alice", 1, 5, "1");
        let large = message_by("@alice", 2, 5, "1");
        let other = message_by("@alice", 3, 5, "2");
        let bobs = message_by("@bob", 4, 5, "1");
        let union = pages(
            &range,
            vec![
                page(vec![large, other.clone()]),
                page(vec![small.clone(), bobs.clone()]),
            ],
        );
        assert_eq!(union.events, [small, other, bobs]);
    }

    #[test]
    fn heads_take_the_newest_message_and_tell_whether_stores_disagree() {
        let head = |stamp, unread, unread_digest| Head {
            last: Some(message_at(stamp, "1")),
            unread,
            unread_digest,
        };
        let (same, agreement) = heads(&[head(1, 2, 3), head(1, 2, 3)]);
        assert_eq!((same, agreement), (head(1, 2, 3), Agreement::Same));
        let (union, agreement) = heads(&[head(2, 1, 3), head(1, 2, 9)]);
        assert_eq!((union, agreement), (head(2, 2, 9), Agreement::Differ));
        let (_, agreement) = heads(&[head(1, 2, 3), head(1, 2, 4)]);
        assert_eq!(agreement, Agreement::Differ);
    }

    #[test]
    fn messages_of_the_reader_are_not_unread() {
        let asked = HeadQuery {
            stream: stream(),
            reader: user("@bob"),
            read: EventId::MIN,
        };
        let mut head = heads(&[]).0;
        let theirs = message_by("@alice", 1, 1, "1");
        count_unread(
            &asked,
            &[theirs.clone(), message_by("@bob", 2, 2, "1")],
            &mut head,
        );
        assert_eq!((head.unread, head.unread_digest), (1, theirs.id.mix()));
    }

    #[test]
    fn an_answer_that_was_not_asked_for_is_refused() {
        let mut range = all_of(stream());
        range.limit = 2;
        range.after = message_at(1, "1").id;
        let query = Query::Range(range);
        let page = |stamps: &[u64], more| Answer::Events {
            events: stamps.iter().map(|&stamp| message_at(stamp, "1")).collect(),
            more,
        };
        assert!(answers(&query, &page(&[2, 3], true)));
        assert!(!answers(&query, &page(&[1], false)), "outside the range");
        assert!(!answers(&query, &page(&[3, 2], false)), "not rising");
        assert!(
            !answers(&query, &page(&[2, 3, 4], false)),
            "above the limit"
        );
        assert!(
            !answers(&query, &page(&[], true)),
            "cut off before the first"
        );
        assert!(!answers(&query, &Answer::Nonce(None)), "another kind");
        let elsewhere = Query::Range(all_of(StreamId(1)));
        assert!(!answers(&elsewhere, &page(&[2], false)), "another stream");
    }

    proptest! {
        #[test]
        fn paging_through_a_union_gives_every_event_once(
            held in prop::collection::vec(
                (1_u32..4, prop::collection::btree_set(1_u64..60, 0..40)), 1..4,
            ),
            limit in 1_u32..8,
            bytes in 100_u32..2_000,
            newest in any::<bool>(),
        ) {
            let mut range = all_of(stream());
            (range.limit, range.bytes) = (limit, bytes);
            range.end = if newest { End::Newest } else { End::Oldest };
            let mut seen: Vec<u64> = Vec::new();
            loop {
                let answers = held.iter().map(|(weight, held)| page_of(&range, *weight, held));
                let page = pages(&range, answers.collect());
                prop_assert!(page.events.len() <= limit as usize);
                if newest {
                    seen.splice(0..0, stamps(&page));
                    range.before = page.events.first().map_or(range.before, |event| event.id);
                } else {
                    seen.extend(stamps(&page));
                    range.after = page.events.last().map_or(range.after, |event| event.id);
                }
                if !page.more {
                    break;
                }
                prop_assert!(!page.events.is_empty());
            }
            let all: BTreeSet<u64> = held.into_iter().flat_map(|(_, held)| held).collect();
            prop_assert_eq!(seen, all.into_iter().collect::<Vec<_>>());
        }
    }
}
