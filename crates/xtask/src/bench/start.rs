//! `cargo xtask bench start`: from nothing to a command's result, beside a native container.
//!
//! Cold boot: a template is made first each time, in a cache of its own that shares the images. Clone and pool: `fumehood
//! run` as it is used, without and with a machine that is ready, and the same through the API. Peers, in the same run and in turn: `runc run` and `runc exec` of busybox.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::print_stdout, reason = "it talks to a developer")]

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    place::{POOLED, Place, handover, timed},
    table::{Row, markdown, milliseconds},
};

mod api;

use api::Api;

const RUNS: usize = 30;
const COLD_RUNS: usize = 3;

/// Runs the benchmark; `--runs N` for more or fewer.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let runs = match words {
        [] => RUNS,
        ["--runs", count] => count.parse().context("--runs takes a number")?,
        _ => bail!("usage: cargo xtask bench start [--runs N]"),
    };
    let place = Place::new()?;
    let result = measure(&place, runs);
    place.clean();
    let rows = result?;
    println!("{}", markdown(&rows, "runc run"));
    for row in &rows {
        println!(
            "{}: p50 {:.1} ms over {} runs",
            row.name,
            milliseconds(row.percentile(50)),
            row.count()
        );
    }
    Ok(())
}

fn measure(place: &Place, runs: usize) -> Result<Vec<Row>> {
    let container = Container::new(place)?;
    let run = |state| timed(&mut place.fumehood(&place.cache, state, &["run", "--", "true"]));
    for state in ["warm", POOLED, POOLED] {
        run(state).context("`fumehood run` works; `fumehood setup` was done")?;
    }
    let (mut clone_api, mut pool_api) =
        (Api::connect(&place.state("warm"))?, Api::connect(&place.state(POOLED))?);
    let exec = ["exec", "bench", "--", "true"];
    timed(&mut place.fumehood(
        &place.cache,
        "warm",
        &["create", "--name", "bench", "--timeout", "1h"],
    ))?;
    let mut times: [Vec<Duration>; 7] = Default::default();
    let [pools, pool_results, clones, clone_results, runc_runs, execs, runc_execs] = &mut times;
    for turn in 0..runs {
        clones.push(run("warm")?);
        clone_results.push(clone_api.first_result()?);
        runc_runs.push(container.run(turn)?);
        execs.push(timed(&mut place.fumehood(&place.cache, "warm", &exec))?);
        runc_execs.push(container.exec()?);
        place.fill_pool()?;
        pools.push(run(POOLED)?);
        place.fill_pool()?;
        pool_results.push(pool_api.first_result()?);
    }
    timed(&mut place.fumehood(&place.cache, "warm", &["rm", "-f", "bench"]))?;
    container.end()?;
    let cold = (0..COLD_RUNS).map(|_| cold_boot(place)).collect::<Result<_>>()?;
    let [pools, pool_results, clones, clone_results, runc_runs, execs, runc_execs] = times;
    Ok(vec![
        Row::new("fumehood run, no template yet (boots, warms, clones)", cold),
        Row::new("fumehood run (clone)", clones),
        Row::new("API: create and first result (clone)", clone_results),
        Row::new("fumehood run (pool)", pools),
        Row::new("API: create and first result (pool)", pool_results),
        Row::new("runc run", runc_runs),
        Row::new("fumehood exec", execs),
        Row::new("runc exec", runc_execs),
    ])
}

/// The first `run` with kernel and image at hand and no template.
fn cold_boot(place: &Place) -> Result<Duration> {
    let cache = place.folder.join("cache");
    drop(fs::remove_dir_all(&cache));
    fs::create_dir_all(&cache)?;
    for entry in fs::read_dir(&place.cache)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != "templates" {
            std::os::unix::fs::symlink(entry.path(), cache.join(name))?;
        }
    }
    let time = timed(&mut place.fumehood(&cache, "cold", &["run", "--", "true"]))?;
    handover(&place.folder.join("cold"))?;
    Ok(time)
}

/// Busybox in a container, as `runc spec` makes it.
struct Container {
    bundle: PathBuf,
    root: PathBuf,
}

impl Container {
    fn new(place: &Place) -> Result<Self> {
        let (bundle, root) = (place.folder.join("bundle"), place.folder.join("runc"));
        fs::create_dir_all(bundle.join("rootfs/bin"))?;
        let busybox =
            fs::read("/bin/busybox").context("busybox is missing: apt install busybox-static")?;
        let path = bundle.join("rootfs/bin/busybox");
        fs::write(&path, busybox)?;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        timed(Command::new("runc").arg("spec").current_dir(&bundle))
            .context("runc is missing: apt install runc")?;
        let container = Self { bundle, root };
        container.configure(&["/bin/busybox", "sleep", "100000"])?;
        let status = container
            .runc(&["run", "-d", "bench"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "runc run does not work here");
        container.configure(&["/bin/busybox", "true"])?;
        Ok(container)
    }

    fn configure(&self, argv: &[&str]) -> Result<()> {
        let path = self.bundle.join("config.json");
        let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
        spec["process"]["args"] = argv.into();
        spec["process"]["terminal"] = false.into();
        fs::write(path, serde_json::to_vec(&spec)?)?;
        Ok(())
    }

    fn runc(&self, words: &[&str]) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(&self.root).args(words).current_dir(&self.bundle);
        command
    }

    fn run(&self, turn: usize) -> Result<Duration> {
        timed(&mut self.runc(&["run", &format!("turn-{turn}")]))
    }

    fn exec(&self) -> Result<Duration> {
        timed(&mut self.runc(&["exec", "bench", "/bin/busybox", "true"]))
    }

    fn end(&self) -> Result<()> {
        timed(&mut self.runc(&["delete", "-f", "bench"])).map(drop)
    }
}
