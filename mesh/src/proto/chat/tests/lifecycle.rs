//! `hello`, grace, replacement on one node, stopping.

use std::time::Duration;

use super::harness::*;
use crate::command::{ByeReason, Code, Command, Hello, Push, Reply, Window};
use crate::id::SessionId;
use crate::proto::chat::Event;
use crate::proto::input::Closing;
use crate::proto::output::CloseCode;

fn bye(push: &Push) -> Option<(ByeReason, u32, usize)> {
    match push {
        Push::Bye {
            reason,
            reconnect_after_ms,
            urls,
        } => Some((*reason, *reconnect_after_ms, urls.len())),
        _ => None,
    }
}

#[test]
fn hello_is_answered_with_who_one_is_and_attaches_the_user_once() {
    let mut node = Node::new(1);
    let said = node.hello_on(1, "@alice", "phone");
    assert_eq!(
        said.reply(1),
        Reply::Welcome {
            user: user("@alice"),
            device: device("phone"),
            node: node.id,
            unix_ms: START_MS,
        }
    );
    assert_eq!(said.0.len(), 1, "{said:?}");
    node.hello_on(2, "@alice", "laptop");
    assert_eq!(node.attached(), [Event::Attach(node.key("@alice"))]);
    assert_eq!(node.chat.sessions(), 2);
}

#[test]
fn a_device_left_out_is_made_up_afresh_each_time() {
    let mut node = Node::new(1);
    let device = |said: Said| match said.reply(1) {
        Reply::Welcome { device, .. } => device,
        reply => panic!("{reply:?}"),
    };
    let first = device(node.hello(1, "@alice"));
    node.closed(1, Closing::Gone);
    assert_ne!(first, device(node.hello(1, "@alice")));
    let mut again = Node::new(1);
    assert_eq!(first, device(again.hello(1, "@alice")), "same seed");
}

#[test]
fn a_command_before_hello_is_refused_and_the_connection_closed() {
    let mut node = Node::new(1);
    let said = node.command(1, Command::Ping);
    assert_eq!(said.code(1), Code::Unauthenticated);
    assert_eq!(said.closes(), [(1, CloseCode::NoHello)]);
    assert!(
        node.hello(1, "@alice").is_silent(),
        "what was pipelined behind it counts no more"
    );
    assert_eq!(node.attached(), []);
    node.closed(1, Closing::Lost);
    assert_eq!(node.chat.sessions(), 0);
}

#[test]
fn a_second_hello_is_refused_and_the_session_goes_on() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    let said = node.hello(1, "@bob");
    assert_eq!(said.code(1), Code::BadRequest);
    assert_eq!(said.closes(), []);
    assert_eq!(
        node.command(1, Command::Ping).reply(1),
        Reply::Pong(START_MS)
    );
}

#[test]
fn a_hello_that_names_too_many_conversations_is_refused_and_closed() {
    let mut node = Node::new(1);
    let window = Window {
        upto: id_at(0),
        exact: None,
    };
    let named = |count: usize| {
        let names = (0..count).map(|i| (address(&format!("@u{i}")), window));
        Hello {
            resume: Some(names.collect()),
            ..hello("@alice", None)
        }
    };
    let said = node.hello_with(1, named(1_001));
    assert_eq!(said.code(1), Code::BadRequest);
    assert_eq!(said.closes(), [(1, CloseCode::NoHello)]);
    let said = node.hello_with(2, named(1_000));
    assert_eq!(said.closes(), []);
}

#[test]
fn an_id_named_in_hello_moves_the_clock_but_not_by_much() {
    let mut node = Node::new(1);
    let resume = |ms| {
        let upto = id_at(ms);
        Some([(address("@bob"), Window { upto, exact: None })].into())
    };
    let ahead = Hello {
        resume: resume(60_000),
        ..hello("@alice", None)
    };
    node.hello_with(1, ahead);
    assert!(node.clock.latest(node.table.now) > id_at(60_000).stamp);
    let far_ahead = Hello {
        resume: resume(200_000),
        ..hello("@alice", None)
    };
    node.hello_with(2, far_ahead);
    assert!(node.clock.latest(node.table.now) < id_at(61_000).stamp);
}

#[test]
fn a_session_closed_by_its_client_is_detached_at_once() {
    let mut node = Node::new(1);
    node.hello_on(1, "@alice", "phone");
    node.attached();
    node.closed(1, Closing::Gone);
    assert_eq!(node.attached(), [Event::Detach(node.key("@alice"))]);
    assert_eq!(node.chat.sessions(), 0);
}

#[test]
fn a_lost_session_is_detached_after_grace() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.attached();
    node.closed(1, Closing::Lost);
    node.pass(Duration::from_millis(2_999));
    assert_eq!(node.attached(), []);
    node.pass(Duration::from_millis(1));
    assert_eq!(node.attached(), [Event::Detach(node.key("@alice"))]);
    assert_eq!(node.chat.deadline(), None);
}

