//! Votes, the timer, refutation, isolation, and goodbyes.

use super::world::{World, id, ms, secs};
use crate::id::Epoch;
use crate::proto::membership::{Event, Message, Reach, State};
use crate::proto::output::Note;

fn is_suspect(message: &Message) -> bool {
    matches!(message, Message::Suspect { .. })
}

fn accuse(node: usize, incarnation: u64) -> Message {
    Message::Suspect {
        node: id(node),
        epoch: Epoch(100),
        incarnation,
    }
}

fn incarnation(world: &World, at: usize, of: usize) -> u64 {
    let member = world
        .machine(at)
        .members()
        .find(|it| it.record.node == id(of));
    member.unwrap().record.incarnation
}

#[test]
fn of_two_members_the_timer_alone_decides() {
    let mut world = World::meshed(2);
    world.power_off(1);
    let suspected = world.run_until(secs(2), |world| world.state(0, 1) == Some(State::Suspect));
    assert!(suspected <= ms(1_300), "{suspected:?}");
    let took = world.run_until(secs(4), |world| world.state(0, 1) == Some(State::Down));
    assert!(
        secs(3) - ms(10) <= took && took <= secs(3) + ms(10),
        "{took:?}"
    );
    assert_eq!(world.counter(0, "membership_downs_timed_total"), 1);
    let life = world.life(0, 1).unwrap();
    assert!(life.down_since.is_some());
}

#[test]
fn who_has_no_way_to_a_member_that_refutes_accuses_it_ever_more_rarely() {
    let mut world = World::meshed(4);
    // 1 hears nothing of 0 by itself or any one other; by way of 3 and 2 it hears that 0 lives.
    for (from, to) in [(0, 1), (0, 2), (1, 3)] {
        world.cut_one_way(from, to);
    }
    world.run(secs(30));
    let accused = world.counter(1, "membership_suspicions_total");
    assert!((2..=6).contains(&accused), "{accused}");
    assert_ne!(world.state(1, 0), Some(State::Down));
    world.heal();
    world.run(secs(70));
    world.assert_meshed();
}

#[test]
fn of_three_members_two_observers_decide() {
    let mut world = World::meshed(3);
    world.power_off(2);
    world.run(secs(2));
    for at in [0, 1] {
        assert_eq!(world.state(at, 2), Some(State::Down));
        assert_eq!(world.counter(at, "membership_downs_voted_total"), 1);
    }
}

#[test]
fn of_three_members_one_observer_alone_waits_for_the_timer() {
    // 0 is cut off from 2, and 1 cannot reach 2 either but does not say so to 0.
    let mut world = World::meshed(3);
    world.power_off(2);
    world.cut(0, 1);
    world.run(secs(2));
    assert_eq!(world.state(0, 2), Some(State::Suspect));
    world.run(secs(3));
    assert_eq!(world.state(0, 2), Some(State::Down));
}

#[test]
fn of_four_members_it_takes_three_observers() {
    let mut world = World::meshed(4);
    world.pause(3, ms(700));
    world.cut(0, 3);
    world.cut(0, 1);
    world.cut(0, 2);
    // Node 0 has no evidence of 3 any more; two others accuse it.
    world.run(ms(900));
    assert_ne!(world.state(0, 3), Some(State::Down));
    world.heal();
    world.run_until(secs(61), World::is_meshed);
}

#[test]
fn it_takes_three_observers_or_more_than_half_of_a_small_mesh() {
    for (members, votes) in [(3, 2), (4, 3), (5, 3), (9, 3)] {
        let mut world = World::meshed(members);
        let dead = members - 1;
        world.power_off(dead);
        // Long enough for the link to be silent, not for the probe of anybody to end.
        world.run(ms(800));
        world.with(0, |machine, now, out| machine.suspect(now, id(dead), out));
        for voter in 1..votes {
            assert_eq!(world.state(0, dead), Some(State::Suspect), "of {members}");
            world.say(voter, 0, accuse(dead, 0));
            world.run(ms(5));
        }
        assert_eq!(world.state(0, dead), Some(State::Down), "of {members}");
    }
}

