//! A live fork, on the side of the session that is forked: it stands still for a moment and goes on.
//!
//! Its overlay becomes a layer that others stand on too, and a fresh one takes its place. Which layer
//! that is, is recorded before anything is done. Whenever the server is killed, the next one looks how
//! far this one came: QEMU knows on what its disk stands, and where there is none any more, an empty
//! overlay does no harm.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use machine::{ForkError, ForkPoint, ForkSpec, ForkTaken, FreeBlocks, Machine};
use protocol::{RefusalCode, Request};
use tokio::time::Instant;

use super::{
    NotRunning, Owner,
    aside::set_aside,
    prepare::{machine_folder, overlay_above, overlay_of},
    session::not_running,
};
use crate::{
    agent::{Agent, AgentError},
    causes,
    context::Context,
    failpoint,
    ids::{LayerId, SessionId, SnapshotId},
    limits,
    snapshots::{Stand, TakeError},
    store::{ForkFlaw, ForkedRecord, MemoryRecord, SessionRecord, SnapshotRecord, StoreError},
};

/// An agent that does not answer in this time does not stop the fork.
const FREEZE_DEADLINE: Duration = Duration::from_secs(2);
/// The guest does not stand still meanwhile.
const GATHER_DEADLINE: Duration = Duration::from_secs(5);
const QUIET_DEADLINE: Duration = Duration::from_secs(2);
const THAW_DEADLINE: Duration = Duration::from_secs(60);
/// What all children have for themselves takes longer to load, from here on, than a template to copy.
const WORTH_SHARING: u64 = 64 << 20;

/// Why a session is not forked. It goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SplitError {
    #[error(transparent)]
    NotRunning(#[from] NotRunning),
    #[error("the machine could not be forked")]
    Machine(#[from] ForkError),
    #[error("the disk could not be forked")]
    Disk(#[from] TakeError),
    #[error("the sandbox cannot be forked now: {0}")]
    Refused(String),
    #[error(
        "it has drives, which only one machine can have: it cannot be forked live, nor its memory be kept in a snapshot"
    )]
    Drives,
}

/// What others start from.
#[derive(Debug)]
pub(crate) struct Split {
    pub(crate) point: ForkPoint,
    pub(crate) moment: Moment,
}

/// A session as it was when it was forked, with its memory still to be put somewhere.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) memory: ForkTaken,
    /// What the session had written since it stood on the layers below.
    pub(crate) layer: LayerId,
    pub(crate) moment: Moment,
}

/// What others have beside the memory.
#[derive(Debug)]
pub(crate) struct Moment {
    /// Below the overlays of all that come of it.
    pub(crate) layers: Vec<LayerId>,
    pub(crate) source_snapshot: Option<SnapshotId>,
    pub(crate) shared_memory: Option<LayerId>,
    pub(crate) forked: ForkedRecord,
    /// How long no program of the guest went on.
    pub(crate) paused: Duration,
    /// None of one that a snapshot keeps.
    held: Option<Held>,
}

/// What is there for as long as a live fork is being made.
#[derive(Debug)]
struct Held {
    context: Arc<Context>,
    state: PathBuf,
    /// Stands on the layers until there are sessions that do.
    holder: SessionId,
}

impl Taken {
    /// For children that start now.
    pub(crate) async fn save(self) -> Result<Split, SplitError> {
        let Self { memory, moment, .. } = self;
        Ok(Split { point: memory.save().await?, moment })
    }
}

impl Split {
    /// Of a snapshot that a session stands on.
    pub(crate) fn of_snapshot(
        point: ForkPoint,
        snapshot: &SnapshotRecord,
        memory: &MemoryRecord,
    ) -> Self {
        let moment = Moment {
            layers: snapshot.layers.clone(),
            source_snapshot: Some(snapshot.id.clone()),
            shared_memory: None,
            forked: memory.forked.clone(),
            paused: Duration::ZERO,
            held: None,
        };
        Self { point, moment }
    }

    /// Whether a machine can do without the memory: it was not asked for what runs.
    pub(crate) fn is_of_a_snapshot(&self) -> bool {
        self.moment.held.is_none()
    }

    /// Whether the guest's programs stood still when it was forked.
    pub(super) fn was_frozen(&self) -> bool {
        self.moment.forked.flaw.is_none()
    }
}

