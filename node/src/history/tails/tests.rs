//! The rules of tails.

use bytes::Bytes;
use mesh::event::{EventKind, Json};
use mesh::id::{Conversation, Nonce};
use mesh::time::Stamp;

use super::*;

const STREAM: StreamId = StreamId(5);

fn id(ms: u64) -> EventId {
    EventId {
        stamp: Stamp::from_unix_ms(ms),
        origin: 1,
    }
}

fn encoded(ms: u64) -> Encoded {
    Encoded {
        id: id(ms),
        bytes: Bytes::from(vec![7; 100]),
    }
}

fn tails(durable: u64) -> Tails {
    let mut tails = Tails::new(1_000, durable);
    tails.know(STREAM, Head::default());
    tails
}

fn between(tails: &Tails) -> Vec<EventId> {
    let events = tails.durable_between(STREAM, EventId::MIN, EventId::MAX);
    events.into_iter().map(|event| event.id).collect()
}

#[test]
fn an_event_is_shown_only_once_its_record_is_durable() {
    let mut tails = tails(0);
    assert!(tails.insert(STREAM, encoded(2), 1));
    assert!(tails.insert(STREAM, encoded(1), 2));
    assert_eq!(between(&tails), []);
    tails.set_durable(1);
    assert_eq!(between(&tails), [id(2)]);
    tails.set_durable(2);
    assert_eq!(between(&tails), [id(1), id(2)]);
}

#[test]
fn an_id_is_taken_once() {
    let mut tails = tails(9);
    assert!(tails.insert(STREAM, encoded(2), 1));
    assert!(!tails.insert(STREAM, encoded(2), 2));
    assert_eq!(between(&tails), [id(2)]);
}

#[test]
fn what_came_after_a_fold_was_begun_stays() {
    let mut tails = tails(0);
    tails.insert(STREAM, encoded(1), 1);
    tails.set_durable(1);
    tails.insert(STREAM, encoded(2), 2);
    let folding = tails.oldest(1).remove(0);
    assert_eq!(folding.events, [encoded(1)]);
    assert_eq!(folding.upto, 1);
    tails.insert(STREAM, encoded(3), 3);
    tails.list(STREAM, 3);
    let head = Head {
        count: 1,
        last: Some(id(1)),
        folded: 1,
        ..folding.head
    };
    tails.folded(STREAM, head);
    assert_eq!(tails.needed_from(), 2);
    assert!(tails.get(STREAM).unwrap().head.listed);
    tails.set_durable(3);
    assert_eq!(between(&tails), [id(2), id(3)]);
    let folding = tails.oldest(1).remove(0);
    assert!(folding.head.listed, "the mark is in the next fold");
    tails.folded(
        STREAM,
        Head {
            folded: 3,
            ..folding.head
        },
    );
    assert_eq!(tails.needed_from(), 4);
    assert_eq!((tails.bytes(), tails.dirty()), (0, 0));
}

#[test]
fn a_full_tail_is_offered_once() {
    let mut tails = tails(9);
    for ms in 1..=10 {
        tails.insert(STREAM, encoded(ms), 1);
    }
    assert_eq!(tails.full_sum(), 10 * encoded(1).raw());
    assert_eq!(tails.full(2).remove(0).events.len(), 10);
    assert!(tails.full(2).is_empty());
    assert_eq!(tails.full_sum(), 0);
}

#[test]
fn a_full_tail_that_was_folded_for_another_reason_is_not_offered() {
    let mut tails = tails(9);
    for ms in 1..=10 {
        tails.insert(STREAM, encoded(ms), 1);
    }
    let folding = tails.oldest(1).remove(0);
    let head = Head {
        folded: 1,
        ..folding.head
    };
    tails.folded(STREAM, head);
    assert_eq!(tails.full_sum(), 0);
    assert!(tails.full(2).is_empty());
    assert_eq!(tails.full_sum(), 0);
}

#[test]
fn streams_are_offered_in_turn_in_the_order_of_their_ids() {
    let mut tails = Tails::new(1_000, 9);
    for (n, sequence) in [(30, 1), (10, 2), (40, 3), (20, 4)] {
        tails.know(StreamId(n), Head::default());
        tails.insert(StreamId(n), encoded(1), sequence);
    }
    let mut next = |max| {
        let round = tails.next_round(max).into_iter();
        round.map(|folding| folding.stream.0).collect::<Vec<_>>()
    };
    assert_eq!(next(3), [10, 20, 30]);
    assert_eq!(next(3), [40, 10, 20], "round and round");
    assert_eq!(next(9), [30, 40, 10, 20], "each once");
}

#[test]
fn streams_that_were_idle_for_longest_are_forgotten() {
    let mut tails = tails(9);
    tails.insert(STREAM, encoded(1), 1);
    let others = 100..100 + IDLE_MAX as u128 + 10;
    for n in others.clone() {
        tails.know(StreamId(n), Head::default());
    }
    tails.forget_idle();
    assert!(tails.get(STREAM).is_some(), "it has something to fold");
    assert!(tails.get(StreamId(others.start)).is_none());
    assert!(tails.get(StreamId(others.end - 1)).is_some());
}

#[test]
fn a_needle_finds_its_author_and_nonce_and_no_body_that_looks_like_them() {
    let author: mesh::id::UserName = "@a".parse().unwrap();
    let make = |nonce: u128, body: &str| {
        let event = Event {
            id: id(1),
            conversation: Conversation::direct(author.clone(), "@b".parse().unwrap()),
            author: author.clone(),
            nonce: Some(Nonce(nonce)),
            kind: EventKind::Message {
                body: Json::from_valid(body),
                reply_to: None,
            },
        };
        let bytes = postcard::to_stdvec(&event).unwrap();
        Encoded::read(bytes.into()).unwrap()
    };
    // A nonce whose encoding is printable, to be put into a body.
    let needle = Needle::new(&author, Nonce(0x41));
    assert!(twin_in(&make(0x41, "1"), &needle));
    assert!(!twin_in(&make(0x42, "1"), &needle));
    let trap = format!("\"{}\"", "\u{2}@a\u{1}A");
    assert!(needle.finder.find(&make(0x42, &trap).bytes).is_some());
    assert!(!twin_in(&make(0x42, &trap), &needle));
}
