//! Snapshots with memory: a sandbox that runs is kept as it is, and others start as it was.

use std::sync::Arc;

use super::{BeginError, Registry, WakeError};
use crate::{
    context::Context,
    failpoint,
    ids::{SessionId, SnapshotId},
    platform::PlatformError,
    sandbox::{Moment, Purpose, Session, Split, SplitError, Taken},
    snapshots::{Becomes, HeldName, Snapshots, Unusable, allocated},
    store::{
        Keeping, MemoryRecord, SessionRecord, SnapshotMethod, SnapshotPlan, SnapshotRecord,
        StoreError,
    },
};

/// A snapshot with memory that somebody asks for.
#[derive(Debug)]
pub(crate) struct MemoryWanted {
    pub(crate) name: Option<HeldName>,
    /// Its sandbox's if none.
    pub(crate) expiration_ms: Option<u64>,
}

/// Why there is no such snapshot. The sandbox goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error(transparent)]
    Wake(#[from] WakeError),
    #[error(transparent)]
    Split(#[from] SplitError),
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error("it was made without a network")]
    NoNetwork,
    #[error("its disk cannot be looked at")]
    Disk(#[source] std::io::Error),
    #[error("the snapshot could not be recorded")]
    Store(#[from] StoreError),
}

impl Registry {
    /// Keeps the memory of a session with its disk. It stands still for a moment and goes on. Begun, it is
    /// brought to its end, whether or not somebody waits for it.
    pub(crate) async fn keep_memory(
        self: &Arc<Self>,
        session: Arc<Session>,
        wanted: MemoryWanted,
    ) -> Result<SnapshotRecord, KeepError> {
        let registry = Arc::clone(self);
        let kept = tokio::spawn(async move {
            let taken = registry.split::<KeepError>(&session, Purpose::Snapshot).await?;
            // As they are by now, and not as they were when the session began.
            let now = registry.find(&session.record.key()).map(|sandbox| sandbox.durable.record());
            let now = now.filter(|now| now.created_at == session.record.created_at);
            let keeping = now.map_or(session.record.keeping, |now| now.keeping);
            keep(&registry.context, &session, (wanted, keeping), taken).await
        });
        kept.await.unwrap_or_else(|error| Err(KeepError::Disk(std::io::Error::other(error))))
    }

    /// The memory of a snapshot that a session stands on, for it to start with. Where it is of no more use,
    /// the session is told why, and starts from the disk.
    pub(super) async fn remember(
        &self,
        snapshot: &SnapshotRecord,
        session: &mut SessionRecord,
    ) -> Result<Option<Arc<Split>>, BeginError> {
        let Some(memory) = &snapshot.memory else { return Ok(None) };
        let unpacked = match self.context.platform().await {
            Ok(platform) => self.context.snapshots.unpacked(platform, &snapshot.id).await,
            // It is told by who makes the machine.
            Err(_) => return Ok(None),
        };
        match unpacked {
            Ok(point) => {
                session.forked = Some(memory.forked.clone());
                Ok(Some(Arc::new(Split::of_snapshot(point, snapshot, memory))))
            }
            Err(Unusable::Lost(why)) => {
                tracing::error!(id = %snapshot.id, why, "the memory of a snapshot is lost");
                session.memory_lost = Some(why);
                Ok(None)
            }
            Err(Unusable::Io(error)) => Err(BeginError::Memory(error)),
        }
    }
}

/// A session that is about to be, on a snapshot that it stands on already. Given up, it leaves that.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    pub(super) snapshots: &'a Snapshots,
    pub(super) session: Option<SessionId>,
}

impl Standing<'_> {
    /// There is such a session now.
    pub(super) fn stays(mut self) {
        self.session = None;
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        if let Some(session) = &self.session {
            self.snapshots.leave(session);
        }
    }
}

async fn keep(
    context: &Context,
    session: &Session,
    (wanted, keeping): (MemoryWanted, Keeping),
    taken: Taken,
) -> Result<SnapshotRecord, KeepError> {
    let Taken { memory, layer, moment } = taken;
    let (sandbox, snapshots) = (&session.record, &context.snapshots);
    let network = session.view().network.ok_or(KeepError::NoNetwork)?;
    let id = SnapshotId::random();
    let (file, _making) = snapshots.begin_memory(&id);
    let (base, shape) = (memory.base().to_owned(), memory.shape());
    let platform = context.platform().await?;
    let kept = memory.keep(platform, file).await.map_err(SplitError::from)?;
    failpoint::pass("memory-written");
    let Moment { layers, source_snapshot, forked, .. } = &moment;
    let plan = SnapshotPlan {
        id: id.clone(),
        name: wanted.name.as_ref().map(|held| held.as_name().clone()),
        layer: layer.clone(),
        method: SnapshotMethod::Manual,
        expiration_ms: wanted.expiration_ms.unwrap_or_else(|| keeping.expiration_ms()),
    };
    let mut snapshot = SnapshotRecord::of(plan, sandbox, session.id().clone());
    snapshot.parent.clone_from(source_snapshot);
    snapshot.layers.clone_from(layers);
    snapshot.size_bytes = allocated(&snapshots.file(&layer)).map_err(KeepError::Disk)?;
    snapshot.memory = Some(MemoryRecord {
        shape,
        stored_bytes: kept.stored_bytes,
        written_bytes: kept.written_bytes,
        base,
        forked: forked.clone(),
        network: network.kept(&context.egress.seal, &id)?,
    });
    let of = (&sandbox.key(), sandbox.created_at);
    snapshots.add(snapshot.clone(), of, (&keeping, Becomes::OneMore), Vec::new()).await?;
    tracing::info!(%id, ?kept, "a snapshot has the memory too");
    Ok(snapshot)
}
