//! Dialling, its backoff and bounds, and readiness.

use super::world::{World, address, contact, ms, secs};
use crate::proto::input::DialFailure;
use crate::proto::output::{KeptMember, Note, Output, Target};

fn dial_notes(world: &World, at: usize) -> Vec<DialFailure> {
    let mut failures = Vec::new();
    for note in &world.nodes[at].notes {
        if let Note::Dial { failure, .. } = note {
            failures.push(failure.clone());
        }
    }
    failures
}

#[test]
fn a_dead_contact_is_said_once_and_tried_for_ever_ever_more_rarely() {
    let mut world = World::new(2);
    world.start(0, vec![1]);
    world.run(secs(4));
    let early = world.nodes[0].dials;
    assert!((3..=7).contains(&early), "{early}");
    world.run(secs(3_600));
    let hour = world.nodes[0].dials - early;
    assert!((50..=100).contains(&hour), "{hour}");
    assert_eq!(dial_notes(&world, 0).len(), 1);
    world.start(1, vec![]);
    world.run_until(secs(61), World::is_meshed);
}

#[test]
fn a_new_reason_for_a_failure_is_said() {
    let mut world = World::new(2);
    world.cut(0, 1);
    world.start(0, vec![1]);
    world.run(secs(5));
    world.start(1, vec![]);
    world.run(secs(60));
    let notes = dial_notes(&world, 0);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert_ne!(notes[0], notes[1]);
}

#[test]
fn a_node_pointed_at_itself_says_so_is_ready_and_goes_on_trying_rarely() {
    let mut world = World::new(1);
    world.start(0, vec![0]);
    world.run(secs(1));
    assert_eq!(dial_notes(&world, 0), vec![DialFailure::Own]);
    assert_eq!(world.machine(0).unready(world.now()), None);
    world.run(secs(600));
    let dials = world.nodes[0].dials;
    assert!((8..=25).contains(&dials), "{dials}");
}

#[test]
fn a_contact_is_dialled_again_when_its_node_is_lost() {
    let mut world = World::new(3);
    world.start(0, vec![]);
    world.start(1, vec![0]);
    world.run(secs(2));
    world.crash(0);
    // Another node answers at that address now.
    let other = world.add(world.address(0));
    world.run(secs(5));
    world.start(other, vec![]);
    world.run_until(secs(61), |world| world.is_linked(1, other));
}

#[test]
fn no_more_than_32_dials_are_under_way_at_once() {
    let mut world = World::new(50);
    let members = (1..50).map(|at| KeptMember {
        record: world.record(at),
        seen_unix_ms: super::world::WALL,
    });
    let members = members.collect();
    for at in 1..50 {
        world.start(at, vec![]);
    }
    world.start_with(0, vec![], members);
    world.run(secs(1));
    assert_eq!(world.nodes[0].dialling_most, 32);
    assert!((1..50).all(|at| world.is_linked(0, at)));
}

#[test]
fn whoever_waits_for_a_dial_gets_its_turn() {
    let mut world = World::new(50);
    let members = (1..50).map(|at| KeptMember {
        record: world.record(at),
        seen_unix_ms: super::world::WALL,
    });
    let members = members.collect();
    world.start_with(0, vec![], members);
    world.run(ms(50));
    assert_eq!(world.nodes[0].dials, 49);
}

#[test]
fn a_lost_link_is_dialled_again_at_once() {
    let mut world = World::meshed(3);
    world.reset(0, 1);
    let took = world.run_until(secs(2), World::is_meshed);
    assert!(took <= ms(500), "{took:?}");
    world.run(secs(2));
    assert_eq!(world.wires_between(0, 1), 1);
}

#[test]
fn a_node_without_any_address_is_ready_at_once() {
    let mut world = World::new(1);
    world.start(0, vec![]);
    assert_eq!(world.machine(0).unready(world.now()), None);
}

#[test]
fn a_node_is_ready_when_a_peer_is_admitted() {
    let mut world = World::new(2);
    world.start(0, vec![]);
    world.start(1, vec![0]);
    assert!(world.machine(1).unready(world.now()).is_some());
    world.run_until(secs(1), |world| world.is_linked(1, 0));
    assert_eq!(world.machine(1).unready(world.now()), None);
}

#[test]
fn a_node_that_reaches_nobody_is_ready_alone_after_ten_seconds() {
    let mut world = World::new(2);
    world.start(0, vec![1]);
    world.run(secs(9));
    let why = world.machine(0).unready(world.now()).unwrap();
    assert!(why.contains("1 named"), "{why}");
    world.run(ms(1_100));
    assert_eq!(world.machine(0).unready(world.now()), None);
}

#[test]
fn a_contact_that_refuses_keeps_the_node_unready_and_is_the_reason() {
    let mut world = World::new(1);
    world.start_with(0, vec![contact(address("10.9.9.9:1"))], vec![]);
    for _ in 0..3 {
        let mut dial = None;
        for _ in 0..200 {
            world.nodes[0].dials = 0;
            let now = world.now();
            let mut out = crate::proto::outbox::Outbox::default();
            let machine = world.nodes[0].machine.as_mut().unwrap();
            machine.on_tick(now, crate::proto::routes::Pulse::default(), &mut out);
            while let Some(effect) = out.pop() {
                if let crate::proto::outbox::Effect::Output(Output::Dial { dial: id, target }) =
                    effect
                {
                    assert!(matches!(target, Target::Contact(_)));
                    dial = Some(id);
                }
            }
            if dial.is_some() {
                break;
            }
            world.now = world.now + ms(100);
        }
        let refused = DialFailure::Refused("it has another mesh key".into());
        world.with(0, |machine, now, out| {
            machine.on_dial_failed(now, dial.unwrap(), refused, out);
        });
    }
    world.now = world.now + secs(30);
    let why = world.machine(0).unready(world.now()).unwrap();
    assert!(
        why.contains("10.9.9.9:1") && why.contains("another mesh key"),
        "{why}"
    );
    assert_eq!(dial_notes(&world, 0).len(), 1);
}

#[test]
fn a_node_found_on_the_local_network_is_dialled_a_few_times_and_again_when_found_again() {
    let mut world = World::new(2);
    world.start(0, vec![]);
    let found = world.address(1);
    for _ in 0..2 {
        world.with(0, |machine, now, _| {
            machine.on_discovered(now, found.clone())
        });
    }
    world.run(secs(600));
    assert_eq!(world.nodes[0].dials, 5);
    world.start(1, vec![]);
    world.with(0, |machine, now, _| machine.on_discovered(now, found));
    world.run(secs(1));
    assert!(world.is_meshed());
}

#[test]
fn findings_are_bounded() {
    let mut world = World::new(1);
    world.start(0, vec![]);
    for port in 1..=100 {
        let found = address(&format!("10.1.1.1:{port}"));
        world.with(0, |machine, now, _| machine.on_discovered(now, found));
    }
    assert_eq!(world.counter(0, "membership_contacts_dropped_total"), 36);
}

#[test]
fn the_same_seed_and_inputs_give_the_same_outputs() {
    let run = || {
        let mut world = World::new(6);
        world.start_chain();
        world.run(secs(3));
        world.cut(0, 3);
        world.crash(5);
        world.run(secs(20));
        let sent: Vec<_> = world.nodes.iter().map(|node| node.sent.clone()).collect();
        let events: Vec<_> = world.nodes.iter().map(|node| node.events.clone()).collect();
        (sent, events)
    };
    assert_eq!(run(), run());
}
