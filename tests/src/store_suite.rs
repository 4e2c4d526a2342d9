//! The behaviours of a [`Store`]: one list, run against every implementation.
//!
//! An implementation gives a [`Rig`]; [`store_suite!`](macro@crate::store_suite) makes a test of each
//! behaviour. What is here holds for all of them; how the node's store survives torn files and
//! `SIGKILL` is tested with it.

use std::sync::Arc;

use mesh::event::{Event, EventKind, Json, SharedEvent};
use mesh::id::{Conversation, EventId, Nonce, StreamId, UserName};
use mesh::store::{
    Answer, End, Head, HeadQuery, NONCE_REACH_MS, Outcome, Query, Range, Store, UNREAD_MAX,
};
use mesh::time::Stamp;

/// A store under test and what can be done to it from outside.
pub trait Rig {
    /// The store.
    fn store(&mut self) -> &mut dyn Store;
    /// The power fails, and the store is opened again.
    fn restart(&mut self);
    /// The disk has no room left, or has some again.
    fn set_full(&mut self, full: bool);
}

/// Makes a test of each behaviour, on a new rig that `$rig` gives.
#[macro_export]
macro_rules! store_suite {
    ($rig:expr) => {
        $crate::store_suite!(@each $rig;
            a_stored_event_is_found_again,
            an_event_appended_twice_is_known,
            another_content_under_a_known_id_is_refused,
            a_nonce_under_a_larger_id_is_a_twin_and_not_stored,
            a_nonce_under_a_smaller_id_is_stored_beside_its_twin,
            a_nonce_is_looked_for_from_two_minutes_before_its_time_on,
            a_nonce_belongs_to_its_author_and_conversation,
            a_direct_stream_is_unlisted_until_it_is_marked,
            a_mark_outlives_a_restart_once_an_append_followed,
            a_range_excludes_its_ends,
            a_limit_keeps_the_end_that_was_asked_for,
            a_page_of_bytes_has_one_event_at_least,
            events_come_in_the_order_of_their_ids_whenever_they_were_stored,
            a_head_counts_what_others_wrote_after_the_mark,
            a_head_counts_no_more_than_the_bound,
            entries_of_a_users_own_stream_are_no_messages,
            a_full_store_refuses_what_is_new_and_answers_what_is_known,
            everything_acknowledged_is_there_after_a_restart,
            the_newest_stamp_is_that_of_the_newest_event_ever_stored,
            large_events_are_kept_whole,
        );
    };
    (@each $rig:expr; $($behaviour:ident,)*) => {
        $(#[test]
        fn $behaviour() {
            $crate::store_suite::$behaviour(&mut $rig);
        })*
    };
}

/// A time at which tests happen, Unix ms.
pub const NOW: u64 = 1_800_000_000_000;

/// A user.
pub fn user(name: &str) -> UserName {
    name.parse().expect("a valid name")
}

/// The conversation of `@alice` and `@bob`.
pub fn direct() -> Conversation {
    Conversation::direct(user("@alice"), user("@bob"))
}

/// An id so many milliseconds after [`NOW`].
pub fn id(ms: u64) -> EventId {
    EventId {
        stamp: Stamp::from_unix_ms(NOW + ms),
        origin: 7,
    }
}

/// A message of `@alice` to `@bob` with that id, and a nonce of its time.
pub fn message(ms: u64, body: &str) -> SharedEvent {
    by("@alice", ms, Nonce::new(NOW + ms, u128::from(ms)), body)
}

/// A message between `@alice` and `@bob`.
pub fn by(author: &str, ms: u64, nonce: Nonce, body: &str) -> SharedEvent {
    Arc::new(Event {
        id: id(ms),
        conversation: direct(),
        author: user(author),
        nonce: Some(nonce),
        kind: EventKind::Message {
            body: Json::from_valid(format!("{body:?}")),
            reply_to: None,
        },
    })
}

/// All events of a stream between two ids.
pub fn range(stream: StreamId, after: EventId, before: EventId) -> Range {
    Range {
        stream,
        after,
        before,
        limit: u32::MAX,
        bytes: u32::MAX,
        end: End::Oldest,
    }
}

/// Asks for events.
pub fn events(store: &mut dyn Store, range: Range) -> (Vec<SharedEvent>, bool) {
    let answer = store.load(&Query::Range(range)).expect("it loads");
    let Answer::Events { events, more } = answer else {
        panic!("a range is answered by {answer:?}");
    };
    (events, more)
}

/// All events between `@alice` and `@bob`.
pub fn all(store: &mut dyn Store) -> Vec<SharedEvent> {
    let stream = direct().stream();
    events(store, range(stream, EventId::MIN, EventId::MAX)).0
}

