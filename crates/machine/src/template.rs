//! Templates on disk: `<dir>/<key>/{ram,state,template.json}`, and for one that has written to its disk
//! `overlay.qcow2`; complete only under their key's name.

use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::{Key, MachineId, Shape, make_blank_overlay};

const RAM: &str = "ram";
const STATE: &str = "state";
const OVERLAY: &str = "overlay.qcow2";
const RECORD: &str = "template.json";
const DRAFT: &str = ".draft-";
const LOCK: &str = "lock";

/// A machine frozen before first use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    key: Key,
    folder: PathBuf,
    shape: Shape,
    label: Option<String>,
    disk: Disk,
}

/// What a template's machine has written to its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Disk {
    #[default]
    Nothing,
    /// It is in the overlay.
    Overlay,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    key: Key,
    shape: Shape,
    #[serde(default)]
    disk: Disk,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    #[error("{path} cannot be used")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is not a template")]
    Malformed { path: PathBuf, source: serde_json::Error },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> TemplateError {
    let path = path.to_owned();
    move |source| TemplateError::Io { path, source }
}

impl Template {
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What its maker has written on it, to know it by later: keys tell nothing.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// What it takes of the host's disk.
    pub fn allocated_bytes(&self) -> io::Result<u64> {
        const STAT_BLOCK_BYTES: u64 = 512;
        let blocks = |path: PathBuf| Ok(std::fs::metadata(path)?.blocks());
        [self.ram(), self.state()]
            .into_iter()
            .chain(self.overlay())
            .map(blocks)
            .sum::<io::Result<u64>>()
            .map(|blocks| blocks * STAT_BLOCK_BYTES)
    }

    /// When it was made, or last used by someone who has [noted](Self::note_use) it.
    pub fn last_used(&self) -> io::Result<SystemTime> {
        std::fs::metadata(self.folder.join(RECORD))?.modified()
    }

    /// Notes that it is used now.
    pub fn note_use(&self, now: SystemTime) -> io::Result<()> {
        note_use_of(&self.ram(), now)
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn ram(&self) -> PathBuf {
        self.folder.join(RAM)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join(STATE)
    }

    fn overlay(&self) -> Option<PathBuf> {
        match self.disk {
            Disk::Nothing => None,
            Disk::Overlay => Some(self.folder.join(OVERLAY)),
        }
    }

    /// Makes at `file` the overlay that a clone has its root on, with what the template has written to its
    /// own. `cache` is as for [`make_blank_overlay`].
    pub async fn make_overlay(&self, cache: &Path, file: &Path) -> io::Result<()> {
        let Some(overlay) = self.overlay() else { return make_blank_overlay(cache, file).await };
        tokio::fs::copy(overlay, file).await?;
        // The template's is for reading only.
        tokio::fs::set_permissions(file, Permissions::from_mode(0o600)).await
    }

    fn read(folder: &Path) -> Result<Self, TemplateError> {
        let path = folder.join(RECORD);
        let text = std::fs::read(&path).map_err(at(&path))?;
        let record: Record = serde_json::from_slice(&text)
            .map_err(|source| TemplateError::Malformed { path, source })?;
        let Record { key, shape, label, disk } = record;
        Ok(Self { key, folder: folder.to_owned(), shape, label, disk })
    }
}

/// Notes that the template whose memory this is is used now.
pub(crate) fn note_use_of(ram: &Path, now: SystemTime) -> io::Result<()> {
    File::open(ram.with_file_name(RECORD))?.set_modified(now)
}

/// The folder that holds the templates.
#[derive(Clone, Debug)]
pub struct Templates {
    dir: PathBuf,
}

impl Templates {
    /// Opens (and makes) the folder and removes drafts that were left behind.
    pub fn open(dir: &Path) -> Result<Self, TemplateError> {
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        let dir = dir.canonicalize().map_err(at(dir))?;
        let templates = Self { dir };
        for name in templates.names()?.iter().filter(|name| name.starts_with(DRAFT)) {
            remove_abandoned(&templates.dir.join(name))?;
        }
        Ok(templates)
    }

