//! `cargo xtask bench egress`: what stands behind a guest's network card, beside QEMU's own user
//! networking and `passt`, in one run and in turn.
//!
//! The guest is the same for all: Debian's kernel under the emulator and one program that moves bytes
//! to and from a server on the host's loopback. The emulator is most of what it costs, so the numbers
//! that count are the ratios.
#![expect(clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to a developer")]

mod gateway;
mod guest;
mod peer;

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use anyhow::{Context, Result, bail};

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

/// Runs the benchmark; `--turns N` for more or fewer.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let turns = match words {
        [] => TURNS,
        ["--turns", count] => count.parse().context("--turns takes a number")?,
        _ => bail!("usage: cargo xtask bench egress [--turns N]"),
    };
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let fumehood = fs::canonicalize(target.join("release/fumehood"))
        .context("build the release binary first: cargo build --release -p fumehood")?;
    let cache = match (env::var_os("FUMEHOOD_CACHE_DIR"), env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache/fumehood"),
        (None, None) => bail!("set HOME or FUMEHOOD_CACHE_DIR"),
    };
    let folder = tempfile::tempdir()?;
    let bench = Bench::prepare(folder.path(), &cache, &fumehood)?;
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
    gateway_kib: Option<(u64, u64)>,
}

impl Row {
    fn new(backend: Backend, mtu: u16) -> Self {
        Self { backend, mtu, values: BTreeMap::new(), gateway_kib: None }
    }

    fn add(&mut self, measured: Measured) {
        for (name, values) in measured.values {
            self.values.entry(name).or_default().extend(values);
        }
        if let Some((idle, most)) = measured.gateway_kib {
            let (known_idle, known_most) = self.gateway_kib.unwrap_or_default();
            self.gateway_kib = Some((known_idle.max(idle), known_most.max(most)));
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
        "| | MTU | down Mbit/s | up Mbit/s | round trip p50 µs | p99 µs | connect µs | RSS MiB idle / most |\n\
         | --- | --: | --: | --: | --: | --: | --: | --: |\n",
    );
    for row in rows {
        let memory = row.gateway_kib.map_or(String::new(), |(idle, most)| {
            format!("{:.1} / {:.1}", idle as f64 / 1024.0, most as f64 / 1024.0)
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
    text
}
