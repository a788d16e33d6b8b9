//! The end of a session whose disk is kept: the guest writes all it has, the machine is killed, and
//! what it wrote becomes a snapshot.
//!
//! The snapshot is planned, and the plan recorded, before anything is done for it. Whenever the server
//! is killed, the next one goes on with the plan: it does not matter how far this one came.

use std::time::Duration;

use machine::Machine;
use protocol::Request;
use tokio::{sync::oneshot, time::Instant};

use super::{NotRunning, Owner, owner::Ended, state::State};
use crate::{
    causes, clock, failpoint,
    ids::{LayerId, SnapshotId, SnapshotName},
    sandbox::{Disk, EndReason},
    snapshots::{Becomes, HeldName, TakeError},
    store::{Change, Phase, SnapshotMethod, SnapshotPlan, SnapshotRecord},
};

/// A guest that does not write what it has in this time has its disk kept as it is.
const HOLD_DEADLINE: Duration = Duration::from_secs(20);
const HOLD_MS: u64 = 60_000;
/// Until the host is asked again for what it could not do, such as to store with a full disk.
const AGAIN: Duration = Duration::from_secs(2);

/// A snapshot that somebody asked for, and waits for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) name: Option<HeldName>,
    /// Its sandbox's if none.
    pub(crate) expiration_ms: Option<u64>,
    pub(crate) reply: oneshot::Sender<Result<SnapshotRecord, SnapshotError>>,
}

impl Wanted {
    fn name(&self) -> Option<&SnapshotName> {
        self.name.as_ref().map(HeldName::as_name)
    }
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    #[error("no snapshot was made: {0}")]
    Lost(String),
}

impl Owner {
    /// What becomes of the disk when the session ends now.
    pub(super) fn disk(&self) -> Disk {
        match self.durable.record().keeping.persistent {
            true => Disk::Keep,
            false => Disk::Drop,
        }
    }

    /// Holds the name that an earlier server has planned; who asked for it has gone.
    pub(super) fn hold_planned_name(&mut self) {
        let plan = self.session.plan.as_ref();
        let plan = plan.filter(|plan| self.context.snapshots.find(&plan.id).is_none());
        let Some(name) = plan.and_then(|plan| plan.name.clone()) else { return };
        let name = self.context.snapshots.hold_name(&self.session.sandbox.project, name).ok();
        let (reply, _gone) = oneshot::channel();
        self.wanted = Some(Wanted { name, expiration_ms: None, reply });
    }

    /// Makes the disk a snapshot. If the host cannot do it now, it is to be tried again.
    pub(super) async fn save(&mut self) -> Ended {
        self.save_at = None;
        match self.try_to_save().await {
            Ok(()) => Ended::Yes,
            Err(TakeError::Lost(error)) => {
                let text = causes(&error);
                tracing::error!(error = text, "a disk is lost");
                self.session.detail = Some(format!("its disk could not be kept: {text}"));
                if let Some(wanted) = self.wanted.take() {
                    // Who asked may have gone.
                    drop(wanted.reply.send(Err(SnapshotError::Lost(text))));
                }
                Ended::Yes
            }
            Err(error @ (TakeError::Io(_) | TakeError::Store(_))) => {
                tracing::error!(error = causes(&error), "a disk is not kept yet");
                self.save_at = Some(Instant::now() + AGAIN);
                Ended::NotYet
            }
        }
    }

    async fn try_to_save(&mut self) -> Result<(), TakeError> {
        let plan = self.plan().await?;
        self.quieten().await;
        self.end_machine().await;
        if let Err(error) = self.settle_fork().await {
            tracing::error!(error = causes(&error), "a fork has not come to its end");
        }
        let overlay = super::overlay_of(&self.context, &self.session);
        if self.context.snapshots.find(&plan.id).is_none() {
            let size = self.context.snapshots.take(overlay, &plan.layer).await?;
            self.add_snapshot(&plan, size).await?;
        }
        if let (Some(wanted), Some(snapshot)) =
            (self.wanted.take(), self.context.snapshots.find(&plan.id))
        {
            drop(wanted.reply.send(Ok(snapshot)));
        }
        Ok(())
    }

    /// The plan, recorded.
    async fn plan(&mut self) -> Result<SnapshotPlan, TakeError> {
        let keeping = self.durable.record().keeping;
        let expiration_ms = self.wanted.as_ref().and_then(|wanted| wanted.expiration_ms);
        let is_wanted = self.wanted.is_some();
        let new = || SnapshotPlan {
            id: SnapshotId::random(),
            name: self.wanted.as_ref().and_then(Wanted::name).cloned(),
            layer: LayerId::random(),
            method: if is_wanted { SnapshotMethod::Manual } else { SnapshotMethod::Automatic },
            expiration_ms: expiration_ms.unwrap_or_else(|| keeping.expiration_ms()),
        };
        let plan = self.session.plan.get_or_insert_with(new).clone();
        if let State::Saving { reason } = self.state {
            self.session.reason = Some(reason);
        }
        self.session.phase = Phase::Snapshotting;
        self.session.stop_requested_at.get_or_insert_with(clock::now_ms);
        self.hold_layers();
        self.store_session().await?;
        failpoint::pass("snapshot-planned");
        Ok(plan)
    }

    /// Has the guest write all it has, as far as there is one that can, and QEMU too.
    async fn quieten(&self) {
        let Some(machine) = &self.machine else { return };
        let can_write =
            matches!(self.session.reason, Some(EndReason::Stopped | EndReason::TimedOut));
        let agent = self.agent().filter(|_| can_write);
        if let Some(agent) = agent {
            let process = machine.process();
            // Its machine does not go on after that.
            let hold = Request::Hold { for_ms: HOLD_MS };
            tokio::select! {
                frozen = agent.request(hold, HOLD_DEADLINE) => {
                    if let Err(error) = frozen {
                        tracing::warn!(error = causes(&error), "the guest did not write all it has");
                    }
                }
                _ = process.exited() => {}
            }
        }
        self.flush(machine).await;
        failpoint::pass("guest-frozen");
    }

    async fn flush(&self, machine: &Machine) {
        if let Err(error) = machine.stop().await {
            tracing::warn!(error = causes(&error), "QEMU did not write all it has");
        }
    }

    async fn add_snapshot(&mut self, plan: &SnapshotPlan, size: u64) -> Result<(), TakeError> {
        let now = clock::now_ms();
        let session = &mut self.session;
        session.snapshotted_at = Some(now);
        session.updated_at = now;
        let durable = std::sync::Arc::clone(&self.durable);
        // Who removes a sandbox waits for its session's end first.
        let Ok(turn) = durable.turn().await else { return Ok(()) };
        let mut sandbox = turn.record();
        let key = sandbox.key();
        let mut snapshot = SnapshotRecord::of(plan.clone(), &sandbox, session.id.clone());
        snapshot.parent.clone_from(&session.source_snapshot);
        snapshot.layers.extend(session.layers.iter().cloned());
        snapshot.size_bytes = size;
        sandbox.current_snapshot = Some(plan.id.clone());
        let changes = vec![Change::Sandbox(sandbox.clone()), Change::Session(session.clone())];
        let of = (&key, sandbox.created_at);
        let snapshots = &self.context.snapshots;
        snapshots.add(snapshot, of, (&sandbox.keeping, Becomes::Current), changes).await?;
        turn.set(sandbox);
        self.show();
        Ok(())
    }
}
