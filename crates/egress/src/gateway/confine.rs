//! What a gateway gives up before it looks at the first byte of its guest.
//!
//! It parses what hostile guests send, so it is to be of no use to who takes it over: it opens no
//! file, starts no program, makes no sockets but those of TCP and UDP, and holds the secrets of one
//! sandbox and no others. Its memory is not in a core dump, and other processes of its user cannot
//! look into it.

use std::collections::BTreeMap;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError, Scope,
};
use rustix::{
    process::{
        DumpableBehavior, Resource, Rlimit, geteuid, getrlimit, set_dumpable_behavior, setrlimit,
    },
    thread::{set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Compare,
    SeccompCondition as Condition, SeccompFilter, SeccompRule,
};

/// The user that a gateway of root's becomes: `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;

/// Two for each connection, and some.
const OPEN_FILES_MAX: u64 = 2048;

/// Memory of its own, in bytes: twice what its buffers come to when all are full. A guest that finds a way to
/// have more held ends its own gateway, and takes nothing from the host.
const DATA_BYTES_MAX: u64 = 512 << 20;

/// Why the gateway could not be confined. It does not run then.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    #[error("a limit could not be set")]
    Limit(#[source] rustix::io::Errno),
    #[error("root could not be given up")]
    User(#[source] rustix::io::Errno),
    #[error("the Landlock rules could not be set")]
    Landlock(#[from] RulesetError),
    #[error("the system calls could not be given up")]
    Filter(#[from] BackendError),
    #[error("the system calls could not be given up")]
    Apply(#[from] seccompiler::Error),
}

/// Gives everything up that the gateway does not need, for good. Nothing else may run in this
/// process yet.
pub(super) fn confine() -> Result<(), ConfineError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(ConfineError::Limit)?;
    let limits =
        [(Resource::Core, 0), (Resource::Nofile, OPEN_FILES_MAX), (Resource::Data, DATA_BYTES_MAX)];
    for (resource, most) in limits {
        // None may be more than what the one who started us has.
        let most = getrlimit(resource).maximum.map_or(most, |allowed| most.min(allowed));
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        setrlimit(resource, limit).map_err(ConfineError::Limit)?;
    }
    give_up_root().map_err(ConfineError::User)?;
    set_no_new_privs(true).map_err(ConfineError::User)?;
    forget_files()?;
    seccompiler::apply_filter_all_threads(&filter()?)?;
    Ok(())
}

fn give_up_root() -> rustix::io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let (user, group) =
        (rustix::process::Uid::from_raw(NOBODY), rustix::process::Gid::from_raw(NOBODY));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    // A change of user makes a process readable again where the system says so.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// No path can be opened, and no abstract socket or process outside be reached, where the kernel
/// has Landlock; the filter of system calls says the same for files everywhere.
fn forget_files() -> Result<(), RulesetError> {
    const NEWEST: ABI = ABI::V6;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .scope(Scope::AbstractUnixSocket | Scope::Signal)?
        .create()?
        .restrict_self()?;
    Ok(())
}

/// Calls that are let through whatever their arguments: on what is open, on memory and time.
const ALLOWED: [libc::c_long; 57] = [
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_ftruncate,
    libc::SYS_fstat,
    libc::SYS_fcntl,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_membarrier,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_getrusage,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

fn filter() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<libc::c_long, Vec<SeccompRule>> =
        ALLOWED.into_iter().map(|call| (call, Vec::new())).collect();
    // Internet sockets only: the server's own socket and other gateways are out of reach.
    let families = [libc::AF_INET, libc::AF_INET6];
    let families: Result<Vec<_>, _> = families
        .into_iter()
        .map(|family| when(0, Compare::Eq, u64::from(family.unsigned_abs())))
        .collect();
    rules.insert(libc::SYS_socket, families?);
    // Memory that can be executed is never made.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
        rules.insert(call, vec![when(2, Compare::MaskedEq(executable), 0)?]);
    }
    // Of a descriptor's own requests, whether it blocks and how much there is to read.
    let requests: Result<Vec<_>, _> = [libc::FIONBIO, libc::FIONREAD]
        .into_iter()
        .map(|request| when(1, Compare::Eq, request))
        .collect();
    rules.insert(libc::SYS_ioctl, requests?);
    let architecture = std::env::consts::ARCH.try_into()?;
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    SeccompFilter::new(rules, denied, SeccompAction::Allow, architecture)?.try_into()
}

fn when(argument: u8, compare: Compare, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![Condition::new(argument, Length::Dword, compare, value)?])
}

#[cfg(test)]
mod tests;
