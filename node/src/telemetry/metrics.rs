//! Metrics in the Prometheus text format.
//!
//! The layers count in plain numbers under plain names; this module adds the prefix, the type and
//! the sentence. A counter that the [table](METRICS) does not know is shown all the same: nothing
//! that was counted stays hidden because a sentence is missing.

mod table;

use std::collections::BTreeMap;
use std::fmt::Write as _;

pub use table::METRICS;

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
    /// A sentence, the unit in it.
    pub help: &'static str,
}

/// Before every name.
pub const PREFIX: &str = "chinwag_";

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
        self.line(name, labels, &value.to_string());
    }

    /// Adds counters as the layers give them.
    pub fn push_counters(&mut self, counters: impl IntoIterator<Item = (&'static str, u64)>) {
        for (name, value) in counters {
            self.line(name, &[], &value.to_string());
        }
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: &str) {
        let mut line = format!("{PREFIX}{name}");
        for (i, (label, text)) in labels.iter().enumerate() {
            let open = if i == 0 { '{' } else { ',' };
            line.push_str(&format!("{open}{label}=\"{}\"", escape_label(text)));
        }
        if !labels.is_empty() {
            line.push('}');
        }
        line.push_str(&format!(" {value}\n"));
        self.families.entry(name.to_owned()).or_default().push(line);
    }

    /// The text, families in the order of their names, each with its sentence and type.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, lines) in &self.families {
            let known = METRICS.binary_search_by(|metric| metric.name.cmp(name));
            let known = known.ok().map(|at| &METRICS[at]);
            let is_counter =
                known.map_or_else(|| name.ends_with("_total"), |m| m.kind == Kind::Counter);
            let kind = if is_counter { "counter" } else { "gauge" };
            let help = known.map_or_else(|| name.replace('_', " "), |m| m.help.to_owned());
            writeln!(text, "# HELP {PREFIX}{name} {}", escape_help(&help))
                .expect("a String takes any text");
            writeln!(text, "# TYPE {PREFIX}{name} {kind}").expect("a String takes any text");
            text.extend(lines.iter().map(String::as_str));
        }
        text
    }
}

fn escape_help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn escape_label(text: &str) -> String {
    escape_help(text).replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_metric_stand_together_under_its_sentence() {
        let mut exposition = Exposition::new();
        exposition.push("members", &[("state", "alive")], 3.0);
        exposition.push_counters([("frames_dropped_total", 7)]);
        exposition.push("members", &[("state", "down")], 1.0);
        assert_eq!(
            exposition.render(),
            "# HELP chinwag_frames_dropped_total frames dropped total\n\
             # TYPE chinwag_frames_dropped_total counter\n\
             chinwag_frames_dropped_total 7\n\
             # HELP chinwag_members Members of the mesh as this node sees them, by state.\n\
             # TYPE chinwag_members gauge\n\
             chinwag_members{state=\"alive\"} 3\n\
             chinwag_members{state=\"down\"} 1\n"
        );
    }

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        let mut exposition = Exposition::new();
        exposition.push("x", &[("a", "q\"\\\n"), ("b", "")], 0.5);
        let text = exposition.render();
        assert!(
            text.ends_with("chinwag_x{a=\"q\\\"\\\\\\n\",b=\"\"} 0.5\n"),
            "{text}"
        );
    }

    #[test]
    fn the_table_can_be_searched_by_name() {
        assert!(METRICS.is_sorted_by(|a, b| a.name < b.name));
    }

    #[test]
    fn a_counter_is_told_by_the_end_of_its_name() {
        for metric in METRICS {
            let says = metric.name.ends_with("_total");
            assert_eq!(says, metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
