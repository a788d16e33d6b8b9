//! Two network namespaces, and nothing left of them.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use crate::{
    WORLD,
    hood::{kill, wait_until},
};

const PREFIX: &str = "fhg-";

/// The card of the world's namespace, and that of the host's.
pub(crate) const WORLD_CARD: &str = "w0";
const HOST_CARD: &str = "h0";

/// The addresses of the host in its namespace.
pub(crate) const HOST_PUBLIC: &str = "203.0.113.1";
pub(crate) const HOST_PRIVATE: &str = "10.77.0.1";
/// The world's own end, and what it can be reached at beside its servers.
const WORLD_PUBLIC: &str = "203.0.113.254";
const WORLD_V6: &str = "2001:4860:f::fe";
const HOST_V6: &str = "2001:4860:f::1";
/// Where the world's servers are: the last bytes in 203.0.113.0/24 and 2001:4860:f::/64.
const SERVERS_V4: [u8; 19] =
    [10, 11, 12, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 53, 66];
const MORE_V4: [u8; 4] = [34, 35, 36, 37];
const SERVERS_V6: [&str; 2] = ["2001:4860:f::10", "2001:4860:f::66"];
/// Where something answers that no guest may reach.
const FORBIDDEN: [&str; 5] =
    ["169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"];

/// Both namespaces and the folder of one run; gone when dropped.
struct Namespaces {
    name: String,
    folder: PathBuf,
}

/// Runs this program again with the same arguments, inside.
pub(crate) fn run_inside(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        println!("error: the gauntlet makes network namespaces and needs root for it");
        return ExitCode::FAILURE;
    }
    sweep();
    let namespaces = Namespaces::make();
    let folder = &namespaces.folder;
    let roots = folder.join("roots.pem");
    let status = Command::new("ip")
        .args(["netns", "exec", &namespaces.host()])
        .arg(env::current_exe().unwrap())
        .args(arguments)
        .env(WORLD, folder)
        .env("TMPDIR", folder)
        .env("SSL_CERT_FILE", roots)
        .env_remove("SSL_CERT_DIR")
        .envs_removed(&["http_proxy", "https_proxy", "all_proxy", "no_proxy"])
        .status()
        .unwrap();
    drop(namespaces);
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

trait EnvsRemoved {
    fn envs_removed(&mut self, names: &[&str]) -> &mut Self;
}

impl EnvsRemoved for Command {
    fn envs_removed(&mut self, names: &[&str]) -> &mut Self {
        for name in names {
            self.env_remove(name).env_remove(name.to_uppercase());
        }
        self
    }
}

impl Namespaces {
    fn make() -> Self {
        let name = format!("{PREFIX}{}", std::process::id());
        let folder = env::temp_dir().join(&name);
        fs::create_dir(&folder).unwrap();
        let made = Self { name, folder };
        let (host, world) = (made.host(), made.world());
        for namespace in [&host, &world] {
            ip(&["netns", "add", namespace]);
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
        }
        let resolv = resolv_folder(&host);
        fs::create_dir_all(&resolv).unwrap();
        fs::write(resolv.join("resolv.conf"), "nameserver 203.0.113.53\n").unwrap();
        ip(&[
            "-n", &world, "link", "add", WORLD_CARD, "type", "veth", "peer", "name", HOST_CARD,
            "netns", &host,
        ]);
        made.address();
        made
    }

    /// Gives both their addresses and routes.
    fn address(&self) {
        let add = |namespace: &str, card: &str, address: &str| {
            let mut words = vec!["-n", namespace, "address", "add", address, "dev", card];
            if address.contains(':') {
                words.push("nodad");
            }
            ip(&words);
        };
        let (host, world) = (self.host(), self.world());
        for (namespace, card) in [(&host, HOST_CARD), (&world, WORLD_CARD)] {
            ip(&["-n", namespace, "link", "set", card, "up"]);
        }
        for address in [HOST_PUBLIC, HOST_PRIVATE] {
            add(&host, HOST_CARD, &format!("{address}/24"));
        }
        add(&host, HOST_CARD, &format!("{HOST_V6}/64"));
        for address in [WORLD_PUBLIC, "10.77.0.10"] {
            add(&world, WORLD_CARD, &format!("{address}/24"));
        }
        add(&world, WORLD_CARD, &format!("{WORLD_V6}/64"));
        for last in SERVERS_V4.iter().chain(&MORE_V4) {
            add(&world, WORLD_CARD, &format!("203.0.113.{last}/32"));
        }
        for address in SERVERS_V6.iter().chain(&FORBIDDEN) {
            let bits = if address.contains(':') { 128 } else { 32 };
            add(&world, WORLD_CARD, &format!("{address}/{bits}"));
        }
        ip(&["-n", &host, "route", "add", "default", "via", WORLD_PUBLIC]);
        ip(&["-n", &host, "-6", "route", "add", "default", "via", WORLD_V6]);
    }

    fn host(&self) -> String {
        format!("{}-host", self.name)
    }

    fn world(&self) -> String {
        format!("{}-world", self.name)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// The world's namespace, by the folder that both were made with.
pub(crate) fn world_of(folder: &Path) -> String {
    format!("{}-world", folder.file_name().unwrap().to_str().unwrap())
}

fn resolv_folder(namespace: &str) -> PathBuf {
    Path::new("/etc/netns").join(namespace)
}

/// Ends what runs in both, and takes them away with their folder.
fn remove(name: &str) {
    for end in ["host", "world"] {
        let namespace = format!("{name}-{end}");
        for pid in pids(&namespace) {
            kill(pid, rustix::process::Signal::KILL);
        }
        wait_until("the namespace is empty", || pids(&namespace).is_empty());
        // It may be half made.
        let _gone = Command::new("ip").args(["netns", "delete", &namespace]).output().is_ok();
        let _gone = fs::remove_dir_all(resolv_folder(&namespace)).is_ok();
    }
    let _gone = fs::remove_dir_all(env::temp_dir().join(name)).is_ok();
}

fn pids(namespace: &str) -> Vec<i32> {
    let output = Command::new("ip").args(["netns", "pids", namespace]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// Takes away what runs left that were killed.
fn sweep() {
    let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in text.lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let Some(number) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else {
            continue;
        };
        let comm = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
        if !comm.starts_with("gauntlet") {
            remove(&format!("{PREFIX}{number}"));
        }
    }
}

#[track_caller]
fn ip(words: &[&str]) {
    let output = Command::new("ip").args(words).stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "ip {}: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}
