//! Greeting, epochs, clones, and two links to one peer.

use super::world::{World, id, ms, secs};
use crate::id::{Epoch, LinkId};
use crate::proto::membership::{Event, Known, Message, Phase, Reach, State};
use crate::proto::output::Halt;

fn linked(world: &World, at: usize, to: usize) -> Vec<&Event> {
    let about = |event: &&Event| match event {
        Event::Linked { node, .. } | Event::Unlinked(node) => *node == id(to),
        Event::Changed { .. }
        | Event::Pulse { .. }
        | Event::RoundTrip { .. }
        | Event::Forgotten(_)
        | Event::Epoch(_) => false,
    };
    world.nodes[at].events.iter().filter(about).collect()
}

fn is_linked(epoch: u64) -> impl Fn(&&Event) -> bool {
    move |event| matches!(event, Event::Linked { epoch: Epoch(known), .. } if *known == epoch)
}

#[test]
fn nodes_started_in_a_chain_are_all_linked_to_each_other() {
    let mut world = World::new(5);
    world.start_chain();
    let took = world.run_until(secs(3), World::is_meshed);
    assert!(took < secs(1), "{took:?}");
}

#[test]
fn nothing_is_taken_from_a_link_before_its_greeting() {
    let mut world = World::new(2);
    world.start(0, vec![]);
    let known = Known {
        record: world.record(1),
        state: State::Alive,
        phase: Phase::Serving,
        down_ms: 0,
        seen_at: None,
    };
    let remote = world.address(1);
    world.connect(0, 1, None);
    world.with(0, |machine, now, out| {
        machine.on_link_up(now, LinkId(0), id(1), None, remote, out);
        assert_eq!(machine.on_frame(now, LinkId(0)), None);
        machine.on_message(now, LinkId(0), Message::Members(vec![known]), out);
    });
    assert_eq!(world.life(0, 1), None);
    assert_eq!(world.counter(0, "membership_messages_ungreeted_total"), 1);
}

#[test]
fn a_link_on_which_only_one_side_is_heard_never_opens_and_is_hung_up() {
    let mut world = World::new(2);
    world.half_open = true;
    world.cut_one_way(0, 1);
    world.start(0, vec![1]);
    world.start(1, vec![]);
    world.run(secs(4));
    assert!(world.counter(0, "membership_dials_total") > 0);
    for at in [0, 1] {
        assert!(world.nodes[at].events.is_empty(), "{at}");
    }
    world.run(secs(3));
    assert!(world.counter(0, "membership_greetings_late_total") > 0);
    world.heal();
    world.run_until(secs(20), World::is_meshed);
}

#[test]
fn a_lost_greeting_is_said_again() {
    let mut world = World::new(2);
    world.half_open = true;
    world.cut(0, 1);
    world.start(0, vec![1]);
    world.start(1, vec![]);
    world.run(ms(50));
    world.heal();
    let took = world.run_until(secs(2), World::is_meshed);
    assert!(took < ms(600), "{took:?}");
    assert_eq!(world.nodes[0].dials, 1);
}

#[test]
fn of_two_links_both_keep_the_one_that_the_smaller_node_dialled() {
    for delay in [0, 1, 3, 5, 10, 400, 700] {
        for first in [[0, 1], [1, 0]] {
            let mut world = World::new(2);
            world.start(0, vec![]);
            world.start(1, vec![]);
            world.connect(first[0], first[1], None);
            world.run(ms(delay));
            world.connect(first[1], first[0], None);
            world.run(secs(3));
            assert_eq!(world.wires_between(0, 1), 1, "{first:?} {delay}");
            // `None` for the dial makes both look like the peer's: what counts is that one is left.
            assert!(world.is_meshed());
        }
    }
}

