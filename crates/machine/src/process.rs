//! A process that outlives us, held by its pidfd, so that neither signals nor waits can meet another
//! one.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::{
    sync::watch,
    time::{Duration, timeout},
};

use crate::{
    Exit,
    identity::{Times, start_time},
    sys,
};

/// How long a process that has hung up is given to be gone.
const LAST_BREATH: Duration = Duration::from_secs(2);

/// A process, ours or one that a server before us has started; a cheap handle. Dropping it does not
/// end the process.
#[derive(Clone, Debug)]
pub struct Process {
    pid: u32,
    start_time: u64,
    pidfd: Arc<OwnedFd>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Process {
    /// Holds the process with this pid and this start time; none if there is no such process.
    pub fn find(pid: u32, started: u64) -> io::Result<Option<Self>> {
        let held = Self::hold(pid)?;
        Ok(held.filter(|process| process.start_time == started))
    }

    /// Holds the process with this pid. A child of ours that has not been waited for has it for
    /// certain; of any other the start time is to be compared.
    pub fn hold(pid: u32) -> io::Result<Option<Self>> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let pidfd = match pidfd_open(raw, PidfdFlags::NONBLOCK) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Read after the pidfd is open: it is the time of the process that the pidfd holds.
        let Ok(start_time) = start_time(pid) else { return Ok(None) };
        let pidfd = Arc::new(pidfd);
        let (told, exit) = watch::channel(None);
        let watched = sys::until_readable(pidfd.try_clone()?)?;
        let is_to_be_reaped = is_child(&pidfd);
        tokio::spawn(async move {
            // An error here would be one of the runtime; then the process counts as gone.
            let ended = tokio::select! {
                ended = watched.readable() => ended.map(drop),
                // Nobody asks any more.
                () = told.closed(), if !is_to_be_reaped => return,
            };
            told.send_replace(Some(ended.map_or(Exit::Unknown, |()| reap(watched.get_ref()))));
        });
        Ok(Some(Self { pid, start_time, pidfd, exit }))
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// In the kernel's ticks since boot: with the pid it tells the process from any later one.
    #[must_use]
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// What it has used of the host's processors, with its threads; none once it is gone.
    #[must_use]
    pub fn cpu_time(&self) -> Option<Duration> {
        let times = Times::of(self.pid).ok().filter(|times| times.start == self.start_time)?;
        Some(times.cpu)
    }

    /// None while the process lives.
    #[must_use]
    pub fn exit(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.clone()
    }

    /// Waits until it is gone: for ever, if it is watched no further as the runtime that held it has shut
    /// down.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        let exit = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        match exit {
            Some(exit) => exit,
            None => std::future::pending().await,
        }
    }

    /// How it ended, if it is about to: its sockets close a little before it is gone.
    pub async fn last_breath(&self) -> Option<Exit> {
        timeout(LAST_BREATH, self.exited()).await.ok()
    }

    /// Ends it at once and waits until it is gone.
    pub async fn kill(&self) -> Exit {
        self.send_kill();
        self.exited().await
    }

    fn send_kill(&self) {
        if let Err(error) = pidfd_send_signal(&self.pidfd, Signal::KILL) {
            tracing::debug!(%error, pid = self.pid, "a process to be killed is gone");
        }
    }
}

/// Kills a process when it is dropped: held while a machine, or whatever else the process is, is
/// made ready, so that one whose making is given up does not stay.
#[derive(Debug)]
#[must_use = "the process is killed when this is dropped"]
pub struct Leash(Option<Process>);

impl Leash {
    pub fn on(process: &Process) -> Self {
        Self(Some(process.clone()))
    }

    /// Lets the process live on its own.
    pub fn release(mut self) {
        self.0 = None;
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(process) = &self.0 {
            process.send_kill();
        }
    }
}

/// Whether the process stays as a zombie until we have waited for it.
fn is_child(pidfd: &OwnedFd) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    !matches!(waitid(WaitId::PidFd(pidfd.as_fd()), options), Err(rustix::io::Errno::CHILD))
}

