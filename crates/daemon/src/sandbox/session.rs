//! A session as others hold it: how it stands, and a mailbox to its one owner.

use std::{path::PathBuf, sync::Arc};

use egress::policy::Policy;
use machine::Paused;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Commands, EndReason, PolicyError, PrepareError, Purpose, SplitError, Taken,
    activity::Activity,
    meter::Meter,
    pausing::PauseError,
    saving::{SnapshotError, Wanted},
    waking::WakingError,
};
use crate::{
    agent::Agent,
    audit::AuditReader,
    gateway::{News, Place},
    ids::SessionId,
    limits,
    network::Network,
    snapshots::HeldName,
    store::{Phase, SandboxRecord, SessionRecord, SnapshotRecord, Usage},
};

/// How a session stands. Only its owner makes one; everybody else watches.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) session: SessionRecord,
    /// Why it failed to start, with all causes.
    pub(crate) failure: Option<Arc<PrepareError>>,
    /// None if it was made by a version whose sandboxes had none.
    pub(crate) network: Option<Network>,
}

/// What is asked of an owner.
#[derive(Debug)]
pub(crate) enum Ask {
    Stop,
    /// The sandbox goes: nothing of it is kept.
    Discard,
    Snapshot(Wanted),
    Split(Purpose, oneshot::Sender<Result<Taken, SplitError>>),
    Pause(oneshot::Sender<Result<Paused, PauseError>>),
    /// Go on, if it is paused.
    Wake(oneshot::Sender<Result<(), WakingError>>),
    /// Fetch what the guest wrote to its console into the file that keeps it.
    FetchConsole(oneshot::Sender<()>),
    SetPolicy {
        policy: Box<Policy>,
        reply: oneshot::Sender<Result<(), PolicyError>>,
    },
    /// End this many milliseconds later.
    Extend {
        duration_ms: u64,
        reply: oneshot::Sender<Result<(), ExtendError>>,
    },
    /// A secret that its policy names has changed.
    SecretChanged(oneshot::Sender<Result<(), PolicyError>>),
}

/// A handle to one session of a sandbox.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) id: SessionId,
    /// The sandbox as it was when the session began.
    pub(crate) record: SandboxRecord,
    pub(crate) commands: Commands,
    pub(super) view: watch::Receiver<View>,
    pub(super) agent: watch::Receiver<Option<Agent>>,
    pub(super) mailbox: mpsc::Sender<Ask>,
    pub(super) console: PathBuf,
    pub(super) place: Place,
    pub(super) news: watch::Receiver<News>,
    pub(super) meter: Arc<Meter>,
    pub(crate) activity: Activity,
    /// Held by who wakes it.
    pub(crate) waking: tokio::sync::Mutex<()>,
}

/// The session cannot take commands now.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum NotRunning {
    #[error("the sandbox is still starting")]
    Starting,
    /// It would be woken first; this is told where it was paused in between.
    #[error("the sandbox is paused")]
    Paused,
    #[error("Sandbox is creating a snapshot: {}", EndReason::sentence(*.0))]
    Snapshotting(EndReason),
    #[error("Sandbox is stopping: {}", EndReason::sentence(*.0))]
    Stopping(EndReason),
    #[error("Sandbox has stopped execution and is no longer available: {}", EndReason::sentence(*.0))]
    Stopped(EndReason),
}

impl NotRunning {
    pub(crate) fn is_starting(&self) -> bool {
        matches!(self, Self::Starting)
    }
}

/// Why a session does not end later.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ExtendError {
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    #[error("the session would last {0} ms, and {max} are the most", max = limits::TIMEOUT_MS_MAX)]
    TooLong(u64),
}

/// Why a session takes no commands; none if it does.
pub(super) fn not_running(session: &SessionRecord) -> Option<NotRunning> {
    let reason = session.reason.unwrap_or(EndReason::Stopped);
    match session.phase {
        Phase::Running => None,
        Phase::Preparing => Some(NotRunning::Starting),
        Phase::Pausing | Phase::Paused | Phase::Waking => Some(NotRunning::Paused),
        Phase::Snapshotting => Some(NotRunning::Snapshotting(reason)),
        Phase::Stopping => Some(NotRunning::Stopping(reason)),
        Phase::Stopped => Some(NotRunning::Stopped(reason)),
    }
}

