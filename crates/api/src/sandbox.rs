//! Sandboxes: what a user names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::drive::Mount;
use crate::env::Env;
use crate::image::PullPolicy;
use crate::network_policy::NetworkPolicy;
use crate::object::{nullable_object, object, objects};
use crate::secrets::SecretValue;
use crate::session::{EndCode, Route, Session, Status};
use crate::snapshot::KeepLastSnapshots;

/// `POST /v3/sandboxes` and `POST /v2/sandboxes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CreateSandbox {
    /// `^[a-zA-Z0-9_-]+$`, at most 128; made up by the server when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Always sent by the clients, often empty.
    pub ports: Vec<u16>,
    /// Ports that are reached from outside by who has a pass for them (ours); at most 15 with
    /// `ports`. One that is in both is private.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub private_ports: Vec<u16>,
    #[serde(deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Milliseconds from the start of a session; 300 000 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// After so many milliseconds in which nobody used it, a session is paused (ours); never when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u64>,
    #[serde(deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// `node22`, `node24`, `node26` or `python3.13`, all of the default image: it comes first on the path,
    /// and commands run as `vercel-sandbox` and start in `/vercel/sandbox`. A snapshot keeps its user and folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// When the image is fetched (ours); when it is not here, if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<PullPolicy>,
    /// The user commands run as when they name none (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether its disk is kept when a session ends, so that the next one goes on with it; true when
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent: Option<bool>,
    /// Of its snapshots, milliseconds from their last use: 0 for never, else at least a day. When
    /// absent 30 days, and 7 days in v4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_expiration: Option<u64>,
    /// Null keeps all. When absent too, but in v4 a persistent sandbox keeps one.
    #[serde(deserialize_with = "nullable_object", skip_serializing_if = "Option::is_none")]
    pub keep_last_snapshots: Option<Option<KeepLastSnapshots>>,
    /// Given to every command of the sandbox.
    #[serde(skip_serializing_if = "Env::is_empty")]
    pub env: Env,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    #[serde(deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    /// Drives by the path that each is mounted at: absolute, at most 256 bytes; 4 at most.
    #[serde(deserialize_with = "objects", skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, Mount>,
    /// Whether the guest trusts the certificate authorities that this host was given beside the
    /// usual ones, such as a company's (ours); the server's default when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_host_ca: Option<bool>,
    /// 1 to 64 lowercase letters, digits and `-`. Told again with the sandbox, as the two below: it runs on
    /// this server, and its network is what its policy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// 20 at most, without `region`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover_regions: Option<Vec<String>>,
    /// 1 to 128 letters, digits, `_` and `-`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_id: Option<String>,
}

/// What a machine is made of; the server's defaults fill in what is absent.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "camelCase", default)]
pub struct Resources {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// MiB (ours on create).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// Where a sandbox's files come from, beyond its image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub enum Source {
    /// A repository, checked out into the sandbox's folder.
    Git {
        /// `http` or `https`.
        url: String,
        /// How many commits; all when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        depth: Option<u32>,
        /// A branch, a tag or a commit; the repository's own branch when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        username: Option<String>,
        /// Put into the guest's requests by its gateway, while the source is fetched; the guest never
        /// has it. Only with `https`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        password: Option<SecretValue>,
    },
    /// A tar archive, compressed or not, unpacked into the sandbox's folder.
    Tarball { url: String },
    Snapshot {
        /// Its id, or its name.
        snapshot_id: String,
        /// Whether the sandbox starts with the memory that the snapshot has, and its processes (ours). When
        /// absent it does if there is one; true is refused where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory: Option<bool>,
    },
}

/// A sandbox as it stands. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    pub name: String,
    pub current_session_id: String,
    pub status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_updated_at: Option<u64>,
    pub persistent: bool,
    /// As it was asked for, as the two below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(default)]
    pub failover_regions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Milliseconds from the start of a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// After how long without use a session is paused, milliseconds (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u64>,
    /// Since when its session is paused, if it is (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// Drives by the path that each is mounted at.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, Mount>,
    /// What its next session starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_snapshot_id: Option<String>,
    /// Milliseconds; 0 is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_expiration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_last_snapshots: Option<KeepLastSnapshots>,
    /// Bytes that came from its guests, in all its sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_egress_bytes: Option<u64>,
    /// Bytes that went to its guests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_ingress_bytes: Option<u64>,
    /// What its machines and their gateways have used of the server's processors, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_active_cpu_duration_ms: Option<u64>,
    /// How long its sessions have run, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_duration_ms: Option<u64>,
    pub created_at: u64,
    pub updated_at: u64,
    /// Why the last session ended, for programs (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_code: Option<EndCode>,
    /// Why the last session ended, a sentence for people (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
}

/// The reply to create and get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SandboxReply {
    pub sandbox: Sandbox,
    pub session: Session,
    #[serde(default)]
    pub routes: Vec<Route>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumed: Option<bool>,
}

/// The reply to `DELETE /v2/sandboxes/{name}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DeleteReply {
    pub sandbox: Sandbox,
}

/// `GET /v2/sandboxes`, its query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SandboxQuery {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// 1 to 50; 20 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort_by: Option<SortBy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort_order: Option<SortOrder>,
    /// Only with `sortBy=name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// `key:value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SortBy {
    CreatedAt,
    Name,
    StatusUpdatedAt,
    CurrentSnapshotId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SortOrder {
    Asc,
    Desc,
}

/// The reply to `GET /v2/sandboxes`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SandboxList {
    pub sandboxes: Vec<Sandbox>,
    pub pagination: Pagination,
}

/// Where a list goes on. `next` is null at the end, never absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pagination {
    pub count: usize,
    pub next: Option<String>,
}