/// Takes the exit status if it is our child.
fn reap(pidfd: &OwnedFd) -> Exit {
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    let Ok(Some(status)) = status else { return Exit::Unknown };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[expect(clippy::zombie_processes, reason = "waited for by its pidfd")]
    fn start(script: &str) -> Process {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        Process::hold(child.id()).unwrap().unwrap()
    }

    #[tokio::test]
    async fn the_exit_of_a_child_is_known() {
        assert_eq!(start("exit 3").exited().await, Exit::Code(3));
        assert_eq!(start("kill -9 $$").exited().await, Exit::Signal(9));
        let sleeper = start("exec sleep 600");
        assert_eq!(*sleeper.exit().borrow(), None);
        assert_eq!(sleeper.kill().await, Exit::Signal(9));
        assert_eq!(sleeper.kill().await, Exit::Signal(9));
    }

    #[tokio::test]
    async fn the_end_of_a_runtime_is_not_the_end_of_the_process() {
        let watching = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let sleeper = watching.spawn(async { start("exec sleep 600") }).await.unwrap();
        watching.shutdown_background();
        let mut exit = sleeper.exit();
        assert!(exit.changed().await.is_err(), "nobody watches it any more");
        tokio::select! {
            biased;
            exit = sleeper.exited() => panic!("it runs: {exit:?}"),
            () = async {} => {}
        }
        let again = Process::hold(sleeper.pid()).unwrap().unwrap();
        assert_eq!(again.kill().await, Exit::Signal(9));
    }

    #[tokio::test]
    async fn the_end_of_another_ones_child_is_seen() {
        let starter = Command::new("sh").args(["-c", "sleep 600 >&- 2>&- & echo $!"]).output();
        let pid = String::from_utf8(starter.unwrap().stdout).unwrap().trim().parse().unwrap();
        let orphan = Process::hold(pid).unwrap().unwrap();
        assert_eq!(*orphan.exit().borrow(), None);
        assert_eq!(orphan.kill().await, Exit::Unknown);
    }

    /// How many pidfds of it this process has.
    fn held(pid: u32) -> usize {
        let infos = std::fs::read_dir("/proc/self/fdinfo").unwrap();
        let texts = infos.flatten().filter_map(|info| std::fs::read_to_string(info.path()).ok());
        let line = format!("Pid:\t{pid}\n");
        texts.filter(|text| text.contains(&line)).count()
    }

    #[tokio::test]
    async fn nothing_is_held_of_another_ones_child_once_nobody_asks() {
        let starter = Command::new("sh").args(["-c", "sleep 600 >&- 2>&- & echo $!"]).output();
        let pid = String::from_utf8(starter.unwrap().stdout).unwrap().trim().parse().unwrap();
        let orphan = Process::hold(pid).unwrap().unwrap();
        let again = Process::hold(pid).unwrap().unwrap();
        assert_eq!(held(pid), 4);
        drop(again);
        while held(pid) != 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(orphan.kill().await, Exit::Unknown);
    }

    #[tokio::test]
    async fn a_leash_that_is_dropped_kills() {
        let (one, two) = (start("exec sleep 600"), start("exec sleep 600"));
        drop(Leash::on(&one));
        assert_eq!(one.exited().await, Exit::Signal(9));
        Leash::on(&two).release();
        assert_eq!(*two.exit().borrow(), None);
        two.kill().await;
    }

    #[tokio::test]
    async fn the_time_that_a_process_has_used_is_known_while_it_lives() {
        let (idle, busy) = (start("exec sleep 600"), start("while :; do :; done"));
        let used = Duration::from_millis(30);
        while busy.cpu_time().unwrap() < used {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(idle.cpu_time().unwrap() < used);
        idle.kill().await;
        busy.kill().await;
        assert_eq!(busy.cpu_time(), None);
    }

    #[tokio::test]
    async fn a_pid_alone_is_not_believed() {
        let sleeper = start("exec sleep 600");
        let (pid, started) = (sleeper.pid(), sleeper.start_time());
        assert!(Process::find(pid, started).unwrap().is_some());
        assert!(Process::find(pid, started + 1).unwrap().is_none());
        sleeper.kill().await;
        assert!(Process::find(pid, started).unwrap().is_none());
    }
}
