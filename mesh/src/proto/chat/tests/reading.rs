//! `history` and `conversations`, and the pace at which a session reads.

use std::sync::Arc;

use super::harness::*;
use crate::command::{Code, Command, Listed, Page, Reply, limits};
use crate::event::{Event as StreamEvent, EventKind, SharedEvent};
use crate::id::{Conversation, EventId};
use crate::proto::input::Closing;
use crate::store::{Answer, Query};

fn page(said: &Said, session: u64) -> (Vec<SharedEvent>, bool, bool) {
    match said.reply(session) {
        Reply::History {
            events,
            more,
            complete,
        } => (events, more, complete),
        reply => panic!("{reply:?}"),
    }
}

fn listing(said: &Said, session: u64) -> (Vec<Listed>, bool, bool) {
    match said.reply(session) {
        Reply::Conversations {
            conversations,
            more,
            complete,
        } => (conversations, more, complete),
        reply => panic!("{reply:?}"),
    }
}

fn ids(events: &[SharedEvent]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

/// Alice and a conversation with Bob of that many messages, a millisecond apart.
fn with_messages(count: i64, body: &str) -> Node {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    for ms in 0..count {
        node.put(message(id_at(ms), "@bob", "@alice", body));
    }
    node
}

#[test]
fn history_gives_each_page_oldest_first() {
    let mut node = with_messages(10, "1");
    let all: Vec<_> = (0..10).map(id_at).collect();
    for (from, limit, expected, more) in [
        (Page::Newest, 50, &all[..], false),
        (Page::Newest, 3, &all[7..], true),
        (Page::Before(id_at(7)), 3, &all[4..7], true),
        (Page::Before(id_at(3)), 3, &all[..3], false),
        (Page::After(id_at(2)), 3, &all[3..6], true),
        (Page::After(id_at(6)), 3, &all[7..], false),
        (Page::After(id_at(9)), 3, &[], false),
    ] {
        let said = node.history(1, "@bob", from, limit);
        let (events, has_more, complete) = page(&said, 1);
        assert_eq!((&ids(&events)[..], has_more), (expected, more), "{from:?}");
        assert!(complete);
    }
}

#[test]
fn an_unknown_conversation_has_an_empty_history_and_a_room_is_refused() {
    let mut node = with_messages(1, "1");
    let said = node.history(1, "@nobody", Page::Newest, 50);
    assert_eq!(page(&said, 1), (vec![], false, true));
    let said = node.history(1, "#general", Page::Newest, 50);
    assert_eq!(said.code(1), Code::Unsupported);
}

#[test]
fn a_limit_out_of_its_range_is_refused() {
    let mut node = with_messages(1, "1");
    for limit in [0, limits::HISTORY + 1] {
        let said = node.history(1, "@bob", Page::Newest, limit);
        assert_eq!(said.code(1), Code::BadRequest);
    }
    for limit in [0, limits::CONVERSATIONS + 1] {
        let before = None;
        let said = node.command(1, Command::Conversations { limit, before });
        assert_eq!(said.code(1), Code::BadRequest);
    }
}

#[test]
fn a_history_that_is_too_long_for_a_frame_ends_earlier_at_the_end_not_asked_for() {
    let body = format!("\"{}\"", "x".repeat(32 * 1024 - 2));
    let mut node = with_messages(20, &body);
    let said = node.history(1, "@bob", Page::Newest, 200);
    let (events, more, _) = page(&said, 1);
    assert_eq!(ids(&events), (13..20).map(id_at).collect::<Vec<_>>());
    assert!(more);
    let said = node.history(1, "@bob", Page::After(id_at(0)), 200);
    let (events, more, _) = page(&said, 1);
    assert_eq!(ids(&events), (1..8).map(id_at).collect::<Vec<_>>());
    assert!(more);
}

#[test]
fn a_history_has_at_least_one_event_however_long() {
    let body = format!("\"{}\"", "x".repeat(limits::NODE_FRAME));
    let mut node = with_messages(2, &body);
    let said = node.history(1, "@bob", Page::Newest, 200);
    let (events, more, _) = page(&said, 1);
    assert_eq!((ids(&events), more), (vec![id_at(1)], true));
}

#[test]
fn an_answer_of_too_few_replicas_is_said_to_be_incomplete() {
    let mut node = with_messages(3, "1");
    node.complete = false;
    let said = node.history(1, "@bob", Page::Newest, 50);
    assert!(!page(&said, 1).2);
    let said = node.conversations(1);
    assert!(!listing(&said, 1).2);
}

#[test]
fn an_id_in_before_or_after_moves_the_clock() {
    let mut node = with_messages(1, "1");
    node.history(1, "@bob", Page::Before(id_at(10_000)), 50);
    assert!(node.clock.latest(node.table.now) >= id_at(10_000).stamp);
    node.history(1, "@bob", Page::After(id_at(20_000)), 50);
    assert!(node.clock.latest(node.table.now) >= id_at(20_000).stamp);
    let before = Some(id_at(30_000));
    node.command(1, Command::Conversations { limit: 1, before });
    assert!(node.clock.latest(node.table.now) >= id_at(30_000).stamp);
}

#[test]
fn conversations_come_newest_first_with_unread_counts_and_own_marks() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.put(message(id_at(1), "@bob", "@alice", "1"));
    node.put(message(id_at(2), "@carol", "@alice", "2"));
    node.put(message(id_at(3), "@bob", "@alice", "3"));
    node.put(message(id_at(4), "@alice", "@bob", "4"));
    node.put(message(id_at(5), "@alice", "@alice", "5"));
    node.read(1, "@bob", id_at(1));
    let (conversations, more, complete) = listing(&node.conversations(1), 1);
    let short: Vec<_> = conversations
        .iter()
        .map(|c| (c.of.as_str(), c.last.id, c.unread, c.read))
        .collect();
    assert_eq!(
        short,
        [
            ("@alice", id_at(5), 0, None),
            ("@bob", id_at(4), 1, Some(id_at(1))),
            ("@carol", id_at(2), 1, None),
        ]
    );
    assert!(!more && complete);
}

