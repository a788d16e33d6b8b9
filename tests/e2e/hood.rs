//! A fumehood of a test's own: state folder, server, and nothing left behind.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Generous: two cores, an emulator, other tests beside.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Of the server's log, when a test fails.
const LOG_LINES_SHOWN: usize = 60;

pub(crate) struct Hood {
    state: TempDir,
    variables: Vec<(String, String)>,
}

/// What a command of the binary did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Hood {
    pub(crate) fn new() -> Self {
        let state = tempfile::Builder::new().prefix("fh-").tempdir().unwrap();
        Self { state, variables: Vec::new() }
    }

    /// With a variable in the environment of everything it runs.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(binary());
        command
            .args(args)
            .env("FUMEHOOD_STATE_DIR", self.state())
            .env("FUMEHOOD_CACHE_DIR", cache())
            .env("FUMEHOOD_CONFIG_DIR", self.state().join("config"))
            .env_remove("FUMEHOOD_SERVER")
            // Most tests count machines.
            .env("FUMEHOOD_POOL", "0")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        self.command(args).spawn().unwrap()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        ran(&self.spawn(args).wait_with_output().unwrap())
    }

    /// Runs what has to succeed, and gives its standard output without the last line feed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        ran.stdout.strip_suffix('\n').unwrap_or(&ran.stdout).to_owned()
    }

    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        ran(&output)
    }

    /// Makes a sandbox and gives its name.
    #[track_caller]
    pub(crate) fn create(&self, options: &[&str]) -> String {
        self.ok(&[&["create"], options].concat())
    }

    /// The reason why a sandbox ended, as a user reads it.
    pub(crate) fn end_reason(&self, name: &str) -> Option<String> {
        let listed: Value = serde_json::from_str(&self.ok(&["ls", "-a", "--json"])).unwrap();
        let one = listed.as_array()?.iter().find(|one| one["name"] == name)?;
        one["endReason"].as_str().map(str::to_owned)
    }

    /// The processes whose command line names this state folder: server and machines.
    pub(crate) fn processes(&self, program: &str) -> Vec<i32> {
        let place = self.state().to_str().unwrap().to_owned();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
            let comm = String::from_utf8_lossy(&read("comm")).into_owned();
            let mine = [read("cmdline"), read("environ")]
                .iter()
                .any(|text| String::from_utf8_lossy(text).contains(&place));
            let folder = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
            if comm.trim().starts_with(program) && (mine || folder.starts_with(&place)) {
                found.push(pid);
            }
        }
        found
    }

    pub(crate) fn servers(&self) -> Vec<i32> {
        let serves = |pid: &i32| {
            let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&text).split('\0').any(|word| word == "serve")
        };
        self.processes("fumehood").into_iter().filter(serves).collect()
    }

    /// Machines, and not the QEMU that a server asks for its version when it starts.
    pub(crate) fn machines(&self) -> Vec<i32> {
        let is_machine = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("\0-name\0fumehood-")
        };
        self.processes("qemu-system").into_iter().filter(is_machine).collect()
    }

    /// Gateways, by what they were started with: they show nothing else of themselves.
    pub(crate) fn gateways(&self) -> Vec<i32> {
        let place = format!("{}/", self.state().display());
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let words: Vec<&str> = line.split('\0').collect();
            if words.get(1) == Some(&"gateway") && words.iter().any(|word| word.starts_with(&place))
            {
                found.extend(entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
            }
        }
        found
    }

    /// Kills the server as the kernel's out-of-memory killer would.
    pub(crate) fn kill_server(&self) {
        for pid in self.servers() {
            kill(pid, rustix::process::Signal::KILL);
            wait_until("the server is gone", || !self.servers().contains(&pid));
        }
    }

    /// Starts a server that dies at a failpoint, in place of the one there is.
    #[track_caller]
    pub(crate) fn serve_until(&mut self, point: &str) -> Child {
        self.kill_server();
        let socket = self.state().join("api.sock");
        // The one that was killed left its own.
        let _is_first = fs::remove_file(&socket).is_err();
        self.set("FUMEHOOD_DIE_AT", point);
        let mut server = self.spawn(&["serve"]);
        self.unset("FUMEHOOD_DIE_AT");
        wait_until("the server listens", || {
            let ended = server.try_wait().unwrap();
            let mut said = String::new();
            if let (Some(_), Some(stderr)) = (ended, &mut server.stderr) {
                stderr.read_to_string(&mut said).unwrap();
            }
            assert!(ended.is_none(), "{point}: {ended:?} before it listened: {said}");
            socket.exists()
        });
        server
    }

    /// Ends the server as its service manager would.
    pub(crate) fn stop_server(&self) {
        for pid in self.servers() {
            kill(pid, rustix::process::Signal::TERM);
        }
        wait_until("the server is gone", || self.servers().is_empty());
    }

    /// The layers of snapshots.
    pub(crate) fn layers(&self) -> Vec<PathBuf> {
        entries(&self.state().join("layers"))
    }

    /// Asks the server over its socket, and gives status and JSON. It has to run.
    #[track_caller]
    pub(crate) fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", &PATIENCE.as_secs().to_string(), "-X", method])
            .args(["-w", "\n%{http_code}", "--unix-socket"])
            .arg(self.state().join("api.sock"));
        if !body.is_null() {
            curl.args(["-H", "content-type: application/json", "-d", &body.to_string()]);
        }
        let output = curl.arg(format!("http://localhost/api{path}")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (text, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), serde_json::from_str(text).unwrap_or_default())
    }

    /// Nothing runs and no folder of a machine or session is left.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        wait_until("no machine runs", || self.machines().is_empty());
        wait_until("no gateway runs", || self.gateways().is_empty());
        for folder in ["machines", "sessions"] {
            let left = || entries(&self.state().join(folder));
            wait_until("nothing is left", || left().is_empty());
        }
    }

    #[expect(clippy::print_stderr, reason = "shown with the test that failed")]
    fn show_log(&self) {
        let log = fs::read_to_string(self.state().join("server.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines.len().saturating_sub(LOG_LINES_SHOWN);
        eprintln!("the end of the server's log:\n{}", lines[end..].join("\n"));
    }
}

impl Drop for Hood {
    fn drop(&mut self) {
        if thread::panicking() {
            self.show_log();
        }
        let others = [self.machines(), self.gateways()].concat();
        for pid in self.servers().into_iter().chain(others) {
            kill(pid, rustix::process::Signal::KILL);
        }
    }
}

fn ran(output: &Output) -> Ran {
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn kill(pid: i32, signal: rustix::process::Signal) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // It may have gone by itself.
        let _gone = rustix::process::kill_process(pid, signal).is_err();
    }
}

pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten().flatten();
    read.map(|entry| entry.path()).collect()
}

pub(crate) fn binary() -> PathBuf {
    let named = env::var_os("FUMEHOOD_TEST_BINARY");
    PathBuf::from(named.expect("FUMEHOOD_TEST_BINARY names the binary; ./test.sh sets it"))
}

pub(crate) fn cache() -> PathBuf {
    let named = env::var_os("FUMEHOOD_TEST_CACHE");
    PathBuf::from(named.expect("FUMEHOOD_TEST_CACHE names the cache; ./test.sh sets it"))
}

/// What `tests/api/prepare.sh` made of its requirements: a venv.
pub(crate) fn api_tools() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("api");
    let wanted = fs::read(here.join("requirements.txt")).unwrap();
    let digest: String = Sha256::digest(wanted).iter().map(|byte| format!("{byte:02x}")).collect();
    let made = cache().join("api").join(&digest[..16]);
    assert!(made.join("complete").exists(), "tests/api/prepare.sh {} first", made.display());
    made
}

/// Whether the long tests run too.
pub(crate) fn is_full() -> bool {
    env::var_os("FUMEHOOD_TEST_FULL").is_some()
}

/// Waits for a condition, with a bound.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
