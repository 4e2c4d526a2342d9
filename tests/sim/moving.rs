//! Users who come, go and move: how soon all know it, and that nobody falls between two nodes.

use std::time::Duration;

use mesh::proto::{Closing, Config};
use mesh::time::Instant;
use proptest::prelude::*;
use sim::network;
use sim::world::{HostId, World};
use tests::census::Census;
use tests::expect::{self, route, views};
use tests::tuning::tuning;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A settled mesh of that many nodes on links of that latency.
fn settled(seed: u64, count: u16, config: &Config, latency: Duration) -> World {
    let network = network::Config {
        latency: (latency / 2, latency),
        ..network::Config::default()
    };
    let mut world = expect::settled(seed, network, count, config);
    world.run_for(SECOND);
    world
}

/// How a user leaves a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// The connection is lost.
    Lost,
    /// With a goodbye.
    Gone,
    /// The node dies.
    Death,
}

/// For how long at most no table but that of a dead node had a user, while this is done.
fn longest_gap(world: &mut World, user: &str, duration: Duration) -> Duration {
    let hosts: Vec<HostId> = world.hosts().collect();
    let mut lost_at = vec![None; hosts.len()];
    let mut longest = Duration::ZERO;
    world.run_until(duration, |world| {
        for (host, lost_at) in hosts.iter().zip(&mut lost_at) {
            match route(world, *host, user) {
                Some((found, _)) if found.is_empty() => {
                    let lost_at = *lost_at.get_or_insert(world.now());
                    longest = longest.max(world.now().since(lost_at));
                }
                Some(_) | None => *lost_at = None,
            }
        }
        false
    });
    longest
}

proptest! {
    #![proptest_config(tests::cases(60))]

    #[test]
    fn without_faults_all_know_a_change_within_two_windows_and_two_round_trips(
        seed in any::<u64>(),
        count in 2..8_u16,
        config in tuning(256, 1_000),
        latency_us in 100..40_000_u64,
        changes in proptest::collection::vec((any::<u16>(), 0..5_u16, any::<bool>(), 0..120_u64), 1..40),
    ) {
        let latency = Duration::from_micros(latency_us);
        let mut world = settled(seed, count, &config, latency);
        let mut census = Census::default();
        for (host, user, comes, ms) in changes {
            let host = HostId(host % count);
            let user = format!("@user{user}");
            let here = census.sessions(&world);
            let here = here.into_iter().find(|(client, it)| client.host == host && *it == user);
            match here {
                Some((client, _)) if !comes => census.close(&mut world, client, Closing::Gone),
                Some(_) => {}
                None => {
                    census.hello(&mut world, host, &user);
                }
            }
            world.run_for(Duration::from_millis(ms));
        }
        // Two round trips are four times the way.
        census.converge(&mut world, 2 * config.routes.window_max + 4 * latency);
    }

    #[test]
    fn who_moves_is_at_the_new_node_in_the_end_and_hardly_nowhere_on_the_way(
        seed in any::<u64>(),
        count in 2..7_u16,
        config in tuning(256, 1_000),
        latency_us in 100..40_000_u64,
        leaving in prop_oneof![Just(Leaving::Lost), Just(Leaving::Gone), Just(Leaving::Death)],
        device in prop_oneof![Just(None), Just(Some("phone"))],
        between_ms in -200..4_000_i64,
    ) {
        let latency = Duration::from_micros(latency_us);
        let mut world = settled(seed, count, &config, latency);
        let mut census = Census::default();
        let (from, to) = (HostId(0), HostId(1));
        let old = census.hello_as(&mut world, from, "@ann", device);
        census.converge(&mut world, SECOND);
        world.run_for(SECOND);
        let between = Duration::from_millis(between_ms.unsigned_abs());
        let mut gap = Duration::ZERO;
        if between_ms < 0 {
            census.hello_as(&mut world, to, "@ann", device);
            gap = gap.max(longest_gap(&mut world, "@ann", between));
        }
        match leaving {
            Leaving::Lost => census.close(&mut world, old, Closing::Lost),
            Leaving::Gone => census.close(&mut world, old, Closing::Gone),
            Leaving::Death => world.crash(from),
        }
        let left_at = world.now();
        let mut end = left_at + between;
        if between_ms >= 0 {
            gap = gap.max(longest_gap(&mut world, "@ann", between));
            census.hello_as(&mut world, to, "@ann", device);
            end = world.now();
        }
        let rest = 2 * config.chat.grace + 6 * config.membership.heartbeat
            + config.membership.suspicion;
        gap = gap.max(longest_gap(&mut world, "@ann", rest));
        // Who is lost is shown for the grace; a dead node's users at least until a link is silent, but
        // they cannot be reached from the moment its connections broke.
        let away = if between_ms < 0 { Duration::ZERO } else { end.since(left_at) };
        let lingers = if leaving == Leaving::Lost { config.chat.grace } else { Duration::ZERO };
        let allowed = away.saturating_sub(lingers) + config.routes.window_max + 4 * latency;
        prop_assert!(gap <= allowed, "{:?} of at most {:?}\n{}", gap, allowed, views(&world));
        for host in world.hosts().filter(|host| *host != from || leaving != Leaving::Death) {
            let (found, sight) = route(&world, host, "@ann").unwrap();
            prop_assert_eq!(Vec::from_iter(found), [world.node(to)]);
            prop_assert!(sight.online());
        }
    }
}

#[test]
fn the_first_change_of_a_quiet_period_takes_one_hop_also_in_a_mesh_of_a_hundred() {
    let mut world = settled(1, 100, &Config::default(), MS);
    let mut census = Census::default();
    let before: Instant = world.now();
    census.hello(&mut world, HostId(37), "@ann");
    census.converge(&mut world, 5 * MS);
    assert!(
        world.now().since(before) <= MS,
        "{:?}",
        world.now().since(before)
    );
}
