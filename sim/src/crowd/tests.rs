//! Users do what they are told to do, when, and none is lost from sight.

use super::*;

const LONG: Duration = Duration::from_secs(1_000_000);

fn crowd(world: &World, count: u32, online: u32, stay: Duration) -> Crowd {
    let habits = Habits {
        online: Probability::percent(online),
        stay,
    };
    Crowd::new(count, habits, Chance::new(1, "crowd"), world.now())
}

/// A second after the other, as a run does.
fn live(world: &mut World, crowd: &mut Crowd, seconds: u64) {
    for _ in 0..seconds {
        let end = world.now() + Duration::from_secs(1);
        while world.now() < end {
            let next = crowd.next_at().map_or(end, |next| next.min(end));
            world.run_for(next.since(world.now()));
            crowd.act(world);
        }
        crowd.look_after_lost(world);
    }
}

/// Users that believe to be on a node, and whether that knows them.
fn online(world: &World, crowd: &Crowd) -> usize {
    let clients = crowd.users.iter().filter_map(|user| user.client);
    let known = |client: &Client| !world.heard(*client).is_empty() && !world.is_over(*client);
    let clients: Vec<Client> = clients.collect();
    assert!(
        clients.iter().all(known),
        "a user waits at a session that is none"
    );
    clients.len()
}

#[test]
fn the_share_that_is_online_at_the_start_comes_soon_and_stays() {
    let mut world = World::chain(1, 3);
    let mut all = crowd(&world, 50, 100, LONG);
    live(&mut world, &mut all, 3);
    assert_eq!((online(&world, &all), all.changes()), (50, 50));
    live(&mut world, &mut all, 20);
    assert_eq!(all.changes(), 50);
    let mut none = crowd(&world, 50, 0, LONG);
    live(&mut world, &mut none, 20);
    assert_eq!((online(&world, &none), none.changes()), (0, 0));
}

#[test]
fn a_rush_brings_and_an_exodus_takes_whom_it_concerns_within_its_time() {
    let mut world = World::chain(2, 2);
    let mut crowd = crowd(&world, 100, 0, LONG);
    let all = Probability::ONE;
    crowd.rush(world.now(), all, Duration::from_secs(4));
    live(&mut world, &mut crowd, 2);
    let half = online(&world, &crowd);
    assert!((20..80).contains(&half), "{half}");
    live(&mut world, &mut crowd, 3);
    assert_eq!(online(&world, &crowd), 100);
    crowd.rush(world.now(), all, Duration::from_secs(1));
    live(&mut world, &mut crowd, 2);
    assert_eq!(crowd.changes(), 100, "who is there does not come");
    crowd.leave(
        world.now(),
        Probability::percent(30),
        Duration::from_secs(1),
    );
    live(&mut world, &mut crowd, 2);
    let left = online(&world, &crowd);
    assert!((50..90).contains(&left), "{left}");
    assert_eq!(crowd.changes(), 200 - left as u64);
}

#[test]
fn whose_node_dies_comes_back_elsewhere() {
    let mut world = World::chain(3, 3);
    let mut crowd = crowd(&world, 60, 100, LONG);
    live(&mut world, &mut crowd, 3);
    world.crash(HostId(1));
    live(&mut world, &mut crowd, 4);
    assert_eq!(online(&world, &crowd), 60);
    let there = |user: &User| user.client.is_some_and(|client| client.host == HostId(1));
    assert!(!crowd.users.iter().any(there));
}

#[test]
fn who_finds_no_node_to_move_to_is_gone_until_it_comes_again() {
    let mut world = World::chain(4, 1);
    let mut crowd = crowd(&world, 60, 100, Duration::from_secs(2));
    live(&mut world, &mut crowd, 3);
    world.pause(HostId(0));
    live(&mut world, &mut crowd, 3);
    world.unpause(HostId(0));
    live(&mut world, &mut crowd, 1);
    assert!(online(&world, &crowd) > 0);
}

#[test]
fn at_rest_nobody_comes_or_goes_but_those_whose_node_dies() {
    let mut world = World::chain(5, 3);
    let mut crowd = crowd(&world, 60, 100, Duration::from_secs(2));
    live(&mut world, &mut crowd, 10);
    crowd.rest();
    let (changes, there) = (crowd.changes(), online(&world, &crowd));
    live(&mut world, &mut crowd, 10);
    assert_eq!((crowd.changes(), online(&world, &crowd)), (changes, there));
    world.crash(HostId(2));
    live(&mut world, &mut crowd, 4);
    assert_eq!(online(&world, &crowd), there);
}
