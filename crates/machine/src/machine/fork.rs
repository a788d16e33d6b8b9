//! Forking a machine that runs: it stands still for a moment, in which its disk is moved below a fresh
//! overlay, its devices are saved and the pages that it has written are read.
//!
//! The guest's user processes should stand still already, and nobody should speak on the agent's
//! port: QEMU takes in what is said there even while the guest is held, and what is saved would not
//! be of one moment.

use std::{fs::OpenOptions, io::BufWriter, iter, os::unix::fs::OpenOptionsExt, time::Duration};

use tokio::time::Instant;

use super::{
    pages::{PAGE, Space},
    precopy::{Precopy, Unordered},
    saved::{Base, Draft, Header},
    shared::Shared,
    stream::Stream,
    *,
};
use crate::{
    Key, Platform, Template,
    template::{self, OnDisk},
};

/// QEMU's names of nodes are 31 characters at most.
const NODE: &str = "over-";
const NODE_MAX: usize = 31;
/// Saved devices, in the machine's folder.
const DEVICES: &str = "fork-devices";
/// Beyond it the machine would stand still for seconds.
const WRITTEN_MAX_MIB: usize = 2048;

/// What a fork is made of.
#[derive(Clone, Debug)]
pub struct ForkSpec {
    pub shape: Shape,
    /// Where templates are: the machine's memory must stand on one.
    pub bases: Vec<PathBuf>,
    /// What takes the machine's writes now.
    pub overlay: PathBuf,
    /// An empty overlay in the machine's folder, which is to take them afterwards.
    pub next: PathBuf,
    /// Tells this fork of the machine from others.
    pub mark: String,
    /// The file to be written, from which others start.
    pub state: PathBuf,
}

