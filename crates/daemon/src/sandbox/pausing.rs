//! A session falls asleep: its guest's programs stand still, its memory goes into a file, and machine and
//! gateway are ended. The agent's handle stays, and is quiet: who follows a command, or waits for
//! something, goes on with the machine that comes of the file.
//!
//! Until the file is whole the machine can go on; from then on it is the machine.

use std::time::Duration;

use machine::{AgentPort, FreeBlocks, Machine, PauseSpec, Paused, SavedMemory};
use protocol::{RefusalCode, Request};

use super::{
    MemoryPlace, NotRunning, Owner,
    aside::set_aside,
    forking,
    prepare::{agent_at, machine_folder, overlay_of},
    session::not_running,
    state::{Event, State},
};
use crate::{
    agent::{Agent, AgentError},
    causes, clock, failpoint,
    platform::PlatformError,
    store::{Phase, StoreError},
};

/// For the guest to write all it has, so that its disk is whole by itself.
const SYNC_DEADLINE: Duration = Duration::from_secs(60);
const FREEZE_DEADLINE: Duration = Duration::from_secs(5);
const QUIET_DEADLINE: Duration = Duration::from_secs(2);

/// Why a session is not paused. It goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PauseError {
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    #[error("it has drives, which others may want meanwhile: it cannot be paused")]
    Drives,
    #[error("the sandbox cannot be paused now: {0}")]
    Refused(String),
    #[error("the guest's agent did not make it stand still")]
    Agent(#[source] AgentError),
    #[error("the machine could not be paused")]
    Machine(#[from] machine::PauseError),
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error("that it is paused could not be recorded")]
    Store(#[from] StoreError),
}

impl PauseError {
    /// Whether its machine may have ended.
    fn is_fault(&self) -> bool {
        match self {
            Self::Agent(_) | Self::Machine(_) | Self::NotRunning(NotRunning::Stopped(_)) => true,
            Self::NotRunning(_)
            | Self::Drives
            | Self::Refused(_)
            | Self::Platform(_)
            | Self::Store(_) => false,
        }
    }
}

impl Owner {
    /// Pauses it, for who has asked, or since nobody needs it.
    pub(super) async fn pause(&mut self) -> Event {
        let asked = self.pause_asked.take();
        self.activity.fall_asleep();
        let done = self.try_to_pause().await;
        let event = match &done {
            Ok(_) => Event::Paused,
            Err(error) => {
                tracing::warn!(error = causes(error), "it is not paused");
                let gone = if error.is_fault() { self.gone_by_now().await } else { None };
                self.go_on().await;
                if let Some(reason) = gone {
                    // Who asked sees the end that comes next.
                    return Event::MachineEnded(reason, self.disk());
                }
                Event::PauseFailed
            }
        };
        if let Some(asked) = asked {
            // Who asked may have gone.
            drop(asked.send(done));
        }
        event
    }

    async fn try_to_pause(&mut self) -> Result<Paused, PauseError> {
        if let Some(why) = not_running(&self.session) {
            return Err(why.into());
        }
        if self.context.drives.are_with(&self.session.id) {
            return Err(PauseError::Drives);
        }
        // A fork may not have come to its end: which file takes the machine's writes is known only then.
        self.settle_fork().await.map_err(|error| PauseError::Refused(causes(&error)))?;
        let context = std::sync::Arc::clone(&self.context);
        let platform = context.platform().await?;
        self.session.phase = Phase::Pausing;
        self.store_session().await?;
        failpoint::pass("pause-planned");
        let gone = || NotRunning::Starting;
        let machine = self.machine.as_ref().ok_or_else(gone)?;
        let agent = self.agent().ok_or_else(gone)?;
        let spec = PauseSpec {
            shape: self.session.shape.unwrap_or_else(|| self.durable.record().shape),
            bases: context.paths.bases(),
            overlay: overlay_of(&context, &self.session),
            file: self.memory_place().whole(),
        };
        let begun = machine.begin_pause(platform, spec).await?;
        let quietened = async {
            let free = stand_still(&agent, begun.worth_asking()).await?;
            let quiet = agent.quiet(QUIET_DEADLINE).await.map_err(PauseError::Agent)?;
            Ok::<_, PauseError>((free, quiet))
        };
        let (free, quiet) = self.watched.unless_gone(machine, quietened).await??;
        self.quiet = Some(quiet);
        let paused = machine.pause(begun, free).await?;
        failpoint::pass("pause-written");
        self.session.phase = Phase::Paused;
        self.session.paused_at = Some(clock::now_ms());
        self.store_session().await?;
        failpoint::pass("pause-recorded");
        self.put_machine_away().await;
        tracing::info!(?paused, "the session is paused");
        Ok(paused)
    }

    /// It is in the file: what it was is ended.
    async fn put_machine_away(&mut self) {
        self.merging = None;
        self.fetch_console().await;
        self.end_processes().await;
        self.session.paused_cpu_ms = self.session.cpu_ms;
        self.meter.clear();
        self.news.send_modify(|news| news.cpu_ms = 0);
        self.record().await;
    }

    /// Undoes what was done of a pause, however far it came.
    pub(super) async fn go_on(&mut self) {
        if self.session.phase != Phase::Running {
            let place = self.memory_place();
            let forgotten = async {
                place.forget()?;
                place.sync().await
            };
            if let Err(error) = forgotten.await {
                tracing::error!(%error, "a saved memory is left that is of no more use");
            }
            self.quiet = None;
            let machine = self.machine.as_ref().filter(|_| !self.watched.is_gone());
            if let (Some(machine), Some(agent)) = (machine, self.agent()) {
                let_go_on(machine, &agent).await;
            }
            self.session.phase = Phase::Running;
            self.session.paused_at = None;
            self.record().await;
        }
        self.activity.wake_up();
    }

    /// Takes up one that an earlier server paused.
    pub(super) async fn adopt_paused(&mut self) {
        self.state = State::Paused;
        self.activity.fall_asleep();
        self.keep_template();
        let port = match AgentPort::of_folder(&machine_folder(&self.context, &self.session.id)) {
            Ok(port) => port,
            Err(error) => {
                // There is nothing of it, as waking it will show.
                tracing::error!(%error, "the folder of a paused machine cannot be opened");
                return;
            }
        };
        let agent = agent_at(&self.context, port);
        self.commands.adopt(&agent).await;
        self.quiet = agent.quiet(QUIET_DEADLINE).await.ok();
        self.agent.send_replace(Some(agent));
    }

    /// Sees to it that the template which the saved memory stands on is not taken for one that nobody
    /// needs.
    pub(super) fn keep_template(&self) {
        let noted = self.memory_place().find().and_then(|path| {
            let saved = SavedMemory::open(&path)?;
            saved.note_use(clock::now())
        });
        if let Err(error) = noted {
            tracing::debug!(%error, "a template is not noted as used");
        }
    }

    pub(super) fn memory_place(&self) -> MemoryPlace {
        MemoryPlace::of(&self.context, &self.session.id)
    }

    /// Whether there is something that somebody could ask of it: it runs, or will once it is woken.
    pub(super) fn is_paused(&self) -> bool {
        self.state == State::Paused
    }
}

/// Has the guest write all it has, and its programs stand still. Tells what of its memory, of what is
/// worth asking about, nobody needs.
async fn stand_still(agent: &Agent, worth_asking: &[u32]) -> Result<FreeBlocks, PauseError> {
    agent.request(Request::Sync, SYNC_DEADLINE).await.map_err(PauseError::Agent)?;
    agent.request(Request::Gather, FREEZE_DEADLINE).await.map_err(PauseError::Agent)?;
    // What is free when nothing goes on any more is told then.
    let _now: FreeBlocks = set_aside(agent, worth_asking).await;
    match agent.freeze(FREEZE_DEADLINE).await {
        Ok(free) => Ok(free.into_iter().collect()),
        Err(AgentError::Refused(refusal)) if refusal.code == RefusalCode::AlreadyExists => {
            Err(PauseError::Refused(refusal.message))
        }
        Err(error) => Err(PauseError::Agent(error)),
    }
}

async fn let_go_on(machine: &Machine, agent: &Agent) {
    if let Err(error) = machine.cont().await {
        tracing::error!(error = causes(&error), "a machine that was to be paused is held");
    }
    forking::thaw(machine, agent).await;
}