fn append(rig: &mut dyn Rig, event: &SharedEvent) -> Outcome {
    let events = std::slice::from_ref(event);
    let mut outcomes = rig.store().append(events).expect("it appends");
    assert_eq!(outcomes.len(), 1, "one outcome for each event");
    outcomes.remove(0)
}

fn named(rig: &mut dyn Rig, author: &str, nonce: Nonce) -> Option<SharedEvent> {
    let query = Query::Nonce {
        stream: direct().stream(),
        author: user(author),
        nonce,
    };
    let answer = rig.store().load(&query).expect("it loads");
    let Answer::Nonce(event) = answer else {
        panic!("a nonce is answered by {answer:?}");
    };
    event
}

fn head(rig: &mut dyn Rig, stream: StreamId, reader: &str, read: EventId) -> Head {
    let query = HeadQuery {
        stream,
        reader: user(reader),
        read,
    };
    let answer = rig.store().load(&Query::Heads(vec![query]));
    let Ok(Answer::Heads(mut heads)) = answer else {
        panic!("heads are answered by {answer:?}");
    };
    assert_eq!(heads.len(), 1, "one head for each question");
    heads.remove(0)
}

const NEW: Outcome = Outcome::Stored { unlisted: true };

/// The first thing that a store does.
pub fn a_stored_event_is_found_again(rig: &mut dyn Rig) {
    let event = message(1, "hi");
    assert_eq!(all(rig.store()), []);
    assert_eq!(append(rig, &event), NEW);
    assert_eq!(all(rig.store()), [event]);
}

/// Appends are idempotent by id.
pub fn an_event_appended_twice_is_known(rig: &mut dyn Rig) {
    let event = message(1, "hi");
    append(rig, &event);
    assert_eq!(append(rig, &event), Outcome::Known { unlisted: true });
    let twice = rig.store().append(&[message(2, "a"), message(2, "a")]);
    assert_eq!(twice, Ok(vec![NEW, Outcome::Known { unlisted: true }]));
    assert_eq!(all(rig.store()), [event, message(2, "a")]);
}

/// An id names one content for ever.
pub fn another_content_under_a_known_id_is_refused(rig: &mut dyn Rig) {
    append(rig, &message(1, "hi"));
    assert_eq!(append(rig, &message(1, "ho")), Outcome::Differs);
    assert_eq!(all(rig.store()), [message(1, "hi")]);
}

/// Of two ids of one nonce the smaller one counts.
pub fn a_nonce_under_a_larger_id_is_a_twin_and_not_stored(rig: &mut dyn Rig) {
    let nonce = Nonce::new(NOW, 1);
    let first = by("@alice", 5, nonce, "hi");
    append(rig, &first);
    let second = by("@alice", 6, nonce, "other");
    assert_eq!(append(rig, &second), Outcome::Twin(first.clone()));
    assert_eq!(all(rig.store()), [first]);
}

/// The smaller id is stored too, and both stay.
pub fn a_nonce_under_a_smaller_id_is_stored_beside_its_twin(rig: &mut dyn Rig) {
    let nonce = Nonce::new(NOW, 1);
    let larger = by("@alice", 5, nonce, "hi");
    append(rig, &larger);
    let smaller = by("@alice", 4, nonce, "hi");
    let beside = Outcome::Beside {
        larger: id(5),
        unlisted: true,
    };
    assert_eq!(append(rig, &smaller), beside);
    assert_eq!(all(rig.store()), [smaller.clone(), larger.clone()]);
    assert_eq!(named(rig, "@alice", nonce), Some(smaller.clone()));
    assert_eq!(append(rig, &larger), Outcome::Known { unlisted: true });
    let third = by("@alice", 6, nonce, "hi");
    assert_eq!(append(rig, &third), Outcome::Twin(smaller));
}

/// A nonce carries a time, and looking for it needs no index.
pub fn a_nonce_is_looked_for_from_two_minutes_before_its_time_on(rig: &mut dyn Rig) {
    let late = Nonce::new(NOW + NONCE_REACH_MS + 10, 1);
    let below = by("@alice", 9, late, "before");
    let inside = by("@alice", 10, late, "inside");
    assert_eq!(append(rig, &below), NEW);
    assert_eq!(named(rig, "@alice", late), None);
    assert_eq!(append(rig, &inside), NEW, "the other is not looked at");
    assert_eq!(named(rig, "@alice", late), Some(inside));
}

/// (author, conversation, nonce) names a message, no less.
pub fn a_nonce_belongs_to_its_author_and_conversation(rig: &mut dyn Rig) {
    let nonce = Nonce::new(NOW, 1);
    append(rig, &by("@alice", 1, nonce, "hi"));
    assert_eq!(append(rig, &by("@bob", 2, nonce, "hi")), NEW);
    let mut elsewhere = Event::clone(&by("@alice", 3, nonce, "hi"));
    elsewhere.conversation = Conversation::direct(user("@alice"), user("@carol"));
    assert_eq!(append(rig, &elsewhere.into()), NEW);
    assert_eq!(named(rig, "@carol", nonce), None);
}

