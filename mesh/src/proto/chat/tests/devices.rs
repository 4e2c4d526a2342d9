//! One session per named device, across nodes.

use std::time::Duration;

use super::harness::*;
use crate::command::{ByeReason, Push};
use crate::id::NodeId;
use crate::proto::chat::{Event, Message};
use crate::proto::input::Closing;
use crate::proto::output::CloseCode;

/// Alice's phone says hello on `a`, then on `b`, a second later.
fn phone_moves() -> (Node, Node) {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    a.hello_on(1, "@alice", "phone");
    b.routes(a.id, &["@alice"], &[]);
    b.pass(Duration::from_secs(1));
    a.pass(Duration::from_secs(1));
    b.hello_on(2, "@alice", "phone");
    a.attached();
    (a, b)
}

#[test]
fn of_two_sessions_of_one_device_on_two_nodes_the_newer_stays() {
    let (mut a, mut b) = phone_moves();
    let learned = a.routes(b.id, &["@alice"], &[]);
    let (said_a, said_b) = converse(&mut a, &mut b, learned);
    assert_eq!(said_a.closes(), [(1, CloseCode::Replaced)]);
    assert!(matches!(
        said_a.pushes(1)[..],
        [Push::Bye {
            reason: ByeReason::Replaced,
            ..
        }]
    ));
    assert_eq!(said_b.closes(), []);
    assert_eq!(a.attached(), [Event::Detach(a.key("@alice"))]);
}

#[test]
fn it_is_the_same_whoever_claims_first() {
    let (mut a, mut b) = phone_moves();
    let learned = b.routes(a.id, &["@alice"], &[]);
    let (said_b, said_a) = converse(&mut b, &mut a, learned);
    assert_eq!(said_a.closes(), [(1, CloseCode::Replaced)]);
    assert_eq!(said_b.closes(), []);
}

#[test]
fn of_two_sessions_with_one_stamp_the_greater_node_keeps_its_own() {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    a.hello_on(1, "@alice", "phone");
    b.hello_on(2, "@alice", "phone");
    let learned = a.routes(b.id, &["@alice"], &[]);
    let (said_a, said_b) = converse(&mut a, &mut b, learned);
    assert_eq!(said_a.closes(), [(1, CloseCode::Replaced)]);
    assert_eq!(said_b.closes(), []);
}

#[test]
fn other_devices_stay_where_they_are() {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    a.hello_on(1, "@alice", "phone");
    a.hello(3, "@alice");
    b.hello_on(2, "@alice", "laptop");
    let learned = a.routes(b.id, &["@alice"], &[]);
    let (said_a, said_b) = converse(&mut a, &mut b, learned);
    assert_eq!((said_a.closes(), said_b.closes()), (vec![], vec![]));
}

#[test]
fn a_device_without_a_name_of_its_own_is_never_claimed() {
    let mut a = Node::new(1);
    a.hello(1, "@alice");
    let said = a.routes(node_id(2), &["@alice"], &[]);
    assert!(said.is_silent(), "{said:?}");
}

#[test]
fn a_hello_of_a_user_attached_already_is_claimed_at_once() {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    a.hello_on(1, "@alice", "phone");
    b.hello_on(2, "@alice", "laptop");
    let learned = a.routes(b.id, &["@alice"], &[]);
    converse(&mut a, &mut b, learned);
    b.table.set("@alice", a.id, crate::proto::view::Sight::Here);
    b.pass(Duration::from_secs(1));
    // No route changes: nobody would learn of it.
    let said = b.hello_on(3, "@alice", "phone");
    let (_, said_a) = converse(&mut b, &mut a, said);
    assert_eq!(said_a.closes(), [(1, CloseCode::Replaced)]);
}

#[test]
fn a_session_in_grace_is_detached_as_soon_as_its_device_is_elsewhere() {
    let (mut a, mut b) = phone_moves();
    a.closed(1, Closing::Lost);
    let learned = a.routes(b.id, &["@alice"], &[]);
    let (said_a, said_b) = converse(&mut a, &mut b, learned);
    assert_eq!(a.attached(), [Event::Detach(a.key("@alice"))]);
    assert_eq!(said_a.pushes(1), [], "nobody is there to be told");
    assert_eq!((said_a.closes(), said_b.closes()), (vec![], vec![]));
}

#[test]
fn a_session_in_grace_outlives_the_attach_of_another_device() {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    a.hello_on(1, "@alice", "phone");
    b.hello_on(2, "@alice", "laptop");
    a.closed(1, Closing::Lost);
    a.attached();
    let learned = a.routes(b.id, &["@alice"], &[]);
    converse(&mut a, &mut b, learned);
    a.pass(Duration::from_millis(2_999));
    assert_eq!(a.attached(), []);
}

