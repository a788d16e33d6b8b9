//! Drives: named disks that outlive sandboxes.
//!
//! A drive is a stack of files in the folder `drives`: an empty file system at the bottom, and above
//! it what sessions wrote, each a file of its own until it is written into the one below. A session
//! that writes gets a new file on top; when its machine is gone the file becomes the drive's. So
//! snapshots and forks are of what the last writer left, whoever writes meanwhile, and a file that
//! something stands on never changes in what is seen through it.
//!
//! Whatever is made or removed is stored first. Files that nothing stored names are removed when a
//! server starts.

mod attach;
mod layers;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use image::disk::ext4::WriteError;

pub(crate) use attach::Plug;

use crate::{
    clock,
    ids::{DriveId, DriveName, LayerId, Project, SandboxName, SessionId},
    limits,
    store::{
        AttachmentRecord, Change, DriveChange, DriveRecord, Hold, LayerForm, LayerRecord, Store,
        StoreError,
    },
};

/// All drives of one server.
#[derive(Debug)]
pub(crate) struct Drives {
    folder: PathBuf,
    store: Store,
    known: Arc<Mutex<Known>>,
    /// Held while one is changed, so that store and memory say the same.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    drives: BTreeMap<DriveId, DriveRecord>,
    attachments: Vec<AttachmentRecord>,
    /// Those whose layers are being written into one another.
    merging: HashSet<DriveId>,
}

/// Why something is not done with a drive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriveError {
    #[error("There is no drive '{0}' in this project; `fumehood drive create {0}` makes one.")]
    NotFound(DriveName),
    #[error("The drive '{name}' is attached to the sandbox '{sandbox}'; stop that first.")]
    Attached { name: DriveName, sandbox: SandboxName },
    #[error("Nothing has been written to the drive '{0}' yet: mount it read-write first.")]
    NotInitialized(DriveName),
    #[error("There is a drive '{0}' in this project already.")]
    Exists(DriveName),
    #[error("The drive '{name}' is in the region '{region}'.")]
    Region { name: DriveName, region: String },
    #[error("{} drives are kept already; remove some", limits::DRIVES_MAX)]
    TooMany,
    #[error("the drive '{0}' is made of too many layers: it is a fork of a fork of … ")]
    TooDeep(DriveName),
    #[error("the drive could not be recorded")]
    Store(#[from] StoreError),
    #[error("the file system of the drive could not be made")]
    Format(#[from] WriteError),
    #[error("{path} cannot be made")]
    Io { path: PathBuf, source: io::Error },
}

/// A drive, and who writes to it.
#[derive(Clone, Debug)]
pub(crate) struct DriveView {
    pub(crate) record: DriveRecord,
    pub(crate) writer: Option<(SessionId, SandboxName)>,
    pub(crate) used_bytes: u64,
}

/// What a new drive is to be.
#[derive(Clone, Debug)]
pub(crate) struct NewDrive {
    pub(crate) project: Project,
    pub(crate) name: DriveName,
    pub(crate) region: Option<String>,
    pub(crate) bytes: u64,
}

/// Whether it was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    Now,
    Before,
}

impl Drives {
    pub(crate) fn new(
        folder: PathBuf,
        store: Store,
        drives: Vec<DriveRecord>,
        attachments: Vec<AttachmentRecord>,
    ) -> Self {
        let drives = drives.into_iter().map(|drive| (drive.id.clone(), drive)).collect();
        let known = Known { drives, attachments, merging: HashSet::new() };
        let known = Arc::new(Mutex::new(known));
        Self { folder, store, known, changing: tokio::sync::Mutex::default() }
    }

    /// Those of a project.
    pub(crate) fn list(&self, project: &Project) -> Vec<DriveView> {
        let known = self.known();
        let own = known.drives.values().filter(|drive| drive.project == *project);
        own.map(|drive| self.view(&known, drive)).collect()
    }

    /// By name or by id.
    pub(crate) fn find(
        &self,
        project: &Project,
        name: &DriveName,
    ) -> Result<DriveView, DriveError> {
        let known = self.known();
        let drive = known.find(project, name)?;
        Ok(self.view(&known, drive))
    }

    /// Makes a drive, or gives the one that is there. Its file system is made when it is first used.
    pub(crate) async fn create(&self, new: NewDrive) -> Result<(DriveView, Made), DriveError> {
        let _one_at_a_time = self.changing.lock().await;
        let there = self.find(&new.project, &new.name).ok();
        if let Some(there) = there {
            let is_elsewhere = new.region.is_some() && new.region != there.record.region;
            if let (true, Some(region)) = (is_elsewhere, there.record.region.clone()) {
                return Err(DriveError::Region { name: new.name, region });
            }
            return Ok((there, Made::Before));
        }
        let now = clock::now_ms();
        let record = DriveRecord {
            id: DriveId::random(),
            project: new.project,
            name: new.name,
            region: new.region,
            bytes: new.bytes,
            layers: vec![LayerRecord { id: LayerId::random(), form: LayerForm::Raw }],
            initialized: false,
            parent: None,
            root: None,
            created_at: now,
            updated_at: now,
        };
        Ok((self.keep(record).await?, Made::Now))
    }