#[test]
fn a_lost_session_that_comes_back_costs_no_gossip() {
    for on in [None, Some("phone")] {
        let mut node = Node::new(1);
        node.hello_with(1, hello("@alice", on));
        node.attached();
        for session in 2..10 {
            node.closed(session - 1, Closing::Lost);
            node.pass(Duration::from_secs(2));
            let said = node.hello_with(session, hello("@alice", on));
            assert_eq!(said.closes(), [], "what is gone needs no closing");
            assert_eq!(said.pushes(session - 1), []);
        }
        node.pass(Duration::from_secs(10));
        assert_eq!(node.attached(), []);
        assert_eq!(node.chat.sessions(), 1);
        assert_eq!(node.counter("chat_sessions_in_grace"), 0);
    }
}

#[test]
fn the_user_stays_attached_as_long_as_one_session_is_there() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.hello(2, "@alice");
    node.attached();
    node.closed(1, Closing::Lost);
    node.pass(Duration::from_secs(5));
    assert_eq!(node.attached(), []);
    node.closed(2, Closing::Gone);
    assert_eq!(node.attached(), [Event::Detach(node.key("@alice"))]);
}

#[test]
fn a_newer_session_of_a_named_device_replaces_the_older() {
    let mut node = Node::new(1);
    node.hello_on(1, "@alice", "phone");
    node.hello_on(2, "@alice", "laptop");
    let said = node.hello_on(3, "@alice", "phone");
    assert_eq!(said.closes(), [(1, CloseCode::Replaced)]);
    let byes: Vec<_> = said.pushes(1).iter().filter_map(bye).collect();
    assert_eq!(byes, [(ByeReason::Replaced, 0, 0)]);
    assert_eq!(said.pushes(2), []);
    assert!(node.command(1, Command::Ping).is_silent());
    node.closed(1, Closing::Lost);
    assert_eq!(node.chat.sessions(), 2);
    assert_eq!(node.counter("chat_sessions_in_grace"), 0);
    assert_eq!(node.attached(), [Event::Attach(node.key("@alice"))]);
}

#[test]
fn devices_of_different_users_do_not_replace_each_other() {
    let mut node = Node::new(1);
    node.table.collide = true;
    node.hello_on(1, "@alice", "phone");
    let said = node.hello_on(2, "@bob", "phone");
    assert_eq!(said.closes(), []);
    assert_eq!(node.attached().len(), 2, "each user is attached");
}

#[test]
fn users_whose_keys_collide_are_kept_apart() {
    for order in [[1, 2, 3], [2, 3, 1], [3, 1, 2], [2, 1, 3]] {
        let mut node = Node::new(1);
        node.table.collide = true;
        for (session, name) in [(1, "@a"), (2, "@b"), (3, "@c")] {
            node.hello(session, name);
        }
        assert_eq!(node.send(1, "@b", "1").bodies(2).len(), 1);
        assert_eq!(node.send(1, "@b", "1").bodies(3), []);
        node.attached();
        for (done, session) in order.into_iter().enumerate() {
            node.closed(session, Closing::Gone);
            assert_eq!(node.attached().len(), 1);
            assert_eq!(node.chat.sessions(), 2 - done as u64);
        }
        assert!(node.hello(4, "@c").closes().is_empty());
        assert_eq!(node.attached().len(), 1);
    }
}

#[test]
fn stopping_says_bye_to_all_and_closes_them() {
    let mut node = Node::new(1);
    (1..=1_000).for_each(|i| drop(node.hello(i, &format!("@u{i}"))));
    node.attached();
    let urls = vec!["ws://b/ws".to_owned()];
    let mut said = node.act(|chat, table, _, out| chat.stop(table, urls, out));
    said.0.extend(node.tick().0);
    assert_eq!(said.closes().len(), 1_000);
    let mut delays = std::collections::BTreeSet::new();
    for session in 1..=1_000 {
        let byes: Vec<_> = said.pushes(session).iter().filter_map(bye).collect();
        let [(ByeReason::Shutdown, delay, 1)] = byes[..] else {
            panic!("{byes:?}");
        };
        assert!(delay <= 1_000);
        delays.insert(delay);
    }
    assert!(delays.len() > 1, "not everybody comes back at once");
    assert_eq!(node.attached(), [], "nobody is detached before it is gone");
}

#[test]
fn a_stopping_node_takes_no_hello_and_no_command() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.act(|chat, table, _, out| chat.stop(table, Vec::new(), out));
    let said = node.hello(2, "@bob");
    assert_eq!(said.code(2), Code::Unavailable);
    assert_eq!(said.closes(), [(2, CloseCode::Draining)]);
    assert_eq!(node.send(1, "@bob", "1").code(1), Code::Unavailable);
}

#[test]
fn a_session_told_bye_is_told_nothing_more() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.act(|chat, table, _, out| chat.stop(table, Vec::new(), out));
    let said = node.arrives(message(id_at(0), "@bob", "@alice", "1"));
    assert!(said.is_silent(), "{said:?}");
}

