//! What came of a simulated run: for people as a page, for programs as JSON, and compared with another.
//!
//! A runner fills a [`Report`]; nothing in it is measured here. Everything is whole numbers of
//! microseconds, bytes and pieces, and all shares are worked out in whole numbers too, so that one run
//! gives one report, byte for byte, on any machine.
//!
//! | module | what |
//! | --- | --- |
//! | [`durations`], [`traffic`], [`timeline`] | what is filled |
//! | [`figures`] | the numbers by name, with unit and direction: read by page and comparison alike |
//! | `page`, `charts`, `plot`, `compare`, `json` | how it is shown |
//! | [`read`] | how it comes back from a file |

mod charts;
mod compare;
pub mod durations;
pub mod figures;
mod json;
mod page;
mod plot;
pub mod read;
#[cfg(test)]
mod tests;
pub mod timeline;
pub mod traffic;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use compare::compare;
use durations::{Durations, micros};
pub use read::ReadError;
use timeline::Timeline;
use traffic::Traffic;

/// The format that this version writes, and the newest that it reads. Raised whenever a field comes,
/// goes or changes its meaning.
pub const FORMAT: u32 = 1;

/// A simulated run and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Always [`FORMAT`].
    pub format: u32,
    /// The version of the program that ran.
    pub version: String,
    /// All that decided the run, in the order in which it is shown.
    pub options: Vec<Setting>,
    /// Whether everything held.
    pub outcome: Outcome,
    /// From each batch of route changes until every node had it.
    pub convergence: Convergence,
    /// From each crash until the last node took the crashed one for down.
    pub detection: Durations,
    /// How often a node that ran was taken for down.
    pub false_deaths: u64,
    /// What crossed the network.
    pub traffic: Traffic,
    /// Copies sent of all batches, over the nodes that awaited each: 1 where each node got each batch
    /// once, less where nodes got the whole set instead.
    pub copies: Ratio,
    /// Bytes of route tables, over all routes in them.
    pub table: Ratio,
    /// The queue that came closest to its bound.
    pub fullest: Option<Fullest>,
    /// How often what happened, by a name that says it: faults, lost frames.
    pub counters: BTreeMap<String, u64>,
    /// How it went, second by second.
    pub timeline: Timeline,
}

/// One option of a run, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// As on the command line, without dashes.
    pub name: String,
    /// With its unit.
    pub value: String,
}

/// Whether everything held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// Every invariant held, and all nodes agreed in the end.
    Converged {
        /// So long after the last fault was healed.
        #[serde(rename = "after_us", with = "micros")]
        after: Duration,
    },
    /// Something happened that must never happen.
    Broken {
        /// The name of what was broken.
        invariant: String,
        /// When, since the start of the run.
        #[serde(rename = "at_us", with = "micros")]
        at: Duration,
        /// On which host, where it is one host's fault.
        host: Option<u16>,
        /// A sentence.
        why: String,
    },
    /// The nodes did not meet, or not agree again, in time.
    Diverged {
        /// The time that they had, from the start or from when everything was healed.
        #[serde(rename = "bound_us", with = "micros")]
        bound: Duration,
        /// What differed then, a sentence each.
        differs: Vec<String>,
    },
}

/// How long batches of route changes took to be everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Convergence {
    /// All batches.
    pub all: Durations,
    /// Those made while there were faults.
    pub faulty: Durations,
    /// Those made after everything was healed.
    pub healed: Durations,
    /// How many were not everywhere when the run ended. They are in none of the above.
    pub unfinished: u64,
}

/// A sum and the number of what it was summed over: a mean that can be compared exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    /// The sum.
    pub total: u64,
    /// Over so many.
    pub of: u64,
}

/// A queue and how full it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fullest {
    /// Which queue.
    pub name: String,
    /// The most that was in it.
    pub length: u64,
    /// The most that may be in it.
    pub bound: u64,
}

impl Report {
    /// A report that has nothing but options and an outcome yet: the runner sets the rest.
    pub fn new(options: Vec<Setting>, outcome: Outcome) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            options,
            outcome,
            convergence: Convergence::default(),
            detection: Durations::default(),
            false_deaths: 0,
            traffic: Traffic::default(),
            copies: Ratio::default(),
            table: Ratio::default(),
            fullest: None,
            counters: BTreeMap::new(),
            timeline: Timeline::default(),
        }
    }

    /// One JSON document that ends with a line break. Each row of a list is one line, so that two
    /// reports can be compared by any tool that compares lines.
    pub fn json(&self) -> String {
        json::pretty(self)
    }
}

impl Setting {
    /// A name and what prints as its value.
    pub fn new(name: &str, value: impl ToString) -> Self {
        Self {
            name: name.to_owned(),
            value: value.to_string(),
        }
    }
}

impl Outcome {
    /// Whether everything held.
    pub fn held(&self) -> bool {
        match self {
            Self::Converged { .. } => true,
            Self::Broken { .. } | Self::Diverged { .. } => false,
        }
    }
}

impl Ratio {
    /// Thousandths of the mean, rounded; `None` of nothing.
    pub fn milli(self) -> Option<u64> {
        per(self.total, self.of, 1_000)
    }
}

/// `amount · scale / of`, rounded half up; `None` where `of` is 0.
fn per(amount: u64, of: u64, scale: u64) -> Option<u64> {
    let (amount, of, scale) = (u128::from(amount), u128::from(of), u128::from(scale));
    let scaled = amount * scale + of / 2;
    let whole = scaled.checked_div(of)?;
    Some(u64::try_from(whole).unwrap_or(u64::MAX))
}
