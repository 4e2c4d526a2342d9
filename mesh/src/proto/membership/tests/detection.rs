//! Heartbeats, silence, indirect probes and helpers.

use std::collections::BTreeSet;

use super::world::{LATENCY, World, id, ms, secs};
use crate::id::Epoch;
use crate::proto::membership::{Event, Message, Reach, State};
use crate::proto::output::Note;

fn is_probe(message: &Message) -> bool {
    matches!(message, Message::Probe { .. })
}

fn is_suspect(message: &Message) -> bool {
    matches!(message, Message::Suspect { .. })
}

fn is_heartbeat(message: &Message) -> bool {
    matches!(message, Message::Heartbeat { .. })
}

fn helper(world: &World, at: usize, to: usize) -> Option<usize> {
    match world.machine(at).reach(id(to)) {
        Reach::Through(helper, _) => (0..world.nodes.len()).find(|other| id(*other) == helper),
        Reach::Direct(_) | Reach::None => None,
    }
}

#[test]
fn a_link_with_nothing_to_say_sends_a_heartbeat_every_interval() {
    let mut world = World::meshed(2);
    world.run(secs(10));
    assert_eq!(world.count_sent(0, is_heartbeat), 40);
    assert!(!world.nodes[0].sent.iter().any(|(_, it)| !is_heartbeat(it)));
}

#[test]
fn a_busy_link_sends_a_heartbeat_only_every_ten_intervals() {
    let mut world = World::meshed(2);
    for _ in 0..100 {
        world.run(ms(100));
        let Reach::Direct(link) = world.machine(0).reach(id(1)) else {
            panic!("linked");
        };
        world.with(0, |machine, now, _| machine.on_sent(now, link));
        world.with(1, |machine, now, _| {
            machine.on_frame(now, link);
        });
    }
    let sent = world.count_sent(0, is_heartbeat);
    assert!((3..=5).contains(&sent), "{sent}");
    assert!(world.is_meshed());
}

#[test]
fn a_node_wakes_up_five_times_an_interval_however_many_links_it_has() {
    let mut world = World::meshed(20);
    world.run(secs(2));
    let mut wake_ups = BTreeSet::new();
    for _ in 0..1_000 {
        world.run(ms(1));
        wake_ups.extend(world.machine(0).deadline());
    }
    assert!((2..=21).contains(&wake_ups.len()), "{}", wake_ups.len());
}

#[test]
fn the_round_trip_is_measured_without_the_time_that_an_echo_lay_there() {
    let mut world = World::meshed(2);
    world.run(secs(3));
    let member = world.machine(0).members().nth(1).unwrap();
    assert_eq!(member.rtt, Some(2 * LATENCY));
    assert!(member.link);
}

#[test]
fn a_silent_link_is_probed_through_three_others_and_asked_itself() {
    let mut world = World::meshed(6);
    world.cut(0, 1);
    world.run_until(secs(2), |world| {
        world.counter(0, "membership_probes_total") == 1
    });
    let probes = world.nodes[0].sent.iter().filter(|(_, it)| is_probe(it));
    let asked: Vec<_> = probes.map(|(to, _)| *to).collect();
    assert_eq!(asked.len(), 4);
    assert_eq!(asked.iter().filter(|to| **to == 1).count(), 1);
    assert_eq!(world.state(0, 1), Some(State::Alive));
}

#[test]
fn a_silent_link_that_answers_is_kept_at_once() {
    let mut world = World::meshed(5);
    world.cut_one_way(1, 0);
    let probed = |world: &World| world.counter(0, "membership_probes_total") == 1;
    world.run_until(secs(2), probed);
    world.heal();
    world.run(secs(2));
    let asked = world.count_sent(0, is_probe);
    assert_eq!(asked, 4, "three others and itself, once");
    world.assert_unchanged_but(1, &[]);
}