#[test]
fn no_layer_above_sees_that_a_duplicate_link_was_dropped() {
    for seed in 0..20 {
        let mut world = World::new(2);
        world.start(0, vec![1]);
        world.run(ms(seed));
        world.start(1, vec![0]);
        world.run(secs(4));
        assert_eq!(world.wires_between(0, 1), 1);
        for (at, to) in [(0, 1), (1, 0)] {
            let seen = linked(&world, at, to);
            assert_eq!(seen.len(), 1, "{seed}: {seen:?}");
            assert!(is_linked(100)(&seen[0]));
        }
    }
}

#[test]
fn when_both_dial_at_once_the_smaller_nodes_link_stays() {
    let mut world = World::new(2);
    world.start(0, vec![1]);
    world.start(1, vec![0]);
    world.run(ms(20));
    assert_eq!(world.wires_between(0, 1), 2);
    world.run(secs(3));
    assert_eq!(world.wires_between(0, 1), 1);
    assert_eq!(world.dialler(0, 1), 0);
    assert_eq!(world.counter(0, "membership_links_duplicate_total"), 1);
    assert_eq!(world.counter(1, "membership_links_duplicate_total"), 0);
}

#[test]
fn a_link_that_the_other_end_has_lost_gives_way_to_a_new_one() {
    for loser in [0, 1] {
        let mut world = World::meshed(3);
        world.forget_wires(loser, 1 - loser);
        world.run(secs(3));
        assert!(world.is_meshed());
        assert_eq!(world.wires_between(0, 1), 1);
        // The end that lost nothing sees no gap.
        assert_eq!(linked(&world, 1 - loser, loser), Vec::<&Event>::new());
        world.assert_unchanged_but(0, &[1]);
        world.assert_unchanged_but(1, &[0]);
    }
}

#[test]
fn frames_go_over_the_new_link_as_soon_as_it_is_known_that_the_old_one_is_lost() {
    for (loser, other) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        let mut world = World::meshed(3);
        world.run(secs(2));
        world.forget_wires(loser, other);
        world.run(ms(1));
        assert!(!world.is_linked(loser, other));
        world.run_until(ms(600), |world| world.is_linked(loser, other));
        world.run(ms(10));
        assert!(world.is_link_sound(loser, other));
        assert!(world.is_link_sound(other, loser), "{loser} {other}");
    }
}

#[test]
fn a_higher_epoch_replaces_the_older_life_and_its_links() {
    let mut world = World::meshed(3);
    // The machine of node 2 is switched off and on again: nobody hears the old links close.
    world.run(secs(2));
    world.power_off(2);
    world.restart(2);
    world.run(secs(2));
    assert!(world.is_meshed());
    for at in [0, 1] {
        let seen = linked(&world, at, 2);
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert_eq!(*seen[0], Event::Unlinked(id(2)));
        assert!(is_linked(101)(&seen[1]));
        assert_eq!(world.life(at, 2).unwrap().epoch, Epoch(101));
        world.run(secs(6));
        assert_eq!(world.wires_between(at, 2), 1);
    }
}

#[test]
fn a_node_that_lost_its_past_raises_its_epoch_above_what_peers_report() {
    let mut world = World::meshed(3);
    world.run(secs(2));
    world.crash(2);
    world.run(secs(2));
    // An empty data directory and a clock that is set back.
    world.set_epoch(2, 7);
    world.start(2, vec![0]);
    world.run(secs(2));
    assert!(world.is_meshed());
    assert_eq!(world.machine(2).epoch(), Epoch(101));
    assert_eq!(world.nodes[2].kept_epoch, Some(Epoch(101)));
    assert!(world.nodes[2].events.contains(&Event::Epoch(Epoch(101))));
    assert_eq!(world.nodes[2].halt, None);
    for at in [0, 1] {
        assert_eq!(world.life(at, 2).unwrap().epoch, Epoch(101));
    }
}

#[test]
fn of_two_copies_of_a_node_the_one_with_the_lower_epoch_stops_and_says_why() {
    let mut world = World::meshed(3);
    let copy = world.add(super::world::address("10.0.9.9:8090"));
    world.copy_identity(copy, 1);
    world.set_epoch(copy, 500);
    world.start(copy, vec![0]);
    world.run(secs(2));
    assert_eq!(world.nodes[1].halt, Some(Halt::Clone { epoch: Epoch(500) }));
    assert_eq!(world.nodes[1].kept_epoch, Some(Epoch(500)));
    assert_eq!(world.machine(1).deadline(), None);
    assert_eq!(world.nodes[copy].halt, None);
    assert_eq!(world.life(0, 1).unwrap().epoch, Epoch(500));
}

