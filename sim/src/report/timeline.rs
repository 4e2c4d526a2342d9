//! How a run went, in at most [`ROWS_MAX`] rows: where there are more seconds, a row covers more of
//! them, so that a run of any length takes the same room.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::per;

/// The most rows: a column each in a terminal, with room for what the row is about.
pub const ROWS_MAX: usize = 60;

/// The most names of marks in one row: what a page can show. Further ones are counted as [`OTHER`].
pub const MARKS_MAX: usize = 16;

/// The mark that stands for those which have no room.
pub const OTHER: &str = "other";

/// The seconds of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeline {
    row_seconds: u64,
    rows: Vec<Row>,
}

/// Some seconds of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// How many there are; fewer than in other rows only in the last.
    pub seconds: u64,
    /// Bytes that all nodes sent.
    pub bytes: u64,
    /// Nodes that ran, summed over the seconds.
    pub node_seconds: u64,
    /// The fewest nodes that ran.
    pub nodes_min: u64,
    /// The most batches that were not everywhere.
    pub waiting_max: u64,
    /// What happened, by name: how often.
    pub marks: BTreeMap<String, u64>,
}

/// One virtual second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Second {
    /// Bytes that all nodes sent.
    pub bytes: u64,
    /// Nodes that run at its end.
    pub nodes: u64,
    /// Batches that are not everywhere at its end.
    pub waiting: u64,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            row_seconds: 1,
            rows: Vec::new(),
        }
    }
}

impl Timeline {
    /// Something happened in the second that goes on.
    pub fn mark(&mut self, name: &str) {
        add_mark(&mut self.open().marks, name, 1);
    }

    /// A second is over.
    pub fn push(&mut self, second: Second) {
        let row = self.open();
        row.add(&Row {
            seconds: 1,
            bytes: second.bytes,
            node_seconds: second.nodes,
            nodes_min: second.nodes,
            waiting_max: second.waiting,
            marks: BTreeMap::new(),
        });
    }

    /// How many seconds a row covers.
    pub fn row_seconds(&self) -> u64 {
        self.row_seconds
    }

    /// The rows, in order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The row that the second going on belongs to.
    fn open(&mut self) -> &mut Row {
        let full = |row: &Row| row.seconds >= self.row_seconds;
        if self.rows.last().is_none_or(full) {
            if self.rows.len() == ROWS_MAX {
                self.fold();
            }
            // After folding an even number of rows, each of them is full.
            self.rows.push(Row::default());
        }
        self.rows.last_mut().expect("one was pushed")
    }

    fn fold(&mut self) {
        let pairs = self.rows.chunks(2).map(|pair| {
            let mut sum = Row::default();
            pair.iter().for_each(|row| sum.add(row));
            sum
        });
        self.rows = pairs.collect();
        self.row_seconds = self.row_seconds.saturating_mul(2);
    }

    /// What is wrong with it, where a file gave what no run gives.
    pub(super) fn fault(&self) -> Option<&'static str> {
        if self.rows.len() > ROWS_MAX {
            Some("more than 60 rows")
        } else if self.row_seconds == 0 {
            Some("rows of no seconds")
        } else if self.rows.iter().any(|row| row.marks.len() > MARKS_MAX) {
            Some("more than 16 marks in one row")
        } else {
            None
        }
    }
}

impl Row {
    /// Bytes that a node sent in a second, rounded; 0 where none ran.
    pub fn bytes_per_node_second(&self) -> u64 {
        per(self.bytes, self.node_seconds, 1).unwrap_or(0)
    }

    fn add(&mut self, other: &Self) {
        if other.seconds > 0 {
            let first = self.seconds == 0;
            self.nodes_min = if first {
                other.nodes_min
            } else {
                self.nodes_min.min(other.nodes_min)
            };
        }
        self.seconds = self.seconds.saturating_add(other.seconds);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.node_seconds = self.node_seconds.saturating_add(other.node_seconds);
        self.waiting_max = self.waiting_max.max(other.waiting_max);
        for (name, count) in &other.marks {
            add_mark(&mut self.marks, name, *count);
        }
    }
}

fn add_mark(marks: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    let known = marks.contains_key(name) || marks.len() < MARKS_MAX - 1;
    let mark = marks
        .entry(if known { name } else { OTHER }.to_owned())
        .or_default();
    *mark = mark.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Second {
        Second {
            bytes: 100 * n,
            nodes: 10,
            waiting: n,
        }
    }

    #[test]
    fn up_to_sixty_seconds_each_has_a_row() {
        let mut timeline = Timeline::default();
        (1..=60).for_each(|n| timeline.push(second(n)));
        assert_eq!((timeline.row_seconds(), timeline.rows().len()), (1, 60));
        assert_eq!(timeline.rows()[59].bytes_per_node_second(), 600);
    }

    #[test]
    fn the_rows_of_a_long_run_cover_more_seconds_and_lose_nothing() {
        let mut timeline = Timeline::default();
        for n in 1..=1_000 {
            timeline.mark("crash");
            timeline.push(Second {
                nodes: n,
                ..second(n)
            });
        }
        assert_eq!(timeline.row_seconds(), 32);
        assert_eq!(timeline.rows().len(), 32);
        let rows = timeline.rows();
        assert_eq!(rows.iter().map(|row| row.seconds).sum::<u64>(), 1_000);
        assert_eq!(rows.iter().map(|row| row.bytes).sum::<u64>(), 100 * 500_500);
        assert_eq!(
            rows.iter().map(|row| row.marks["crash"]).sum::<u64>(),
            1_000
        );
        assert_eq!((rows[1].nodes_min, rows[1].waiting_max), (33, 64));
        assert_eq!(rows.last().unwrap().seconds, 8);
        assert_eq!(timeline.fault(), None);
    }

    #[test]
    fn a_mark_belongs_to_the_second_that_goes_on() {
        let mut timeline = Timeline::default();
        timeline.push(second(1));
        timeline.mark("cut");
        timeline.push(Second {
            nodes: 9,
            ..second(2)
        });
        assert!(timeline.rows()[0].marks.is_empty());
        assert_eq!(timeline.rows()[1].marks["cut"], 1);
        assert_eq!(timeline.rows()[1].nodes_min, 9);
    }

    #[test]
    fn marks_beyond_the_bound_are_counted_as_others() {
        let mut timeline = Timeline::default();
        (0..20).for_each(|n| timeline.mark(&format!("fault {n}")));
        let marks = &timeline.rows()[0].marks;
        assert_eq!(marks.len(), MARKS_MAX);
        assert_eq!(marks[OTHER], 5);
    }
}
