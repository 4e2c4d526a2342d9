//! What a client that comes back is sent.

use std::collections::BTreeMap;

use super::harness::*;
use crate::command::{Hello, Push, Resumed, Window, limits};
use crate::id::{Address, EventId};
use crate::proto::input::Closing;

const MINUTE: i64 = 60_000;

fn resuming(named: &[(&str, EventId)]) -> Hello {
    let window = |(name, upto): &(&str, EventId)| {
        let upto = *upto;
        (address(name), Window { upto, exact: None })
    };
    Hello {
        resume: Some(named.iter().map(window).collect()),
        ..hello("@alice", None)
    }
}

fn resumed(said: &Said, session: u64) -> (BTreeMap<Address, Resumed>, bool) {
    match said.pushes(session).pop() {
        Some(Push::Resumed {
            conversations,
            complete,
        }) => (conversations, complete),
        push => panic!("resumed is pushed last: {push:?}"),
    }
}

fn summary(said: &Said, session: u64) -> Vec<(String, u32, bool)> {
    let (conversations, _) = resumed(said, session);
    let entries = conversations.into_iter();
    entries
        .map(|(of, resumed)| (of.to_string(), resumed.sent, resumed.more))
        .collect()
}

fn entry(of: &str, sent: u32, more: bool) -> (String, u32, bool) {
    (of.to_owned(), sent, more)
}

fn sent_ids(said: &Said, session: u64) -> Vec<EventId> {
    let id = |push: Push| match push {
        Push::Event { event, .. } => Some(event.id),
        _ => None,
    };
    said.pushes(session).into_iter().filter_map(id).collect()
}

#[test]
fn hello_without_resume_gets_no_resumed_and_with_an_empty_one_it_does() {
    let mut node = Node::new(1);
    assert_eq!(node.hello(1, "@alice").pushes(1), []);
    let said = node.hello_with(2, resuming(&[]));
    assert_eq!(resumed(&said, 2), (BTreeMap::new(), true));
    assert_eq!(said.pushes(2).len(), 1);
}

#[test]
fn what_is_newer_than_upto_less_two_minutes_is_sent_oldest_first() {
    let mut node = Node::new(1);
    for ms in [-10 * MINUTE, -3 * MINUTE, -MINUTE, 0, MINUTE] {
        node.put(message(id_at(ms), "@bob", "@alice", "1"));
    }
    let said = node.hello_with(1, resuming(&[("@bob", id_at(0))]));
    assert_eq!(sent_ids(&said, 1), [-MINUTE, 0, MINUTE].map(id_at));
    assert_eq!(summary(&said, 1), [entry("@bob", 3, false)]);
}

#[test]
fn named_conversations_are_listed_though_nothing_is_new() {
    let mut node = Node::new(1);
    node.put(message(id_at(-10 * MINUTE), "@bob", "@alice", "1"));
    let named = [
        ("@bob", id_at(0)),
        ("@nobody", id_at(0)),
        ("#general", id_at(0)),
    ];
    let said = node.hello_with(1, resuming(&named));
    let expected = [
        entry("@bob", 0, false),
        entry("@nobody", 0, false),
        entry("#general", 0, false),
    ];
    assert_eq!(summary(&said, 1), expected);
    assert_eq!(sent_ids(&said, 1), []);
}

#[test]
fn a_conversation_not_named_is_sent_from_its_mark_or_the_newest_upto_whichever_is_later() {
    let mut node = Node::new(1);
    for (name, lists) in [("@bob", 1), ("@carol", 2), ("@dave", 3), ("@eve", 4)] {
        for ms in [-20 * MINUTE, -10 * MINUTE, 10 * MINUTE, 20 * MINUTE] {
            node.put(message(id_at(ms + lists), name, "@alice", "1"));
        }
    }
    node.hello(9, "@alice");
    node.read(9, "@dave", id_at(15 * MINUTE));
    node.read(9, "@eve", id_at(30 * MINUTE));
    let said = node.hello_with(1, resuming(&[("@bob", id_at(0))]));
    assert_eq!(
        summary(&said, 1),
        [
            entry("@bob", 2, false),
            entry("@carol", 2, false),
            entry("@dave", 1, false),
        ]
    );
}

