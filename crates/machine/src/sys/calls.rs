//! System calls that a process of ours that is handed its sockets, as a machine's QEMU is, is not
//! given.
//!
//! Landlock does not stand before sockets that have a path: by its rules alone a QEMU that its
//! guest has taken over could connect to our API, to the control sockets of other machines, and to
//! whatever else runs as the same user. QEMU is handed the sockets that it listens on and makes
//! none, so it may make none. Its own filter (`-sandbox`) allows these calls, and filters add up.

use std::io;

const AUDIT_ARCH: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

/// `io_uring` makes and connects sockets too, without a call of its own; QEMU does without it.
const DENIED: [libc::c_long; 4] =
    [libc::SYS_socket, libc::SYS_socketpair, libc::SYS_connect, libc::SYS_io_uring_setup];

/// From here on x86-64 has every call a second time, for programs with short pointers.
const X32_CALLS: u32 = 0x4000_0000;

/// Of `seccomp_data`: the call's number, and the architecture that it is one of.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

const FILTER_LEN: usize = 5 + DENIED.len() + 2;
#[expect(clippy::cast_possible_truncation, reason = "the filter is short")]
const PROGRAM_LEN: u16 = FILTER_LEN as u16;
static FILTER: [libc::sock_filter; FILTER_LEN] = filter();

const fn filter() -> [libc::sock_filter; FILTER_LEN] {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let at_least = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    let mut filter = [statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW); FILTER_LEN];
    filter[0] = statement(load, ARCHITECTURE_AT);
    filter[1] = jump(equal, AUDIT_ARCH, 1, 0);
    filter[2] = statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_KILL_PROCESS);
    filter[3] = statement(load, NUMBER_AT);
    let last = FILTER_LEN - 1;
    filter[4] = jump(at_least, X32_CALLS, to(4, last), 0);
    let mut n = 0;
    while n < DENIED.len() {
        filter[5 + n] = jump(equal, number(DENIED[n]), to(5 + n, last), 0);
        n += 1;
    }
    filter[last] = statement(libc::BPF_RET | libc::BPF_K, refuse);
    filter
}

const fn statement(code: u32, k: u32) -> libc::sock_filter {
    jump(code, k, 0, 0)
}

#[expect(clippy::cast_possible_truncation, reason = "all codes have 16 bits")]
const fn jump(code: u32, k: u32, yes: u8, no: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: yes, jf: no, k }
}

/// How far it is over the instructions between.
#[expect(clippy::cast_possible_truncation, reason = "the filter is short")]
const fn to(from: usize, target: usize) -> u8 {
    (target - from - 1) as u8
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
const fn number(call: libc::c_long) -> u32 {
    call as u32
}

/// Takes the calls from this process and all that it becomes, for good. It must have given up
/// gaining privileges. Makes one system call and nothing else.
pub(super) fn deny() -> io::Result<()> {
    let program = libc::sock_fprog { len: PROGRAM_LEN, filter: FILTER.as_ptr().cast_mut() };
    // SAFETY: the kernel reads the program, which is whole and outlives the call, and writes
    // nothing.
    let result = unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, std::ptr::from_ref(&program))
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, path::Path};

    use crate::{Detached, Exit, Sockets};

    /// Ends with 7 if the call was not permitted and with 3 if it was.
    fn attempt(call: &str) -> [String; 3] {
        ["-MSocket".into(), "-e".into(), format!("{call} or exit($! == 1 ? 7 : 4); exit 3")]
    }

    #[tokio::test]
    async fn a_process_that_may_not_makes_no_sockets() {
        let folder = tempfile::tempdir().unwrap();
        let program = Path::new("/usr/bin/perl");
        for call in [
            "socket(S, AF_UNIX, SOCK_STREAM, 0)",
            "socket(S, AF_INET, SOCK_DGRAM, 0)",
            "socketpair(S, T, AF_UNIX, SOCK_DGRAM, 0)",
        ] {
            let arguments = attempt(call);
            for (sockets, expected) in [(Sockets::Denied, 7), (Sockets::Allowed, 3)] {
                let detached = Detached {
                    program,
                    arguments: &arguments,
                    folder: folder.path(),
                    log: File::create(folder.path().join("log")).unwrap(),
                    inherit: Vec::new(),
                    ruleset: None,
                    sockets,
                };
                let exit = detached.spawn().unwrap().exited().await;
                assert_eq!(exit, Exit::Code(expected), "{call}, {sockets:?}");
            }
        }
    }
}
