//! The two charts of a page: how long route changes took, and how the run went.

use std::collections::BTreeSet;
use std::fmt;

use super::durations::Durations;
use super::figures::{Unit, time};
use super::page::{WIDTH, plain};
use super::plot::{at_columns, columns, labels, sparkline};
use super::timeline::{Row, Timeline};

/// The most kinds of marks that the timeline shows, a line each; the rest is summed up in one.
const LANES: usize = 12;

/// How many took how long, over a logarithmic axis.
pub(super) fn histogram(f: &mut fmt::Formatter<'_>, durations: &Durations) -> fmt::Result {
    const HEIGHT: usize = 5;
    let buckets = durations.histogram();
    if buckets.is_empty() {
        return Ok(());
    }
    writeln!(
        f,
        "\nTime until a route change was everywhere (each column 1.25 times the one before)"
    )?;
    let amounts: Vec<u64> = buckets.iter().map(|(_, count)| *count).collect();
    let most = amounts.iter().copied().max().unwrap_or(0).to_string();
    let margin = most.len() + 2;
    let width = ((WIDTH - margin - 12) / amounts.len()).clamp(1, 4);
    for (n, line) in columns(&amounts, HEIGHT, width).iter().enumerate() {
        let label = if n == 0 { most.as_str() } else { "" };
        writeln!(f, "{label:>margin$} │{}", line.trim_end())?;
    }
    // A bucket's end is where the next one begins.
    let ends = buckets
        .iter()
        .enumerate()
        .map(|(n, (end, _))| ((n + 1) * width, *end));
    let mut ticks: Vec<(usize, u64)> = ends.collect();
    ticks.sort_by_key(|(_, end)| roundness(*end));
    if ticks.iter().any(|(_, end)| roundness(*end) < 2) {
        ticks.retain(|(_, end)| roundness(*end) < 2);
    }
    let wanted: Vec<(usize, String)> = ticks.into_iter().map(|(at, end)| (at, time(end))).collect();
    let placed = labels(&wanted, WIDTH - margin - 2);
    let mut axis = vec!['─'; amounts.len() * width + 1];
    placed.iter().for_each(|(at, _)| axis[*at] = '┴');
    let axis: String = axis.into_iter().collect();
    writeln!(f, "{:>margin$} └{axis}", "0")?;
    writeln!(f, "{:>margin$}  {}", "", at_columns(&placed))
}

/// Which labels of the axis are wanted most: decades, then 2 and 5, then the rest.
fn roundness(end: u64) -> u8 {
    let mut first = end;
    while first.is_multiple_of(10) && first > 0 {
        first /= 10;
    }
    match first {
        1 => 0,
        2 | 5 => 1,
        _ => 2,
    }
}

/// A line for each of its numbers and a line for each kind of mark.
pub(super) fn timeline(f: &mut fmt::Formatter<'_>, timeline: &Timeline) -> fmt::Result {
    let rows = timeline.rows();
    if rows.is_empty() {
        return Ok(());
    }
    let seconds = timeline.row_seconds();
    writeln!(f, "\nTimeline (each column {seconds} s)")?;
    let of = |value: fn(&Row) -> u64| rows.iter().map(value).collect::<Vec<_>>();
    let most = |amounts: &[u64]| amounts.iter().copied().max().unwrap_or(0);
    let bytes = of(Row::bytes_per_node_second);
    let nodes = of(|row| row.nodes_min);
    let all = most(&nodes);
    let away: Vec<u64> = nodes.iter().map(|nodes| all - nodes).collect();
    let waiting = of(|row| row.waiting_max);
    let bytes_most = Unit::BytesPerSecond.show(Some(most(&bytes).saturating_mul(1_000)));
    let lines = [
        ("bytes per node", &bytes, bytes_most),
        ("nodes away", &away, format!("{} of {all}", most(&away))),
        ("not everywhere", &waiting, most(&waiting).to_string()),
    ];
    for (name, amounts, most) in lines {
        lane(f, name, &sparkline(amounts), &format!("at most {most}"))?;
    }
    marks(f, rows)?;
    let second = |n: usize| (n, seconds.saturating_mul(n as u64).to_string());
    let seconds: Vec<(usize, String)> = (0..rows.len()).step_by(10).map(second).collect();
    lane(f, "second", &at_columns(&labels(&seconds, WIDTH)), "")
}

fn marks(f: &mut fmt::Formatter<'_>, rows: &[Row]) -> fmt::Result {
    let names: BTreeSet<&String> = rows.iter().flat_map(|row| row.marks.keys()).collect();
    let count = |row: &Row, name: &String| row.marks.get(name).copied().unwrap_or(0);
    for name in names.iter().take(LANES) {
        let digit = |row: &Row| match count(row, name) {
            0 => ' ',
            few @ 1..10 => char::from_digit(few as u32, 10).expect("one digit"),
            _ => '+',
        };
        let line: String = rows.iter().map(digit).collect();
        let sum = rows
            .iter()
            .fold(0_u64, |sum, row| sum.saturating_add(count(row, name)));
        lane(f, &plain(name), &line, &sum.to_string())?;
    }
    match names.len().saturating_sub(LANES) {
        0 => Ok(()),
        more => lane(f, &format!("and {more} more"), "", ""),
    }
}

fn lane(f: &mut fmt::Formatter<'_>, name: &str, line: &str, note: &str) -> fmt::Result {
    let name: String = name.chars().take(15).collect();
    let text = format!("  {name:<15} {line}  {note}");
    writeln!(f, "{}", text.trim_end())
}
