//! Snapshots: disks that sandboxes can start from.

use serde::{Deserialize, Deserializer, Serialize};

use crate::sandbox::{Pagination, SortOrder};
use crate::session::Session;

/// A disk as a session left it. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    pub id: String,
    /// What it can be called instead of its id (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub source_session_id: String,
    pub region: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<String>,
    pub status: SnapshotStatus,
    /// What it takes of the server's disk beyond what it shares with its parent and its image.
    pub size_bytes: u64,
    /// A while after its last use; never when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    pub created_at: u64,
    pub updated_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_method: Option<CreationMethod>,
    /// The snapshot that its session had started from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// The sandbox whose disk it was (ours); that one may be gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_sandbox_name: Option<String>,
    /// The memory that it has beside the disk (ours): sandboxes start from it with the processes that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<SnapshotMemory>,
}

/// The memory of a machine, kept with its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotMemory {
    /// As sandboxes have that start with it.
    pub vcpus: u32,
    /// MiB, as sandboxes have that start with it.
    pub memory: u64,
    /// What it takes of the server's disk beside the snapshot's `sizeBytes`. While sandboxes are started from
    /// it, and for a day afterwards, it is there unpacked too, with all of its machine's memory in use.
    pub size_bytes: u64,
    /// What the machine had written of its memory.
    pub written_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotStatus {
    Created,
    Deleted,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CreationMethod {
    /// Somebody asked for it.
    Manual,
    /// A persistent sandbox stopped.
    Automatic,
}

/// How many snapshots a sandbox has at most: when there is a new one, the oldest go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeepLastSnapshots {
    /// 1 to 10.
    pub count: u32,
    /// Of those that are kept, milliseconds from the last use: 0 for never, else at least a day;
    /// `snapshotExpiration` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<u64>,
    /// Whether the others are deleted at once, true when absent; if not, they expire as
    /// `snapshotExpiration` says. One that another sandbox starts from is never deleted at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_evicted: Option<bool>,
    /// Whether snapshots that somebody asked for are left alone and not counted (ours); false when
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automatic_only: Option<bool>,
}

impl KeepLastSnapshots {
    /// So many, and nothing else said.
    pub fn of(count: u32) -> Self {
        Self { count, expiration: None, delete_evicted: None, automatic_only: None }
    }
}

/// A field that is there and null, which is not the same as one that is absent.
pub(crate) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// `POST …/sessions/{sid}/snapshot`; the body may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateSnapshot {
    /// What it can be called instead of its id (ours): as a sandbox, and not beginning with `snap_`. One
    /// snapshot of a project has it at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the memory is kept too (ours): the session stands still for a moment and goes on, and sandboxes
    /// start from the snapshot with its processes. False when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<bool>,
    /// Milliseconds from its last use: 0 for never, else at least a day; the sandbox's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<u64>,
}

/// The reply to it, 201: the snapshot is there, and the session is being ended, or with `memory` goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CreateSnapshotReply {
    pub snapshot: Snapshot,
    pub session: Session,
}

/// `GET` and `DELETE /v2/sandboxes/snapshots/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SnapshotReply {
    pub snapshot: Snapshot,
}

/// `GET /v2/sandboxes/snapshots` and `GET /v2/sandboxes/sessions`, their query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PageQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Those of the sandbox of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// 1 to 50; 20 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// By their creation; the newest first when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort_order: Option<SortOrder>,
}

/// The reply to `GET /v2/sandboxes/snapshots`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SnapshotList {
    pub snapshots: Vec<Snapshot>,
    pub pagination: Pagination,
}

/// The reply to `GET /v2/sandboxes/sessions`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SessionList {
    pub sessions: Vec<Session>,
    pub pagination: Pagination,
}

/// `GET /v2/sandboxes/snapshots/tree`, its query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TreeQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Where the walk begins.
    pub snapshot_id: String,
    /// 1 to 50; 20 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `desc` to ancestors, `asc` to descendants; `desc` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort_order: Option<SortOrder>,
}

/// One step of a walk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TreeNode {
    pub snapshot: Snapshot,
    /// Others of the same parent, the oldest first; 10 at most.
    pub siblings: Vec<Snapshot>,
    /// How many are of that parent, this one and those that are not listed included; a text on the wire.
    pub count: String,
}

/// The reply to `GET /v2/sandboxes/snapshots/tree`; `next` is a snapshot's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SnapshotTree {
    pub snapshots: Vec<TreeNode>,
    /// Where the walk begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<TreeNode>,
    pub pagination: Pagination,
}
