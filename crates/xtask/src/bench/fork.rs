//! `cargo xtask bench fork`: how long the source of a live fork stands still, and when its children run,
//! by what it has written to its memory and by how many children there are.
#![expect(clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::print_stdout, reason = "it talks to a developer")]

use std::{
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{
    place::{Place, timed},
    table::{Row, markdown},
};

const RUNS: usize = 10;
const STATE: &str = "fork";
/// MiB that the source has written, and children at once.
const KINDS: [(u32, u32); 5] = [(0, 1), (64, 1), (256, 1), (0, 10), (0, 100)];

/// Runs the benchmark; `--runs N` for more or fewer.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let runs = match words {
        [] => RUNS,
        ["--runs", count] => count.parse().context("--runs takes a number")?,
        _ => bail!("usage: cargo xtask bench fork [--runs N]"),
    };
    let place = Place::new()?;
    let result = measure(&place, runs);
    place.clean();
    println!("{}", markdown(&result?, "create (clone)"));
    Ok(())
}

fn measure(place: &Place, runs: usize) -> Result<Vec<Row>> {
    let create = |name: &str| {
        let words =
            ["create", "--name", name, "--no-persistent", "--timeout", "1h", "--memory", "1024"];
        timed(&mut place.fumehood(&place.cache, STATE, &words))
    };
    let remove = |names: &[String]| {
        let names = names.iter().map(String::as_str);
        let words: Vec<&str> = ["rm", "-f"].into_iter().chain(names).collect();
        timed(&mut place.fumehood(&place.cache, STATE, &words))
    };
    create("first")?;
    remove(&["first".to_owned()])?;
    let mut created = Vec::new();
    let mut rows = Vec::new();
    for (written, children) in KINDS {
        let turns = if children == 1 { runs } else { runs.div_ceil(5) };
        let mut forks = Vec::new();
        for _ in 0..turns {
            created.push(create("source")?);
            write_to_memory(place, written)?;
            let fork = Fork::of(place, children)?;
            remove(&[&fork.names[..], &["source".to_owned()]].concat())?;
            forks.push(fork);
        }
        let of = |what: &str, time: fn(&Fork) -> Duration| {
            let name = format!("{written} MiB written, {children} children: {what}");
            Row::new(&name, forks.iter().map(time).collect())
        };
        rows.push(of("programs of the source stand still", |fork| fork.paused));
        rows.push(of("its machine is held", |fork| fork.held));
        rows.push(of("the first child runs", |fork| fork.first));
        rows.push(of("the last child runs", |fork| fork.last));
    }
    rows.insert(0, Row::new("create (clone)", created));
    Ok(rows)
}

/// A program in the guest that keeps so much, and goes on.
fn write_to_memory(place: &Place, mib: u32) -> Result<()> {
    let program = format!(
        "import time; kept = bytearray(b'x') * ({mib} << 20); print('kept', flush=True); time.sleep(3600)"
    );
    let script = format!(
        "setsid python3 -c \"{program}\" > out & until grep -q kept out; do sleep 0.05; done"
    );
    let words = ["exec", "source", "--", "sh", "-c", &script];
    timed(&mut place.fumehood(&place.cache, STATE, &words)).map(drop)
}

/// What was seen of one.
struct Fork {
    names: Vec<String>,
    paused: Duration,
    held: Duration,
    first: Duration,
    last: Duration,
}

impl Fork {
    fn of(place: &Place, children: u32) -> Result<Self> {
        let asked = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let reply = Command::new("curl")
            .args(["-sS", "-X", "POST", "-H", "content-type: application/json"])
            .args(["-d", &format!("{{\"count\": {children}}}"), "--unix-socket"])
            .arg(place.state(STATE).join("api.sock"))
            .arg("http://localhost/api/v1/fumehood/sandboxes/source/fork")
            .stderr(Stdio::inherit())
            .output()?;
        let reply: Value = serde_json::from_slice(&reply.stdout)?;
        let made = reply["sandboxes"].as_array().with_context(|| format!("no fork: {reply}"))?;
        let names = made.iter().filter_map(|one| one["sandbox"]["name"].as_str());
        let names: Vec<String> = names.map(str::to_owned).collect();
        let started = made.iter().filter_map(|one| one["session"]["startedAt"].as_u64());
        let started: Vec<u64> = started.collect();
        ensure!(names.len() == children as usize && started.len() == names.len(), "{reply}");
        let since =
            |at: Option<&u64>| Duration::from_millis(*at.unwrap_or(&0)).saturating_sub(asked);
        let told =
            |name: &str| Duration::from_secs_f64(reply[name].as_f64().unwrap_or(0.0) / 1000.0);
        Ok(Self {
            names,
            paused: told("pausedMs"),
            held: told("heldMs"),
            first: since(started.iter().min()),
            last: since(started.iter().max()),
        })
    }
}
