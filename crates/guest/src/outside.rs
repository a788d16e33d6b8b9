//! Connections to the outside, in a machine that has the memory of another, or of its own from before: the
//! other end goes on without it, so here they are over, and whoever has one is told.

use std::{fs, net::SocketAddr};

use rustix::{
    fd::OwnedFd,
    net::{SocketType, connect_unspec, getpeername, getsockname, sockopt},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

/// Resets all TCP connections of all processes whose other end is another machine.
pub(crate) fn reset_connections() {
    let own = rustix::process::getpid();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for pid in pids.filter_map(Pid::from_raw).filter(|pid| *pid != own) {
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        for number in sockets_of(pid) {
            let Ok(socket) = pidfd_getfd(&process, number, PidfdGetfdFlags::empty()) else {
                continue;
            };
            if leads_outside(&socket) {
                // Of TCP this is a reset, which whoever reads or writes is told. One that has just ended
                // needs none.
                let _is_reset = connect_unspec(&socket).is_ok();
            }
        }
    }
}

fn sockets_of(pid: Pid) -> Vec<i32> {
    let folder = format!("/proc/{}/fd", pid.as_raw_pid());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_socket = |entry: &fs::DirEntry| {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        target.to_str().is_some_and(|target| target.starts_with("socket:"))
    };
    let sockets = entries.filter(is_socket);
    sockets.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn leads_outside(socket: &OwnedFd) -> bool {
    if sockopt::socket_type(socket) != Ok(SocketType::STREAM) {
        return false;
    }
    let ends = [getpeername(socket), getsockname(socket).map(Some)];
    let ends = ends.map(|end| end.ok().flatten().and_then(|end| SocketAddr::try_from(end).ok()));
    let [Some(peer), Some(own)] = ends else { return false };
    !peer.ip().to_canonical().is_loopback() && peer.ip() != own.ip()
}
