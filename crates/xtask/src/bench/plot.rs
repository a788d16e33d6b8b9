//! All medians as bars: `bench/results.svg`.

use std::fmt::Write;

use super::{
    record::Record,
    row::{Row, Unit},
    table::number,
};

const WIDTH: f64 = 960.0;
/// Names are left of this, bars right of it.
const LEFT: f64 = 400.0;
const RIGHT: f64 = 90.0;
const LINE: f64 = 18.0;

/// Bars on a logarithmic scale, which is one scale for all rows of a unit within a benchmark; the lines are from p10 to p90, peers are grey.
pub(crate) fn svg(record: &Record, order: &[&str]) -> String {
    let (mut body, mut y) = (String::new(), 10.0);
    for (name, run) in order.iter().filter_map(|name| Some((name, record.0.get(*name)?))) {
        let mut units: Vec<Unit> = Vec::new();
        for row in &run.rows {
            if !units.contains(&row.unit) {
                units.push(row.unit);
            }
        }
        for unit in units {
            let rows: Vec<&Row> = run.rows.iter().filter(|row| row.unit == unit).collect();
            y += LINE;
            add(
                &mut body,
                &format!(
                    r#"<text x="10" y="{y}" class="title">{name}: {}</text>"#,
                    escaped(unit.name())
                ),
            );
            let scale = Scale::of(&rows);
            for row in &rows {
                y += LINE;
                bar(&mut body, row, class(row, &run.rows), &scale, y);
            }
            y += LINE / 2.0;
        }
    }
    let height = y + LINE;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n\
         <style>text {{ font: 12px sans-serif; fill: #222 }} .title {{ font-weight: bold }} .name {{ text-anchor: end }} \
         rect {{ fill: #2a7 }} .peer {{ fill: #999 }} line {{ stroke: #222 }}</style>\n\
         <rect width=\"100%\" height=\"100%\" style=\"fill: #fff\"/>\n{body}</svg>\n"
    )
}

fn bar(body: &mut String, row: &Row, class: &str, scale: &Scale, y: f64) {
    let (top, middle) = (y - 11.0, y - 4.5);
    let (end, from, to) = (scale.x(row.p50), scale.x(row.p10), scale.x(row.p90));
    let (width, text) = (end - LEFT, to.max(end) + 6.0);
    add(
        body,
        &format!(r#"<text x="{}" y="{y}" class="name">{}</text>"#, LEFT - 8.0, escaped(&row.name)),
    );
    add(
        body,
        &format!(r#"<rect x="{LEFT}" y="{top}" width="{width:.1}" height="13" class="{class}"/>"#),
    );
    add(body, &format!(r#"<line x1="{from:.1}" y1="{middle}" x2="{to:.1}" y2="{middle}"/>"#));
    add(body, &format!(r#"<text x="{text:.1}" y="{y}">{}</text>"#, number(row.p50)));
}

fn class(row: &Row, rows: &[Row]) -> &'static str {
    let is_peer =
        row.peer.is_none() && rows.iter().any(|other| other.peer.as_ref() == Some(&row.name));
    if is_peer { "peer" } else { "ours" }
}

struct Scale {
    from: f64,
    decades: f64,
}

impl Scale {
    /// From below the least to the most.
    fn of(rows: &[&Row]) -> Self {
        let values =
            || rows.iter().flat_map(|row| [row.p10, row.p50, row.p90]).filter(|value| 0.0 < *value);
        let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
        if most == 0.0 {
            return Self { from: 0.0, decades: 1.0 };
        }
        let from = least.log10() - 0.3;
        Self { from, decades: most.log10() - from }
    }

    fn x(&self, value: f64) -> f64 {
        if value <= 0.0 {
            return LEFT;
        }
        LEFT + (value.log10() - self.from) / self.decades * (WIDTH - LEFT - RIGHT)
    }
}

fn add(body: &mut String, element: &str) {
    writeln!(body, "{element}").expect("a string takes all");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{
        super::record::{Computer, Run},
        *,
    };

    #[test]
    fn longer_is_more_and_peers_are_grey() {
        let row = |name: &str, value| Row::new(name, Unit::Milliseconds, vec![value]);
        let rows =
            vec![row("ours <1>", 10.0).beside("theirs"), row("theirs", 100.0), row("none", 0.0)];
        let run = Run { on: Computer::default(), rows };
        let text = svg(&Record([("start".to_owned(), run)].into()), &["start", "fork"]);
        let widths: Vec<f64> = text
            .split("width=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next()?.parse().ok())
            .skip(1)
            .collect();
        assert!(widths[0] > 0.0 && widths[0] < widths[1] && widths[2] == 0.0, "{widths:?}");
        assert_eq!(text.matches("class=\"peer\"").count(), 1);
        assert!(text.contains("ours &lt;1&gt;") && text.contains("start: ms"), "{text}");
    }
}
