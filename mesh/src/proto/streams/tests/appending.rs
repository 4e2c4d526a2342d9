//! Rules of appending: copies, nonces, order, deadlines.

use std::time::Duration;

use super::world::World;
use crate::event::{Event as Fact, EventKind, SharedEvent};
use crate::id::{Conversation, EventId, Nonce, SessionId};
use crate::proto::output::Ticket;
use crate::proto::streams::samples::{alice_and_bob, body, user};
use crate::proto::streams::{AppendError, Config, Draft, Message, drafts};
use crate::time::Stamp;

const DEADLINE: Duration = Duration::from_secs(5);

fn is_unavailable(world: &World, node: usize, ticket: Ticket) -> bool {
    matches!(
        world.result(node, ticket),
        Some(Err(AppendError::Unavailable(_)))
    )
}

#[test]
fn a_message_is_acknowledged_when_two_disks_have_flushed_it() {
    let mut world = World::new(3);
    world.pause_disks(&[0, 1, 2]);
    let ticket = world.send(0, "1");
    assert_eq!(world.result(0, ticket), None);
    world.nodes[1].disk_paused = false;
    world.run();
    assert_eq!(world.result(0, ticket), None, "one disk is not enough");
    world.resume_disks();
    assert_eq!(world.appended(0, ticket).copies, 2);
    assert!(!world.appended(0, ticket).duplicate);
}

#[test]
fn a_message_goes_to_the_first_three_of_its_slot() {
    let mut world = World::new(6);
    let order = world.order(&alice_and_bob());
    // Contact entries have slots of their own.
    for node in &mut world.nodes {
        node.disk.listed.insert(alice_and_bob().stream());
    }
    world.send(order[5], "1");
    assert_eq!(world.asked_to_keep(), order[..3]);
}

#[test]
fn a_sender_that_asks_for_three_copies_waits_for_three() {
    let mut world = World::new(4);
    let nonce = world.nonce();
    let draft = Draft {
        copies: Some(3),
        ..world.draft("1", nonce)
    };
    let ticket = world.append(0, draft);
    world.run();
    assert_eq!(world.appended(0, ticket).copies, 3);
}

#[test]
fn copies_that_cannot_be_had_are_unavailable_at_the_deadline() {
    let mut world = World::new(2);
    let nonce = world.nonce();
    let draft = Draft {
        copies: Some(3),
        ..world.draft("1", nonce)
    };
    let ticket = world.append(0, draft);
    world.pass(DEADLINE - Duration::from_millis(1));
    assert_eq!(world.result(0, ticket), None);
    world.pass(Duration::from_millis(1));
    assert!(is_unavailable(&world, 0, ticket));
}

#[test]
fn a_lone_node_acknowledges_one_copy_and_counts_it() {
    let mut world = World::new(1);
    let ticket = world.send(0, "1");
    assert_eq!(world.appended(0, ticket).copies, 1);
    assert_eq!(world.counter(0, "streams_appends_lowered_total"), 1);
}

#[test]
fn a_lone_node_with_min_copies_two_acknowledges_nothing() {
    let config = Config {
        min_copies: 2,
        ..Config::default()
    };
    let mut world = World::with(1, 1, config);
    let ticket = world.send(0, "1");
    world.pass(DEADLINE);
    assert!(is_unavailable(&world, 0, ticket));
}

#[test]
fn fewer_than_min_copies_are_never_acknowledged_though_asked_for() {
    let config = Config {
        min_copies: 2,
        ..Config::default()
    };
    let mut world = World::with(2, 2, config);
    world.pause_disks(&[1]);
    let nonce = world.nonce();
    let draft = Draft {
        copies: Some(1),
        ..world.draft("1", nonce)
    };
    let ticket = world.append(0, draft);
    world.run();
    assert_eq!(world.result(0, ticket), None);
    world.resume_disks();
    assert_eq!(world.appended(0, ticket).copies, 2);
}

#[test]
fn a_sender_that_asks_for_two_copies_is_not_satisfied_by_one() {
    let mut world = World::new(1);
    let nonce = world.nonce();
    let draft = Draft {
        copies: Some(2),
        ..world.draft("1", nonce)
    };
    let ticket = world.append(0, draft);
    world.pass(DEADLINE);
    assert!(is_unavailable(&world, 0, ticket));
}

