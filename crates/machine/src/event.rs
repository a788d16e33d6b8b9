//! What a machine tells of itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{machine::MERGE, qmp::RawEvent};

/// What happened to a machine, as QEMU saw it from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Stopped,
    Resumed,
    /// The guest switched itself off.
    PoweredOff,
    /// The guest asked for a reset (a panic ends here too); it is not given one.
    Reset,
    /// The guest's kernel said through a device that it panicked.
    Panicked,
    /// A disk request failed and the guest is held: no space left on the host, or an error.
    DiskFailed {
        disk: String,
        no_space: bool,
    },
    /// The root disk's overlay needs nothing any more of the layers between it and its image.
    LayersMerged,
    /// A drive has left the machine.
    DriveUnplugged {
        drive: String,
    },
}

impl Event {
    /// None for what is of no interest.
    pub(crate) fn from_raw(raw: &RawEvent) -> Option<Self> {
        let text = |name: &str| raw.data[name].as_str().unwrap_or_default();
        let owned = |name: &str| text(name).to_owned();
        match raw.name.as_str() {
            "STOP" => Some(Self::Stopped),
            "RESUME" => Some(Self::Resumed),
            "GUEST_PANICKED" => Some(Self::Panicked),
            "RESET" => (raw.data["guest"] == Value::Bool(true)).then_some(Self::Reset),
            "SHUTDOWN" => match text("reason") {
                "guest-shutdown" => Some(Self::PoweredOff),
                "guest-reset" => Some(Self::Reset),
                "guest-panic" => Some(Self::Panicked),
                _ => None,
            },
            "BLOCK_IO_ERROR" if text("action") == "stop" => Some(Self::DiskFailed {
                disk: owned("device"),
                no_space: raw.data["nospace"] == Value::Bool(true),
            }),
            "BLOCK_JOB_COMPLETED" if text("device") == MERGE => {
                let is_whole =
                    raw.data.get("error").is_none() && raw.data["offset"] == raw.data["len"];
                is_whole.then_some(Self::LayersMerged)
            }
            "DEVICE_DELETED" => Some(Self::DriveUnplugged { drive: owned("device") }),
            _ => None,
        }
    }

    /// Whether the guest has come to its end, so that its last words are worth fetching.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::PoweredOff | Self::Reset | Self::Panicked)
    }
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

impl RunState {
    pub(crate) fn from_word(word: &str) -> Self {
        match word {
            "prelaunch" => Self::Prelaunch,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "inmigrate" => Self::InMigrate,
            "postmigrate" => Self::PostMigrate,
            "io-error" => Self::IoError,
            "internal-error" => Self::InternalError,
            "guest-panicked" => Self::GuestPanicked,
            "shutdown" => Self::Shutdown,
            other => Self::Other(other.to_owned()),
        }
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn qemus_events_are_told_in_our_words() {
        let disk = |no_space| Event::DiskFailed { disk: "root".to_owned(), no_space };
        let table = [
            ("STOP", json!({}), Some(Event::Stopped)),
            ("SHUTDOWN", json!({ "guest": true, "reason": "guest-reset" }), Some(Event::Reset)),
            ("SHUTDOWN", json!({ "reason": "guest-shutdown" }), Some(Event::PoweredOff)),
            ("SHUTDOWN", json!({ "reason": "host-qmp-quit" }), None),
            ("SHUTDOWN", json!(7), None),
            ("RESET", json!({ "guest": false }), None),
            (
                "BLOCK_IO_ERROR",
                json!({ "device": "root", "action": "stop", "nospace": true }),
                Some(disk(true)),
            ),
            ("BLOCK_IO_ERROR", json!({ "device": "root", "action": "stop" }), Some(disk(false))),
            ("BLOCK_IO_ERROR", json!({ "device": "root", "action": "report" }), None),
            (
                "BLOCK_JOB_COMPLETED",
                json!({ "device": "merge", "offset": 7, "len": 7 }),
                Some(Event::LayersMerged),
            ),
            ("BLOCK_JOB_COMPLETED", json!({ "device": "merge", "offset": 7, "len": 8 }), None),
            (
                "BLOCK_JOB_COMPLETED",
                json!({ "device": "merge", "offset": 7, "len": 7, "error": "x" }),
                None,
            ),
            ("BLOCK_JOB_COMPLETED", json!({ "device": "other", "offset": 7, "len": 7 }), None),
            ("NIC_RX_FILTER_CHANGED", json!({}), None),
        ];
        for (name, data, expected) in table {
            let raw = RawEvent { name: name.to_owned(), data };
            assert_eq!(Event::from_raw(&raw), expected, "{raw:?}");
        }
    }
}