    pub fn find(&self, key: &Key) -> Result<Option<Template>, TemplateError> {
        match Template::read(&self.dir.join(key.as_str())) {
            Ok(template) => Ok((template.key == *key).then_some(template)),
            Err(TemplateError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Those that are whole.
    pub fn list(&self) -> Result<Vec<Template>, TemplateError> {
        let names = self.names()?;
        let finished = names.iter().filter(|name| !name.starts_with('.'));
        let read = finished.map(|name| Template::read(&self.dir.join(name)));
        Ok(read.filter_map(|one| one.inspect_err(|error| tracing::warn!(%error)).ok()).collect())
    }

    /// Machines that run on it are not disturbed.
    pub fn remove(&self, key: &Key) -> Result<(), TemplateError> {
        // Out of sight first, so that half a template is never found.
        let aside = self.dir.join(format!("{DRAFT}{}", MachineId::random()));
        let folder = self.dir.join(key.as_str());
        match std::fs::rename(&folder, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(at(&folder)(error)),
            Ok(()) => clear_away(&aside),
        }
    }

    /// A place for a template in the making.
    pub fn draft(&self, key: &Key, shape: Shape) -> Result<Draft, TemplateError> {
        let folder = self.dir.join(format!("{DRAFT}{}", MachineId::random()));
        std::fs::create_dir(&folder).map_err(at(&folder))?;
        let lock = lock(&folder).map_err(at(&folder))?;
        Ok(Draft { key: key.clone(), folder, shape, label: None, lock: Some(lock) })
    }

    fn names(&self) -> Result<Vec<String>, TemplateError> {
        let entries = std::fs::read_dir(&self.dir).map_err(at(&self.dir))?;
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }
}

fn lock(folder: &Path) -> io::Result<File> {
    let file = File::create(folder.join(LOCK))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Removes a draft unless somebody is at work on it.
fn remove_abandoned(folder: &Path) -> Result<(), TemplateError> {
    match lock(folder) {
        Ok(_lock) => clear_away(folder),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at(folder)(error)),
    }
}

/// Another server may be at the same: what the two leave is for the next one that opens the folder.
fn clear_away(folder: &Path) -> Result<(), TemplateError> {
    match std::fs::remove_dir_all(folder) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Err(at(folder)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// When a template's memory is on the disk, so that the host can lose its power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDisk {
    Now,
    /// Who needs it there sees to that.
    Later,
}

/// A template in the making; dropped without being saved, it is removed.
#[derive(Debug)]
pub struct Draft {
    key: Key,
    folder: PathBuf,
    shape: Shape,
    label: Option<String>,
    /// Held while it is worked on; none once it is in place.
    lock: Option<File>,
}

impl Draft {
    /// The file for the machine's memory, see [`crate::Ram::Shared`].
    #[must_use]
    pub fn ram(&self) -> PathBuf {
        self.folder.join(RAM)
    }

    /// The file for the overlay of the machine's root, if clones are to have what is written to it. There
    /// is none before it is made.
    #[must_use]
    pub fn overlay(&self) -> PathBuf {
        self.folder.join(OVERLAY)
    }

    /// Writes on it what it is to be known by, see [`Template::label`].
    #[must_use]
    pub fn labelled(mut self, label: &str) -> Self {
        self.label = Some(label.to_owned());
        self
    }

    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Puts the template in its place with this saved state. If one with the same key is there
    /// already, that one is it.
    pub(crate) fn finish(mut self, state: &Path, memory: OnDisk) -> io::Result<Template> {
        std::fs::copy(state, self.folder.join(STATE))?;
        let label = self.label.clone();
        let disk = if self.overlay().try_exists()? { Disk::Overlay } else { Disk::Nothing };
        let record = Record { key: self.key.clone(), shape: self.shape, disk, label };
        std::fs::write(self.folder.join(RECORD), serde_json::to_vec_pretty(&record)?)?;
        let overlay = (disk == Disk::Overlay).then_some(OVERLAY);
        for name in [RAM, STATE, RECORD].into_iter().chain(overlay) {
            // On disk before it has its name: what is found is complete, after a power cut too.
            let file = File::open(self.folder.join(name))?;
            let mut permissions = file.metadata()?.permissions();
            permissions.set_readonly(true);
            file.set_permissions(permissions)?;
            if name != RAM || memory == OnDisk::Now {
                file.sync_all()?;
            }
        }
        let dir = self.folder.parent().unwrap_or(Path::new("/")).to_owned();
        let place = dir.join(self.key.as_str());
        if let Ok(there) = Template::read(&place) {
            // Dropped, this one is removed.
            return Ok(there);
        }
        if place.exists() {
            std::fs::remove_dir_all(&place)?;
        }
        std::fs::rename(&self.folder, &place)?;
        self.lock = None;
        // Not before: without it the draft would be one that was left behind.
        std::fs::remove_file(place.join(LOCK))?;
        File::open(&dir)?.sync_all()?;
        Template::read(&place).map_err(io::Error::other)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.lock.is_some()
            && let Err(error) = std::fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(folder = %self.folder.display(), %error, "a draft is left behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { vcpus: 1, memory_mib: 64 };

    fn key(text: &str) -> Key {
        serde_json::from_value(text.into()).unwrap()
    }

    fn finished(templates: &Templates, name: &str, ram: &str) -> Template {
        let draft = templates.draft(&key(name), SHAPE).unwrap().labelled(name);
        std::fs::write(draft.ram(), ram).unwrap();
        let state = templates.dir.join("../state");
        std::fs::write(&state, "state").unwrap();
        draft.finish(&state, OnDisk::Now).unwrap()
    }

    #[test]
    fn a_template_is_there_when_it_is_complete() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("templates");
        let templates = Templates::open(&dir).unwrap();
        assert_eq!(templates.find(&key("a")).unwrap(), None);
        let draft = templates.draft(&key("a"), SHAPE).unwrap();
        std::fs::write(draft.ram(), "half").unwrap();
        assert_eq!(templates.find(&key("a")).unwrap(), None);
        drop(draft);
        let made = finished(&templates, "a", "ram");
        assert_eq!(templates.find(&key("a")).unwrap(), Some(made.clone()));
        assert_eq!(std::fs::read(made.ram()).unwrap(), b"ram");
        assert_eq!((made.shape(), made.label()), (SHAPE, Some("a")));
        let later = made.last_used().unwrap() + std::time::Duration::from_secs(60);
        made.note_use(later).unwrap();
        assert_eq!(made.last_used().unwrap(), later);
        let other = finished(&templates, "b", "ram");
        assert_eq!(templates.list().unwrap(), [made, other]);
        templates.remove(&key("a")).unwrap();
        templates.remove(&key("a")).unwrap();
        assert_eq!(templates.find(&key("a")).unwrap(), None);
        assert_eq!(templates.list().unwrap().len(), 1);
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "a draft is left behind");
    }

    #[test]
    fn of_two_that_make_the_same_the_first_stays() {
        let root = tempfile::tempdir().unwrap();
        let templates = Templates::open(&root.path().join("templates")).unwrap();
        finished(&templates, "a", "first");
        let second = finished(&templates, "a", "second");
        assert_eq!(std::fs::read(second.ram()).unwrap(), b"first");
        assert_eq!(templates.names().unwrap(), ["a"]);
    }

    #[test]
    fn what_is_not_a_template_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("templates");
        let templates = Templates::open(&dir).unwrap();
        std::fs::create_dir(dir.join("a")).unwrap();
        std::fs::write(dir.join("a/ram"), "damaged").unwrap();
        assert_eq!(templates.find(&key("a")).unwrap(), None);
        assert_eq!(templates.list().unwrap(), []);
        let made = finished(&templates, "a", "whole");
        assert_eq!(std::fs::read(made.ram()).unwrap(), b"whole");
    }

    #[test]
    fn drafts_left_behind_are_removed_and_those_in_the_making_are_not() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("templates");
        let templates = Templates::open(&dir).unwrap();
        let working = templates.draft(&key("a"), SHAPE).unwrap();
        std::fs::create_dir_all(dir.join(".draft-left")).unwrap();
        std::fs::write(dir.join(".draft-left/ram"), "x").unwrap();
        let again = Templates::open(&dir).unwrap();
        assert!(working.folder.exists());
        assert_eq!(again.names().unwrap().len(), 1);
    }
}
