//! `start`: from nothing to a command's result, beside native containers.
//!
//! Cold boot: a template is made first each time, in a cache of its own that shares the images. Clone and pool: `fumehood
//! run` as it is used, without and with a machine that is ready, and the same through the API. Peers, in the same run and in turn: `runc run`
//! and `runc exec` of busybox, `bwrap` of the same, and QEMU by itself, which boots our kernel with busybox and no disk, runs it and powers off.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    Sizes,
    container::Container,
    guest::{Guest, Recipe},
    place::{Place, Server, clocked},
    row::Row,
};

const RUNC: &str = "runc run";
const RUNC_EXEC: &str = "runc exec";
const QEMU: &str = "QEMU alone, the same kernel: boots, runs busybox, powers off";
const POOL: usize = 2;

/// `count` is how many cold boots there are.
pub(super) fn measure(place: &Place, sizes: Sizes) -> Result<Vec<Row>> {
    let container = Container::new(place)?;
    let (warm, pooled) = (place.server("warm", 0), place.server("pooled", POOL));
    let run = |server: &Server| server.timed(&["run", "--", "true"]);
    for server in [&warm, &pooled, &pooled] {
        run(server).context("`fumehood run` works; `fumehood setup` was done")?;
    }
    let (mut clone_api, mut pool_api) = (warm.client()?, pooled.client()?);
    let exec = ["exec", "bench", "--", "true"];
    warm.timed(&["create", "--name", "bench", "--timeout", "1h"])?;
    let mut times: [Vec<Duration>; 8] = Default::default();
    let [pools, pool_results, clones, clone_results, runc_runs, bwraps, execs, runc_execs] =
        &mut times;
    for turn in 0..sizes.runs {
        clones.push(run(&warm)?);
        let (sandbox, time) = clone_api.first_result(None)?;
        clone_api.stop(&sandbox)?;
        clone_results.push(time);
        runc_runs.push(container.run(turn)?);
        bwraps.extend(container.bwrap());
        execs.push(warm.timed(&exec)?);
        runc_execs.push(container.exec()?);
        pooled.fill_pool()?;
        pools.push(run(&pooled)?);
        pooled.fill_pool()?;
        let (sandbox, time) = pool_api.first_result(None)?;
        pool_api.stop(&sandbox)?;
        pool_results.push(time);
    }
    let guest = lone_guest(place)?;
    let [mut cold, mut alone] = [const { Vec::new() }; 2];
    for _ in 0..sizes.count {
        cold.push(cold_boot(place)?);
        alone.push(boot_alone(&guest)?);
    }
    let [pools, pool_results, clones, clone_results, runc_runs, bwraps, execs, runc_execs] = times;
    let mut rows = vec![
        Row::times("API: create and first result (pool)", pool_results).beside(RUNC).main(),
        Row::times("API: create and first result (no pool)", clone_results).beside(RUNC).main(),
        Row::times("fumehood run (pool)", pools).beside(RUNC).main(),
        Row::times("fumehood run (no pool)", clones).beside(RUNC),
        Row::times("fumehood run, no template yet (boots, warms, clones)", cold).beside(QEMU),
        Row::times(QEMU, alone).beside(RUNC),
        Row::times(RUNC, runc_runs),
        Row::times("fumehood exec", execs).beside(RUNC_EXEC).main(),
        Row::times(RUNC_EXEC, runc_execs),
    ];
    if !bwraps.is_empty() {
        rows.push(Row::times("bwrap", bwraps).beside(RUNC));
    }
    Ok(rows)
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

fn boot_alone(guest: &Guest) -> Result<Duration> {
    let (output, time) = clocked(|| Ok(guest.qemu("").output()?))?;
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