#[test]
fn a_silent_link_that_speaks_before_the_end_of_the_probe_is_kept() {
    let mut world = World::meshed(5);
    world.cut_one_way(1, 0);
    world.run(ms(1_000));
    assert_eq!(world.counter(0, "membership_probes_total"), 1);
    world.heal();
    world.run(secs(2));
    assert_eq!(world.counter(0, "membership_probes_total"), 1);
    world.assert_unchanged_but(1, &[]);
    world.assert_unchanged_but(0, &[]);
    assert!(!world.nodes[0].notes.contains(&Note::LinkBroken(id(1))));
}

#[test]
fn a_probe_is_repeated_within_its_time() {
    let mut world = World::meshed(3);
    world.power_off(1);
    world.run_until(secs(2), |world| world.state(0, 1) == Some(State::Suspect));
    assert_eq!(
        world.count_sent(0, is_probe),
        16,
        "eight times the other and the link"
    );
}

#[test]
fn a_tenth_of_lost_frames_breaks_no_link_and_makes_nobody_suspect() {
    let mut world = World::meshed(8);
    world.loss = 10;
    world.run(secs(300));
    let probes: u64 = (0..8)
        .map(|at| world.counter(at, "membership_probes_total"))
        .sum();
    assert!(probes > 20, "links fell silent by chance: {probes}");
    for at in 0..8 {
        assert_eq!(world.counter(at, "membership_suspicions_total"), 0);
        assert_eq!(world.nodes[at].notes, Vec::new());
    }
}

#[test]
fn a_broken_link_leaves_the_node_alive_and_changes_no_third_nodes_view() {
    for silent in [true, false] {
        let mut world = World::meshed(5);
        world.cut(0, 1);
        if !silent {
            world.reset(0, 1);
        }
        world.run(secs(20));
        for (at, to) in [(0, 1), (1, 0)] {
            assert_eq!(world.state(at, to), Some(State::Alive));
            assert!(helper(&world, at, to).is_some());
            assert!(world.nodes[at].events.contains(&Event::Unlinked(id(to))));
            assert!(world.nodes[at].notes.contains(&Note::LinkBroken(id(to))));
            assert_eq!(world.count_sent(at, is_suspect), 0);
        }
        world.assert_unchanged_but(0, &[1]);
        world.assert_unchanged_but(1, &[0]);
        assert_eq!(world.machine(0).epoch(), world.life(1, 0).unwrap().epoch);

        world.heal();
        world.run_until(secs(61), World::is_meshed);
        world.assert_unchanged_but(0, &[1]);
    }
}

#[test]
fn a_link_that_works_in_one_direction_only_changes_no_third_nodes_view() {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut world = World::meshed(4);
        world.half_open = true;
        world.cut_one_way(from, to);
        world.run(secs(30));
        world.assert_unchanged_but(0, &[1]);
        world.assert_unchanged_but(1, &[0]);
        assert_eq!(world.state(0, 1), Some(State::Alive));
        assert_eq!(world.state(1, 0), Some(State::Alive));
        assert!(helper(&world, 0, 1).is_some());
        assert!(helper(&world, 1, 0).is_some());
    }
}

#[test]
fn another_helper_takes_over_when_the_present_one_dies() {
    let mut world = World::meshed(5);
    world.cut(0, 1);
    world.run(secs(3));
    let first = helper(&world, 0, 1).unwrap();
    world.crash(first);
    world.run_until(ms(600), |world| {
        helper(world, 0, 1).is_some_and(|helper| helper != first)
    });
    world.run(secs(5));
    assert_eq!(world.state(0, 1), Some(State::Alive));
    assert_eq!(world.state(0, first), Some(State::Down));
}

#[test]
fn another_helper_takes_over_when_the_present_one_loses_its_link() {
    let mut world = World::meshed(5);
    world.cut(0, 1);
    world.run(secs(3));
    let first = helper(&world, 0, 1).unwrap();
    world.cut(first, 1);
    world.run(secs(4));
    assert!(helper(&world, 0, 1).is_some_and(|helper| helper != first));
    assert_eq!(world.state(0, 1), Some(State::Alive));
    world.assert_unchanged_but(1, &[0, first]);
}