#[test]
fn where_none_is_named_everything_unread_is_sent() {
    let mut node = Node::new(1);
    for ms in [1, 2, 3] {
        node.put(message(id_at(ms), "@bob", "@alice", "1"));
        node.put(message(id_at(10 + ms), "@carol", "@alice", "1"));
    }
    node.hello(9, "@alice");
    node.read(9, "@bob", id_at(2));
    let said = node.hello_with(1, resuming(&[]));
    let expected = [entry("@bob", 1, false), entry("@carol", 3, false)];
    assert_eq!(summary(&said, 1), expected);
    let newest_first = [11, 12, 13, 3].map(id_at);
    assert_eq!(sent_ids(&said, 1), newest_first);
}

#[test]
fn a_conversation_with_too_much_new_ends_with_more() {
    let mut node = Node::new(1);
    for ms in 0..600 {
        node.put(message(id_at(ms), "@bob", "@alice", "1"));
    }
    let said = node.hello_with(1, resuming(&[]));
    assert_eq!(summary(&said, 1), [entry("@bob", 500, true)]);
    assert_eq!(sent_ids(&said, 1), (0..500).map(id_at).collect::<Vec<_>>());
}

#[test]
fn exactly_as_much_as_may_be_sent_is_all() {
    let mut node = Node::new(1);
    for ms in 0..i64::from(limits::RESUME_EVENTS) {
        node.put(message(id_at(ms), "@bob", "@alice", "1"));
    }
    let said = node.hello_with(1, resuming(&[]));
    assert_eq!(summary(&said, 1), [entry("@bob", 500, false)]);
}

#[test]
fn a_resume_sends_2000_events_in_all_and_lists_what_is_left() {
    let mut node = Node::new(1);
    for conversation in 0..6 {
        for ms in 0..450 {
            let id = id_at(conversation * 1_000 + ms);
            node.put(message(id, &format!("@u{conversation}"), "@alice", "1"));
        }
    }
    let said = node.hello_with(1, resuming(&[]));
    assert_eq!(
        summary(&said, 1),
        [
            entry("@u0", 0, true),
            entry("@u1", 200, true),
            entry("@u2", 450, false),
            entry("@u3", 450, false),
            entry("@u4", 450, false),
            entry("@u5", 450, false),
        ]
    );
    assert_eq!(sent_ids(&said, 1).len(), 2_000);
}

#[test]
fn each_event_waits_for_room() {
    let mut node = Node::new(1);
    for ms in 0..3 {
        node.put(message(id_at(ms), "@bob", "@alice", "1"));
    }
    node.drains = Answers::ByHand;
    let said = node.hello_with(1, resuming(&[]));
    assert_eq!(sent_ids(&said, 1), [id_at(0)]);
    assert_eq!(sent_ids(&node.drained(1), 1), [id_at(1)]);
    assert_eq!(sent_ids(&node.drained(1), 1), [id_at(2)]);
    let said = node.drained(1);
    assert_eq!(summary(&said, 1), [entry("@bob", 3, false)]);
    assert!(node.drained(1).is_silent());
}

#[test]
fn what_comes_live_of_a_conversation_being_resumed_follows_its_part() {
    let mut node = Node::new(1);
    for ms in 0..2 {
        node.put(message(id_at(ms), "@bob", "@alice", "1"));
    }
    node.drains = Answers::ByHand;
    node.hello(2, "@alice");
    node.hello_with(1, resuming(&[]));
    // The part was read before this came.
    let said = node.arrives(message(id_at(9), "@bob", "@alice", "9"));
    assert_eq!(said.pushes(1), []);
    assert_eq!(sent_ids(&said, 2), [id_at(9)], "others are told at once");
    let said = node.arrives(message(id_at(10), "@carol", "@alice", "10"));
    assert_eq!(sent_ids(&said, 1), [id_at(10)], "nothing of it is resumed");
    assert_eq!(sent_ids(&node.drained(1), 1), [id_at(1)]);
    let said = node.drained(1);
    assert_eq!(sent_ids(&said, 1), [id_at(9)]);
    assert_eq!(summary(&said, 1), [entry("@bob", 2, false)]);
    let said = node.arrives(message(id_at(11), "@bob", "@alice", "11"));
    assert_eq!(sent_ids(&said, 1), [id_at(11)], "its part is over");
}

#[test]
fn what_comes_live_and_is_found_in_the_part_is_sent_once() {
    let mut node = Node::new(1);
    node.put(message(id_at(0), "@bob", "@alice", "1"));
    node.reads = Answers::ByHand;
    node.hello_with(1, resuming(&[]));
    let mut said = node.arrives(message(id_at(1), "@bob", "@alice", "2"));
    while !node.asked.is_empty() {
        said.0.extend(node.answer_next().0);
    }
    assert_eq!(sent_ids(&said, 1), [id_at(0), id_at(1)]);
    assert_eq!(summary(&said, 1), [entry("@bob", 2, false)]);
}

