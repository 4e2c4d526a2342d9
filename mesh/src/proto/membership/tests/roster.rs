//! The member list: spreading, joining, bounds, keeping and forgetting.

use super::world::{WALL, World, address, id, ms, secs};
use crate::id::Epoch;
use crate::proto::membership::{Event, Known, MEMBERS_MAX, Message, Phase, State};
use crate::proto::output::{KeptMember, Note};

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

fn known(world: &World, of: usize) -> Known {
    Known {
        record: world.record(of),
        state: State::Alive,
        phase: Phase::Serving,
        down_ms: 0,
        seen_at: None,
    }
}

fn kept(world: &World, of: usize, seconds_ago: u64) -> KeptMember {
    KeptMember {
        record: world.record(of),
        seen_unix_ms: WALL - seconds_ago * 1_000,
    }
}

#[test]
fn two_meshes_that_learn_of_one_common_node_become_one() {
    let mut world = World::new(7);
    for (at, contacts) in [(0, vec![]), (1, vec![0]), (2, vec![1])] {
        world.start(at, contacts);
    }
    for (at, contacts) in [(3, vec![]), (4, vec![3]), (5, vec![4])] {
        world.start(at, contacts);
    }
    world.run(secs(3));
    assert_eq!(world.life(0, 5), None);
    world.start(6, vec![2, 3]);
    let took = world.run_until(secs(3), World::is_meshed);
    assert!(took < secs(1), "{took:?}");
}

#[test]
fn telling_of_a_newcomer_ends() {
    let mut world = World::meshed(10);
    let newcomer = world.add(address("10.0.9.9:8090"));
    world.start(newcomer, vec![0]);
    world.run(secs(3));
    assert!(world.is_meshed());
    for node in &mut world.nodes {
        node.sent.clear();
    }
    world.run(secs(30));
    for at in 0..world.nodes.len() {
        let lists = world.count_sent(at, |it| matches!(it, Message::Members(_)));
        assert_eq!(lists, 0, "{at}");
    }
}

#[test]
fn links_between_nodes_that_know_the_same_members_carry_no_list() {
    let mut world = World::meshed(5);
    world.reset(0, 1);
    world.run(secs(2));
    assert!(world.is_meshed());
    let lists: Vec<_> = world.nodes[0]
        .sent
        .iter()
        .filter(|(to, _)| *to == 1)
        .collect();
    let full = |message: &Message| matches!(message, Message::Members(list) if !list.is_empty());
    assert!(!lists.iter().any(|(_, message)| full(message)));
}

#[test]
fn a_list_that_was_lost_is_sent_again() {
    let mut world = World::new(3);
    world.start(0, vec![]);
    world.start(1, vec![0]);
    world.start(2, vec![1]);
    world.cut(0, 2);
    world.run(ms(4));
    while world.life(1, 2).is_none() {
        world.run(ms(1));
    }
    // Whatever node 1 tells of either is lost; then nothing is in the way any more.
    world.cut(1, 2);
    world.cut(0, 1);
    world.run(ms(300));
    world.heal();
    assert_eq!((world.life(0, 2), world.life(2, 0)), (None, None));
    let took = world.run_until(secs(10), World::is_meshed);
    assert!(took < secs(5), "{took:?}");
    assert!(world.counter(1, "membership_lists_repeated_total") > 0);
}

#[test]
fn a_loopback_address_learned_from_afar_is_neither_dialled_nor_passed_on() {
    let mut world = World::meshed(3);
    let mut news = known(&world, 0);
    news.record.node = id(77);
    news.record.addresses = vec![address("127.0.0.1:99"), address("localhost:99")];
    news.seen_at = Some(address("127.0.0.1:99"));
    world.say(1, 0, Message::Members(vec![news]));
    world.run(secs(1));
    let member = world
        .machine(0)
        .members()
        .find(|it| it.record.node == id(77))
        .unwrap();
    assert_eq!(member.record.addresses, vec![]);
    let carries = |it: &Known| !it.record.addresses.is_empty() || it.seen_at.is_some();
    let passed = |message: &Message| {
        let Message::Members(list) = message else {
            return false;
        };
        list.iter()
            .any(|it| it.record.node == id(77) && carries(it))
    };
    assert_eq!(world.count_sent(0, passed), 0);
    assert_eq!(world.nodes[0].dials, 0, "nobody is dialled");
}

