//! The numbers of a report by name, each with its unit and the direction in which it is better.

use super::durations::{Durations, Quantile};
use super::traffic::Kind;
use super::{Outcome, Ratio, Report, per};

/// One number of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// What it is, the same in every report.
    pub name: String,
    /// How much, as its unit counts; `None`: there was nothing to measure.
    pub amount: Option<u64>,
    /// In what.
    pub unit: Unit,
    /// Which way is better.
    pub better: Better,
}

/// What an amount counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Time,
    /// Pieces.
    Count,
    /// Thousandths of a piece.
    Mean,
    /// Thousandths of a byte.
    Bytes,
    /// Thousandths of a frame per second.
    FramesPerSecond,
    /// Thousandths of a byte per second.
    BytesPerSecond,
    /// Thousandths of the whole.
    Share,
}

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Less of it.
    Less,
    /// Neither: it says what the run was.
    Neither,
}

impl Report {
    /// All its durations, by name.
    pub(super) fn durations(&self) -> [(&'static str, &Durations); 4] {
        [
            ("route change everywhere", &self.convergence.all),
            ("route change, while faulty", &self.convergence.faulty),
            ("route change, after healing", &self.convergence.healed),
            ("crash noticed by all", &self.detection),
        ]
    }

    /// All its numbers but those of the timeline, in the order in which they are shown.
    pub fn figures(&self) -> Vec<Figure> {
        let mut figures = vec![self.agreed()];
        for (name, durations) in self.durations() {
            figures.extend(Quantile::ALL.map(|quantile| Figure {
                name: format!("{name}, {}", quantile.name()),
                amount: durations.quantile(quantile),
                unit: Unit::Time,
                better: Better::Less,
            }));
            figures.push(Figure {
                name: format!("{name}, count"),
                amount: Some(durations.count()),
                unit: Unit::Count,
                better: Better::Neither,
            });
        }
        figures.extend(self.scalars());
        figures.extend(self.rates());
        figures.extend(self.counters.iter().map(|(name, count)| Figure {
            name: name.clone(),
            amount: Some(*count),
            unit: Unit::Count,
            better: Better::Neither,
        }));
        figures
    }

    fn agreed(&self) -> Figure {
        let after = match &self.outcome {
            Outcome::Converged { after } => u64::try_from(after.as_micros()).ok(),
            Outcome::Broken { .. } | Outcome::Diverged { .. } => None,
        };
        Figure {
            name: "all agreed after healing".to_owned(),
            amount: after,
            unit: Unit::Time,
            better: Better::Less,
        }
    }

    /// Those that are one number each.
    pub(super) fn scalars(&self) -> [Figure; 5] {
        let less = |name: &str, amount, unit| Figure {
            name: name.to_owned(),
            amount,
            unit,
            better: Better::Less,
        };
        let fullest = self.fullest.as_ref().map(|queue| Ratio {
            total: queue.length,
            of: queue.bound,
        });
        let unfinished = Some(self.convergence.unfinished);
        [
            less("route changes not everywhere", unfinished, Unit::Count),
            less(
                "nodes wrongly taken for down",
                Some(self.false_deaths),
                Unit::Count,
            ),
            less(
                "copies sent of a route change",
                self.copies.milli(),
                Unit::Mean,
            ),
            less("table, per route", self.table.milli(), Unit::Bytes),
            less(
                "fullest queue, of its bound",
                fullest.and_then(Ratio::milli),
                Unit::Share,
            ),
        ]
    }

    /// What a node sends in a second: of each kind that was sent, and in all.
    fn rates(&self) -> Vec<Figure> {
        let kinds = Kind::ALL.map(|kind| (kind.name(), self.traffic.of(kind)));
        let sent = kinds.into_iter().filter(|(_, load)| load.frames > 0);
        let total = [("all traffic", self.traffic.total())];
        let rates = sent.chain(total).map(|(name, load)| {
            [
                (name, "frames", load.frames, Unit::FramesPerSecond),
                (name, "bytes", load.bytes, Unit::BytesPerSecond),
            ]
        });
        let figure = |(name, what, amount, unit)| Figure {
            name: format!("{name}, {what}"),
            amount: self.traffic.rate(amount),
            unit,
            better: Better::Less,
        };
        rates.flatten().map(figure).collect()
    }
}

impl Unit {
    /// An amount with its unit, to three digits.
    pub fn show(self, amount: Option<u64>) -> String {
        let Some(amount) = amount else {
            return "–".to_owned();
        };
        match self {
            Self::Time => time(amount),
            Self::Count => amount.to_string(),
            Self::Mean => digits(amount, 1_000),
            Self::Bytes => bytes(amount),
            Self::FramesPerSecond => format!("{}/s", digits(amount, 1_000)),
            Self::BytesPerSecond => format!("{}/s", bytes(amount)),
            Self::Share => format!("{} %", digits(amount, 10)),
        }
    }
}

/// Microseconds in the unit that reads best.
pub(super) fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..999_500 => format!("{} ms", digits(us, 1_000)),
        _ => format!("{} s", digits(us, 1_000_000)),
    }
}

/// Thousandths of a byte in the unit that reads best.
fn bytes(milli: u64) -> String {
    match milli {
        0..999_500 => format!("{} B", digits(milli, 1_000)),
        999_500..999_500_000 => format!("{} kB", digits(milli, 1_000_000)),
        _ => format!("{} MB", digits(milli, 1_000_000_000)),
    }
}

/// `amount / unit` to three digits, or all that are before the point. Whole amounts stay whole.
fn digits(amount: u64, unit: u64) -> String {
    let whole = |scale| per(amount, unit, scale).expect("no unit is 0");
    if amount.is_multiple_of(unit) {
        (amount / unit).to_string()
    } else if whole(100) < 1_000 {
        format!("{}.{:02}", whole(100) / 100, whole(100) % 100)
    } else if whole(10) < 1_000 {
        format!("{}.{}", whole(10) / 10, whole(10) % 10)
    } else {
        whole(1).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_to_three_digits_in_the_unit_that_reads_best() {
        let times = [
            0, 999, 1_000, 1_234, 12_345, 99_960, 999_499, 999_500, 75_000_000,
        ];
        let golden = [
            "0 µs", "999 µs", "1 ms", "1.23 ms", "12.3 ms", "100 ms", "999 ms", "1.00 s", "75 s",
        ];
        assert_eq!(times.map(|us| Unit::Time.show(Some(us))), golden);
        let bytes = [0, 312_000, 23_449, 12_300_000, 7_000_000_000];
        let golden = ["0 B", "312 B", "23.4 B", "12.3 kB", "7 MB"];
        assert_eq!(bytes.map(|milli| Unit::Bytes.show(Some(milli))), golden);
        assert_eq!(Unit::BytesPerSecond.show(Some(1_500)), "1.50 B/s");
        assert_eq!(Unit::FramesPerSecond.show(Some(9_800)), "9.80/s");
        assert_eq!(Unit::Share.show(Some(117)), "11.7 %");
        assert_eq!(Unit::Mean.show(Some(99_000)), "99");
        assert_eq!(Unit::Count.show(None), "–");
        let greatest = [Unit::Time, Unit::Bytes, Unit::Share].map(|unit| unit.show(Some(u64::MAX)));
        assert_eq!(greatest[0], "18446744073710 s");
    }
}
