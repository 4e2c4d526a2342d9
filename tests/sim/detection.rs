//! Who is dead is noticed in time, and who is not is not taken for dead.

use std::time::Duration;

use mesh::proto::Config;
use mesh::proto::membership::State;
use proptest::prelude::*;
use sim::network;
use sim::seed::Probability;
use sim::world::{HostId, World};
use tests::census::Census;
use tests::expect::{self, route, state, views};
use tests::tuning::tuning;

use super::chatting::{bodies, say};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn hosts(count: u16) -> Vec<HostId> {
    (0..count).map(HostId).collect()
}

/// Every ordered pair of these.
fn pairs(hosts: &[HostId]) -> impl Iterator<Item = (HostId, HostId)> {
    hosts
        .iter()
        .flat_map(|a| hosts.iter().map(move |b| (*a, *b)))
        .filter(|(a, b)| a != b)
}

/// A mesh of that many nodes, which have known each other for a while, with a user on each.
fn settled(seed: u64, count: u16, config: &Config) -> (World, Census) {
    let mut world = expect::settled(seed, network::Config::default(), count, config);
    let mut census = Census::default();
    for n in 0..count {
        census.hello(&mut world, HostId(n), &format!("@user{n}"));
    }
    census.converge(&mut world, SECOND);
    world.run_for(2 * SECOND);
    (world, census)
}

fn counted(world: &World, hosts: &[HostId], name: &str) -> u64 {
    let counters = hosts
        .iter()
        .filter_map(|host| Some(world.mesh(*host)?.counters()));
    let named = counters.flatten().filter(|(counter, _)| *counter == name);
    named.map(|(_, count)| count).sum()
}

/// Looks ten times a heartbeat for so long; the first two of these pairs of which the first does not
/// see the second alive.
fn first_accused(
    world: &mut World,
    duration: Duration,
    pairs: &[(HostId, HostId)],
) -> Option<(HostId, HostId)> {
    let end = world.now() + duration;
    while world.now() < end {
        world.run_for(25 * MS);
        let accused = |(a, b): &&(HostId, HostId)| state(world, *a, *b) != Some(State::Alive);
        if let Some(pair) = pairs.iter().find(accused) {
            return Some(*pair);
        }
    }
    None
}

/// How nodes die.
#[derive(Debug, Clone, Copy)]
enum Death {
    /// The process: its connections break.
    Crash,
    /// The machine: nobody is told.
    PowerOff,
    /// It does nothing any more, but its connections stay.
    Hang,
}

fn death() -> impl Strategy<Value = Death> {
    prop_oneof![Just(Death::Crash), Just(Death::PowerOff), Just(Death::Hang)]
}

fn kill(world: &mut World, victim: HostId, death: Death) {
    match death {
        Death::Crash => world.crash(victim),
        Death::PowerOff => {
            let others: Vec<HostId> = world.hosts().filter(|host| *host != victim).collect();
            world.split(&[victim], &others);
            world.crash(victim);
        }
        Death::Hang => world.pause(victim),
    }
}

