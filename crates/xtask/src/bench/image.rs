//! `cargo xtask bench image`: from the layers of an image to a disk, beside `umoci unpack`; and from a
//! registry to a disk, beside `skopeo copy` and `umoci unpack`.
//!
//! The image is the default one, mounted and packed by `umoci` into an OCI layout of one gzip layer, and pushed by
//! `skopeo` to Debian's `docker-registry` on this computer. Ours goes through the library
//! (`crates/image/examples/import.rs`): blobs fetched, filed and checked, a disk written and flushed.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures")]
#![expect(clippy::print_stdout, reason = "it talks to a developer")]

use std::{
    env, fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::table::{Row, markdown};

const RUNS: usize = 5;

/// Runs the benchmark, as root; `--runs N` for more or fewer.
pub(crate) fn run(words: &[&str]) -> Result<()> {
    let runs = match words {
        [] => RUNS,
        ["--runs", count] => count.parse().context("--runs takes a number")?,
        _ => bail!("usage: cargo xtask bench image [--runs N]"),
    };
    let folder = env::temp_dir().join(format!("fumehood-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = measure(&folder, runs);
    fs::remove_dir_all(&folder)?;
    let [unpacked, pulled] = result?;
    println!("{}", markdown(&unpacked, "umoci unpack"));
    println!("{}", markdown(&pulled, "skopeo copy + umoci unpack"));
    Ok(())
}

fn measure(folder: &Path, runs: usize) -> Result<[Vec<Row>; 2]> {
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let import = fs::canonicalize(target.join("release/examples/import"))
        .context("build it first: cargo build --release -p image --example import")?;
    let layout = pack(&default_disk()?, folder)?;
    let reference = format!("{}:bench", layout.display());
    let (mut ours, mut theirs) = (vec![], vec![]);
    for _ in 0..runs {
        let (cache, bundle) = (folder.join("cache"), folder.join("bundle"));
        ours.push(timed(Command::new(&import).arg(&cache).arg(&layout).arg("bench"))?);
        fs::remove_dir_all(&cache)?;
        let mut unpack = Command::new("umoci");
        theirs.push(timed(unpack.args(["unpack", "--image", &reference]).arg(&bundle))?);
        fs::remove_dir_all(&bundle)?;
    }
    let unpacked = vec![Row::new("layout to disk", ours), Row::new("umoci unpack", theirs)];
    Ok([unpacked, measure_pull(folder, (&import, &reference), runs)?])
}

/// The same from a registry.
fn measure_pull(
    folder: &Path,
    (import, reference): (&Path, &str),
    runs: usize,
) -> Result<Vec<Row>> {
    let registry = Registry::start(folder)?;
    let remote = format!("docker://{}/bench:1", registry.place);
    let from = format!("oci:{reference}");
    timed(Command::new("skopeo").args(["copy", "-q", "--dest-tls-verify=false", &from, &remote]))
        .context("skopeo is missing: apt install skopeo")?;
    let (mut ours, mut theirs) = (vec![], vec![]);
    for _ in 0..runs {
        let (cache, bundle) = (folder.join("cache"), folder.join("bundle"));
        ours.push(timed(Command::new(import).arg(&cache).arg(&remote))?);
        fs::remove_dir_all(&cache)?;
        let copy = folder.join("copy");
        let to = format!("{}:bench", copy.display());
        let options = ["copy", "-q", "--src-tls-verify=false", &remote];
        let copied = timed(Command::new("skopeo").args(options).arg(format!("oci:{to}")))?;
        let unpacked = timed(Command::new("umoci").args(["unpack", "--image", &to]).arg(&bundle))?;
        theirs.push(copied + unpacked);
        fs::remove_dir_all(&bundle)?;
        fs::remove_dir_all(&copy)?;
    }
    let peer = Row::new("skopeo copy + umoci unpack", theirs);
    Ok(vec![Row::new("registry to disk", ours), peer])
}

/// Debian's `docker-registry`, until it is dropped.
struct Registry {
    child: Child,
    place: String,
}

impl Registry {
    fn start(folder: &Path) -> Result<Self> {
        const TRIES: u32 = 200;
        let place = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let (config, data) = (folder.join("registry.yml"), folder.join("registry"));
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '{place}'}}\n",
            data.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("apt install docker-registry")?;
        let registry = Self { child, place };
        for _ in 0..TRIES {
            if TcpStream::connect(&registry.place).is_ok() {
                return Ok(registry);
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("docker-registry does not listen")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It has nothing to lose.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// That of the newest default image in the cache.
fn default_disk() -> Result<PathBuf> {
    let cache = match (env::var_os("FUMEHOOD_CACHE_DIR"), env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => PathBuf::from(home).join(".cache/fumehood"),
        (None, None) => bail!("set HOME or FUMEHOOD_CACHE_DIR"),
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(cache.join("x86_64/images"))? {
        let record = entry?.path().join("image.json");
        let Ok(text) = fs::read(&record) else { continue };
        let value: serde_json::Value = serde_json::from_slice(&text)?;
        if value["name"] == "default" {
            found.push((fs::metadata(&record)?.modified()?, record.with_file_name("disk.ext4")));
        }
    }
    found.sort();
    found.pop().map(|(_, disk)| disk).context("there is no default image: `fumehood setup`")
}

/// An OCI layout of what is on the disk, with the image `bench` in it.
fn pack(disk: &Path, folder: &Path) -> Result<PathBuf> {
    let (mounted, layer) = (folder.join("mounted"), folder.join("layer.tar"));
    fs::create_dir(&mounted)?;
    let mut mount = Command::new("mount");
    timed(mount.args(["-t", "ext4", "-o", "loop,ro,noload"]).arg(disk).arg(&mounted))
        .context("mounting needs root and loop devices")?;
    let mut tar = Command::new("tar");
    tar.args(["--format=pax", "--xattrs", "--numeric-owner", "-cf"]).arg(&layer);
    let packed = timed(tar.arg("-C").arg(&mounted).arg("."));
    timed(Command::new("umount").arg(&mounted))?;
    packed?;
    let layout = folder.join("layout");
    let image = format!("{}:bench", layout.display());
    timed(Command::new("umoci").args(["init", "--layout"]).arg(&layout))
        .context("umoci is missing: apt install umoci")?;
    timed(Command::new("umoci").args(["new", "--image", &image]))?;
    timed(Command::new("umoci").args(["raw", "add-layer", "--image", &image]).arg(&layer))?;
    let bytes = fs::metadata(&layer)?.len();
    fs::remove_file(&layer)?;
    println!("the layer has {} MiB, decompressed", bytes >> 20);
    Ok(layout)
}

/// How long a program takes that has to succeed.
fn timed(command: &mut Command) -> Result<Duration> {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let took = began.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {said}");
    Ok(took)
}
