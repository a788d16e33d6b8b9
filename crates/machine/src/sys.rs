//! The few things that need `unsafe`: what happens between `fork` and `exec`, waiting for a
//! descriptor, the time stamp counter, and another process's memory and what it writes to it.
#![expect(
    unsafe_code,
    reason = "pre_exec, AsyncFd, rdtsc, process_vm_readv and ptrace have no safe form"
)]

use std::{
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::{Command, Stdio},
};

use rustix::{io::FdFlags, time::ClockId};
use tokio::io::{Interest, unix::AsyncFd};

use crate::detached::{Detached, Sockets};

mod calls;
pub(crate) mod memory;
#[cfg_attr(not(target_arch = "x86_64"), path = "sys/untraced.rs")]
mod tracing;
pub(crate) mod written;

/// Starts the process and gives its pid. It is our child until it is waited for.
pub(crate) fn spawn(detached: Detached<'_>) -> io::Result<u32> {
    let Detached { program, arguments, folder, log, inherit, ruleset, sockets } = detached;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let confine = move || {
        rustix::process::setsid()?;
        inherit.iter().try_for_each(|fd| rustix::io::fcntl_setfd(fd, FdFlags::empty()))?;
        rustix::thread::set_no_new_privs(true)?;
        ruleset.as_ref().map_or(Ok(()), |ruleset| restrict_self(ruleset.as_raw_fd()))?;
        match sockets {
            Sockets::Denied => calls::deny(),
            Sockets::Allowed => Ok(()),
        }
    };
    // SAFETY: the closure runs in the child between fork and exec and makes system calls only: it
    // neither allocates nor takes a lock.
    unsafe { command.pre_exec(confine) };
    // Not waited for here: its pidfd tells when it ends (see `process`).
    Ok(command.spawn()?.id())
}

fn restrict_self(ruleset: RawFd) -> io::Result<()> {
    // SAFETY: the system call takes two integers and touches no memory of ours.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The time stamp counter and, as near to it as can be had, the monotonic clock in nanoseconds.
#[cfg(target_arch = "x86_64")]
pub(crate) fn tsc_and_clock() -> (u64, u64) {
    let read = || {
        // SAFETY: every x86-64 has the instruction and Linux allows it to processes.
        let before = unsafe { core::arch::x86_64::_rdtsc() };
        let clock = rustix::time::clock_gettime(ClockId::MonotonicRaw);
        // SAFETY: as above.
        let after = unsafe { core::arch::x86_64::_rdtsc() };
        let seconds = u64::try_from(clock.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(clock.tv_nsec).unwrap_or(0);
        (after.wrapping_sub(before), before, seconds * 1_000_000_000 + nanoseconds)
    };
    // The read that was interrupted least.
    let (width, before, clock) =
        (0..64).map(|_| read()).min_by_key(|(width, ..)| *width).unwrap_or_default();
    (before + width / 2, clock)
}

/// The descriptor, so that it can be waited for.
pub(crate) fn until_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, and stays the same, for as long as the `AsyncFd` owns it.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(watched?)
}

/// A name in an opened folder, short enough for any socket.
pub(crate) fn proc_path(fd: BorrowedFd<'_>, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", fd.as_raw_fd())
}
