//! The folder that holds what was built: each entry whole or not there at all, and never changed.
//!
//! ```text
//! ROOT/x86_64/kernels/6.12.117-1_amd64_1/{vmlinux, modules.ext4, boot-modules/, kernel.json}
//! ROOT/x86_64/images/RECIPE-DIGEST/{disk.ext4, image.json}
//! ROOT/x86_64/images/.names.json   what images are called: the one thing that changes
//! ROOT/blobs/sha256/DIGEST         see `oci::blob`
//! ```

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::architecture::{Architecture, UnsupportedArchitecture};
use crate::progress::{Event, Progress, Step};

/// What is being built has such a name until it is done; a build that died leaves it behind.
const DRAFT_PREFIX: &str = ".draft-";

/// See the module.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
    folder: PathBuf,
    architecture: Architecture,
}

/// What kinds of entries there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shelf {
    Kernels,
    Images,
}

impl Shelf {
    fn folder(self) -> &'static str {
        match self {
            Self::Kernels => "kernels",
            Self::Images => "images",
        }
    }

    /// The file in each entry that says what it is.
    fn record(self) -> &'static str {
        match self {
            Self::Kernels => "kernel.json",
            Self::Images => "image.json",
        }
    }
}

/// An entry as it is found.
#[derive(Debug)]
pub(crate) struct Entry<R> {
    pub(crate) folder: PathBuf,
    pub(crate) record: R,
}

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error(transparent)]
    Architecture(#[from] UnsupportedArchitecture),
    #[error("could not {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl Cache {
    /// The cache in `root` for this host's architecture; the folder is made when first needed.
    pub fn open(root: &Path) -> Result<Self, CacheError> {
        let architecture = Architecture::host()?;
        let folder = root.join(architecture.name());
        Ok(Self { root: root.to_owned(), folder, architecture })
    }

    /// Where that is which every architecture has a use for.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// Where the entries are: for messages.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn shelf(&self, shelf: Shelf) -> PathBuf {
        self.folder.join(shelf.folder())
    }

    /// All entries of a shelf, the newest first. One that cannot be read is passed over.
    pub(crate) fn entries<R: DeserializeOwned>(
        &self,
        shelf: Shelf,
    ) -> Result<Vec<Entry<R>>, CacheError> {
        let folder = self.shelf(shelf);
        let listing = match fs::read_dir(&folder) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(fault("list", &folder, error)),
        };
        let mut found = Vec::new();
        for item in listing {
            let item = item.map_err(|error| fault("list", &folder, error))?;
            if item.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            match read_entry(item.path(), shelf) {
                Ok(entry) => found.push(entry),
                Err(error) => {
                    tracing::warn!(path = %item.path().display(), %error, "unreadable cache entry");
                }
            }
        }
        found.sort_by(|(a, _), (b, _)| b.cmp(a));
        Ok(found.into_iter().map(|(_, entry)| entry).collect())
    }

    /// Keeps everyone else from building on this shelf until the claim is dropped, and clears away
    /// what builds that died have left.
    pub(crate) fn claim(&self, shelf: Shelf, progress: Progress<'_>) -> Result<Claim, CacheError> {
        let folder = self.shelf(shelf);
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o755);
        builder.create(&folder).map_err(|error| fault("make", &folder, error))?;
        let path = folder.join(".lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(|error| fault("open", &path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress(Event::Began(Step::WaitForOther));
                lock.lock().map_err(|error| fault("lock", &path, error))?;
            }
            Err(TryLockError::Error(error)) => return Err(fault("lock", &path, error)),
        }
        let claim = Claim { _lock: lock, folder };
        claim.sweep()?;
        Ok(claim)
    }
}

/// The right to build on a shelf.
#[derive(Debug)]
pub(crate) struct Claim {
    _lock: File,
    folder: PathBuf,
}

impl Claim {
    /// An empty folder for a new entry, gone again unless it is published.
    pub(crate) fn draft(&self) -> Result<Draft, CacheError> {
        let made = tempfile::Builder::new().prefix(DRAFT_PREFIX).tempdir_in(&self.folder);
        let folder = made.map_err(|error| fault("make a folder in", &self.folder, error))?;
        Ok(Draft { folder, shelf: self.folder.clone() })
    }

    /// Takes an entry off the shelf, at once for those who look; that there is none is no fault.
    pub(crate) fn withdraw(&self, name: &str) -> Result<(), CacheError> {
        let entry = self.folder.join(name);
        let gone = self.draft()?;
        match fs::rename(&entry, gone.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(fault("remove", &entry, error));
            }
            Ok(()) | Err(_) => {}
        }
        let path = gone.path().to_owned();
        gone.folder.close().map_err(|error| fault("clear away", &path, error))
    }

    fn sweep(&self) -> Result<(), CacheError> {
        let listing =
            fs::read_dir(&self.folder).map_err(|error| fault("list", &self.folder, error))?;
        for item in listing {
            let item = item.map_err(|error| fault("list", &self.folder, error))?;
            if item.file_name().as_encoded_bytes().starts_with(DRAFT_PREFIX.as_bytes()) {
                let path = item.path();
                fs::remove_dir_all(&path).map_err(|error| fault("clear away", &path, error))?;
            }
        }
        Ok(())
    }
}

/// An entry that is being built.
#[derive(Debug)]
pub(crate) struct Draft {
    folder: TempDir,
    shelf: PathBuf,
}

impl Draft {
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes the draft an entry, on disk before it can be seen. If there is one of that name it
    /// stays, as it has the same content.
    pub(crate) fn publish(self, name: &str) -> Result<PathBuf, CacheError> {
        let target = self.shelf.join(name);
        sync_tree(self.path()).map_err(|error| fault("write out", self.path(), error))?;
        let open = fs::set_permissions(self.path(), PermissionsExt::from_mode(0o755));
        open.map_err(|error| fault("open up", self.path(), error))?;
        match fs::rename(self.path(), &target) {
            Ok(()) => {
                // It is no longer where it would be cleaned up.
                let _moved = self.folder.keep();
                let synced = File::open(&self.shelf).and_then(|shelf| shelf.sync_all());
                synced.map_err(|error| fault("write out", &self.shelf, error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) => return Err(fault("publish", &target, error)),
        }
        Ok(target)
    }
}

fn read_entry<R: DeserializeOwned>(
    folder: PathBuf,
    shelf: Shelf,
) -> io::Result<(std::time::SystemTime, Entry<R>)> {
    let record = File::open(folder.join(shelf.record()))?;
    let made = record.metadata()?.modified()?;
    let record = serde_json::from_reader(io::BufReader::new(record))?;
    Ok((made, Entry { folder, record }))
}

/// Flushes every file of a shallow folder, and the folders.
fn sync_tree(folder: &Path) -> io::Result<()> {
    for item in fs::read_dir(folder)? {
        let item = item?;
        if item.file_type()?.is_dir() {
            sync_tree(&item.path())?;
        } else {
            File::open(item.path())?.sync_all()?;
        }
    }
    File::open(folder)?.sync_all()
}

fn fault(action: &'static str, path: &Path, source: io::Error) -> CacheError {
    CacheError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
