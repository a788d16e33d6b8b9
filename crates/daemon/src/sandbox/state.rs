//! The lifecycle of one session, as a pure function.
//!
//! [`State::on`] takes the state by value and an event, and returns the next state with the effect
//! to carry out. It does no I/O and reads no clock: the one task that owns the sandbox does that,
//! and feeds what happened back in as the next event. The table of every event in every state is
//! `docs/lifecycle.md`, and a test holds the two together.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a session is in its life. Each state holds what is true only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Disk and machine are being made. `stop` is set once it was told to end: what is under way is
    /// finished first, so that there is something whole to give back.
    Preparing { stop: Option<EndReason> },
    /// The agent answers; commands may run.
    Running,
    /// Memory and devices are being written to the disk.
    Pausing,
    /// They are there, and there is no machine.
    Paused,
    /// A machine is made of them.
    Waking,
    /// The machine is ended and its disk becomes a snapshot.
    Saving { reason: EndReason },
    /// The machine is being killed, and what is left of its disk removed.
    Stopping { reason: EndReason },
    /// Nothing is held. Terminal.
    Stopped { reason: EndReason },
}

/// What can happen to a session: what a client asks, and what the host observes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Prepared,
    PrepareFailed(EndReason),
    StopRequested(Disk),
    DeadlinePassed(Disk),
    /// The machine is of no more use: its process is gone, or its guest is.
    MachineEnded(EndReason, Disk),
    /// Its sandbox is being removed.
    Discarded,
    /// The disk is a snapshot, or there is nothing left that could be one.
    Saved,
    Released,
    PauseRequested,
    Paused,
    /// It could not be paused, and goes on.
    PauseFailed,
    WakeRequested,
    Woken,
    WakeFailed(Memory),
}

/// What has become of the memory of a session that did not wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// It is as it was: what was missing was on the host.
    Kept,
    /// Nothing can be made of it. There is still the disk.
    Lost,
}

/// What is to become of the disk of a session that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Keep,
    Drop,
}

/// What the owner must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Record that it runs, and let commands in.
    Open,
    /// Have the guest write all it has, kill the machine, and make its disk a snapshot.
    Save,
    /// Kill the machine, if there is one, and remove what it left.
    Release,
    /// Record the end.
    Close,
    /// Write memory and devices to the disk, and kill the machine.
    Pause,
    /// Make a machine of what was written, and let it go on.
    Wake,
}

/// Why a session ended. The first reason stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EndReason {
    Stopped,
    TimedOut,
    PoweredOff,
    OutOfMemory,
    KernelPanic,
    DiskFull,
    Crashed,
    HostShutDown,
    FailedToStart,
    MemoryLost,
}

impl State {
    /// Takes one step. An observation is never refused, since what has happened has happened.
    pub(crate) fn on(self, event: Event) -> (Self, Option<Effect>) {
        use Event::{
            DeadlinePassed, Discarded, MachineEnded, PauseFailed, PauseRequested, Paused,
            PrepareFailed, Prepared, Released, Saved, StopRequested, WakeFailed, WakeRequested,
            Woken,
        };
        match (self, event) {
            // The way up.
            (Self::Preparing { stop: None }, Prepared) => (Self::Running, Some(Effect::Open)),

            // To sleep and back.
            (Self::Running, PauseRequested) => (Self::Pausing, Some(Effect::Pause)),
            (Self::Pausing, Paused) => (Self::Paused, None),
            (Self::Pausing, PauseFailed) => (Self::Running, None),
            (Self::Paused, WakeRequested) => (Self::Waking, Some(Effect::Wake)),
            (Self::Waking, Woken) => (Self::Running, None),
            (Self::Waking, WakeFailed(Memory::Kept)) => (Self::Paused, None),
            (Self::Waking, WakeFailed(Memory::Lost)) => self.end(EndReason::MemoryLost, Disk::Keep),

            // The way down.
            (Self::Preparing { stop: Some(reason) }, Prepared) => releasing(reason),
            (Self::Preparing { stop }, PrepareFailed(reason)) => releasing(stop.unwrap_or(reason)),
            (state, StopRequested(disk)) => state.end(EndReason::Stopped, disk),
            // Only the time counts that it runs.
            (Self::Paused, DeadlinePassed(_)) => (self, None),
            (state, DeadlinePassed(disk)) => state.end(EndReason::TimedOut, disk),
            (Self::Running | Self::Pausing | Self::Waking, MachineEnded(reason, disk)) => {
                self.end(reason, disk)
            }
            (Self::Saving { reason }, Saved | Discarded) => releasing(reason),
            (state, Discarded) => state.end(EndReason::Stopped, Disk::Drop),
            (Self::Stopping { reason }, Released) => {
                (Self::Stopped { reason }, Some(Effect::Close))
            }

            // Late news of something already left behind. The events are named one by one, so that
            // a new one does not compile until it is given its place above.
            (
                state,
                Prepared | PrepareFailed(_) | MachineEnded(..) | Saved | Released | PauseRequested
                | Paused | PauseFailed | WakeRequested | Woken | WakeFailed(_),
            ) => (state, None),
        }
    }

