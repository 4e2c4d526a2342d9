//! The rules of blocks.

use std::sync::Arc;

use mesh::event::{EventKind, Json};
use mesh::id::{Conversation, splitmix64};
use mesh::time::Stamp;
use proptest::prelude::*;

use super::*;

const STREAM: StreamId = StreamId(5);
const LIMIT: usize = 8 * 1024;

/// An event with a body of that many characters that hardly compress.
fn event(n: u64, bytes: usize) -> Encoded {
    let id = EventId {
        stamp: Stamp(n),
        origin: 1,
    };
    let mut state = n;
    let body: String = std::iter::repeat_with(|| {
        state = splitmix64(state);
        char::from(b'0' + (state % 75) as u8)
    })
    .filter(|c| c.is_ascii_alphanumeric())
    .take(bytes)
    .collect();
    let event = Event {
        id,
        conversation: Conversation::Room("#r".try_into().unwrap()),
        author: "@a".parse().unwrap(),
        nonce: None,
        kind: EventKind::Message {
            body: Json::from_valid(format!("{body:?}")),
            reply_to: None,
        },
    };
    Encoded {
        id,
        bytes: postcard::to_stdvec(&event).unwrap().into(),
    }
}

fn joined(block: &Made) -> Vec<u8> {
    block.values.concat()
}

fn contents(blocks: &[Made]) -> Vec<Encoded> {
    let open = |block: &Made| open(STREAM, block.first, &joined(block)).unwrap();
    blocks.iter().flat_map(open).collect()
}

proptest! {
    #[test]
    fn blocks_hold_what_was_put_in_and_no_value_is_too_long(
        sizes in prop::collection::vec(prop_oneof![5 => 0..400_usize, 1 => 6_000..30_000_usize], 1..80),
        fill in prop_oneof![Just(Fill::Full), Just(Fill::Even)],
    ) {
        let events: Vec<_> = (1..).zip(&sizes).map(|(n, bytes)| event(n, *bytes)).collect();
        let blocks = make(STREAM, &events, LIMIT, fill);
        prop_assert_eq!(contents(&blocks), events);
        for block in &blocks {
            prop_assert!(block.values.iter().all(|value| value.len() <= VALUE_MAX));
            let header = Header::from_bytes(&block.values[0]).unwrap();
            prop_assert_eq!(usize::from(header.parts) + 1, block.values.len());
            prop_assert!(block.values.len() == 1 || header.count == 1, "only one alone has parts");
            prop_assert!(header.last >= block.first);
        }
        prop_assert!(blocks.is_sorted_by_key(|block| block.first));
    }
}

#[test]
fn full_blocks_come_first_and_even_ones_are_alike() {
    let events: Vec<_> = (1..=100).map(|n| event(n, 90)).collect();
    let full = make(STREAM, &events, LIMIT, Fill::Full);
    assert!(full[0].values[0].len() > VALUE_MAX * 9 / 10);
    let even = make(STREAM, &events, LIMIT, Fill::Even);
    let (least, most) = (
        even.iter().map(|b| b.raw).min(),
        even.iter().map(|b| b.raw).max(),
    );
    assert!(
        most.unwrap() - least.unwrap() < LIMIT / 4,
        "{least:?} {most:?}"
    );
}

#[test]
fn a_block_changed_anywhere_or_put_elsewhere_is_not_opened() {
    let events: Vec<_> = (1..=3).map(|n| event(n, 30)).collect();
    let blocks = make(STREAM, &events, LIMIT, Fill::Full);
    let (first, bytes) = (blocks[0].first, joined(&blocks[0]));
    assert!(open(STREAM, first, &bytes).is_some());
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 4;
        assert_eq!(open(STREAM, first, &changed), None, "byte {at}");
    }
    assert_eq!(open(StreamId(6), first, &bytes), None);
    assert_eq!(open(STREAM, EventId::MAX, &bytes), None);
    assert_eq!(open(STREAM, first, &bytes[..bytes.len() - 1]), None);
    assert_eq!(open(STREAM, first, b""), None);
}

#[test]
fn an_event_reads_back_as_it_was() {
    let encoded = event(9, 10);
    let event = encoded.decode().unwrap();
    assert_eq!(event.id, encoded.id);
    let again = postcard::to_stdvec(&Arc::clone(&event)).unwrap();
    assert_eq!(Encoded::read(again.into()), Some(encoded));
}
