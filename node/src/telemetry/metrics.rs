//! Metrics in the Prometheus text format.
//!
//! The layers count in plain numbers under plain names; this module adds prefix, type and sentence.
//! The first word of a name is the layer: `membership_…`, `routes_…`, `streams_…`. One that the
//! [tables](TABLES) do not know is shown all the same: nothing that was counted stays hidden because
//! a sentence is missing.

mod process;
mod table;

use std::collections::BTreeMap;
use std::fmt::Write as _;

pub use table::TABLES;

/// The `Content-Type` of what [`Exposition::render`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises, from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Without the prefix; a counter's name ends in `_total`.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What is counted, in what unit, and what to think of it when it rises.
    pub help: &'static str,
}

/// Before every name but those of [`STANDARD`].
pub const PREFIX: &str = "chinwag_";

/// Names that all programs share begin with it and have no prefix.
pub const STANDARD: &str = "process_";

/// A set of samples on its way to text.
#[derive(Debug, Default)]
pub struct Exposition {
    families: BTreeMap<String, Vec<String>>,
}

impl Exposition {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one sample; `labels` are name and value.
    pub fn push(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, text)| format!("{label}=\"{}\"", escape_label(text)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        self.line(name, &labels, &value.to_string());
    }

    /// Adds counters as the layers give them: a name may end in its labels, `{lane="data"}`, and one
    /// with `_us` is in whole microseconds and shown in seconds.
    pub fn push_counters(&mut self, counters: impl IntoIterator<Item = (&'static str, u64)>) {
        for (name, value) in counters {
            let (name, labels) = name.split_at(name.find('{').unwrap_or(name.len()));
            match in_seconds(name) {
                Some(seconds) => self.line(&seconds, labels, &(value as f64 / 1e6).to_string()),
                None => self.line(name, labels, &value.to_string()),
            }
        }
    }

    /// Adds what the system knows of this process.
    pub fn push_process(&mut self, started_unix_ms: u64) {
        self.push(
            "process_start_time_seconds",
            &[],
            started_unix_ms as f64 / 1e3,
        );
        for (name, value) in process::samples() {
            self.push(name, &[], value);
        }
    }

    fn line(&mut self, name: &str, labels: &str, value: &str) {
        let line = format!("{}{name}{labels} {value}\n", prefix(name));
        self.families.entry(name.to_owned()).or_default().push(line);
    }

    /// The text, families in the order of their names, each with its sentence and type.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, lines) in &self.families {
            let known = table::find(name);
            let is_counter =
                known.map_or_else(|| name.ends_with("_total"), |m| m.kind == Kind::Counter);
            let kind = if is_counter { "counter" } else { "gauge" };
            let help = known.map_or("", |metric| metric.help);
            let full = format!("{}{name}", prefix(name));
            writeln!(text, "# HELP {full} {}", escape_help(help)).expect("a String takes any text");
            writeln!(text, "# TYPE {full} {kind}").expect("a String takes any text");
            text.extend(lines.iter().map(String::as_str));
        }
        text
    }
}

fn prefix(name: &str) -> &'static str {
    if name.starts_with(STANDARD) {
        ""
    } else {
        PREFIX
    }
}

/// The name in seconds of what is counted in microseconds.
fn in_seconds(name: &str) -> Option<String> {
    let (stem, end) = match name.strip_suffix("_total") {
        Some(stem) => (stem, "_total"),
        None => (name, ""),
    };
    Some(format!("{}_seconds{end}", stem.strip_suffix("_us")?))
}

fn escape_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn escape_label(text: &str) -> String {
    escape_help(text).replace('"', "\\\"")
}

#[cfg(test)]
mod tests;
