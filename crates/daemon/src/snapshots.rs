//! Snapshots of disks, and the layers that they are made of.
//!
//! A layer is a qcow2 file that was a session's overlay and is never written again. A snapshot is a
//! list of layers above an image, so what snapshots and forks share they share as files. A layer is
//! there for as long as a snapshot or a session that has not ended names it: nothing is counted, so
//! no count can be wrong.

mod housekeeping;
mod lineage;
mod memory;
mod names;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use machine::LayerError;

pub(crate) use housekeeping::keep_house;
pub(crate) use lineage::{Node, Walk, walk};
use memory::Memories;
pub(crate) use memory::Unusable;
pub(crate) use names::HeldName;
use names::Names;

use crate::{
    clock,
    config::Paths,
    failpoint,
    ids::{LayerId, Project, SandboxKey, SessionId, SnapshotId, SnapshotName},
    limits,
    store::{Change, Counted, Evicted, Keeping, SnapshotMethod, SnapshotRecord, Store, StoreError},
};

const EXTENSION: &str = "qcow2";

/// All snapshots of one server.
#[derive(Debug)]
pub(crate) struct Snapshots {
    folder: PathBuf,
    memories: Memories,
    names: Names,
    store: Store,
    known: Mutex<Known>,
    /// Held by who changes what is stored of them.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    records: BTreeMap<SnapshotId, SnapshotRecord>,
    /// What sessions that have not ended stand on, and what they are about to make.
    stood: BTreeMap<SessionId, Stand>,
    /// What sandboxes start from next.
    currents: BTreeMap<SandboxKey, SnapshotId>,
    /// Those whose memory is being written.
    making: BTreeSet<SnapshotId>,
}

/// What a session needs.
#[derive(Debug, Default)]
pub(crate) struct Stand {
    pub(crate) snapshot: Option<SnapshotId>,
    pub(crate) layers: Vec<LayerId>,
    /// Those that live forks have left to their children, by the forks' layers.
    pub(crate) memories: Vec<LayerId>,
}

/// What a snapshot is to the sandbox that it is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Becomes {
    /// It starts from it next.
    Current,
    /// It goes on meanwhile.
    OneMore,
}

/// There is no such snapshot any more, or there never was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Cannot resume sandbox: no snapshot available.")]
pub(crate) struct NoSnapshot;

