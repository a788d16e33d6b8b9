//! What was measured, as JSON for `cargo xtask bench egress`: each value with its name, its unit and what it is beside.

use egress::gateway::lone::Memory;
use serde_json::{Value, json};

use crate::row::{Measured, Row};

pub(crate) fn json(rows: &[Row]) -> Value {
    rows.iter().flat_map(of).collect()
}

fn of(row: &Row) -> Vec<Value> {
    let Measured { down, up, request, connection, cpu_down, cpu_up, idle, most, after } =
        &row.measured;
    let name = |treatment: &str, what: &str| format!("{}, {treatment}: {what}", row.version.name());
    let value = |what: &str, unit: &str, values: &[f64]| {
        let peer = row.treatment.map(|_| name("no gateway", what));
        json!({ "name": name(row.name(), what), "unit": unit, "values": values, "peer": peer })
    };
    let alone = |what: &str, unit: &str, values: &[f64]| json!({ "name": name(row.name(), what), "unit": unit, "values": values, "peer": null });
    let mut all = vec![
        value("down", "MiB/s", down),
        value("up", "MiB/s", up),
        value("request", "ms", request),
        value("new connection", "ms", connection),
    ];
    if row.treatment.is_some() {
        let own = |memory: &Memory| mebibytes(memory.own);
        let resident = most.iter().map(|memory| mebibytes(memory.resident)).collect::<Vec<_>>();
        all.extend([
            alone("gateway's processor time, down", "s/GiB", cpu_down),
            alone("gateway's processor time, up", "s/GiB", cpu_up),
            alone("gateway's own memory, idle", "MiB", &[own(idle)]),
            alone(
                "gateway's own memory, at most",
                "MiB",
                &most.iter().map(own).collect::<Vec<_>>(),
            ),
            alone("gateway's own memory, after", "MiB", &[own(after)]),
            alone("with the program's pages, which all gateways share, at most", "MiB", &resident),
        ]);
    }
    all
}

#[expect(clippy::cast_precision_loss, reason = "it is a measurement")]
fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
