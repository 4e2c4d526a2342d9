//! A report as a page: at most [`WIDTH`] columns, no colour.

use std::fmt;

use super::charts;
use super::durations::Quantile;
use super::figures::{Unit, time};
use super::plot::bar;
use super::traffic::Kind;
use super::{Outcome, Report};

/// The widest line, columns.
pub(super) const WIDTH: usize = 100;

/// The longest name or value on a line of its own, characters: more of it is cut off.
const TEXT_MAX: usize = 1_000;

/// Columns for the names in tables.
const NAMES: usize = 32;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "chinwag-sim {}", plain(&self.version))?;
        f.write_str(&wrap(&self.outcome.to_string(), 0))?;
        self.options(f)?;
        self.tables(f)?;
        charts::histogram(f, &self.convergence.all)?;
        self.traffic(f)?;
        charts::timeline(f, &self.timeline)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |duration: &std::time::Duration| {
            time(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
        };
        match self {
            Self::Converged { after } => {
                let after = us(after);
                write!(
                    f,
                    "HELD: all nodes agreed {after} after everything was healed"
                )
            }
            Self::Broken {
                invariant,
                at,
                host,
                why,
            } => {
                let host = host.map_or_else(String::new, |host| format!(" on h{host}"));
                let at = format!("{}.{:06} s", at.as_secs(), at.subsec_micros());
                let (invariant, why) = (plain(invariant), plain(why));
                write!(f, "BROKEN: {invariant} at {at}{host}: {why}")
            }
            Self::Diverged { bound, differs } => {
                let bound = us(bound);
                write!(
                    f,
                    "NOT HELD: nodes differed still after {bound} in which nothing went wrong"
                )?;
                differs
                    .iter()
                    .try_for_each(|what| write!(f, "; {}", plain(what)))
            }
        }
    }
}

impl Report {
    fn options(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.options.iter().map(|option| {
            let (name, value) = (plain(&option.name), plain(&option.value));
            format!("{name} {value}")
        });
        section(f, "Options", cells.collect())
    }

    fn tables(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = format!("\n{:<NAMES$}{:>12}", "Times", "count");
        writeln!(f, "{head}{:>12}{:>12}{:>12}", "p50", "p99", "max")?;
        for (name, durations) in self.durations() {
            write!(
                f,
                "  {name:<width$}{:>12}",
                durations.count(),
                width = NAMES - 2
            )?;
            for quantile in Quantile::ALL {
                write!(f, "{:>12}", Unit::Time.show(durations.quantile(quantile)))?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\nFigures")?;
        for figure in self.scalars() {
            let amount = figure.unit.show(figure.amount);
            writeln!(
                f,
                "  {:<width$}{amount:>12}",
                figure.name,
                width = NAMES - 2
            )?;
        }
        if let Some(queue) = &self.fullest {
            let name = plain(&queue.name);
            let line = format!(
                "the fullest queue: {name}, {} of {}",
                queue.length, queue.bound
            );
            f.write_str(&wrap(&line, 2))?;
        }
        let counted = self.counters.iter();
        section(
            f,
            "Counted",
            counted
                .map(|(name, n)| format!("{} {n}", plain(name)))
                .collect(),
        )
    }

    fn traffic(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = "Traffic, per node and second";
        writeln!(f, "\n{head:<NAMES$}{:>12}{:>12}", "frames", "bytes")?;
        let total = self.traffic.total();
        let sent = Kind::ALL.map(|kind| (kind.name(), self.traffic.of(kind)));
        let sent = sent.into_iter().filter(|(_, load)| load.frames > 0);
        for (name, load) in sent.chain([("all", total)]) {
            let frames = Unit::FramesPerSecond.show(self.traffic.rate(load.frames));
            let bytes = Unit::BytesPerSecond.show(self.traffic.rate(load.bytes));
            let bar = bar(load.bytes, total.bytes, WIDTH - NAMES - 26);
            let line = format!(
                "  {name:<width$}{frames:>12}{bytes:>12}  {bar}",
                width = NAMES - 2
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Cells of one width below each other, as many to a line as there is room for.
fn section(f: &mut fmt::Formatter<'_>, head: &str, cells: Vec<String>) -> fmt::Result {
    if cells.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{head}")?;
    // Whatever is longer than a third of a line has lines of its own.
    let room = WIDTH / 3 - 4;
    let width = |cell: &String| cell.chars().count();
    let widest = cells.iter().map(width).filter(|width| *width <= room).max();
    let cell_width = widest.unwrap_or(0) + 3;
    let per_line = (WIDTH - 2) / cell_width;
    let mut line = Vec::new();
    let flush = |line: &mut Vec<String>| {
        let text = line
            .iter()
            .map(|cell| format!("{cell:<cell_width$}"))
            .collect::<String>();
        line.clear();
        if text.is_empty() {
            text
        } else {
            format!("  {}\n", text.trim_end())
        }
    };
    for cell in cells {
        let long = width(&cell) > room;
        if long || line.len() == per_line {
            f.write_str(&flush(&mut line))?;
        }
        if long {
            f.write_str(&wrap(&cell, 2))?;
        } else {
            line.push(cell);
        }
    }
    f.write_str(&flush(&mut line))
}

/// Text of a file or a node without what would move a cursor, cut at [`TEXT_MAX`].
pub(super) fn plain(text: &str) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(TEXT_MAX).map(printable).collect()
}

/// Lines of at most [`WIDTH`] columns, broken between words where that is possible, further ones
/// indented by 2 more.
pub(super) fn wrap(text: &str, indent: usize) -> String {
    let mut lines = String::new();
    let mut line = " ".repeat(indent);
    let mut begun = false;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let used = line.chars().count() + usize::from(begun);
        if begun && used + word.len() > WIDTH {
            lines.push_str(&line);
            lines.push('\n');
            line = " ".repeat(indent + 2);
            begun = false;
        }
        if begun {
            line.push(' ');
        }
        while line.chars().count() + word.len() > WIDTH {
            let room = WIDTH - line.chars().count();
            lines.push_str(&line);
            lines.extend(word.drain(..room));
            lines.push('\n');
            line = " ".repeat(indent + 2);
        }
        line.extend(word);
        begun = true;
    }
    lines + &line + "\n"
}
