//! Templates: made on first use, one maker at a time, reused for good.
//!
//! A *bare* template is a machine whose agent is ready and that has mounted nothing: one serves
//! every image of its shape. A *warm* one is made from a copy of it: it has mounted one image, with nothing
//! let write to it, and has touched the runtimes, so that a clone has them in its page cache. What the
//! mount has written is in an overlay, which clones begin with a copy of.

use std::{
    future::ready,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use egress::gateway::authority::{self, AuthorityError};
use machine::{
    BootFailure, BootSpec, CloneSpec, Draft, Key, Layer, Machine, MachineId, Platform, Ram, Retry,
    Root, SaveError, Shape, Start, Step, Template, TemplateError, Templates as Folder,
};
use protocol::{Request, Warm};
use tokio::{net::UnixStream, time::Instant};

use crate::{
    agent::{Agent, AgentError},
    clock,
    config::Paths,
    sandbox::trust,
    single_flight::SingleFlight,
    uplink::Uplink,
};

pub(crate) mod collect;
pub(crate) mod stand_in;

/// What a warm template does before it is frozen; a change makes new templates.
const WARM_VERSION: u32 = 2;
const WARM_COMMANDS: [&[&str]; 5] = [
    &["bash", "-c", "ls / >/dev/null; cat /etc/os-release"],
    &["sudo", "-n", "true"],
    &["git", "--version"],
    &["python3", "-c", "import json, os, re, subprocess, sys"],
    &["node", "-e", "require('fs'); require('path'); require('child_process')"],
];
const BOOT: Retry =
    Retry { attempts: 3, attempt: Duration::from_secs(60), deadline: Duration::from_secs(120) };
const RESTORE_DEADLINE: Duration = Duration::from_secs(20);
const WARM_DEADLINE: Duration = Duration::from_secs(120);

/// The disk that a sandbox's overlay sits on.
#[derive(Clone, Debug)]
pub(crate) struct BaseImage {
    pub(crate) name: String,
    pub(crate) digest: String,
    pub(crate) layer: Layer,
    pub(crate) user: String,
    pub(crate) cwd: String,
    pub(crate) env: Vec<(String, String)>,
}

/// Why there is no template.
#[derive(Debug, thiserror::Error)]
pub enum MakeError {
    #[error("the guest did not boot, in {} attempts", .0.len())]
    Boot(Vec<BootFailure>),
    #[error("a bare template could not be thawed")]
    Thaw(#[source] Box<BootFailure>),
    #[error("the guest did not get warm")]
    WarmUp(#[from] WarmUpError),
    #[error("the template could not be saved")]
    Save(#[from] SaveError),
    #[error("the templates' folder cannot be used")]
    Folder(#[from] TemplateError),
    #[error("{path} cannot be used")]
    Io { path: PathBuf, source: io::Error },
}

#[derive(Debug, thiserror::Error)]
pub enum WarmUpError {
    #[error("the agent's port could not be reached")]
    Connect(#[source] io::Error),
    #[error("the agent did not do it")]
    Agent(#[from] AgentError),
    #[error("no certificate could be made")]
    Authority(#[from] AuthorityError),
}

/// All templates of one server; a cheap handle.
#[derive(Clone, Debug)]
pub(crate) struct Templates {
    paths: Paths,
    folder: Folder,
    /// Authorities of the host's own, which guests are told of where nobody says otherwise.
    roots: Arc<[Vec<u8>]>,
    made: Arc<SingleFlight<Key, Template>>,
}

/// Told when a template has to be made first, and by whom a reader may know why it takes long.
pub(crate) type Notice<'a> = &'a (dyn Fn(&str) + Sync);

impl Templates {
    pub(crate) fn open(paths: &Paths, uplink: &Uplink) -> Result<Self, TemplateError> {
        let folder = Folder::open(&paths.templates())?;
        let roots = uplink.roots.clone().into();
        Ok(Self { paths: paths.clone(), folder, roots, made: Arc::default() })
    }

    /// Whether a sandbox of this shape and image can be cloned at once.
    pub(crate) fn is_made(&self, platform: &Platform, shape: Shape, image: &BaseImage) -> bool {
        matches!(self.folder.find(&key_of(platform, shape, Some(&image.digest))), Ok(Some(_)))
    }

    /// The warm template, made if need be.
    pub(crate) async fn warm(
        &self,
        platform: &Platform,
        shape: Shape,
        image: &BaseImage,
        notice: Notice<'_>,
    ) -> Result<Template, MakeError> {
        let key = key_of(platform, shape, Some(&image.digest));
        let make = async {
            let bare = Box::pin(self.bare(platform, shape, notice)).await?;
            notice(&format!("making the template of image {}", image.name));
            let draft = self.folder.draft(&key, shape)?.labelled(&image.digest);
            let machine = self.thaw(platform, &bare, &draft, image).await?;
            let result = warm_up(&machine, image, &self.roots).await;
            self.save(machine, draft, result).await
        };
        self.get(&key, Box::pin(make)).await
    }

    /// Those of an image, by its digest.
    pub(crate) fn of_image(&self, digest: &str) -> Result<Vec<Template>, TemplateError> {
        let all = self.folder.list()?.into_iter();
        Ok(all.filter(|template| template.label() == Some(digest)).collect())
    }

    /// Takes away those of an image, by its digest. Machines that run on them are not disturbed.
    pub(crate) fn remove_of_image(&self, digest: &str) -> Result<(), TemplateError> {
        self.of_image(digest)?.iter().try_for_each(|template| self.folder.remove(template.key()))
    }

    /// The bare template, made if need be.
    pub(crate) async fn bare(
        &self,
        platform: &Platform,
        shape: Shape,
        notice: Notice<'_>,
    ) -> Result<Template, MakeError> {
        let key = key_of(platform, shape, None);
        let make = async {
            notice(&format!("booting a guest of {} MiB", shape.memory_mib));
            let draft = self.folder.draft(&key, shape)?;
            let scratch = self.scratch(&draft);
            let spec = |_| BootSpec {
                id: MachineId::random(),
                folder: scratch.clone(),
                shape,
                root: Root::Blank,
                ram: Ram::Shared(draft.ram()),
            };
            let booted = machine::boot_until_ready(platform, BOOT, spec, async |stream| {
                let agent = agent_over(stream);
                let phase = agent.ready(Instant::now() + BOOT.attempt).await;
                agent.close().await;
                phase.map(drop)
            });
            let (machine, ()) = booted.await.map_err(|failures| {
                failures.iter().for_each(|failure| self.record(failure));
                MakeError::Boot(failures)
            })?;
            self.save(machine, draft, Ok(())).await
        };
        self.get(&key, Box::pin(make)).await
    }

    /// Finds the template, or makes it while nobody else does: here or in another process.
    async fn get(
        &self,
        key: &Key,
        make: impl Future<Output = Result<Template, MakeError>>,
    ) -> Result<Template, MakeError> {
        if let Some(template) = self.folder.find(key)? {
            let noted = template.note_use(clock::now());
            // Another server may have taken it away by now. Who cannot write here may use it all the same.
            if !noted.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
                return Ok(template);
            }
        }
        // One that was made and then removed is made again.
        self.made.forget(key);
        self.made
            .get(key.clone(), async {
                let _lock = self.lock(key).await?;
                match self.folder.find(key)? {
                    Some(template) => Ok(template),
                    None => make.await,
                }
            })
            .await
    }

    async fn lock(&self, key: &Key) -> Result<std::fs::File, MakeError> {
        let path = self.paths.pieces().join(format!("{key}.lock"));
        let opened = path.clone();
        let locked = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::create(opened)?;
            file.lock()?;
            Ok(file)
        });
        let file = locked.await.map_err(io::Error::other).flatten();
        file.map_err(|source| MakeError::Io { path, source })
    }

    /// QEMU has been seen to crash at it, and then not again.
    async fn thaw(
        &self,
        platform: &Platform,
        bare: &Template,
        draft: &Draft,
        image: &BaseImage,
    ) -> Result<Machine, MakeError> {
        match self.thaw_once(platform, bare, draft, image).await {
            Err(MakeError::Thaw(_)) => self.thaw_once(platform, bare, draft, image).await,
            outcome => outcome,
        }
    }

    async fn thaw_once(
        &self,
        platform: &Platform,
        bare: &Template,
        draft: &Draft,
        image: &BaseImage,
    ) -> Result<Machine, MakeError> {
        let (folder, file) = (self.scratch(draft), draft.overlay());
        let made = async {
            crate::sandbox::remove_if_there(&folder).await?;
            tokio::fs::create_dir_all(&folder).await?;
            machine::make_blank_overlay(&self.paths.pieces(), &file).await
        };
        made.await.map_err(|source| MakeError::Io { path: file.clone(), source })?;
        let root = Root::Overlay { file, layers: vec![image.layer.clone()] };
        let spec = CloneSpec { id: MachineId::random(), folder, root, start: Start::Running };
        Machine::thaw(platform, bare, draft, spec).await.map_err(|failure| {
            self.record(&failure);
            MakeError::Thaw(failure)
        })
    }

    async fn save(
        &self,
        machine: Machine,
        draft: Draft,
        ready: Result<(), WarmUpError>,
    ) -> Result<Template, MakeError> {
        let scratch = self.scratch(&draft);
        let saved = match ready {
            Ok(()) => machine.save_template(draft).await.map_err(MakeError::from),
            Err(error) => {
                let failure = machine.fail(Step::Guest, error.to_string()).await;
                self.record(&failure);
                Err(error.into())
            }
        };
        if let Err(error) = tokio::fs::remove_dir_all(&scratch).await {
            tracing::warn!(%error, path = %scratch.display(), "a folder was left behind");
        }
        saved
    }

    /// The folder of the machine that becomes a template: with the machines of the server, so that it
    /// is found and ended if the server dies meanwhile.
    fn scratch(&self, draft: &Draft) -> PathBuf {
        let key = draft.key().as_str();
        self.paths.machines().join(format!("template-{}", &key[..key.len().min(16)]))
    }

    fn record(&self, failure: &BootFailure) {
        match machine::record_failure(&self.paths.failures(), failure) {
            Ok(path) => tracing::error!(%failure, path = %path.display(), "a boot failed"),
            Err(error) => tracing::error!(%failure, %error, "a boot failed and was not recorded"),
        }
    }
}

/// Of the warm template of an image, by its digest, or else of the bare one.
fn key_of(platform: &Platform, shape: Shape, digest: Option<&str>) -> Key {
    let warm = digest.map(|digest| format!("{digest}+warm{WARM_VERSION}"));
    Key::of(platform, shape, warm.as_deref())
}

async fn warm_up(
    machine: &Machine,
    image: &BaseImage,
    roots: &[Vec<u8>],
) -> Result<(), WarmUpError> {
    let agent = agent_over(machine.agent().await.map_err(WarmUpError::Connect)?);
    agent.ready(Instant::now() + RESTORE_DEADLINE).await?;
    let commands =
        WARM_COMMANDS.map(|words| words.iter().map(|word| (*word).to_owned()).collect()).to_vec();
    // Nobody has its key: it is only in the places of the one that a claim brings.
    let authority = authority::make()?;
    let stand_in = stand_in::claim(image, trust::trusted(&authority.certificate, roots));
    let warm = Box::new(Warm { commands, stand_in });
    let warmed = agent.request(Request::Warm(warm), WARM_DEADLINE).await;
    agent.close().await;
    Ok(warmed.map(drop)?)
}

/// An agent that is spoken to over one connection: a template in the making is given up when it is
/// lost.
fn agent_over(stream: UnixStream) -> Agent {
    let stream = Mutex::new(Some(stream));
    let connect = move || {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
    };
    Agent::spawn(connect)
}
