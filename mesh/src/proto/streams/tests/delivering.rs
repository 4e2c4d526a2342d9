//! Rules of delivery: who is shown what, and once.

use std::time::Duration;

use super::world::World;
use crate::id::SessionId;
use crate::proto::streams::samples::alice_and_bob;
use crate::proto::streams::{AppendId, Message, Purpose};

#[test]
fn every_node_with_a_route_is_told_once_and_the_sender_only_by_its_reply() {
    let mut world = World::new(4);
    for (name, node) in [("@alice", 0), ("@alice", 1), ("@bob", 2)] {
        world.attach(name, node);
    }
    world.send(0, "1");
    let told: Vec<usize> = (0..4).map(|node| world.arrived(node).len()).collect();
    assert_eq!(told, [1, 1, 1, 0]);
    let (_, except, late) = world.arrived(0)[0].clone();
    assert_eq!((except, late), (Some(SessionId(1)), false));
    let (_, except, late) = world.arrived(2)[0].clone();
    assert_eq!((except, late), (None, false));
}

#[test]
fn a_replica_with_a_route_gets_one_frame_for_both() {
    let mut world = World::new(2);
    world.attach("@bob", 1);
    for node in &mut world.nodes {
        node.disk.listed.insert(alice_and_bob().stream());
    }
    world.send(0, "1");
    let purposes: Vec<_> = world
        .log
        .iter()
        .filter_map(|(_, to, message)| match message {
            Message::Offer { purpose, .. } => Some((*to, *purpose)),
            Message::Acks(_) | Message::Ask { .. } | Message::Answer { .. } => None,
        })
        .collect();
    let append = AppendId {
        number: 0,
        round: 0,
    };
    assert_eq!(purposes, [(1, Purpose::KeepAndShow(append))]);
}

#[test]
fn a_delivery_is_shown_before_any_disk_has_it() {
    let mut world = World::new(3);
    world.attach("@bob", 2);
    world.pause_disks(&[0, 1, 2]);
    let ticket = world.send(0, "1");
    assert_eq!(world.arrived(2).len(), 1);
    assert_eq!(world.result(0, ticket), None);
}

#[test]
fn an_event_that_comes_twice_is_shown_once() {
    let mut world = World::new(2);
    world.attach("@bob", 1);
    world.send(0, "1");
    let (event, ..) = world.arrived(1)[0].clone();
    let purpose = Purpose::Show;
    world.receive(1, 0, Message::Offer { event, purpose });
    assert_eq!(world.arrived(1).len(), 1);
}

#[test]
fn an_event_learned_more_than_five_seconds_after_its_stamp_is_late() {
    let mut world = World::new(3);
    world.send(0, "1");
    let (event, ..) = world.arrived(0)[0].clone();
    let show = |event| Message::Offer {
        event,
        purpose: Purpose::Show,
    };
    world.pass(Duration::from_secs(5));
    world.receive(1, 0, show(event.clone()));
    assert!(!world.arrived(1)[0].2);
    world.pass(Duration::from_millis(1));
    world.receive(2, 0, show(event));
    assert!(world.arrived(2)[0].2);
}

#[test]
fn a_node_that_attaches_a_user_just_then_is_sent_what_went_before_once() {
    let mut world = World::new(4);
    world.attach("@alice", 0);
    world.send(0, "1");
    assert!(world.arrived(3).is_empty());
    let key = world.attach("@bob", 3);
    let node = world.nodes[3].id;
    world.log.clear();
    for _ in 0..2 {
        world.with_node(0, |streams, near, _, out| {
            streams.on_attached(near, node, &[key], out)
        });
        world.run();
    }
    assert_eq!(world.arrived(3).len(), 1);
    assert_eq!(world.log.len(), 1);
}

#[test]
fn a_node_that_attaches_a_user_later_than_two_seconds_is_sent_nothing() {
    let mut world = World::new(4);
    world.send(0, "1");
    world.pass(Duration::from_millis(2_001));
    let key = world.attach("@bob", 3);
    let node = world.nodes[3].id;
    world.with_node(0, |streams, near, _, out| {
        streams.on_attached(near, node, &[key], out)
    });
    world.run();
    assert!(world.arrived(3).is_empty());
}