#[test]
fn a_helper_whose_link_closes_is_replaced_at_once() {
    let mut world = World::meshed(5);
    world.cut(0, 1);
    world.run(secs(3));
    let first = helper(&world, 0, 1).unwrap();
    world.crash(first);
    let another = |world: &World| helper(world, 0, 1).is_some_and(|helper| helper != first);
    let took = world.run_until(secs(2), another);
    assert!(took <= 12 * LATENCY, "{took:?}");
}

#[test]
fn a_steady_helper_is_kept_and_no_view_is_disturbed() {
    let mut world = World::meshed(5);
    world.cut(0, 1);
    world.run(secs(3));
    let first = helper(&world, 0, 1).unwrap();
    world.nodes[0].events.clear();
    world.run(secs(30));
    assert_eq!(helper(&world, 0, 1), Some(first));
    assert_eq!(world.nodes[0].events, Vec::new());
}

#[test]
fn a_helper_is_not_left_for_one_that_answers_a_little_sooner() {
    let mut world = World::meshed(5);
    world.cut(0, 1);
    world.run(secs(3));
    let first = helper(&world, 0, 1).unwrap();
    world.delay(0, first, ms(10));
    world.nodes[0].events.clear();
    world.run(secs(10));
    assert_eq!(helper(&world, 0, 1), Some(first));
    assert_eq!(world.nodes[0].events, Vec::new());
}

#[test]
fn a_node_whose_machine_dies_is_down_everywhere_within_a_second_and_a_half() {
    for nodes in [3, 4, 5, 8, 20] {
        let mut world = World::meshed(nodes);
        world.power_off(1);
        let down =
            |world: &World| (0..nodes).all(|at| at == 1 || world.state(at, 1) == Some(State::Down));
        let took = world.run_until(secs(2), down);
        assert!(took <= ms(1_500), "{nodes}: {took:?}");
        world.run(secs(5));
        for at in (0..nodes).filter(|at| *at != 1) {
            for other in (0..nodes).filter(|other| *other != 1) {
                assert_eq!(world.state(at, other), Some(State::Alive), "{at} {other}");
            }
        }
    }
}

#[test]
fn a_process_that_dies_is_down_everywhere_within_a_second() {
    let mut world = World::meshed(3);
    world.crash(1);
    let down = |world: &World| {
        [0, 2]
            .iter()
            .all(|at| world.state(*at, 1) == Some(State::Down))
    };
    let took = world.run_until(secs(2), down);
    assert!(took <= secs(1), "{took:?}");
}

#[test]
fn a_paused_observer_accuses_nobody_when_it_resumes() {
    for nodes in [2, 3, 4, 8] {
        let mut world = World::meshed(nodes);
        world.pause(0, secs(10));
        world.run(secs(20));
        assert!(world.is_meshed(), "{nodes}");
        for of in 1..nodes {
            world.assert_unchanged_but(of, &[0]);
        }
        assert_eq!(world.count_sent(0, is_suspect), 0, "{nodes}");
    }
}

#[test]
fn a_node_whose_timers_come_late_reads_what_has_come_before_it_judges() {
    let mut world = World::meshed(4);
    world.now = world.now + secs(10);
    world.with(0, |machine, now, out| {
        machine.on_tick(now, crate::proto::routes::Pulse::default(), out);
    });
    assert_eq!(world.counter(0, "membership_probes_total"), 0);
    assert_eq!(world.counter(0, "membership_pauses_total"), 1);
    // For a while it has more patience with others than usual, but at most eight times.
    world.power_off(1);
    world.run(secs(2));
    assert_eq!(world.state(0, 1), Some(State::Alive));
    world.run(secs(12));
    assert_eq!(world.state(0, 1), Some(State::Down));
}

#[test]
fn a_link_may_be_silent_for_twice_its_longest_round_trip() {
    let mut world = World::meshed(2);
    for (from, to) in [(0, 1), (1, 0)] {
        world.delay(from, to, ms(600));
    }
    world.run(secs(10));
    let probes = |world: &World| world.counter(0, "membership_probes_total");
    let before = probes(&world);
    world.pause(1, ms(1_500));
    world.run(secs(10));
    assert_eq!(probes(&world), before);
}

