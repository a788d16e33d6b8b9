//! Snapshots as they are stored, and how a sandbox has its disk kept.

use std::{collections::BTreeSet, path::PathBuf};

use machine::Shape;
use serde::{Deserialize, Serialize};

use super::{AuthorityRecord, ForkedRecord, SandboxRecord};
use crate::{
    clock,
    ids::{LayerId, Project, SandboxKey, SandboxName, SessionId, SnapshotId, SnapshotName},
    seal::Sealed,
};

/// A disk that sandboxes can start from. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SnapshotRecord {
    pub(crate) id: SnapshotId,
    /// Among those of its project that are there it has this name alone.
    #[serde(default)]
    pub(crate) name: Option<SnapshotName>,
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
    /// As its sandbox had it.
    #[serde(default)]
    pub(crate) image_origin: Option<String>,
    pub(crate) runtime: Option<String>,
    /// Where its sandbox said that it was.
    #[serde(default)]
    pub(crate) region: Option<String>,
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
    /// What its machine was, if that was kept too.
    #[serde(default)]
    pub(crate) memory: Option<MemoryRecord>,
}

/// The memory of a machine, which is in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemoryRecord {
    pub(crate) shape: Shape,
    /// What the file takes.
    pub(crate) stored_bytes: u64,
    /// What the machine had written.
    pub(crate) written_bytes: u64,
    /// The folder of the template that the rest of its memory is of.
    pub(crate) base: PathBuf,
    /// What a session is that starts from it.
    pub(crate) forked: ForkedRecord,
    /// What its programs know of their network.
    pub(crate) network: KeptNetwork,
}

/// The network of a sandbox, apart from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptNetwork {
    pub(crate) authority: AuthorityRecord,
    /// As in a [`super::NetworkRecord`].
    pub(crate) sealed: Sealed,
}

impl SnapshotRecord {
    /// One that is made now, of a session of this sandbox.
    pub(crate) fn of(plan: SnapshotPlan, sandbox: &SandboxRecord, session: SessionId) -> Self {
        let now = clock::now_ms();
        Self {
            id: plan.id,
            name: plan.name,
            project: sandbox.project.clone(),
            sandbox: sandbox.name.clone(),
            session,
            parent: None,
            method: plan.method,
            layers: vec![plan.layer],
            image: sandbox.image.clone(),
            image_digest: sandbox.image_digest.clone(),
            image_origin: sandbox.image_origin.clone(),
            runtime: sandbox.runtime.clone(),
            region: sandbox.placement.region.clone(),
            user: sandbox.user.clone(),
            cwd: sandbox.cwd.clone(),
            size_bytes: 0,
            expiration_ms: plan.expiration_ms,
            created_at: now,
            updated_at: now,
            last_used_at: now,
            is_doomed: false,
            deleted_at: None,
            memory: None,
        }
    }

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
        self.memory = None;
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
    #[serde(default)]
    pub(crate) name: Option<SnapshotName>,
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
