//! Nodes find each other, notice who is gone, and know who serves whom.

use std::time::Duration;

use mesh::proto::membership::State;
use mesh::proto::{Closing, Config, Halt};
use sim::network;
use sim::world::{HostId, World};
use tests::census::Census;
use tests::expect::{self, HEALED, is_full_mesh, route, settle, state};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn hosts(count: u16) -> Vec<HostId> {
    (0..count).map(HostId).collect()
}

/// A settled chain of that many nodes.
fn settled(seed: u64, count: u16) -> World {
    let usual = network::Config::default();
    expect::settled(seed, usual, count, &Config::default())
}

#[test]
fn nodes_that_each_know_one_other_become_a_full_mesh() {
    let mut world = World::chain(1, 8);
    let met = world.run_until(5 * SECOND, |world| is_full_mesh(world, &hosts(8)));
    assert!(met, "{}", expect::views(&world));
}

#[test]
fn an_attach_is_known_everywhere_after_one_hop() {
    let mut world = settled(2, 6);
    world.run_for(SECOND);
    let mut census = Census::default();
    census.hello(&mut world, HostId(3), "@ann");
    census.converge(&mut world, 2 * MS);
}

#[test]
fn two_meshes_that_learn_of_one_common_node_become_one() {
    let mut world = World::new(3, network::Config::default());
    let a = [
        world.add_host(Config::default(), &[]),
        world.add_host(Config::default(), &[HostId(0)]),
    ];
    let b = [
        world.add_host(Config::default(), &[]),
        world.add_host(Config::default(), &[HostId(2)]),
    ];
    for host in a.into_iter().chain(b) {
        world.start(host);
    }
    settle(&mut world, &a);
    settle(&mut world, &b);
    let bridge = world.add_host(Config::default(), &[a[1], b[1]]);
    world.start(bridge);
    settle(&mut world, &hosts(5));
}

#[test]
fn a_dead_node_is_down_everywhere_within_the_bound() {
    for count in [2, 3, 4, 10] {
        let mut world = settled(4, count);
        world.run_for(SECOND);
        world.crash(HostId(0));
        // With two nodes the suspicion's three seconds alone decide; else observers agree.
        let bound = if count == 2 { 5 * SECOND } else { 1500 * MS };
        let others = hosts(count).split_off(1);
        let seen = world.run_until(bound, |world| {
            others
                .iter()
                .all(|host| state(world, *host, HostId(0)) == Some(State::Down))
        });
        assert!(seen, "N = {count}: {}", expect::views(&world));
    }
}

#[test]
fn a_node_that_falls_silent_is_down_within_the_bound() {
    let mut world = settled(5, 5);
    world.run_for(SECOND);
    world.pause(HostId(2));
    let others = [0, 1, 3, 4].map(HostId);
    let down = world.run_until(3 * SECOND, |world| {
        others
            .iter()
            .all(|host| state(world, *host, HostId(2)) == Some(State::Down))
    });
    assert!(down, "{}", expect::views(&world));
}

#[test]
fn one_broken_link_changes_no_ones_view_and_frames_go_through_a_helper() {
    let mut world = settled(6, 5);
    world.run_for(SECOND);
    world.cut(HostId(0), HostId(1));
    for _ in 0..100 {
        world.run_for(100 * MS);
        for (seen_by, host) in hosts(5)
            .into_iter()
            .flat_map(|a| hosts(5).into_iter().map(move |b| (a, b)))
        {
            assert_eq!(
                state(&world, seen_by, host),
                Some(State::Alive),
                "{seen_by:?} sees {host:?} at {:?}",
                world.now()
            );
        }
    }
    let mut census = Census::default();
    let ann = census.hello(&mut world, HostId(0), "@ann");
    let bob = census.hello(&mut world, HostId(1), "@bob");
    census.converge(&mut world, 5 * SECOND);
    super::chatting::say(&mut world, ann, "@bob", "1");
    let heard = world.run_until(SECOND, |world| super::chatting::bodies(world, bob) == ["1"]);
    assert!(heard, "through a helper");
}

#[test]
fn one_direction_that_fails_changes_no_third_nodes_view() {
    let mut world = settled(7, 5);
    world.run_for(SECOND);
    world.cut_one_way(HostId(0), HostId(1));
    for _ in 0..100 {
        world.run_for(100 * MS);
        for (seen_by, host) in [2, 3, 4]
            .map(HostId)
            .into_iter()
            .flat_map(|a| hosts(5).into_iter().map(move |b| (a, b)))
        {
            assert_eq!(
                state(&world, seen_by, host),
                Some(State::Alive),
                "{seen_by:?} sees {host:?} at {:?}",
                world.now()
            );
        }
    }
}

#[test]
fn a_partition_is_seen_on_both_sides_and_heals() {
    let mut world = settled(8, 6);
    let mut census = Census::default();
    for n in 0..6 {
        census.hello(&mut world, HostId(n), &format!("@user{n}"));
    }
    census.converge(&mut world, SECOND);
    let (left, right) = ([0, 1, 2].map(HostId), [3, 4, 5].map(HostId));
    world.split(&left, &right);
    let split = world.run_until(10 * SECOND, |world| {
        left.iter().all(|a| {
            right.iter().all(|b| {
                state(world, *a, *b) == Some(State::Down)
                    && state(world, *b, *a) == Some(State::Down)
            })
        })
    });
    assert!(split, "{}", expect::views(&world));
    world.heal_all();
    settle(&mut world, &hosts(6));
    census.converge(&mut world, HEALED);
}

