//! What was measured, as markdown.

use crate::{
    client::Version,
    process::{Memory, Treatment},
    row::{Measured, Row},
};

pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| | | down MiB/s | up MiB/s | request p50 ms | p99 ms | new connection p50 ms \
         | gateway's CPU s/GiB down / up | own memory MiB idle / most in each turn / after |\n\
         | --- | --- | --: | --: | --: | --: | --: | --: | --: |\n",
    );
    let mut resident = Memory::default();
    let mut resident_idle = Memory::default();
    for row in rows {
        let Measured { down, up, request, connection, .. } = &row.measured;
        text += &format!(
            "| {} | {} | {:.0} | {:.0} | {:.3} | {:.3} | {:.2} | {} | {} |\n",
            row.version.name(),
            row.name(),
            rank(down, 50),
            rank(up, 50),
            rank(request, 50),
            rank(request, 99),
            rank(connection, 50),
            cpu(row),
            memory(row),
        );
        resident_idle = resident_idle.most(row.measured.idle);
        resident = row.measured.most.iter().fold(resident, |most, one| most.most(*one));
    }
    text += &format!(
        "\nResident in all (VmRSS, with the pages of the program, which all gateways share): \
         {:.1} MiB idle, {:.1} at most.\n\n",
        mebibytes(resident_idle.resident),
        mebibytes(resident.resident),
    );
    text + &ratios(rows)
}

fn cpu(row: &Row) -> String {
    let Measured { cpu_down, cpu_up, .. } = &row.measured;
    match row.treatment {
        Some(_) => format!("{:.2} / {:.2}", rank(cpu_down, 50), rank(cpu_up, 50)),
        None => String::new(),
    }
}

fn memory(row: &Row) -> String {
    let Measured { idle, most, after, .. } = &row.measured;
    if row.treatment.is_none() {
        return String::new();
    }
    let most: Vec<String> = most.iter().map(|one| format!("{:.1}", mebibytes(one.own))).collect();
    let (idle, after) = (mebibytes(idle.own), mebibytes(after.own));
    format!("{idle:.1} / {} / {after:.1}", most.join(", "))
}

fn ratios(rows: &[Row]) -> String {
    let mut text = String::from(
        "| | opened / spliced, down | up | opened / no gateway, down | up \
         | added to a request at p50, opened | spliced |\n\
         | --- | --: | --: | --: | --: | --: | --: |\n",
    );
    for version in [Version::Http1, Version::Http2] {
        let of = |treatment| {
            let found =
                rows.iter().find(|row| (row.version, row.treatment) == (version, treatment));
            found.map(|row| &row.measured)
        };
        let (Some(direct), Some(spliced), Some(opened)) =
            (of(None), of(Some(Treatment::Spliced)), of(Some(Treatment::Opened)))
        else {
            continue;
        };
        let ratio = |of: &[f64], to: &[f64]| rank(of, 50) / rank(to, 50);
        let added = |of: &Measured| rank(&of.request, 50) - rank(&direct.request, 50);
        text += &format!(
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.3} ms | {:.3} ms |\n",
            version.name(),
            ratio(&opened.down, &spliced.down),
            ratio(&opened.up, &spliced.up),
            ratio(&opened.down, &direct.down),
            ratio(&opened.up, &direct.up),
            added(opened),
            added(spliced),
        );
    }
    text
}

/// The value that so many of a hundred are below.
fn rank(values: &[f64], percent: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() * percent / 100).copied().unwrap_or(f64::NAN)
}

#[expect(clippy::cast_precision_loss, reason = "it is a measurement")]
fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
