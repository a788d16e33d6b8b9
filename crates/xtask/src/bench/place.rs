//! What benchmarks of the whole share: folders of a run, the release binary on them, and a clock.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// The state folder of the server that keeps machines ready.
pub(crate) const POOLED: &str = "pooled";

/// Folders of this run.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    /// Of whoever runs this, with kernel and default image.
    pub(crate) cache: PathBuf,
    pub(crate) fumehood: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Result<Self> {
        let folder = env::temp_dir().join(format!("fumehood-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let fumehood = fs::canonicalize(target.join("release/fumehood"))
            .context("build the release binary first: cargo build --release -p fumehood")?;
        let cache = match (env::var_os("FUMEHOOD_CACHE_DIR"), env::var_os("HOME")) {
            (Some(cache), _) => PathBuf::from(cache),
            (None, Some(home)) => PathBuf::from(home).join(".cache/fumehood"),
            (None, None) => bail!("set HOME or FUMEHOOD_CACHE_DIR"),
        };
        Ok(Self { folder, cache, fumehood })
    }

    /// A command on a cache folder, by the server whose state folder is called so.
    pub(crate) fn fumehood(&self, cache: &Path, state: &str, words: &[&str]) -> Command {
        let mut command = Command::new(&self.fumehood);
        command
            .args(words)
            .env("FUMEHOOD_STATE_DIR", self.state(state))
            .env("FUMEHOOD_CONFIG_DIR", self.folder.join("config"))
            .env("FUMEHOOD_CACHE_DIR", cache)
            .env("FUMEHOOD_POOL", if state == POOLED { "2" } else { "0" });
        command
    }

    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Waits until as many machines are ready as are wanted.
    pub(crate) fn fill_pool(&self) -> Result<()> {
        let began = Instant::now();
        loop {
            let pool = self.fumehood(&self.cache, POOLED, &["pool", "--json"]).output()?;
            let pool: serde_json::Value = serde_json::from_slice(&pool.stdout)?;
            let kinds = pool["parked"].as_array().context("the pool tells its kinds")?;
            if !kinds.is_empty() && kinds.iter().all(|kind| kind["wanted"] == kind["machines"]) {
                return Ok(());
            }
            ensure!(began.elapsed() < Duration::from_secs(120), "the pool does not fill: {pool}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the servers of this run and removes what they left.
    pub(crate) fn clean(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            drop(handover(&entry.path()));
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Ends the server of this state folder, if there is one.
pub(crate) fn handover(state: &Path) -> Result<()> {
    let socket = state.join("api.sock");
    if socket.exists() {
        let url = "http://localhost/v1/fumehood/handover";
        timed(
            Command::new("curl").args(["-s", "-X", "POST", "--unix-socket"]).arg(socket).arg(url),
        )?;
    }
    Ok(())
}

/// How long a program takes that has to succeed.
pub(crate) fn timed(command: &mut Command) -> Result<Duration> {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(took)
}
