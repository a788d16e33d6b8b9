//! What the tests of machines stand on: a guest agent built from C, an initramfs with it, a folder.

use std::{
    io::Write,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use machine::{
    Accel, Artifact, BootSpec, Event, Machine, MachineId, Platform, Qemu, Ram, Retry, Root, Shape,
    Templates, boot_until_ready,
};
use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::{Pid, Signal, kill_process},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::broadcast,
    time::{sleep, timeout},
};

/// Generous: the tests run beside others on few processors.
const REPLY: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) platform: Platform,
    pub(crate) templates: Templates,
    root: tempfile::TempDir,
}

impl Bench {
    /// Or what is missing.
    pub(crate) async fn set_up() -> Result<Self, String> {
        let kernel = std::env::var_os("FUMEHOOD_TEST_KERNEL")
            .ok_or("FUMEHOOD_TEST_KERNEL names no vmlinux")?;
        let qemu = Qemu::find(None).await.map_err(|error| error.to_string())?;
        let root = tempfile::tempdir().unwrap();
        let initramfs = root.path().join("initramfs");
        let modules = Path::new(&kernel).with_file_name("boot-modules");
        std::fs::write(&initramfs, initramfs_with(&build_init(root.path())?, &modules)).unwrap();
        let platform = Platform {
            qemu,
            accel: Accel::Tcg,
            kernel: Artifact::known(kernel.into(), "the test kernel".to_owned()),
            initramfs: Artifact::read(&initramfs).await.unwrap(),
            modules: None,
        };
        let templates = Templates::open(&root.path().join("templates")).unwrap();
        Ok(Self { platform, templates, root })
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        // Longer than a socket's name may be.
        self.root().join("a-folder-with-a-long-name".repeat(4)).join(name)
    }

    pub(crate) async fn with_initramfs_longer_by(&self, bytes: usize) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("initramfs");
        let mut archive = std::fs::read(self.platform.initramfs.path()).unwrap();
        archive.resize(archive.len().next_multiple_of(4096) + bytes, 0);
        std::fs::write(&path, archive).unwrap();
        let initramfs = Artifact::read(&path).await.unwrap();
        let platform = Platform { initramfs, ..self.platform.clone() };
        let templates = Templates::open(&root.path().join("templates")).unwrap();
        Self { platform, templates, root }
    }

    pub(crate) fn boot_spec(&self, name: &str, shape: Shape) -> BootSpec {
        BootSpec {
            id: MachineId::random(),
            folder: self.folder(name),
            shape,
            root: Root::Blank,
            ram: Ram::Private,
        }
    }

    /// Boots until the guest has said hello. One boot in hundreds finds no PCI bus, for a reason not
    /// known; as for users, another is tried.
    pub(crate) async fn boot(&self, spec: BootSpec) -> (Machine, Guest) {
        let retry = retry(2, Duration::from_secs(90));
        let attempt = |attempt| {
            if 1 < attempt {
                eprintln!("one more boot is tried");
            }
            spec.clone()
        };
        match boot_until_ready(&self.platform, retry, attempt, hello).await {
            Ok(booted) => booted,
            Err(failures) => panic!("{failures:#?}"),
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // After a failed assertion machines are left, which would outlive us.
        for stray in machine::strays(self.root()) {
            kill(stray.pid);
        }
    }
}

/// Kills a machine's process, of which nothing else can have taken the pid.
pub(crate) fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    // It may be gone already.
    kill_process(pid, Signal::KILL).ok();
}

/// A file system with room for little.
pub(crate) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    pub(crate) fn mount(root: &Path) -> Result<Self, String> {
        let path = root.join("small");
        std::fs::create_dir(&path).unwrap();
        let size = c"size=1m";
        mount("none", &path, "tmpfs", MountFlags::empty(), size)
            .map_err(|error| format!("only root can mount a small disk: {error}"))?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Until there is no room left.
    pub(crate) fn fill(&self, ballast: &Path) {
        let mut file = std::fs::File::create(ballast).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.path, UnmountFlags::DETACH).ok();
    }
}

pub(crate) fn retry(attempts: u32, attempt: Duration) -> Retry {
    Retry { attempts, attempt, deadline: attempt * attempts }
}

/// The agent in the guest.
#[derive(Debug)]
pub(crate) struct Guest {
    stream: BufReader<UnixStream>,
}

