//! `pause`: how long it takes to put a sandbox on the disk, what it takes there, and how long until it has run a command again;
//! the same of a snapshot with memory and of sandboxes that start from it; beside a new sandbox, and one that starts from its disk.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    Sizes,
    client::{Client, Sandbox},
    place::{Place, Server, clocked},
    row::{Row, Unit},
};

const CREATE: &str = "create (clone) → first result";
const LOADS: [Load; 4] =
    [Load::Written(0), Load::Written(64), Load::Written(256), Load::Freed(256)];
const MIB: f64 = (1 << 20) as f64;

/// `count` is not used.
pub(super) fn measure(place: &Place, sizes: Sizes) -> Result<Vec<Row>> {
    let server = place.server("pause", 0);
    // The template is made.
    Sleeper::make(&mut server.client()?)?.remove(&server)?;
    let mut created = Vec::new();
    let mut rows = Vec::new();
    for load in LOADS {
        let mut rounds = Vec::new();
        for _ in 0..sizes.runs {
            let mut client = server.client()?;
            let (made, took) = clocked(|| Sleeper::make(&mut client))?;
            created.push(took);
            made.write_to_memory(&server, load)?;
            rounds.push(made.round(&server, &mut client)?);
            made.remove(&server)?;
        }
        rows.extend(rows_of(load, &rounds));
    }
    rows.push(Row::times(CREATE, created));
    Ok(rows)
}

/// What the sandbox has done to its memory beside what it does by itself, in MiB.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Written(u32),
    /// Written, and given back to its kernel.
    Freed(u32),
}

fn rows_of(load: Load, rounds: &[Round]) -> Vec<Row> {
    let is_idle = load == Load::Written(0);
    let load = match load {
        Load::Written(mib) => format!("{mib} MiB written"),
        Load::Freed(mib) => format!("{mib} MiB written and freed"),
    };
    let name = |what: &str| format!("{load}: {what}");
    let times = |what: &str, time: fn(&Round) -> Duration| {
        Row::times(name(what), rounds.iter().map(time).collect())
    };
    let woken = times("resume → first result", |round| round.woken).beside(CREATE);
    let stored = rounds.iter().map(|round| round.stored_bytes / MIB).collect();
    let kept = |what: &str, time: fn(&Kept) -> Duration| {
        Row::times(
            name(&format!("snapshot with memory{what}")),
            rounds.iter().map(|round| time(&round.kept)).collect(),
        )
    };
    vec![
        times("pause", |round| round.paused),
        Row::new(name("on the disk"), Unit::Mebibytes, stored),
        times("resume", |round| round.resumed),
        if is_idle { woken.main() } else { woken },
        times("resume from its disk → first result", |round| round.from_disk).beside(CREATE),
        kept("", |kept| kept.taken),
        kept(": first create → first result", |kept| kept.first).beside(CREATE),
        kept(": further create → first result", |kept| kept.further).beside(CREATE),
    ]
}

/// A sandbox that is paused.
struct Sleeper {
    name: String,
    sandbox: Sandbox,
}

/// What was seen of one.
struct Round {
    paused: Duration,
    stored_bytes: f64,
    /// By itself: it runs, and its agent has answered.
    resumed: Duration,
    woken: Duration,
    from_disk: Duration,
    kept: Kept,
}

/// Of a snapshot with memory.
struct Kept {
    taken: Duration,
    /// The memory is unpacked for it.
    first: Duration,
    further: Duration,
}

impl Sleeper {
    /// One that has run a command.
    fn make(client: &mut Client) -> Result<Self> {
        let asked = json!({
            "timeout": 3_600_000, "resources": { "vcpus": 1, "memory": 1024 },
        });
        let made = client.post("/api/v3/sandboxes", &asked)?;
        let made = Self::of(&made)?;
        client.run(&made.sandbox, &["true"])?;
        Ok(made)
    }

    fn of(reply: &Value) -> Result<Self> {
        let name = reply["sandbox"]["name"].as_str().context("it has a name")?.to_owned();
        let session = reply["session"]["id"].as_str().context("it has a session")?.to_owned();
        Ok(Self { name, sandbox: Sandbox { session } })
    }

    /// A program in the guest that keeps so much, or gives it back, and goes on.
    fn write_to_memory(&self, server: &Server, load: Load) -> Result<()> {
        let (mib, then) = match load {
            Load::Written(mib) => (mib, "pass"),
            Load::Freed(mib) => (mib, "del kept"),
        };
        let program = format!(
            "import os, time; kept = os.urandom(1 << 20) * {mib}; {then}; print('kept', flush=True); time.sleep(3600)"
        );
        let script = format!(
            "setsid python3 -c \"{program}\" > out & until grep -q kept out; do sleep 0.05; done"
        );
        server.timed(&["exec", &self.name, "--", "sh", "-c", &script]).map(drop)
    }

    fn kept(&self, server: &Server, client: &mut Client) -> Result<Kept> {
        let path = format!("/api/v2/sandboxes/sessions/{}/snapshot", self.sandbox.session);
        let (reply, taken) = clocked(|| client.post(&path, &json!({ "memory": true })))?;
        let id = reply["snapshot"]["id"].as_str().context("it has an id")?.to_owned();
        let asked = json!({ "source": { "type": "snapshot", "snapshotId": id } });
        let mut started = || {
            let (made, took) = clocked(|| {
                let made = Self::of(&client.post("/api/v3/sandboxes", &asked)?)?;
                client.run(&made.sandbox, &["true"]).map(|_| made)
            })?;
            made.remove(server)?;
            anyhow::Ok(took)
        };
        let (first, further) = (started()?, started()?);
        server.timed(&["snapshot", "rm", &id])?;
        Ok(Kept { taken, first, further })
    }

    fn round(&self, server: &Server, client: &mut Client) -> Result<Round> {
        let path = format!("/api/v1/fumehood/sandboxes/{}/pause", self.name);
        let (reply, paused) = clocked(|| client.post(&path, &json!({})))?;
        let stored_bytes = reply["storedBytes"].as_f64().context("it says what it takes")?;
        let woken = clocked(|| client.run(&self.sandbox, &["true"]))?.1;
        client.post(&path, &json!({}))?;
        let resume = format!("/api/v2/sandboxes/{}?resume=true", self.name);
        let resumed = clocked(|| client.get(&resume))?.1;
        let kept = self.kept(server, client)?;
        client.stop(&self.sandbox)?;
        let mut client = server.client()?;
        let from_disk = clocked(|| {
            let resumed = client.get(&resume)?;
            client.run(&Self::of(&resumed)?.sandbox, &["true"])
        })?;
        Ok(Round { paused, stored_bytes, resumed, woken, from_disk: from_disk.1, kept })
    }

    fn remove(&self, server: &Server) -> Result<()> {
        server.timed(&["rm", "-f", &self.name]).map(drop)
    }
}