/// Why a machine is not forked. It goes on.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    #[error("QEMU does not do as it is told")]
    Control(#[from] ControlError),
    #[error("the machine's memory cannot be read")]
    Memory(#[source] io::Error),
    #[error("it has written {mib} MiB of its memory; {WRITTEN_MAX_MIB} can be forked")]
    TooMuch { mib: usize },
    #[error("what is to be forked cannot be written")]
    Io(#[from] io::Error),
}

/// All is ready, and nothing stands still yet.
#[derive(Debug)]
pub struct ForkBegun {
    spec: ForkSpec,
    space: Space,
    base: Base,
    worth_asking: Vec<u32>,
    copy: Precopy,
}

impl ForkBegun {
    /// The blocks of which it is worth to know whether the guest needs them, by their numbers.
    #[must_use]
    pub fn worth_asking(&self) -> &[u32] {
        &self.worth_asking
    }

    /// How much of its memory the machine has written.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.copy.written_bytes()
    }

    /// Makes a template of it, whose pages all that start from it share, instead of a file from which each
    /// has its own. The template on which the machine stands is copied for that.
    pub async fn share(self, draft: template::Draft) -> Result<Self, ForkError> {
        let shared = move || {
            let shared = Shared::begin(draft, &self.base.ram)?;
            Ok(Self { copy: self.copy.into_shared(shared), ..self })
        };
        blocking(shared).await
    }

    /// Copies most of what the machine has written, but what is `free` as yet, while the guest goes on.
    pub async fn precopy(mut self, free: FreeBlocks) -> Result<Self, ForkError> {
        let copied = move || {
            self.copy.run(&self.space, free).map_err(ForkError::Memory)?;
            Ok(self)
        };
        blocking(copied).await
    }
}

/// A machine as it was at one moment; it has gone on.
#[derive(Debug)]
pub struct ForkTaken {
    spec: ForkSpec,
    base: Base,
    copied: Unordered,
    devices: Vec<u8>,
    held: Duration,
}

impl ForkTaken {
    /// Puts it where others can start from it.
    pub async fn save(self) -> Result<ForkPoint, ForkError> {
        let Self { spec, base, mut copied, devices, held } = self;
        let written_bytes = copied.bytes();
        let (shape, state) = (spec.shape, spec.state);
        let memory = u64::from(shape.memory_mib) << 20;
        let saved = move || {
            if let Some(shared) = copied.share().map_err(ForkError::Memory)? {
                write_state(&state, memory, iter::empty(), &devices)?;
                // What is kept of those that start from it sees to that.
                let template = shared.finish(&state, OnDisk::Later)?;
                return Ok(ForkPoint { held, ..ForkPoint::of(&template) });
            }
            let pages = copied.order().map_err(ForkError::Memory)?;
            write_state(&state, memory, pages.each(), &devices)?;
            Ok(ForkPoint { shape, ram: base.ram, state, held, written_bytes })
        };
        blocking(saved).await
    }

    /// The folder of the template that it stands on.
    #[must_use]
    pub fn base(&self) -> &Path {
        self.base.ram.parent().unwrap_or(Path::new("/"))
    }

    #[must_use]
    pub fn shape(&self) -> Shape {
        self.spec.shape
    }

    /// How long the machine stood still.
    #[must_use]
    pub fn held(&self) -> Duration {
        self.held
    }

    /// Puts it into a file that is kept, of which any number of machines can be made at any time; see
    /// [`SavedMemory`]. It must not be [shared](ForkBegun::share). The file is there once all of it is, and on the disk.
    pub async fn keep(self, platform: &Platform, file: PathBuf) -> Result<Paused, ForkError> {
        let began = Instant::now();
        let Self { spec, base, copied, devices, .. } = self;
        let header = Header { key: Key::of_paused(platform, spec.shape), shape: spec.shape, base };
        let written_bytes = copied.bytes();
        let written = move || {
            header.base.settle()?;
            let pages = copied.order().map_err(ForkError::Memory)?;
            let mut draft = Draft::begin(&file, &header)?;
            for page in pages.each() {
                let (at, page) = page?;
                draft.page(at, page)?;
            }
            Ok::<_, ForkError>(draft.finish(&devices)?)
        };
        let stored_bytes = blocking(written).await?;
        Ok(Paused { written_bytes, stored_bytes, took: began.elapsed() })
    }
}

/// A machine as it was at one moment, from which others start.
#[derive(Clone, Debug)]
pub struct ForkPoint {
    pub(super) shape: Shape,
    pub(super) ram: PathBuf,
    pub(super) state: PathBuf,
    /// How long the machine stood still.
    pub held: Duration,
    /// What each that starts has for itself at once.
    pub written_bytes: u64,
}

impl ForkPoint {
    /// Of a memory that is a template's.
    #[must_use]
    pub fn of(shared: &Template) -> Self {
        Self {
            shape: shared.shape(),
            ram: shared.ram(),
            state: shared.state(),
            held: Duration::ZERO,
            written_bytes: 0,
        }
    }
}

impl Machine {
    /// Does all of a fork that can be done while the guest goes on.
    pub async fn begin_fork(&self, spec: ForkSpec) -> Result<ForkBegun, ForkError> {
        let (pid, shape, bases) = (self.pid(), spec.shape, spec.bases.clone());
        let looked = move || {
            // What is on the disk now need not be put there while it stands still.
            File::open(&spec.overlay)?.sync_data()?;
            let space = Space::open(pid, &bases, shape).map_err(ForkError::Memory)?;
            let base = Base::of(&space.file)?;
            let written = space.written().map_err(ForkError::Memory)?;
            let (pages, worth_asking) = (written.len(), blocks::worth_asking(&written));
            let mib = (pages * PAGE) >> 20;
            if WRITTEN_MAX_MIB < mib {
                return Err(ForkError::TooMuch { mib });
            }
            let copy = Precopy::of(pages);
            Ok(ForkBegun { spec, space, base, worth_asking, copy })
        };
        let begun = blocking(looked).await?;
        let mut node = json!({
            "driver": "qcow2", "node-name": node(&begun.spec.mark), "discard": "unmap", "backing": null,
        });
        node["file"] = crate::disk::writable_file(&begun.spec.next);
        self.qmp.ask("blockdev-add", node).await?;
        Ok(begun)
    }

    /// Holds the guest, takes what it is but what is `free`, and lets it go on. On failure
    /// [`Machine::end_fork`] tells how far it came.
    pub async fn fork(&self, begun: ForkBegun, free: FreeBlocks) -> Result<ForkTaken, ForkError> {
        let ForkBegun { spec, space, base, copy, .. } = begun;
        let top = self.top_node().await?;
        let began = Instant::now();
        self.stop().await?;
        let over = json!({ "node": top, "overlay": node(&spec.mark) });
        self.qmp.ask("blockdev-snapshot", over).await?;
        self.save_devices_in(DEVICES).await?;
        let copied = blocking(move || copy.finish(&space, &free)).await;
        let copied = copied.map_err(ForkError::Memory)?;
        self.cont().await?;
        let held = began.elapsed();
        let devices = self.folder.join(DEVICES);
        let devices = blocking(move || Ok::<_, ForkError>(read_devices(&devices)?)).await?;
        Ok(ForkTaken { spec, base, copied, devices, held })
    }

    /// Brings a fork to its end, whatever has become of it: the guest goes on. Tells whether the disk
    /// has moved below the new overlay; if not, that is of no more use.
    pub async fn end_fork(&self, mark: &str) -> Result<bool, ControlError> {
        let has_moved = self.top_node().await? == node(mark);
        if !has_moved {
            let gone = self.qmp.ask("blockdev-del", json!({ "node-name": node(mark) })).await;
            if let Err(error @ ControlError::Refused { .. }) = &gone {
                tracing::debug!(%error, "there was no overlay to take away");
            }
        }
        drop(std::fs::remove_file(self.folder.join(DEVICES)));
        self.cont().await?;
        Ok(has_moved)
    }

    /// What takes the writes of the first disk.
    async fn top_node(&self) -> Result<String, ControlError> {
        let disks = self.qmp.ask("query-block", json!({})).await?;
        let of_root = |disk: &&serde_json::Value| {
            disk["qdev"].as_str().is_some_and(|path| path.split('/').any(|name| name == "root"))
        };
        let root = disks.as_array().and_then(|disks| disks.iter().find(of_root));
        let name = root.and_then(|root| root["inserted"]["node-name"].as_str());
        let refused = || ControlError::Refused {
            command: "query-block".to_owned(),
            why: "it knows of no first disk".to_owned(),
        };
        name.map(str::to_owned).ok_or_else(refused)
    }
}

fn node(mark: &str) -> String {
    format!("{NODE}{mark}").chars().take(NODE_MAX).collect()
}

fn write_state<'a>(
    state: &Path,
    memory: u64,
    pages: impl Iterator<Item = io::Result<(u64, &'a [u8; PAGE])>>,
    devices: &[u8],
) -> Result<(), ForkError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(state)?;
    let to = BufWriter::with_capacity(1 << 20, file);
    let mut stream = Stream::begin(to, memory)?;
    for page in pages {
        let (at, page) = page?;
        stream.page(at, page)?;
    }
    let file = stream.finish(devices)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(())
}