#[test]
fn the_greatest_of_several_marks_counts_and_double_contacts_are_one() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.put(message(id_at(1), "@bob", "@alice", "1"));
    let entry = |ms, kind| {
        Arc::new(StreamEvent {
            id: id_at(ms),
            conversation: Conversation::User(user("@alice")),
            author: user("@alice"),
            nonce: None,
            kind,
        })
    };
    for (ms, upto) in [(10, 5), (11, 9), (12, 7)] {
        let kind = EventKind::Read {
            of: direct("@alice", "@bob"),
            upto: id_at(upto),
        };
        node.put(entry(ms, kind));
    }
    let with = direct("@alice", "@bob");
    node.put(entry(13, EventKind::Contact { with }));
    let silent = direct("@alice", "@silent");
    node.put(entry(14, EventKind::Contact { with: silent }));
    let (conversations, ..) = listing(&node.conversations(1), 1);
    assert_eq!(conversations.len(), 1, "and one without messages is none");
    assert_eq!(conversations[0].read, Some(id_at(9)));
}

#[test]
fn many_conversations_come_in_pages() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    for i in 0..700 {
        node.put(message(id_at(i), &format!("@u{i}"), "@alice", "1"));
    }
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let limit = 300;
        let said = node.command(1, Command::Conversations { limit, before });
        let (conversations, more, _) = listing(&said, 1);
        seen.extend(conversations.iter().map(|c| c.last.id));
        before = seen.last().copied();
        assert_eq!(more, seen.len() < 700);
        if !more {
            break;
        }
    }
    assert_eq!(seen, (0..700).rev().map(id_at).collect::<Vec<_>>());
}

#[test]
fn a_list_that_is_too_long_for_a_frame_ends_earlier() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    let body = format!("\"{}\"", "x".repeat(32 * 1024 - 2));
    for i in 0..30 {
        node.put(message(id_at(i), &format!("@u{i}"), "@alice", &body));
    }
    let (conversations, more, _) = listing(&node.conversations(1), 1);
    let lasts: Vec<_> = conversations.iter().map(|c| c.last.id).collect();
    assert_eq!(lasts, (23..30).rev().map(id_at).collect::<Vec<_>>());
    assert!(more);
}

#[test]
fn a_session_reads_one_thing_after_another_and_each_when_there_is_room() {
    let mut node = with_messages(3, "1");
    node.reads = Answers::ByHand;
    node.drains = Answers::ByHand;
    for limit in 1..=3 {
        let said = node.history(1, "@bob", Page::Newest, limit);
        assert!(said.is_silent());
    }
    for limit in 1..=3 {
        assert_eq!(node.asked.len(), 1, "one question at a time");
        let said = node.answer_next();
        assert_eq!(page(&said, 1).0.len(), limit);
        assert!(node.asked.is_empty(), "nothing is read without room");
        node.drained(1);
    }
    assert!(node.asked.is_empty());
    assert!(node.drained(1).is_silent(), "room without need is nothing");
}

#[test]
fn a_client_that_does_not_read_is_told_when_too_much_waits() {
    let mut node = with_messages(3, "1");
    node.drains = Answers::ByHand;
    for _ in 0..65 {
        node.history(1, "@bob", Page::Newest, 1);
    }
    let said = node.history(1, "@bob", Page::Newest, 1);
    assert_eq!(said.code(1), Code::RateLimited);
    node.drained(1);
    assert!(node.history(1, "@bob", Page::Newest, 1).is_silent());
    let said = node.send(1, "@bob", "1");
    assert!(
        matches!(said.reply(1), Reply::Sent { .. }),
        "it may still write"
    );
}

#[test]
fn what_a_session_reads_ends_with_it() {
    let mut node = with_messages(3, "1");
    node.reads = Answers::ByHand;
    node.history(1, "@bob", Page::Newest, 1);
    node.closed(1, Closing::Lost);
    assert!(node.answer_next().is_silent());
    assert_eq!(node.counter("chat_answers_unheard_total"), 1);
    assert_eq!(node.counter("chat_reads_under_way"), 0);
}

#[test]
fn an_answer_to_another_question_is_an_incomplete_answer() {
    let mut node = with_messages(3, "1");
    node.reads = Answers::ByHand;
    node.conversations(1);
    let (ticket, query) = node.asked.pop_front().unwrap();
    assert!(matches!(query, Query::Range(_)));
    let answer = Answer::Heads(Vec::new());
    let said = node.act(|chat, table, _, out| chat.on_read(table, ticket, answer, true, out));
    assert_eq!(listing(&said, 1), (vec![], false, false));
}

#[test]
fn nothing_is_read_for_a_command_that_wants_no_reply() {
    let mut node = with_messages(3, "1");
    let session = crate::id::SessionId(1);
    let command = Command::History {
        of: address("@bob"),
        from: Page::Newest,
        limit: 1,
    };
    let said = node.act(|chat, table, clock, out| {
        chat.on_command(table, clock, session, None, command, out);
    });
    assert!(said.is_silent());
}
