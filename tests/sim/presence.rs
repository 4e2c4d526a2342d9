//! What a node makes of a user's last known routes, row by row, and what goes through helpers.

use std::time::Duration;

use mesh::proto::Config;
use mesh::proto::membership::State;
use mesh::proto::view::Sight;
use sim::network;
use sim::world::{HostId, World};
use tests::expect::{self, is_full_mesh, state};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

const A: HostId = HostId(0);
const B: HostId = HostId(1);
const C: HostId = HostId(2);

/// A settled chain of that many nodes, with @ann on B.
fn with_ann(seed: u64, count: u16) -> World {
    let usual = network::Config::default();
    let mut world = expect::settled(seed, usual, count, &Config::default());
    world.hello(B, "@ann", None);
    world.run_for(SECOND);
    assert_eq!(sight(&world, A, "@ann"), Sight::Here);
    world
}

/// What a node says of a user.
fn sight(world: &World, seen_by: HostId, user: &str) -> Sight {
    expect::route(world, seen_by, user).expect("it runs").1
}

/// Runs for so long: what a node said of a user, each answer that differs from the one before.
fn sights(world: &mut World, time: Duration, seen_by: HostId, user: &str) -> Vec<Sight> {
    let mut sights = vec![sight(world, seen_by, user)];
    world.run_until(time, |world| {
        sights.push(sight(world, seen_by, user));
        false
    });
    sights.dedup();
    sights
}

#[test]
fn a_user_is_doubtful_while_its_node_is_suspect_and_unknown_once_that_is_down() {
    let mut world = with_ann(1, 2);
    world.cut(A, B);
    let seen = sights(&mut world, 10 * SECOND, A, "@ann");
    assert_eq!(seen, [Sight::Here, Sight::Doubtful, Sight::Unknown]);
    world.heal_all();
    let seen = sights(&mut world, MINUTE, A, "@ann");
    assert_eq!(seen, [Sight::Unknown, Sight::Here]);
}

#[test]
fn a_user_on_a_node_that_only_a_helper_reaches_is_there_and_so_is_who_comes_later() {
    let mut world = with_ann(2, 3);
    world.cut(A, B);
    let seen = sights(&mut world, 5 * SECOND, A, "@ann");
    assert_eq!(seen, [Sight::Here]);
    world.hello(B, "@bob", None);
    world.run_for(100 * MS);
    assert_eq!(sight(&world, A, "@bob"), Sight::Here);
}

#[test]
fn a_user_of_an_earlier_life_is_gone_only_when_the_set_of_the_new_one_is_there() {
    let mut world = with_ann(3, 2);
    world.crash(B);
    world.start(B);
    let seen = sights(&mut world, 5 * SECOND, A, "@ann");
    assert_eq!(seen.last(), Some(&Sight::Gone));
    let before = seen[seen.len() - 2];
    assert_eq!(before, Sight::Unknown, "{seen:?}");
}

#[test]
fn of_several_routes_of_a_user_the_best_counts() {
    let mut world = with_ann(4, 3);
    world.hello(C, "@ann", None);
    world.run_for(SECOND);
    world.crash(B);
    let seen = sights(&mut world, 5 * SECOND, A, "@ann");
    assert_eq!(state(&world, A, B), Some(State::Down));
    assert_eq!(seen, [Sight::Here]);
}

#[test]
fn absence_is_uncertain_while_the_set_of_a_member_is_missing_but_not_for_longer_than_ten_minutes() {
    let mut world = with_ann(5, 2);
    assert_eq!(sight(&world, A, "@nobody"), Sight::Gone);
    // A comes back alone and remembers B, but not whom it serves.
    world.crash(A);
    world.crash(B);
    world.start(A);
    let early = sights(&mut world, 9 * MINUTE, A, "@nobody");
    assert_eq!(early, [Sight::Unknown]);
    world.run_for(2 * MINUTE);
    assert_eq!(sight(&world, A, "@nobody"), Sight::Gone);
}

#[test]
fn a_node_that_is_met_has_unknown_users_until_its_set_is_there() {
    let mut world = World::chain(6, 1);
    world.hello(A, "@ann", None);
    let newcomer = world.add_host(Config::default(), &[A]);
    world.start(newcomer);
    let seen = sights(&mut world, SECOND, newcomer, "@ann");
    assert_eq!(seen, [Sight::Gone, Sight::Unknown, Sight::Here]);
    assert!(is_full_mesh(&world, &[A, newcomer]));
}