/// Contact entries are due until somebody says that they are there.
pub fn a_direct_stream_is_unlisted_until_it_is_marked(rig: &mut dyn Rig) {
    assert_eq!(append(rig, &message(1, "a")), NEW);
    assert_eq!(append(rig, &message(2, "b")), NEW);
    rig.store().list(direct().stream()).expect("it lists");
    let listed = Outcome::Stored { unlisted: false };
    assert_eq!(append(rig, &message(3, "c")), listed);
    let known = Outcome::Known { unlisted: false };
    assert_eq!(append(rig, &message(1, "a")), known);
    let mut own = Event::clone(&message(4, "d"));
    own.conversation = Conversation::User(user("@alice"));
    assert_eq!(
        append(rig, &own.into()),
        listed,
        "only direct ones are listed"
    );
}

/// A mark is durable before any later append is.
pub fn a_mark_outlives_a_restart_once_an_append_followed(rig: &mut dyn Rig) {
    append(rig, &message(1, "a"));
    rig.store().list(direct().stream()).expect("it lists");
    append(rig, &message(2, "b"));
    rig.restart();
    let listed = Outcome::Stored { unlisted: false };
    assert_eq!(append(rig, &message(3, "c")), listed);
}

/// Both ends of a range are exclusive.
pub fn a_range_excludes_its_ends(rig: &mut dyn Rig) {
    let stored: Vec<_> = (1..=5).map(|ms| message(ms, "x")).collect();
    rig.store().append(&stored).expect("it appends");
    let stream = direct().stream();
    let (found, more) = events(rig.store(), range(stream, id(1), id(4)));
    assert_eq!(found, stored[1..3]);
    assert!(!more);
    assert_eq!(events(rig.store(), range(stream, id(4), id(4))).0, []);
    assert_eq!(events(rig.store(), range(stream, id(4), id(1))).0, []);
    assert_eq!(events(rig.store(), range(StreamId(3), id(0), id(9))).0, []);
}

/// Pages from either end, oldest first within each.
pub fn a_limit_keeps_the_end_that_was_asked_for(rig: &mut dyn Rig) {
    let stored: Vec<_> = (1..=5).map(|ms| message(ms, "x")).collect();
    rig.store().append(&stored).expect("it appends");
    let page = |limit, end| Range {
        limit,
        end,
        ..range(direct().stream(), EventId::MIN, EventId::MAX)
    };
    for (limit, end, expected, more) in [
        (2, End::Oldest, &stored[..2], true),
        (2, End::Newest, &stored[3..], true),
        (5, End::Oldest, &stored[..], false),
        (9, End::Newest, &stored[..], false),
        (0, End::Newest, &stored[..0], true),
    ] {
        let (found, cut) = events(rig.store(), page(limit, end));
        assert_eq!((found.as_slice(), cut), (expected, more), "{limit} {end:?}");
    }
}

/// A bound in bytes never leaves a reader without progress.
pub fn a_page_of_bytes_has_one_event_at_least(rig: &mut dyn Rig) {
    let body = "x".repeat(1_000);
    let stored: Vec<_> = (1..=9).map(|ms| message(ms, &body)).collect();
    rig.store().append(&stored).expect("it appends");
    let page = |bytes, end| Range {
        bytes,
        end,
        ..range(direct().stream(), EventId::MIN, EventId::MAX)
    };
    for (bytes, end, expected, more) in [
        (0, End::Oldest, &stored[..1], true),
        (3_500, End::Oldest, &stored[..3], true),
        (3_500, End::Newest, &stored[6..], true),
        (100_000, End::Newest, &stored[..], false),
    ] {
        let (found, cut) = events(rig.store(), page(bytes, end));
        assert_eq!((found.as_slice(), cut), (expected, more), "{bytes} {end:?}");
    }
}

/// A stream is a set; the ids order it.
pub fn events_come_in_the_order_of_their_ids_whenever_they_were_stored(rig: &mut dyn Rig) {
    for ms in [5, 1, 9, 3, 7] {
        assert_eq!(append(rig, &message(ms, "x")), NEW);
    }
    let expected: Vec<_> = [1, 3, 5, 7, 9].map(|ms| message(ms, "x")).into();
    assert_eq!(all(rig.store()), expected);
}

