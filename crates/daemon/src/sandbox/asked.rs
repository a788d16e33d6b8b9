//! What others ask of an owner, and what it does by itself now and then.

use std::time::Duration;

use protocol::Request;
use tokio::time::timeout;

use super::{
    Disk, EndReason, ExtendError, NotRunning, Owner, SplitError, WakingError,
    saving::SnapshotError,
    session::{Ask, not_running},
    state::{Event, State},
};
use crate::{clock, limits};

const CLOCK_DEADLINE: Duration = Duration::from_secs(5);
/// From when a machine does not do as it is told until it is heard that it has ended.
const LAST_BREATH: Duration = Duration::from_millis(500);

impl Owner {
    /// Does what is asked at once, or tells what it means for the session.
    pub(super) async fn hear(&mut self, ask: Ask) -> Option<Event> {
        // Whoever asked may have gone.
        match ask {
            Ask::Stop => return Some(Event::StopRequested(self.disk())),
            Ask::Discard => return Some(Event::Discarded),
            Ask::Snapshot(wanted) if matches!(self.state, State::Running | State::Paused) => {
                self.wanted = Some(wanted);
                return Some(Event::StopRequested(Disk::Keep));
            }
            Ask::Snapshot(wanted) => {
                let why = not_running(&self.session).unwrap_or(NotRunning::Starting);
                drop(wanted.reply.send(Err(SnapshotError::NotRunning(why))));
            }
            Ask::Pause(reply) if self.state == State::Running => {
                self.pause_asked = Some(reply);
                return Some(Event::PauseRequested);
            }
            Ask::Pause(reply) => {
                let why = not_running(&self.session).unwrap_or(NotRunning::Starting);
                drop(reply.send(Err(why.into())));
            }
            Ask::Wake(reply) if self.is_paused() => {
                self.wake_asked = Some(reply);
                return Some(Event::WakeRequested);
            }
            Ask::Wake(reply) => {
                let why = not_running(&self.session).map(WakingError::NotRunning);
                drop(reply.send(why.map_or(Ok(()), Err)));
            }
            Ask::Split(purpose, reply) => {
                let split = self.split(purpose).await;
                let is_fault = matches!(
                    split,
                    Err(SplitError::Machine(_) | SplitError::NotRunning(NotRunning::Stopped(_)))
                );
                // Who asked sees the end that comes next.
                if !is_fault || self.gone_by_now().await.is_none() {
                    drop(reply.send(split));
                }
            }
            Ask::FetchConsole(done) => {
                self.fetch_console().await;
                let _gone = done.send(()).is_err();
            }
            Ask::SetPolicy { policy, reply } => drop(reply.send(self.set_policy(*policy).await)),
            Ask::SecretChanged(reply) => drop(reply.send(self.renew_secrets().await)),
            Ask::Extend { duration_ms, reply } => drop(reply.send(self.extend(duration_ms).await)),
        }
        None
    }

    /// Why the machine is of no more use, if that is why something has failed.
    pub(super) async fn gone_by_now(&mut self) -> Option<EndReason> {
        timeout(LAST_BREATH, self.watched.gone(self.machine.as_ref())).await.ok()
    }

    async fn extend(&mut self, duration_ms: u64) -> Result<(), ExtendError> {
        let timeout_ms = self.session.timeout_ms.saturating_add(duration_ms);
        if limits::TIMEOUT_MS_MAX < timeout_ms {
            return Err(ExtendError::TooLong(timeout_ms));
        }
        self.session.timeout_ms = timeout_ms;
        self.record().await;
        Ok(())
    }

    /// What a machine needs now and then, or the file that it is in.
    pub(super) async fn keep_up(&mut self) {
        match self.state {
            State::Running => self.set_clock().await,
            State::Paused => self.keep_template(),
            State::Preparing { .. }
            | State::Pausing
            | State::Waking
            | State::Saving { .. }
            | State::Stopping { .. }
            | State::Stopped { .. } => {}
        }
    }

    /// After how long without use it is paused, if it runs and is paused at all: what has drives is not,
    /// even if its next session will have none.
    pub(super) fn idle_span(&self) -> Option<Duration> {
        let ms = self.durable.record().idle_timeout_ms?;
        let pauses =
            self.state == State::Running && !self.context.drives.are_with(&self.session.id);
        pauses.then_some(Duration::from_millis(ms))
    }

    /// Guests have no other source of time.
    async fn set_clock(&mut self) {
        let (Some(machine), Some(agent)) = (&self.machine, self.agent()) else { return };
        let request = Request::SetClock { unix_nanos: clock::now_ns() };
        let asked = agent.request(request, CLOCK_DEADLINE);
        // Of one that is gone that is heard next.
        if let Ok(Err(error)) = self.watched.unless_gone(machine, asked).await {
            tracing::warn!(%error, "the guest's clock was not set");
        }
    }
}
