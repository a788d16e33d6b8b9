//! From nothing to a machine that has a sandbox's identity: folder, overlay, clone, claim.
//!
//! Each step can be undone by removing the session's machine folder and killing what runs in it,
//! which is also what a server does at its start with what an earlier one left half-done.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use machine::{
    AgentPort, BootFailure, CloneSpec, ControlError, Format, Layer, Machine, MachineId, Root,
    Start, Step, Template,
};
use protocol::{Phase, Request};
use tokio::{sync::watch, time::Instant};

use super::{FetchError, Source, Split, drives, meter, parked::Parked};
use crate::{
    agent::{Agent, AgentError, Memory},
    causes,
    command_log::LogError,
    context::Context,
    drives::{DriveError, Plug},
    failpoint,
    gateway::{self, Card, Gateway, News, Place, Program, Spec, Waiting},
    identity::Whom,
    ids::{LayerId, SessionId},
    images::ImageError,
    network::{MakeError as MakeNetworkError, Network},
    platform::{self, PlatformError},
    store::{ForkFlaw, SandboxRecord, SessionRecord, Traffic},
    templates::{BaseImage, MakeError},
    turns::Turns,
};

mod born;
mod claim;

use claim::{claim, claim_of};

/// One clone that does not come up is thrown away for another.
const ATTEMPTS: u32 = 2;
pub(super) const READY_DEADLINE: Duration = Duration::from_secs(30);

/// What a machine writes to at first, in its folder.
const OVERLAY: &str = "root.qcow2";

/// What a session's machine writes to. QEMU opens files by their names again when it likes, so none is
/// called as another was while the machine runs.
pub(crate) fn overlay_of(context: &Context, session: &SessionRecord) -> PathBuf {
    let folder = machine_folder(context, &session.id);
    match &session.above {
        Some(layer) => overlay_above(&folder, layer),
        None => folder.join(OVERLAY),
    }
}

/// What it writes to once it is forked and stands on this layer.
pub(super) fn overlay_above(folder: &Path, layer: &LayerId) -> PathBuf {
    folder.join(format!("above-{}.qcow2", layer.as_str()))
}

