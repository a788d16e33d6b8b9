//! One command: its record, its log, and its handle while it runs.

use std::{path::PathBuf, sync::Arc, time::Duration};

use protocol::{CommandId, Exit, ExitCause, Stdin};
use tokio::sync::{OnceCell, watch};

use crate::{
    agent::{self, Agent, AgentError, CommandLost, StdinWriter},
    command_log::{CommandLog, LogError, Opened},
    context::Context,
    sandbox::Use,
    store::{Change, CommandRecord, ExitRecord},
};

const SIGNAL_DEADLINE: Duration = Duration::from_secs(30);

/// One command.
#[derive(Debug)]
pub(crate) struct Command {
    record: watch::Sender<CommandRecord>,
    progress: watch::Sender<Progress>,
    folder: PathBuf,
    log: OnceCell<CommandLog>,
    /// Held by who gives it a piece of its input.
    pub(super) feeding: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug)]
enum Progress {
    Running(agent::Command),
    Ended,
    Lost,
}

/// The command's end will never be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session ended before the command did")]
pub(crate) struct Lost;

/// An earlier server's command that cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeUpError {
    #[error("its log cannot be read")]
    Log(#[from] LogError),
    #[error("the agent does not give it")]
    Agent(#[from] AgentError),
}

impl Command {
    pub(super) fn started(
        record: CommandRecord,
        folder: PathBuf,
        log: CommandLog,
        running: agent::Command,
    ) -> Self {
        Self {
            record: watch::Sender::new(record),
            progress: watch::Sender::new(Progress::Running(running)),
            folder,
            log: OnceCell::new_with(Some(log)),
            feeding: tokio::sync::Mutex::default(),
        }
    }

    /// One of an earlier server.
    pub(super) fn known(record: CommandRecord, folder: PathBuf) -> Self {
        let progress = if record.exit.is_some() { Progress::Ended } else { Progress::Lost };
        Self {
            record: watch::Sender::new(record),
            progress: watch::Sender::new(progress),
            folder,
            log: OnceCell::new(),
            feeding: tokio::sync::Mutex::default(),
        }
    }

    /// Goes on with a command of an earlier server.
    pub(super) async fn adopt(&self, agent: &Agent) -> Result<(), TakeUpError> {
        let Opened { log, writer } = CommandLog::open(&self.folder).await?;
        if let Some(exit) = log.exit() {
            self.end(exit);
        }
        drop(self.log.set(log));
        let Some(writer) = writer else { return Ok(()) };
        let record = self.record();
        let stdin = if record.stdin { Stdin::Stream } else { Stdin::Null };
        let running = agent.adopt(CommandId(record.number), stdin, writer).await?;
        self.progress.send_replace(Progress::Running(running));
        Ok(())
    }

    /// Records the command's end when it comes.
    pub(super) fn watch(self: &Arc<Self>, context: &Arc<Context>, in_use: Use) {
        let (command, tasks) = (Arc::clone(self), &context.tasks);
        let context = Arc::clone(context);
        tasks.spawn(async move {
            let _in_use = in_use;
            if let Ok(running) = command.running() {
                match running.exit().await {
                    Ok(exit) => command.end(exit),
                    Err(lost) => command.lose(&running, &lost).await,
                }
            }
            let change = Change::Command(command.record());
            if let Err(error) = context.store.commit(vec![change]).await {
                tracing::warn!(%error, "a command's end was not recorded");
            }
        });
    }

    fn end(&self, exit: Exit) {
        self.record.send_modify(|record| record.exit = Some(exit_record(exit)));
        self.progress.send_replace(Progress::Ended);
    }

    async fn lose(&self, running: &agent::Command, lost: &CommandLost) {
        match lost {
            CommandLost::Gone => {}
            CommandLost::Unknown => tracing::warn!("the agent does not know a command"),
            // Without a place for its output it would wait for ever.
            CommandLost::Log(error) => {
                tracing::error!(%error, "a command's output could not be kept: it is killed");
                drop(running.signal(9, SIGNAL_DEADLINE).await);
            }
        }
        self.progress.send_replace(Progress::Lost);
    }

    pub(crate) fn record(&self) -> CommandRecord {
        self.record.borrow().clone()
    }

    pub(crate) async fn log(&self) -> Result<&CommandLog, LogError> {
        let open = async || CommandLog::open(&self.folder).await.map(|opened| opened.log);
        self.log.get_or_try_init(open).await
    }

    /// Waits until the command has ended and all its output is in the log.
    pub(crate) async fn ended(&self) -> Result<CommandRecord, Lost> {
        let mut progress = self.progress.subscribe();
        let over = |progress: &Progress| !matches!(progress, Progress::Running(_));
        // The sender is this command's own.
        drop(progress.wait_for(over).await);
        let record = self.record();
        if record.exit.is_some() { Ok(record) } else { Err(Lost) }
    }

    pub(crate) async fn signal(&self, signal: u8) -> Result<(), AgentError> {
        match self.running() {
            Ok(running) => running.signal(signal, SIGNAL_DEADLINE).await,
            // Nobody is there to get it, as with a process that has just ended.
            Err(Lost) => Ok(()),
        }
    }

    pub(crate) async fn resize(&self, rows: u16, cols: u16) -> Result<(), AgentError> {
        match self.running() {
            Ok(running) => running.resize(rows, cols, SIGNAL_DEADLINE).await,
            Err(Lost) => Ok(()),
        }
    }

    /// Its standard input, if it was started with one and runs.
    pub(crate) fn stdin(&self) -> Option<StdinWriter> {
        self.running().ok()?.stdin()
    }

    fn running(&self) -> Result<agent::Command, Lost> {
        match &*self.progress.borrow() {
            Progress::Running(running) => Ok(running.clone()),
            Progress::Ended | Progress::Lost => Err(Lost),
        }
    }
}

fn exit_record(exit: Exit) -> ExitRecord {
    ExitRecord {
        code: i32::from(exit.code),
        signal: exit.signal.map(i32::from),
        reason: exit.cause.map(|cause| match cause {
            ExitCause::TimedOut => api::attach::ExitReason::Timeout,
            ExitCause::OutOfMemory => api::attach::ExitReason::Oom,
        }),
        duration_ms: exit.duration_ms,
    }
}
