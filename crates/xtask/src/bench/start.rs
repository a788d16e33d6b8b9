//! `start`: from nothing to a command's result, beside native containers.
//!
//! Cold boot: a template is made first each time, in a cache of its own that shares the images. Clone and pool: `fumehood
//! run` as it is used, without and with a machine that is ready, and the same through the API. Peers, in the same run and in turn: `runc run`
//! and `runc exec` of busybox, and `bwrap` of the same.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

use super::{
    Sizes,
    container::Container,
    place::{Place, Server},
    row::Row,
};

const RUNC: &str = "runc run";
const RUNC_EXEC: &str = "runc exec";
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
    let cold = (0..sizes.count).map(|_| cold_boot(place)).collect::<Result<_>>()?;
    let [pools, pool_results, clones, clone_results, runc_runs, bwraps, execs, runc_execs] = times;
    let mut rows = vec![
        Row::times("API: create and first result (pool)", pool_results).beside(RUNC).main(),
        Row::times("API: create and first result (no pool)", clone_results).beside(RUNC).main(),
        Row::times("fumehood run (pool)", pools).beside(RUNC).main(),
        Row::times("fumehood run (no pool)", clones).beside(RUNC),
        Row::times("fumehood run, no template yet (boots, warms, clones)", cold).beside(RUNC),
        Row::times(RUNC, runc_runs),
        Row::times("fumehood exec", execs).beside(RUNC_EXEC).main(),
        Row::times(RUNC_EXEC, runc_execs),
    ];
    if !bwraps.is_empty() {
        rows.push(Row::times("bwrap", bwraps).beside(RUNC));
    }
    Ok(rows)
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