/// Unread is what others wrote above the mark.
pub fn a_head_counts_what_others_wrote_after_the_mark(rig: &mut dyn Rig) {
    let stream = direct().stream();
    let empty = Head {
        last: None,
        unread: 0,
        unread_digest: 0,
    };
    assert_eq!(head(rig, stream, "@bob", EventId::MIN), empty);
    let nonce = |ms| Nonce::new(NOW + ms, 0);
    let mine = by("@bob", 4, nonce(4), "mine");
    for event in [
        message(1, "a"),
        message(2, "b"),
        message(3, "c"),
        mine.clone(),
    ] {
        append(rig, &event);
    }
    let found = head(rig, stream, "@bob", id(1));
    assert_eq!(found.last, Some(mine.clone()));
    assert_eq!(found.unread, 2);
    assert_eq!(found.unread_digest, id(2).mix() ^ id(3).mix());
    let read = head(rig, stream, "@bob", EventId::MAX);
    assert_eq!((read.last, read.unread), (Some(mine), 0));
}

/// Counting ends somewhere.
pub fn a_head_counts_no_more_than_the_bound(rig: &mut dyn Rig) {
    let bound = u64::from(UNREAD_MAX);
    let stored: Vec<_> = (1..=bound + 50).map(|ms| message(ms, "x")).collect();
    rig.store().append(&stored).expect("it appends");
    let found = head(rig, direct().stream(), "@bob", EventId::MIN);
    assert_eq!(found.unread, UNREAD_MAX);
    let newest = (51..=bound + 50).fold(0, |digest, ms| digest ^ id(ms).mix());
    assert_eq!(found.unread_digest, newest, "counted from the newest down");
}

/// A head is about messages.
pub fn entries_of_a_users_own_stream_are_no_messages(rig: &mut dyn Rig) {
    let own = Conversation::User(user("@alice"));
    let entry = Event {
        id: id(1),
        conversation: own.clone(),
        author: user("@alice"),
        nonce: None,
        kind: EventKind::Contact { with: direct() },
    };
    let entry: SharedEvent = entry.into();
    assert_eq!(append(rig, &entry), Outcome::Stored { unlisted: false });
    assert_eq!(append(rig, &entry), Outcome::Known { unlisted: false });
    let found = head(rig, own.stream(), "@alice", EventId::MIN);
    assert_eq!((found.last, found.unread), (None, 0));
}

/// Reading goes on, and so do answers that need no room.
pub fn a_full_store_refuses_what_is_new_and_answers_what_is_known(rig: &mut dyn Rig) {
    let event = message(1, "a");
    append(rig, &event);
    rig.set_full(true);
    assert_eq!(append(rig, &message(2, "b")), Outcome::Full);
    assert_eq!(append(rig, &event), Outcome::Known { unlisted: true });
    assert_eq!(all(rig.store()), [event]);
    rig.set_full(false);
    assert_eq!(append(rig, &message(2, "b")), NEW);
}

/// The reason for all of it.
pub fn everything_acknowledged_is_there_after_a_restart(rig: &mut dyn Rig) {
    let mut stored = Vec::new();
    for ms in 1..=20 {
        let event = message(ms, &"x".repeat(ms as usize * 20));
        assert_eq!(append(rig, &event), NEW);
        stored.push(event);
        if ms % 5 == 0 {
            rig.restart();
            assert_eq!(all(rig.store()), stored);
        }
    }
    assert_eq!(append(rig, &stored[3]), Outcome::Known { unlisted: true });
    let again = by("@alice", 99, Nonce::new(NOW + 3, 3), "again");
    assert_eq!(append(rig, &again), Outcome::Twin(stored[2].clone()));
}

/// A node's clock starts above it.
pub fn the_newest_stamp_is_that_of_the_newest_event_ever_stored(rig: &mut dyn Rig) {
    assert_eq!(rig.store().newest(), Stamp(0));
    append(rig, &message(9, "x"));
    append(rig, &message(3, "x"));
    assert_eq!(rig.store().newest(), id(9).stamp);
    rig.restart();
    assert_eq!(rig.store().newest(), id(9).stamp);
}

/// Whatever a client may send.
pub fn large_events_are_kept_whole(rig: &mut dyn Rig) {
    let noise = |seed: u64, bytes: usize| -> String {
        let mut state = seed;
        std::iter::repeat_with(|| {
            state = mesh::id::splitmix64(state);
            char::from(b'!' + (state % 90) as u8)
        })
        .filter(|c| *c != '"' && *c != '\\')
        .take(bytes)
        .collect()
    };
    let stored: Vec<_> = [10, 9_000, 300, 30_000, 60_000, 20, 7_500, 7_600]
        .iter()
        .zip(1..)
        .map(|(bytes, ms)| message(2 * ms, &noise(ms, *bytes)))
        .collect();
    rig.store().append(&stored).expect("it appends");
    assert_eq!(all(rig.store()), stored);
    rig.restart();
    assert_eq!(all(rig.store()), stored);
    let between = message(7, &noise(99, 8_000));
    assert_eq!(append(rig, &between), NEW);
    rig.restart();
    let mut expected = stored;
    expected.insert(3, between);
    assert_eq!(all(rig.store()), expected);
}
