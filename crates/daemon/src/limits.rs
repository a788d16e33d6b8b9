//! Every bound of the server in one place, and what decides whether one more sandbox is let in.
//!
//! A machine's memory is used as the guest touches it, so it is not charged in full:
//!
//! ```text
//! memory   sum over sandboxes of (48 MiB + memory / 8)  ≤  total memory − reserve
//!          and at this moment  available memory − 256 MiB  ≥  reserve
//! disk     free space  ≥  1 GiB + 64 MiB for each sandbox
//! cpu      sum of vcpus  ≤  160 × processors
//! files    256 + 16 for each sandbox  ≤  three quarters of the open files that the server may have
//! reserve  an eighth of total memory, at most 2 GiB
//! ```
//!
//! Beyond it a create is refused with the code `limit_reached` and loses nothing.

use std::time::Duration;

use machine::Shape;

/// What a machine costs beside its guest's memory, with its gateway: some 40 MiB while nothing was run in it.
const OVERHEAD_MIB: u64 = 48;
/// Guests seldom use all they are given: an eighth of it is set aside for each.
const OVERCOMMIT: u64 = 8;
const STARTING_MIB: u64 = 256;
const RESERVE_MIB_MAX: u64 = 2048;
const DISK_RESERVE_MIB: u64 = 1024;
const DISK_PER_SANDBOX_MIB: u64 = 64;
/// One that does nothing takes less than a thousandth of a processor.
const VCPUS_PER_PROCESSOR: u64 = 160;

/// Open files of the server: of each sandbox some 10 while nothing is asked of it, and of the rest.
const FILES_PER_SANDBOX: u64 = 16;
const FILES_OF_ITS_OWN: u64 = 256;

/// Images that are fetched and made at a time; each has threads of its own, which mostly wait for a registry.
pub(crate) const IMAGES_AT_ONCE: usize = 16;
/// And so many of them for one project.
pub(crate) const IMAGES_AT_ONCE_OF_A_PROJECT: usize = 4;
/// Memory of a sandbox that asks for none, per vCPU.
pub(crate) const MEMORY_MIB_PER_VCPU: u32 = 2048;
pub(crate) const MEMORY_MIB_MIN: u32 = 128;
pub(crate) const MEMORY_MIB_MAX: u32 = 256 * 1024;
/// As many as a machine can have.
pub(crate) const VCPUS_MAX: u32 = 8;
/// How long a session lasts that asks for nothing else.
pub(crate) const TIMEOUT_MS: u64 = 300_000;
pub(crate) const TIMEOUT_MS_MIN: u64 = 1_000;
/// Thirty days.
pub(crate) const TIMEOUT_MS_MAX: u64 = 30 * 24 * 3600 * 1000;
/// Shortest time limit of a command.
pub(crate) const COMMAND_TIMEOUT_MS_MIN: u64 = 100;
/// Commands of one session, ended ones included.
pub(crate) const COMMANDS_MAX: usize = 4096;
/// Arguments and environment of one command together, in bytes.
pub(crate) const COMMAND_BYTES_MAX: usize = 512 * 1024;
/// A request body that is no file.
pub(crate) const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Sandboxes that are remembered, ended ones included.
pub(crate) const SANDBOXES_MAX: usize = 10_000;
/// Snapshots of disks that somebody can ask for; automatic ones may be more.
pub(crate) const SNAPSHOTS_MAX: usize = 10_000;
/// Deleted snapshots that are remembered.
pub(crate) const TOMBSTONES_MAX: usize = 10_000;
/// Sessions of one sandbox that are remembered with their logs, the current one included.
pub(crate) const SESSIONS_MAX: usize = 20;
/// Tags of one sandbox.
pub(crate) const TAGS_MAX: usize = 5;

/// Tokens that are not revoked, of all projects.
pub(crate) const TOKENS_MAX: usize = 10_000;
/// Shortest life of one that ends, in milliseconds.
pub(crate) const TOKEN_MS_MIN: u64 = 1000;

/// A session whose disk stands on so many layers merges them.
pub(crate) const DISK_LAYERS_MAX: usize = 8;
/// The guest's own reads and writes come first.
pub(crate) const MERGE_BYTES_PER_SECOND: u64 = 64 << 20;

/// Drives that are kept, of all projects.
pub(crate) const DRIVES_MAX: usize = 1000;
/// Files that a drive is made of: each fork of a fork adds one, and a snapshot that is mounted while
/// its drive is written.
pub(crate) const DRIVE_LAYERS_MAX: usize = 64;

