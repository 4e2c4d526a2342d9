//! A mesh that grows: nodes meet, users come, and every node has to know each of them.

use std::fmt;
use std::time::Duration;

use mesh::id::Address;
use mesh::proto::Config;
use mesh::proto::membership::State;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::json;

use crate::network;
use crate::world::{HostId, World};

/// How long nodes may take to meet, and one user to be known everywhere.
const BOUND: Duration = Duration::from_secs(75);

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// How many nodes, each pointed at the one before it.
    pub nodes: u16,
    /// How many users come.
    pub users: u32,
    /// The time in which they come.
    pub duration: Duration,
    /// One-way latency of a frame, least and most.
    pub latency: (Duration, Duration),
    /// Decides everything that is left to chance.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    growth: Growth,
    /// From the start until every node had a link to every other; `None`: never.
    pub met: Option<Duration>,
    /// For each user, from `hello` until the last node knew it, sorted; fewer than the users: the rest
    /// were not known everywhere within the bound.
    pub known: Vec<Duration>,
    /// Encoded bytes that each node sent per second while no user came, on average.
    pub idle_bytes: f64,
    /// The same while users came.
    pub busy_bytes: f64,
}

/// Runs it. `progress` is told a line now and then.
pub fn run(growth: &Growth, mut progress: impl FnMut(&str)) -> Report {
    let mut world = World::new(
        growth.seed,
        network::Config {
            latency: growth.latency,
            ..network::Config::default()
        },
    );
    for n in 0..growth.nodes {
        let contacts: Vec<HostId> = n.checked_sub(1).map(HostId).into_iter().collect();
        let host = world.add_host(Config::default(), &contacts);
        world.start(host);
    }
    let met = world
        .run_until(BOUND, have_met)
        .then(|| Duration::from_micros(world.now().0));
    progress("nodes have met");
    let nodes = f64::from(growth.nodes);
    let rest = Duration::from_secs(5);
    let before = world.traffic().total().bytes;
    world.run_for(rest);
    let idle_bytes = (world.traffic().total().bytes - before) as f64 / nodes / rest.as_secs_f64();

    let mut rng = ChaCha8Rng::seed_from_u64(growth.seed);
    let gap = growth.duration / growth.users.max(1);
    let (before, started) = (world.traffic().total().bytes, world.now());
    let mut known = Vec::new();
    for user in 0..growth.users {
        let host = HostId(
            u16::try_from(rng.next_u64() % u64::from(growth.nodes)).expect("a number of a node"),
        );
        let name = format!("@user{user}");
        let address: Address = name.parse().expect("a valid name");
        let came = world.now();
        world.hello(host, &name, None);
        if world.run_until(BOUND, |world| is_known(world, &address)) {
            known.push(world.now().since(came));
        }
        world.run_for(gap.saturating_sub(world.now().since(came)));
        progress(&format!("{} of {} users", user + 1, growth.users));
    }
    let busy = world.now().since(started).as_secs_f64();
    let busy_bytes = if busy > 0.0 {
        (world.traffic().total().bytes - before) as f64 / nodes / busy
    } else {
        0.0
    };
    known.sort();
    Report {
        growth: growth.clone(),
        met,
        known,
        idle_bytes,
        busy_bytes,
    }
}

fn have_met(world: &World) -> bool {
    let everybody = world.hosts().count();
    world.hosts().all(|host| {
        let members = world
            .mesh(host)
            .map_or_else(Vec::new, mesh::proto::Mesh::members);
        let linked = |member: &mesh::proto::membership::Member| {
            member.state == State::Alive && (member.link || member.record.node == world.node(host))
        };
        members.iter().filter(|(member, _)| linked(member)).count() == everybody
    })
}

fn is_known(world: &World, address: &Address) -> bool {
    world.hosts().all(|host| {
        world
            .mesh(host)
            .is_some_and(|mesh| !mesh.route(world.clock(host), address).0.is_empty())
    })
}

impl Report {
    /// Whether all nodes met and every user was known everywhere.
    pub fn converged(&self) -> bool {
        self.met.is_some() && self.known.len() == self.growth.users as usize
    }

    /// The time within which that share of the users was known everywhere.
    fn quantile(&self, share: f64) -> Option<Duration> {
        let last = self.known.len().checked_sub(1)?;
        self.known
            .get((share * last as f64).round() as usize)
            .copied()
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        let ms = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64() * 1e3);
        json!({
            "nodes": self.growth.nodes,
            "users": self.growth.users,
            "seed": self.growth.seed,
            "met_ms": ms(self.met),
            "known_ms": {"p50": ms(self.quantile(0.5)), "p99": ms(self.quantile(0.99)), "max": ms(self.quantile(1.0))},
            "unknown": self.growth.users as usize - self.known.len(),
            "bytes_per_node_and_second": {"idle": self.idle_bytes.round(), "busy": self.busy_bytes.round()},
        })
        .to_string()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Option<Duration>| match duration {
            Some(duration) => format!("{:.2} ms", duration.as_secs_f64() * 1e3),
            None => "never".to_owned(),
        };
        writeln!(
            f,
            "seed {}: {} nodes, {} users",
            self.growth.seed, self.growth.nodes, self.growth.users
        )?;
        writeln!(f, "all nodes linked after          {}", ms(self.met))?;
        writeln!(
            f,
            "a user known everywhere, p50    {}",
            ms(self.quantile(0.5))
        )?;
        writeln!(
            f,
            "                         p99    {}",
            ms(self.quantile(0.99))
        )?;
        writeln!(
            f,
            "                         max    {}",
            ms(self.quantile(1.0))
        )?;
        writeln!(
            f,
            "users not known everywhere      {}",
            self.growth.users as usize - self.known.len()
        )?;
        writeln!(f, "bytes per node and second, idle {:.0}", self.idle_bytes)?;
        writeln!(f, "                           busy {:.0}", self.busy_bytes)
    }
}
