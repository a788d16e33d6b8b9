//! The memory of snapshots: what a machine was, in a file beside the layers of its disk.
//!
//! The file is as small as can be. Machines are not started from it but from what it is unpacked to, a
//! template of its own that all of them map: made when one is wanted, and removed when none was for long.
//! Beside these is what live forks have left to their children, for as long as there are some.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use machine::{
    Draft, ForkPoint, Key, Platform, SavedMemory, Shape, Template, TemplateError, Templates,
};

use super::{Known, Snapshots};
use crate::{
    causes, clock,
    config::Paths,
    ids::{LayerId, SnapshotId},
    single_flight::SingleFlight,
    store::{MemoryRecord, SnapshotRecord},
};

/// How long what is unpacked is kept without use.
const KEPT: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug)]
pub(super) struct Memories {
    files: PathBuf,
    unpacked: PathBuf,
    made: SingleFlight<Key, Template>,
}

/// Why a machine does not start with the memory of a snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// It will not be another time either, or not here.
    #[error("its memory could not be brought back: {0}")]
    Lost(String),
    #[error("its memory could not be unpacked")]
    Io(#[from] io::Error),
}

/// A memory in the making: its file is nobody's until it is recorded.
#[derive(Debug)]
pub(crate) struct Making<'a> {
    snapshots: &'a Snapshots,
    id: SnapshotId,
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.snapshots.known().making.remove(&self.id);
        self.snapshots.sweep_memories();
    }
}

impl Snapshots {
    /// Where the memory of a snapshot that is being made goes.
    pub(crate) fn begin_memory(&self, id: &SnapshotId) -> (PathBuf, Making<'_>) {
        self.known().making.insert(id.clone());
        (self.memories.file(id), Making { snapshots: self, id: id.clone() })
    }

    /// What machines with the memory of this snapshot start from. A session stands on it.
    pub(crate) async fn unpacked(
        &self,
        platform: &Platform,
        snapshot: &SnapshotId,
    ) -> Result<ForkPoint, Unusable> {
        let saved = SavedMemory::open(&self.memories.file(snapshot)).map_err(lost)?;
        saved.check_machine(platform).map_err(|misfit| Unusable::Lost(causes(&misfit)))?;
        let (folder, key) = (self.memories.open()?, Key::of_memory(snapshot.as_str()));
        if let Some(template) = folder.find(&key).map_err(io::Error::other)? {
            template.note_use(clock::now())?;
            return Ok(ForkPoint::of(&template));
        }
        let made = self.memories.made.get(key.clone(), async {
            saved.check_base().map_err(|misfit| Unusable::Lost(causes(&misfit)))?;
            let shape = saved.shape();
            let draft = folder.draft(&key, shape).map_err(io::Error::other)?;
            let draft = draft.labelled(snapshot.as_str());
            let unpacked = tokio::task::spawn_blocking(move || saved.unpack(draft));
            unpacked.await.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(lost)
        });
        Ok(ForkPoint::of(&made.await?))
    }

    /// A place for the memory that a live fork leaves to its children: theirs while they [hold](Self::hold)
    /// it.
    pub(crate) fn place_for_memory(&self, layer: &LayerId, shape: Shape) -> io::Result<Draft> {
        let draft = self.memories.open()?.draft(&Key::of_memory(layer.as_str()), shape);
        Ok(draft.map_err(io::Error::other)?.labelled(layer.as_str()))
    }

    /// Sees to it that the templates which memories stand on are not taken for some that nobody needs.
    pub(super) fn note_bases(&self) {
        let ids = self.known().memories().map(|(id, _)| id.clone()).collect::<Vec<_>>();
        for id in ids {
            let saved = SavedMemory::open(&self.memories.file(&id));
            if let Err(error) = saved.and_then(|saved| saved.note_use(clock::now())) {
                tracing::debug!(%error, %id, "a template is not noted as used");
            }
        }
    }

    pub(super) fn sweep_memories(&self) {
        self.memories.sweep(&self.known());
    }
}

impl Known {
    /// Those of snapshots that are there.
    fn memories(&self) -> impl Iterator<Item = (&SnapshotId, &MemoryRecord)> {
        let there = self.records.values().filter(|record| record.is_there());
        there.filter_map(|record: &SnapshotRecord| Some((&record.id, record.memory.as_ref()?)))
    }
}

impl Memories {
    pub(super) fn new(paths: &Paths) -> Self {
        let (files, unpacked) = (paths.memories(), paths.unpacked());
        Self { files, unpacked, made: SingleFlight::default() }
    }

    fn file(&self, id: &SnapshotId) -> PathBuf {
        self.files.join(id.as_str())
    }

    fn open(&self) -> io::Result<Templates> {
        Templates::open(&self.unpacked).map_err(io::Error::other)
    }

    /// Removes the files of memories that are nobody's, and what was unpacked and is not needed.
    pub(super) fn sweep(&self, known: &Known) {
        let there: BTreeSet<&str> = known
            .memories()
            .map(|(id, _)| id)
            .chain(&known.making)
            .map(SnapshotId::as_str)
            .collect();
        let found = fs::read_dir(&self.files).into_iter().flatten().flatten();
        for path in found.map(|entry| entry.path()) {
            // Its draft too, and what is there while it is unpacked.
            let id = path.file_stem().and_then(|id| id.to_str()).unwrap_or_default();
            if !there.contains(id)
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(%error, path = %path.display(), "a memory was left behind");
            }
        }
        if let Err(error) = self.sweep_unpacked(known) {
            tracing::warn!(error = causes(&error), "an unpacked memory may be left behind");
        }
    }

    fn sweep_unpacked(&self, known: &Known) -> Result<(), TemplateError> {
        if fs::read_dir(&self.unpacked).is_ok_and(|mut entries| entries.next().is_none()) {
            return Ok(());
        }
        let folder = Templates::open(&self.unpacked)?;
        let bases: BTreeSet<&Path> =
            known.memories().map(|(_, memory)| memory.base.as_path()).collect();
        let stands = || known.stood.values();
        let snapshots = stands().filter_map(|stand| Some(stand.snapshot.as_ref()?.as_str()));
        let forks = stands().flat_map(|stand| &stand.memories).map(LayerId::as_str);
        let stood: BTreeSet<&str> = snapshots.chain(forks).collect();
        let there: BTreeSet<&str> = known.memories().map(|(id, _)| id.as_str()).collect();
        for template in folder.list()? {
            let id = template.label().unwrap_or_default();
            let is_stood_on = stood.contains(id) || bases.contains(template.folder());
            let is_fresh = || {
                let used = template.last_used().ok();
                let unused = used.and_then(|used| clock::now().duration_since(used).ok());
                unused.is_none_or(|unused| unused < KEPT)
            };
            let is_needed = is_stood_on || (there.contains(id) && is_fresh());
            if !is_needed {
                folder.remove(template.key())?;
                self.made.forget(template.key());
            }
        }
        Ok(())
    }
}

/// What is not there, or damaged, will not become a memory; where the host has no room, it may.
fn lost(error: io::Error) -> Unusable {
    match error.kind() == io::ErrorKind::StorageFull {
        true => error.into(),
        false => Unusable::Lost(causes(&error)),
    }
}
