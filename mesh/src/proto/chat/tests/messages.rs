//! `send`, `read`, `signal`, and what arrives.

use std::sync::Arc;

use super::harness::*;
use crate::command::{Code, Command, Push, Reply, Send};
use crate::event::{Event as StreamEvent, EventKind};
use crate::id::{Conversation, Nonce, SessionId};
use crate::proto::chat::Message;
use crate::proto::input::Closing;
use crate::proto::streams::{AppendError, Appended};
use crate::proto::view::Sight;

#[test]
fn a_message_is_pushed_to_all_sessions_of_both_but_the_one_that_sent_it() {
    let mut node = Node::new(1);
    for (session, name) in [
        (1, "@alice"),
        (2, "@alice"),
        (3, "@bob"),
        (4, "@bob"),
        (5, "@eve"),
    ] {
        node.hello(session, name);
    }
    let said = node.send(1, "@bob", r#""hi""#);
    assert!(matches!(
        said.reply(1),
        Reply::Sent {
            copies: 2,
            duplicate: false,
            ..
        }
    ));
    assert_eq!(said.pushes(1), []);
    let pair = |within: &str| vec![(within.to_owned(), r#""hi""#.to_owned())];
    assert_eq!(said.bodies(2), pair("@bob"));
    assert_eq!(said.bodies(3), pair("@alice"));
    assert_eq!(said.bodies(4), pair("@alice"));
    assert_eq!(said.pushes(5), []);
}

#[test]
fn a_note_to_oneself_is_pushed_once_to_the_other_sessions() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.hello(2, "@alice");
    let said = node.send(1, "@alice", "1");
    assert_eq!(said.pushes(1), []);
    assert_eq!(said.bodies(2), [("@alice".to_owned(), "1".to_owned())]);
}

#[test]
fn a_message_to_a_room_is_refused() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    assert_eq!(node.send(1, "#general", "1").code(1), Code::Unsupported);
    assert_eq!(node.signal(1, "#general").code(1), Code::Unsupported);
    assert_eq!(
        node.read(1, "#general", id_at(0)).code(1),
        Code::Unsupported
    );
    assert_eq!(node.counter("chat_unsupported_total"), 3);
    assert_eq!(node.counter("chat_sends_total"), 0);
}

#[test]
fn a_draft_says_what_the_client_said_and_when_its_session_began() {
    let mut node = Node::new(1);
    node.appends = Answers::ByHand;
    node.hello(1, "@alice");
    node.pass(std::time::Duration::from_secs(5));
    let nonce = Nonce::new(START_MS + 60_000, 9);
    node.command(
        1,
        Command::Send(Send {
            nonce: Some(nonce),
            reply_to: Some(id_at(30_000)),
            copies: Some(3),
            ..send("@bob", "1")
        }),
    );
    let (_, draft) = node.drafts.pop_front().unwrap();
    assert_eq!(draft.session, SessionId(1));
    assert_eq!(draft.conversation, direct("@alice", "@bob"));
    assert_eq!(draft.author, user("@alice"));
    assert_eq!((draft.nonce, draft.copies), (nonce, Some(3)));
    assert_eq!(draft.hello_unix_ms, START_MS);
    assert_eq!(
        draft.kind,
        EventKind::Message {
            body: json("1"),
            reply_to: Some(id_at(30_000)),
        }
    );
    let latest = node.clock.latest(node.table.now);
    assert!(latest >= id_at(30_000).stamp, "what it answers comes first");
}

#[test]
fn a_nonce_left_out_is_made_anew_for_each_message() {
    let mut node = Node::new(1);
    node.appends = Answers::ByHand;
    node.hello(1, "@alice");
    node.send(1, "@bob", "1");
    node.send(1, "@bob", "1");
    let nonces: Vec<_> = node.drafts.iter().map(|(_, draft)| draft.nonce).collect();
    assert_ne!(nonces[0], nonces[1]);
    assert!(nonces.iter().all(|nonce| nonce.unix_ms() == START_MS));
}

#[test]
fn a_nonce_of_the_future_is_refused_with_the_time_of_the_node() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    let mut send_at = |ms| {
        let nonce = Some(Nonce::new(START_MS + ms, 9));
        let send = Send {
            nonce,
            ..send("@bob", "1")
        };
        node.command(1, Command::Send(send)).reply(1)
    };
    assert!(matches!(send_at(60_000), Reply::Sent { .. }));
    let Reply::Error(refusal) = send_at(60_001) else {
        panic!("it was taken");
    };
    assert_eq!(refusal.code, Code::BadRequest);
    assert!(refusal.message.contains(&START_MS.to_string()));
}

