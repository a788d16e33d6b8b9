//! What was measured of one thing: a median, how far it spreads, and what it is measured beside.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    /// The row of the same benchmark that it is beside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer: Option<String>,
    /// Whether it is shown where only the most important are.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) main: bool,
    /// How many values there were.
    pub(crate) runs: usize,
    pub(crate) p10: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
}

/// What its numbers are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Unit {
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "µs")]
    Microseconds,
    #[serde(rename = "MiB")]
    Mebibytes,
    #[serde(rename = "MiB/s")]
    MebibytesPerSecond,
    #[serde(rename = "Mbit/s")]
    MegabitsPerSecond,
    #[serde(rename = "s/GiB")]
    SecondsPerGibibyte,
    #[serde(rename = "1/s")]
    PerSecond,
    #[serde(rename = "% of a core")]
    PercentOfACore,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::Mebibytes => "MiB",
            Self::MebibytesPerSecond => "MiB/s",
            Self::MegabitsPerSecond => "Mbit/s",
            Self::SecondsPerGibibyte => "s/GiB",
            Self::PerSecond => "1/s",
            Self::PercentOfACore => "% of a core",
        }
    }

    /// Whether it is the same however busy the computer is, so that it may be compared without a peer.
    pub(crate) fn is_of_memory(self) -> bool {
        self == Self::Mebibytes
    }
}

impl Row {
    pub(crate) fn new(name: impl Into<String>, unit: Unit, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let rank = |percent| percentile(&values, percent);
        let (p10, p50, p90, p99) = (rank(10), rank(50), rank(90), rank(99));
        Self {
            name: name.into(),
            unit,
            peer: None,
            main: false,
            runs: values.len(),
            p10,
            p50,
            p90,
            p99,
        }
    }

    pub(crate) fn times(name: impl Into<String>, times: Vec<Duration>) -> Self {
        let values = times.into_iter().map(|time| time.as_secs_f64() * 1000.0).collect();
        Self::new(name, Unit::Milliseconds, values)
    }

    /// The same, beside the row of this name.
    pub(crate) fn beside(self, peer: impl Into<String>) -> Self {
        Self { peer: Some(peer.into()), ..self }
    }

    /// The same, as one of the most important.
    pub(crate) fn main(self) -> Self {
        Self { main: true, ..self }
    }
}

/// How many times its peer's median a row's is, if it has a peer among these.
pub(crate) fn ratio(row: &Row, rows: &[Row]) -> Option<f64> {
    let name = row.peer.as_ref()?;
    let peer = rows.iter().find(|other| other.name == *name)?;
    (peer.p50 != 0.0).then(|| row.p50 / peer.p50)
}

/// The nearest rank: of ten values the 99th percentile is the largest.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let row = Row::new("x", Unit::Milliseconds, (1..=100).rev().map(f64::from).collect());
        assert_eq!((row.p10, row.p50, row.p90, row.p99), (10.0, 50.0, 90.0, 99.0));
        let few = Row::new("y", Unit::Milliseconds, vec![3.0, 1.0, 2.0]);
        assert_eq!((few.p10, few.p50, few.p90, few.p99), (1.0, 2.0, 3.0, 3.0));
    }

    #[test]
    fn a_ratio_is_to_the_peer_that_is_there() {
        let row = |name: &str, value| Row::new(name, Unit::Milliseconds, vec![value]);
        let rows = [
            row("ours", 1.0).beside("theirs"),
            row("theirs", 4.0),
            row("lone", 3.0).beside("nobody"),
        ];
        let ratios: Vec<_> = rows.iter().map(|row| ratio(row, &rows)).collect();
        assert_eq!(ratios, [Some(0.25), None, None]);
    }
}
