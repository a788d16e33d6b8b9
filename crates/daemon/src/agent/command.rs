//! Commands: their handles, and the task of each that brings output to its log.

use std::{future::poll_fn, sync::Arc, time::Duration};

use bytes::Bytes;
use protocol::{CommandId, Exit, Request, StreamId};
use tokio::sync::watch;

use super::{
    Agent, AgentError,
    incoming::{Incoming, Over, Reader},
    outgoing::{Closed, Outgoing},
};
use crate::command_log::{LogError, LogWriter, Output};

/// A command that the agent has started.
#[derive(Clone, Debug)]
pub struct Command {
    pub(super) agent: Agent,
    pub(super) id: CommandId,
    pub(super) pid: Option<u32>,
    pub(super) stdin: Option<StdinWriter>,
    pub(super) end: End,
}

/// How it ended, once it did.
pub(super) type End = watch::Receiver<Option<Result<Exit, CommandLost>>>;

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
pub struct StdinWriter(pub(super) Arc<Outgoing>);

/// The command does not take input any more: it closed it, or it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("standard input is closed")]
pub struct StdinClosed;

impl Command {
    pub fn id(&self) -> CommandId {
        self.id
    }

    /// In the guest; `None` for an adopted command.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Waits until the command has ended and its output and exit are in the log.
    pub async fn exit(&self) -> Result<Exit, CommandLost> {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await;
        ended.ok().and_then(|ended| ended.clone()).unwrap_or(Err(CommandLost::Gone))
    }

    /// Standard input, if the command was started with one.
    pub fn stdin(&self) -> Option<StdinWriter> {
        self.stdin.clone()
    }

    /// Sends a signal to the command's process group.
    pub async fn signal(&self, signal: u8, within: Duration) -> Result<(), AgentError> {
        self.agent.ask_done(Request::Signal { command: self.id, signal }, within).await
    }

    /// Resizes the command's terminal.
    pub async fn resize(&self, rows: u16, cols: u16, within: Duration) -> Result<(), AgentError> {
        self.agent.ask_done(Request::Resize { command: self.id, rows, cols }, within).await
    }
}

impl StdinWriter {
    /// Waits for room. Once this returns, the bytes arrive as long as this server runs. Dropped
    /// before, a part of them may have been written: [`StdinWriter::written`] tells.
    pub async fn write(&self, bytes: Bytes) -> Result<(), StdinClosed> {
        self.0.write(bytes).await.map_err(closed)
    }

    /// No more input follows.
    pub fn close(&self) {
        self.0.end();
    }

    /// How much was written: a client that comes back goes on from there. For an adopted command
    /// this is how much has arrived, and it waits for the agent's word.
    pub async fn written(&self) -> Result<u64, StdinClosed> {
        self.0.written().await.map_err(closed)
    }

    /// How much the command is known to have been given; what came after it is lost if this server
    /// is killed. For an adopted command this waits for the agent's word.
    pub async fn acknowledged(&self) -> Result<u64, StdinClosed> {
        self.0.acknowledged().await.map_err(closed)
    }
}

fn closed(_: Closed) -> StdinClosed {
    StdinClosed
}

/// A command's output before anybody reads it. Dropped, nobody will.
#[derive(Debug)]
pub(super) struct Unread {
    incoming: Arc<Incoming>,
    command: CommandId,
    log: Option<LogWriter>,
}

impl Unread {
    pub(super) fn new(incoming: Arc<Incoming>, command: CommandId, log: LogWriter) -> Self {
        Self { incoming, command, log: Some(log) }
    }

    pub(super) fn command(&self) -> CommandId {
        self.command
    }

    /// Brings the output to its log until it ends. What is not in the log is not acknowledged, so
    /// that the agent keeps it.
    pub(super) fn keep(mut self) -> End {
        let (sender, end) = watch::channel(None);
        let (incoming, command) = (Arc::clone(&self.incoming), self.command);
        let Some(log) = self.log.take() else { return end };
        tokio::spawn(async move {
            let ended = keep_to_the_end(&incoming, command, log).await;
            let stuck = matches!(ended, Err(CommandLost::Log(_)));
            incoming.leave(if stuck { Reader::Stuck } else { Reader::Through });
            sender.send_replace(Some(ended));
        });
        end
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        if self.log.is_some() {
            self.incoming.leave(Reader::Left);
        }
    }
}

async fn keep_to_the_end(
    incoming: &Incoming,
    command: CommandId,
    mut log: LogWriter,
) -> Result<Exit, CommandLost> {
    let lost = |error| CommandLost::Log(Arc::new(error));
    let output = |stream| match stream == StreamId::stdout(command) {
        true => Output::Stdout,
        false => Output::Stderr,
    };
    while let Some(batch) = poll_fn(|context| incoming.poll_take(context)).await {
        let runs = batch.runs().map(|(stream, run)| (output(stream), run));
        log.append(runs).await.map_err(lost)?;
        incoming.handled(&batch);
    }
    let exit = poll_fn(|context| incoming.poll_exit(context)).await?;
    log.end(exit).await.map_err(lost)?;
    Ok(exit)
}

impl From<Over> for CommandLost {
    fn from(over: Over) -> Self {
        match over {
            Over::Gone => Self::Gone,
            Over::Reset | Over::Unknown => Self::Unknown,
        }
    }
}