#[test]
fn when_the_last_other_disk_is_gone_one_copy_is_enough() {
    let mut world = World::new(2);
    world.pause_disks(&[1]);
    let ticket = world.send(0, "1");
    assert_eq!(world.result(0, ticket), None);
    world.isolate(&[0]);
    world.run();
    assert_eq!(world.appended(0, ticket).copies, 1);
    assert_eq!(world.counter(0, "streams_appends_lowered_total"), 1);
}

#[test]
fn a_replica_that_is_lost_is_replaced_by_the_next() {
    let mut world = World::new(5);
    let order = world.order(&alice_and_bob());
    let coordinator = order[4];
    world.pause_disks(&order[1..3]);
    let ticket = world.send(coordinator, "1");
    assert_eq!(world.result(coordinator, ticket), None);
    world.isolate(&order[1..3]);
    world.run();
    assert_eq!(world.appended(coordinator, ticket).copies, 2);
    let stored = alice_and_bob().stream();
    assert_eq!(world.nodes[order[3]].disk.ids(stored).len(), 1);
}

#[test]
fn a_full_replica_is_replaced_by_the_next_and_passed_over_for_a_while() {
    let mut world = World::new(5);
    let order = world.order(&alice_and_bob());
    for &full in &order[..2] {
        world.with_node(full, |streams, _, _, _| streams.on_room(false));
    }
    let ticket = world.send(order[4], "1");
    assert_eq!(world.appended(order[4], ticket).copies, 2);
    world.log.clear();
    world.send(order[4], "2");
    assert!(!world.asked_to_keep().contains(&order[0]));
    world.pass(Duration::from_secs(2));
    world.send(order[4], "3");
    assert!(world.asked_to_keep().contains(&order[0]));
}

#[test]
fn without_room_anywhere_a_message_is_unavailable_at_once() {
    let mut world = World::new(2);
    world.attach("@alice", 0);
    for node in 0..2 {
        world.with_node(node, |streams, _, _, _| streams.on_room(false));
    }
    let ticket = world.send(0, "1");
    assert!(is_unavailable(&world, 0, ticket));
    let mut lone = World::new(1);
    lone.with_node(0, |streams, _, _, _| streams.on_room(false));
    let ticket = lone.send(0, "1");
    assert!(is_unavailable(&lone, 0, ticket));
    assert!(lone.arrived(0).is_empty(), "shown to nobody");
}

#[test]
fn no_node_that_stops_is_asked_to_keep_anything() {
    let mut world = World::new(4);
    let order = world.order(&alice_and_bob());
    let stopping = world.nodes[order[0]].id;
    world.ground.stopping.insert(stopping);
    let ticket = world.send(order[3], "1");
    assert_eq!(world.appended(order[3], ticket).copies, 2);
    assert!(!world.asked_to_keep().contains(&order[0]));
}

#[test]
fn a_node_that_stops_finishes_its_appends_and_takes_no_new_ones() {
    let mut world = World::new(3);
    world.pause_disks(&[0, 1, 2]);
    let before = world.send(0, "1");
    world.with_node(0, |streams, _, _, _| streams.on_stopping());
    let after = world.send(0, "2");
    world.resume_disks();
    assert!(world.result(0, before).unwrap().is_ok());
    assert!(is_unavailable(&world, 0, after));
}

#[test]
fn appends_wait_until_the_node_is_ready_and_then_go_in_order() {
    let mut world = World::unready(2, 2, Config::default());
    world.ready(1);
    let tickets: Vec<_> = (0..600).map(|i| world.send(0, &i.to_string())).collect();
    assert_eq!(world.result(0, tickets[0]), None);
    world.ready(0);
    let nonce = world.nonce();
    let behind = world.append(0, world.draft("600", nonce));
    world.run();
    let tickets = tickets.iter().chain([&behind]);
    let ids: Vec<_> = tickets.map(|&t| world.appended(0, t).id).collect();
    assert!(ids.is_sorted());
}

#[test]
fn an_append_waits_for_readiness_no_longer_than_its_deadline() {
    let mut world = World::unready(1, 1, Config::default());
    let ticket = world.send(0, "1");
    world.pass(DEADLINE);
    assert!(is_unavailable(&world, 0, ticket));
    assert!(world.nodes[0].disk.streams.is_empty());
    assert_eq!(world.nodes[0].streams.deadline(), None);
}