#[test]
fn a_suspicion_that_was_lost_on_its_way_is_told_again() {
    let mut world = World::meshed(3);
    world.power_off(2);
    world.run(ms(1_000));
    world.cut(0, 1);
    let suspected = |world: &World| {
        [0, 1]
            .iter()
            .all(|at| world.state(*at, 2) == Some(State::Suspect))
    };
    world.run_until(ms(400), suspected);
    world.heal();
    world.run(ms(260));
    assert_eq!(world.state(0, 2), Some(State::Down));
    assert_eq!(world.state(1, 2), Some(State::Down));
}

#[test]
fn with_a_member_less_fewer_votes_are_enough_for_the_next() {
    let mut world = World::meshed(4);
    world.power_off(2);
    world.run(ms(400));
    world.power_off(3);
    world.run_until(secs(6), |world| world.state(0, 2) == Some(State::Down));
    assert_eq!(world.counter(0, "membership_downs_timed_total"), 1);
    world.run(ms(20));
    assert_eq!(world.state(0, 3), Some(State::Down));
    assert_eq!(world.counter(0, "membership_downs_voted_total"), 1);
}

#[test]
fn nobody_turns_against_a_member_that_he_hears_himself() {
    let mut world = World::meshed(6);
    for from in [1, 2, 3, 4] {
        world.say(from, 0, accuse(5, 0));
    }
    world.run(secs(5));
    assert_eq!(world.state(0, 5), Some(State::Alive));
    world.assert_unchanged_but(5, &[]);
    // But it told the accused, which refuted for all in the same epoch.
    let all_know = (0..5).all(|at| incarnation(&world, at, 5) == 1);
    assert!(all_know);
    assert_eq!(world.machine(5).epoch(), Epoch(100));
    assert_eq!(world.counter(5, "membership_refutations_total"), 1);
}

#[test]
fn enough_accusers_count_once_own_evidence_is_gone() {
    let mut world = World::meshed(6);
    world.power_off(5);
    world.run(ms(300));
    for from in [1, 2, 3] {
        world.say(from, 0, accuse(5, 0));
    }
    world.run(ms(20));
    assert_eq!(world.state(0, 5), Some(State::Alive));
    world.run(ms(600));
    assert_eq!(world.state(0, 5), Some(State::Down));
    assert_eq!(world.counter(0, "membership_suspicions_total"), 0);
}

#[test]
fn what_others_said_counts_at_once_when_the_link_closes() {
    let mut world = World::meshed(6);
    world.power_off(5);
    for from in [1, 2, 3] {
        world.say(from, 0, accuse(5, 0));
    }
    world.run(ms(20));
    assert_eq!(world.state(0, 5), Some(State::Alive));
    world.crash(5);
    world.run(ms(20));
    assert_eq!(world.state(0, 5), Some(State::Down));
}

#[test]
fn a_suspected_member_refutes_by_a_higher_incarnation_and_keeps_its_epoch() {
    // 0 finds no way to 2: neither its own link nor that of the only other node.
    let mut world = World::meshed(3);
    world.cut(0, 2);
    world.cut(1, 2);
    world.run_until(secs(2), |world| world.state(0, 2) == Some(State::Suspect));
    world.heal();
    world.run_until(secs(5), World::is_meshed);
    world.run(secs(1));
    assert_eq!(world.life(0, 2).unwrap().epoch, Epoch(100));
    assert!(incarnation(&world, 0, 2) >= 1);
    assert_eq!(incarnation(&world, 0, 2), incarnation(&world, 1, 2));
}

#[test]
fn an_accuser_that_the_accused_cannot_reach_hears_the_refutation_from_who_can() {
    let mut world = World::meshed(3);
    world.cut(0, 2);
    world.say(0, 1, accuse(2, 0));
    world.run(ms(100));
    // Node 2 takes its link to 0 for sound yet: what it says there is lost.
    assert!(world.is_linked(2, 0));
    assert_eq!(incarnation(&world, 0, 2), 1);
}