#[test]
fn a_session_in_grace_never_closes_a_live_one_though_its_hello_was_later() {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    b.hello_on(2, "@alice", "phone");
    a.pass(Duration::from_secs(1));
    a.hello_on(1, "@alice", "phone");
    a.closed(1, Closing::Lost);
    let learned = a.routes(b.id, &["@alice"], &[]);
    let (_, said_b) = converse(&mut a, &mut b, learned);
    assert_eq!(said_b.closes(), []);
    let detached = Event::Detach(a.key("@alice"));
    assert_eq!(a.attached().last(), Some(&detached), "and yields to it");
}

#[test]
fn a_session_told_bye_is_detached_when_its_device_is_elsewhere_and_without_another_word() {
    let (mut a, mut b) = phone_moves();
    a.act(|chat, table, _, out| chat.stop(table, Vec::new(), out));
    let learned = a.routes(b.id, &["@alice"], &[]);
    let (said_a, _) = converse(&mut a, &mut b, learned);
    let detach = Event::Detach(a.key("@alice"));
    assert_eq!(a.attached(), [detach, Event::Empty]);
    assert_eq!((said_a.pushes(1), said_a.closes()), (vec![], vec![]));
    a.closed(1, Closing::Lost);
    a.pass(Duration::from_secs(60));
    assert_eq!(a.attached(), []);
}

#[test]
fn a_claim_is_repeated_until_it_is_answered() {
    let (mut a, mut b) = phone_moves();
    let lost = a.routes(b.id, &["@alice"], &[]);
    assert_eq!(lost.frames().len(), 1);
    a.pass(Duration::from_millis(999));
    let repeated = a.pass(Duration::from_millis(1));
    assert_eq!(repeated.frames(), lost.frames());
    converse(&mut a, &mut b, repeated);
    let silence = a.pass(Duration::from_secs(60));
    assert!(silence.is_silent(), "{silence:?}");
    assert_eq!(a.counter("chat_device_claims_unanswered_total"), 0);
}

#[test]
fn a_claim_that_was_answered_is_not_repeated() {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    a.hello_on(1, "@alice", "phone");
    b.hello_on(2, "@alice", "laptop");
    let learned = a.routes(b.id, &["@alice"], &[]);
    converse(&mut a, &mut b, learned);
    let silence = a.pass(Duration::from_secs(60));
    assert!(silence.is_silent(), "{silence:?}");
}

#[test]
fn a_claim_that_nobody_answers_is_given_up() {
    let (mut a, b) = phone_moves();
    a.routes(b.id, &["@alice"], &[]);
    let said = a.pass(Duration::from_secs(60));
    assert_eq!(said.frames().len(), 4, "five in all");
    assert_eq!(a.counter("chat_device_claims_unanswered_total"), 1);
    assert_eq!(a.chat.deadline(), None);
}

#[test]
fn a_returning_link_settles_the_devices_of_users_served_by_both() {
    let (mut a, mut b) = phone_moves();
    for i in 0..2_000 {
        a.hello_on(100 + i, &format!("@u{i}"), "phone");
    }
    a.table.set("@alice", b.id, crate::proto::view::Sight::Here);
    let node: NodeId = b.id;
    let said = a.act(|chat, table, _, out| chat.on_linked(table, node, out));
    assert!(said.is_silent(), "it is done in slices");
    let said = a.tick();
    assert_eq!(said.frames().len(), 1, "only what both serve is told");
    let (said_a, _) = converse(&mut a, &mut b, said);
    assert_eq!(said_a.closes(), [(1, CloseCode::Replaced)]);
    a.pass(Duration::from_secs(2));
    assert_eq!(a.chat.deadline(), None);
}

#[test]
fn a_claim_of_many_devices_goes_in_several_frames() {
    let mut a = Node::new(1);
    (0..1_500).for_each(|i| drop(a.hello_on(i, "@bot", &format!("d{i}"))));
    let frames = a.routes(node_id(2), &["@bot"], &[]).frames();
    let counts: Vec<_> = frames
        .iter()
        .map(|(_, message)| match message {
            Message::Devices { devices, .. } => devices.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts, [1_024, 476]);
}

#[test]
fn a_claim_for_a_user_who_is_not_here_is_answered_with_nothing() {
    let mut a = Node::new(1);
    let claim = Message::Devices {
        user: user("@nobody"),
        devices: vec![(device("phone"), id_at(0).stamp)],
    };
    let said = a.receive(node_id(2), claim);
    let held = Message::DevicesHeld {
        user: user("@nobody"),
        devices: Vec::new(),
    };
    assert_eq!(said.frames(), [(node_id(2), held)]);
    assert_eq!(a.attached(), []);
}
