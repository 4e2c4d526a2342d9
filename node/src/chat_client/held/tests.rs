//! Windows and dedup, without a connection.

use super::*;
use crate::chat_client::lines::ResumedPart;

fn id(n: u128) -> EventId {
    EventId::from_u128(n << 64 | 7)
}

fn message(n: u128) -> Message {
    Message {
        within: "@bob".to_owned(),
        id: id(n),
        from: "@bob".to_owned(),
        body: Value::from("hi"),
        nonce: Nonce(n),
        reply_to: None,
        late: false,
    }
}

fn resumed(complete: bool, part: Option<ResumedPart>) -> Resumed {
    let within = part.map(|part| ("@bob".to_owned(), part));
    Resumed {
        within: within.into_iter().collect(),
        complete,
    }
}

fn part(more: bool, count: Option<u64>) -> Option<ResumedPart> {
    Some(ResumedPart {
        sent: 0,
        more,
        count,
        digest: None,
    })
}

fn upto(held: &mut Held) -> Value {
    held.begin_resume()["@bob"]["upto"].clone()
}

#[test]
fn a_message_is_new_once() {
    let mut held = Held::default();
    assert!(held.insert(&message(5)));
    assert!(!held.insert(&message(5)));
    assert!(held.insert(&message(4)), "a late one is new too");
}

#[test]
fn of_twins_the_smaller_id_stays_and_none_is_shown_twice() {
    let mut held = Held::default();
    let larger = Message {
        nonce: Nonce(4),
        ..message(5)
    };
    assert!(held.insert(&larger));
    assert!(!held.insert(&message(4)));
    assert!(!held.insert(&larger));
    let window = &held.begin_resume()["@bob"];
    assert_eq!(window["count"], 1);
    assert_eq!(window["digest"], format!("{:016x}", id(4).mix()));
}

#[test]
fn one_nonce_with_two_bodies_is_two_messages() {
    let mut held = Held::default();
    let other = Message {
        nonce: Nonce(4),
        body: Value::from("else"),
        ..message(5)
    };
    assert!(held.insert(&message(4)));
    assert!(held.insert(&other));
}

#[test]
fn a_window_describes_exactly_what_is_held() {
    let mut held = Held::default();
    assert!(held.begin_resume().is_empty());
    held.end_resume(&resumed(true, None));
    [3, 1, 2].iter().for_each(|n| {
        held.insert(&message(*n));
    });
    let window = held.begin_resume()["@bob"].clone();
    let digest = id(1).mix() ^ id(2).mix() ^ id(3).mix();
    assert_eq!(
        window,
        json!({
            "after": EventId::from_u128(id(1).to_u128() - 1).to_string(),
            "upto": id(3).to_string(),
            "count": 3,
            "digest": format!("{digest:016x}"),
        })
    );
}

#[test]
fn a_long_conversation_is_held_from_its_newest_thousand_on() {
    let mut held = Held::default();
    for n in 1..=1_500 {
        held.insert(&message(n));
    }
    let window = &held.begin_resume()["@bob"];
    assert_eq!(window["count"], WINDOW);
    assert_eq!(window["upto"], id(1_500).to_string());
}

#[test]
fn what_comes_before_resumed_does_not_move_upto() {
    let mut held = Held::default();
    held.insert(&message(1));
    held.begin_resume();
    held.insert(&message(9));
    held.interrupt();
    assert_eq!(upto(&mut held), id(1).to_string());
    held.insert(&message(9));
    assert_eq!(held.end_resume(&resumed(true, part(false, None))), []);
    assert_eq!(upto(&mut held), id(9).to_string());
}

#[test]
fn where_there_is_more_it_reads_on_after_the_last_event_sent() {
    let mut held = Held::default();
    held.insert(&message(1));
    held.begin_resume();
    held.insert(&message(9));
    let open = held.end_resume(&resumed(true, part(true, None)));
    assert_eq!(open, [("@bob".to_owned(), id(9))]);
    held.insert(&message(20));
    assert!(held.filling("@bob"));
    assert_eq!(
        upto(&mut held),
        id(1).to_string(),
        "not before the pages are there"
    );
    held.filled("@bob");
    assert_eq!(upto(&mut held), id(20).to_string());
}

#[test]
fn ids_of_a_window_that_were_not_sent_again_are_dropped() {
    let mut held = Held::default();
    [1, 2, 3].iter().for_each(|n| {
        held.insert(&message(*n));
    });
    held.begin_resume();
    [1, 3, 4].iter().for_each(|n| {
        held.insert(&message(*n));
    });
    held.end_resume(&resumed(true, part(false, Some(2))));
    let window = &held.begin_resume()["@bob"];
    assert_eq!(window["count"], 3);
    assert_eq!(
        window["digest"],
        format!("{:016x}", id(1).mix() ^ id(3).mix() ^ id(4).mix())
    );
}

#[test]
fn an_incomplete_answer_drops_nothing_and_is_read_again() {
    let mut held = Held::default();
    held.insert(&message(1));
    held.begin_resume();
    let open = held.end_resume(&resumed(false, part(false, Some(0))));
    assert_eq!(open.len(), 1);
    assert_eq!(held.begin_resume()["@bob"]["count"], 1);
    held.insert(&message(9));
    let open = held.end_resume(&resumed(false, part(true, None)));
    assert!(open[0].1 < id(9), "something may be missing below, too");
}

#[test]
fn of_too_many_conversations_the_quietest_is_forgotten() {
    let mut held = Held::default();
    for n in 1..=CONVERSATIONS as u128 + 1 {
        let within = format!("@u{n}");
        held.insert(&Message {
            within,
            ..message(n)
        });
    }
    let windows = held.begin_resume();
    assert_eq!(windows.len(), CONVERSATIONS);
    assert!(!windows.contains_key("@u1"));
}