#[test]
fn appends_that_fail_are_answered_with_their_code() {
    let mut node = Node::new(1);
    node.appends = Answers::ByHand;
    node.hello(1, "@alice");
    for (result, code) in [
        (AppendError::Unavailable("one disk"), Code::Unavailable),
        (AppendError::Conflict, Code::Conflict),
    ] {
        node.send(1, "@bob", "1");
        let (ticket, _) = node.drafts.pop_front().unwrap();
        let said =
            node.act(|chat, table, _, out| chat.on_appended(table, ticket, Err(result), out));
        assert_eq!(said.code(1), code);
    }
    assert_eq!(node.counter("chat_append_bytes_under_way"), 0);
}

#[test]
fn an_append_that_ends_after_its_session_is_answered_to_nobody() {
    let mut node = Node::new(1);
    node.appends = Answers::ByHand;
    node.hello(1, "@alice");
    node.send(1, "@bob", "1");
    node.closed(1, Closing::Gone);
    let (ticket, _) = node.drafts.pop_front().unwrap();
    let appended = Appended {
        id: id_at(0),
        copies: 2,
        duplicate: false,
    };
    let result = Ok(appended);
    let said = node.act(|chat, table, _, out| chat.on_appended(table, ticket, result, out));
    assert!(said.is_silent());
    assert_eq!(node.counter("chat_appends_under_way"), 0);
    assert_eq!(node.counter("chat_append_bytes_under_way"), 0);
}

#[test]
fn a_session_with_too_much_under_way_is_told_to_wait() {
    let mut node = Node::new(1);
    node.appends = Answers::ByHand;
    node.hello(1, "@alice");
    let long = format!("\"{}\"", "x".repeat(32 * 1024));
    let mut taken = 0;
    let refused = loop {
        let said = node.send(1, "@bob", &long);
        if !said.is_silent() {
            break said.code(1);
        }
        taken += 1;
    };
    assert_eq!((refused, taken), (Code::RateLimited, 126));
    assert_eq!(node.drafts.len(), taken);
    node.hello(2, "@carol");
    assert!(
        node.send(2, "@bob", &long).is_silent(),
        "others are not concerned"
    );
}

#[test]
fn what_ended_makes_room_for_more() {
    let mut node = Node::new(1);
    node.appends = Answers::ByHand;
    node.hello(1, "@alice");
    let long = format!("\"{}\"", "x".repeat(32 * 1024));
    while node.send(1, "@bob", &long).is_silent() {}
    let (ticket, _) = node.drafts.pop_front().unwrap();
    let ended = Err(AppendError::Unavailable("nobody answers"));
    node.act(|chat, table, _, out| chat.on_appended(table, ticket, ended, out));
    assert!(node.send(1, "@bob", &long).is_silent());
    assert_eq!(node.send(1, "@bob", &long).code(1), Code::RateLimited);
}

#[test]
fn all_sessions_together_have_no_more_under_way_than_is_allowed() {
    let mut node = Node::new(1);
    node.appends = Answers::ByHand;
    let huge = format!("\"{}\"", "x".repeat(3 * 1024 * 1024));
    let taken = |session| {
        node.hello(session, "@alice");
        let said = node.send(session, "@bob", &huge);
        node.drafts.clear();
        said.is_silent()
    };
    assert_eq!((0..200).map(taken).filter(|taken| *taken).count(), 85);
}

#[test]
fn contacts_are_pushed_to_nobody() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    let contact = Arc::new(StreamEvent {
        id: id_at(0),
        conversation: Conversation::User(user("@alice")),
        author: user("@bob"),
        nonce: None,
        kind: EventKind::Contact {
            with: direct("@alice", "@bob"),
        },
    });
    assert!(node.arrives(contact).is_silent());
}

#[test]
fn an_event_for_nobody_here_is_counted() {
    let mut node = Node::new(1);
    node.table.collide = true;
    node.hello(1, "@carol");
    let said = node.arrives(message(id_at(0), "@alice", "@bob", "1"));
    assert!(said.is_silent());
    assert_eq!(node.counter("chat_events_unheard_total"), 1);
}

#[test]
fn a_read_mark_is_told_to_the_users_other_sessions_and_to_whom_it_talks_with() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.hello(2, "@alice");
    node.hello(3, "@bob");
    let said = node.read(1, "@bob", id_at(5));
    assert_eq!(said.reply(1), Reply::Done);
    assert_eq!(said.pushes(1), []);
    let receipt = |within: &str| Push::Receipt {
        within: address(within),
        user: user("@alice"),
        read: id_at(5),
    };
    assert_eq!(said.pushes(2), [receipt("@bob")]);
    assert_eq!(said.pushes(3), [receipt("@alice")]);
    let said = node.read(1, "@alice", id_at(6));
    assert_eq!(said.pushes(2).len(), 1, "its own notes");
    assert_eq!(said.pushes(3), []);
}