/// What a session is forked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// So many that start now.
    Children(usize),
    /// A snapshot, whose memory is kept.
    Snapshot,
}

impl Purpose {
    /// Whether it is better to copy a template for all than to give each so much of its own.
    fn is_worth_sharing(self, written_bytes: u64) -> bool {
        match self {
            Self::Children(count) => {
                WORTH_SHARING
                    <= written_bytes.saturating_mul(u64::try_from(count).unwrap_or(u64::MAX))
            }
            Self::Snapshot => false,
        }
    }
}

/// Whether the guest's programs stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frozen {
    Yes,
    No,
}

impl Drop for Held {
    fn drop(&mut self) {
        remove(&self.state);
        self.context.snapshots.leave(&self.holder);
    }
}

impl Owner {
    /// Forks the session, which goes on in any case.
    pub(super) async fn split(&mut self, purpose: Purpose) -> Result<Taken, SplitError> {
        if let Some(why) = not_running(&self.session) {
            return Err(why.into());
        }
        if self.context.drives.are_with(&self.session.id) {
            return Err(SplitError::Drives);
        }
        if limits::FORKED_LAYERS_MAX <= self.session.layers.len() {
            let text = "its disk is made of too many layers: it is a fork of a fork of …";
            return Err(SplitError::Refused(text.to_owned()));
        }
        // An earlier one may not have come to its end.
        self.settle_fork().await?;
        let layer = LayerId::random();
        self.session.forking = Some(layer.clone());
        self.hold_layers();
        self.store_session().await.map_err(TakeError::from)?;
        failpoint::pass("fork-planned");
        let taken = self.take(&layer, purpose).await;
        let settled = self.settle_fork().await;
        let taken = taken?;
        settled?;
        if !self.session.layers.contains(&layer) {
            return Err(SplitError::Refused("its disk did not move".to_owned()));
        }
        Ok(taken)
    }

    async fn take(&mut self, layer: &LayerId, purpose: Purpose) -> Result<Taken, SplitError> {
        // Layers that are not one by now stay apart until the next session.
        self.merging = None;
        let gone = || not_running(&self.session).unwrap_or(NotRunning::Starting);
        let machine = self.machine.as_ref().ok_or_else(gone)?;
        let agent = self.agent().ok_or_else(gone)?;
        let folder = machine_folder(&self.context, &self.session.id);
        let next = overlay_above(&folder, layer);
        let holder = SessionId::random();
        let state = self.context.paths.forks().join(holder.as_str());
        let prepared = async {
            tokio::fs::create_dir_all(self.context.paths.forks()).await?;
            machine::make_blank_overlay(&self.context.paths.pieces(), &next).await
        };
        prepared.await.map_err(TakeError::from)?;
        let shape = self.session.shape.unwrap_or_else(|| self.durable.record().shape);
        let spec = ForkSpec {
            shape,
            bases: self.context.paths.bases(),
            overlay: overlay_of(&self.context, &self.session),
            next,
            mark: layer.as_str().to_owned(),
            state: state.clone(),
        };
        let held = Held { context: Arc::clone(&self.context), state, holder };
        let gathered = agent.request(Request::Gather, GATHER_DEADLINE);
        if let Err(error) = self.watched.unless_gone(machine, gathered).await? {
            tracing::warn!(error = causes(&error), "the guest's processes are not gathered");
        }
        machine.stop_merging().await.map_err(ForkError::from)?;
        let mut begun = machine.begin_fork(spec).await?;
        let mut shared_memory = self.session.shared_memory.clone();
        if purpose.is_worth_sharing(begun.written_bytes()) {
            let draft = self.context.snapshots.place_for_memory(layer, shape);
            begun = begun.share(draft.map_err(ForkError::from)?).await?;
            shared_memory = Some(layer.clone());
        }
        let quietened = async {
            let free = set_aside(&agent, begun.worth_asking()).await;
            let begun = begun.precopy(free).await?;
            let paused = Instant::now();
            let (frozen, free) = freeze(&agent).await?;
            let quiet = agent.quiet(QUIET_DEADLINE).await;
            Ok::<_, SplitError>((begun, paused, frozen, free, quiet))
        };
        let (begun, paused, frozen, free, quiet) =
            self.watched.unless_gone(machine, quietened).await??;
        let taken = machine.fork(begun, free).await;
        drop(quiet);
        let taken = taken?;
        thaw(machine, &agent).await;
        let paused = paused.elapsed();
        failpoint::pass("fork-taken");
        let layers: Vec<LayerId> =
            [layer].into_iter().chain(&self.session.layers).cloned().collect();
        let source_snapshot = self.session.source_snapshot.clone();
        let stand = Stand {
            snapshot: source_snapshot.clone(),
            layers: layers.clone(),
            memories: shared_memory.iter().cloned().collect(),
        };
        self.context.snapshots.hold(&held.holder, stand);
        let forked = ForkedRecord {
            from: self.session.sandbox.name.clone(),
            first_command: self.commands.next_number(),
            flaw: (frozen == Frozen::No).then_some(ForkFlaw::NotFrozen),
        };
        let held = Some(held);
        let moment = Moment { layers, source_snapshot, shared_memory, forked, paused, held };
        Ok(Taken { memory: taken, layer: layer.clone(), moment })
    }

