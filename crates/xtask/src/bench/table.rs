//! Rows of timings with their median, spread and ratio to a peer.

use std::{fmt::Write, time::Duration};

/// Timings of one thing.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    runs: Vec<Duration>,
}

impl Row {
    pub(crate) fn new(name: &str, mut runs: Vec<Duration>) -> Self {
        runs.sort_unstable();
        Self { name: name.to_owned(), runs }
    }

    /// The nearest rank: of ten runs the 99th percentile is the slowest.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.runs.len() * percent).div_ceil(100).max(1);
        self.runs.get(rank - 1).copied().unwrap_or_default()
    }

    pub(crate) fn count(&self) -> usize {
        self.runs.len()
    }
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// A table in Markdown; ratios are of medians, to the first row of this name.
pub(crate) fn markdown(rows: &[Row], peer: &str) -> String {
    let base = rows.iter().find(|row| row.name == peer).map(|row| row.percentile(50));
    let mut text =
        format!("| | runs | p50 ms | p99 ms | × {peer} |\n| --- | --: | --: | --: | --: |\n");
    for row in rows {
        let (p50, p99) = (row.percentile(50), row.percentile(99));
        let ratio = base.map_or(f64::NAN, |base| p50.as_secs_f64() / base.as_secs_f64());
        let (p50, p99) = (milliseconds(p50), milliseconds(p99));
        let line =
            writeln!(text, "| {} | {} | {p50:.1} | {p99:.1} | {ratio:.2} |", row.name, row.count());
        line.expect("a string takes all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let ms = Duration::from_millis;
        let row = Row::new("x", (1..=100).rev().map(ms).collect());
        assert_eq!((row.percentile(50), row.percentile(99)), (ms(50), ms(99)));
        let few = Row::new("x", vec![ms(3), ms(1), ms(2)]);
        assert_eq!((few.percentile(50), few.percentile(99)), (ms(2), ms(3)));
        let table = markdown(&[row, few], "x");
        assert!(table.contains("| x | 100 | 50.0 | 99.0 | 1.00 |"), "{table}");
    }
}