impl Session {
    pub(crate) fn id(&self) -> &SessionId {
        &self.id
    }

    pub(crate) fn phase(&self) -> Phase {
        self.view.borrow().session.phase
    }

    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// The agent, while the session runs.
    pub(crate) fn agent(&self) -> Result<Agent, NotRunning> {
        match not_running(&self.view.borrow().session) {
            None => self.agent.borrow().clone().ok_or(NotRunning::Starting),
            Some(why) => Err(why),
        }
    }

    /// The same, and fine for one that is paused too.
    fn is_there(&self) -> Result<(), NotRunning> {
        match not_running(&self.view.borrow().session) {
            None | Some(NotRunning::Paused) => Ok(()),
            Some(why) => Err(why),
        }
    }

    /// Waits until the session runs, or is paused, or has ended.
    pub(crate) async fn started(&self) -> View {
        let is_settled = |phase| match phase {
            Phase::Preparing | Phase::Snapshotting | Phase::Stopping => false,
            Phase::Running | Phase::Pausing | Phase::Paused | Phase::Waking | Phase::Stopped => {
                true
            }
        };
        self.wait_for(is_settled).await
    }

    /// Waits until the session has ended.
    pub(crate) async fn ended(&self) -> View {
        self.wait_for(|phase| phase == Phase::Stopped).await
    }

    async fn wait_for(&self, content: impl Fn(Phase) -> bool) -> View {
        let mut view = self.view.clone();
        // An owner that is gone has said its last word.
        let seen = view.wait_for(|view| content(view.session.phase)).await.map(|view| view.clone());
        seen.unwrap_or_else(|_closed| self.view())
    }

    /// Of one that is about to end: what was asked of it is not done.
    async fn why_it_ends(&self) -> NotRunning {
        let ends = |phase| matches!(phase, Phase::Snapshotting | Phase::Stopping | Phase::Stopped);
        not_running(&self.wait_for(ends).await.session).unwrap_or(NotRunning::Starting)
    }

    /// Asks for the end and waits for it. A session that has ended stays as it is.
    pub(crate) async fn stop(&self) -> View {
        // An owner that is gone has nothing to stop.
        drop(self.mailbox.send(Ask::Stop).await);
        self.ended().await
    }

    /// Ends the session and keeps nothing of it, for who removes its sandbox.
    pub(crate) async fn discard(&self) -> View {
        drop(self.mailbox.send(Ask::Discard).await);
        self.ended().await
    }

    /// Makes the disk a snapshot, which ends the session; it is being ended when this returns.
    pub(crate) async fn snapshot(
        &self,
        name: Option<HeldName>,
        expiration_ms: Option<u64>,
    ) -> Result<SnapshotRecord, SnapshotError> {
        self.is_there()?;
        let (reply, done) = oneshot::channel();
        drop(self.mailbox.send(Ask::Snapshot(Wanted { name, expiration_ms, reply })).await);
        match done.await {
            Ok(result) => result,
            // It ended first.
            Err(_gone) => {
                let why = not_running(&self.view.borrow().session);
                Err(why.unwrap_or(NotRunning::Stopped(EndReason::Stopped)).into())
            }
        }
    }

    /// Forks the session, which goes on.
    pub(crate) async fn split(&self, purpose: Purpose) -> Result<Taken, SplitError> {
        self.agent()?;
        let (reply, done) = oneshot::channel();
        // An owner that is gone has ended the session.
        drop(self.mailbox.send(Ask::Split(purpose, reply)).await);
        match done.await {
            Ok(split) => split,
            Err(_gone) => Err(self.why_it_ends().await.into()),
        }
    }