#[test]
fn an_accusation_that_was_refuted_is_answered_with_the_newer_record() {
    let mut world = World::meshed(3);
    world.say(1, 2, accuse(2, 0));
    world.run(ms(100));
    assert_eq!(incarnation(&world, 0, 2), 1);
    world.nodes[0].sent.clear();
    world.say(1, 0, accuse(2, 0));
    world.run(ms(100));
    let answered = world.nodes[0].sent.iter().any(|(to, message)| {
        *to == 1 && matches!(message, Message::Members(list) if list[0].record.incarnation == 1)
    });
    assert!(answered);
    world.assert_unchanged_but(2, &[]);
}

#[test]
fn a_node_that_is_cut_off_calls_itself_isolated_and_accuses_nobody_afterwards() {
    let mut world = World::meshed(8);
    world.cut_off(0);
    world.run_until(secs(3), |world| {
        world.nodes[0].notes.contains(&Note::Isolated(true))
    });
    world.nodes[0].sent.clear();
    world.run(secs(1));
    assert_eq!(world.count_sent(0, is_suspect), 0);
    assert_ne!(
        world.state(0, 7),
        Some(State::Down),
        "votes do not count there"
    );
    world.run(secs(4));
    for other in 1..8 {
        assert_eq!(world.state(0, other), Some(State::Down), "the timer does");
        assert_eq!(world.state(other, 0), Some(State::Down));
    }
    assert!(world.nodes[0].notes.contains(&Note::Isolated(false)));

    world.heal();
    world.run_until(secs(61), World::is_meshed);
    for (at, of) in [(1, 0), (0, 1)] {
        assert_eq!(world.life(at, of).unwrap().epoch, Epoch(100));
    }
    for of in 1..8 {
        world.assert_unchanged_but(of, &[0]);
    }
}

#[test]
fn on_a_node_that_is_isolated_nobody_elses_vote_counts() {
    let mut world = World::meshed(8);
    (1..4).for_each(|dead| world.power_off(dead));
    world.run(ms(800));
    world.with(0, |machine, now, out| {
        (1..4).for_each(|dead| machine.suspect(now, id(dead), out));
    });
    assert!(world.nodes[0].notes.contains(&Note::Isolated(true)));
    for voter in 4..8 {
        world.say(voter, 0, accuse(1, 0));
    }
    world.run(ms(5));
    assert_eq!(world.state(0, 1), Some(State::Suspect));
}

#[test]
fn a_node_is_isolated_when_it_suspects_three_and_more_than_a_third() {
    for (members, suspects, isolated) in [(4, 2, false), (8, 3, true), (9, 3, false), (9, 4, true)]
    {
        let mut world = World::meshed(members);
        world.with(0, |machine, now, out| {
            for suspect in 1..=suspects {
                machine.suspect(now, id(suspect), out);
            }
        });
        let said = world.nodes[0].notes.contains(&Note::Isolated(true));
        assert_eq!(said, isolated, "{suspects} of {members}");
    }
}

#[test]
fn votes_of_members_that_are_down_do_not_count() {
    let mut world = World::meshed(8);
    world.power_off(7);
    world.run(ms(300));
    for voter in [1, 2] {
        world.say(voter, 0, accuse(7, 0));
    }
    world.run(ms(20));
    for voter in [1, 2] {
        world.with(voter, |machine, now, out| machine.stopped(now, out));
    }
    world.run(ms(20));
    world.with(0, |machine, now, out| machine.suspect(now, id(7), out));
    assert_eq!(world.state(0, 7), Some(State::Suspect), "one vote of three");
}

