//! Starting a program without a copy of ourselves: until it runs, the new process has our memory and we
//! stand still (`CLONE_VM`, `CLONE_VFORK`). What `fork` copies, and what both then copy again as they
//! write, is most of what a small command costs under emulation.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::{CString, c_void},
    io,
    os::fd::RawFd,
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicI32, Ordering::Relaxed},
    },
};

use rustix::{
    fd::{AsRawFd, OwnedFd},
    fs::{Gid, Uid},
    io::Errno,
    process::{Pid, WaitOptions},
};

use super::check;
use crate::accounts::Account;

/// Added to the errno of a failed `chdir`, to tell it from a failed `exec`.
pub(crate) const CHDIR_FAILED: i32 = 1 << 16;

/// What the new process has until its program runs; it needs a small part of it.
const STACK_BYTES: usize = 64 << 10;
/// Signal numbers go up to this.
const SIGNALS: libc::c_int = 64;
/// Of the kernel's signal sets.
const SET_BYTES: usize = 8;
/// Descriptors below are standard streams.
const FIRST_OTHER: RawFd = 3;

/// A program and what its process is to be.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) argv: Vec<CString>,
    /// All of its environment, `NAME=value`.
    pub(crate) env: Vec<CString>,
    /// Where the program may be, the first first.
    pub(crate) places: Vec<CString>,
    pub(crate) cwd: CString,
    /// None keeps the agent's own user.
    pub(crate) account: Option<Account>,
    pub(crate) terminal: Terminal,
}

/// Whether standard input is the child's controlling terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terminal {
    None,
    Stdin,
}

/// Everything that the new process needs, so that it allocates nothing.
struct Plan<'a> {
    argv: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    places: &'a [CString],
    cwd: &'a CString,
    ids: Option<Ids>,
    terminal: Terminal,
    streams: [RawFd; 3],
    signals: &'static [libc::c_int],
    /// Why it did not come to its program.
    failed: AtomicI32,
}

struct Ids {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

/// `NAME=value` of each, the last of a name.
pub(crate) fn environment(env: &[(String, String)]) -> Result<Vec<CString>, std::ffi::NulError> {
    let last: BTreeMap<&str, &str> =
        env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    last.into_iter().map(|(name, value)| CString::new(format!("{name}={value}"))).collect()
}

impl Child {
    /// Runs the program with these standard streams. The error of one that cannot be run is that of
    /// the place that came closest, as a shell has it.
    pub(crate) fn spawn(self, streams: [OwnedFd; 3]) -> io::Result<Pid> {
        let streams = streams.map(above_streams);
        let [stdin, stdout, stderr] = streams;
        let (stdin, stdout, stderr) = (stdin?, stdout?, stderr?);
        let ids = self.account.map(|account| Ids {
            uid: Uid::from_raw(account.uid),
            gid: Gid::from_raw(account.gid),
            groups: account.groups.into_iter().map(Gid::from_raw).collect(),
        });
        let plan = Plan {
            argv: pointers(&self.argv),
            env: pointers(&self.env),
            places: &self.places,
            cwd: &self.cwd,
            ids,
            terminal: self.terminal,
            streams: [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()],
            signals: not_default(),
            failed: AtomicI32::new(0),
        };
        let pid = clone(&plan)?;
        match plan.failed.load(Relaxed) {
            0 => Ok(pid),
            code => {
                // It has ended: nothing is left of it.
                let _collected = rustix::process::waitpid(Some(pid), WaitOptions::empty()).is_ok();
                Err(io::Error::from_raw_os_error(code))
            }
        }
    }
}

/// The same descriptor where no standard stream is put.
fn above_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    if FIRST_OTHER <= fd.as_raw_fd() {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, FIRST_OTHER)?)
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
}

/// The signals of which we have made something, or who started us; found out once.
fn not_default() -> &'static [libc::c_int] {
    static FOUND: OnceLock<Vec<libc::c_int>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let is_default = |signal: &libc::c_int| {
            // SAFETY: an all-zero `sigaction` is a valid one.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            // SAFETY: nothing is set; what there is goes to a valid place.
            let asked = unsafe { libc::sigaction(*signal, ptr::null(), &raw mut action) };
            asked != 0 || action.sa_sigaction == libc::SIG_DFL
        };
        (1..=SIGNALS).filter(|signal| !is_default(signal)).collect()
    })
}