    /// Pauses the session, if it is not paused already.
    pub(crate) async fn pause(&self) -> Result<Option<Paused>, PauseError> {
        match not_running(&self.view.borrow().session) {
            None | Some(NotRunning::Paused) => {}
            Some(why) => return Err(why.into()),
        }
        let (reply, done) = oneshot::channel();
        // An owner that is gone has ended the session.
        drop(self.mailbox.send(Ask::Pause(reply)).await);
        match done.await {
            Ok(Err(PauseError::NotRunning(NotRunning::Paused))) => Ok(None),
            Ok(paused) => paused.map(Some),
            Err(_gone) => Err(self.why_it_ends().await.into()),
        }
    }

    /// Has it go on if it is paused. Whether there is room for it is the caller's to know.
    pub(crate) async fn wake(&self) -> Result<(), WakingError> {
        let (reply, woken) = oneshot::channel();
        drop(self.mailbox.send(Ask::Wake(reply)).await);
        match woken.await {
            Ok(woken) => woken,
            Err(_gone) => Err(self.is_there().err().unwrap_or(NotRunning::Starting).into()),
        }
    }

    /// Brings the file that keeps the machine's console up to date.
    pub(crate) async fn fetch_console(&self) {
        let (done, fetched) = oneshot::channel();
        if self.mailbox.send(Ask::FetchConsole(done)).await.is_ok() {
            // Without an owner the file is as it stays.
            drop(fetched.await);
        }
    }

    /// Makes another policy hold, for connections that are open too.
    pub(crate) async fn set_policy(&self, policy: Policy) -> Result<View, PolicyError> {
        self.is_there()?;
        let (reply, done) = oneshot::channel();
        let ask = Ask::SetPolicy { policy: Box::new(policy), reply };
        // An owner that is gone has ended the session.
        drop(self.mailbox.send(ask).await);
        match done.await {
            Ok(result) => result.map(|()| self.view()),
            Err(_gone) => Err(self.is_there().err().map_or(PolicyError::NoNetwork, Into::into)),
        }
    }

    /// Makes a session that runs end later.
    pub(crate) async fn extend(&self, duration_ms: u64) -> Result<View, ExtendError> {
        self.is_there()?;
        let (reply, done) = oneshot::channel();
        // An owner that is gone has ended the session.
        drop(self.mailbox.send(Ask::Extend { duration_ms, reply }).await);
        match done.await {
            Ok(extended) => extended.map(|()| self.view()),
            Err(_gone) => Err(self.agent().err().unwrap_or(NotRunning::Starting).into()),
        }
    }

    /// Gives the gateway, if one runs, the secrets as they are now.
    pub(crate) async fn secret_changed(&self) -> Result<(), PolicyError> {
        let (reply, done) = oneshot::channel();
        drop(self.mailbox.send(Ask::SecretChanged(reply)).await);
        // Without an owner there is no gateway.
        done.await.unwrap_or(Ok(()))
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Usage {
        let (phase, before_ms, recorded) = {
            let session = &self.view.borrow().session;
            let SessionRecord { phase, traffic, cpu_ms, paused_cpu_ms, .. } = *session;
            (phase, paused_cpu_ms, Usage { traffic, cpu_ms, duration_ms: session.ran_ms() })
        };
        match phase {
            Phase::Preparing
            | Phase::Running
            | Phase::Pausing
            | Phase::Waking
            | Phase::Snapshotting
            | Phase::Stopping => {
                let News { traffic, cpu_ms, .. } = *self.news.borrow();
                let cpu_ms = self.meter.read_ms().saturating_add(cpu_ms).saturating_add(before_ms);
                Usage { traffic, cpu_ms, ..recorded }
            }
            Phase::Paused | Phase::Stopped => recorded,
        }
    }

    /// Changes whenever there is something new in the audit log.
    pub(crate) fn news(&self) -> watch::Receiver<News> {
        self.news.clone()
    }

    pub(crate) fn audit(&self) -> AuditReader {
        AuditReader::new(&self.place)
    }

    /// The files that the machine's console is kept in: while it lives, and afterwards.
    pub(crate) fn consoles(&self) -> [PathBuf; 2] {
        [self.console.clone(), self.commands.console()]
    }
}