#[test]
fn a_session_told_bye_is_detached_three_seconds_after_it_closed_and_the_last_ends_the_stop() {
    for closing in [Closing::Gone, Closing::Lost] {
        let mut node = Node::new(1);
        node.hello(1, "@alice");
        node.hello(2, "@bob");
        node.attached();
        stop_beside_another(&mut node);
        node.closed(1, closing);
        node.pass(Duration::from_secs(1));
        node.closed(2, closing);
        node.pass(Duration::from_secs(2));
        assert_eq!(node.attached(), [Event::Detach(node.key("@alice"))]);
        node.pass(Duration::from_secs(1));
        let detach = Event::Detach(node.key("@bob"));
        assert_eq!(node.attached(), [detach, Event::Empty]);
        node.pass(Duration::from_secs(60));
        assert_eq!(node.attached(), [], "told once");
    }
}

fn stop_beside_another(node: &mut Node) {
    let urls = vec!["ws://b/ws".to_owned()];
    node.act(|chat, table, _, out| chat.stop(table, urls, out));
}

#[test]
fn where_a_node_stops_a_user_is_let_go_as_soon_as_another_node_has_it() {
    let other = node_id(2);
    for before_it_closed in [true, false] {
        let mut node = Node::new(1);
        node.hello(1, "@alice");
        node.attached();
        stop_beside_another(&mut node);
        if before_it_closed {
            node.routes(other, &["@alice"], &[]);
            assert_eq!(node.attached(), [], "it is still connected here");
            node.closed(1, Closing::Gone);
        } else {
            node.closed(1, Closing::Gone);
            assert_eq!(node.attached(), [], "it may be on its way");
            node.routes(other, &["@alice"], &[]);
        }
        let detach = Event::Detach(node.key("@alice"));
        assert_eq!(node.attached(), [detach, Event::Empty]);
    }
}

#[test]
fn a_user_that_another_node_has_too_keeps_its_grace_here_unless_this_node_stops() {
    let other = node_id(2);
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.closed(1, Closing::Lost);
    node.attached();
    node.routes(other, &["@alice"], &[]);
    assert_eq!(node.attached(), []);
}

#[test]
fn where_no_other_node_is_alive_a_stop_is_over_when_the_last_session_is_closed() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.hello(2, "@bob");
    node.closed(2, Closing::Lost);
    node.attached();
    node.act(|chat, table, _, out| chat.stop(table, Vec::new(), out));
    assert_eq!(node.attached(), []);
    node.closed(1, Closing::Gone);
    assert_eq!(node.attached(), [Event::Empty]);
}

#[test]
fn a_stop_without_sessions_is_over_at_once() {
    let mut node = Node::new(1);
    node.act(|chat, table, _, out| chat.stop(table, Vec::new(), out));
    assert_eq!(node.attached(), [Event::Empty]);
    assert_eq!(node.chat.deadline(), None);
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let mut node = Node::new(1);
    node.hello(1, "@alice");
    node.attached();
    node.act(|chat, table, _, out| chat.stop(table, Vec::new(), out));
    node.pass(Duration::from_millis(29_999));
    assert_eq!(node.attached(), []);
    node.pass(Duration::from_millis(1));
    assert_eq!(node.attached(), [Event::Empty]);
}

#[test]
fn a_stop_without_any_patience_still_says_bye_to_all() {
    let mut node = Node::new(1);
    node.chat.config.stop_timeout = Duration::ZERO;
    (1..=1_000).for_each(|i| drop(node.hello(i, &format!("@u{i}"))));
    node.attached();
    let mut said = node.act(|chat, table, _, out| chat.stop(table, Vec::new(), out));
    assert_eq!(node.attached(), [], "not before all were told");
    said.0.extend(node.tick().0);
    assert_eq!(said.closes().len(), 1_000);
    assert_eq!(node.attached(), [Event::Empty]);
}

#[test]
fn an_idle_session_is_small() {
    use crate::proto::chat::sessions::Session;
    // With its share of a B-tree node, the user's entry and three short texts: below 500 bytes.
    assert!(size_of::<Session>() <= 112, "{}", size_of::<Session>());
}

#[test]
fn more_graces_than_are_kept_end_at_once() {
    let mut node = Node::new(1);
    let max = crate::proto::chat::sessions::GRACE_MAX as u64;
    for session in 0..=max {
        let hello = Command::Hello(hello(&format!("@u{session}"), None));
        let id = SessionId(session);
        let mut out = crate::proto::outbox::Outbox::default();
        let (table, clock) = (&node.table, &mut node.clock);
        node.chat
            .on_command(table, clock, id, None, hello, &mut out);
        node.chat.on_closed(table, id, Closing::Lost, &mut out);
    }
    assert_eq!(node.counter("chat_sessions_in_grace"), max);
    assert_eq!(node.counter("chat_graces_refused_total"), 1);
}