proptest! {
    #![proptest_config(tests::cases(60))]

    #[test]
    fn the_users_of_a_dead_node_vanish_from_every_lookup_within_the_bound(
        seed in any::<u64>(),
        count in 2..10_u16,
        config in tuning(256, 1_000),
        death in death(),
        wait in 0..1_000_u64,
    ) {
        let (mut world, _) = settled(seed, count, &config);
        world.run_for(Duration::from_millis(wait));
        kill(&mut world, HostId(0), death);
        // Silence, a probe, and the votes of others; with two nodes the time of suspicion decides.
        let alone = if count == 2 { config.membership.suspicion } else { Duration::ZERO };
        let bound = 6 * config.membership.heartbeat + alone;
        let gone = world.run_until(bound, |world| {
            hosts(count)[1..].iter().all(|host| {
                let (found, sight) = route(world, *host, "@user0").unwrap();
                found.is_empty() && !sight.online()
            })
        });
        prop_assert!(gone, "after {bound:?}\n{}", views(&world));
        let others = hosts(count).split_off(1);
        let living: Vec<_> = pairs(&others).collect();
        prop_assert_eq!(first_accused(&mut world, 5 * SECOND, &living), None);
    }

    #[test]
    fn when_up_to_half_of_all_nodes_die_at_once_only_they_vanish(
        seed in any::<u64>(),
        count in 4..12_u16,
        dead in 1..=50_u16,
        config in tuning(256, 1_000),
        death in death(),
    ) {
        let (mut world, mut census) = settled(seed, count, &config);
        let dead = (count * dead).div_ceil(100).min(count / 2);
        hosts(dead).into_iter().for_each(|host| kill(&mut world, host, death));
        let others = hosts(count).split_off(dead.into());
        let living: Vec<_> = pairs(&others).collect();
        let bound = 6 * config.membership.heartbeat + config.membership.suspicion;
        prop_assert_eq!(first_accused(&mut world, bound, &living), None);
        census.update(&world);
        for host in &others {
            for n in 0..count {
                let (found, sight) = route(&world, *host, &format!("@user{n}")).unwrap();
                prop_assert_eq!(found.is_empty(), n < dead, "{} at {:?}", n, host);
                prop_assert_eq!(sight.online(), dead <= n, "{} at {:?}", n, host);
            }
        }
    }

    #[test]
    fn a_paused_or_slow_observer_accuses_nobody_for_long(
        seed in any::<u64>(),
        count in 3..10_u16,
        config in tuning(256, 1_000),
        pause in 1..60_000_u64,
        load in 0..=100_u32,
    ) {
        let (mut world, census) = settled(seed, count, &config);
        let observer = HostId(0);
        let others = hosts(count).split_off(1);
        let healthy: Vec<_> = pairs(&others).collect();
        world.pause(observer);
        prop_assert_eq!(first_accused(&mut world, Duration::from_millis(pause), &healthy), None);
        // In each interval a frame comes and goes and a timer is due for each other node: at most half
        // of what it can do, else it is not slow but lost.
        let step = config.membership.heartbeat / (6 * u32::from(count)) * load / 100;
        world.slow_down(observer, step);
        world.unpause(observer);
        prop_assert_eq!(first_accused(&mut world, 20 * SECOND, &healthy), None);
        let own: Vec<_> = others.iter().map(|other| (observer, *other)).collect();
        prop_assert_eq!(first_accused(&mut world, 20 * SECOND, &own), None, "{}", views(&world));
        prop_assert_eq!(census.first_difference(&world), None);
    }

    #[test]
    fn one_broken_link_changes_nobodys_view_and_frames_go_through_a_helper(
        seed in any::<u64>(),
        count in 3..10_u16,
        config in tuning(256, 1_000),
        one_way in any::<bool>(),
        resets in any::<bool>(),
    ) {
        let (mut world, mut census) = settled(seed, count, &config);
        let (a, b) = (HostId(0), HostId(1));
        if one_way {
            world.cut_one_way(a, b);
        } else {
            world.cut(a, b);
        }
        if resets {
            world.reset(a, b);
        }
        let all: Vec<_> = pairs(&hosts(count)).collect();
        prop_assert_eq!(first_accused(&mut world, 20 * SECOND, &all), None);
        let ann = census.hello(&mut world, a, "@ann");
        let bob = census.hello(&mut world, b, "@bob");
        census.converge(&mut world, SECOND);
        say(&mut world, ann, "@bob", "1");
        say(&mut world, bob, "@ann", "2");
        let heard = world.run_until(SECOND, |world| {
            bodies(world, bob) == ["1"] && bodies(world, ann) == ["2"]
        });
        prop_assert!(heard, "{:?} {:?}", bodies(&world, ann), bodies(&world, bob));
        prop_assert_eq!(first_accused(&mut world, 5 * SECOND, &all), None);
    }

    #[test]
    fn cuts_that_leave_a_way_round_change_no_third_nodes_view(
        seed in any::<u64>(),
        count in 3..6_u16,
        config in tuning(256, 1_000),
        cuts in proptest::collection::vec((any::<u16>(), any::<u16>(), any::<bool>()), 1..8),
    ) {
        let (mut world, census) = settled(seed, count, &config);
        // All reach the last one, and it all of them.
        let outer = count - 1;
        let mut cut = Vec::new();
        for (a, b, one_way) in cuts {
            let (a, b) = (HostId(a % outer), HostId(b % outer));
            if a != b {
                world.cut_one_way(a, b);
                if !one_way {
                    world.cut_one_way(b, a);
                }
                cut.extend([(a, b), (b, a)]);
            }
        }
        let linked: Vec<_> = pairs(&hosts(count)).filter(|pair| !cut.contains(pair)).collect();
        let end = world.now() + 20 * SECOND;
        while world.now() < end {
            prop_assert_eq!(first_accused(&mut world, 25 * MS, &linked), None);
            for (a, b) in &cut {
                prop_assert_ne!(state(&world, *a, *b), Some(State::Down), "{:?} {:?}", a, b);
            }
        }
        prop_assert_eq!(census.first_difference(&world), None, "{}", views(&world));
    }

    #[test]
    fn a_node_taken_for_dead_comes_back_in_its_epoch_and_nothing_is_sent_again(
        seed in any::<u64>(),
        count in 2..8_u16,
        config in tuning(256, 1_000),
        hangs in any::<bool>(),
        away in 0..20_000_u64,
    ) {
        let (mut world, census) = settled(seed, count, &config);
        let lost = HostId(0);
        let others = hosts(count).split_off(1);
        let epoch = world.mesh(lost).unwrap().epoch();
        let sent = |world: &World| {
            ["routes_snapshots_sent_total", "routes_logs_sent_total", "routes_batches_pushed_total"]
                .map(|name| counted(world, &hosts(count), name))
        };
        let before = sent(&world);
        if hangs {
            world.pause(lost);
        } else {
            world.split(&[lost], &others);
        }
        let bound = 6 * config.membership.heartbeat + config.membership.suspicion;
        let down = world.run_until(bound, |world| {
            others.iter().all(|host| state(world, *host, lost) == Some(State::Down))
        });
        prop_assert!(down, "{}", views(&world));
        world.run_for(Duration::from_millis(away));
        if hangs {
            world.unpause(lost);
        } else {
            world.heal_all();
        }
        // At no instant is it alive without its users: they were hidden, not erased.
        let mut bare = None;
        world.run_until(expect::healed(&config), |world| {
            let shown = |host: &HostId| route(world, *host, "@user0").unwrap().1.online();
            let alive = |host: &HostId| state(world, *host, lost) == Some(State::Alive);
            bare = others.iter().find(|host| alive(host) && !shown(host)).copied();
            bare.is_some() || census.first_difference(world).is_none()
        });
        prop_assert_eq!(bare, None);
        prop_assert_eq!(census.first_difference(&world), None, "{}", views(&world));
        prop_assert_eq!(world.mesh(lost).unwrap().epoch(), epoch);
        world.run_for(10 * SECOND);
        let [snapshots, _, batches] = sent(&world);
        prop_assert_eq!([snapshots, batches], [before[0], before[2]]);
    }
}

#[test]
fn a_tenth_of_all_frames_lost_buries_nobody() {
    let (mut world, census) = settled(1, 8, &Config::default());
    let all: Vec<_> = pairs(&hosts(8)).collect();
    world.network_mut().set_config(network::Config {
        loss: Probability::percent(10),
        ..network::Config::default()
    });
    for _ in 0..600 {
        world.run_for(SECOND);
        for (a, b) in &all {
            assert_ne!(state(&world, *a, *b), Some(State::Down), "{a:?} {b:?}");
        }
    }
    let downs = [
        "membership_downs_voted_total",
        "membership_downs_timed_total",
    ];
    let downs = downs.map(|name| counted(&world, &hosts(8), name));
    assert_eq!(downs, [0, 0]);
    assert_eq!(census.first_difference(&world), None);
}