#[test]
fn a_mark_that_comes_late_is_not_told_after_a_higher_one() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    let mark = |upto| {
        Arc::new(StreamEvent {
            id: id_at(upto + 10),
            conversation: Conversation::User(user("@bob")),
            author: user("@bob"),
            nonce: Some(Nonce(1)),
            kind: EventKind::Read {
                of: direct("@alice", "@bob"),
                upto: id_at(upto),
            },
        })
    };
    assert_eq!(node.arrives(mark(5)).pushes(1).len(), 1);
    assert_eq!(node.arrives(mark(4)).pushes(1), []);
    assert_eq!(node.arrives(mark(6)).pushes(1).len(), 1);
}

#[test]
fn a_read_mark_that_does_not_rise_is_not_written_again() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.hello(2, "@alice");
    node.read(1, "@bob", id_at(5));
    node.appends = Answers::ByHand;
    for (session, upto) in [(1, 5), (2, 4), (1, 4)] {
        let said = node.read(session, "@bob", id_at(upto));
        assert_eq!(said.replies(session), [Reply::Done]);
        assert_eq!(said.0.len(), 1, "no receipt");
    }
    assert!(node.drafts.is_empty());
    node.read(1, "@bob", id_at(6));
    node.read(1, "@carol", id_at(5));
    assert_eq!(node.drafts.len(), 2);
    assert_eq!(
        node.drafts[0].1.conversation,
        Conversation::User(user("@alice"))
    );
}

#[test]
fn a_mark_that_comes_after_a_greater_one_is_not_told() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    let mark = |ms, upto| {
        Arc::new(StreamEvent {
            id: id_at(ms),
            conversation: Conversation::User(user("@alice")),
            author: user("@alice"),
            nonce: None,
            kind: EventKind::Read {
                of: direct("@alice", "@bob"),
                upto: id_at(upto),
            },
        })
    };
    assert_eq!(node.arrives(mark(1, 9)).pushes(1).len(), 1);
    assert!(node.arrives(mark(2, 7)).is_silent());
}

#[test]
fn an_id_that_was_read_moves_the_clock() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.appends = Answers::ByHand;
    node.read(1, "@bob", id_at(10_000));
    assert!(node.clock.latest(node.table.now) >= id_at(10_000).stamp);
}

#[test]
fn a_signal_reaches_the_sessions_of_its_user_and_nobody_else() {
    let mut node = Node::new(1);
    for (session, name) in [
        (1, "@alice"),
        (2, "@alice"),
        (3, "@bob"),
        (4, "@bob"),
        (5, "@eve"),
    ] {
        node.hello(session, name);
    }
    let said = node.signal(1, "@bob");
    assert_eq!(said.reply(1), Reply::Reached(1));
    let signal = Push::Signal {
        within: address("@alice"),
        from: user("@alice"),
        kind: "typing".into(),
        body: Some(json("true")),
    };
    assert_eq!(said.pushes(3), std::slice::from_ref(&signal));
    assert_eq!(said.pushes(4), [signal]);
    assert_eq!(said.0.len(), 2, "one push, one reply: {said:?}");
}

#[test]
fn a_signal_to_oneself_reaches_the_other_sessions() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.hello(2, "@alice");
    let said = node.signal(1, "@alice");
    assert_eq!(said.reply(1), Reply::Reached(1));
    assert_eq!((said.pushes(1).len(), said.pushes(2).len()), (0, 1));
}

#[test]
fn a_signal_goes_once_to_every_node_with_the_user() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.hello(2, "@bob");
    node.table.set("@bob", node_id(2), Sight::Here);
    node.table.set("@bob", node_id(3), Sight::Doubtful);
    node.table.set("@bob", node_id(4), Sight::Unknown);
    let said = node.signal(1, "@bob");
    assert_eq!(said.reply(1), Reply::Reached(3));
    let message = Message::Signal {
        to: user("@bob"),
        from: user("@alice"),
        kind: "typing".into(),
        body: Some(json("true")),
    };
    let to = |n| (node_id(n), message.clone());
    assert_eq!(said.frames(), [to(2), to(3)]);
    assert_eq!(said.pushes(2).len(), 1);
}

#[test]
fn a_signal_of_another_node_is_pushed_here_and_goes_no_further() {
    let mut node = Node::new(1);
    node.hello(1, "@bob");
    node.table.set("@bob", node_id(3), Sight::Here);
    let signal = Message::Signal {
        to: user("@bob"),
        from: user("@alice"),
        kind: "typing".into(),
        body: None,
    };
    let said = node.receive(node_id(2), signal.clone());
    assert_eq!(said.pushes(1).len(), 1);
    assert_eq!(said.0.len(), 1);
    node.closed(1, Closing::Gone);
    assert!(node.receive(node_id(2), signal).is_silent());
    assert_eq!(node.counter("chat_signals_unheard_total"), 1);
}

#[test]
fn a_session_in_grace_is_absent_for_a_signal() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.hello(2, "@bob");
    node.closed(2, Closing::Lost);
    let said = node.signal(1, "@bob");
    assert_eq!(said.reply(1), Reply::Reached(0));
    assert_eq!(said.0.len(), 1);
}