#[test]
fn two_halves_of_a_mesh_hold_each_other_for_down_and_find_together_again() {
    let mut world = World::meshed(6);
    for a in 0..3 {
        for b in 3..6 {
            world.cut(a, b);
        }
    }
    world.run(secs(8));
    for a in 0..3 {
        for b in 3..6 {
            assert_eq!(world.state(a, b), Some(State::Down));
            assert_eq!(world.state(b, a), Some(State::Down));
        }
    }
    world.heal();
    world.run_until(secs(61), World::is_meshed);
    assert!((0..6).all(|at| world.machine(at).epoch() == Epoch(100)));
}

#[test]
fn a_member_that_is_stopping_stays_alive_and_says_so_to_all() {
    let mut world = World::meshed(4);
    world.cut(1, 3);
    world.run(secs(3));
    let before = world.machine(0).generation();
    world.with(3, |machine, now, out| machine.stopping(now, out));
    world.run(ms(100));
    for at in 0..3 {
        let life = world.life(at, 3).unwrap();
        assert_eq!((life.state, life.stopping), (State::Alive, true), "{at}");
    }
    assert!(before < world.machine(0).generation());
    assert!(world.life(3, 3).unwrap().stopping);
}

#[test]
fn a_member_that_stopped_is_down_for_all_at_once_and_nobody_suspects_it() {
    let mut world = World::meshed(4);
    world.cut(1, 3);
    world.run(secs(3));
    world.with(3, |machine, now, out| machine.stopped(now, out));
    world.run(ms(20));
    for at in 0..3 {
        assert_eq!(world.state(at, 3), Some(State::Down), "{at}");
        assert_eq!(world.machine(at).reach(id(3)), Reach::None);
        let down = Event::Changed {
            node: id(3),
            epoch: Epoch(100),
            state: State::Down,
        };
        assert!(world.nodes[at].events.contains(&down));
    }
    let seen = world.nodes[3].kept[0].seen_unix_ms;
    assert!(world.now().unix_ms - 100 < seen, "kept at the end");
    world.crash(3);
    world.run(secs(5));
    for at in 0..3 {
        assert_eq!(world.count_sent(at, is_suspect), 0);
        assert_eq!(world.state(at, 3), Some(State::Down));
        let storing = world.machine(at).storing(world.now());
        assert!(storing.contains(&(id(3), 1)), "its slots wait for it");
    }
}

#[test]
fn a_goodbye_that_was_lost_is_made_up_for_by_heartbeats() {
    let mut world = World::meshed(3);
    world.cut_off(2);
    world.with(2, |machine, now, out| machine.stopping(now, out));
    world.run(ms(50));
    world.heal();
    assert!(!world.life(0, 2).unwrap().stopping);
    world.run(ms(1_100));
    assert!(world.life(0, 2).unwrap().stopping);
}

#[test]
fn a_goodbye_of_an_earlier_life_does_not_concern_the_present_one() {
    let mut world = World::meshed(3);
    world.run(secs(1));
    world.crash(2);
    world.restart(2);
    world.run_until(secs(61), World::is_meshed);
    let epoch = Epoch(100);
    for goodbye in [Message::Stopping { epoch }, Message::Stopped { epoch }] {
        world.say(2, 0, goodbye);
        world.run(ms(10));
        let life = world.life(0, 2).unwrap();
        assert_eq!((life.state, life.stopping), (State::Alive, false));
    }
}

#[test]
fn a_newcomer_learns_that_a_member_has_stopped() {
    let mut world = World::meshed(3);
    world.with(2, |machine, now, out| machine.stopped(now, out));
    world.run(ms(20));
    world.crash(2);
    let newcomer = world.add(super::world::address("10.0.9.9:8090"));
    world.start(newcomer, vec![0]);
    world.run(secs(2));
    assert_eq!(world.state(newcomer, 2), Some(State::Down));
    assert_eq!(world.count_sent(newcomer, is_suspect), 0);
    world.restart(2);
    world.run_until(secs(61), World::is_meshed);
    assert!(!world.life(newcomer, 2).unwrap().stopping);
}
