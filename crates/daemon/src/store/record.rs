//! The records as they are stored. A third type beside the lifecycle's state and the wire's: each
//! may change without the others.

use std::collections::BTreeMap;
use std::fmt;

use machine::Shape;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ids::{CommandName, SandboxName, SessionId},
    sandbox::EndReason,
};

/// The project of who names none.
pub(crate) fn default_project() -> String {
    "local".to_owned()
}

/// A sandbox. Times are milliseconds since 1970.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) name: SandboxName,
    pub(crate) project: String,
    pub(crate) image: String,
    /// As the client named it; the old clients demand to see one.
    pub(crate) runtime: Option<String>,
    pub(crate) shape: Shape,
    pub(crate) timeout_ms: u64,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) user: String,
    pub(crate) cwd: String,
    pub(crate) ports: Vec<u16>,
    pub(crate) tags: Option<BTreeMap<String, String>>,
    pub(crate) network_policy: Option<Value>,
    pub(crate) created_at: u64,
    pub(crate) session: SessionId,
}

impl fmt::Debug for SandboxRecord {
    /// Without the environment: it may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxRecord")
            .field("name", &self.name)
            .field("image", &self.image)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

/// How far a session is known to have come. What was under way when the server died is found out
/// by looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    Preparing,
    Running,
    Stopping,
    Stopped,
}

/// One run of a sandbox's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) id: SessionId,
    pub(crate) sandbox: SandboxName,
    pub(crate) phase: Phase,
    pub(crate) reason: Option<EndReason>,
    /// More about the reason, for people.
    pub(crate) detail: Option<String>,
    pub(crate) timeout_ms: u64,
    pub(crate) requested_at: u64,
    pub(crate) started_at: Option<u64>,
    pub(crate) stop_requested_at: Option<u64>,
    pub(crate) stopped_at: Option<u64>,
    pub(crate) updated_at: u64,
    /// The host's boot id: a machine does not outlive it.
    pub(crate) host_boot: String,
}

impl SessionRecord {
    /// When it is to end by itself.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.started_at.map(|started| started.saturating_add(self.timeout_ms))
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandRecord {
    pub(crate) id: CommandName,
    pub(crate) session: SessionId,
    /// What the guest's agent knows it by.
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) args: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) stdin: bool,
    pub(crate) started_at: u64,
    pub(crate) exit: Option<ExitRecord>,
}

impl fmt::Debug for CommandRecord {
    /// Without the arguments: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandRecord")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("exit", &self.exit)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExitRecord {
    pub(crate) code: i32,
    pub(crate) signal: Option<i32>,
    pub(crate) reason: Option<api::attach::ExitReason>,
    pub(crate) duration_ms: u64,
}

/// All that is in a store.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) sandboxes: Vec<SandboxRecord>,
    pub(crate) sessions: Vec<SessionRecord>,
    pub(crate) commands: Vec<CommandRecord>,
}
