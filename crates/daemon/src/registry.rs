//! Project and name → sandbox: the only map that all requests share, and where a new one is let in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use egress::secret::SecretName;
use machine::Shape;
use tokio::sync::watch;

use crate::{
    context::Context,
    ids::{Project, SandboxKey, SandboxName, SessionId, SnapshotId},
    limits::{self, Host, NoRoom, Promised},
    network::{Network, secret_names},
    pool::Kind,
    route::{Route, Subdomain},
    sandbox::{Beginning, NotRunning, Owner, PrepareError, Sandbox, Session, Source},
    snapshots::NoSnapshot,
    store::{
        Change, Phase, SandboxRecord, SessionRecord, SnapshotMethod, SnapshotRecord, StoreError,
    },
};

mod forking;
mod remembering;
mod resuming;
mod retries;
mod waking;

pub(crate) use forking::ForkError;
use remembering::Standing;
pub(crate) use remembering::{KeepError, MemoryWanted};
pub(crate) use resuming::{BeginError, ResumeError, Resumed};
use retries::Retries;
pub(crate) use retries::{Came, Mark};
pub(crate) use waking::{Awake, WakeError};

/// What a client asks for, checked.
pub(crate) struct NewSandbox {
    pub(crate) project: Project,
    pub(crate) name: Option<SandboxName>,
    /// All but the name and the session, which are made here.
    pub(crate) record: Box<dyn FnOnce(SandboxKey, SessionId) -> SandboxRecord + Send>,
    pub(crate) shape: Shape,
    /// What its disk starts as; its image if none.
    pub(crate) snapshot: Option<SnapshotId>,
    /// Whether it starts with the memory of that, if there is one.
    pub(crate) memory: WithMemory,
    pub(crate) network: Network,
    /// What is fetched into it.
    pub(crate) source: Option<Source>,
}

