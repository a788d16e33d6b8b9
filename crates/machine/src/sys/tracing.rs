//! A system call made by another process, as a debugger has it make one: by a thread of it that is stopped
//! for that, for a fraction of a millisecond.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
    ptr,
    time::Duration,
};

use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, WaitId, WaitIdOptions, pidfd_getfd, pidfd_open, waitid,
};

use super::memory;

/// How often it is looked, and after which time again: a thread of a sane process stops in microseconds.
const LOOKS: usize = 2000;
const LOOK_AGAIN: Duration = Duration::from_micros(20);
/// `syscall`, as the kernel's own page in each process has it somewhere.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// It serves faults of programs alone, which any user may have; and these two are O_CLOEXEC and O_NONBLOCK.
const USER_MODE_ONLY: u64 = 1;
const FLAGS: u64 = 0o2_000_000 | 0o4000;

/// A `userfaultfd` of that process, which is no one's but ours.
///
/// Should this process be killed in the moment in which the other one has registers that are not its own,
/// that one ends too.
pub(crate) fn userfaultfd_of(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
    // Whatever becomes of it, the other process is let go of when this thread ends.
    let traced = move || {
        let traced = Traced::stop(pid)?;
        let number = traced.call(libc::SYS_userfaultfd, FLAGS | USER_MODE_ONLY)?;
        let taken = take(pid, number);
        traced.call(libc::SYS_close, number)?;
        taken
    };
    let broken = |_| Err(io::Error::other("who makes the call broke"));
    std::thread::spawn(traced).join().unwrap_or_else(broken)
}

/// Its descriptor of that number, if it is what it should be: the other process may be anybody's by now.
fn take(pid: Pid, number: u64) -> io::Result<OwnedFd> {
    let number = i32::try_from(number).map_err(io::Error::other)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let fd = pidfd_getfd(process, number, PidfdGetfdFlags::empty())?;
    let name = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    match name == Path::new("anon_inode:[userfaultfd]") {
        true => Ok(fd),
        false => Err(io::Error::other("the descriptor is another")),
    }
}

/// The first thread of a process, stopped. It goes on when this is dropped, which is the tracing thread's
/// to do, as all of it is.
struct Traced {
    pid: Pid,
    /// Where an instruction is that makes a system call.
    syscall: u64,
    registers: libc::user_regs_struct,
    signals: u64,
}

impl Traced {
    fn stop(pid: Pid) -> io::Result<Self> {
        let syscall = syscall_in(pid)?;
        tell(libc::PTRACE_SEIZE, pid, libc::PTRACE_O_TRACESYSGOOD as usize)?;
        tell(libc::PTRACE_INTERRUPT, pid, 0)?;
        wait(pid)?;
        // SAFETY: all that is in it are integers.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        get(libc::PTRACE_GETREGS, pid, &mut registers)?;
        let mut signals = 0_u64;
        get(PTRACE_GETSIGMASK, pid, &mut signals)?;
        let traced = Self { pid, syscall, registers, signals };
        // No handler of its own runs with registers that are not its own.
        set(PTRACE_SETSIGMASK, pid, &u64::MAX)?;
        Ok(traced)
    }

    /// Has it make a call with one argument.
    fn call(&self, number: libc::c_long, argument: u64) -> io::Result<u64> {
        let mut registers = self.registers;
        registers.rip = self.syscall;
        // It was in none that is to be made again.
        registers.orig_rax = u64::MAX;
        registers.rax = number.cast_unsigned();
        registers.rdi = argument;
        set(libc::PTRACE_SETREGS, self.pid, &registers)?;
        let made = self.until_made();
        set(libc::PTRACE_SETREGS, self.pid, &self.registers)?;
        let result = made?.cast_signed();
        u64::try_from(result).map_err(|_negative| {
            io::Error::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO))
        })
    }

    fn until_made(&self) -> io::Result<u64> {
        for _in_and_out in 0..2 {
            tell(libc::PTRACE_SYSCALL, self.pid, 0)?;
            wait(self.pid)?;
        }
        let mut registers = self.registers;
        get(libc::PTRACE_GETREGS, self.pid, &mut registers)?;
        Ok(registers.rax)
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // They fail where the process is gone, and then nothing is to be undone.
        drop(set(PTRACE_SETSIGMASK, self.pid, &self.signals));
        drop(tell(libc::PTRACE_DETACH, self.pid, 0));
    }
}

const PTRACE_GETSIGMASK: libc::c_uint = 0x420a;
const PTRACE_SETSIGMASK: libc::c_uint = 0x420b;

/// A request that takes a number.
fn tell(what: libc::c_uint, pid: Pid, number: usize) -> io::Result<()> {
    // SAFETY: the kernel reads and writes nothing of ours.
    done(unsafe { libc::ptrace(what, pid.as_raw_pid(), 0_usize, number) })
}

/// A request that fills what is given, as long as it is: of integers alone.
fn get<T>(what: libc::c_uint, pid: Pid, into: &mut T) -> io::Result<()> {
    // SAFETY: the kernel writes registers, or as many bytes of a signal mask as it is told; each of that
    // length is what `into` is.
    done(unsafe { libc::ptrace(what, pid.as_raw_pid(), size_of::<T>(), ptr::from_mut(into)) })
}

/// A request that reads what is given.
fn set<T>(what: libc::c_uint, pid: Pid, from: &T) -> io::Result<()> {
    // SAFETY: the kernel reads as much as in `get` and keeps nothing.
    done(unsafe { libc::ptrace(what, pid.as_raw_pid(), size_of::<T>(), ptr::from_ref(from)) })
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Until it has stopped. That it ended is left for who waits for its end.
fn wait(pid: Pid) -> io::Result<()> {
    let options = WaitIdOptions::STOPPED
        | WaitIdOptions::EXITED
        | WaitIdOptions::NOWAIT
        | WaitIdOptions::NOHANG;
    for _ in 0..LOOKS {
        match waitid(WaitId::Pid(pid), options)? {
            Some(status) if status.stopped() || status.trapped() => return Ok(()),
            Some(_) => return Err(io::ErrorKind::NotFound.into()),
            None => std::thread::park_timeout(LOOK_AGAIN),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn syscall_in(pid: Pid) -> io::Result<u64> {
    let proc = format!("/proc/{}", pid.as_raw_pid());
    let maps = fs::read_to_string(format!("{proc}/maps"))?;
    let range = maps.lines().find(|line| line.ends_with("[vdso]")).and_then(memory::addresses);
    let range = range.ok_or(io::ErrorKind::Unsupported)?;
    let mut code = vec![0; usize::try_from(range.end - range.start).unwrap_or(0)];
    File::open(format!("{proc}/mem"))?.read_exact_at(&mut code, range.start)?;
    let at = code.windows(SYSCALL.len()).position(|bytes| bytes == SYSCALL);
    at.map(|at| range.start + at as u64).ok_or_else(|| io::ErrorKind::Unsupported.into())
}
