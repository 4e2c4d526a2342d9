//! Two processes with one identity: the later epoch wins everywhere, and the older stops.

use std::time::Duration;

use mesh::proto::{Config, Halt};
use proptest::prelude::*;
use sim::network;
use sim::world::{HostId, World};
use tests::census::Census;
use tests::expect::{self, HEALED, is_full_mesh, state, views};
use tests::tuning::tuning;

const SECOND: Duration = Duration::from_secs(1);

/// A settled mesh of that many nodes.
fn settled(seed: u64, count: u16, config: &Config) -> World {
    let mut world = expect::settled(seed, network::Config::default(), count, config);
    world.run_for(SECOND);
    world
}

proptest! {
    #![proptest_config(tests::cases(60))]

    #[test]
    fn of_two_copies_of_a_node_the_later_one_serves_and_the_older_halts(
        seed in any::<u64>(),
        count in 2..7_u16,
        config in tuning(256, 1_000),
        skew_ms in -90_000..60_000_i64,
        contact in any::<u16>(),
        // The copy starts beyond a cut, with so many of the others.
        beyond in proptest::option::of(any::<u16>()),
        apart in 0..20_000_u64,
    ) {
        let mut world = settled(seed, count, &config);
        let mut census = Census::default();
        let original = HostId(count - 1);
        census.hello(&mut world, original, "@ann");
        census.hello(&mut world, HostId(0), "@bob");
        census.converge(&mut world, SECOND);
        let contact = HostId(contact % (count - 1));
        let copy = world.add_host(config.clone(), &[contact]);
        world.clone_identity(copy, original);
        world.skew(copy, skew_ms);
        if let Some(beyond) = beyond {
            let joins = |host: &HostId| {
                *host == copy || *host == contact || *host != original && beyond >> host.0 & 1 == 1
            };
            let (there, here): (Vec<HostId>, Vec<HostId>) = world.hosts().partition(joins);
            world.split(&there, &here);
            world.run_for(Duration::from_millis(apart));
        }
        world.start(copy);
        world.run_for(Duration::from_millis(apart));
        world.heal_all();
        let halted = world.run_until(HEALED, |world| world.halted(original).is_some());
        prop_assert!(halted, "{}", views(&world));
        let cloned = matches!(world.halted(original), Some(Halt::Clone { .. }));
        prop_assert!(cloned, "{:?}", world.halted(original));
        prop_assert_eq!(world.halted(copy), None);
        census.hello(&mut world, copy, "@carol");
        let serving: Vec<HostId> = world.hosts().filter(|host| *host != original).collect();
        let right = world.run_until(HEALED, |world| {
            is_full_mesh(world, &serving) && census.first_difference(world).is_none()
        });
        prop_assert!(right, "{:?}\n{}", census.first_difference(&world), views(&world));
        // The older one's next start is above the copy's: it is the later one then.
        world.start(original);
        let halted = world.run_until(HEALED, |world| world.halted(copy).is_some());
        prop_assert!(halted, "{}", views(&world));
        prop_assert_eq!(world.halted(original), None);
        prop_assert!(state(&world, HostId(0), original).is_some());
    }
}