#[test]
fn a_loopback_address_that_a_far_peer_says_of_itself_is_not_taken() {
    let mut world = World::new(2);
    world.nodes[1].more_addresses = vec![address("127.0.0.1:8090"), address("10.7.7.7:8090")];
    world.start_chain();
    world.run(secs(1));
    let member = world.machine(0).members().nth(1).unwrap();
    let expected = vec![world.address(1), address("10.7.7.7:8090")];
    assert_eq!(member.record.addresses, expected);
}

#[test]
fn nodes_on_one_machine_find_each_other_by_loopback_addresses() {
    let mut world = World::new(0);
    for port in ["9001", "9002", "9003"] {
        world.add(address(&format!("127.0.0.1:{port}")));
    }
    world.start_chain();
    world.run_until(secs(2), World::is_meshed);
}

#[test]
fn a_join_above_the_limit_is_refused_with_a_sentence() {
    let mut world = World::new(4);
    world.config.full_mesh_limit = 3;
    for (at, contacts) in [(0, vec![]), (1, vec![0]), (2, vec![0])] {
        world.start(at, contacts);
    }
    world.run(secs(2));
    assert!(world.is_meshed());
    world.start(3, vec![0]);
    world.run(secs(2));
    assert_eq!(world.life(0, 3), None);
    assert_eq!(world.machine(1).members().count(), 3);
    assert!(world.counter(0, "membership_joins_refused_total") > 0);
    let why = world.machine(3).unready(world.now()).unwrap();
    assert!(why.contains("3 members"), "{why}");
    let refused = |note: &&Note| matches!(note, Note::Refused { node, .. } if *node == id(3));
    assert!(world.nodes[0].notes.iter().any(|note| refused(&note)));
    let events = &world.nodes[3].events;
    assert!(events.is_empty(), "{events:?}");
}

#[test]
fn whoever_has_been_down_for_long_makes_room_for_a_newcomer() {
    let mut world = World::new(4);
    world.config.full_mesh_limit = 3;
    for (at, contacts) in [(0, vec![]), (1, vec![0]), (2, vec![0])] {
        world.start(at, contacts);
    }
    world.run(secs(2));
    world.crash(2);
    world.run(secs(5 * MINUTE));
    world.start(3, vec![0]);
    world.run(secs(2));
    assert_eq!(world.life(0, 3), None, "the slots of 2 still wait for it");
    world.run(secs(7 * MINUTE));
    assert!(world.is_linked(0, 3));
    assert_eq!(world.life(0, 2), None);
    assert!(world.nodes[0].events.contains(&Event::Forgotten(id(2))));
}

#[test]
fn kept_members_are_down_since_they_were_last_seen_and_are_dialled() {
    let mut world = World::new(3);
    let members = vec![kept(&world, 1, 60), kept(&world, 2, 11 * MINUTE)];
    world.start_with(0, vec![], members);
    assert_eq!(world.state(0, 1), Some(State::Down));
    assert_eq!(
        world.machine(0).down_for(world.now(), id(1)),
        Some(secs(60))
    );
    let storing = world.machine(0).storing(world.now());
    assert_eq!(storing, vec![(id(0), 1), (id(1), 1)]);
    world.start(1, vec![]);
    let took = world.run_until(secs(2), |world| world.is_linked(0, 1));
    assert!(took < ms(100), "{took:?}");
    assert_eq!(world.state(0, 2), Some(State::Down));
    assert!(world.counter(0, "membership_dials_failed_total") > 0);
}