#[test]
fn a_paused_node_accuses_nobody_for_long_after_it_wakes() {
    let mut world = settled(9, 5);
    world.run_for(SECOND);
    world.pause(HostId(2));
    world.run_for(20 * SECOND);
    world.unpause(HostId(2));
    let others = [0, 1, 3, 4].map(HostId);
    for _ in 0..100 {
        world.run_for(100 * MS);
        for (a, b) in others.into_iter().flat_map(|a| others.map(|b| (a, b))) {
            assert_eq!(state(&world, a, b), Some(State::Alive), "{a:?} sees {b:?}");
        }
    }
    settle(&mut world, &hosts(5));
}

#[test]
fn the_routes_of_a_node_that_was_down_are_shown_again_in_the_same_epoch() {
    let mut world = settled(10, 4);
    let mut census = Census::default();
    census.hello(&mut world, HostId(3), "@ann");
    census.converge(&mut world, SECOND);
    let epoch = world.mesh(HostId(3)).map(mesh::proto::Mesh::epoch);
    world.split(&[HostId(3)], &[0, 1, 2].map(HostId));
    assert!(
        world.run_until(10 * SECOND, |world| state(world, HostId(0), HostId(3))
            == Some(State::Down))
    );
    let (_, sight) = route(&world, HostId(0), "@ann").expect("runs");
    assert!(
        !sight.online() && !sight.certain(),
        "not known dead: {sight:?}"
    );
    world.heal_all();
    census.converge(&mut world, HEALED);
    assert_eq!(world.mesh(HostId(3)).map(mesh::proto::Mesh::epoch), epoch);
}

#[test]
fn a_restarted_node_comes_back_without_the_users_of_its_former_life() {
    let mut world = settled(11, 3);
    let mut census = Census::default();
    census.hello(&mut world, HostId(1), "@ann");
    census.converge(&mut world, SECOND);
    world.crash(HostId(1));
    world.start(HostId(1));
    census.converge(&mut world, HEALED);
    settle(&mut world, &hosts(3));
}

#[test]
fn nodes_restarted_all_at_once_meet_again_from_what_they_kept() {
    let mut world = World::new(12, network::Config::default());
    let first = world.add_host(Config::default(), &[]);
    for _ in 1..4 {
        world.add_host(Config::default(), &[first]);
    }
    hosts(4).into_iter().for_each(|host| world.start(host));
    settle(&mut world, &hosts(4));
    world.run_for(5 * SECOND);
    hosts(4).into_iter().for_each(|host| world.crash(host));
    // The one that all others name is gone for good.
    [1, 2, 3]
        .map(HostId)
        .into_iter()
        .for_each(|host| world.start(host));
    settle(&mut world, &[1, 2, 3].map(HostId));
}

#[test]
fn a_node_that_lost_its_data_starts_above_every_epoch_that_peers_know() {
    let mut world = settled(13, 3);
    world.run_for(SECOND);
    world.crash(HostId(2));
    world.lose_data(HostId(2));
    world.skew(HostId(2), -100_000);
    world.start(HostId(2));
    settle(&mut world, &hosts(3));
    assert_eq!(world.halted(HostId(2)), None);
}

#[test]
fn of_two_nodes_with_one_identity_the_later_epoch_wins_and_the_older_halts() {
    let mut world = settled(14, 3);
    let copy = world.add_host(Config::default(), &[HostId(0)]);
    world.clone_identity(copy, HostId(2));
    world.run_for(SECOND);
    world.start(copy);
    assert!(
        world.run_until(HEALED, |world| world.halted(HostId(2)).is_some()),
        "{}",
        expect::views(&world)
    );
    assert!(matches!(world.halted(HostId(2)), Some(Halt::Clone { .. })));
    assert_eq!(world.halted(copy), None);
}

#[test]
fn a_node_that_stops_is_down_at_once_and_nobody_suspects_it() {
    let mut world = settled(15, 4);
    let ann = world.hello(HostId(3), "@ann", None);
    world.run_for(SECOND);
    world.stop(HostId(3));
    world.run_for(10 * MS);
    assert_eq!(
        state(&world, HostId(0), HostId(3)),
        Some(State::Alive),
        "stopping, but delivered to"
    );
    assert!(
        matches!(world.heard(ann).last(), Some(sim::world::Heard::Closed(_))),
        "{:?}",
        world.heard(ann)
    );
    assert!(world.run_until(10 * SECOND, |world| world.has_stopped(HostId(3))));
    world.run_for(10 * MS);
    for host in [0, 1, 2].map(HostId) {
        assert_eq!(state(&world, host, HostId(3)), Some(State::Down));
    }
}

#[test]
fn a_lost_session_is_shown_for_its_grace_and_one_that_went_is_not() {
    let mut world = settled(16, 3);
    let mut census = Census::default();
    let lost = census.hello(&mut world, HostId(0), "@ann");
    let gone = census.hello(&mut world, HostId(0), "@bob");
    census.converge(&mut world, SECOND);
    census.close(&mut world, gone, Closing::Gone);
    census.converge(&mut world, 100 * MS);
    census.close(&mut world, lost, Closing::Lost);
    world.run_for(2 * SECOND);
    for host in hosts(3) {
        let (found, sight) = route(&world, host, "@ann").expect("runs");
        assert!(found.contains(&world.node(HostId(0))), "within its grace");
        assert!(sight.online());
    }
    census.converge(&mut world, 2 * SECOND);
}
