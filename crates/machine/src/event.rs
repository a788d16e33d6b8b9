//! What a machine tells of itself.
use serde::{Deserialize, Serialize};

/// What happened to a machine, as QEMU saw it from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Stopped,
    Resumed,
    /// The guest switched itself off.
    PoweredOff,
    /// The guest asked for a reset (`panic=-1` ends here too); it is not given one.
    Reset,
    /// The guest's kernel said that it panicked.
    Panicked,
    /// A disk request failed and the guest is held: no space left on the host, or an error.
    DiskFailed {
        disk: String,
        no_space: bool,
    },
    /// A drive has left the machine.
    DriveUnplugged {
        drive: String,
    },
}

/// QEMU's word for what the machine is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Prelaunch,
    Running,
    Paused,
    /// Being restored.
    InMigrate,
    /// Saved; RAM no longer belongs to it.
    PostMigrate,
    /// Held since a disk failed.
    IoError,
    /// KVM gave up.
    InternalError,
    GuestPanicked,
    /// The guest switched off or asked for a reset.
    Shutdown,
    Other(String),
}

/// How the QEMU process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It is gone, and it was not our child.
    Unknown,
}
