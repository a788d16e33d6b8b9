//! The commands of one session: started once, kept with their logs until the sandbox is removed.

mod command;
mod stdin;

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use protocol::{CommandId, Io, Refusal, StartCommand, Stdin, User};

pub(crate) use command::{Command, Lost};
pub(crate) use stdin::{FeedError, Piece};

use super::Activity;
use crate::{
    agent::{Agent, AgentError},
    clock,
    command_log::{CommandLog, LogError},
    context::Context,
    failpoint,
    ids::{CommandName, SessionId},
    limits,
    store::{Change, CommandRecord, StoreError},
};

/// Under emulation and load a guest may take long to start a process.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// What is to be run.
pub(crate) struct Launch {
    /// The id that the client chose, if it did.
    pub(crate) id: Option<CommandName>,
    pub(crate) name: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: String,
    pub(crate) user: User,
    pub(crate) stdin: Stdin,
    pub(crate) io: Io,
    pub(crate) timeout_ms: Option<u64>,
}

impl fmt::Debug for Launch {
    /// Without the environment and the arguments: they may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launch").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("a command with the id {0} already exists")]
    Exists(CommandName),
    #[error("the session has had {} commands, and no more are allowed", limits::COMMANDS_MAX)]
    TooMany,
    #[error("{0}")]
    Refused(Refusal),
    #[error("the agent did not start the command")]
    Agent(#[source] AgentError),
    #[error("the command's log cannot be made")]
    Log(#[from] LogError),
    #[error("the command's folder cannot be made")]
    Folder(#[from] io::Error),
    #[error("the command could not be recorded")]
    Store(#[from] StoreError),
    #[error("the server is closing")]
    Closing,
}

impl From<AgentError> for CommandError {
    fn from(error: AgentError) -> Self {
        if let AgentError::Refused(refusal) = error {
            return Self::Refused(refusal);
        }
        Self::Agent(error)
    }
}

/// All commands of a session; a cheap handle.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    context: Arc<Context>,
    session: SessionId,
    folder: PathBuf,
    next: AtomicU32,
    known: Mutex<BTreeMap<CommandName, Arc<Command>>>,
    /// Of the session: it is not idle while a command runs.
    activity: Activity,
}

impl Commands {
    /// Numbered from `first` on, and with the records of an earlier server, if there are any.
    pub(crate) fn new(
        context: &Arc<Context>,
        session: SessionId,
        (first, records): (u32, Vec<CommandRecord>),
        activity: Activity,
    ) -> Self {
        let folder = context.paths.sessions().join(session.as_str());
        let next = records.iter().map(|record| record.number + 1).max().unwrap_or(first);
        let known = records.into_iter().map(|record| {
            let folder = log_folder(&folder, record.number);
            (record.id.clone(), Arc::new(Command::known(record, folder)))
        });
        let shared = Shared {
            context: Arc::clone(context),
            session,
            next: AtomicU32::new(next),
            known: Mutex::new(known.collect()),
            folder,
            activity,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes up the commands of an earlier server that had not ended when it died.
    pub(crate) async fn adopt(&self, agent: &Agent) {
        for command in self.list().into_iter().filter(|command| command.record().exit.is_none()) {
            if let Err(error) = command.adopt(agent).await {
                tracing::error!(error = &error as &dyn std::error::Error, "a command is lost");
            }
            command.watch(&self.shared.context, self.shared.activity.begin_within());
        }
    }

    /// Starts a command, once it is recorded. It is started or refused even if who asked has gone.
    pub(crate) async fn start(
        &self,
        agent: &Agent,
        launch: Launch,
    ) -> Result<Arc<Command>, CommandError> {
        let (commands, agent) = (self.clone(), agent.clone());
        let tasks = self.shared.context.tasks.clone();
        let started = tasks.spawn(async move { commands.start_now(&agent, launch).await });
        started.await.ok().flatten().unwrap_or(Err(CommandError::Closing))
    }

    async fn start_now(&self, agent: &Agent, launch: Launch) -> Result<Arc<Command>, CommandError> {
        let (record, start) = self.admit(launch)?;
        let (id, folder) = (record.id.clone(), log_folder(&self.shared.folder, record.number));
        self.shared.context.store.commit(vec![Change::Command(record.clone())]).await?;
        failpoint::pass("command-recorded");
        let started = self.start_recorded(agent, record, start, &folder).await;
        if started.is_err() {
            // It never was: nothing of it is to be found.
            self.shared.context.store.commit(vec![Change::RemoveCommand(id)]).await?;
            drop(tokio::fs::remove_dir_all(&folder).await);
        }
        started
    }

    async fn start_recorded(
        &self,
        agent: &Agent,
        record: CommandRecord,
        start: StartCommand,
        folder: &Path,
    ) -> Result<Arc<Command>, CommandError> {
        if let Some(parent) = folder.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        let (log, writer) = CommandLog::create(folder).await?;
        let started = agent.start(start, writer, START_DEADLINE).await;
        let running = started.map_err(CommandError::from)?;
        failpoint::pass("command-started");
        let command = Arc::new(Command::started(record, folder.to_owned(), log, running));
        self.known().insert(command.record().id.clone(), Arc::clone(&command));
        command.watch(&self.shared.context, self.shared.activity.begin_within());
        Ok(command)
    }

    fn admit(&self, launch: Launch) -> Result<(CommandRecord, StartCommand), CommandError> {
        let id = launch.id.unwrap_or_else(CommandName::random);
        let known = self.known();
        if known.contains_key(&id) {
            return Err(CommandError::Exists(id));
        }
        if limits::COMMANDS_MAX <= known.len() {
            return Err(CommandError::TooMany);
        }
        drop(known);
        let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let mut argv = vec![launch.name.clone()];
        argv.extend(launch.args.iter().cloned());
        let start = StartCommand {
            command: CommandId(number),
            argv,
            env: launch.env,
            cwd: Some(launch.cwd.clone()),
            user: launch.user,
            stdin: launch.stdin,
            io: launch.io,
            timeout_ms: launch.timeout_ms,
        };
        let record = CommandRecord {
            id,
            session: self.shared.session.clone(),
            number,
            name: launch.name,
            args: launch.args,
            cwd: launch.cwd,
            stdin: launch.stdin == Stdin::Stream,
            started_at: clock::now_ms(),
            exit: None,
        };
        Ok((record, start))
    }

    /// What the next one will be numbered.
    pub(crate) fn next_number(&self) -> u32 {
        self.shared.next.load(Ordering::Relaxed)
    }

    /// All of them, in the order of their start.
    pub(crate) fn list(&self) -> Vec<Arc<Command>> {
        let mut all: Vec<_> = self.known().values().cloned().collect();
        all.sort_by_key(|command| command.record().number);
        all
    }

    pub(crate) fn find(&self, id: &str) -> Option<Arc<Command>> {
        self.known().get(&CommandName::parse(id)?).cloned()
    }

    /// Where the machine's console is kept once the machine is gone.
    pub(crate) fn console(&self) -> PathBuf {
        self.shared.folder.join("console.log")
    }

    /// Keeps the machine's console with the logs.
    pub(crate) async fn keep_console(&self, console: &Path) {
        drop(tokio::fs::create_dir_all(&self.shared.folder).await);
        if let Err(error) = tokio::fs::rename(console, self.console()).await {
            tracing::debug!(%error, "there is no console to keep");
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<CommandName, Arc<Command>>> {
        self.shared.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_folder(session: &Path, number: u32) -> PathBuf {
    session.join("commands").join(number.to_string())
}
