//! Machines that are needed: one that sleeps is woken, whoever comes first.

use std::time::Duration;

use machine::Shape;
use protocol::Request;

use super::{Registry, resuming::BeginError};
use crate::{
    agent::Agent,
    causes,
    limits::Host,
    sandbox::{NotRunning, Purpose, Session, SplitError, Taken, Use, WakingError},
};

/// A guest that does not write what it has in this time has its disk kept as it is.
const SYNC_DEADLINE: Duration = Duration::from_secs(20);

/// The agent of a session that runs; it does not fall asleep until this is dropped.
#[derive(Debug)]
pub(crate) struct Awake {
    pub(crate) agent: Agent,
    /// Kept for what goes on without the agent's handle.
    pub(crate) in_use: Use,
}

/// Why nothing can be asked of a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WakeError {
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    #[error(transparent)]
    Begin(#[from] BeginError),
    #[error(transparent)]
    Waking(WakingError),
}

impl Awake {
    /// Keeps a session awake that is; none if it would have to be woken.
    pub(crate) async fn already(session: &Session) -> Result<Option<Self>, NotRunning> {
        while let Some(in_use) = session.activity.begin() {
            match session.agent() {
                // It fell asleep just now.
                Err(NotRunning::Paused) => tokio::task::yield_now().await,
                agent => return Ok(Some(Self { agent: agent?, in_use })),
            }
        }
        Ok(None)
    }
}

impl Registry {
    /// Wakes a session if it is paused, and keeps it awake.
    pub(crate) async fn awake(&self, session: &Session) -> Result<Awake, WakeError> {
        loop {
            if let Some(awake) = Awake::already(session).await? {
                return Ok(awake);
            }
            let _one_at_a_time = session.waking.lock().await;
            if session.activity.is_asleep() {
                self.wake(session, session.record.shape).await?;
            }
        }
    }

    /// Forks a session. Whoever pauses it before its turn comes has it woken once more.
    pub(super) async fn split<E>(&self, session: &Session, purpose: Purpose) -> Result<Taken, E>
    where
        E: From<WakeError> + From<SplitError>,
    {
        loop {
            let awake = self.awake(session).await?;
            let prepared = async {
                // Where the memory is of no use one day, the disk has all that was written before.
                if purpose == Purpose::Snapshot
                    && let Err(error) = awake.agent.request(Request::Sync, SYNC_DEADLINE).await
                {
                    tracing::warn!(error = causes(&error), "the guest did not write all it has");
                }
            };
            tokio::select! {
                () = prepared => {}
                // Nobody answers meanwhile.
                () = session.activity.asleep() => continue,
            }
            match session.split(purpose).await {
                Err(SplitError::NotRunning(NotRunning::Paused)) => {}
                taken => return Ok(taken?),
            }
        }
    }

    /// Wakes a session for who talks with a command of it. Where it does not wake, that is seen by the
    /// command's end.
    pub(crate) async fn nudge(&self, session: &Session) {
        if session.activity.is_asleep()
            && let Err(error) = self.awake(session).await
        {
            tracing::debug!(error = causes(&error), "a session does not wake");
        }
    }

    async fn wake(&self, session: &Session, shape: Shape) -> Result<(), WakeError> {
        let host = Host::now(self.context.paths.state()).map_err(BeginError::from)?;
        if crate::limits::admit(host, crate::limits::Promised::default(), shape).is_err() {
            self.context.pool.drain(&self.context).await;
        }
        let host = Host::now(self.context.paths.state()).map_err(BeginError::from)?;
        let _promise = self.promise(shape, host).map_err(BeginError::from)?;
        match session.wake().await {
            Ok(()) => Ok(()),
            // It ends, which is seen where others see it.
            Err(WakingError::Lost(_)) => {
                session.ended().await;
                Err(session.agent().err().unwrap_or(NotRunning::Starting).into())
            }
            Err(WakingError::NotRunning(error)) => Err(error.into()),
            Err(error) => Err(WakeError::Waking(error)),
        }
    }
}
