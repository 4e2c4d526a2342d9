//! Scenarios: what happens in a run and when, from a TOML file or from those that come with the program.

mod file;

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use crate::options::Wishes;
use crate::seed::Probability;

/// The longest scenario file, bytes.
pub const FILE_MAX: u64 = 1024 * 1024;

/// The most steps of a scenario.
pub const STEPS_MAX: usize = 10_000;

/// The scenarios that come with the program: name and file.
pub const BUILT_IN: [(&str, &str); 9] = [
    ("idle", include_str!("../scenarios/idle.toml")),
    ("quiet", include_str!("../scenarios/quiet.toml")),
    ("flash-crowd", include_str!("../scenarios/flash-crowd.toml")),
    (
        "rolling-restart",
        include_str!("../scenarios/rolling-restart.toml"),
    ),
    ("split-brain", include_str!("../scenarios/split-brain.toml")),
    (
        "flapping-link",
        include_str!("../scenarios/flapping-link.toml"),
    ),
    ("mass-crash", include_str!("../scenarios/mass-crash.toml")),
    ("one-crash", include_str!("../scenarios/one-crash.toml")),
    ("growth", include_str!("../scenarios/growth.toml")),
];

/// A scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name, or its file's.
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// What it wants of a run.
    pub wishes: Wishes,
}

/// Something that happens in a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When, virtual seconds after the nodes have met.
    pub second: u64,
    /// What.
    pub deed: Deed,
}

/// What may happen in a scenario.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// Users that are not online come.
    Come {
        /// Their share.
        share: Probability,
        /// In this time.
        within: Duration,
    },
    /// Users that are online go.
    Go {
        /// Their share.
        share: Probability,
        /// In this time.
        within: Duration,
    },
    /// All nodes that have never run start, one after the other.
    Grow {
        /// In this time.
        within: Duration,
    },
    /// Nodes are killed, and start again.
    Crash {
        /// Their share.
        share: Probability,
        /// After this time.
        lasting: Duration,
    },
    /// Nodes lose their power, of which their peers are not told, and start again.
    PowerOff {
        /// Their share.
        share: Probability,
        /// After this time.
        lasting: Duration,
    },
    /// Each node in turn is told to stop, and started again once it has.
    Restart {
        /// From one to the next.
        every: Duration,
    },
    /// A share of the nodes cannot reach the others.
    Split {
        /// Their share.
        share: Probability,
        /// For so long.
        lasting: Duration,
    },
    /// The link between the first two nodes goes and comes back.
    Flap {
        /// So often.
        times: u32,
        /// For so long down, and as long up.
        every: Duration,
    },
}

/// Why there is no scenario: a sentence that says where and what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioError(String);

impl Scenario {
    /// The one of that name, or in that file.
    ///
    /// # Errors
    /// Where there is none, or it is wrong.
    pub fn find(name_or_file: &str) -> Result<Self, ScenarioError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == name_or_file) {
            return Self::parse(name, text);
        }
        let path = Path::new(name_or_file);
        let is_file = path.extension().is_some_and(|end| end == "toml") || path.is_file();
        if !is_file {
            let names: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            return Err(ScenarioError(format!(
                "no scenario is called {name_or_file:?}: expected one of {}, or a file that ends in .toml",
                names.join(", ")
            )));
        }
        let text = read(path).map_err(|why| ScenarioError(format!("{name_or_file}: {why}")))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text)
            .map_err(|ScenarioError(why)| ScenarioError(format!("{name_or_file}: {why}")))
    }

    /// From the text of a file.
    ///
    /// # Errors
    /// Where it is no scenario: line and column, and what is expected.
    pub fn parse(name: &str, text: &str) -> Result<Self, ScenarioError> {
        file::parse(text)
            .map(|(about, wishes)| Self {
                name: name.to_owned(),
                about,
                wishes,
            })
            .map_err(ScenarioError)
    }
}

fn read(path: &Path) -> Result<String, String> {
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("longer than {FILE_MAX} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("byte {at}: expected UTF-8 text")
    })
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScenarioError {}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |duration: &Duration| format!("{} s", duration.as_secs_f64());
        match &self.deed {
            Deed::Come { share, within } => write!(f, "{share} of users come within {}", s(within)),
            Deed::Go { share, within } => write!(f, "{share} of users go within {}", s(within)),
            Deed::Grow { within } => write!(f, "the other nodes start within {}", s(within)),
            Deed::Crash { share, lasting } => {
                write!(f, "{share} of nodes crash for {}", s(lasting))
            }
            Deed::PowerOff { share, lasting } => {
                write!(f, "{share} of nodes lose power for {}", s(lasting))
            }
            Deed::Restart { every } => {
                write!(f, "nodes stop and start, one every {}", s(every))
            }
            Deed::Split { share, lasting } => {
                write!(f, "{share} of nodes are cut off for {}", s(lasting))
            }
            Deed::Flap { times, every } => {
                write!(
                    f,
                    "a link goes {times} times, {} down and as long up",
                    s(every)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
