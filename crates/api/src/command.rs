//! Commands: what runs in a sandbox, and its output as lines of JSON.

use serde::{Deserialize, Serialize};

use crate::env::Env;
use crate::error::Refusal;

/// A command as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    pub id: String,
    /// The executable, as it was asked for.
    pub name: String,
    pub args: Vec<String>,
    pub cwd: String,
    pub session_id: String,
    /// The same, as version 1 calls it.
    #[serde(default)]
    pub sandbox_id: String,
    /// Null until it has ended; 128+n when signal n ended it. The clients demand the member.
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    pub started_at: u64,
}

/// `POST …/{sid}/cmd`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the wire has them")]
pub struct StartCommand {
    pub command: String,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Over the sandbox's own.
    #[serde(default)]
    pub env: Env,
    #[serde(default)]
    pub sudo: bool,
    /// Keep the reply open until the command has ended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wait: bool,
    /// With `wait`: its output too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub logs: bool,
    /// Milliseconds; killed (137) when it takes longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Ours: run it in a terminal of this size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pty: Option<PtySize>,
    /// Leave stdin open, to be fed by `…/stdin`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub attach_stdin: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PtySize {
    pub cols: u16,
    pub rows: u16,
}

/// `{command}`: the reply to a detached start, to get, to wait and to kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CommandReply {
    pub command: Command,
}

/// `GET …/{sid}/cmd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CommandList {
    pub commands: Vec<Command>,
}

/// `POST …/cmd/{cid}/kill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Kill {
    /// 1 to 64; sent to the whole process group.
    pub signal: i32,
}

/// `POST …/cmd/{cid}/stdin`: a piece of a command's input, which may be sent again.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WriteStdin {
    /// Base64; at most 1 MiB with the rest of the body.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub data: String,
    /// Where the piece stands; after all that came before when absent. What the command has of it
    /// already is passed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// No more follows.
    #[serde(skip_serializing_if = "is_false")]
    pub close: bool,
}

impl std::fmt::Debug for WriteStdin {
    /// Without the data: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteStdin").field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// The reply to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StdinReply {
    pub command: Command,
    /// How much the command has been given in all.
    pub bytes_written: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// One line of `…/cmd/{cid}/logs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "stream", content = "data", rename_all = "lowercase")]
pub enum LogLine {
    Stdout(String),
    Stderr(String),
    Error(Refusal),
}

/// One line of the reply to an attached start: the command first and last, its output between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum CommandLine {
    Command(CommandReply),
    Log(LogLine),
}
