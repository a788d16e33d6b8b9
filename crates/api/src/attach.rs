//! `GET /v2/sandboxes/sessions/{sid}/attach`: a command over one WebSocket (ours).
//!
//! The client speaks first: `start` or `follow`. Then binary messages carry the streams, one byte
//! saying which, and text messages the rest. Nothing is lost when the connection is: the client
//! counts what it got of stdout and stderr, keeps what was not acknowledged of stdin, and goes on
//! with `follow` on a new connection, to a new server if need be.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::command::{Command, PtySize, Stream, is_false};
use crate::env::Env;
use crate::error::Code;
use crate::session::EndCode;

/// The largest message either side sends or takes.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// How much of stdin the client sends before it waits for an acknowledgement.
pub const STDIN_WINDOW_BYTES: usize = 1 << 20;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;

/// Text messages from the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    Start(Box<Start>),
    Follow(Follow),
    /// Stdin ends here. Sent again after a `follow`; the second is no fault.
    StdinClose,
    Resize(PtySize),
    /// Sent to the whole process group.
    Signal {
        signal: i32,
    },
}

/// Starts a command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "the wire has them")]
pub struct Start {
    pub command: String,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(default)]
    pub env: Env,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub sudo: bool,
    /// Milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pty: Option<PtySize>,
    /// Whether stdin follows; without it the command reads end-of-file.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stdin: bool,
    /// The id the command is to have (`cmd_` and 28 hexadecimal digits). With it a client whose
    /// connection broke before `started` asks with `follow` whether the command exists, and so
    /// never starts it twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd_id: Option<String>,
}

/// Goes on with a command that was started before, or reads it once more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Follow {
    pub cmd_id: String,
    /// How many bytes of stdout the client has; the server sends what comes after.
    #[serde(default)]
    pub stdout_offset: u64,
    #[serde(default)]
    pub stderr_offset: u64,
    /// Where in stdin the client's next binary message starts: what it knows to be acknowledged.
    /// The server passes over what the command has already. Absent: a reader, who sends no stdin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin_offset: Option<u64>,
}

/// Text messages from the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The answer to `start` and to `follow`.
    Started { command: Command },
    /// The command has taken (and keeps) stdin up to here.
    StdinAck { offset: u64 },
    /// So many bytes of a stream are no longer kept: what follows comes after them.
    Dropped { stream: Stream, bytes: u64 },
    /// It has ended; all its output was sent before.
    Exit(Exit),
    /// The last message: refused, or the session ended under the command.
    Error(Failure),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Exit {
    /// 128+n when signal n ended it.
    pub code: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<ExitReason>,
}

/// Who ended a command that did not end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExitReason {
    /// Its own time limit.
    Timeout,
    /// The guest's kernel, out of memory.
    Oom,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub code: Code,
    pub message: String,
    /// With `sandbox_stopped`: why the session ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_code: Option<EndCode>,
}

/// A binary message to the server.
pub fn stdin_message(data: &[u8]) -> Bytes {
    tagged(STDIN, data)
}

/// A binary message to the client. What a pty prints is stdout.
pub fn output_message(stream: Stream, data: &[u8]) -> Bytes {
    match stream {
        Stream::Stdout => tagged(STDOUT, data),
        Stream::Stderr => tagged(STDERR, data),
    }
}

fn tagged(tag: u8, data: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(1 + data.len());
    message.put_u8(tag);
    message.put_slice(data);
    message.freeze()
}

/// The stdin in a client's binary message; none when it is not one.
pub fn read_stdin_message(mut message: Bytes) -> Option<Bytes> {
    (message.first() == Some(&STDIN)).then(|| message.split_off(1))
}

/// The output in a server's binary message; none when it is not one.
pub fn read_output_message(mut message: Bytes) -> Option<(Stream, Bytes)> {
    let stream = match *message.first()? {
        STDOUT => Stream::Stdout,
        STDERR => Stream::Stderr,
        _ => return None,
    };
    Some((stream, message.split_off(1)))
}
