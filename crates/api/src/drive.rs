//! Drives: named disks that outlive the sandboxes they are mounted in.

use serde::{Deserialize, Serialize};

use crate::sandbox::{Pagination, SortOrder};

/// The smallest size of a drive, in bytes.
pub const DRIVE_BYTES_MIN: u64 = 64 << 20;
/// The largest size of a drive, in bytes.
pub const DRIVE_BYTES_MAX: u64 = 8 << 40;
/// The size of a drive that asks for none, in bytes. It takes space as it is written.
pub const DRIVE_BYTES: u64 = 1 << 40;
/// The most drives that one sandbox mounts.
pub const MOUNTS_MAX: usize = 4;
/// The longest path that a drive is mounted at, in bytes.
pub const MOUNT_PATH_BYTES_MAX: usize = 256;

/// A drive that is mounted in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Its name.
    pub drive: String,
    #[serde(default)]
    pub mode: MountMode,
}

#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum MountMode {
    /// One session at a time.
    #[default]
    ReadWrite,
    /// What the drive held when its last writer let go of it; any number of sessions.
    Snapshot,
    /// The same.
    ReadOnly,
}

/// A drive. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drive {
    /// `drv_` and 28 letters and digits.
    pub id: String,
    pub name: String,
    pub project_id: String,
    pub region: String,
    /// The size of its file system.
    pub max_size_bytes: u64,
    /// What it takes on the host's disk, with what it shares with its forks (ours).
    #[serde(default)]
    pub used_bytes: u64,
    /// The session that writes to it, if one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_sandbox_name: Option<String>,
    /// The drive that it was forked from, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_drive_id: Option<String>,
    /// The first of its line of forks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_drive_id: Option<String>,
    pub created_at: u64,
    pub updated_at: u64,
}

/// `POST /v2/sandboxes/drives/{name}`: makes it, if it is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateDrive {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// [`DRIVE_BYTES_MIN`] to [`DRIVE_BYTES_MAX`]; [`DRIVE_BYTES`] when absent. One that is there
    /// keeps its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size_bytes: Option<u64>,
}

/// `POST /v2/sandboxes/drives/{name}/fork`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForkDrive {
    /// What the new one is called.
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
}

/// The reply about one drive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DriveReply {
    pub drive: Drive,
}

/// `GET /v2/sandboxes/drives`, its query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DriveQuery {
    /// 1 to 50; 20 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort_by: Option<DriveSort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort_order: Option<SortOrder>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_prefix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DriveSort {
    CreatedAt,
    UpdatedAt,
    Name,
}

/// The reply to `GET /v2/sandboxes/drives`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DriveList {
    pub drives: Vec<Drive>,
    pub pagination: Pagination,
}