/// Secrets that are stored, of all projects.
pub(crate) const SECRETS_MAX: usize = 1000;
/// The value of one secret.
pub(crate) const SECRET_BYTES_MAX: usize = api::SECRET_BYTES_MAX;
/// Connections that one listener has at a time, and the most of all open files that they may be.
const CONNECTIONS_MAX: usize = 4096;
const CONNECTIONS_SHARE: usize = 4;
/// From a connection to the end of its first request's head, and from each request to the next.
pub(crate) const HEAD_DEADLINE: Duration = Duration::from_secs(60);
/// For a TLS handshake.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// A request's head, and so what a stranger can make one connection hold.
pub(crate) const HEAD_BYTES_MAX: usize = 128 * 1024;

/// Ports of one sandbox that are reached from outside, as Vercel allows.
pub(crate) const PORTS_MAX: usize = 15;
/// Connections to the ports of one sandbox; each may hold two windows of the channel in memory.
pub(crate) const GUEST_CONNECTIONS_MAX: usize = 128;
/// How long a request waits for one of them.
pub(crate) const GUEST_SLOT_DEADLINE: Duration = Duration::from_secs(10);
/// For a guest's kernel to take a connection, under emulation and load.
pub(crate) const GUEST_CONNECT_DEADLINE: Duration = Duration::from_secs(15);
/// How long a connection waits for the next request: less than programs keep theirs open.
pub(crate) const GUEST_IDLE: Duration = Duration::from_millis(1500);
/// Connections of one port that wait so.
pub(crate) const GUEST_IDLE_MAX: usize = 16;
/// Requests at a time on one connection of HTTP/2, and the bytes of each that may be under way.
pub(crate) const HTTP2_STREAMS_MAX: u32 = 128;
pub(crate) const HTTP2_WINDOW: u32 = 1 << 20;
/// How long a visitor waits for a sandbox that is starting.
pub(crate) const WAKE_DEADLINE: Duration = Duration::from_secs(120);
/// How long a pass for a private port may hold.
pub(crate) const PASS_MS_MAX: u64 = 365 * 24 * 3600 * 1000;

/// As many connections as leave files open for everything else.
pub(crate) fn connections_max() -> usize {
    usize::try_from(open_files()).unwrap_or(usize::MAX).min(CONNECTIONS_MAX * CONNECTIONS_SHARE)
        / CONNECTIONS_SHARE
}

/// How many files this process may have open, after asking for all that it may ask for. Debian
/// gives 1024 to who does not ask.
pub(crate) fn open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let asked = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let given = if setrlimit(Resource::Nofile, asked).is_ok() { asked } else { limit };
    given.current.unwrap_or(u64::MAX)
}

/// How many a server needs that takes up so many sandboxes, each connection left out.
pub(crate) fn files_needed(sandboxes: u64) -> u64 {
    FILES_OF_ITS_OWN + FILES_PER_SANDBOX * sandboxes
}

/// Files that the disk of a sandbox that is forked is made of: each fork adds one.
pub(crate) const FORKED_LAYERS_MAX: usize = 128;

/// Live forks of one request.
pub(crate) const FORKS_MAX: u32 = 100;

/// A region's name.
pub(crate) const REGION_BYTES_MAX: usize = 64;
/// The regions that a sandbox may fail over to.
pub(crate) const FAILOVER_REGIONS_MAX: usize = 20;
pub(crate) const NETWORK_ID_BYTES_MAX: usize = 128;
/// A tag's key, and its value.
pub(crate) const TAG_BYTES_MAX: usize = 256;

/// What the host has, as it stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) memory_mib: u64,
    pub(crate) available_mib: u64,
    pub(crate) disk_free_mib: u64,
    pub(crate) processors: u64,
    /// Files that this process may have open.
    pub(crate) open_files: u64,
}

/// What is already promised to sandboxes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Promised {
    pub(crate) sandboxes: u64,
    pub(crate) memory_mib: u64,
    pub(crate) vcpus: u64,
}

/// Why a sandbox is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRoom {
    #[error(
        "no memory for another sandbox: {charged} MiB would be set aside of {limit} MiB; stop one, or ask for less memory"
    )]
    Memory { charged: u64, limit: u64 },
    #[error("only {available} MiB of the host's memory are available; {needed} MiB are needed")]
    MemoryNow { available: u64, needed: u64 },
    #[error(
        "only {free} MiB of disk are free; {needed} MiB are needed; remove sandboxes or images"
    )]
    Disk { free: u64, needed: u64 },
    #[error("{vcpus} vCPUs would run on this host; at most {limit} may; stop a sandbox")]
    Cpu { vcpus: u64, limit: u64 },
    #[error(
        "the server may have {limit} files open, which is enough for {sandboxes} sandboxes; raise its limit (ulimit -n, LimitNOFILE=)"
    )]
    Files { limit: u64, sandboxes: u64 },
}

impl Promised {
    pub(crate) fn add(&mut self, shape: Shape) {
        self.sandboxes += 1;
        self.memory_mib += charge(shape);
        self.vcpus += u64::from(shape.vcpus);
    }
}

