//! `egress`: what our gateway costs, in one run and in turn.
//!
//! First without a guest: an example of `egress` drives a real gateway by its frame socket, with no
//! gateway beside it, spliced and opened. Then what stands behind a guest's network card: the gateway,
//! QEMU's own user networking and `passt`. The guest is the same for all: Debian's kernel under the
//! emulator and one program that moves bytes to and from a server on the host's loopback. The emulator
//! is most of what it costs, so the numbers that count are the ratios.
#![expect(clippy::print_stderr, reason = "it talks to a developer")]

mod backend;
mod peer;

use std::{
    collections::BTreeMap,
    env,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use egress::gateway::lone::Memory;
use serde::Deserialize;

use super::{
    Sizes,
    place::Place,
    row::{Row, Unit},
};
use backend::{Backend, Bench, Card, Measured, Setup};

const fn setup(backend: Backend, mtu: u16, card: Card) -> Setup {
    Setup { backend, mtu, card }
}

/// Our guests' packets are the large ones. The gateway is what differs from the plain ones beside it,
/// the card from the last.
const SETUPS: [Setup; 6] = [
    setup(Backend::Gateway, 1500, Card::Plain),
    setup(Backend::User, 1500, Card::Plain),
    setup(Backend::Passt, 1500, Card::Plain),
    setup(Backend::Gateway, 65_520, Card::Ours),
    setup(Backend::Passt, 65_520, Card::Plain),
    setup(Backend::Passt, 65_520, Card::Ours),
];

/// `count` is how many MiB a guest moves each way.
pub(super) fn measure(place: &Place, sizes: Sizes) -> Result<Vec<Row>> {
    let mut rows = drive(&place.fumehood, sizes.runs)?;
    rows.extend(compare(place, sizes)?);
    Ok(rows)
}

/// What the example says of one thing.
#[derive(Deserialize)]
struct Said {
    name: String,
    unit: Unit,
    values: Vec<f64>,
    peer: Option<String>,
}

/// Runs the example.
fn drive(fumehood: &Path, turns: usize) -> Result<Vec<Row>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["run", "--release", "--quiet", "-p", "egress", "--example", "gateway_bench", "--"])
        .arg(fumehood)
        .args(["--turns", &turns.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be started")?;
    ensure!(output.status.success(), "the driver failed: {}", output.status);
    let said: Vec<Said> = serde_json::from_slice(&output.stdout)?;
    let row = |Said { name, unit, values, peer }| Row { peer, ..Row::new(name, unit, values) };
    Ok(said.into_iter().map(row).collect())
}

/// Measures a guest on every backend.
fn compare(place: &Place, sizes: Sizes) -> Result<Vec<Row>> {
    let bench = Bench::prepare(place)?;
    let peer = peer::start()?;
    let megabytes = u32::try_from(sizes.count)?;
    let mut all = SETUPS.map(Turns::new);
    for turn in 1..=sizes.runs {
        for turns in &mut all {
            let setup = turns.setup;
            eprintln!("{}", setup.name(&format!("turn {turn} of {}", sizes.runs)));
            turns.add(bench.measure(setup, peer.port(), megabytes)?);
        }
    }
    Ok(all.into_iter().flat_map(Turns::rows).collect())
}

/// All turns of one setup.
struct Turns {
    setup: Setup,
    values: BTreeMap<String, Vec<f64>>,
    memory: Option<(Memory, Memory)>,
}

/// What the guest's program prints, and what it is.
const TOLD: [(&str, &str, Unit); 5] = [
    ("down_mbit", "down", Unit::MegabitsPerSecond),
    ("up_mbit", "up", Unit::MegabitsPerSecond),
    ("rtt_p50_us", "round trip, median", Unit::Microseconds),
    ("rtt_p99_us", "round trip, 99 of 100", Unit::Microseconds),
    ("connect_us", "new connection", Unit::Microseconds),
];

impl Turns {
    fn new(setup: Setup) -> Self {
        Self { setup, values: BTreeMap::new(), memory: None }
    }

    fn add(&mut self, measured: Measured) {
        for (name, values) in measured.values {
            self.values.entry(name).or_default().extend(values);
        }
        if let Some((idle, most)) = measured.memory {
            let (known_idle, known_most) = self.memory.unwrap_or_default();
            self.memory = Some((known_idle.most(idle), known_most.most(most)));
        }
    }

    fn rows(self) -> Vec<Row> {
        let Self { setup, mut values, memory } = self;
        let Setup { backend, mtu, .. } = setup;
        let passt = Setup { backend: Backend::Passt, card: Card::Plain, ..setup };
        let is_main = backend == Backend::Gateway && mtu != 1500;
        let mut rows = Vec::new();
        for (told, what, unit) in TOLD {
            let row = Row::new(setup.name(what), unit, values.remove(told).unwrap_or_default());
            rows.push(if setup == passt { row } else { row.beside(passt.name(what)) });
        }
        if is_main {
            rows[..2].iter_mut().for_each(|row| row.main = true);
        }
        if let Some((idle, most)) = memory {
            let row = |what: &str, kib: u64| {
                let what = format!("gateway's own memory, {what}");
                Row::new(setup.name(&what), Unit::Mebibytes, vec![kib as f64 / 1024.0])
            };
            rows.extend([row("idle", idle.own), row("at most", most.own)]);
        }
        rows
    }
}
