//! The process of a gateway: started so that it outlives us, and found again.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use machine::{Detached, Leash, Process, SocketFolder, Sockets};
use tokio::net::UnixStream;

use super::place::{CONTROL, Place, ProcessRecord, Record};
use crate::{failpoint, store::Traffic};

/// The word by which our program knows that it is to be a gateway, and we know one by.
const WORD: &str = "gateway";
/// What stands before a gateway's folder in its arguments. The gateway itself has no use for it.
const FOLDER: &str = "--folder";

/// The program that is started.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(super) path: PathBuf,
    /// Before all others.
    pub(super) arguments: Vec<String>,
}

impl Program {
    /// This very program, also where another has taken its place on disk since we were started.
    pub(crate) fn own() -> Self {
        Self { path: PathBuf::from("/proc/self/exe"), arguments: vec![WORD.to_owned()] }
    }
}

/// Starts a gateway on a connection to the guest's network card. It lets nothing through until it
/// is configured.
pub(super) fn start(
    place: &Place,
    program: &Program,
    network: OwnedFd,
    before: Traffic,
) -> io::Result<(Process, Leash)> {
    place.make()?;
    let mut record = Record { process: None, before, told: Traffic::default() };
    place.write(&record)?;
    let control = SocketFolder::open(&place.folder)?.listen(CONTROL)?;
    let [first, second] = place.open_logs()?;
    let mut arguments = program.arguments.clone();
    let fds = [
        ("--network-fd", network.as_raw_fd().to_string()),
        ("--control-fd", control.as_raw_fd().to_string()),
        ("--log-fds", format!("{},{}", first.as_raw_fd(), second.as_raw_fd())),
        (FOLDER, place.folder.canonicalize()?.display().to_string()),
    ];
    arguments.extend(fds.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    let process = Detached {
        program: &program.path,
        arguments: &arguments,
        folder: &place.folder,
        log: place.own_log()?,
        inherit: vec![network, control.into(), first.into(), second.into()],
        // It confines itself, before it looks at the first byte of its guest.
        ruleset: None,
        sockets: Sockets::Allowed,
    }
    .spawn()?;
    let leash = Leash::on(&process);
    failpoint::pass("gateway-started");
    let (pid, start_time) = (process.pid(), process.start_time());
    record.process = Some(ProcessRecord { pid, start_time });
    place.write(&record)?;
    failpoint::pass("gateway-recorded");
    Ok((process, leash))
}

pub(super) async fn connect(place: &Place) -> io::Result<UnixStream> {
    SocketFolder::open(&place.folder)?.connect(CONTROL).await
}

/// The gateway that is recorded in this place. Others that say they are of this place are ended:
/// the guest's network card has one connection.
pub(super) async fn find(place: &Place) -> Option<Process> {
    let recorded = place.read().and_then(|record| record.process);
    let mut found = None;
    for stray in strays_below(&place.folder) {
        let is_recorded = recorded.is_some_and(|recorded| {
            (recorded.pid, recorded.start_time) == (stray.process.pid(), stray.process.start_time())
        });
        if is_recorded {
            found = Some(stray.process);
        } else {
            stray.end().await;
        }
    }
    found
}

/// A gateway that was started by a server before us.
#[derive(Debug)]
pub(crate) struct Stray {
    pub(crate) folder: PathBuf,
    process: Process,
}

impl Stray {
    pub(crate) async fn end(self) {
        tracing::warn!(pid = self.pid(), folder = %self.folder.display(), "a stray gateway is ended");
        self.process.kill().await;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The name of the session that it was started for.
    pub(crate) fn session(&self) -> &str {
        let session = self.folder.parent().and_then(|session| session.file_name());
        session.and_then(|name| name.to_str()).unwrap_or_default()
    }
}

/// All gateways on this host that were started for a folder below `root`, or for `root` itself.
///
/// They are known by their arguments, which anyone may read: what else the kernel tells of a process
/// it does not tell of one that has closed itself off as gateways do.
pub(crate) fn strays_below(root: &Path) -> Vec<Stray> {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| stray(pid, &root)).collect()
}

fn stray(pid: u32, root: &Path) -> Option<Stray> {
    let folder_of = |pid| folder_of(pid).filter(|folder| folder.starts_with(root));
    // Looked at before it is held, since most processes are none of ours, and again with the pidfd
    // open: what is said of the pid then is said of the process that we hold.
    folder_of(pid)?;
    let process = Process::hold(pid).ok()??;
    Some(Stray { folder: folder_of(pid)?, process })
}

/// The folder that a gateway was started for.
fn folder_of(pid: u32) -> Option<PathBuf> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let is_gateway = words.iter().any(|word| *word == WORD.as_bytes());
    let folder = words.windows(2).find(|pair| pair[0] == FOLDER.as_bytes())?[1];
    is_gateway.then(|| Some(PathBuf::from(std::str::from_utf8(folder).ok()?))).flatten()
}