#[test]
fn all_nodes_restarted_at_once_meet_again_without_any_contact() {
    let mut world = World::meshed(5);
    world.run(secs(3));
    for at in 0..5 {
        world.crash(at);
    }
    for at in 0..5 {
        world.restart(at);
    }
    let took = world.run_until(secs(5), World::is_meshed);
    assert!(took < secs(1), "{took:?}");
    assert!((0..5).all(|at| world.life(0, at).unwrap().epoch == Epoch(101)));
}

#[test]
fn the_list_is_kept_a_second_after_a_change_and_every_minute() {
    let mut world = World::new(2);
    world.start(0, vec![]);
    world.start(1, vec![0]);
    world.run(ms(500));
    assert_eq!(world.nodes[0].kept, vec![]);
    world.run(ms(700));
    let seen = world.nodes[0].kept[0].seen_unix_ms;
    assert_eq!(world.nodes[0].kept[0].record, world.record(1));
    world.run(secs(61));
    assert!(seen + 60_000 <= world.nodes[0].kept[0].seen_unix_ms);
    world.crash(1);
    world.run(secs(10 * MINUTE));
    let age = world.now().unix_ms - world.nodes[0].kept[0].seen_unix_ms;
    assert!(9 * 60_000 < age, "{age}");
}

#[test]
fn slots_of_a_member_wait_ten_minutes_for_it() {
    let mut world = World::meshed(3);
    world.crash(2);
    world.run(secs(9 * MINUTE));
    assert_eq!(world.machine(0).storing(world.now()).len(), 3);
    let before = world.machine(0).generation();
    world.nodes[0].events.clear();
    world.run(secs(2 * MINUTE));
    assert_eq!(world.machine(0).storing(world.now()).len(), 2);
    assert!(before < world.machine(0).generation());
    let told = |event: &Event| matches!(event, Event::Changed { node, .. } if *node == id(2));
    assert!(world.nodes[0].events.iter().any(told));
}

#[test]
fn a_member_down_for_seven_days_is_forgotten_and_its_dead_life_stays_away() {
    let mut world = World::new(3);
    let members = vec![kept(&world, 2, 7 * DAY - 60)];
    world.start_with(0, vec![], members);
    world.start(1, vec![0]);
    world.run(secs(30));
    assert_eq!(world.state(0, 2), Some(State::Down));
    world.run(secs(60));
    assert_eq!(world.life(0, 2), None);
    assert_eq!(world.life(1, 2), None);
    assert!(world.nodes[0].events.contains(&Event::Forgotten(id(2))));

    let mut dead = known(&world, 2);
    dead.state = State::Down;
    dead.down_ms = 1_000;
    world.say(1, 0, Message::Members(vec![dead]));
    world.run(secs(1));
    assert_eq!(world.life(0, 2), None);

    world.start(2, vec![0]);
    world.run(secs(2));
    // Its epoch is remembered, so a life with the same number is not the next one.
    assert_eq!(world.life(0, 2).unwrap().epoch, Epoch(101));
}

#[test]
fn ages_are_told_so_that_being_passed_around_keeps_nobody_alive() {
    let mut world = World::new(3);
    let members = vec![kept(&world, 2, 6 * DAY)];
    world.start_with(0, vec![], members);
    world.run(secs(10));
    world.start(1, vec![0]);
    world.run(secs(10));
    let age = world.machine(1).down_for(world.now(), id(2)).unwrap();
    assert!(secs(6 * DAY) <= age, "{age:?}");
}

#[test]
fn a_member_reported_alive_is_looked_for_but_not_believed() {
    let mut world = World::meshed(4);
    world.crash(3);
    world.run(secs(90));
    world.nodes[0].dials = 0;
    world.say(1, 0, Message::Members(vec![known(&world, 3)]));
    world.run(ms(600));
    assert_eq!(world.nodes[0].dials, 1);
    assert_eq!(world.state(0, 3), Some(State::Down));
}