/// What a sandbox starts from of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WithMemory {
    Yes,
    /// The disk alone.
    No,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    #[error(
        "A sandbox with the name '{0}' already exists for this project; use GET /sandboxes/:name to get it, or choose another name."
    )]
    Exists(SandboxName),
    #[error("{} sandboxes are remembered already; remove some", limits::SANDBOXES_MAX)]
    TooMany,
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("the host's memory or disk cannot be read")]
    Host(#[from] std::io::Error),
    #[error("the sandbox could not be recorded")]
    Store(#[from] StoreError),
    #[error("the machine did not start")]
    Prepare(#[source] Arc<PrepareError>),
    #[error("the sandbox ended while it started: {0}")]
    Ended(NotRunning),
    #[error("the memory of its snapshot could not be unpacked")]
    Memory(#[source] std::io::Error),
    #[error("There is no such snapshot any more.")]
    NoSnapshot(#[from] NoSnapshot),
}

/// A sandbox that is about to be, and its first session.
struct First {
    record: SandboxRecord,
    session: SessionRecord,
    network: Network,
    beginning: Beginning,
}

#[derive(Debug)]
enum Slot {
    /// Being recorded.
    Reserved(Shape),
    Taken(Arc<Sandbox>),
}

/// All sandboxes of one server.
#[derive(Debug)]
pub(crate) struct Registry {
    context: Arc<Context>,
    slots: Mutex<BTreeMap<SandboxKey, Slot>>,
    /// Sessions of sandboxes that are about to begin.
    promises: Mutex<BTreeMap<u64, Shape>>,
    retries: Mutex<Retries>,
    /// Whose creates were given up by their clients, and that are being removed.
    abandoned: watch::Sender<BTreeSet<SandboxKey>>,
}

/// Room for one more session, until it is one.
#[derive(Debug)]
pub(crate) struct Promise<'a> {
    registry: &'a Registry,
    number: u64,
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        lock(&self.registry.promises).remove(&self.number);
    }
}

impl Registry {
    /// With the sandboxes of an earlier server.
    pub(crate) fn new(context: Arc<Context>, sandboxes: Vec<Arc<Sandbox>>) -> Self {
        let slots = sandboxes
            .into_iter()
            .map(|sandbox| (sandbox.key.clone(), Slot::Taken(sandbox)))
            .collect();
        Self {
            context,
            slots: Mutex::new(slots),
            promises: Mutex::default(),
            retries: Mutex::default(),
            abandoned: watch::Sender::default(),
        }
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Makes a sandbox and waits until it runs. One that does not start leaves nothing; neither
    /// does one whose client goes away before it runs.
    pub(crate) async fn create(
        self: &Arc<Self>,
        new: NewSandbox,
    ) -> Result<Arc<Sandbox>, CreateError> {
        let pool = &self.context.pool;
        let _starting = pool.starting();
        let mut host = Host::now(self.context.paths.state())?;
        if limits::admit(host, Promised::default(), new.shape).is_err() {
            pool.drain(&self.context).await;
            host = Host::now(self.context.paths.state())?;
        }
        if let Some(name) = &new.name {
            self.until_free(SandboxKey { project: new.project.clone(), name: name.clone() }).await;
        }
        let key = self.reserve(&new.project, new.name, new.shape, host)?;
        let abandoned = Abandoned { registry: Arc::clone(self), key: Some(key.clone()) };
        let mut record = (new.record)(key, SessionId::random());
        let from_image = new.snapshot.is_none();
        let parked = Kind::of(&record).filter(|_| from_image).and_then(|kind| pool.take(&kind));
        let mut network = new.network;
        if let Some(parked) = &parked {
            record.session = parked.session.clone();
            network = network.under(Arc::clone(&parked.authority));
        }
        let mut session = SessionRecord::of(&record, &self.context.host_boot);
        let snapshots = &self.context.snapshots;
        let standing = Standing { snapshots, session: Some(session.id.clone()) };
        let mut split = None;
        if let Some(snapshot) = &new.snapshot {
            let snapshot = snapshots.stand(&session.id, snapshot)?;
            session.layers.clone_from(&snapshot.layers);
            session.source_snapshot = Some(snapshot.id.clone());
            snapshots.note_use(&snapshot.id).await?;
            if new.memory == WithMemory::Yes {
                split = self.remember(&snapshot, &mut session).await?;
            }
        }
        let beginning = Beginning { parked, source: new.source, split };
        let first = First { record, session, network, beginning };
        let (mut abandoned, sandbox) = self.begin_first(abandoned, standing, first).await?;
        abandoned.key = None;
        Ok(sandbox)
    }

    /// Records a sandbox and waits until it runs. It is abandoned until its caller says otherwise.
    async fn begin_first(
        self: &Arc<Self>,
        abandoned: Abandoned,
        standing: Standing<'_>,
        first: First,
    ) -> Result<(Abandoned, Arc<Sandbox>), CreateError> {
        let registry = Arc::clone(self);
        standing.stays();
        // What is recorded is known, also when nobody waits for it any more.
        let made = tokio::spawn(async move {
            let First { record, session, network, beginning } = first;
            let (key, id, context) = (record.key(), session.id.clone(), &registry.context);
            let made = Owner::create(context, record, session, network, beginning).await;
            let sandbox = made.inspect_err(|_| context.snapshots.leave(&id))?;
            registry.slots().insert(key, Slot::Taken(Arc::clone(&sandbox)));
            Ok::<_, StoreError>((abandoned, sandbox))
        });
        let (abandoned, sandbox) = made.await.unwrap_or(Err(StoreError::Closed))?;
        let session = sandbox.current();
        if let Some(failure) = session.started().await.failure {
            return Err(CreateError::Prepare(failure));
        }
        session.agent().map_err(CreateError::Ended)?;
        Ok((abandoned, sandbox))
    }

    /// Waits until what an abandoned create left of this name is gone.
    async fn until_free(&self, key: SandboxKey) {
        let mut abandoned = self.abandoned.subscribe();
        let gone = abandoned.wait_for(|keys| !keys.contains(&key)).await;
        debug_assert!(gone.is_ok(), "the registry outlives its borrow");
    }

    fn reserve(
        &self,
        project: &Project,
        wanted: Option<SandboxName>,
        shape: Shape,
        host: Host,
    ) -> Result<SandboxKey, CreateError> {
        let mut slots = self.slots();
        if limits::SANDBOXES_MAX <= slots.len() {
            return Err(CreateError::TooMany);
        }
        let called = |name| SandboxKey { project: project.clone(), name };
        let key = match wanted.map(called) {
            Some(key) if slots.contains_key(&key) => return Err(CreateError::Exists(key.name)),
            Some(key) => key,
            None => std::iter::repeat_with(|| called(SandboxName::random()))
                .find(|key| !slots.contains_key(key))
                .expect("there are more names than sandboxes"),
        };
        limits::admit(host, self.promised(&slots), shape)?;
        slots.insert(key.clone(), Slot::Reserved(shape));
        Ok(key)
    }

    /// What all sessions that run, or are about to, have of the host.
    fn promised(&self, slots: &BTreeMap<SandboxKey, Slot>) -> Promised {
        let mut promised = Promised::default();
        lock(&self.promises).values().for_each(|shape| promised.add(*shape));
        for slot in slots.values() {
            match slot {
                Slot::Reserved(shape) => promised.add(*shape),
                Slot::Taken(sandbox) => {
                    let session = sandbox.current();
                    if !matches!(session.phase(), Phase::Stopped | Phase::Paused) {
                        promised.add(session.record.shape);
                    }
                }
            }
        }
        promised
    }

    /// Room for a machine of this shape that is nobody's, while it is held.
    pub(crate) fn room_for(&self, shape: Shape) -> Result<Promise<'_>, CreateError> {
        Ok(self.promise(shape, Host::now(self.context.paths.state())?)?)
    }

    /// Room for one more session of this shape.
    fn promise(&self, shape: Shape, host: Host) -> Result<Promise<'_>, NoRoom> {
        let slots = self.slots();
        limits::admit(host, self.promised(&slots), shape)?;
        let mut promises = lock(&self.promises);
        let number = promises.last_key_value().map_or(0, |(last, _)| last + 1);
        promises.insert(number, shape);
        Ok(Promise { registry: self, number })
    }

    pub(crate) fn find(&self, key: &SandboxKey) -> Option<Arc<Sandbox>> {
        match self.slots().get(key)? {
            Slot::Taken(sandbox) => Some(Arc::clone(sandbox)),
            Slot::Reserved(_) => None,
        }
    }

    pub(crate) fn find_session(&self, id: &str) -> Option<Arc<Session>> {
        let all = self.list().into_iter().flat_map(|sandbox| sandbox.sessions());
        all.into_iter().find(|session| session.id().as_str() == id)
    }

    /// All of all projects, in the order of their keys.
    pub(crate) fn list(&self) -> Vec<Arc<Sandbox>> {
        let slots = self.slots();
        let taken = slots.values().filter_map(|slot| match slot {
            Slot::Taken(sandbox) => Some(Arc::clone(sandbox)),
            Slot::Reserved(_) => None,
        });
        taken.collect()
    }

    /// Whose port is called so, among all projects.
    pub(crate) fn find_route(&self, subdomain: &Subdomain) -> Option<(Arc<Sandbox>, Route)> {
        self.slots().values().find_map(|slot| match slot {
            Slot::Taken(sandbox) => Some((Arc::clone(sandbox), sandbox.durable.route(subdomain)?)),
            Slot::Reserved(_) => None,
        })
    }

    /// Gives the gateways that put in this secret what it is now. One that does not take it is ended
    /// by who keeps it up, so that none goes on with what the secret was.
    pub(crate) async fn secret_changed(&self, project: &Project, name: &SecretName) {
        let concerned = self.list().into_iter().filter(|sandbox| {
            let network = sandbox.durable.network();
            sandbox.key.project == *project
                && network.is_some_and(|network| secret_names(&network.policy).contains(name))
        });
        let told = concerned.map(async |sandbox| {
            if let Err(error) = sandbox.current().secret_changed().await {
                let error = crate::causes(&error);
                tracing::error!(sandbox = %sandbox.key, error, "a gateway took no secret");
            }
        });
        futures_util::future::join_all(told).await;
    }

    /// Ends a sandbox and forgets it with its logs. What runs is not kept; of the snapshots that it
    /// has, and that no other sandbox starts from, those go that are chosen.
    pub(crate) async fn remove(
        &self,
        sandbox: &Arc<Sandbox>,
        orphans: Orphans,
    ) -> Result<(), StoreError> {
        let _no_session_starts = sandbox.starting.lock().await;
        sandbox.current().discard().await;
        // Another removal may have come first.
        let Ok(turn) = sandbox.durable.turn().await else { return Ok(()) };
        let (key, created_at) = (&sandbox.key, turn.record().created_at);
        let chosen = |snapshot: &SnapshotRecord| orphans.has(snapshot.method);
        self.context.snapshots.delete_orphans(key, created_at, chosen).await?;
        self.context.store.commit(vec![Change::RemoveSandbox(key.clone())]).await?;
        turn.set_removed();
        self.context.snapshots.point(key.clone(), None);
        self.context.snapshots.let_go().await?;
        self.forget_logs(&sandbox.sessions()).await;
        let mut slots = self.slots();
        if matches!(slots.get(key), Some(Slot::Taken(now)) if Arc::ptr_eq(now, sandbox)) {
            slots.remove(key);
        }
        Ok(())
    }

    /// Removes what is left of sessions that are not remembered.
    async fn forget_logs(&self, sessions: &[Arc<Session>]) {
        for session in sessions {
            let folder = self.context.paths.sessions().join(session.id().as_str());
            if let Err(error) = crate::sandbox::remove_if_there(&folder).await {
                tracing::warn!(%error, path = %folder.display(), "a folder was left behind");
            }
        }
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<SandboxKey, Slot>> {
        lock(&self.slots)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which snapshots go with a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orphans {
    Keep,
    /// Those that nobody asked for.
    DeleteAutomatic,
    DeleteAll,
}

impl Orphans {
    fn has(self, method: SnapshotMethod) -> bool {
        match self {
            Self::Keep => false,
            Self::DeleteAutomatic => method == SnapshotMethod::Automatic,
            Self::DeleteAll => true,
        }
    }
}

/// Takes back what a create left behind that did not come to its end.
struct Abandoned {
    registry: Arc<Registry>,
    key: Option<SandboxKey>,
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let sandbox = self.registry.find(&key);
        let Some(sandbox) = sandbox else {
            self.registry.slots().remove(&key);
            return;
        };
        let registry = Arc::clone(&self.registry);
        registry.abandoned.send_if_modified(|keys| keys.insert(key.clone()));
        tokio::spawn(async move {
            if let Err(error) = registry.remove(&sandbox, Orphans::DeleteAll).await {
                tracing::error!(%error, "an abandoned sandbox was not removed");
            }
            registry.abandoned.send_if_modified(|keys| keys.remove(&key));
        });
    }
}