#[test]
fn a_copy_that_forgot_its_past_takes_over_and_the_other_stops() {
    let mut world = World::meshed(3);
    let copy = world.add(super::world::address("10.0.9.9:8090"));
    world.copy_identity(copy, 1);
    world.set_epoch(copy, 5);
    world.start(copy, vec![0]);
    world.run(secs(2));
    assert_eq!(world.machine(copy).epoch(), Epoch(101));
    assert_eq!(world.nodes[1].halt, Some(Halt::Clone { epoch: Epoch(101) }));
}

#[test]
fn a_dead_life_that_is_passed_around_changes_nothing() {
    let mut world = World::meshed(3);
    let mut record = world.record(2);
    record.epoch = Epoch(50);
    record.weight = 9;
    let known = Known {
        record,
        state: State::Alive,
        phase: Phase::Stopped,
        down_ms: 0,
        seen_at: None,
    };
    world.say(1, 0, Message::Members(vec![known]));
    world.run(secs(1));
    world.assert_unchanged_but(2, &[]);
    assert_eq!(world.counter(0, "membership_records_stale_total"), 1);
}

#[test]
fn a_greeting_of_somebody_else_or_out_of_bounds_is_refused() {
    let mut world = World::meshed(2);
    let third = world.add(super::world::address("10.0.9.9:8090"));
    world.start(third, vec![]);
    world.copy_identity(third, 0);
    world.connect(third, 1, None);
    world.run(secs(1));
    assert_eq!(world.counter(1, "membership_greetings_refused_total"), 1);
    assert!(world.is_linked(1, 0));
}

/// Two nodes, of which only node 0 knows that both have accepted each other.
fn half_open() -> World {
    let mut world = World::new(2);
    world.start(0, Vec::new());
    world.start(1, vec![0]);
    world.run_until(ms(50), |world| world.wires_between(0, 1) == 1);
    world.run(ms(3));
    world.cut_one_way(0, 1);
    world.run_until(ms(50), |world| world.is_linked(0, 1));
    world.run(ms(3));
    world.heal();
    assert!(!world.is_linked(1, 0));
    world
}

#[test]
fn a_frame_of_another_layer_opens_the_link_as_any_other() {
    let mut world = half_open();
    let Reach::Direct(link) = world.machine(0).reach(id(1)) else {
        panic!("linked");
    };
    world.with(1, |machine, now, out| {
        assert_eq!(machine.on_frame(now, link), None);
        assert_eq!(machine.on_confirmed(now, link, out), Some(id(0)));
        assert_eq!(machine.on_frame(now, link), Some(id(0)));
    });
    assert!(world.is_linked(1, 0));
}

#[test]
fn no_frame_of_another_layer_stands_for_a_greeting() {
    let mut world = World::new(2);
    world.start(0, Vec::new());
    world.start(1, Vec::new());
    world.cut_one_way(0, 1);
    world.connect(1, 0, None);
    world.run(ms(20));
    world.with(1, |machine, now, out| {
        let link = LinkId(0);
        assert_eq!(machine.on_frame(now, link), None);
        assert_eq!(machine.on_confirmed(now, link, out), None);
    });
    assert!(!world.is_linked(1, 0));
}

#[test]
fn who_goes_on_greeting_an_open_link_is_told_that_it_is_open() {
    let mut world = half_open();
    world.nodes[0].sent.clear();
    // Heartbeats of node 0 would tell as well.
    world.cut_one_way(0, 1);
    world.run_until(ms(600), |world| {
        let empty = |message: &Message| *message == Message::Members(Vec::new());
        world.count_sent(0, empty) == 1
    });
}