    /// Brings a fork that has begun to its end, however far it came.
    pub(super) async fn settle_fork(&mut self) -> Result<(), SplitError> {
        let Some(layer) = self.session.forking.clone() else { return Ok(()) };
        let folder = machine_folder(&self.context, &self.session.id);
        let next = overlay_above(&folder, &layer);
        let mut has_moved = next.exists() || self.context.snapshots.file(&layer).exists();
        let alive = self.machine.as_ref().filter(|machine| machine.exited().borrow().is_none());
        if let Some(machine) = alive {
            has_moved = machine.end_fork(layer.as_str()).await.map_err(ForkError::from)?;
            if let Some(agent) = self.agent() {
                thaw(machine, &agent).await;
            }
        }
        if has_moved {
            let overlay = overlay_of(&self.context, &self.session);
            self.context.snapshots.share(overlay, &layer).await?;
            failpoint::pass("fork-moved");
            self.session.above = Some(layer.clone());
            self.session.layers.insert(0, layer);
        } else {
            remove(&next);
        }
        self.session.forking = None;
        self.hold_layers();
        self.store_session().await.map_err(TakeError::from)?;
        Ok(())
    }

    /// Sees to it that what the session stands on, or is about to, stays.
    pub(super) fn hold_layers(&self) {
        self.context.snapshots.hold(&self.session.id, stand_of(&self.session));
    }
}

/// What a session stands on, or is about to.
pub(crate) fn stand_of(session: &SessionRecord) -> Stand {
    let planned = session.plan.iter().map(|plan| &plan.layer);
    let layers = planned.chain(&session.forking).chain(&session.layers);
    Stand {
        snapshot: session.source_snapshot.clone(),
        layers: layers.cloned().collect(),
        memories: session.shared_memory.iter().cloned().collect(),
    }
}

/// An agent that is silent, or cannot, does not stop the fork; one whose root is held does.
async fn freeze(agent: &Agent) -> Result<(Frozen, FreeBlocks), SplitError> {
    match agent.freeze(FREEZE_DEADLINE).await {
        Ok(free) => Ok((Frozen::Yes, free.into_iter().collect())),
        Err(AgentError::Refused(refusal)) if refusal.code == RefusalCode::AlreadyExists => {
            Err(SplitError::Refused(refusal.message))
        }
        Err(error) => {
            tracing::warn!(error = causes(&error), "the guest's programs are not frozen");
            Ok((Frozen::No, FreeBlocks::default()))
        }
    }
}

/// Has the guest's programs go on. Where the agent is slow, that is not waited for here.
pub(super) async fn thaw(machine: &Machine, agent: &Agent) {
    const WAITED: Duration = Duration::from_secs(1);
    let (agent, process) = (agent.clone(), machine.process());
    let thawing = tokio::spawn(async move {
        tokio::select! {
            thawed = agent.request(Request::Thaw, THAW_DEADLINE) => {
                if let Err(error) = thawed {
                    tracing::error!(error = causes(&error), "the guest's programs are not thawed");
                }
            }
            _ = process.exited() => {}
        }
    });
    // It goes on by itself.
    drop(tokio::time::timeout(WAITED, thawing).await);
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "a file was left behind");
        }
        Ok(()) | Err(_) => {}
    }
}

impl From<StoreError> for SplitError {
    fn from(error: StoreError) -> Self {
        Self::Disk(error.into())
    }
}
