//! `cargo xtask bench egress`: what our gateway costs, in one run and in turn.
//!
//! First without a guest: an example of `egress` drives a real gateway by its frame socket, with no
//! gateway beside it, spliced and opened. Then what stands behind a guest's network card: the gateway,
//! QEMU's own user networking and `passt`. The guest is the same for all: Debian's kernel under the
//! emulator and one program that moves bytes to and from a server on the host's loopback. The emulator
//! is most of what it costs, so the numbers that count are the ratios.
#![expect(clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to a developer")]

mod gateway;
mod guest;
mod peer;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use gateway::Memory;
use guest::{Backend, Bench, Measured};

const TURNS: usize = 3;
const MEGABYTES: u32 = 64;
const BACKENDS: [(Backend, u16); 5] = [
    (Backend::Gateway, 1500),
    (Backend::User, 1500),
    (Backend::Passt, 1500),
    (Backend::Gateway, 65_520),
    (Backend::Passt, 65_520),
];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Driver,
    DriverAndGuests,
}

/// Runs the benchmark; `--turns N` for more or fewer, `--driver` without guests.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let (part, words) = match words {
        ["--driver", rest @ ..] => (Part::Driver, rest),
        _ => (Part::DriverAndGuests, words),
    };
    let turns = match words {
        [] => TURNS,
        ["--turns", count] => count.parse().context("--turns takes a number")?,
        _ => bail!("usage: cargo xtask bench egress [--driver] [--turns N]"),
    };
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let fumehood = fs::canonicalize(target.join("release/fumehood"))
        .context("build the release binary first: cargo build --release -p fumehood")?;
    println!("## With a driver on the gateway's frame socket\n");
    drive(&fumehood, turns)?;
    if part == Part::DriverAndGuests {
        println!("## With a guest\n");
        compare(&fumehood, turns)?;
    }
    Ok(())
}

/// Runs the example, which prints what it measured.
fn drive(fumehood: &Path, turns: usize) -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--release", "-p", "egress", "--example", "gateway_bench", "--"])
        .arg(fumehood)
        .args(["--turns", &turns.to_string()])
        .stdin(Stdio::null())
        .status()
        .context("cargo cannot be started")?;
    ensure!(status.success(), "the driver failed: {status}");
    Ok(())
}

/// Measures a guest on every backend.
fn compare(fumehood: &Path, turns: usize) -> Result<()> {
    let cache = match (env::var_os("FUMEHOOD_CACHE_DIR"), env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache/fumehood"),
        (None, None) => bail!("set HOME or FUMEHOOD_CACHE_DIR"),
    };
    let folder = tempfile::tempdir()?;
    let bench = Bench::prepare(folder.path(), &cache, fumehood)?;
    let peer = peer::start()?;
    let mut rows: Vec<Row> = BACKENDS.map(|(backend, mtu)| Row::new(backend, mtu)).into();
    for turn in 1..=turns {
        for row in &mut rows {
            eprintln!("turn {turn} of {turns}: {} at MTU {}", row.backend.name(), row.mtu);
            row.add(bench.measure(row.backend, row.mtu, peer.port(), MEGABYTES)?);
        }
    }
    println!("{}", markdown(&rows));
    Ok(())
}

/// All turns of one backend.
struct Row {
    backend: Backend,
    mtu: u16,
    values: BTreeMap<String, Vec<f64>>,
    memory: Option<(Memory, Memory)>,
}

impl Row {
    fn new(backend: Backend, mtu: u16) -> Self {
        Self { backend, mtu, values: BTreeMap::new(), memory: None }
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

    fn median(&self, name: &str) -> f64 {
        let mut values = self.values.get(name).cloned().unwrap_or_default();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| | MTU | down Mbit/s | up Mbit/s | round trip p50 µs | p99 µs | connect µs \
         | gateway's own memory MiB idle / most |\n\
         | --- | --: | --: | --: | --: | --: | --: | --: |\n",
    );
    let (mut resident_idle, mut resident_most) = (0, 0);
    for row in rows {
        let memory = row.memory.map_or(String::new(), |(idle, most)| {
            resident_idle = idle.resident_kib.max(resident_idle);
            resident_most = most.resident_kib.max(resident_most);
            format!("{:.1} / {:.1}", mebibytes(idle.own_kib), mebibytes(most.own_kib))
        });
        text += &format!(
            "| {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} | {memory} |\n",
            row.backend.name(),
            row.mtu,
            row.median("down_mbit"),
            row.median("up_mbit"),
            row.median("rtt_p50_us"),
            row.median("rtt_p99_us"),
            row.median("connect_us"),
        );
    }
    text + &format!(
        "\nResident in all (VmRSS, with the pages of the program, which all gateways share): \
         {:.1} MiB idle, {:.1} at most.\n",
        mebibytes(resident_idle),
        mebibytes(resident_most),
    )
}

fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
