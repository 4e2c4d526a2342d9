//! Gives merged texts their types, and remembers every mistake on the way.

use std::fmt;

use super::layers::{Given, Layers, Origin, Sources};
use super::settings::{SETTINGS, Setting};
use super::{Config, InForce, Loaded};

/// What is wrong with a value, said by its parser.
pub(super) struct Wrong {
    /// What it is instead.
    pub(super) what: String,
    /// What it ought to be.
    pub(super) expected: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            expected: expected.into(),
        }
    }
}

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The flag, the variable, or the key and its file.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub expected: String,
}

impl Mistake {
    pub(super) fn new(
        place: impl Into<String>,
        what: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
            expected: expected.into(),
        }
    }

    pub(super) fn at(self, place: String) -> Self {
        Self { place, ..self }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}; expected: {}",
            self.place, self.what, self.expected
        )
    }
}

/// All that is wrong with a configuration: at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} mistake{plural} in the configuration:", self.0.len())?;
        for mistake in &self.0 {
            write!(f, "\n  {mistake}")?;
        }
        f.write_str("\n`chinwag run --help` explains every setting.")
    }
}

/// Reads settings one by one.
pub(super) struct Reader {
    layers: Layers,
    mistakes: Vec<Mistake>,
    in_force: Vec<InForce>,
}

impl Reader {
    pub(super) fn new(sources: &Sources) -> Self {
        let mut mistakes = Vec::new();
        let layers = Layers::merge(sources, &mut mistakes);
        Self {
            layers,
            mistakes,
            in_force: Vec::new(),
        }
    }

    /// A setting that the table gives a default. `None`: a mistake.
    pub(super) fn one<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let default = setting(name).default.expect("a default in the table");
        self.one_or(name, default, parse)
    }

    /// A setting whose default depends on others. `None`: a mistake.
    pub(super) fn one_or<T>(
        &mut self,
        name: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let given = self.given(name).unwrap_or_else(|| Given {
            values: vec![default.to_owned()],
            origin: Origin::Default,
        });
        self.parse_all(name, given, parse).pop()
    }

    /// A setting that may be unset.
    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        self.list(name, parse).pop()
    }

    /// A setting with any number of values; wrong ones are left out.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let given = self.given(name).unwrap_or(Given {
            values: Vec::new(),
            origin: Origin::Default,
        });
        self.parse_all(name, given, parse)
    }

    /// A setting that is used elsewhere, for the list of those in force.
    pub(super) fn note(&mut self, name: &'static str) {
        self.list(name, |text| Ok(text.to_owned()));
    }

    fn parse_all<T>(
        &mut self,
        name: &'static str,
        given: Given,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let mut parsed = Vec::new();
        for text in &given.values {
            match parse(text.trim()) {
                Ok(value) => parsed.push(value),
                Err(wrong) => {
                    let place = given.origin.place(setting(name));
                    self.mistake(place, wrong.what, wrong.expected);
                }
            }
        }
        self.in_force.push(InForce {
            name,
            values: given.values,
            origin: given.origin,
        });
        parsed
    }

    fn given(&self, name: &'static str) -> Option<Given> {
        self.layers.given.get(name).cloned()
    }

    /// The mesh key as the environment holds it.
    pub(super) fn mesh_key(&self) -> Option<String> {
        self.layers.mesh_key.clone()
    }

    /// Who set it.
    pub(super) fn origin(&self, name: &'static str) -> &Origin {
        let given = self.layers.given.get(name);
        given.map_or(&Origin::Default, |given| &given.origin)
    }

    /// Where a person finds its value.
    pub(super) fn place(&self, name: &'static str) -> String {
        self.origin(name).place(setting(name))
    }

    /// Something is wrong.
    pub(super) fn mistake(
        &mut self,
        place: impl Into<String>,
        what: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.mistakes.push(Mistake::new(place, what, expected));
    }

    /// The configuration, or everything that is wrong with it.
    pub(super) fn finish(mut self, config: Option<Config>) -> Result<Loaded, Mistakes> {
        let order = |name| SETTINGS.iter().position(|setting| setting.name == name);
        self.in_force.sort_by_key(|setting| order(setting.name));
        match config {
            Some(config) if self.mistakes.is_empty() => Ok(Loaded {
                config,
                in_force: self.in_force,
            }),
            _ => Err(Mistakes(self.mistakes)),
        }
    }
}

fn setting(name: &'static str) -> &'static Setting {
    Setting::named(name).expect("every setting that is read is in the table")
}
