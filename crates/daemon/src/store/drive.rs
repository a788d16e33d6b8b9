//! Drives as they are stored, and the sessions that have them.

use serde::{Deserialize, Serialize};

use crate::ids::{DriveId, DriveName, LayerId, Project, SandboxName, SessionId};

/// A drive. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DriveRecord {
    pub(crate) id: DriveId,
    pub(crate) project: Project,
    pub(crate) name: DriveName,
    /// As the client named it.
    pub(crate) region: Option<String>,
    pub(crate) bytes: u64,
    /// What it is made of, the lowest first. None of them changes but by having the one above
    /// written into it.
    pub(crate) layers: Vec<LayerRecord>,
    /// Whether a session has written to it and let go of it.
    pub(crate) initialized: bool,
    pub(crate) parent: Option<DriveId>,
    /// The first of its line of forks.
    pub(crate) root: Option<DriveId>,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
}

/// A file that holds a part of a drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) id: LayerId,
    pub(crate) form: LayerForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LayerForm {
    /// The lowest: it begins as an empty file system.
    Raw,
    Qcow2,
}

/// Where a sandbox mounts which drive, in sessions to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountRecord {
    pub(crate) drive: DriveName,
    pub(crate) mode: api::MountMode,
}

/// A drive that a session has. Written down before its file is made, and gone only when the machine
/// is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttachmentRecord {
    pub(crate) session: SessionId,
    pub(crate) sandbox: SandboxName,
    pub(crate) path: String,
    pub(crate) drive: DriveId,
    /// What it stands on, the lowest first.
    pub(crate) layers: Vec<LayerRecord>,
    /// The file that takes what the session writes.
    pub(crate) head: LayerId,
    pub(crate) hold: Hold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hold {
    /// What is written becomes the drive's.
    Writer { mounted: bool },
    /// What is written (by the file system, playing its journal back) is thrown away.
    Reader,
}

/// One change to drives.
#[derive(Clone, Debug)]
pub(crate) enum DriveChange {
    Drive(DriveRecord),
    RemoveDrive(DriveId),
    Attachment(AttachmentRecord),
    RemoveAttachment(AttachmentRecord),
}