fn charge(shape: Shape) -> u64 {
    OVERHEAD_MIB + u64::from(shape.memory_mib) / OVERCOMMIT
}

/// The formula.
pub(crate) fn admit(host: Host, promised: Promised, shape: Shape) -> Result<(), NoRoom> {
    let reserve = (host.memory_mib / 8).min(RESERVE_MIB_MAX);
    let (charged, limit) = (promised.memory_mib + charge(shape), host.memory_mib - reserve);
    if limit < charged {
        return Err(NoRoom::Memory { charged, limit });
    }
    let needed = reserve + STARTING_MIB;
    if host.available_mib < needed {
        return Err(NoRoom::MemoryNow { available: host.available_mib, needed });
    }
    let needed = DISK_RESERVE_MIB + DISK_PER_SANDBOX_MIB * (promised.sandboxes + 1);
    if host.disk_free_mib < needed {
        return Err(NoRoom::Disk { free: host.disk_free_mib, needed });
    }
    let vcpus = promised.vcpus + u64::from(shape.vcpus);
    let limit = host.processors * VCPUS_PER_PROCESSOR;
    if limit < vcpus {
        return Err(NoRoom::Cpu { vcpus, limit });
    }
    // The rest is for connections.
    let files = host.open_files / 4 * 3;
    if files < files_needed(promised.sandboxes + 1) {
        let sandboxes = files.saturating_sub(FILES_OF_ITS_OWN) / FILES_PER_SANDBOX;
        return Err(NoRoom::Files { limit: host.open_files, sandboxes });
    }
    Ok(())
}

/// Whether so many forks can each have so much memory of their own at once.
pub(crate) fn admit_forks(host: Host, written_mib: u64, machines: u64) -> Result<(), NoRoom> {
    let reserve = (host.memory_mib / 8).min(RESERVE_MIB_MAX);
    let needed = reserve + (OVERHEAD_MIB + written_mib) * machines;
    match host.available_mib < needed {
        true => Err(NoRoom::MemoryNow { available: host.available_mib, needed }),
        false => Ok(()),
    }
}

impl Host {
    /// Reads `/proc/meminfo` and the free space of the file system that holds `folder`.
    pub(crate) fn now(folder: &std::path::Path) -> std::io::Result<Self> {
        let meminfo = std::fs::read_to_string("/proc/meminfo")?;
        let mib = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        let disk = rustix::fs::statvfs(folder)?;
        Ok(Self {
            memory_mib: mib("MemTotal").unwrap_or(0) >> 10,
            available_mib: mib("MemAvailable").unwrap_or(0) >> 10,
            disk_free_mib: disk.f_bavail.saturating_mul(disk.f_frsize) >> 20,
            processors: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
            open_files: open_files(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Host = Host {
        memory_mib: 24_000,
        available_mib: 20_000,
        disk_free_mib: 50_000,
        processors: 2,
        open_files: 20_000,
    };
    const SHAPE: Shape = Shape { vcpus: 1, memory_mib: 1024 };

    fn fill(host: Host, shape: Shape) -> (u64, NoRoom) {
        let mut promised = Promised::default();
        loop {
            match admit(host, promised, shape) {
                Ok(()) => promised.add(shape),
                Err(why) => return (promised.sandboxes, why),
            }
        }
    }

    #[test]
    fn each_resource_is_a_limit() {
        let large = Shape { vcpus: 1, memory_mib: 4096 };
        assert_eq!(fill(HOST, large), (39, NoRoom::Memory { charged: 22_400, limit: 21_952 }));
        let small = Shape { vcpus: 1, memory_mib: 128 };
        assert_eq!(fill(HOST, small), (320, NoRoom::Cpu { vcpus: 321, limit: 320 }));
        let disk = Host { disk_free_mib: 1300, ..HOST };
        assert_eq!(fill(disk, SHAPE), (4, NoRoom::Disk { free: 1300, needed: 1344 }));
        let few = Host { open_files: 1024, ..HOST };
        assert_eq!(fill(few, small), (32, NoRoom::Files { limit: 1024, sandboxes: 32 }));
        let busy = Host { available_mib: 2303, ..HOST };
        assert_eq!(fill(busy, SHAPE), (0, NoRoom::MemoryNow { available: 2303, needed: 2304 }));
    }

    #[test]
    fn three_hundred_small_sandboxes_fit_in_24_gib() {
        assert!(fill(HOST, Shape { vcpus: 1, memory_mib: 192 }).0 >= 300);
    }

    #[test]
    fn fifty_sandboxes_of_the_default_shape_fit_in_24_gib() {
        let host = Host { memory_mib: 24_064, ..HOST };
        let shape = Shape { vcpus: 1, memory_mib: MEMORY_MIB_PER_VCPU };
        assert!(fill(host, shape).0 >= 50, "{:?}", fill(host, shape));
    }
}
