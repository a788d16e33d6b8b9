//! All processes but the agent stand still, and go on: the kernel's control groups do that, and no
//! process can see that it was done to it.
//!
//! The group of the root cannot be frozen, so those in it are put into one of ours. Groups that others
//! have made, such as those of containers, are frozen as they are; what others have frozen stays so.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use protocol::Refusal;
use rustix::{thread::nanosleep, time::Timespec};

use crate::{clock::now_ms, refusal::refuse_io};

const ROOT: &str = "/sys/fs/cgroup";
const OURS: &str = "/sys/fs/cgroup/fumehood";
/// New processes may come while others are put into the group.
const ROUNDS: usize = 64;
/// A process that waits for a disk stands still only then.
const DEADLINE_MS: u64 = 500;
const LOOK_AGAIN: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000 };

/// The groups that were frozen by us.
fn held() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    static HELD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the processes of the root's group into ours.
pub(crate) fn gather() -> Result<(), Refusal> {
    gather_now().map_err(|error| refuse_io(&error, "control groups"))
}

/// Returns when all stand still; those that do not in time go on, which is refused.
pub(crate) fn freeze() -> Result<(), Refusal> {
    let frozen = gather_now().and_then(|()| freeze_now());
    frozen.map_err(|error| {
        // What could not be frozen as a whole is to go on as a whole.
        drop(thaw_now());
        refuse_io(&error, "freeze the processes")
    })
}

pub(crate) fn thaw() -> Result<(), Refusal> {
    thaw_now().map_err(|error| refuse_io(&error, "thaw the processes"))
}

fn gather_now() -> io::Result<()> {
    match fs::create_dir(OURS) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let target = Path::new(OURS).join("cgroup.procs");
    for _ in 0..ROUNDS {
        let found = fs::read_to_string(Path::new(ROOT).join("cgroup.procs"))?;
        // The kernel's own threads can be moved nowhere.
        let others = found.lines().filter(|pid| *pid != "1" && has_program(pid));
        let mut moved = 0;
        for pid in others {
            // One that has just ended needs no moving.
            moved += usize::from(fs::write(&target, pid).is_ok());
        }
        if moved == 0 {
            return Ok(());
        }
    }
    Err(io::Error::other("processes come faster than they can be held"))
}

/// Whether it is a process and no thread of the kernel's.
fn has_program(pid: &str) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

fn freeze_now() -> io::Result<()> {
    for group in groups()?.into_iter().filter(|group| !is_held(group)) {
        write(&group, "1")?;
        held().insert(group);
    }
    let deadline = now_ms() + DEADLINE_MS;
    while !groups()?.iter().all(|group| is_frozen(group)) {
        if deadline < now_ms() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // A signal may cut it short.
        let _slept = nanosleep(&LOOK_AGAIN);
    }
    Ok(())
}

fn is_frozen(group: &Path) -> bool {
    // A group that has gone has nothing in it that runs.
    let Ok(events) = fs::read_to_string(group.join("cgroup.events")) else { return true };
    events.lines().any(|line| line == "frozen 1")
}

/// Whether it was frozen already.
fn is_held(group: &Path) -> bool {
    let state = fs::read_to_string(group.join("cgroup.freeze"));
    state.is_ok_and(|state| state.trim() == "1")
}

/// Every group goes on that was frozen by us, whatever becomes of the others.
fn thaw_now() -> io::Result<()> {
    let mut failed = Ok(());
    held().retain(|group| match write(group, "0") {
        Ok(()) => false,
        Err(error) => {
            failed = Err(error);
            true
        }
    });
    failed
}

/// A group that has gone is no fault.
fn write(group: &Path, state: &str) -> io::Result<()> {
    match fs::write(group.join("cgroup.freeze"), state) {
        Err(error) if group.exists() => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Those right below the root: what is below them is frozen with them.
fn groups() -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(ROOT)?.filter_map(Result::ok);
    Ok(entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}
