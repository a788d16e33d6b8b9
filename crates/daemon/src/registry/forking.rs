//! Live forks: sandboxes that begin with the memory, the processes and the disk of one that runs.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Abandoned, CreateError, First, Registry, Standing, WakeError};
use crate::{
    ids::SessionId,
    limits::{self, Host, NoRoom, Promised},
    network::Network,
    sandbox::{Beginning, Purpose, Sandbox, Split, SplitError, stand_of},
    store::{SandboxRecord, SessionRecord},
};

/// Machines that are made at a time: more would only be slower one by one.
const AT_ONCE: usize = 4;

/// Why there are no forks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForkError {
    #[error(transparent)]
    Split(#[from] SplitError),
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error(transparent)]
    Wake(#[from] WakeError),
}

/// What has come of a fork.
#[derive(Debug)]
pub(crate) struct Forks {
    pub(crate) children: Vec<Arc<Sandbox>>,
    /// How long no program of the source went on.
    pub(crate) paused: Duration,
    /// How long its machine was held.
    pub(crate) held: Duration,
}

impl Registry {
    /// Forks a sandbox that runs into one for each record, whose names and sessions are made here, and
    /// waits until they run. If one does not start, none is left.
    pub(crate) async fn fork(
        self: &Arc<Self>,
        sandbox: &Sandbox,
        records: Vec<SandboxRecord>,
        network: Network,
    ) -> Result<Forks, ForkError> {
        let session = sandbox.current();
        let _awake = self.awake(&session).await?;
        let pool = &self.context.pool;
        let _starting = pool.starting();
        let host = Host::now(self.context.paths.state()).map_err(CreateError::from)?;
        if limits::admit(host, Promised::default(), session.record.shape).is_err() {
            pool.drain(&self.context).await;
        }
        let mut places = Vec::new();
        for record in records {
            let host = Host::now(self.context.paths.state()).map_err(CreateError::from)?;
            let key = self.reserve(&record.project, None, session.record.shape, host)?;
            let record = SandboxRecord { name: key.name.clone(), ..record };
            places.push((Abandoned { registry: Arc::clone(self), key: Some(key) }, record));
        }
        let purpose = Purpose::Children(places.len());
        let taken = self.split::<ForkError>(&session, purpose).await?;
        let split = Arc::new(taken.save().await?);
        self.has_room_for(&split, places.len()).map_err(CreateError::from)?;
        let (paused, held) = (split.moment.paused, split.point.held);
        let born = places
            .into_iter()
            .map(|(place, record)| self.bear(place, record, network.clone(), Arc::clone(&split)));
        let born = stream::iter(born).buffered(AT_ONCE).try_collect::<Vec<_>>().await?;
        let children = born.into_iter().map(|(mut place, child)| {
            place.key = None;
            child
        });
        Ok(Forks { children: children.collect(), paused, held })
    }

    /// What they do not share is every machine's own at once.
    fn has_room_for(&self, split: &Split, machines: usize) -> Result<(), NoRoom> {
        let Ok(host) = Host::now(self.context.paths.state()) else { return Ok(()) };
        limits::admit_forks(host, split.point.written_bytes >> 20, machines as u64)
    }

    async fn bear(
        self: &Arc<Self>,
        place: Abandoned,
        record: SandboxRecord,
        network: Network,
        split: Arc<Split>,
    ) -> Result<(Abandoned, Arc<Sandbox>), CreateError> {
        let record = SandboxRecord { session: SessionId::random(), ..record };
        let mut session = SessionRecord::of(&record, &self.context.host_boot);
        let moment = &split.moment;
        session.layers.clone_from(&moment.layers);
        session.source_snapshot.clone_from(&moment.source_snapshot);
        session.shared_memory.clone_from(&moment.shared_memory);
        session.forked = Some(moment.forked.clone());
        let snapshots = &self.context.snapshots;
        snapshots.hold(&session.id, stand_of(&session));
        let standing = Standing { snapshots, session: Some(session.id.clone()) };
        let beginning = Beginning { split: Some(split), ..Beginning::default() };
        let first = First { record, session, network, beginning };
        self.begin_first(place, standing, first).await
    }
}
