//! Whoever no fault touches notices nothing.
//!
//! One host's view of another that was right once stays right until a fault touches either of them or
//! what is between them, whatever happens to all others. So no responsive node is ever taken for dead,
//! and every user who is not found is explained by a fault.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh::proto::Config;
use mesh::proto::membership::State;
use sim::world::{HostId, World};

use crate::census::{Census, Patience};
use crate::expect::state;
use crate::faults::Scene;

/// A round trip on a link that is not worn.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// The pairs of hosts of which the first one's view of the second must stay right.
#[derive(Debug, Default)]
pub struct Bystanders {
    pairs: BTreeSet<(HostId, HostId)>,
}

impl Bystanders {
    /// Looks at every pair: what is wrong between two whom no fault has touched, in words.
    pub fn look(&mut self, scene: &Scene, census: &Census, config: &Config) -> Option<String> {
        let hosts = scene.hosts();
        let pairs = hosts
            .iter()
            .flat_map(|a| hosts.iter().map(move |b| (*a, *b)));
        for pair in pairs.filter(|(a, b)| a != b) {
            let calm = scene
                .clear_since(pair.0, pair.1)
                .is_some_and(|since| since + echo(config) < scene.world.now());
            if !calm {
                self.pairs.remove(&pair);
                continue;
            }
            let worn = scene.is_worn(pair.0, pair.1);
            let patience = Patience {
                prompt: prompt(config, worn),
                grace: config.chat.grace,
                detours: worn,
            };
            let wrong = wrong(&scene.world, pair, worn)
                .or_else(|| census.first_error(&scene.world, pair, patience));
            match wrong {
                Some(wrong) if self.pairs.contains(&pair) => return Some(wrong),
                Some(_) => {}
                None => {
                    self.pairs.insert(pair);
                }
            }
        }
        None
    }
}

/// What one host has wrong of another's node. Through worn links it may doubt, but not bury it.
fn wrong(world: &World, (seen_by, of): (HostId, HostId), worn: bool) -> Option<String> {
    let state = state(world, seen_by, of);
    let right = match state {
        Some(State::Alive) => true,
        Some(State::Suspect) => worn,
        Some(State::Down | State::Left) | None => false,
    };
    (!right).then(|| format!("{seen_by:?} sees {of:?} {state:?} at {:?}", world.now()))
}

/// For how long a fault that is over may still show.
fn echo(config: &Config) -> Duration {
    config.membership.suspicion + 8 * config.membership.heartbeat
}

/// How soon a change is known. Where frames are lost, heartbeats tell of it, and each answer may be
/// lost again.
fn prompt(config: &Config, worn: bool) -> Duration {
    let prompt = 2 * config.routes.window_max + 2 * ROUND_TRIP;
    let again = 10 * (config.membership.heartbeat + config.routes.retry);
    if worn { prompt + again } else { prompt }
}