pub(crate) async fn hello(stream: UnixStream) -> Result<Guest, std::io::Error> {
    let mut guest = Guest::over(stream);
    let line = guest.line().await?;
    assert_eq!(line, "hello");
    Ok(guest)
}

impl Guest {
    pub(crate) fn over(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    async fn line(&mut self) -> Result<String, std::io::Error> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => Err(std::io::ErrorKind::UnexpectedEof.into()),
        }
    }

    pub(crate) async fn say(&mut self, command: &str) {
        self.stream.write_all(format!("{command}\n").as_bytes()).await.unwrap();
    }

    pub(crate) async fn ask(&mut self, command: &str) -> String {
        self.say(command).await;
        self.line_in_time().await
    }

    pub(crate) async fn line_in_time(&mut self) -> String {
        timeout(REPLY, self.line()).await.expect("the guest does not answer").unwrap()
    }

    /// Asks again and again until the answer is right.
    pub(crate) async fn ask_until(
        &mut self,
        command: &str,
        right: impl Fn(&str) -> bool,
    ) -> String {
        let asked = async {
            loop {
                let reply = self.ask(command).await;
                if right(&reply) {
                    return reply;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(REPLY, asked).await.unwrap_or_else(|_| panic!("{command} never became right"))
    }
}

/// Has QEMU itself open a file, over its control socket, which nobody else may hold.
pub(crate) async fn open_inside(folder: &Path, path: &Path) -> String {
    let opened = std::fs::File::open(folder).unwrap();
    let name = format!("/proc/self/fd/{}/control.sock", opened.as_raw_fd());
    let mut stream = BufReader::new(UnixStream::connect(name).await.unwrap());
    let node = json!({ "driver": "file", "node-name": "test", "filename": path });
    let mut told = Vec::new();
    for (command, arguments) in [("qmp_capabilities", json!({})), ("blockdev-add", node)] {
        let request = json!({ "execute": command, "arguments": arguments });
        stream.write_all(format!("{request}\n").as_bytes()).await.unwrap();
    }
    // The greeting and two answers.
    for _ in 0..3 {
        let mut line = String::new();
        timeout(REPLY, stream.read_line(&mut line)).await.unwrap().unwrap();
        told.push(serde_json::from_str::<Value>(&line).unwrap());
    }
    match told[2]["error"]["desc"].as_str() {
        Some(why) => why.to_owned(),
        None => "opened".to_owned(),
    }
}

/// The first event that is meant, in time.
pub(crate) async fn event_until(
    events: &mut broadcast::Receiver<Event>,
    meant: impl Fn(&Event) -> bool,
) -> Event {
    let told = async {
        loop {
            let event = events.recv().await.unwrap();
            if meant(&event) {
                return event;
            }
        }
    };
    timeout(REPLY, told).await.expect("no such event")
}

/// A text at the start of a file of this size.
pub(crate) fn padded(text: &str, size: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(size, 0);
    bytes
}

fn build_init(folder: &Path) -> Result<Vec<u8>, String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guest/init.c");
    let init = folder.join("init");
    let status = Command::new("cc")
        .args(["-O1", "-static", "-Wall", "-Werror", "-o"])
        .args([&init, &source])
        .status()
        .map_err(|error| format!("no C compiler: {error}"))?;
    assert!(status.success(), "the guest's program does not compile");
    Ok(std::fs::read(init).unwrap())
}

/// What reaches disks and the network, in the order of loading.
const MODULES: [&str; 4] =
    ["virtio_blk.ko.xz", "failover.ko.xz", "net_failover.ko.xz", "virtio_net.ko.xz"];

/// A cpio archive in the kernel's format.
fn initramfs_with(init: &[u8], modules: &Path) -> Vec<u8> {
    let mut archive = Vec::new();
    entry(&mut archive, "init", init);
    for name in MODULES {
        entry(&mut archive, name, &std::fs::read(modules.join(name)).unwrap());
    }
    entry(&mut archive, "TRAILER!!!", &[]);
    archive
}

fn entry(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
    let fields = [0, 0o100_755, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
    archive.extend(b"070701");
    for field in fields {
        write!(archive, "{field:08x}").unwrap();
    }
    for part in [&[name.as_bytes(), b"\0"].concat(), content] {
        archive.extend(part);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
}
