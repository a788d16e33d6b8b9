//! Changes to a sandbox, and sandboxes made from another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::drive::Mount;
use crate::env::Env;
use crate::network_policy::NetworkPolicy;
use crate::object::{maybe_objects, nullable_object, object, objects};
use crate::sandbox::{Resources, Sandbox, SandboxReply};
use crate::session::Session;
use crate::snapshot::{KeepLastSnapshots, nullable};

/// `PATCH /v2/sandboxes/{name}`: what is absent stays. Resources, timeout, environment, mounts and the
/// current snapshot hold from the next session on; everything else at once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UpdateSandbox {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent: Option<bool>,
    #[serde(deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Milliseconds from the start of a session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// After so many milliseconds without use it is paused, from now on (ours); null for never.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<Option<u64>>,
    #[serde(deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    /// In the place of all that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// In the place of all that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<u16>>,
    /// In the place of all that there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Env>,
    /// Drives in the place of all that are mounted, none if it is empty. A session that runs keeps those that
    /// it has.
    #[serde(deserialize_with = "maybe_objects", skip_serializing_if = "Option::is_none")]
    pub mounts: Option<BTreeMap<String, Mount>>,
    /// As the two below for the next session, and as at a create.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// In the place of all that there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover_regions: Option<Vec<String>>,
    /// Null for none.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Option::is_none")]
    pub network_id: Option<Option<String>>,
    /// Of snapshots, milliseconds from their last use: 0 for never, else at least a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_expiration: Option<u64>,
    /// Null keeps all.
    #[serde(deserialize_with = "nullable_object", skip_serializing_if = "Option::is_none")]
    pub keep_last_snapshots: Option<Option<KeepLastSnapshots>>,
    /// What the next session starts from: an earlier one rolls back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_snapshot_id: Option<String>,
}

/// `POST /v2/sandboxes/{name}/fork`: another sandbox that starts from the current snapshot of this one.
/// What is absent is as the source has it, but for drives: the fork has those alone that are named here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ForkSandbox {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<u16>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    #[serde(deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent: Option<bool>,
    #[serde(deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    /// In the place of all that the source has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Env>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// Drives by the path that each is mounted at: absolute, at most 256 bytes; 4 at most.
    #[serde(deserialize_with = "objects", skip_serializing_if = "BTreeMap::is_empty")]
    pub mounts: BTreeMap<String, Mount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover_regions: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_id: Option<String>,
    /// No other than the source's: a disk is of its image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_expiration: Option<u64>,
    #[serde(deserialize_with = "nullable_object", skip_serializing_if = "Option::is_none")]
    pub keep_last_snapshots: Option<Option<KeepLastSnapshots>>,
}

/// `POST /v1/fumehood/sandboxes/{name}/fork`: sandboxes with the memory, the processes and the disk that
/// this one has now.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(default)]
pub struct ForkLive {
    /// How many, 1 to 100; 1 unless asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

/// The answer of `POST /v1/fumehood/sandboxes/{name}/pause`, once it is paused. Without figures if it was
/// already.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PauseReply {
    pub sandbox: Sandbox,
    pub session: Session,
    /// What it had written of its memory since it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// What its memory takes of the server's disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// From when its machine was held until its memory was on the disk, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
}

/// The answer, once all of them run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForkLiveReply {
    pub sandboxes: Vec<SandboxReply>,
    /// How long no program of the source went on, in milliseconds, as the server saw it.
    pub paused_ms: f64,
    /// How long its machine was held, in milliseconds; a part of `pausedMs`.
    pub held_ms: f64,
}
