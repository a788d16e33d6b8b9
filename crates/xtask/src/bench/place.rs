//! What benchmarks of the whole share: a folder of the run, servers of the release binary in it, and a clock.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{client::Client, processes};

/// A folder of this run. Dropped, all that was started in it ends: machines outlive their servers.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    /// Of whoever runs this, with kernel and default image.
    pub(crate) cache: PathBuf,
    pub(crate) fumehood: PathBuf,
    /// What servers take, and what is measured beside them.
    pub(crate) qemu: PathBuf,
}

/// What the program is called.
const QEMU: &str = "qemu-system-x86_64";

/// A server of its own, by its state folder; the first command starts it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) state: PathBuf,
    fumehood: PathBuf,
    config: PathBuf,
    cache: PathBuf,
    qemu: PathBuf,
    pool: usize,
}

impl Place {
    /// One at a time.
    pub(crate) fn new() -> Result<Self> {
        let folder = folder();
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
        let qemu = qemu(&cache).context("QEMU is missing")?;
        Ok(Self { folder, cache, fumehood, qemu })
    }

    /// For what our own QEMU has not.
    pub(crate) fn by_the_paths_qemu() -> Result<Self> {
        let mut place = Self::new()?;
        place.qemu = paths_qemu().context("QEMU is not in the path")?;
        Ok(place)
    }

    /// One that keeps so many machines ready.
    pub(crate) fn server(&self, name: &str, pool: usize) -> Server {
        Server {
            state: self.folder.join(name),
            fumehood: self.fumehood.clone(),
            config: self.folder.join("config"),
            cache: self.cache.clone(),
            qemu: self.qemu.clone(),
            pool,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        sweep();
    }
}

/// As a server finds it: what was asked for, our own build, the path's.
fn qemu(cache: &Path) -> Option<PathBuf> {
    let named = env::var_os("FUMEHOOD_QEMU").map(PathBuf::from);
    let built = || cache.join("x86_64/qemu/current/bin").join(QEMU).canonicalize().ok();
    named.or_else(built).or_else(paths_qemu)
}

/// Where it is.
pub(crate) fn paths_qemu() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(QEMU)).find(|file| file.is_file())
}

fn folder() -> PathBuf {
    env::temp_dir().join(format!("fumehood-bench-{}", std::process::id()))
}

/// Ends all that this run has started and removes what it left.
pub(crate) fn sweep() {
    let folder = folder();
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        drop(handover(&entry.path()));
    }
    processes::end_all(&folder);
    let runc = folder.join("runc");
    for container in fs::read_dir(&runc).into_iter().flatten().flatten() {
        let mut delete = Command::new("runc");
        delete.arg("--root").arg(&runc).args(["delete", "-f"]).arg(container.file_name());
        drop(timed(&mut delete));
    }
    // A disk that was being read.
    drop(timed(Command::new("umount").arg(folder.join("mounted"))));
    drop(fs::remove_dir_all(&folder));
}

impl Server {
    /// The same on another cache folder.
    pub(crate) fn on_cache(self, cache: PathBuf) -> Self {
        Self { cache, ..self }
    }

    /// The same with another emulator.
    pub(crate) fn by(self, qemu: PathBuf) -> Self {
        Self { qemu, ..self }
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.fumehood);
        command
            .args(words)
            .env("FUMEHOOD_STATE_DIR", &self.state)
            .env("FUMEHOOD_CONFIG_DIR", &self.config)
            .env("FUMEHOOD_CACHE_DIR", &self.cache)
            .env("FUMEHOOD_QEMU", &self.qemu)
            .env("FUMEHOOD_POOL", self.pool.to_string());
        command
    }

    pub(crate) fn timed(&self, words: &[&str]) -> Result<Duration> {
        timed(&mut self.command(words))
    }

    /// A connection of the API.
    pub(crate) fn client(&self) -> Result<Client> {
        if !self.state.join("api.sock").exists() {
            self.timed(&["ls"])?;
        }
        Client::connect(&self.state)
    }

    /// Waits until as many machines are ready as are wanted.
    pub(crate) fn fill_pool(&self) -> Result<()> {
        let patience = Duration::from_secs(120);
        let is_full = |ready, wanted| 0 < wanted && ready == wanted;
        let is_filled = self.pool_within(patience, is_full)?.1;
        ensure!(is_filled, "the pool does not fill");
        Ok(())
    }

    /// How many machines are ready, once as many are as the pool may have or so much time is over.
    pub(crate) fn ready_after(&self, time: Duration) -> Result<usize> {
        Ok(self.pool_within(time, |ready, _| ready == self.pool)?.0)
    }

    /// Looks at the machines that are ready and those that are wanted until enough are, or the time is
    /// over; how many were ready, and whether that is enough.
    fn pool_within(
        &self,
        time: Duration,
        is_enough: impl Fn(usize, usize) -> bool,
    ) -> Result<(usize, bool)> {
        let began = Instant::now();
        loop {
            let pool = self.command(&["pool", "--json"]).output()?;
            let pool: serde_json::Value = serde_json::from_slice(&pool.stdout)?;
            let kinds = pool["parked"].as_array().context("the pool tells its kinds")?;
            let sum = |name: &str| kinds.iter().filter_map(|kind| kind[name].as_u64()).sum::<u64>();
            let ready = usize::try_from(sum("machines"))?;
            let is_enough = is_enough(ready, usize::try_from(sum("wanted"))?);
            if is_enough || time < began.elapsed() {
                return Ok((ready, is_enough));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends the server; its machines go on.
    pub(crate) fn end(&self) -> Result<()> {
        handover(&self.state)
    }
}

/// Ends the server of this state folder, if there is one.
fn handover(state: &Path) -> Result<()> {
    let socket = state.join("api.sock");
    if socket.exists() {
        let url = "http://localhost/v1/fumehood/handover";
        let mut curl = Command::new("curl");
        timed(curl.args(["-s", "-m", "10", "-X", "POST", "--unix-socket"]).arg(socket).arg(url))?;
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

/// What something gives, and how long it took.
pub(crate) fn clocked<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let began = Instant::now();
    let given = work()?;
    Ok((given, began.elapsed()))
}
