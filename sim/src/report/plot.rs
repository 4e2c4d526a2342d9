//! Small plots of whole numbers in text: bars, columns, sparklines. Read without colour.

/// Levels of a cell that is filled from below.
const RISING: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Levels of a cell that is filled from the left.
const GROWING: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// Eighths of a cell in `cells` cells, where the whole is `most`: more than 0 is never shown as none.
fn eighths(amount: u64, most: u64, cells: usize) -> usize {
    if amount == 0 {
        return 0;
    }
    let all = cells as u128 * 8;
    let share = (u128::from(amount) * all + u128::from(most) / 2) / u128::from(most.max(1));
    usize::try_from(share.clamp(1, all)).expect("at most eight for each cell")
}

fn cell(levels: &[char; 9], eighths: usize) -> char {
    levels[eighths.min(8)]
}

/// A bar that is `width` cells long where the amount is `most`.
pub(super) fn bar(amount: u64, most: u64, width: usize) -> String {
    let filled = eighths(amount, most, width);
    let cells = (0..filled.div_ceil(8)).map(|n| cell(&GROWING, filled - 8 * n));
    cells.collect()
}

/// A cell for each amount; a dot where it is 0.
pub(super) fn sparkline(amounts: &[u64]) -> String {
    let most = amounts.iter().copied().max().unwrap_or(0);
    let level = |amount: &u64| match eighths(*amount, most, 1) {
        0 => '·',
        filled => cell(&RISING, filled),
    };
    amounts.iter().map(level).collect()
}

/// Columns for the amounts, `height` lines from the top one on, each amount `width` cells wide.
pub(super) fn columns(amounts: &[u64], height: usize, width: usize) -> Vec<String> {
    let most = amounts.iter().copied().max().unwrap_or(0);
    let line = |above: usize| {
        let level = |amount: &u64| {
            let filled = eighths(*amount, most, height).saturating_sub(8 * above);
            std::iter::repeat_n(cell(&RISING, filled), width)
        };
        amounts.iter().flat_map(level).collect()
    };
    (0..height).rev().map(line).collect()
}

/// Labels below an axis, each beginning at its column: those that come first in the list win the room.
pub(super) fn labels(labels: &[(usize, String)], width: usize) -> Vec<(usize, String)> {
    let mut placed: Vec<(usize, String)> = Vec::new();
    for (start, text) in labels {
        let end = start + text.chars().count();
        let free = |(other, label): &(usize, String)| {
            end < *other || *start > other + label.chars().count()
        };
        if end <= width && placed.iter().all(free) {
            placed.push((*start, text.clone()));
        }
    }
    placed.sort();
    placed
}

/// Texts at their columns, in one line. They are sorted and do not overlap.
pub(super) fn at_columns(texts: &[(usize, String)]) -> String {
    let mut line = String::new();
    let mut column = 0;
    for (start, text) in texts {
        line.extend(std::iter::repeat_n(' ', start.saturating_sub(column)));
        line.push_str(text);
        column = start + text.chars().count();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share_and_never_empty_for_something() {
        assert_eq!(bar(100, 100, 4), "████");
        assert_eq!(bar(50, 100, 4), "██");
        assert_eq!(bar(33, 100, 4), "█▍");
        assert_eq!(bar(1, 1_000_000, 4), "▏");
        assert_eq!(bar(0, 100, 4), "");
        assert_eq!(bar(u64::MAX, u64::MAX, 4), "████");
    }

    #[test]
    fn a_sparkline_reaches_the_top_at_the_greatest_amount() {
        assert_eq!(sparkline(&[0, 1, 4, 8]), "·▁▄█");
        assert_eq!(sparkline(&[0, 0]), "··");
        assert_eq!(sparkline(&[1, 1_000_000]), "▁█");
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn columns_grow_through_their_lines() {
        assert_eq!(columns(&[16, 8, 4, 0], 2, 1), ["█   ", "██▄ "]);
        assert_eq!(columns(&[1, 0], 1, 2), ["██  "]);
    }

    #[test]
    fn labels_that_have_no_room_are_left_out() {
        let wanted = [(4, "1 s"), (6, "2 s"), (0, "0"), (9, "3 s")];
        let wanted = wanted.map(|(start, text)| (start, text.to_owned()));
        let placed = labels(&wanted, 11);
        assert_eq!(at_columns(&placed), "0   1 s");
        assert_eq!(at_columns(&labels(&wanted, 12)), "0   1 s  3 s");
    }
}