/// Makes the process, and comes back when its program runs or it has ended.
fn clone(plan: &Plan<'_>) -> io::Result<Pid> {
    thread_local! {
        static STACK: RefCell<Vec<u128>> = RefCell::new(vec![0; STACK_BYTES / size_of::<u128>()]);
    }
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let argument = ptr::from_ref(plan).cast_mut().cast::<c_void>();
    let pid = STACK.with_borrow_mut(|stack| {
        let before = mask(u64::MAX);
        let top = stack.as_mut_ptr_range().end.cast::<c_void>();
        // SAFETY: the stack is the new process's alone until this returns, as is what it writes to
        // of the plan; the plan lives on. It runs `begin`, which calls the kernel and nothing else.
        // No signal reaches it before it has the default actions.
        let pid = unsafe { libc::clone(begin, top, flags, argument) };
        let pid = check(pid);
        mask(before);
        pid
    })?;
    Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::Other.into())
}

/// Blocks these signals and no others; gives those that were blocked.
fn mask(signals: u64) -> u64 {
    let mut before = 0_u64;
    // SAFETY: both sets are as large as the kernel is told.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const signals,
            &raw mut before,
            SET_BYTES,
        )
    };
    before
}

/// Where the new process begins. It has our memory: it may neither allocate nor take a lock.
extern "C" fn begin(argument: *mut c_void) -> libc::c_int {
    // SAFETY: it is the plan that `clone` was given, which outlives this.
    let plan = unsafe { &*argument.cast::<Plan<'_>>() };
    plan.failed.store(plan.follow(), Relaxed);
    127
}

impl Plan<'_> {
    /// Becomes the program, or tells why not.
    fn follow(&self) -> i32 {
        match self.become_child() {
            Err(errno) => errno.raw_os_error(),
            Ok(()) => match rustix::process::chdir(self.cwd.as_c_str()) {
                Err(errno) => errno.raw_os_error() + CHDIR_FAILED,
                Ok(()) => self.exec(),
            },
        }
    }

    fn become_child(&self) -> Result<(), Errno> {
        for (to, from) in (0..).zip(self.streams) {
            // SAFETY: it makes one descriptor a copy of another.
            if unsafe { libc::syscall(libc::SYS_dup3, from, to, 0) } < 0 {
                return Err(last());
            }
        }
        self.reset_signals();
        close_on_exec()?;
        rustix::process::setsid()?;
        if self.terminal == Terminal::Stdin {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        if let Some(ids) = &self.ids {
            be_killed_first()?;
            rustix::thread::set_thread_groups(&ids.groups)?;
            rustix::thread::set_thread_gid(ids.gid)?;
            rustix::thread::set_thread_uid(ids.uid)?;
        }
        Ok(())
    }

    /// Nothing is blocked, ignored or handled that the agent, or who started it, blocks or ignores.
    fn reset_signals(&self) {
        // As the kernel has it: the default action, no flags, an empty set.
        let default = [0_u64; 4];
        for signal in self.signals {
            let nowhere = ptr::null_mut::<c_void>();
            // SAFETY: the default is no handler; what there was is not asked for.
            unsafe {
                libc::syscall(
                    libc::SYS_rt_sigaction,
                    *signal,
                    &raw const default,
                    nowhere,
                    SET_BYTES,
                )
            };
        }
        mask(0);
    }

    /// Comes back with an error only.
    fn exec(&self) -> i32 {
        let mut found = libc::ENOENT;
        for place in self.places {
            // SAFETY: path, arguments and environment are texts that end in zero, the lists in null.
            unsafe {
                libc::syscall(
                    libc::SYS_execve,
                    place.as_ptr(),
                    self.argv.as_ptr(),
                    self.env.as_ptr(),
                )
            };
            match last().raw_os_error() {
                libc::ENOENT | libc::ENOTDIR => {}
                libc::EACCES => found = libc::EACCES,
                errno => return errno,
            }
        }
        found
    }
}

fn last() -> Errno {
    // It is kept by who made the call; `io::Error` of it allocates nothing.
    Errno::from_raw_os_error(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
}

/// Whatever is open beyond the standard streams does not outlive the exec.
fn close_on_exec() -> Result<(), Errno> {
    // SAFETY: no descriptor is closed, they are only marked.
    let marked = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            FIRST_OTHER,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if marked < 0 { Err(last()) } else { Ok(()) }
}

/// The agent is never killed for want of memory, its commands are. The kernel keeps a process that has
/// another's memory by `vfork` apart here.
fn be_killed_first() -> Result<(), Errno> {
    use rustix::fs::{Mode, OFlags, open};
    let file = open(c"/proc/self/oom_score_adj", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(file, b"0")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_variables_of_a_name_the_last_is_given() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let given = environment(&[pair("B", "1"), pair("A", "x=y"), pair("B", "")]).unwrap();
        assert_eq!(given, [c"A=x=y".to_owned(), c"B=".to_owned()]);
        environment(&[pair("A", "\0")]).unwrap_err();
    }
}
