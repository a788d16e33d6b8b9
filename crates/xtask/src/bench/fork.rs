//! `fork`: how long the source of a live fork stands still, when its children run and how much memory each has for itself, by what the
//! source has written to its memory and by how many children there are; beside as many cold `runc run`, one after another.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{
    Sizes,
    client::Client,
    container::Container,
    place::{Place, Server},
    processes::{self, Kind, private_mebibytes},
    row::{Row, Unit},
};

const CREATE: &str = "create (clone)";
/// MiB that the source has written.
const WRITTEN: [u32; 4] = [0, 64, 256, 512];
/// MiB that a source with many children has written.
const SHARED: u32 = 256;
/// A fork of so many children is made fewer times.
const MANY: usize = 10;

/// `count` is the most children that there are.
pub(super) fn measure(place: &Place, sizes: Sizes) -> Result<Vec<Row>> {
    let (server, container) = (place.server("fork", 0), Container::new(place)?);
    let create = |name: &str| {
        let words =
            ["create", "--name", name, "--no-persistent", "--timeout", "1h", "--memory", "1024"];
        server.timed(&words)
    };
    let remove = |names: &[String]| {
        let names = names.iter().map(String::as_str);
        let words: Vec<&str> = ["rm", "-f"].into_iter().chain(names).collect();
        server.timed(&words)
    };
    create("first")?;
    remove(&["first".to_owned()])?;
    let mut client = server.client()?;
    let (mut created, mut rows) = (Vec::new(), Vec::new());
    let of_many = [(0, MANY), (SHARED, MANY), (0, sizes.count)];
    let kinds = WRITTEN.map(|written| (written, 1)).into_iter().chain(of_many);
    for (written, children) in kinds {
        let turns = if children == 1 { sizes.runs } else { sizes.runs.div_ceil(MANY) };
        let (mut forks, mut colds) = (Vec::new(), Vec::new());
        for turn in 0..turns {
            created.push(create("source")?);
            write_to_memory(&server, written)?;
            let fork = Fork::of(&server, &mut client, children)?;
            remove(&[&fork.names[..], &["source".to_owned()]].concat())?;
            forks.push(fork);
            colds.push(cold(&container, turn, children)?);
        }
        rows.extend(rows_of(written, children, &forks, &colds));
    }
    rows.push(Row::times(CREATE, created));
    Ok(rows)
}

fn rows_of(
    written: u32,
    children: usize,
    forks: &[Fork],
    colds: &[(Duration, Duration)],
) -> Vec<Row> {
    let of = |what: &str, time: fn(&Fork) -> Duration| {
        let name = format!("{written} MiB written, {}: {what}", told(children));
        Row::times(&name, forks.iter().map(time).collect())
    };
    let is_main = written == 0 && children == 1;
    let still = of("programs of the source stand still", |fork| fork.paused);
    let first = of("the first child runs", |fork| fork.first).beside(CREATE);
    let [still, first] = [still, first].map(|row| if is_main { row.main() } else { row });
    let own = forks.iter().flat_map(|fork| fork.own_mib.iter().copied()).collect();
    let own = Row::new(
        format!("{written} MiB written, {}: a child's own memory, with QEMU's", told(children)),
        Unit::Mebibytes,
        own,
    );
    let mut rows = vec![still, of("its machine is held", |fork| fork.held), first, own];
    if children != 1 {
        let last_cold = format!("{children} cold runc run: the last");
        let last = of("the last child runs", |fork| fork.last).beside(&last_cold);
        rows.push(if MANY < children { last.main() } else { last });
        rows.push(Row::times(
            format!("{children} cold runc run: the first"),
            colds.iter().map(|cold| cold.0).collect(),
        ));
        rows.push(Row::times(last_cold, colds.iter().map(|cold| cold.1).collect()));
    }
    rows
}

fn told(children: usize) -> String {
    if children == 1 { "1 child".to_owned() } else { format!("{children} children") }
}

/// When the first and the last of so many containers were done, one after another.
fn cold(container: &Container, turn: usize, count: usize) -> Result<(Duration, Duration)> {
    let began = Instant::now();
    let mut first = None;
    for n in 0..count {
        container.run(turn * count + n)?;
        first.get_or_insert_with(|| began.elapsed());
    }
    Ok((first.unwrap_or_default(), began.elapsed()))
}

/// A program in the guest that keeps so much, and goes on.
fn write_to_memory(server: &Server, mib: u32) -> Result<()> {
    let program = format!(
        "import time; kept = bytearray(b'x') * ({mib} << 20); print('kept', flush=True); time.sleep(3600)"
    );
    let script = format!(
        "setsid python3 -c \"{program}\" > out & until grep -q kept out; do sleep 0.05; done"
    );
    server.timed(&["exec", "source", "--", "sh", "-c", &script]).map(drop)
}

/// What was seen of one.
struct Fork {
    names: Vec<String>,
    paused: Duration,
    held: Duration,
    first: Duration,
    last: Duration,
    /// What each child shares with no other process.
    own_mib: Vec<f64>,
}

impl Fork {
    fn of(server: &Server, client: &mut Client, children: usize) -> Result<Self> {
        let before = processes::of(&server.state, Kind::Machine);
        let asked = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let path = "/api/v1/fumehood/sandboxes/source/fork";
        let reply = client.post(path, &json!({ "count": children }))?;
        let made = reply["sandboxes"].as_array().with_context(|| format!("no fork: {reply}"))?;
        let names = made.iter().filter_map(|one| one["sandbox"]["name"].as_str());
        let names: Vec<String> = names.map(str::to_owned).collect();
        let started = made.iter().filter_map(|one| one["session"]["startedAt"].as_u64());
        let started: Vec<u64> = started.collect();
        ensure!(names.len() == children && started.len() == names.len(), "{reply}");
        let machines = processes::of(&server.state, Kind::Machine).into_iter();
        let new = machines.filter(|pid| !before.contains(pid));
        let own_mib = new.map(private_mebibytes).collect::<Result<Vec<_>>>()?;
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
            own_mib,
        })
    }
}
