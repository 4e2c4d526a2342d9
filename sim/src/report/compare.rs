//! What changed between two reports.

use std::fmt::Write as _;

use super::figures::{Better, Figure};
use super::page::{plain, wrap};
use super::{Report, Setting};

/// Columns for the names of figures and for each of the two amounts.
const COLUMNS: (usize, usize) = (42, 16);

/// A page on what changed from `a` to `b`: options first, as figures of unlike runs say little, then
/// the outcome, then each figure that differs. At most 100 columns.
pub fn compare(a: &Report, b: &Report) -> String {
    let mut page = String::new();
    if a == b {
        return "The reports are equal.\n".to_owned();
    }
    if a.version != b.version {
        page += &wrap(
            &format!(
                "A: chinwag-sim {}, B: chinwag-sim {}",
                plain(&a.version),
                plain(&b.version)
            ),
            0,
        );
    }
    page += &options(&a.options, &b.options);
    if a.outcome.held() && b.outcome.held() {
        page += "Both held.\n";
    } else {
        page += &wrap(&format!("A: {}", a.outcome), 0);
        page += &wrap(&format!("B: {}", b.outcome), 0);
    }
    page += &figures(&a.figures(), &b.figures());
    if a.timeline != b.timeline {
        page += "The timelines differ.\n";
    }
    page
}

fn options(a: &[Setting], b: &[Setting]) -> String {
    let value = |options: &[Setting], name: &str| {
        let option = options.iter().find(|option| option.name == name);
        option.map_or_else(|| "–".to_owned(), |option| plain(&option.value))
    };
    let mut rows = String::new();
    for name in joined(a, b, |option| option.name.as_str()) {
        let values = (value(a, name), value(b, name));
        if values.0 != values.1 {
            rows += &wrap(
                &format!("{}: A {}, B {}", plain(name), values.0, values.1),
                2,
            );
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!("WARNING: the runs are not alike, their options differ:\n{rows}\n")
}

fn figures(a: &[Figure], b: &[Figure]) -> String {
    let find =
        |figures: &[Figure], name: &str| figures.iter().find(|figure| figure.name == name).cloned();
    let mut rows = String::new();
    let mut equal = 0_usize;
    for name in joined(a, b, |figure| figure.name.as_str()) {
        let (old, new) = (find(a, name), find(b, name));
        if old == new {
            equal += 1;
        } else {
            rows += &row(name, old.as_ref(), new.as_ref());
        }
    }
    let (names, amounts) = COLUMNS;
    let head = format!(
        "\n{:<names$}{:>amounts$}{:>amounts$}{:>13}\n",
        "", "A", "B", "change"
    );
    let changed = if rows.is_empty() { rows } else { head + &rows };
    match equal {
        1 => format!("{changed}\n1 figure is equal.\n"),
        _ => format!("{changed}\n{equal} figures are equal.\n"),
    }
}

/// The names of both lists, each once: those of the first in its order, then what the second has more.
fn joined<'a, T>(a: &'a [T], b: &'a [T], name: fn(&T) -> &str) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::with_capacity(a.len());
    let mut seen = std::collections::BTreeSet::new();
    names.extend(
        a.iter()
            .chain(b)
            .map(name)
            .filter(|name| seen.insert(*name)),
    );
    names
}

fn row(name: &str, old: Option<&Figure>, new: Option<&Figure>) -> String {
    let (names, amounts) = COLUMNS;
    let show = |figure: Option<&Figure>| {
        figure.map_or_else(|| "–".to_owned(), |figure| figure.unit.show(figure.amount))
    };
    let amount = |figure: Option<&Figure>| figure.and_then(|figure| figure.amount);
    let better = old.or(new).map_or(Better::Neither, |figure| figure.better);
    let change = match (amount(old), amount(new)) {
        (Some(old), Some(new)) => change(old, new, better),
        (Some(_), None) | (None, Some(_)) | (None, None) => String::new(),
    };
    let name = plain(name);
    // A name of a counter may be longer than its column.
    let name: String = name.chars().take(names - 1).collect();
    let mut line = String::new();
    write!(
        line,
        "{name:<names$}{:>amounts$}{:>amounts$}{change}",
        show(old),
        show(new)
    )
    .expect("a string takes all");
    line + "\n"
}

/// How much more or less, and whether that is better.
fn change(old: u64, new: u64, better: Better) -> String {
    let arrow = if new > old { '▲' } else { '▼' };
    let verdict = match better {
        Better::Less if new < old => " better",
        Better::Less => " worse",
        Better::Neither => "",
    };
    format!("{:>13} {arrow}{verdict}", percent(old, new))
}

/// The difference in percent with one digit; as a factor from ten times on.
fn percent(old: u64, new: u64) -> String {
    let (from, to) = (i128::from(old), i128::from(new));
    if from == 0 {
        return "from 0".to_owned();
    }
    if to / from >= 10 {
        let factor = to / from;
        return if factor < 1_000_000 {
            format!("×{factor}")
        } else {
            "×999999+".to_owned()
        };
    }
    let tenths = (to - from) * 1_000;
    // Rounded half away from zero.
    let tenths = (tenths.abs() + from / 2) / from;
    if tenths == 0 {
        return "under 0.1 %".to_owned();
    }
    let sign = if to > from { '+' } else { '−' };
    format!("{sign}{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_in_percent_with_one_digit_or_a_factor() {
        assert_eq!(percent(1_000, 1_001), "+0.1 %");
        assert_eq!(percent(100_000, 100_001), "under 0.1 %");
        assert_eq!(percent(312, 300), "−3.8 %");
        assert_eq!(percent(2, 1), "−50.0 %");
        assert_eq!(percent(5, 0), "−100.0 %");
        assert_eq!(percent(100, 999), "+899.0 %");
        assert_eq!(percent(100, 1_234), "×12");
        assert_eq!(percent(0, 3), "from 0");
        assert_eq!(percent(1, u64::MAX), "×999999+");
        assert_eq!(percent(u64::MAX, 1), "−100.0 %");
    }

    #[test]
    fn less_is_better_only_where_a_figure_says_so() {
        assert!(change(2, 1, Better::Less).ends_with("▼ better"));
        assert!(change(1, 2, Better::Less).ends_with("▲ worse"));
        assert!(change(1, 2, Better::Neither).ends_with('▲'));
    }
}
