//! What was typed, where: the layers of text that a configuration is merged from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::reader::Mistake;
use super::settings::{MESH_KEY_VARIABLE, PREFIX, SETTINGS, Setting, Shape};

/// Everything that a configuration is made from but the files it names.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Flags as they were given: name without dashes, values in order.
    pub flags: BTreeMap<&'static str, Vec<String>>,
    /// The process's environment.
    pub environment: Vec<(String, String)>,
    /// Standard error is a terminal.
    pub terminal: bool,
}

/// Who set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody.
    Default,
    /// The file.
    File(PathBuf),
    /// The environment.
    Environment,
    /// A flag.
    Flag,
}

impl Origin {
    /// Where a person finds the value of this setting: what a mistake is named after.
    pub(super) fn place(&self, setting: &Setting) -> String {
        match self {
            Self::Default | Self::Flag => format!("--{}", setting.name),
            Self::Environment => setting.variable(),
            Self::File(path) => format!("{} in {}", setting.key(), path.display()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// The values of one setting and who gave them.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) values: Vec<String>,
    pub(super) origin: Origin,
}

/// All layers merged: at most one entry for each setting.
#[derive(Debug, Default)]
pub(super) struct Layers {
    pub(super) given: BTreeMap<&'static str, Given>,
    /// The mesh key from the environment.
    pub(super) mesh_key: Option<String>,
}

impl Layers {
    pub(super) fn merge(sources: &Sources, mistakes: &mut Vec<Mistake>) -> Self {
        let mut layers = Self::default();
        for (name, values) in &sources.flags {
            layers.add(name, values.clone(), Origin::Flag);
        }
        layers.add_environment(&sources.environment, mistakes);
        let file = layers.given.get("config").and_then(|file| {
            let path = PathBuf::from(file.values.first()?);
            Some((path, file.origin.clone()))
        });
        if let Some((path, named_by)) = file {
            layers.add_file(path, &named_by, mistakes);
        }
        layers
    }

    /// Keeps what a stronger layer has said.
    fn add(&mut self, name: &'static str, values: Vec<String>, origin: Origin) {
        self.given.entry(name).or_insert(Given { values, origin });
    }

    fn add_environment(&mut self, environment: &[(String, String)], mistakes: &mut Vec<Mistake>) {
        for (variable, text) in environment {
            // An empty variable is how scripts and manifests say "not set".
            if !variable.starts_with(PREFIX) || text.is_empty() {
                continue;
            }
            if variable == MESH_KEY_VARIABLE {
                self.mesh_key = Some(text.clone());
                continue;
            }
            match SETTINGS.iter().find(|s| s.variable() == *variable) {
                Some(setting) => {
                    self.add(setting.name, split(setting, text), Origin::Environment);
                }
                None => mistakes.extend(misspelt(variable)),
            }
        }
    }

    fn add_file(&mut self, path: PathBuf, named_by: &Origin, mistakes: &mut Vec<Mistake>) {
        let setting = Setting::named("config").expect("in the table");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("{} cannot be read: {error}", path.display());
                mistakes.push(Mistake::new(
                    named_by.place(setting),
                    what,
                    "a readable TOML file",
                ));
                return;
            }
        };
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                let what = format!("not TOML: {}", error.to_string().trim_end());
                mistakes.push(Mistake::new(
                    path.display().to_string(),
                    what,
                    "key = value lines",
                ));
                return;
            }
        };
        for (key, value) in &table {
            let known = SETTINGS
                .iter()
                .find(|s| s.name != "config" && s.key() == *key);
            let Some(setting) = known else {
                let place = format!("{key} in {}", path.display());
                mistakes.push(unknown_key(key).at(place));
                continue;
            };
            let origin = Origin::File(path.clone());
            match from_toml(setting, value) {
                Ok(values) => self.add(setting.name, values, origin),
                Err(expected) => mistakes.push(Mistake::new(
                    origin.place(setting),
                    format!("has a value of type {}", value.type_str()),
                    expected,
                )),
            }
        }
    }
}

fn split(setting: &Setting, text: &str) -> Vec<String> {
    match setting.shape {
        Shape::List => text
            .split(',')
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect(),
        Shape::One | Shape::Switch => vec![text.to_owned()],
    }
}

fn from_toml(setting: &Setting, value: &toml::Value) -> Result<Vec<String>, String> {
    let example = setting.default.unwrap_or("…");
    match (setting.shape, value) {
        (Shape::List, toml::Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| format!("an array of texts: {} = [\"…\", \"…\"]", setting.key())),
        (Shape::List, _) => Err(format!("an array: {} = [\"…\"]", setting.key())),
        (Shape::Switch, toml::Value::Boolean(on)) => Ok(vec![on.to_string()]),
        (Shape::Switch, _) => Err("true or false".to_owned()),
        (Shape::One, toml::Value::String(text)) => Ok(vec![text.clone()]),
        (Shape::One, toml::Value::Integer(number)) => Ok(vec![number.to_string()]),
        (Shape::One, toml::Value::Float(number)) => Ok(vec![number.to_string()]),
        (Shape::One, _) => Err(format!("one value: {} = \"{example}\"", setting.key())),
    }
}

/// Letters by which a name may differ from that of a setting and pass for a slip: one wrong, one too
/// many, or two that changed places.
const SLIP: usize = 2;

/// A variable that is a setting's but for a slip. Any other of this prefix is none of the node's:
/// Kubernetes makes up such ones in every pod beside a service named `chinwag`, and scripts have their
/// own.
fn misspelt(variable: &str) -> Option<Mistake> {
    let known = nearest(variable, SETTINGS.iter().map(Setting::variable))?;
    Some(Mistake::new(
        variable.to_owned(),
        "there is no such variable",
        format!("perhaps {known}"),
    ))
}

fn unknown_key(key: &str) -> Mistake {
    let expected = match nearest(key, SETTINGS.iter().map(Setting::key)) {
        Some(known) => format!("perhaps {known}"),
        None => "one of those that chinwag run --help lists".to_owned(),
    };
    Mistake::new(key.to_owned(), "there is no such key", expected)
}

fn nearest(name: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let near = names.map(|known| (distance(name, &known), known)).min()?;
    (near.0 <= SLIP).then_some(near.1)
}

/// Levenshtein's distance: how many characters to change, insert or remove.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
