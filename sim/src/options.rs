//! All that decides a run: what was wished for by flags and by a scenario, and the rest drawn from the
//! seed, so that runs of many seeds differ in everything that matters.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::crowd::Habits;
use crate::misfortune::Rates;
use crate::network;
use crate::report::Setting;
use crate::scenario::Step;
use crate::seed::{Chance, Probability};

/// The most nodes: above the full mesh a join is refused.
pub const NODES_MAX: u16 = 256;

/// The most users: what a machine of 16 GB simulates.
pub const USERS_MAX: u32 = 1_000_000;

/// The longest run, virtual seconds: a week.
pub const SECONDS_MAX: u64 = 7 * 86_400;

/// The share of users that are online at the start where nothing was wished.
const ONLINE: Probability = Probability::percent(80);

/// How much goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing but what was asked for.
    None,
    /// What happens in a good data centre in a year.
    Light,
    /// What nobody wishes to see, all of it within a minute.
    Heavy,
}

impl Level {
    /// All levels.
    pub const ALL: [Self; 3] = [Self::None, Self::Light, Self::Heavy];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Light => "light",
            Self::Heavy => "heavy",
        }
    }
}

/// What somebody wants of a run; what is `None` is left to the seed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wishes {
    /// How many nodes there are in the end.
    pub nodes: Option<u16>,
    /// How many of them run at the start; the others are started by a scenario.
    pub first: Option<u16>,
    /// How many users there are, online or not.
    pub users: Option<u32>,
    /// For how many virtual seconds users come and go and faults happen.
    pub seconds: Option<u64>,
    /// One-way latency of a frame, least and most.
    pub latency: Option<(Duration, Duration)>,
    /// The share of frames that are lost.
    pub loss: Option<Probability>,
    /// How many frames a loss takes on average.
    pub burst: Option<u32>,
    /// The share of frames that arrive twice.
    pub duplicate: Option<Probability>,
    /// The share of frames that are overtaken.
    pub reorder: Option<Probability>,
    /// Bytes per second from any host to any other.
    pub rate: Option<u64>,
    /// How much goes wrong.
    pub faults: Option<Level>,
    /// The share of users that are online at the start.
    pub online: Option<Probability>,
    /// The mean time between two changes of a user.
    pub stay: Option<Duration>,
    /// What happens when.
    pub steps: Vec<Step>,
}

impl Wishes {
    /// These wishes, and those others where these are silent.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.or(other.nodes),
            first: self.first.or(other.first),
            users: self.users.or(other.users),
            seconds: self.seconds.or(other.seconds),
            latency: self.latency.or(other.latency),
            loss: self.loss.or(other.loss),
            burst: self.burst.or(other.burst),
            duplicate: self.duplicate.or(other.duplicate),
            reorder: self.reorder.or(other.reorder),
            rate: self.rate.or(other.rate),
            faults: self.faults.or(other.faults),
            online: self.online.or(other.online),
            stay: self.stay.or(other.stay),
            steps: if self.steps.is_empty() {
                other.steps
            } else {
                self.steps
            },
        }
    }
}

/// Everything that decides a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The seed of all chance.
    pub seed: u64,
    /// The scenario's name.
    pub scenario: Option<String>,
    /// How many nodes there are in the end.
    pub nodes: u16,
    /// How many of them run at the start.
    pub first: u16,
    /// How many users there are.
    pub users: u32,
    /// For how many virtual seconds users come and go and faults happen.
    pub seconds: u64,
    /// How much goes wrong.
    pub faults: Level,
    /// The network while there are faults.
    pub network: network::Config,
    /// How often what goes wrong.
    pub rates: Rates,
    /// What users do.
    pub habits: Habits,
    /// What happens when.
    pub steps: Vec<Step>,
}

