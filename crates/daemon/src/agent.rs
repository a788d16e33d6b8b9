//! The host end of the guest protocol: one task owns the connection to one machine's agent.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::Stream;
use protocol::{
    CommandId, Exit, Owner, PAYLOAD_MAX, Phase, Refusal, Request, Response, StartCommand, Stat,
    Stdin, VERSION,
};
use tokio::{net::UnixStream, time::Instant};

use crate::command_log::{LogError, LogWriter};

/// A machine's agent: a cheap handle of the task that talks to it. The task ends with
/// [`Agent::close`], or when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Agent;

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the agent refused")]
    Refused(#[source] Refusal),
    #[error("the machine is gone")]
    Gone,
    #[error("the agent did not answer in time")]
    TimedOut,
    #[error("the agent speaks version {agent} of the protocol, and this server {VERSION}")]
    VersionMismatch { agent: u16 },
    #[error("the request is longer than {PAYLOAD_MAX} bytes")]
    TooLong,
    #[error("the agent answered something else than what was asked")]
    Confused,
    #[error("the agent gave the transfer up")]
    Reset,
    #[error("what was to be written could not be read")]
    Body(#[source] io::Error),
}

/// A command that the agent has started.
#[derive(Clone, Debug)]
pub struct Command;

/// Why a command's exit will not be known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommandLost {
    #[error("the machine is gone")]
    Gone,
    /// It was never started, or the agent was started anew.
    #[error("the agent does not know the command")]
    Unknown,
    /// The command waits with its output. It goes on if it is adopted again with a writer of the
    /// log opened anew.
    #[error("the command's output could not be kept")]
    Log(#[source] Arc<LogError>),
}

/// The sending end of a command's standard input.
#[derive(Clone, Debug)]
pub struct StdinWriter;

/// The command does not take input any more: it closed it, or it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("standard input is closed")]
pub struct StdinClosed;

/// Content on its way out of the guest. Dropped before its end, the agent stops sending.
#[derive(Debug)]
pub struct Download;

/// What a tar stream left in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub entries: u64,
    pub bytes: u64,
}

impl Agent {
    /// Begins to connect, again whenever the connection is lost. `instance` is drawn at random by
    /// each server process.
    pub fn spawn<C, F>(_connect: C, _instance: u64) -> Self
    where
        C: Fn() -> F + Send + 'static,
        F: Future<Output = io::Result<UnixStream>> + Send,
    {
        todo!()
    }

    /// Waits for the agent's first word; the phase is that of its latest.
    pub async fn ready(&self, _deadline: Instant) -> Result<Phase, AgentError> {
        todo!()
    }

    /// Asks, again after a lost connection. For what has no method of its own; not for `Start`,
    /// `Read`, `ReadTar` and `WriteTar`.
    pub async fn request(
        &self,
        _request: Request,
        _within: Duration,
    ) -> Result<Response, AgentError> {
        todo!()
    }

    /// Starts a command, whose output goes to `log`. If this future is dropped or times out, the
    /// command is killed should it have been started.
    pub async fn start(
        &self,
        _start: StartCommand,
        _log: LogWriter,
        _within: Duration,
    ) -> Result<Command, AgentError> {
        todo!()
    }

    /// Takes over a command of an earlier process, or one that [`CommandLost::Log`] was said of:
    /// output goes on where `log` ends, input where the agent stands.
    pub async fn adopt(
        &self,
        _command: CommandId,
        _stdin: Stdin,
        _log: LogWriter,
    ) -> Result<Command, AgentError> {
        todo!()
    }

    /// A file's content.
    pub async fn read(
        &self,
        _path: String,
        _within: Duration,
    ) -> Result<(Stat, Download), AgentError> {
        todo!()
    }

    /// A file or folder as a tar stream, with names relative to the parent of `path`.
    pub async fn read_tar(
        &self,
        _path: String,
        _within: Duration,
    ) -> Result<(Stat, Download), AgentError> {
        todo!()
    }

    /// Unpacks a tar stream below `base`.
    pub async fn write_tar<B>(
        &self,
        _base: String,
        _owner: Owner,
        _body: B,
    ) -> Result<Written, AgentError>
    where
        B: Stream<Item = io::Result<Bytes>> + Send,
    {
        todo!()
    }

    /// The machine is gone, or let go of: everything under way ends as [`AgentError::Gone`]
    /// once the output received so far is in the logs.
    pub async fn close(&self) {
        todo!()
    }
}

impl Command {
    pub fn id(&self) -> CommandId {
        todo!()
    }

    /// In the guest; `None` for an adopted command.
    pub fn pid(&self) -> Option<u32> {
        todo!()
    }

    /// Waits until the command has ended and its output and exit are in the log.
    pub async fn exit(&self) -> Result<Exit, CommandLost> {
        todo!()
    }

    /// Standard input, if the command was started with one.
    pub fn stdin(&self) -> Option<StdinWriter> {
        todo!()
    }

    /// Sends a signal to the command's process group.
    pub async fn signal(&self, _signal: u8, _within: Duration) -> Result<(), AgentError> {
        todo!()
    }

    pub async fn resize(
        &self,
        _rows: u16,
        _cols: u16,
        _within: Duration,
    ) -> Result<(), AgentError> {
        todo!()
    }
}

impl StdinWriter {
    /// Waits for room. Once this returns, the bytes arrive as long as this server runs.
    pub async fn write(&self, _bytes: Bytes) -> Result<(), StdinClosed> {
        todo!()
    }

    /// No more input follows.
    pub fn close(&self) {
        todo!()
    }

    /// How many bytes the command has been given: a client that comes back after a restart of the
    /// server goes on from there. For an adopted command this waits for the agent's word.
    pub async fn acknowledged(&self) -> Result<u64, StdinClosed> {
        todo!()
    }
}

impl Stream for Download {
    type Item = io::Result<Bytes>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        todo!()
    }
}
