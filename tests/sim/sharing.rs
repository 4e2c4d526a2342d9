//! Users who share a route key: the hash has 48 bits, so some do. Each still counts by itself, and what
//! reaches a node for a user who is not there is thrown away.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh::id::{NodeId, RouteHasher};
use mesh::proto::{Closing, Config};
use proptest::prelude::*;
use sim::world::{HostId, ROUTE_KEY, World};
use tests::census::Census;
use tests::expect::{HEALED, route, settle, views};
use tests::faults::Scene;

use super::chatting::{bodies, say};

/// Pairs of users with one key each, found by trying 33 million names.
const PAIRS: [[&str; 2]; 3] = [
    ["@u12505705", "@u26331152"],
    ["@u4493571", "@u21894610"],
    ["@u7743619", "@u20148420"],
];

/// Nodes of each world.
const HOSTS: u16 = 3;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Comes {
        host: u16,
        pair: usize,
        which: usize,
    },
    Goes {
        session: usize,
        lost: bool,
    },
    /// A node starts again, without its users.
    Restarts {
        host: u16,
    },
    Passes {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..HOSTS, 0..PAIRS.len(), 0..2_usize)
            .prop_map(|(host, pair, which)| Step::Comes { host, pair, which }),
        5 => any::<(usize, bool)>().prop_map(|(session, lost)| Step::Goes { session, lost }),
        1 => (0..HOSTS).prop_map(|host| Step::Restarts { host }),
        3 => (0..300_u64).prop_map(|ms| Step::Passes { ms }),
    ]
}

fn apply(world: &mut World, census: &mut Census, step: &Step) {
    match *step {
        Step::Comes { host, pair, which } => {
            census.hello(world, HostId(host), PAIRS[pair][which]);
        }
        Step::Goes { session, lost } => {
            let sessions = census.sessions(world);
            let closing = if lost { Closing::Lost } else { Closing::Gone };
            if let Some((client, _)) = sessions.get(session % sessions.len().max(1)) {
                census.close(world, *client, closing);
            }
        }
        Step::Restarts { host } => {
            world.crash(HostId(host));
            world.start(HostId(host));
        }
        Step::Passes { ms } => world.run_for(Duration::from_millis(ms)),
    }
}

/// Whether every table shows a key at a node exactly while one of the two who share it is there.
fn is_right(world: &World, census: &Census) -> bool {
    PAIRS.iter().all(|[one, other]| {
        let hosts = &census.hosts_of(world, one) | &census.hosts_of(world, other);
        let nodes: BTreeSet<NodeId> = hosts.into_iter().map(|host| world.node(host)).collect();
        let shows = |user| {
            world
                .hosts()
                .all(|by| route(world, by, user).unwrap().0 == nodes)
        };
        shows(one) && shows(other)
    })
}

proptest! {
    #![proptest_config(tests::cases(60))]

    #[test]
    fn a_shared_key_is_shown_for_a_node_until_the_last_who_shares_it_has_left(
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut world = Scene::new(seed, HOSTS, &Config::default(), None).world;
        let mut census = Census::default();
        for step in &steps {
            apply(&mut world, &mut census, step);
        }
        let right = world.run_until(HEALED, |world| is_right(world, &census));
        prop_assert!(right, "{}", views(&world));
        world.run_for(Duration::from_secs(5));
        prop_assert!(is_right(&world, &census));
    }
}

#[test]
fn who_shares_a_key_with_somebody_gets_nothing_of_theirs() {
    let [one, other] = PAIRS[0];
    let hasher = RouteHasher::new(&ROUTE_KEY);
    assert_eq!(
        hasher.user(&World::user(one)),
        hasher.user(&World::user(other))
    );
    let mut world = World::chain(1, 3);
    settle(&mut world, &[0, 1, 2].map(HostId));
    let ann = world.hello(HostId(0), "@ann", None);
    let named = world.hello(HostId(1), one, None);
    let unnamed = world.hello(HostId(2), other, None);
    world.run_for(Duration::from_secs(1));
    say(&mut world, ann, one, "1");
    world.run_for(Duration::from_secs(5));
    assert_eq!(bodies(&world, named), ["1"]);
    assert_eq!(world.pushes(unnamed).count(), 0);
}
