//! Commands that only fill caches: run one after another, seen by nobody.

use protocol::{CommandId, StartCommand};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid},
};

use super::{SIGKILL, launch::Launch, spawn};
use crate::{clock::now_ms, identity::Identity, place::Place, sys};

/// All of them together may take so long.
const WARM_MS_MAX: u64 = 60_000;
const COMMANDS_MAX: usize = 64;

/// Runs the commands. Those that fail warm less, and that is all.
pub(crate) fn run(commands: Vec<Vec<String>>, identity: &Identity, place: &Place) {
    let deadline = now_ms() + WARM_MS_MAX;
    for argv in commands.into_iter().take(COMMANDS_MAX) {
        let start = StartCommand::plain(CommandId(0), argv);
        let Ok(launch) = Launch::new(start, identity, place) else { continue };
        let Ok(pid) = spawn::spawn_unheard(&launch) else { continue };
        wait(pid, deadline);
    }
}

fn wait(pid: Pid, deadline_ms: u64) {
    if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
        let left = deadline_ms.saturating_sub(now_ms());
        let timeout = Timespec {
            tv_sec: i64::try_from(left / 1000).unwrap_or(0),
            tv_nsec: i64::try_from(left % 1000 * 1_000_000).unwrap_or(0),
        };
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        // Ended or out of time: either way it is over.
        let _events = poll(&mut ended, Some(&timeout)).unwrap_or(0);
    }
    // Its group goes with it: nothing may run on.
    let _was_there = sys::kill_group(pid, SIGKILL).is_ok();
    let _status = waitpid(Some(pid), WaitOptions::empty()).ok();
}