#[test]
fn what_was_sent_in_the_part_and_comes_live_afterwards_is_sent_once() {
    let mut node = Node::new(1);
    node.put(message(id_at(0), "@bob", "@alice", "1"));
    let late = message(id_at(1), "@bob", "@alice", "2");
    node.put(late.clone());
    node.drains = Answers::ByHand;
    node.hello_with(1, resuming(&[]));
    node.drained(1);
    assert!(node.arrives(late).is_silent());
    let said = node.drained(1);
    assert_eq!(sent_ids(&said, 1), []);
    assert_eq!(summary(&said, 1), [entry("@bob", 2, false)]);
}

#[test]
fn what_comes_live_before_the_plan_is_made_waits_for_it() {
    let mut node = Node::new(1);
    node.put(message(id_at(-10 * MINUTE), "@bob", "@alice", "1"));
    node.reads = Answers::ByHand;
    node.hello_with(1, resuming(&[("@bob", id_at(0))]));
    node.answer_next();
    assert_eq!(node.asked.len(), 1, "the heads are asked for");
    // Bob's head is read before this is stored.
    let (ticket, query) = node.asked.pop_front().unwrap();
    let heads = node.answer(&query);
    let said = node.arrives(message(id_at(1), "@bob", "@alice", "2"));
    assert!(said.is_silent());
    let said = node.act(|chat, table, _, out| chat.on_read(table, ticket, heads, true, out));
    assert_eq!(sent_ids(&said, 1), [id_at(1)], "it is live after all");
    assert_eq!(summary(&said, 1), [entry("@bob", 0, false)]);
}

#[test]
fn more_live_events_than_are_held_are_left_to_page_for() {
    let mut node = Node::new(1);
    node.put(message(id_at(0), "@bob", "@alice", "1"));
    node.drains = Answers::ByHand;
    node.hello_with(1, resuming(&[]));
    for ms in 1..=200 {
        assert!(
            node.arrives(message(id_at(ms), "@bob", "@alice", "1"))
                .is_silent()
        );
    }
    let said = node.drained(1);
    assert_eq!(sent_ids(&said, 1).len(), 128);
    assert_eq!(summary(&said, 1), [entry("@bob", 1, true)]);
}

#[test]
fn live_events_too_many_before_the_plan_are_listed_though_they_were_not_named() {
    let mut node = Node::new(1);
    node.reads = Answers::ByHand;
    node.hello_with(1, resuming(&[]));
    let (ticket, query) = node.asked.pop_front().unwrap();
    let empty = node.answer(&query);
    for ms in 1..=130 {
        node.arrives(message(id_at(ms), "@bob", "@alice", "1"));
    }
    let said = node.act(|chat, table, _, out| chat.on_read(table, ticket, empty, true, out));
    assert_eq!(sent_ids(&said, 1).len(), 128);
    assert_eq!(summary(&said, 1), [entry("@bob", 0, true)]);
}

#[test]
fn a_resume_of_too_few_replicas_says_so() {
    let mut node = Node::new(1);
    node.put(message(id_at(0), "@bob", "@alice", "1"));
    node.complete = false;
    let said = node.hello_with(1, resuming(&[]));
    assert!(!resumed(&said, 1).1);
    assert_eq!(sent_ids(&said, 1), [id_at(0)], "and sends what there is");
}

#[test]
fn other_reads_wait_for_the_resume() {
    let mut node = Node::new(1);
    node.put(message(id_at(0), "@bob", "@alice", "1"));
    node.drains = Answers::ByHand;
    node.hello_with(1, resuming(&[]));
    assert!(node.conversations(1).is_silent());
    assert_eq!(summary(&node.drained(1), 1), [entry("@bob", 1, false)]);
    assert_eq!(node.drained(1).replies(1).len(), 1);
}

#[test]
fn a_session_lost_during_its_resume_leaves_nothing_behind() {
    let mut node = Node::new(1);
    node.put(message(id_at(0), "@bob", "@alice", "1"));
    node.drains = Answers::ByHand;
    node.hello_with(1, resuming(&[]));
    node.closed(1, Closing::Lost);
    assert!(node.drained(1).is_silent());
    let said = node.arrives(message(id_at(1), "@bob", "@alice", "2"));
    assert!(said.is_silent());
    assert_eq!(node.counter("chat_reads_under_way"), 0);
}