#[test]
fn a_member_reported_down_is_not_believed_to_be_though_no_link_to_it_is_left() {
    let mut world = World::meshed(4);
    let down = Known {
        state: State::Down,
        down_ms: 1_000,
        ..known(&world, 3)
    };
    world.say(1, 0, Message::Members(vec![down.clone()]));
    world.run(ms(10));
    world.assert_unchanged_but(3, &[]);
    world.cut(0, 3);
    world.run(secs(2));
    assert!(!world.is_linked(0, 3));
    world.nodes[0].events.clear();
    world.say(1, 0, Message::Members(vec![down]));
    world.run(ms(10));
    world.assert_unchanged_but(3, &[]);
    assert_eq!(world.state(0, 3), Some(State::Alive));
}

#[test]
fn a_member_that_only_others_can_reach_is_alive_through_one_of_them() {
    let mut world = World::meshed(3);
    let newcomer = world.add(address("10.0.9.9:8090"));
    world.cut(0, newcomer);
    world.start(newcomer, vec![1]);
    world.run(secs(3));
    assert_eq!(world.state(0, newcomer), Some(State::Alive));
    assert_eq!(world.state(newcomer, 0), Some(State::Alive));
    assert!(!world.is_linked(0, newcomer));
    world.assert_unchanged_but(0, &[newcomer]);
}

#[test]
fn a_member_that_was_down_is_found_through_others_where_no_link_is_possible() {
    let mut world = World::meshed(4);
    world.cut_off(3);
    world.run(secs(8));
    assert_eq!(world.state(0, 3), Some(State::Down));
    world.heal();
    world.cut(0, 3);
    let found = |world: &World| world.state(0, 3) == Some(State::Alive);
    world.run_until(secs(120), found);
    assert_eq!(world.state(3, 0), Some(State::Alive));
}

#[test]
fn records_out_of_bounds_are_refused_and_counted() {
    let mut world = World::meshed(2);
    let fresh = |at: u8| {
        let mut known = known(&world, 0);
        known.record.node = id(100 + usize::from(at));
        known
    };
    let (mut addresses, mut url, mut version) = (fresh(0), fresh(1), fresh(2));
    let (mut epoch, mut many) = (fresh(3), Vec::new());
    addresses.record.addresses = vec![address("10.9.9.9:1"); 17];
    url.record.url = Some("x".repeat(513));
    version.record.version = "x".repeat(65);
    epoch.record.epoch = Epoch(0);
    many.resize(MEMBERS_MAX + 3, fresh(4));
    world.say(1, 0, Message::Members(vec![addresses, url, version, epoch]));
    world.say(1, 0, Message::Members(many));
    world.run(ms(10));
    assert_eq!(world.counter(0, "membership_records_refused_total"), 7);
    assert_eq!(world.machine(0).members().count(), 3);
}

#[test]
fn the_table_of_members_is_bounded() {
    let mut world = World::new(2);
    world.config.full_mesh_limit = 8;
    world.start(0, vec![]);
    world.start(1, vec![0]);
    world.run(secs(2));
    let list = (0..20).map(|at| {
        let mut known = known(&world, 0);
        known.record.node = id(100 + at);
        known
    });
    world.say(1, 0, Message::Members(list.collect()));
    world.run(ms(10));
    assert_eq!(world.machine(0).members().count(), 8);
    assert_eq!(world.counter(0, "membership_records_dropped_total"), 14);
}

#[test]
fn an_address_of_a_member_that_comes_later_is_dialled() {
    let mut world = World::meshed(2);
    let third = world.add(address("10.0.9.9:8090"));
    let mut news = known(&world, third);
    news.record.addresses.clear();
    world.start(third, vec![]);
    world.say(1, 0, Message::Members(vec![news.clone()]));
    world.run(ms(500));
    news.record.addresses = vec![world.address(third)];
    world.say(1, 0, Message::Members(vec![news]));
    world.run_until(secs(2), |world| world.is_linked(0, third));
}
