//! The few things that need `unsafe`: how programs are started, and system calls that have no safe
//! wrapper.

#![expect(unsafe_code, reason = "the one module that calls the kernel by hand")]

use std::io;

use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

pub(crate) mod copy;
pub(crate) mod interface;
pub(crate) mod pinned;
pub(crate) mod spawn;

fn child_signal() -> libc::sigset_t {
    // SAFETY: an all-zero `sigset_t` is a valid one.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid signal set.
    unsafe { libc::sigemptyset(&raw mut set) };
    // SAFETY: `set` is a valid signal set and the number that of a signal.
    unsafe { libc::sigaddset(&raw mut set, libc::SIGCHLD) };
    set
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Blocks SIGCHLD and gives a descriptor that becomes readable by it. To be called before any
/// thread is started, so that it is blocked in all.
pub(crate) fn watch_children() -> io::Result<OwnedFd> {
    let set = child_signal();
    // SAFETY: `set` is a valid signal set; the old one is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) })?;
    let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
    // SAFETY: `set` is a valid signal set, and -1 asks for a new descriptor.
    let fd = check(unsafe { libc::signalfd(-1, &raw const set, flags) })?;
    // SAFETY: the descriptor was just made and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How the kernel lets the calling thread have its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Normal,
    /// It takes the processor from nobody. What it starts is of the normal kind.
    Batch,
}

pub(crate) fn set_policy(policy: Policy) -> io::Result<()> {
    let policy = match policy {
        Policy::Normal => libc::SCHED_OTHER,
        Policy::Batch => libc::SCHED_BATCH | libc::SCHED_RESET_ON_FORK,
    };
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: it reads `parameters`.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) })?;
    Ok(())
}

/// Sends any signal, a real-time one as well, to a process group.
pub(crate) fn kill_group(group: rustix::process::Pid, signal: u8) -> io::Result<()> {
    // SAFETY: `kill` has no preconditions; the group is a positive number.
    check(unsafe { libc::kill(-group.as_raw_pid(), i32::from(signal)) })?;
    Ok(())
}

/// How many pages of this part of a file are in the kernel's memory. For kernels from 6.5 on.
pub(crate) fn cached_pages(file: impl AsFd, at: u64, len: u64) -> io::Result<u64> {
    /// The same on every architecture, and unknown to the library.
    const CACHESTAT: libc::c_long = 451;
    #[repr(C)]
    struct Part {
        at: u64,
        len: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct State {
        cached: u64,
        others: [u64; 4],
    }
    let (part, mut state) = (Part { at, len }, State::default());
    let file = file.as_fd().as_raw_fd();
    // SAFETY: `part` is a `cachestat_range`, and `state` a `cachestat`, which alone is written.
    let done = unsafe { libc::syscall(CACHESTAT, file, &raw const part, &raw mut state, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(state.cached) }
}

/// Empties a block device's cache: its content may have changed behind the kernel's back.
pub(crate) fn flush_block_cache(device: impl AsFd) -> io::Result<()> {
    const BLKFLSBUF: libc::Ioctl = 0x1261;
    let device = device.as_fd().as_raw_fd();
    // SAFETY: this request takes no argument.
    check(unsafe { libc::ioctl(device, BLKFLSBUF, 0) })?;
    Ok(())
}

/// Writes all of a file system to its disk, and has whoever writes to it wait from then on.
pub(crate) fn freeze(root: impl AsFd) -> io::Result<()> {
    const FIFREEZE: libc::Ioctl = 0xc004_5877;
    let root = root.as_fd().as_raw_fd();
    // SAFETY: this request does not look at its argument.
    check(unsafe { libc::ioctl(root, FIFREEZE, 0) })?;
    Ok(())
}

/// Lets a frozen file system be written again.
pub(crate) fn thaw(root: impl AsFd) -> io::Result<()> {
    const FITHAW: libc::Ioctl = 0xc004_5878;
    let root = root.as_fd().as_raw_fd();
    // SAFETY: this request does not look at its argument.
    check(unsafe { libc::ioctl(root, FITHAW, 0) })?;
    Ok(())
}

/// Mixes a seed into the kernel's random generator, counts it as true entropy, and has the
/// generator draw a new key from it at once.
pub(crate) fn reseed(random: impl AsFd, seed: &[u8; 32]) -> io::Result<()> {
    const RNDADDENTROPY: libc::Ioctl = 0x4008_5203;
    const RNDRESEEDCRNG: libc::Ioctl = 0x5207;
    #[repr(C)]
    struct PoolInfo {
        entropy_bits: libc::c_int,
        size: libc::c_int,
        bytes: [u8; 32],
    }
    let info = PoolInfo { entropy_bits: 256, size: 32, bytes: *seed };
    let random = random.as_fd().as_raw_fd();
    // SAFETY: `info` is a `rand_pool_info` with as many bytes as its size says.
    check(unsafe { libc::ioctl(random, RNDADDENTROPY, &raw const info) })?;
    // SAFETY: this request takes no argument.
    check(unsafe { libc::ioctl(random, RNDRESEEDCRNG, 0) })?;
    Ok(())
}

/// Kills every process but the caller, which must be PID 1, and collects them all.
pub(crate) fn kill_everything_else() {
    // SAFETY: `kill` has no preconditions; of PID 1, -1 names every process but itself.
    if unsafe { libc::kill(-1, libc::SIGKILL) } == 0 {
        // Until there is no child left.
        while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok() {}
    }
}
