//! The first steps of PID 1: file systems, drivers, the port to the host.

use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    mount::{MountFlags, mount},
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink,
        netlink::SocketAddrNetlink, recv, socket_with,
    },
    process::{Resource, Rlimit, setrlimit},
};

use crate::{link::Link, network, sys};

/// Drivers that the machine needs before it has a disk, and the order to load them in.
const MODULES: &str = "/modules";
const OPEN_FILES_MAX: u64 = 1 << 20;
const OPEN_FILES: u64 = 1 << 16;

/// Why the machine did not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error("mount {target}")]
    Mount { target: &'static str, source: Errno },
    #[error("load {module}")]
    Module { module: String, source: io::Error },
    #[error("find the port {}", protocol::PORT_NAME)]
    Port { source: io::Error },
}

/// Brings the machine up as far as it goes without a disk.
pub(crate) fn boot() -> Result<Link, BootError> {
    mount_kernel_file_systems()?;
    speak_to_the_console();
    spare_the_agent();
    for module in module_list() {
        load(&module).map_err(|source| BootError::Module { module, source })?;
    }
    if let Err(error) = sys::interface::loopback_up() {
        say(&format!("loopback: {error}"));
    }
    network::set_up();
    find_port().map_err(|source| BootError::Port { source })
}

/// Mounts what the kernel itself offers. These trees move into the root with the agent.
fn mount_kernel_file_systems() -> Result<(), BootError> {
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let open = MountFlags::NOSUID | MountFlags::NODEV;
    let devices = MountFlags::NOSUID | MountFlags::NOEXEC;
    let mounts = [
        ("/proc", c"proc", safe, None),
        ("/sys", c"sysfs", safe, None),
        ("/sys/fs/cgroup", c"cgroup2", safe, None),
        ("/dev", c"devtmpfs", MountFlags::NOSUID, Some(c"mode=755")),
        ("/dev/pts", c"devpts", devices, Some(c"gid=5,mode=620,ptmxmode=666")),
        ("/dev/shm", c"tmpfs", open, Some(c"mode=1777")),
        ("/run", c"tmpfs", open, Some(c"mode=755,size=20%")),
    ];
    for (target, kind, flags, data) in mounts {
        // It is there already, or mounting says what is wrong.
        let _is_there = fs::create_dir_all(target).is_ok();
        mount(kind, target, kind, flags, data)
            .map_err(|source| BootError::Mount { target, source })?;
    }
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
    ] {
        if let Err(error) = std::os::unix::fs::symlink(target, link) {
            say(&format!("{link}: {error}"));
        }
    }
    Ok(())
}

/// A last word goes to the console: the kernel panics when PID 1 ends.
fn speak_to_the_console() {
    std::panic::set_hook(Box::new(|panic| say(&panic.to_string())));
}

/// A line in the kernel's log, which the console shows.
pub(crate) fn say(line: &str) {
    if let Ok(mut log) = fs::OpenOptions::new().write(true).open("/dev/kmsg") {
        // Where the log cannot be written nothing can be said.
        let _was_said = log.write_all(format!("<3>fumehood: {line}\n").as_bytes()).is_ok();
    }
}

/// The commands are killed for want of memory, never the agent; and they may open many files.
fn spare_the_agent() {
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "-1000") {
        say(&format!("oom_score_adj: {error}"));
    }
    let limit = Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES_MAX) };
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        say(&format!("open files: {error}"));
    }
}

fn module_list() -> Vec<String> {
    let list = fs::read_to_string(Path::new(MODULES).join("load")).unwrap_or_default();
    list.split_whitespace().map(str::to_owned).collect()
}

fn load(module: &str) -> io::Result<()> {
    const COMPRESSED: i32 = 4;
    let file = fs::File::open(Path::new(MODULES).join(module))?;
    let flags = if module.ends_with(".ko") { 0 } else { COMPRESSED };
    match rustix::system::finit_module(&file, c"", flags) {
        Err(Errno::EXIST) => Ok(()),
        loaded => Ok(loaded?),
    }
}

/// Waits for the port to the host and opens it.
fn find_port() -> io::Result<Link> {
    // From here on nothing that appears is missed.
    let news = device_news()?;
    let mut scratch = [0; 8192];
    loop {
        if let Some(path) = port_path() {
            let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
            return Ok(Link::port(open(path, flags, Mode::empty())?));
        }
        match recv(&news, scratch.as_mut_slice(), RecvFlags::empty()) {
            // Too much news is news too.
            Ok(_) | Err(Errno::INTR | Errno::NOBUFS) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Says something whenever the kernel finds a device or a device changes.
fn device_news() -> io::Result<rustix::fd::OwnedFd> {
    const KERNEL: u32 = 1;
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::KOBJECT_UEVENT),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
    Ok(socket)
}

fn port_path() -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    let is_ours = |port: &fs::DirEntry| {
        let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
        name.trim_end() == protocol::PORT_NAME
    };
    let port = ports.filter_map(Result::ok).find(is_ours)?;
    Some(Path::new("/dev").join(port.file_name()))
}