#[test]
fn a_fresh_nonce_is_looked_up_nowhere() {
    let mut world = World::new(3);
    world.send(0, "1");
    let asked = |(.., message): &(usize, usize, Message)| matches!(message, Message::Ask { .. });
    assert!(!world.log.iter().any(asked));
    assert_eq!(world.counter(0, "streams_nonce_lookups_total"), 0);
}

#[test]
fn the_same_nonce_through_any_node_is_the_same_message() {
    let mut world = World::new(3);
    let nonce = world.nonce();
    let first = world.append(0, world.draft("1", nonce));
    world.run();
    let first = world.appended(0, first);
    for node in 0..3 {
        let again = Draft {
            hello_unix_ms: nonce.unix_ms() + 1,
            ..world.draft("1", nonce)
        };
        let again = world.append(node, again);
        world.run();
        let again = world.appended(node, again);
        assert_eq!((again.id, again.duplicate), (first.id, true));
        assert_eq!(again.copies, 2);
    }
    assert_eq!(
        world.nodes[0].disk.ids(alice_and_bob().stream()),
        [first.id]
    );
}

#[test]
fn a_nonce_with_another_body_is_a_conflict() {
    let mut world = World::new(3);
    let nonce = world.nonce();
    world.append(0, world.draft("1", nonce));
    let meanwhile = world.append(0, world.draft("2", nonce));
    assert_eq!(world.result(0, meanwhile), Some(Err(AppendError::Conflict)));
    world.run();
    let later = world.append(0, world.draft("2", nonce));
    world.run();
    assert_eq!(world.result(0, later), Some(Err(AppendError::Conflict)));
}

#[test]
fn a_second_try_joins_the_first_while_that_is_under_way() {
    let mut world = World::new(3);
    world.pause_disks(&[0, 1, 2]);
    let nonce = world.nonce();
    let first = world.append(0, world.draft("1", nonce));
    let patient = Draft {
        copies: Some(3),
        ..world.draft("1", nonce)
    };
    let second = world.append(0, patient);
    world.resume_disks();
    let (first, second) = (world.appended(0, first), world.appended(0, second));
    assert_eq!(first.id, second.id);
    assert_eq!((first.copies, second.copies), (2, 3));
    assert!(!first.duplicate && second.duplicate);
}

#[test]
fn a_retry_of_what_reached_one_disk_brings_it_to_two() {
    let mut world = World::new(3);
    let order = world.order(&alice_and_bob());
    let nonce = Nonce::new(world.unix_ms(), 1);
    let stored = stored(&world, nonce, "1", 0);
    world.nodes[order[0]].disk.put(&stored);
    let old = Draft {
        hello_unix_ms: nonce.unix_ms() + 1,
        ..world.draft("1", nonce)
    };
    let ticket = world.append(order[1], old);
    world.run();
    let appended = world.appended(order[1], ticket);
    assert_eq!((appended.id, appended.duplicate), (stored.id, true));
    assert_eq!(appended.copies, 2);
    assert_eq!(world.copies(&stored), 3);
}

/// An event of that nonce as another coordinator would have made it, so many milliseconds ago.
fn stored(world: &World, nonce: Nonce, json: &str, ago_ms: u64) -> SharedEvent {
    SharedEvent::new(Fact {
        id: EventId {
            stamp: Stamp::from_unix_ms(world.unix_ms() - ago_ms),
            origin: 99,
        },
        conversation: alice_and_bob(),
        author: user("@alice"),
        nonce: Some(nonce),
        kind: body(json),
    })
}

#[test]
fn a_smaller_id_of_the_same_nonce_is_adopted_everywhere() {
    let mut world = World::new(4);
    let order = world.order(&alice_and_bob());
    world.attach("@bob", order[3]);
    let nonce = world.nonce();
    let smaller = stored(&world, nonce, "1", 500);
    world.nodes[order[1]].disk.put(&smaller);
    // As if it had been tried here before this node's start: fresh as far as this node knows.
    let ticket = world.append(order[3], world.draft("1", nonce));
    world.run();
    let appended = world.appended(order[3], ticket);
    assert_eq!((appended.id, appended.duplicate), (smaller.id, true));
    assert!(usize::from(appended.copies) <= world.copies(&smaller));
    assert_eq!(world.copies(&smaller), 3);
    assert_eq!(world.counter(order[3], "streams_ids_adopted_total"), 1);
    let shown: Vec<_> = world
        .arrived(order[3])
        .into_iter()
        .map(|(e, ..)| e.id)
        .collect();
    assert_eq!(shown.last(), Some(&smaller.id));
}

