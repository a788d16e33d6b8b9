//! Rows as Markdown, and the places in our documents where they stand.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};

use super::{
    record::{Record, Run, change},
    row::{Row, ratio},
};

/// A table of one run; `before` is the one that was recorded last.
pub(crate) fn markdown(rows: &[Row], before: Option<&Run>) -> String {
    let mut text = String::from(
        "| | runs | p50 | p10–p90 | p99 | beside | now / before |\n\
         | --- | --: | --: | --: | --: | --- | --: |\n",
    );
    for row in rows {
        let Row { name, runs, .. } = row;
        let (p50, beside) = (median(row), beside(row, rows));
        let spread = format!("{}–{}", number(row.p10), number(row.p90));
        let change = change(row, rows, before).map(number).unwrap_or_default();
        let p99 = number(row.p99);
        let line =
            writeln!(text, "| {name} | {runs} | {p50} | {spread} | {p99} | {beside} | {change} |");
        line.expect("a string takes all");
    }
    text
}

/// The most important rows of all benchmarks, in this order.
pub(crate) fn main(record: &Record, order: &[&str]) -> String {
    let mut text = String::from("| | median | p10–p90 | beside |\n| --- | --: | --: | --- |\n");
    for run in order.iter().filter_map(|name| record.0.get(*name)) {
        for row in run.rows.iter().filter(|row| row.main) {
            let (p50, beside) = (median(row), beside(row, &run.rows));
            let spread = format!("{}–{}", number(row.p10), number(row.p90));
            let line = writeln!(text, "| {} | {p50} | {spread} | {beside} |", row.name);
            line.expect("a string takes all");
        }
    }
    text
}

fn median(row: &Row) -> String {
    format!("{} {}", number(row.p50), row.unit.name())
}

fn beside(row: &Row, rows: &[Row]) -> String {
    let (Some(ratio), Some(peer)) = (ratio(row, rows), &row.peer) else { return String::new() };
    format!("{} × {peer}", number(ratio))
}

/// Three digits, or all before the point.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.09995 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// Puts a text between the markers of this name in a document; one without them is left as it is.
pub(crate) fn put(document: &Path, name: &str, text: &str) -> Result<()> {
    let whole = fs::read_to_string(document)
        .with_context(|| format!("{} cannot be read", document.display()))?;
    match replaced(&whole, name, text) {
        Some(changed) => fs::write(document, changed)
            .with_context(|| format!("{} cannot be written", document.display())),
        None => Ok(()),
    }
}

fn replaced(whole: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- bench {name} -->\n"), "<!-- end -->");
    let (before, rest) = whole.split_once(&begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{text}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{super::row::Unit, *};

    #[test]
    fn numbers_have_three_digits() {
        let told = [0.0, 0.0123, 0.5, 1.234, 12.34, 99.97, 123.4, 5936.7].map(number);
        assert_eq!(told, ["0", "0.012", "0.50", "1.23", "12.3", "100", "123", "5937"]);
    }

    #[test]
    fn a_table_tells_the_spread_and_the_peer() {
        let ours =
            Row::new("ours", Unit::Milliseconds, vec![1.0, 2.0, 3.0]).beside("theirs").main();
        let rows = [ours, Row::new("theirs", Unit::Milliseconds, vec![4.0])];
        let table = markdown(&rows, None);
        assert!(
            table.contains("| ours | 3 | 2.00 ms | 1.00–3.00 | 3.00 | 0.50 × theirs |  |\n"),
            "{table}"
        );
        let run = Run { on: super::super::record::Computer::default(), rows: rows.to_vec() };
        let table = main(&Record([("start".to_owned(), run)].into()), &["start"]);
        assert!(table.ends_with("| ours | 2.00 ms | 1.00–3.00 | 0.50 × theirs |\n"), "{table}");
    }

    #[test]
    fn what_stands_between_the_markers_is_replaced() {
        let whole =
            "a\n<!-- bench start -->\nold\n<!-- end -->\nb\n<!-- bench api -->\n<!-- end -->\n";
        let changed = replaced(whole, "start", "new\n").unwrap();
        assert_eq!(
            changed,
            "a\n<!-- bench start -->\n\nnew\n\n<!-- end -->\nb\n<!-- bench api -->\n<!-- end -->\n"
        );
        assert_eq!(replaced(&changed, "start", "new\n").unwrap(), changed);
        assert_eq!(replaced(whole, "fork", "new"), None);
    }
}