    /// Makes another drive with what the last writer of this one left. It takes no time and no
    /// space.
    pub(crate) async fn fork(
        &self,
        project: &Project,
        name: &DriveName,
        fork: DriveName,
    ) -> Result<DriveView, DriveError> {
        let _one_at_a_time = self.changing.lock().await;
        let parent = self.find(project, name)?.record;
        if self.find(project, &fork).is_ok() {
            return Err(DriveError::Exists(fork));
        }
        if !parent.initialized {
            return Err(DriveError::NotInitialized(parent.name));
        }
        let now = clock::now_ms();
        let record = DriveRecord {
            id: DriveId::random(),
            name: fork,
            root: Some(parent.root.unwrap_or_else(|| parent.id.clone())),
            parent: Some(parent.id),
            created_at: now,
            updated_at: now,
            ..parent
        };
        self.keep(record).await
    }

    async fn keep(&self, record: DriveRecord) -> Result<DriveView, DriveError> {
        if limits::DRIVES_MAX <= self.known().drives.len() {
            return Err(DriveError::TooMany);
        }
        self.commit(vec![DriveChange::Drive(record.clone())]).await?;
        let known = self.known();
        Ok(self.view(&known, &record))
    }

    /// Removes a drive that no session has.
    pub(crate) async fn remove(
        &self,
        project: &Project,
        name: &DriveName,
    ) -> Result<DriveView, DriveError> {
        let _one_at_a_time = self.changing.lock().await;
        let view = self.find(project, name)?;
        let id = &view.record.id;
        let holder = {
            let known = self.known();
            let holder = known.attachments.iter().find(|held| held.drive == *id);
            holder.map(|held| held.sandbox.clone())
        };
        if let Some(sandbox) = holder {
            return Err(DriveError::Attached { name: view.record.name, sandbox });
        }
        self.commit(vec![DriveChange::RemoveDrive(id.clone())]).await?;
        let layers: Vec<_> = view.record.layers.iter().map(|layer| layer.id.clone()).collect();
        self.remove_unused(layers).await;
        Ok(view)
    }

    fn view(&self, known: &Known, drive: &DriveRecord) -> DriveView {
        let writes = |held: &&AttachmentRecord| {
            held.drive == drive.id && matches!(held.hold, Hold::Writer { .. })
        };
        let writer = known.attachments.iter().find(writes);
        let heads = writer.map(|held| self.bytes_of(&held.head, LayerForm::Qcow2));
        let layers = drive.layers.iter().map(|layer| self.bytes_of(&layer.id, layer.form));
        DriveView {
            used_bytes: layers.chain(heads).sum(),
            writer: writer.map(|held| (held.session.clone(), held.sandbox.clone())),
            record: drive.clone(),
        }
    }

    /// Stores changes, and knows them, also when who asked is gone: what is stored is known.
    async fn commit(&self, changes: Vec<DriveChange>) -> Result<(), StoreError> {
        let (store, known) = (self.store.clone(), Arc::clone(&self.known));
        let committed = tokio::spawn(async move {
            store.commit(changes.iter().cloned().map(Change::Drive).collect()).await?;
            let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
            changes.into_iter().for_each(|change| known.apply(change));
            Ok(())
        });
        committed.await.unwrap_or(Err(StoreError::Closed))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn find(&self, project: &Project, name: &DriveName) -> Result<&DriveRecord, DriveError> {
        let is_it = |drive: &&DriveRecord| {
            drive.project == *project && (drive.name == *name || drive.id.as_str() == name.as_str())
        };
        self.drives.values().find(is_it).ok_or_else(|| DriveError::NotFound(name.clone()))
    }

    fn apply(&mut self, change: DriveChange) {
        match change {
            DriveChange::Drive(record) => {
                self.drives.insert(record.id.clone(), record);
            }
            DriveChange::RemoveDrive(id) => {
                self.drives.remove(&id);
            }
            DriveChange::Attachment(record) => {
                self.forget(&record);
                self.attachments.push(record);
            }
            DriveChange::RemoveAttachment(record) => self.forget(&record),
        }
    }

    fn forget(&mut self, gone: &AttachmentRecord) {
        self.attachments.retain(|held| held.session != gone.session || held.path != gone.path);
    }

    /// How many drives and sessions stand on a layer.
    fn users(&self, layer: &LayerId) -> usize {
        let has = |layers: &[LayerRecord]| layers.iter().any(|one| one.id == *layer);
        let drives = self.drives.values().filter(|drive| has(&drive.layers)).count();
        let is_head = |held: &&AttachmentRecord| held.head == *layer || has(&held.layers);
        drives + self.attachments.iter().filter(is_head).count()
    }
}
