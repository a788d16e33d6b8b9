//! The next session of a sandbox that has stopped.

use std::sync::Arc;

use super::{CreateError, Registry, WakeError, remembering::Standing};
use crate::{
    ids::SessionId,
    limits::Host,
    sandbox::{Beginning, NotRunning, Owner, PrepareError, Removed, Sandbox, Session, WakingError},
    snapshots::NoSnapshot,
    store::{Change, Phase, SessionRecord, StoreError},
};

/// Whether a session had to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    Yes,
    No,
}

/// Why a sandbox does not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResumeError {
    #[error(transparent)]
    NoSnapshot(#[from] NoSnapshot),
    #[error(transparent)]
    Removed(#[from] Removed),
    #[error(transparent)]
    Begin(#[from] BeginError),
    #[error("the machine did not start")]
    Prepare(#[source] Arc<PrepareError>),
    #[error("the sandbox ended while it started: {0}")]
    Ended(NotRunning),
    #[error(transparent)]
    Waking(WakingError),
}

/// Why a session cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error(transparent)]
    NoRoom(#[from] crate::limits::NoRoom),
    #[error("the host's memory or disk cannot be read")]
    Host(#[from] std::io::Error),
    #[error("the memory of its snapshot could not be unpacked")]
    Memory(#[source] std::io::Error),
    #[error("the session could not be recorded")]
    Store(#[from] StoreError),
}

impl From<BeginError> for CreateError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::NoRoom(error) => error.into(),
            BeginError::Host(error) => error.into(),
            BeginError::Memory(error) => Self::Memory(error),
            BeginError::Store(error) => error.into(),
        }
    }
}

impl Registry {
    /// Waits until a session of the sandbox runs: the one that it has, or else a new one that starts
    /// from its current snapshot. One that is paused goes on; one that is ending is waited for first.
    pub(crate) async fn resume(&self, sandbox: &Arc<Sandbox>) -> Result<Resumed, ResumeError> {
        loop {
            let current = sandbox.current();
            match current.started().await.session.phase {
                Phase::Running => return Ok(Resumed::No),
                Phase::Pausing | Phase::Paused | Phase::Waking => {
                    match self.awake(&current).await {
                        Ok(_) => return Ok(Resumed::Yes),
                        // Its disk was kept.
                        Err(WakeError::NotRunning(_)) => continue,
                        Err(WakeError::Begin(error)) => return Err(error.into()),
                        Err(WakeError::Waking(error)) => return Err(ResumeError::Waking(error)),
                    }
                }
                Phase::Preparing | Phase::Snapshotting | Phase::Stopping | Phase::Stopped => {}
            }
            let one_at_a_time = sandbox.starting.lock().await;
            if !Arc::ptr_eq(&current, &sandbox.current()) {
                // Somebody else has started one meanwhile.
                continue;
            }
            let session = self.begin(sandbox).await?;
            drop(one_at_a_time);
            let view = session.started().await;
            if let Some(failure) = view.failure {
                return Err(ResumeError::Prepare(failure));
            }
            session.agent().map_err(ResumeError::Ended)?;
            return Ok(Resumed::Yes);
        }
    }

    /// Whether there is something to go on from, if the sandbox has stopped.
    pub(crate) fn can_go_on(&self, sandbox: &Sandbox) -> Result<(), NoSnapshot> {
        // In this order: its last snapshot is recorded before its session has ended.
        if sandbox.current().phase() != Phase::Stopped {
            return Ok(());
        }
        let current = sandbox.durable.record().current_snapshot;
        let current = current.and_then(|id| self.context.snapshots.find(&id));
        current.filter(|one| one.is_there()).map(drop).ok_or(NoSnapshot)
    }

    /// Starts a session from the sandbox's current snapshot.
    async fn begin(&self, sandbox: &Arc<Sandbox>) -> Result<Arc<Session>, ResumeError> {
        let turn = sandbox.durable.turn().await?;
        let mut record = turn.record();
        let snapshot = record.current_snapshot.clone().ok_or(NoSnapshot)?;
        let network = sandbox.durable.network().ok_or(NoSnapshot)?;
        let host = Host::now(self.context.paths.state()).map_err(BeginError::from)?;
        let _promise = self.promise(record.shape, host).map_err(BeginError::from)?;
        let id = SessionId::random();
        let snapshots = &self.context.snapshots;
        let standing = Standing { snapshots, session: Some(id.clone()) };
        let snapshot = snapshots.stand(&id, &snapshot)?;
        record.session = id.clone();
        record.start_from(&snapshot);
        let mut session = SessionRecord::of(&record, &self.context.host_boot);
        session.source_snapshot = Some(snapshot.id.clone());
        session.layers.clone_from(&snapshot.layers);
        snapshots.note_use(&snapshot.id).await.map_err(BeginError::from)?;
        let mut split = None;
        if let Some(memory) = &snapshot.memory
            && memory.shape == record.shape
            // No machine that went on would know of them.
            && record.mounts.is_empty()
            && network.is_of(&memory.network)
        {
            split = self.remember(&snapshot, &mut session).await?;
        }
        let forgotten = sandbox.too_many();
        record.used_before =
            forgotten.iter().fold(record.used_before, |sum, session| sum.and(session.usage()));
        let mut changes = vec![Change::Sandbox(record.clone()), Change::Session(session.clone())];
        changes.extend(forgotten.iter().map(|old| Change::ForgetSession(old.id().clone())));
        self.context.store.commit(changes).await.map_err(BeginError::from)?;
        standing.stays();
        crate::failpoint::pass("resume-recorded");
        turn.set(record);
        let beginning = Beginning { split, ..Beginning::default() };
        let session = Owner::begin(&self.context, &sandbox.durable, session, network, beginning);
        sandbox.push(Arc::clone(&session), forgotten.len());
        self.forget_logs(&forgotten).await;
        Ok(session)
    }
}
