//! Snapshots as they are stored, and how a sandbox has its disk kept.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ids::{LayerId, Project, SandboxKey, SandboxName, SessionId, SnapshotId};

/// A disk that sandboxes can start from. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    pub(crate) id: SnapshotId,
    pub(crate) project: Project,
    /// Whose disk it was; that sandbox may be gone.
    pub(crate) sandbox: SandboxName,
    pub(crate) session: SessionId,
    /// What the session itself had started from.
    pub(crate) parent: Option<SnapshotId>,
    pub(crate) method: SnapshotMethod,
    /// The uppermost first, above the image; none once it is deleted.
    pub(crate) layers: Vec<LayerId>,
    pub(crate) image: String,
    pub(crate) image_digest: Option<String>,
    pub(crate) runtime: Option<String>,
    pub(crate) user: String,
    pub(crate) cwd: String,
    /// What its uppermost layer takes of the host's disk.
    pub(crate) size_bytes: u64,
    /// From its last use; 0 is never.
    pub(crate) expiration_ms: u64,
    pub(crate) created_at: u64,
    pub(crate) updated_at: u64,
    pub(crate) last_used_at: u64,
    /// Whether it is to be deleted as soon as no sandbox starts from it.
    #[serde(default)]
    pub(crate) is_doomed: bool,
    /// It is remembered for a while, for what came of it.
    pub(crate) deleted_at: Option<u64>,
}

impl SnapshotRecord {
    pub(crate) fn is_there(&self) -> bool {
        self.deleted_at.is_none()
    }

    pub(crate) fn expires_at(&self) -> Option<u64> {
        let expires = self.is_there() && self.expiration_ms != 0;
        expires.then(|| self.last_used_at.saturating_add(self.expiration_ms))
    }

    /// Whether it was taken of this sandbox, and not of an earlier one of the same name.
    pub(crate) fn is_of(&self, sandbox: &SandboxKey, created_at: u64) -> bool {
        self.project == sandbox.project
            && self.sandbox == sandbox.name
            && created_at <= self.created_at
    }

    /// Deleted now; or, if it is one of these that are needed, as soon as it is not.
    pub(crate) fn deleted_unless(mut self, needed: &BTreeSet<SnapshotId>, now: u64) -> Self {
        if !needed.contains(&self.id) {
            return self.deleted(now);
        }
        self.is_doomed = true;
        self
    }

    /// Takes away what it stands on.
    pub(crate) fn deleted(mut self, now: u64) -> Self {
        self.layers.clear();
        self.deleted_at = Some(now);
        self.updated_at = now;
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SnapshotMethod {
    /// Somebody asked for it.
    Manual,
    /// Its session ended.
    Automatic,
}

/// A snapshot that a session is about to become: recorded before anything is done for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotPlan {
    pub(crate) id: SnapshotId,
    /// What the session has written.
    pub(crate) layer: LayerId,
    pub(crate) method: SnapshotMethod,
    pub(crate) expiration_ms: u64,
}

/// Whether and how a sandbox's disk is kept when a session ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keeping {
    pub(crate) persistent: bool,
    /// Of its snapshots, from their last use; 0 is never.
    pub(crate) expiration_ms: u64,
    /// How many snapshots it has at most; all if none.
    pub(crate) last: Option<KeepLast>,
}

impl Keeping {
    /// Of a new snapshot for which nothing else is asked.
    pub(crate) fn expiration_ms(&self) -> u64 {
        self.last.and_then(|last| last.expiration_ms).unwrap_or(self.expiration_ms)
    }
}

/// See [`api::KeepLastSnapshots`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeepLast {
    pub(crate) count: u32,
    pub(crate) expiration_ms: Option<u64>,
    pub(crate) evicted: Evicted,
    pub(crate) of: Counted,
}

/// What becomes of snapshots that are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Evicted {
    Delete,
    /// They expire as others of the sandbox do.
    Expire,
}

/// Which snapshots are counted and taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Counted {
    All,
    Automatic,
}
