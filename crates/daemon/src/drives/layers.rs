//! The files that drives are made of.

use std::{
    collections::HashSet,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use image::disk::{
    ext4::{self, Layout, WriteError},
    tree::{Limits, Tree},
};
use machine::{Format, Layer};

use super::{DriveError, Drives};
use crate::{
    causes,
    ids::{DriveId, LayerId},
    store::{DriveChange, DriveRecord, LayerForm, LayerRecord},
};

/// 64 MiB, or a sixteenth of a small drive.
const JOURNAL_BLOCKS: u64 = 16_384;
const BLOCK_BYTES: u64 = 4096;
/// One for 16 KiB, as mke2fs has it, as long as that is not far more than anybody needs.
const BYTES_PER_INODE: u64 = 16 << 10;
const INODES_MAX: u64 = 1 << 24;

impl Drives {
    pub(super) fn path(&self, layer: &LayerId, form: LayerForm) -> PathBuf {
        let ending = match form {
            LayerForm::Raw => "raw",
            LayerForm::Qcow2 => "qcow2",
        };
        self.folder.join(format!("{}.{ending}", layer.as_str()))
    }

    pub(super) fn bytes_of(&self, layer: &LayerId, form: LayerForm) -> u64 {
        std::fs::metadata(self.path(layer, form)).map_or(0, |found| found.blocks() * 512)
    }

    /// As a machine is told of them: the uppermost first.
    pub(super) fn stack(&self, layers: &[LayerRecord]) -> Vec<Layer> {
        let layer = |layer: &LayerRecord| Layer {
            path: self.path(&layer.id, layer.form),
            format: match layer.form {
                LayerForm::Raw => Format::Raw,
                LayerForm::Qcow2 => Format::Qcow2,
            },
        };
        layers.iter().rev().map(layer).collect()
    }

    /// Makes the empty file system that everything stands on, if it is not there.
    pub(super) async fn format(&self, drive: &DriveRecord) -> Result<(), DriveError> {
        let Some(lowest) = drive.layers.first() else { return Ok(()) };
        let path = self.path(&lowest.id, lowest.form);
        if path.exists() {
            return Ok(());
        }
        let (bytes, draft) = (drive.bytes, path.with_extension("draft"));
        let io = |source| DriveError::Io { path: path.clone(), source };
        let to = draft.clone();
        let made = tokio::task::spawn_blocking(move || write_blank(&to, bytes));
        made.await.map_err(|error| io(io::Error::other(error)))??;
        tokio::fs::rename(&draft, &path).await.map_err(io)
    }

    /// Makes the file that takes what a session writes.
    pub(super) async fn make_head(&self, head: &LayerId, bytes: u64) -> Result<(), DriveError> {
        let path = self.path(head, LayerForm::Qcow2);
        let made = machine::make_overlay(&path, bytes).await;
        made.map_err(|source| DriveError::Io { path, source })
    }

    /// Removes the files of those layers that nothing stands on any more.
    pub(super) async fn remove_unused(&self, layers: Vec<LayerId>) {
        for layer in layers {
            if self.known().users(&layer) > 0 {
                continue;
            }
            for form in [LayerForm::Raw, LayerForm::Qcow2] {
                remove(&self.path(&layer, form)).await;
            }
        }
    }

    /// Removes files that nothing stored names: what was under way when a server was killed.
    pub(super) async fn sweep(&self) -> io::Result<()> {
        let mut entries = tokio::fs::read_dir(&self.folder).await?;
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            found.push(entry.path());
        }
        let named: HashSet<PathBuf> = {
            let known = self.known();
            let drives = known.drives.values().flat_map(|drive| &drive.layers);
            let held = known.attachments.iter().flat_map(|held| &held.layers);
            let layers = drives.chain(held).map(|layer| self.path(&layer.id, layer.form));
            let heads = known.attachments.iter();
            let heads = heads.map(|held| self.path(&held.head, LayerForm::Qcow2));
            layers.chain(heads).collect()
        };
        for path in found.into_iter().filter(|path| !named.contains(path)) {
            tracing::info!(path = %path.display(), "a file that belongs to no drive is removed");
            remove(&path).await;
        }
        Ok(())
    }

    /// Writes the uppermost layers of a drive into those below, as long as nothing else stands on
    /// them. What is seen through the stack is the same at every moment, so a session may begin on it
    /// meanwhile, and a server that is killed has lost nothing.
    pub(super) fn merge_in_background(self: &Arc<Self>, drive: DriveId) {
        if !self.known().merging.insert(drive.clone()) {
            return;
        }
        let drives = Arc::clone(self);
        tokio::spawn(async move {
            while let Some((top, below)) = drives.mergeable(&drive) {
                if let Err(error) = drives.merge(&drive, &top, &below).await {
                    tracing::error!(error = causes(&error), %drive, "its layers stay apart");
                    break;
                }
            }
            drives.known().merging.remove(&drive);
        });
    }

    /// The uppermost layer, and those below, if only this drive stands on the upper two.
    fn mergeable(&self, drive: &DriveId) -> Option<(LayerRecord, Vec<LayerRecord>)> {
        let known = self.known();
        let (top, below) = known.drives.get(drive)?.layers.split_last()?;
        let is_own = |layer: &LayerRecord| known.users(&layer.id) == 1;
        (is_own(top) && is_own(below.last()?)).then(|| (top.clone(), below.to_vec()))
    }

    async fn merge(
        &self,
        drive: &DriveId,
        top: &LayerRecord,
        below: &[LayerRecord],
    ) -> Result<(), DriveError> {
        let path = self.path(&top.id, top.form);
        let merged = machine::merge_overlay(&path, &self.stack(below)).await;
        merged.map_err(|source| DriveError::Io { path, source })?;
        {
            let _one_at_a_time = self.changing.lock().await;
            let Some(mut record) = self.known().drives.get(drive).cloned() else { return Ok(()) };
            record.layers.retain(|layer| layer.id != top.id);
            self.commit(vec![DriveChange::Drive(record)]).await?;
        }
        self.remove_unused(vec![top.id.clone()]).await;
        Ok(())
    }
}

async fn remove(path: &Path) {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(%error, path = %path.display(), "a drive's file was left behind");
        }
        Ok(()) | Err(_) => {}
    }
}

/// Writes an empty file system of so many bytes into a sparse file.
fn write_blank(path: &Path, bytes: u64) -> Result<(), WriteError> {
    let spool = tempfile::tempfile().map_err(|error| WriteError::Write(error.into()))?;
    let tree = Tree::new(spool, Limits::default());
    let journal = (bytes / BLOCK_BYTES / 16).min(JOURNAL_BLOCKS);
    let layout = Layout {
        label: "drive",
        size_bytes: bytes,
        journal_blocks: u32::try_from(journal).unwrap_or(u32::MAX),
        inodes: u32::try_from((bytes / BYTES_PER_INODE).min(INODES_MAX)).unwrap_or(u32::MAX),
    };
    ext4::write(&tree, path, layout).map(drop)
}