impl Options {
    /// What was wished for, and the rest drawn from the seed.
    pub fn draw(seed: u64, scenario: Option<String>, wishes: Wishes) -> Self {
        let mut chance = Chance::new(seed, "options");
        // Each is drawn whether it is used or not: a wish does not shift the others.
        let nodes = u16::try_from(chance.within((3, 12))).expect("12 at most");
        let users = u32::try_from(chance.within((10, 200))).expect("200 at most");
        let seconds = chance.within((20, 60));
        let network = draw_network(wishes.faults.unwrap_or(Level::Light), &mut chance);
        let stay = Duration::from_secs(chance.within((5, 60)));
        let faults = wishes.faults.unwrap_or(Level::Light);
        let nodes = wishes.nodes.unwrap_or(nodes);
        let latency = wishes.latency.unwrap_or(network.latency);
        Self {
            seed,
            scenario,
            nodes,
            first: wishes.first.unwrap_or(nodes).clamp(1, nodes),
            users: wishes.users.unwrap_or(users),
            seconds: wishes.seconds.unwrap_or(seconds),
            faults,
            network: network::Config {
                latency,
                loss: wishes.loss.unwrap_or(network.loss),
                burst: wishes.burst.unwrap_or(network.burst),
                duplicate: wishes.duplicate.unwrap_or(network.duplicate),
                reorder: wishes.reorder.unwrap_or(network.reorder),
                late: network.late.max(latency.1),
                rate: wishes.rate.or(network.rate),
            },
            rates: Rates::draw(faults, &mut Chance::new(seed, "rates")),
            habits: Habits {
                online: wishes.online.unwrap_or(ONLINE),
                stay: wishes.stay.unwrap_or(stay),
            },
            steps: wishes.steps,
        }
    }

    /// In full, as a report shows them.
    pub fn settings(&self) -> Vec<Setting> {
        let network = &self.network;
        let mut all = vec![Setting::new("seed", self.seed)];
        if let Some(scenario) = &self.scenario {
            all.push(Setting::new("scenario", scenario));
        }
        all.extend([
            Setting::new("nodes", self.nodes),
            Setting::new("first", self.first),
            Setting::new("users", self.users),
            Setting::new("seconds", self.seconds),
            Setting::new("latency-ms", Range(network.latency)),
            Setting::new("loss", network.loss),
            Setting::new("burst", network.burst),
            Setting::new("duplicate", network.duplicate),
            Setting::new("reorder", network.reorder),
            Setting::new(
                "late",
                format!("{} ms", network.late.as_micros() as f64 / 1e3),
            ),
            Setting::new(
                "rate",
                network
                    .rate
                    .map_or_else(|| "none".to_owned(), |rate| format!("{rate} B/s")),
            ),
            Setting::new("online", self.habits.online),
            Setting::new("stay", format!("{} s", self.habits.stay.as_secs_f64())),
            Setting::new("faults", self.faults.name()),
        ]);
        let rates = self.rates.all();
        all.extend(rates.map(|(fault, every)| {
            let every = format!("every {} s", every.as_secs());
            Setting::new(&format!("fault {}", fault.name()), every)
        }));
        let steps = self.steps.iter();
        all.extend(steps.map(|step| Setting::new(&format!("at {} s", step.second), step)));
        all
    }
}

/// What the network is like where nothing was wished.
fn draw_network(level: Level, chance: &mut Chance) -> network::Config {
    let ms = |least, most| (Duration::from_micros(least), Duration::from_micros(most));
    let latencies = [ms(200, 500), ms(500, 2_000), ms(10_000, 50_000)];
    let latency = *chance.pick(&latencies).expect("there are some");
    let (most, odd) = match level {
        Level::None => (0, 0),
        Level::Light => (10_000, 5_000),
        Level::Heavy => (100_000, 50_000),
    };
    let mut share = |most: u64| {
        let drawn = u32::try_from(chance.within((0, most))).expect("a share of a million");
        // Half of all runs are free of it.
        let free = chance.happens(Probability::percent(50));
        Probability::millionths(if free { 0 } else { drawn })
    };
    let (loss, duplicate, reorder) = (share(most), share(odd), share(odd));
    let burst = u32::try_from(chance.within((1, 8))).expect("8 at most");
    network::Config {
        latency,
        loss,
        burst,
        duplicate,
        reorder,
        ..network::Config::default()
    }
}

/// A range of durations in milliseconds, as it is written on the command line.
#[derive(Debug, Clone, Copy)]
pub struct Range(pub (Duration, Duration));

impl Range {
    /// From `A..B` in milliseconds. `None` where it is none, or above ten seconds.
    pub fn parse(text: &str) -> Option<(Duration, Duration)> {
        let (least, most) = text.split_once("..")?;
        let ms = |text: &str| {
            let ms = text.trim().parse::<f64>().ok()?;
            let valid = (0.0..=10_000.0).contains(&ms);
            valid.then(|| Duration::from_micros((ms * 1e3).round() as u64))
        };
        let range = (ms(least)?, ms(most)?);
        (range.0 <= range.1).then_some(range)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |duration: Duration| duration.as_micros() as f64 / 1e3;
        write!(f, "{}..{}", ms(self.0.0), ms(self.0.1))
    }
}

#[cfg(test)]
mod tests;
