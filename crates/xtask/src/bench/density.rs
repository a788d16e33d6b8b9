//! `density`: what sandboxes cost that do nothing: memory that a sandbox's processes share with nobody, and processor time.
//!
//! Looked at from outside: nothing is asked of guests, gateways or server meanwhile.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    Sizes,
    at_once::at_once,
    client::Sandbox,
    place::{Place, Server},
    processes::{self, Kind, cpu_nanoseconds, private_mebibytes},
    row::{Row, Unit},
};

/// So that a few hundred are let in; what a guest has and does not touch costs nothing.
const MEMORY_MIB: Option<u64> = Some(192);
const MAKERS: usize = 4;
/// In so many something is run afterwards.
const USED: usize = 10;
/// After so long nothing of a sandbox's start is under way any more: a guest's kernel writes to its disk what was
/// changed 30 s ago, and looks for that every 5 s.
const SETTLED: Duration = Duration::from_secs(45);
const LOOKED: Duration = Duration::from_secs(30);

/// `count` is how many sandboxes there are; more than ten.
pub(super) fn measure(place: &Place, sizes: Sizes) -> Result<Vec<Row>> {
    let server = place.server("density", 0);
    // The template is made.
    let (first, _) = server.client()?.first_result(MEMORY_MIB)?;
    server.client()?.stop(&first)?;
    let before = available_mebibytes()?;
    let sandboxes = create(&server, sizes.count)?;
    let all = sandboxes.iter().map(|sandbox| Processes::of(&server, sandbox));
    let all = all.collect::<Result<Vec<_>>>()?;
    thread::sleep(SETTLED);
    let idle = Look::at(&all)?;
    let each = (before - available_mebibytes()?) / all.len() as f64;
    let used: Vec<_> = sandboxes.iter().zip(all).take(USED).collect();
    let mut client = server.client()?;
    for (sandbox, _) in &used {
        client.run(sandbox, &["node", "-e", "console.log(1)"])?;
    }
    thread::sleep(SETTLED);
    let used: Vec<Processes> = used.into_iter().map(|(_, processes)| processes).collect();
    let used = Look::at(&used)?;
    let mut rows = idle.rows("never used");
    rows.push(Row::new("never used: memory of the host for each", Unit::Mebibytes, vec![each]));
    rows.extend(used.rows("Node ran"));
    Ok(rows)
}

fn create(server: &Server, count: usize) -> Result<Vec<Sandbox>> {
    let makers = (0..MAKERS).map(|_| server.client()).collect::<Result<Vec<_>>>()?;
    let (made, _) = at_once(makers, |client, n| {
        (n..count).step_by(MAKERS).map(|_| client.create(MEMORY_MIB)).collect::<Result<Vec<_>>>()
    })?;
    Ok(made.into_iter().flatten().collect())
}

/// Those of one sandbox.
#[derive(Clone, Copy)]
struct Processes {
    machine: u32,
    gateway: u32,
}

impl Processes {
    fn of(server: &Server, sandbox: &Sandbox) -> Result<Self> {
        let find = |folder: &str, kind| {
            let folder = server.state.join(folder).join(&sandbox.session);
            processes::of(&folder, kind).first().copied()
        };
        let machine = find("machines", Kind::Machine).context("a sandbox has a machine")?;
        let gateway = find("sessions", Kind::Gateway).context("a sandbox has a gateway")?;
        Ok(Self { machine, gateway })
    }
}

/// What was seen of sandboxes that did nothing.
struct Look {
    machine_mib: Vec<f64>,
    gateway_mib: Vec<f64>,
    machine_percent: Vec<f64>,
    gateway_percent: Vec<f64>,
}

impl Look {
    fn at(all: &[Processes]) -> Result<Self> {
        let machines = || all.iter().map(|one| one.machine);
        let gateways = || all.iter().map(|one| one.gateway);
        let cpu = |pids: &mut dyn Iterator<Item = u32>| {
            pids.map(cpu_nanoseconds).collect::<Result<Vec<_>>>()
        };
        let began = Instant::now();
        let before = [cpu(&mut machines())?, cpu(&mut gateways())?];
        thread::sleep(LOOKED);
        let after = [cpu(&mut machines())?, cpu(&mut gateways())?];
        let looked = began.elapsed().as_nanos() as f64;
        let percent = |n: usize| {
            let pairs = before[n].iter().zip(&after[n]);
            pairs.map(|(before, after)| (after - before) as f64 * 100.0 / looked).collect()
        };
        Ok(Self {
            machine_mib: machines().map(private_mebibytes).collect::<Result<_>>()?,
            gateway_mib: gateways().map(private_mebibytes).collect::<Result<_>>()?,
            machine_percent: percent(0),
            gateway_percent: percent(1),
        })
    }

    fn rows(self, how: &str) -> Vec<Row> {
        let Self { machine_mib, gateway_mib, machine_percent, gateway_percent } = self;
        let sums = machine_mib.iter().zip(&gateway_mib).map(|(one, other)| one + other).collect();
        let row = |what: &str, unit, values| Row::new(format!("{how}: {what}"), unit, values);
        vec![
            row("memory of its own, QEMU and gateway", Unit::Mebibytes, sums).main(),
            row("QEMU's", Unit::Mebibytes, machine_mib),
            row("its gateway's", Unit::Mebibytes, gateway_mib),
            row("processor time, QEMU", Unit::PercentOfACore, machine_percent).main(),
            row("processor time, gateway", Unit::PercentOfACore, gateway_percent),
        ]
    }
}

fn available_mebibytes() -> Result<f64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u32>().ok());
    Ok(f64::from(kib.context("MemAvailable is in /proc/meminfo")?) / 1024.0)
}