#[test]
fn a_twin_with_another_body_is_a_conflict() {
    let mut world = World::new(3);
    let nonce = world.nonce();
    let smaller = stored(&world, nonce, "2", 500);
    world.nodes[1].disk.put(&smaller);
    world.nodes[2].disk.put(&smaller);
    let ticket = world.append(0, world.draft("1", nonce));
    world.run();
    assert_eq!(world.result(0, ticket), Some(Err(AppendError::Conflict)));
}

#[test]
fn drafts_of_a_session_to_a_conversation_keep_their_order_behind_a_look_up() {
    let mut world = World::new(3);
    world.pass(Duration::from_secs(10));
    let old = Nonce::new(world.unix_ms() - 9_000, 1);
    let fresh = world.nonce();
    let first = world.append(0, world.draft("1", old));
    let second = world.append(0, world.draft("2", fresh));
    let other_session = Draft {
        session: SessionId(2),
        ..world.draft("3", Nonce::new(world.unix_ms(), 77))
    };
    let third = world.append(0, other_session);
    world.run();
    let [first, second, third] = [first, second, third].map(|t| world.appended(0, t));
    assert!(third.id < first.id, "another session does not wait");
    assert!(first.id < second.id);
    assert!(!first.duplicate && !second.duplicate);
}

#[test]
fn what_was_shown_is_offered_to_replicas_after_its_deadline() {
    let config = Config {
        min_copies: 2,
        ..Config::default()
    };
    let mut world = World::with(3, 3, config);
    world.isolate(&[0]);
    let nonce = world.nonce();
    let ticket = world.append(0, world.draft("1", nonce));
    world.pass(DEADLINE);
    assert!(is_unavailable(&world, 0, ticket));
    let (shown, ..) = world.arrived(0)[0].clone();
    assert_eq!(world.copies(&shown), 1);
    world.heal();
    world.pass(Duration::from_secs(6));
    assert_eq!(world.copies(&shown), 3);
    assert_eq!(
        world.nodes[0].streams.deadline(),
        None,
        "and then it is done"
    );
    assert_eq!(world.counter(0, "streams_offers_dropped_total"), 0);
}

#[test]
fn an_offer_ends_in_time_and_is_counted() {
    let config = Config {
        min_copies: 2,
        ..Config::default()
    };
    let mut world = World::with(1, 1, config);
    world.send(0, "1");
    world.pass(Duration::from_secs(80));
    assert_eq!(world.counter(0, "streams_offers_dropped_total"), 1);
    assert_eq!(world.nodes[0].streams.deadline(), None);
}

#[test]
fn a_retry_of_what_is_offered_on_joins_it_under_the_same_id() {
    let mut world = World::new(3);
    let nonce = world.nonce();
    let asking = Draft {
        copies: Some(2),
        ..world.draft("1", nonce)
    };
    world.isolate(&[0]);
    let first = world.append(0, asking);
    world.pass(DEADLINE);
    assert!(is_unavailable(&world, 0, first));
    world.pause_disks(&[1, 2]);
    world.heal();
    let again = world.append(0, world.draft("1", nonce));
    world.resume_disks();
    let again = world.appended(0, again);
    assert_eq!(again.id, world.arrived(0)[0].0.id);
    assert_eq!(
        world.nodes[1].disk.ids(alice_and_bob().stream()),
        [again.id]
    );
}

#[test]
fn a_lost_frame_is_sent_again_half_way_to_the_deadline() {
    let mut world = World::new(2);
    world.lossy.insert((0, 1));
    let ticket = world.send(0, "1");
    world.lossy.clear();
    world.pass(DEADLINE / 2);
    assert_eq!(world.appended(0, ticket).copies, 2);
}

#[test]
fn a_front_without_slots_appends_on_the_others() {
    let mut world = World::with(3, 2, Config::default());
    let ticket = world.send(2, "1");
    assert_eq!(world.appended(2, ticket).copies, 2);
    assert!(world.nodes[2].disk.streams.is_empty());
}

#[test]
fn a_message_for_which_no_disk_can_be_reached_is_shown_to_nobody() {
    let mut world = World::with(2, 1, Config::default());
    world.isolate(&[1]);
    let ticket = world.send(1, "1");
    assert!(world.arrived(1).is_empty());
    world.pass(Duration::from_secs(1));
    world.heal();
    world.run();
    assert_eq!(world.appended(1, ticket).copies, 1);
    assert_eq!(world.arrived(1).len(), 1);
}

