//! `start`: from nothing to a command's result, beside native containers.
//!
//! Cold boot: a template is made first each time, in a cache of its own that shares the images. Clone and pool: `fumehood
//! run` as it is used, without and with a machine that is ready, and the same through the API; without one by the path's QEMU too, where a build
//! of our own is used. Peers, in the same run and in turn: `runc run`
//! and `runc exec` of busybox, `bwrap` of the same, and QEMU by itself, which boots our kernel with busybox and no disk, runs it and powers off.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    Sizes,
    client::Client,
    container::Container,
    guest::{Guest, Recipe},
    place::{Place, Server, clocked, paths_qemu},
    row::Row,
};

const RUNC: &str = "runc run";
const RUNC_EXEC: &str = "runc exec";
const QEMU: &str = "QEMU alone, the same kernel: boots, runs busybox, powers off";
const POOL: usize = 2;

/// What took how long, a value for each turn.
#[derive(Default)]
struct Times {
    pools: Vec<Duration>,
    pool_results: Vec<Duration>,
    clones: Vec<Duration>,
    clone_results: Vec<Duration>,
    other_results: Vec<Duration>,
    runc_runs: Vec<Duration>,
    bwraps: Vec<Duration>,
    execs: Vec<Duration>,
    runc_execs: Vec<Duration>,
    cold: Vec<Duration>,
    alone: Vec<Duration>,
}

/// `count` is how many cold boots there are.
pub(super) fn measure(place: &Place, sizes: Sizes) -> Result<Vec<Row>> {
    let container = Container::new(place)?;
    let (warm, pooled) = (place.server("warm", 0), place.server("pooled", POOL));
    let run = |server: &Server| server.timed(&["run", "--", "true"]);
    for server in [&warm, &pooled, &pooled] {
        run(server).context("`fumehood run` works; `fumehood setup` was done")?;
    }
    let (mut clone_api, mut pool_api) = (warm.client()?, pooled.client()?);
    let other = paths_qemu().filter(|other| *other != place.qemu);
    let other = other.map(|qemu| place.server("other", 0).by(qemu));
    let mut other_api = None;
    if let Some(server) = &other {
        run(server)?;
        other_api = Some(server.client()?);
    }
    let exec = ["exec", "bench", "--", "true"];
    warm.timed(&["create", "--name", "bench", "--timeout", "1h"])?;
    let mut times = Times::default();
    for turn in 0..sizes.runs {
        times.clones.push(run(&warm)?);
        times.clone_results.push(first_result(&mut clone_api)?);
        if let Some(api) = &mut other_api {
            times.other_results.push(first_result(api)?);
        }
        times.runc_runs.push(container.run(turn)?);
        times.bwraps.extend(container.bwrap());
        times.execs.push(warm.timed(&exec)?);
        times.runc_execs.push(container.exec()?);
        pooled.fill_pool()?;
        times.pools.push(run(&pooled)?);
        pooled.fill_pool()?;
        times.pool_results.push(first_result(&mut pool_api)?);
    }
    let guest = lone_guest(place)?;
    for _ in 0..sizes.count {
        times.cold.push(cold_boot(place)?);
        times.alone.push(boot_alone(&guest, &place.qemu)?);
    }
    Ok(times.rows())
}

/// From the request for a sandbox to the result of its first command.
fn first_result(api: &mut Client) -> Result<Duration> {
    let (sandbox, time) = api.first_result(None)?;
    api.stop(&sandbox)?;
    Ok(time)
}

impl Times {
    fn rows(self) -> Vec<Row> {
        let rows = [
            Row::times("API: create and first result (pool)", self.pool_results)
                .beside(RUNC)
                .main(),
            Row::times("API: create and first result (no pool)", self.clone_results)
                .beside(RUNC)
                .main(),
            Row::times(
                "API: create and first result (no pool, the path's QEMU)",
                self.other_results,
            )
            .beside(RUNC)
            .main(),
            Row::times("fumehood run (pool)", self.pools).beside(RUNC).main(),
            Row::times("fumehood run (no pool)", self.clones).beside(RUNC),
            Row::times("fumehood run, no template yet (boots, warms, clones)", self.cold)
                .beside(QEMU),
            Row::times(QEMU, self.alone).beside(RUNC),
            Row::times(RUNC, self.runc_runs),
            Row::times("fumehood exec", self.execs).beside(RUNC_EXEC).main(),
            Row::times(RUNC_EXEC, self.runc_execs),
            Row::times("bwrap", self.bwraps).beside(RUNC),
        ];
        // Not everything is there everywhere.
        rows.into_iter().filter(|row| row.runs != 0).collect()
    }
}

/// One that does as little as a guest can.
fn lone_guest(place: &Place) -> Result<Guest> {
    let recipe = Recipe {
        init: include_str!("start/init.sh"),
        program: "fn main() {}",
        modules: &[],
        programs: &[],
    };
    let folder = place.folder.join("alone");
    fs::create_dir(&folder)?;
    Guest::prepare(&folder, &place.cache, &recipe)
}

fn boot_alone(guest: &Guest, qemu: &Path) -> Result<Duration> {
    let (output, time) = clocked(|| Ok(guest.qemu(qemu, "").output()?))?;
    let said = String::from_utf8_lossy(&output.stdout);
    // A kernel that gave up ends QEMU in the same way.
    ensure!(said.contains("all went well"), "the guest did not run: {said}");
    Ok(time)
}

/// The first `run` with kernel and image at hand and no template.
fn cold_boot(place: &Place) -> Result<Duration> {
    let cache = place.folder.join("cache");
    // There is none at the first.
    drop(fs::remove_dir_all(&cache));
    fs::create_dir_all(&cache)?;
    for entry in fs::read_dir(&place.cache)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != "templates" {
            std::os::unix::fs::symlink(entry.path(), cache.join(name))?;
        }
    }
    let server = place.server("cold", 0).on_cache(cache);
    let time = server.timed(&["run", "--", "true"])?;
    server.end()?;
    Ok(time)
}
