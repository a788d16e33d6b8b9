//! Sessions: one run of a sandbox's machine.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::snapshot::Snapshot;

/// How a session or sandbox stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Pending,
    Running,
    Stopping,
    Stopped,
    Failed,
    Aborted,
    Snapshotting,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
            Self::Snapshotting => "snapshotting",
        }
    }

    /// Whether nothing runs any more and nothing will.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Aborted)
    }
}

/// Why a session ended (an addition of ours).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndCode {
    Stopped,
    TimedOut,
    OutOfMemory,
    KernelPanic,
    DiskFull,
    Crashed,
    HostShutDown,
    FailedToStart,
    /// It was paused, and its memory could not be brought back; its disk was kept.
    MemoryLost,
}

impl EndCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::TimedOut => "timed_out",
            Self::OutOfMemory => "out_of_memory",
            Self::KernelPanic => "kernel_panic",
            Self::DiskFull => "disk_full",
            Self::Crashed => "crashed",
            Self::HostShutDown => "host_shut_down",
            Self::FailedToStart => "failed_to_start",
            Self::MemoryLost => "memory_lost",
        }
    }
}

/// One run of a sandbox's machine. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub id: String,
    /// MiB.
    pub memory: u64,
    pub vcpus: u32,
    pub region: String,
    /// Clients up to 2.9 demand it.
    pub runtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// Milliseconds from the start.
    pub timeout: u64,
    pub status: Status,
    pub requested_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_stop_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aborted_at: Option<u64>,
    /// Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
    pub created_at: u64,
    pub updated_at: u64,
    pub cwd: String,
    /// Their command line refuses a session without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interactive_port: Option<u16>,
    /// Always in the mode form, for example `{"mode":"deny-all"}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_transfer: Option<NetworkTransfer>,
    /// What its machine and its gateway have used of the server's processors, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_cpu_duration_ms: Option<u64>,
    /// The snapshot that it started from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_snapshot_id: Option<String>,
    /// When its disk became a snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshotted_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_sandbox_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// What it began as, if it is a live fork (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked: Option<Forked>,
    /// Why it began without the memory that its snapshot has, a sentence (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_lost: Option<String>,
    /// Since when it is paused, if it is (ours): whatever needs it next has it go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<u64>,
    /// Why it ended, for programs (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_code: Option<EndCode>,
    /// Why it ended, a sentence for people (ours).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<String>,
}

/// Bytes that passed a session's gateway, without what Ethernet, TCP and TLS add.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct NetworkTransfer {
    /// To the guest.
    pub ingress: u64,
    /// From the guest.
    pub egress: u64,
}

/// A port of the guest that can be reached from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Route {
    /// Of the port, for whoever the ingress lets in.
    pub url: String,
    /// What the clients make a URL of, by appending `.vercel.run`; a longer way to the same.
    pub subdomain: String,
    pub port: u16,
    /// Whether a pass is needed (ours).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
}

/// The reply to `POST …/sessions/{sid}/interactive`: a WebSocket, and what its query's `token` has to
/// be, within five minutes and once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Interactive {
    pub url: String,
    pub token: String,
}

impl std::fmt::Debug for Interactive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interactive").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What a connection changes to that becomes one to a port of the guest:
/// `GET …/sessions/{sid}/tunnel?port=` (ours).
pub const TUNNEL_PROTOCOL: &str = "tcp";

/// `POST /v2/sandboxes/{name}/pass` (ours).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MakePass {
    /// One that is reached from outside and private.
    pub port: u16,
    /// How long the pass is to hold, in milliseconds: 1000 to a year; a day when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<u64>,
}

/// What lets a visitor in at a private port: in the header `x-fumehood-pass`, or by opening `url`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pass {
    pub url: String,
    pub pass: String,
    /// Milliseconds since 1970.
    pub expires_at: u64,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// `GET /v2/sandboxes/sessions/{sid}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SessionReply {
    pub session: Session,
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// How a live fork began, or what starts with the memory of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Forked {
    /// The sandbox whose memory it began with.
    pub from: String,
    /// What it lacks because the agent in the guest did not answer in time, a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flaw: Option<String>,
}

/// `POST …/{sid}/extend-timeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ExtendTimeout {
    /// Milliseconds, added to the session's timeout; the sandbox's own stays as it is.
    pub duration: u64,
}

/// `POST …/{sid}/stop`, once it has stopped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct StopReply {
    pub session: Session,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// What its disk has become, if it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
}
