//! Why a machine is of no more use, from what QEMU said and what the guest's console shows.
//!
//! The guest could write anything to its console, so what is read there decides only which
//! sentence its owner reads.

use machine::{Event, Machine, RunState};

use super::EndReason;

/// How much of the console is looked at.
const TAIL_BYTES: usize = 16 * 1024;

/// What an event of the machine means for the session; `None` if it goes on.
pub(crate) fn session_end_of(machine: &Machine, event: &Event) -> Option<EndReason> {
    match event {
        Event::Stopped | Event::Resumed | Event::LayersMerged | Event::DriveUnplugged { .. } => {
            None
        }
        Event::PoweredOff => Some(EndReason::PoweredOff),
        Event::Reset | Event::Panicked => Some(died(machine)),
        Event::DiskFailed { no_space: true, .. } => Some(EndReason::DiskFull),
        Event::DiskFailed { no_space: false, .. } => Some(EndReason::Crashed),
    }
}

/// What the end of the process means.
pub(crate) fn end_of_process(machine: &Machine) -> EndReason {
    panic_on_console(machine).unwrap_or(EndReason::Crashed)
}

/// What an adopted machine's state means; `None` if it goes on.
pub(crate) fn end_of_state(machine: &Machine, state: &RunState) -> Option<EndReason> {
    match state {
        RunState::Running | RunState::Paused | RunState::Prelaunch => None,
        RunState::IoError => Some(EndReason::DiskFull),
        RunState::GuestPanicked | RunState::Shutdown => Some(died(machine)),
        RunState::InMigrate
        | RunState::PostMigrate
        | RunState::InternalError
        | RunState::Other(_) => Some(EndReason::Crashed),
    }
}

/// The guest's kernel ended by itself: it panicked, or somebody in the guest asked for it.
fn died(machine: &Machine) -> EndReason {
    panic_on_console(machine).unwrap_or(EndReason::PoweredOff)
}

fn panic_on_console(machine: &Machine) -> Option<EndReason> {
    let tail = machine.console_tail(TAIL_BYTES);
    panic_in(&String::from_utf8_lossy(&tail))
}

fn panic_in(console: &str) -> Option<EndReason> {
    let message = &console[console.rfind("Kernel panic")?..];
    let memory = message.contains("Out of memory") || message.contains("deadlocked on memory");
    Some(if memory { EndReason::OutOfMemory } else { EndReason::KernelPanic })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_panic_on_the_console_tells_why() {
        let table = [
            ("", None),
            ("Out of memory: Killed process 71 (node)", None),
            (
                "[ 9.1] Kernel panic - not syncing: sysrq triggered crash",
                Some(EndReason::KernelPanic),
            ),
            (
                "Kernel panic - not syncing: System is deadlocked on memory",
                Some(EndReason::OutOfMemory),
            ),
            (
                "Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled",
                Some(EndReason::OutOfMemory),
            ),
        ];
        for (console, reason) in table {
            assert_eq!(panic_in(console), reason, "{console}");
        }
    }
}