/// Why a disk is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// It will not be one later either.
    #[error("its disk is lost: {0}")]
    Lost(#[source] LayerError),
    #[error("its disk could not be put in its place")]
    Io(#[from] io::Error),
    #[error("its snapshot could not be recorded")]
    Store(#[from] StoreError),
}

impl From<LayerError> for TakeError {
    fn from(error: LayerError) -> Self {
        use io::ErrorKind::{NotFound, UnexpectedEof};
        match error {
            // Not the file's fault: out of descriptors or memory, or the disk beneath.
            LayerError::Io(source) if !matches!(source.kind(), NotFound | UnexpectedEof) => {
                Self::Io(source)
            }
            error @ (LayerError::Io(_) | LayerError::Header(_)) => Self::Lost(error),
        }
    }
}

impl Snapshots {
    pub(crate) fn new(paths: &Paths, store: Store, stored: Vec<SnapshotRecord>) -> Self {
        let records = stored.into_iter().map(|record| (record.id.clone(), record)).collect();
        Self {
            folder: paths.layers(),
            memories: Memories::new(paths),
            names: Names::default(),
            store,
            known: Mutex::new(Known { records, ..Known::default() }),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// The snapshot, also if it is deleted.
    pub(crate) fn find(&self, id: &SnapshotId) -> Option<SnapshotRecord> {
        self.known().records.get(id).cloned()
    }

    /// The one that is there of this name.
    pub(crate) fn named(&self, project: &Project, name: &str) -> Option<SnapshotRecord> {
        let known = self.known();
        let mut there = known.records.values().filter(|one| one.is_there());
        let is_it = |name: &SnapshotName, text| name.as_str() == text;
        let found = there.find(|one| {
            one.project == *project && one.name.as_ref().is_some_and(|own| is_it(own, name))
        });
        found.cloned()
    }

    /// All that are remembered, the oldest first.
    pub(crate) fn list(&self) -> Vec<SnapshotRecord> {
        let mut all: Vec<SnapshotRecord> = self.known().records.values().cloned().collect();
        all.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        all
    }

    /// Has a session stand on a snapshot: its layers stay until the session leaves. That it is used is to be
    /// [noted](Self::note_use).
    pub(crate) fn stand(
        &self,
        session: &SessionId,
        snapshot: &SnapshotId,
    ) -> Result<SnapshotRecord, NoSnapshot> {
        let mut known = self.known();
        let record = known.records.get_mut(snapshot).filter(|record| record.is_there());
        let record = record.ok_or(NoSnapshot)?;
        record.last_used_at = clock::now_ms();
        let record = record.clone();
        let (snapshot, layers) = (Some(snapshot.clone()), record.layers.clone());
        let stand = Stand { snapshot, layers, ..Stand::default() };
        known.stood.insert(session.clone(), stand);
        Ok(record)
    }

    /// Stores that a snapshot is used, as it is by now: its time begins again, also for the next server.
    pub(crate) async fn note_use(&self, id: &SnapshotId) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        match self.find(id).filter(SnapshotRecord::is_there) {
            Some(record) => self.store.commit(vec![Change::Snapshot(record)]).await,
            None => Ok(()),
        }
    }

    /// Says again what a session of an earlier server stands on, or what another is about to make.
    pub(crate) fn hold(&self, session: &SessionId, stand: Stand) {
        self.known().stood.insert(session.clone(), stand);
    }

    /// A session needs nothing any more.
    pub(crate) fn leave(&self, session: &SessionId) {
        if self.known().stood.remove(session).is_some() {
            self.sweep();
        }
    }

    /// Says what a sandbox starts from next.
    pub(crate) fn point(&self, sandbox: SandboxKey, snapshot: Option<SnapshotId>) {
        let mut known = self.known();
        match snapshot {
            Some(snapshot) => drop(known.currents.insert(sandbox, snapshot)),
            None => drop(known.currents.remove(&sandbox)),
        }
    }

    pub(crate) fn file(&self, layer: &LayerId) -> PathBuf {
        self.folder.join(layer.as_str()).with_extension(EXTENSION)
    }

    /// Makes a session's overlay a layer; done already it is done. Whoever calls holds the layer.
    /// Returns what it takes of the host's disk.
    pub(crate) async fn take(&self, overlay: PathBuf, layer: &LayerId) -> Result<u64, TakeError> {
        let (file, folder) = (self.file(layer), self.folder.clone());
        let taken = tokio::task::spawn_blocking(move || {
            if !file.exists() {
                machine::check_layer(&overlay, Some(machine::DISK_GIB << 30))?;
                // Killed or without power from here on, what is found has all that was written.
                fs::File::open(&overlay)?.sync_all()?;
                fs::set_permissions(&overlay, read_only(&overlay)?)?;
                fs::rename(&overlay, &file)?;
                fs::File::open(&folder)?.sync_all()?;
            }
            Ok(allocated(&file)?)
        });
        let taken = taken.await.unwrap_or_else(|error| Err(io::Error::other(error).into()));
        failpoint::pass("layer-moved");
        taken
    }

    /// Makes what a machine has written until it was forked a layer; it reads it on under the name that
    /// it knows. Done already it is done. Whoever calls holds the layer.
    pub(crate) async fn share(&self, overlay: PathBuf, layer: &LayerId) -> Result<(), TakeError> {
        let (file, folder) = (self.file(layer), self.folder.clone());
        let shared = tokio::task::spawn_blocking(move || {
            if !file.exists() {
                machine::check_layer(&overlay, Some(machine::DISK_GIB << 30))?;
                fs::File::open(&overlay)?.sync_all()?;
                fs::hard_link(&overlay, &file)?;
                fs::File::open(&folder)?.sync_all()?;
            }
            Ok(())
        });
        shared.await.unwrap_or_else(|error| Err(io::Error::other(error).into()))
    }

    /// Records a snapshot together with what else is true only then, and deletes what its sandbox
    /// keeps no longer.
    pub(crate) async fn add(
        &self,
        record: SnapshotRecord,
        of: (&SandboxKey, u64),
        (keeping, becomes): (&Keeping, Becomes),
        with: Vec<Change>,
    ) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let mut record = record;
        // Whoever makes one holds its name; were it not so, the disk would be kept all the same.
        record.name.take_if(|name| self.named(&record.project, name.as_str()).is_some());
        let evicted = self.evicted(&record, of, (keeping, becomes));
        let mut changes = with;
        let records: Vec<SnapshotRecord> = evicted.into_iter().chain([record.clone()]).collect();
        changes.extend(records.iter().cloned().map(Change::Snapshot));
        self.store.commit(changes).await?;
        failpoint::pass("snapshot-recorded");
        let mut known = self.known();
        if becomes == Becomes::Current {
            known.currents.insert(of.0.clone(), record.id.clone());
        }
        known.records.extend(records.into_iter().map(|record| (record.id.clone(), record)));
        Ok(())
    }

    /// Those of the sandbox that are too many once this one is there, as they are then.
    fn evicted(
        &self,
        new: &SnapshotRecord,
        (sandbox, created_at): (&SandboxKey, u64),
        (keeping, becomes): (&Keeping, Becomes),
    ) -> Vec<SnapshotRecord> {
        let Some(last) = keeping.last else { return Vec::new() };
        let counts_new = last.of == Counted::All || new.method == SnapshotMethod::Automatic;
        let keep = usize::try_from(last.count).unwrap_or(usize::MAX);
        let keep = if counts_new { keep.saturating_sub(1) } else { keep };
        let mut of_it: Vec<SnapshotRecord> = self.list();
        let counts = |one: &SnapshotRecord| {
            last.of == Counted::All || one.method == SnapshotMethod::Automatic
        };
        of_it.retain(|one| {
            one.is_there() && one.is_of(sandbox, created_at) && one.id != new.id && counts(one)
        });
        of_it.truncate(of_it.len().saturating_sub(keep));
        let now = clock::now_ms();
        let mut needed = self.current_of_others(sandbox);
        if becomes == Becomes::OneMore {
            needed.extend(self.known().currents.get(sandbox).cloned());
        }
        let evict = |mut one: SnapshotRecord| {
            if last.evicted == Evicted::Delete {
                return one.deleted_unless(&needed, now);
            }
            one.expiration_ms = keeping.expiration_ms;
            one
        };
        of_it.into_iter().map(evict).collect()
    }

    /// What sandboxes other than this one start from next.
    fn current_of_others(&self, sandbox: &SandboxKey) -> BTreeSet<SnapshotId> {
        let known = self.known();
        let others = known.currents.iter().filter(|(key, _)| *key != sandbox);
        others.map(|(_, snapshot)| snapshot.clone()).collect()
    }

    /// Deletes a snapshot; one that is deleted stays so.
    pub(crate) async fn delete(
        &self,
        id: &SnapshotId,
    ) -> Result<Option<SnapshotRecord>, StoreError> {
        let _turn = self.turn.lock().await;
        let Some(record) = self.find(id) else { return Ok(None) };
        if !record.is_there() {
            return Ok(Some(record));
        }
        let record = record.deleted(clock::now_ms());
        self.put(vec![record.clone()]).await?;
        Ok(Some(record))
    }

    /// Deletes the snapshots of a sandbox that goes, those that this chooses; one that another sandbox
    /// starts from goes when that one needs it no longer.
    pub(crate) async fn delete_orphans(
        &self,
        sandbox: &SandboxKey,
        created_at: u64,
        chosen: impl Fn(&SnapshotRecord) -> bool,
    ) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let others = self.current_of_others(sandbox);
        let mut orphans = self.list();
        orphans.retain(|one| one.is_there() && one.is_of(sandbox, created_at) && chosen(one));
        let now = clock::now_ms();
        self.put(orphans.into_iter().map(|one| one.deleted_unless(&others, now)).collect()).await
    }

    /// Deletes what was to be deleted as soon as no sandbox starts from it.
    pub(crate) async fn let_go(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        self.delete_doomed(clock::now_ms()).await
    }

    async fn delete_doomed(&self, now: u64) -> Result<(), StoreError> {
        let doomed = {
            let known = self.known();
            let needed: BTreeSet<&SnapshotId> = known.currents.values().collect();
            let all = known.records.values().filter(|one| one.is_doomed && one.is_there());
            let free = all.filter(|one| !needed.contains(&one.id));
            free.map(|one| one.clone().deleted(now)).collect()
        };
        self.put(doomed).await
    }

    /// Stores records as they are now, and removes what nothing stands on any more. The caller has the
    /// turn.
    async fn put(&self, records: Vec<SnapshotRecord>) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        self.store.commit(records.iter().cloned().map(Change::Snapshot).collect()).await?;
        let with_id = records.into_iter().map(|record| (record.id.clone(), record));
        self.known().records.extend(with_id);
        self.sweep();
        Ok(())
    }

    /// Removes the files of layers and memories that nothing names.
    pub(crate) fn sweep(&self) {
        // Held meanwhile: a session that is about to stand on one finds it gone, or keeps it.
        let known = self.known();
        let of_snapshots = known.records.values().flat_map(|record| &record.layers);
        let of_sessions = known.stood.values().flat_map(|stand| &stand.layers);
        let named: BTreeSet<PathBuf> =
            of_snapshots.chain(of_sessions).map(|layer| self.file(layer)).collect();
        let found = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for path in found.map(|entry| entry.path()).filter(|path| !named.contains(path)) {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(), "a layer was left behind");
            }
        }
        self.memories.sweep(&known);
    }

    /// The digests of the images that snapshots stand on.
    pub(crate) fn images(&self) -> BTreeSet<String> {
        let known = self.known();
        let there = known.records.values().filter(|record| record.is_there());
        there.filter_map(|record| record.image_digest.clone()).collect()
    }

    /// Whether as many are there as may be.
    pub(crate) fn is_full(&self) -> bool {
        let known = self.known();
        limits::SNAPSHOTS_MAX <= known.records.values().filter(|one| one.is_there()).count()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever holds a layer reads it only.
fn read_only(path: &Path) -> io::Result<fs::Permissions> {
    let mut permissions = fs::metadata(path)?.permissions();
    permissions.set_readonly(true);
    Ok(permissions)
}

pub(crate) fn allocated(path: &Path) -> io::Result<u64> {
    const STAT_BLOCK_BYTES: u64 = 512;
    Ok(fs::metadata(path)?.blocks() * STAT_BLOCK_BYTES)
}

#[cfg(test)]
mod tests;