#[test]
fn the_first_message_is_in_both_users_lists_before_it_is_acknowledged() {
    let mut world = World::new(3);
    // Each replica confirms once both entries are with two disks; one disk is not enough.
    world.pause_disks(&[1, 2]);
    let ticket = world.send(0, "1");
    assert_eq!(world.result(0, ticket), None);
    world.resume_disks();
    let id = world.appended(0, ticket).id;
    for name in ["@alice", "@bob"] {
        let list = Conversation::User(user(name)).stream();
        let mut ids: Vec<_> = world
            .nodes
            .iter()
            .flat_map(|node| node.disk.ids(list))
            .collect();
        assert_eq!(ids.len(), 3);
        ids.dedup();
        assert_eq!(ids.len(), 1, "all replicas made one and the same entry");
        assert_eq!(ids[0].stamp, id.stamp);
    }
    assert!(
        world
            .nodes
            .iter()
            .all(|node| node.disk.listed.contains(&alice_and_bob().stream()))
    );
    world.log.clear();
    world.send(0, "2");
    let contact = |(.., message): &(usize, usize, Message)| matches!(message, Message::Offer { event, .. } if matches!(event.kind, EventKind::Contact { .. }));
    assert!(!world.log.iter().any(contact), "only the first time");
}

/// A message of that nonce is on all disks, but the nodes died before they listed its conversation.
fn stored_and_unlisted(nodes: usize) -> (World, Nonce, EventId) {
    let mut world = World::new(nodes);
    let nonce = world.nonce();
    let event = stored(&world, nonce, "1", 1);
    for node in 0..nodes {
        world.nodes[node].disk.put(&event);
        world.restart(node);
    }
    (world, nonce, event.id)
}

fn assert_answered_and_listed(mut world: World, draft: Draft, id: EventId) {
    let ticket = world.append(0, draft);
    world.run();
    let appended = world.appended(0, ticket);
    assert_eq!((appended.id, appended.duplicate), (id, true));
    for name in ["@alice", "@bob"] {
        let list = Conversation::User(user(name)).stream();
        assert_eq!(world.nodes[0].disk.ids(list).len(), 1, "{name}");
    }
}

#[test]
fn a_retry_that_finds_its_message_stored_lists_the_conversation_before_it_is_answered() {
    for nodes in 1..=3 {
        let (world, nonce, id) = stored_and_unlisted(nodes);
        let again = Draft {
            hello_unix_ms: nonce.unix_ms() + 1,
            ..world.draft("1", nonce)
        };
        assert_answered_and_listed(world, again, id);
    }
}

#[test]
fn a_message_that_takes_a_smaller_id_lists_the_conversation_before_it_is_answered() {
    for nodes in 1..=3 {
        let (world, nonce, id) = stored_and_unlisted(nodes);
        let fresh = world.draft("1", nonce);
        assert_answered_and_listed(world, fresh, id);
    }
}

#[test]
fn acknowledgements_of_one_flush_leave_in_one_frame() {
    let mut world = World::new(2);
    world.send(0, "0");
    world.pause_disks(&[1]);
    for i in 1..=20 {
        world.send(0, &i.to_string());
    }
    world.log.clear();
    world.resume_disks();
    let acks = |(.., message): &(usize, usize, Message)| match message {
        Message::Acks(acks) => Some(acks.len()),
        Message::Offer { .. } | Message::Ask { .. } | Message::Answer { .. } => None,
    };
    let frames: Vec<_> = world.log.iter().filter_map(acks).collect();
    assert_eq!(frames, [1, 19], "what came during a flush is the next one");
}

#[test]
fn appends_under_way_are_bounded() {
    let mut world = World::unready(1, 1, Config::default());
    let first = world.append(0, world.draft("1", Nonce(0)));
    for i in 1..drafts::PENDING_MAX as u128 {
        world.append(0, world.draft("1", Nonce(i)));
    }
    assert_eq!(world.result(0, first), None);
    let above = world.append(0, world.draft("1", Nonce(1 << 80)));
    assert!(is_unavailable(&world, 0, above));
    assert_eq!(world.counter(0, "streams_appends_refused_total"), 1);
    world.pass(DEADLINE);
    assert!(is_unavailable(&world, 0, first));
    assert_eq!(world.nodes[0].streams.deadline(), None);
}