/// Why a session did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrepareError {
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error(transparent)]
    Image(#[from] Box<ImageError>),
    #[error("no template could be made")]
    Template(#[from] MakeError),
    #[error("{path} cannot be made")]
    Disk { path: PathBuf, source: io::Error },
    #[error("no clone came up")]
    Clone(#[source] Box<BootFailure>),
    #[error("the guest agent did not take the sandbox's identity")]
    Claim(#[source] AgentError),
    #[error(transparent)]
    Drive(#[from] DriveError),
    #[error("a drive could not be plugged into the machine")]
    Plug(#[source] ControlError),
    #[error("the guest did not mount a drive")]
    Mount(#[source] AgentError),
    #[error("no gateway came up")]
    Gateway(#[source] gateway::StartError),
    #[error(transparent)]
    Source(#[from] FetchError),
    #[error("the gateway did not take the sandbox's own policy")]
    Policy(#[source] gateway::ChangeError),
    #[error("the guest agent did not get ready")]
    Agent(#[source] AgentError),
    #[error("QEMU does not do as it is told")]
    Control(#[source] ControlError),
    #[error("no network could be made")]
    Authority(#[source] MakeNetworkError),
    #[error("the log of a command that is rehearsed cannot be made")]
    Log(#[source] LogError),
}

impl PrepareError {
    /// Whether another clone may do better; a refusal will be given again.
    fn is_of_the_machine(&self) -> bool {
        match self {
            Self::Clone(_)
            | Self::Gateway(_)
            | Self::Plug(_)
            | Self::Agent(_)
            | Self::Control(_) => true,
            Self::Claim(error) | Self::Mount(error) => !matches!(error, AgentError::Refused(_)),
            Self::Platform(_)
            | Self::Image(_)
            | Self::Template(_)
            | Self::Drive(_)
            | Self::Disk { .. }
            | Self::Source(_)
            | Self::Authority(_)
            | Self::Log(_)
            | Self::Policy(_) => false,
        }
    }

    /// Whether it may be the memory that a machine was made of.
    fn is_of_the_memory(&self) -> bool {
        matches!(self, Self::Clone(_) | Self::Agent(_) | Self::Claim(_))
    }

    /// Whether there was no room on the host's disk.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, Self::Disk { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

/// A machine that has an identity and an agent that answers.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) machine: Machine,
    pub(crate) agent: Agent,
    pub(crate) gateway: Gateway,
    /// What the machine has used of the host's processors while it was nobody's.
    pub(crate) cpu_before_ms: u64,
    /// What a live fork lacks.
    pub(crate) flaw: Option<ForkFlaw>,
    /// Why it has not the memory that its snapshot has.
    pub(crate) memory_lost: Option<String>,
}

/// What a first session has that later ones do not.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    /// The machine that is parked for it.
    pub(crate) parked: Option<Parked>,
    /// What is fetched into it first.
    pub(crate) source: Option<Source>,
    /// What it is a live fork of.
    pub(crate) split: Option<Arc<Split>>,
}

/// What is to be prepared.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) sandbox: SandboxRecord,
    /// Between the overlay and the image, the uppermost first.
    pub(crate) layers: Vec<PathBuf>,
    pub(crate) network: Network,
    /// What is fetched into it first.
    pub(crate) source: Option<Source>,
    /// What it is a live fork of.
    pub(crate) split: Option<Arc<Split>>,
    /// Where the gateway's news go.
    pub(crate) news: watch::Sender<News>,
}

/// The folder of a session's machine.
pub(crate) fn machine_folder(context: &Context, session: &SessionId) -> PathBuf {
    context.paths.machines().join(session.as_str())
}

/// Makes a machine for the sandbox, or takes the one that is parked for it. On failure nothing is left
/// running; the folder is the caller's to remove.
pub(crate) async fn prepare(
    context: &Context,
    job: &Job,
    parked: Option<Parked>,
) -> Result<Prepared, PrepareError> {
    let sandbox = &job.sandbox;
    let whose = (&sandbox.project, &sandbox.name, &sandbox.session);
    let plugs = context.drives.attach(whose, &sandbox.mounts).await?;
    let image = context.images.recall(sandbox.into()).await;
    let image = platform::base_image(&image.map_err(Box::new)?);
    let Some(split) = &job.split else {
        return prepare_new(context, job, &MadeOf { image: &image, plugs: &plugs }, parked).await;
    };
    match Box::pin(born::prepare(context, job, split, &image)).await {
        // There is still the disk.
        Err(error) if split.is_of_a_snapshot() && error.is_of_the_memory() => {
            let lost = Some(causes(&error));
            tracing::error!(lost, "a machine does not start with the memory of its snapshot");
            let made_of = MadeOf { image: &image, plugs: &plugs };
            let prepared = prepare_new(context, job, &made_of, None).await?;
            Ok(Prepared { memory_lost: lost, ..prepared })
        }
        outcome => outcome,
    }
}

/// One whose guest is nobody's yet.
async fn prepare_new(
    context: &Context,
    job: &Job,
    made_of: &MadeOf<'_>,
    parked: Option<Parked>,
) -> Result<Prepared, PrepareError> {
    let sandbox = &job.sandbox;
    if let Some(parked) = parked {
        match wake(context, job, made_of, parked).await {
            Err(error) if error.is_of_the_machine() => {
                tracing::warn!(error = causes(&error), "a parked machine did not wake");
            }
            outcome => return outcome,
        }
    }
    let platform = context.platform().await?;
    let notice = |what: &str| tracing::info!(sandbox = %sandbox.key(), "{what}");
    let templates = &context.templates;
    // A warm one has the image's own files in memory, which a snapshot may have changed.
    let template = match job.layers.is_empty() {
        true => Box::pin(templates.warm(platform, sandbox.shape, made_of.image, &notice)).await?,
        false => Box::pin(templates.bare(platform, sandbox.shape, &notice)).await?,
    };
    for _ in 1..ATTEMPTS {
        match attempt(context, job, made_of, &template).await {
            Err(error) if error.is_of_the_machine() => {
                tracing::warn!(error = causes(&error), "one more clone is tried");
            }
            outcome => return outcome,
        }
    }
    attempt(context, job, made_of, &template).await
}

/// What a machine is made of.
struct MadeOf<'a> {
    image: &'a BaseImage,
    plugs: &'a [Plug],
}

async fn attempt(
    context: &Context,
    job: &Job,
    made_of: &MadeOf<'_>,
    template: &Template,
) -> Result<Prepared, PrepareError> {
    let folder = machine_folder(context, &job.sandbox.session);
    let layers = layers_of(job, made_of.image);
    let turn = context.turns.take().await;
    let machine = make(context, template, layers, &folder).await?;
    let agent = agent_of(context, &machine);
    let settling = settle(context, job, made_of, &machine, (&agent, None));
    let settled = Turns::within(turn, settling).await;
    let settled = sourced(context, job, &agent, settled).await;
    concluded(context, machine, agent, settled).await
}

fn layers_of(job: &Job, image: &BaseImage) -> Vec<Layer> {
    layers_on(job.layers.iter().cloned(), image)
}

/// Layers, the uppermost first, on an image.
pub(super) fn layers_on(layers: impl Iterator<Item = PathBuf>, image: &BaseImage) -> Vec<Layer> {
    let layers = layers.map(|path| Layer { path, format: Format::Qcow2 });
    layers.chain([image.layer.clone()]).collect()
}

/// Lets the guest of a parked machine go, and gives it its identity and its gateway at once.
async fn wake(
    context: &Context,
    job: &Job,
    made_of: &MadeOf<'_>,
    parked: Parked,
) -> Result<Prepared, PrepareError> {
    let Parked { machine, agent, gateway, leash, .. } = parked;
    let cpu_before_ms = meter::used_ms(&machine.process()).unwrap_or(0);
    let settling = settle(context, job, made_of, &machine, (&agent, Some(gateway)));
    let (gone_on, settled) = tokio::join!(machine.cont(), settling);
    leash.release();
    let settled = match (gone_on, settled) {
        (Err(error), Ok(gateway)) => {
            gateway.end().await;
            Err(PrepareError::Control(error))
        }
        (_, settled) => settled,
    };
    let settled = sourced(context, job, &agent, settled).await;
    let prepared = concluded(context, machine, agent, settled).await?;
    Ok(Prepared { cpu_before_ms, ..prepared })
}

/// A machine that did not settle is ended, and what is known of it recorded.
async fn concluded(
    context: &Context,
    machine: Machine,
    agent: Agent,
    settled: Result<Gateway, PrepareError>,
) -> Result<Prepared, PrepareError> {
    let error = match settled {
        Ok(gateway) => {
            failpoint::pass("machine-claimed");
            let (flaw, memory_lost) = (None, None);
            return Ok(Prepared { machine, agent, gateway, cpu_before_ms: 0, flaw, memory_lost });
        }
        Err(error) => error,
    };
    agent.close().await;
    if error.is_of_the_machine() {
        record(context, &*machine.fail(Step::Guest, causes(&error)).await);
    } else {
        machine.kill().await;
    }
    Err(error)
}

/// Gives a machine its identity and its gateway, both at once: no program of its user's runs before
/// it has the two. On failure no gateway is left.
async fn settle(
    context: &Context,
    job: &Job,
    made_of: &MadeOf<'_>,
    machine: &Machine,
    (agent, waiting): (&Agent, Option<Waiting>),
) -> Result<Gateway, PrepareError> {
    let first = match &job.source {
        Some(source) => job.network.with_policy(source.policy(&job.network.policy)),
        None => job.network.clone(),
    };
    let spec = gateway_of(context, machine, &job.sandbox, first);
    let started = Gateway::start(spec, waiting, job.news.clone());
    let claimed = async {
        // The guest sees them come while it is claimed.
        drives::plug(machine, made_of.plugs).await.map_err(PrepareError::Plug)?;
        let claimed = claim(context, agent, job, made_of.image).await;
        claimed.map_err(PrepareError::Claim)?;
        if !made_of.plugs.is_empty() {
            context.drives.note_mounted(&job.sandbox.session).await?;
            drives::mount(agent, made_of.plugs).await.map_err(PrepareError::Mount)?;
            failpoint::pass("drives-mounted");
        }
        Ok(())
    };
    let (claimed, started) = tokio::join!(claimed, started);
    match (claimed, started) {
        (Ok(()), Ok(gateway)) => Ok(gateway),
        (Err(error), Ok(gateway)) => {
            gateway.end().await;
            Err(error)
        }
        (_, Err(error)) => Err(PrepareError::Gateway(error)),
    }
}

/// Fetches the source, if there is one, and then makes the sandbox's own policy hold: what was let in
/// for the source is closed before the sandbox's first command. On failure no gateway is left.
async fn sourced(
    context: &Context,
    job: &Job,
    agent: &Agent,
    settled: Result<Gateway, PrepareError>,
) -> Result<Gateway, PrepareError> {
    let (gateway, source) = match (settled, &job.source) {
        (Ok(gateway), Some(source)) => (gateway, source),
        (settled, _) => return settled,
    };
    let folder = machine_folder(context, &job.sandbox.session).join("source");
    let fetched = match source.fetch(agent, &folder).await {
        Ok(()) => gateway.change(job.network.clone()).await.map_err(PrepareError::Policy),
        Err(error) => Err(error.into()),
    };
    match fetched {
        Ok(()) => Ok(gateway),
        Err(error) => {
            gateway.end().await;
            Err(error)
        }
    }
}

/// What the gateway of a machine is started with.
pub(crate) fn gateway_of(
    context: &Context,
    machine: &Machine,
    sandbox: &SandboxRecord,
    network: Network,
) -> Spec {
    Spec {
        place: Place::of(&context.paths, &sandbox.session),
        program: Program::own(),
        card: card_of(machine),
        egress: Arc::clone(&context.egress),
        tasks: context.tasks.clone(),
        whom: Whom {
            project: sandbox.project.clone(),
            sandbox: sandbox.name.clone(),
            session: sandbox.session.clone(),
        },
        network,
        before: Traffic::default(),
    }
}

pub(super) fn card_of(machine: &Machine) -> Card {
    let port = machine.network();
    Arc::new(move || port.connect())
}

pub(super) async fn make(
    context: &Context,
    template: &Template,
    layers: Vec<Layer>,
    folder: &Path,
) -> Result<Machine, PrepareError> {
    let spec = clone_spec(context, Some(template), layers, folder).await?;
    let platform = context.platform().await?;
    let cloned = Machine::clone_from(platform, template, spec).await;
    well(context, cloned)
}

/// A folder, and in it an overlay on these layers: as the template has left its own, or empty.
async fn clone_spec(
    context: &Context,
    template: Option<&Template>,
    layers: Vec<Layer>,
    folder: &Path,
) -> Result<CloneSpec, PrepareError> {
    let file = folder.join(OVERLAY);
    let made = async {
        remove_if_there(folder).await?;
        tokio::fs::create_dir_all(folder).await?;
        let pieces = context.paths.pieces();
        match template {
            Some(template) => template.make_overlay(&pieces, &file).await,
            None => machine::make_blank_overlay(&pieces, &file).await,
        }
    };
    made.await.map_err(|source| PrepareError::Disk { path: file.clone(), source })?;
    failpoint::pass("disk-made");
    let (id, root) = (MachineId::random(), Root::Overlay { file, layers });
    Ok(CloneSpec { id, folder: folder.to_owned(), root, start: Start::Running })
}

fn well(
    context: &Context,
    cloned: Result<Machine, Box<BootFailure>>,
) -> Result<Machine, PrepareError> {
    failpoint::pass("machine-cloned");
    cloned.map_err(|failure| {
        record(context, &failure);
        PrepareError::Clone(failure)
    })
}

/// The agent of a machine, connected to again whenever the connection is lost.
pub(crate) fn agent_of(context: &Context, machine: &Machine) -> Agent {
    agent_at(context, machine.agent_port())
}

/// The agent of a machine that is there, or will be.
pub(super) fn agent_at(context: &Context, port: AgentPort) -> Agent {
    let (bases, there) = (context.paths.bases(), port.clone());
    let look = move || {
        let memory: Box<dyn Memory> = Box::new(there.memory(&bases)?);
        Ok(memory)
    };
    Agent::spawn_beside(Some(Box::new(look)), move || {
        let port = port.clone();
        async move { port.connect().await }
    })
}

pub(crate) async fn remove_if_there(folder: &Path) -> io::Result<()> {
    match tokio::fs::remove_dir_all(folder).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(super) fn record(context: &Context, failure: &BootFailure) {
    if let Err(error) = machine::record_failure(&context.paths.failures(), failure) {
        tracing::error!(%failure, %error, "a failed clone could not be recorded");
    }
}