    fn end(self, reason: EndReason, disk: Disk) -> (Self, Option<Effect>) {
        match (self, disk) {
            // Nothing of its user's has run, so there is nothing to keep.
            (Self::Preparing { stop }, _) => {
                (Self::Preparing { stop: stop.or(Some(reason)) }, None)
            }
            (Self::Running | Self::Pausing | Self::Paused | Self::Waking, Disk::Keep) => {
                (Self::Saving { reason }, Some(Effect::Save))
            }
            (Self::Running | Self::Pausing | Self::Paused | Self::Waking, Disk::Drop) => {
                releasing(reason)
            }
            (Self::Saving { .. } | Self::Stopping { .. } | Self::Stopped { .. }, _) => (self, None),
        }
    }
}

fn releasing(reason: EndReason) -> (State, Option<Effect>) {
    (State::Stopping { reason }, Some(Effect::Release))
}

impl EndReason {
    /// The sentence that a user reads.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Stopped => "the sandbox was stopped",
            Self::TimedOut => "the sandbox reached its timeout",
            Self::PoweredOff => "the guest switched itself off",
            Self::OutOfMemory => "the guest ran out of memory",
            Self::KernelPanic => "the guest's kernel panicked",
            Self::DiskFull => "the host's disk is full",
            Self::Crashed => "the machine crashed",
            Self::HostShutDown => "the host was shut down",
            Self::FailedToStart => "the machine did not start",
            Self::MemoryLost => "its memory could not be brought back, and its disk was kept",
        }
    }

    /// The code of the public contract.
    pub(crate) fn code(self) -> api::EndCode {
        match self {
            Self::Stopped | Self::PoweredOff => api::EndCode::Stopped,
            Self::TimedOut => api::EndCode::TimedOut,
            Self::OutOfMemory => api::EndCode::OutOfMemory,
            Self::KernelPanic => api::EndCode::KernelPanic,
            Self::DiskFull => api::EndCode::DiskFull,
            Self::Crashed => api::EndCode::Crashed,
            Self::HostShutDown => api::EndCode::HostShutDown,
            Self::FailedToStart => api::EndCode::FailedToStart,
            Self::MemoryLost => api::EndCode::MemoryLost,
        }
    }

    /// Whether the session ended as somebody wished.
    pub(crate) fn is_wished(self) -> bool {
        matches!(self, Self::Stopped | Self::TimedOut | Self::PoweredOff)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preparing { stop: None } => "preparing",
            Self::Preparing { stop: Some(_) } => "abandoning",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Waking => "waking",
            Self::Saving { .. } => "saving",
            Self::Stopping { .. } => "stopping",
            Self::Stopped { .. } => "stopped",
        })
    }
}

#[cfg(test)]
mod tests;