#[test]
fn a_helper_that_reached_another_life_has_not_reached_this_one() {
    for (epoch, by) in [(99, None), (100, Some(1))] {
        let mut world = World::meshed(3);
        world.power_off(2);
        let (target, epoch) = (id(2), Epoch(epoch));
        let asked = |world: &World| world.machine(0).peers[&target].round;
        world.run_until(secs(1), |world| asked(world).is_some());
        let round = asked(&world).unwrap();
        let probed = Message::Probed {
            round,
            target,
            epoch,
        };
        world.say(1, 0, probed);
        world.run_until(secs(1), |world| asked(world) != Some(round));
        assert_eq!(helper(&world, 0, 2), by);
    }
}

#[test]
fn a_paused_node_comes_back_in_the_same_epoch() {
    let mut world = World::meshed(4);
    world.pause(1, secs(5));
    world.run(secs(4));
    assert_eq!(world.state(0, 1), Some(State::Down));
    world.run(secs(5));
    assert!(world.is_meshed());
    let changes: Vec<_> = world.nodes[0]
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Changed { node, epoch, state } if *node == id(1) => Some((epoch.0, *state)),
            Event::Changed { .. }
            | Event::Linked { .. }
            | Event::Unlinked(_)
            | Event::Pulse { .. }
            | Event::RoundTrip { .. }
            | Event::Forgotten(_)
            | Event::Epoch(_) => None,
        })
        .collect();
    assert!(changes.contains(&(100, State::Down)));
    assert_eq!(changes.last(), Some(&(100, State::Alive)));
    assert!(changes.iter().all(|(epoch, _)| *epoch == 100));
}

#[test]
fn a_pause_shorter_than_the_silence_changes_nothing() {
    let mut world = World::meshed(4);
    world.pause(1, ms(450));
    world.run(secs(5));
    for of in 0..4 {
        world.assert_unchanged_but(of, &[]);
    }
}

/// Well formed, and nothing that a member says.
fn odd_messages() -> [Message; 13] {
    let epoch = Epoch(u64::MAX);
    let (node, target, origin) = (id(2), id(2), id(9));
    [
        Message::Probe {
            round: u64::MAX,
            target,
        },
        Message::Probe {
            round: 0,
            target: id(0),
        },
        Message::Probe {
            round: 0,
            target: id(9),
        },
        Message::Check {
            origin,
            epoch,
            round: 0,
        },
        Message::Checked {
            origin,
            round: 0,
            epoch,
        },
        Message::Probed {
            round: 0,
            target,
            epoch,
        },
        Message::Suspect {
            node: id(9),
            epoch,
            incarnation: 0,
        },
        Message::Suspect {
            node,
            epoch,
            incarnation: u64::MAX,
        },
        Message::Suspect {
            node: id(1),
            epoch: Epoch(100),
            incarnation: 9,
        },
        Message::Suspect {
            node: id(0),
            epoch: Epoch(100),
            incarnation: u64::MAX,
        },
        Message::Stopping { epoch },
        Message::Stopped { epoch },
        Message::Heartbeat {
            routes: crate::proto::routes::Pulse::default(),
            vitals: Some(crate::proto::membership::Vitals {
                sent_us: u32::MAX,
                echo_us: Some(u32::MAX),
                digest: 0,
                phase: crate::proto::membership::Phase::Serving,
            }),
        },
    ]
}

#[test]
fn a_node_cannot_be_made_to_panic_by_any_message_of_a_member() {
    let mut world = World::meshed(3);
    for message in odd_messages() {
        world.say(1, 0, message.clone());
        world.with(0, |machine, now, out| {
            machine.on_relayed(now, id(2));
            machine.on_relayed_message(now, id(2), message.clone(), out);
            machine.on_relayed_message(now, id(9), message, out);
        });
        world.run(secs(1));
    }
    world.run(secs(5));
    assert!(world.is_meshed());
    assert_eq!(world.machine(0).epoch(), Epoch(100));
}
