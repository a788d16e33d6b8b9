//! Images out of archives and folders: a tar of `docker save`, a folder or a tar of an OCI layout.
//!
//! An archive is read into a tree first, so that its parts can be had in any order and none of its
//! names touches the host's file system; what a manifest asks for is then filed as blobs.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::blob::{BlobError, Blobs};
use super::config::ConfigError;
use super::convert::{self, ConvertError};
use super::digest::Digest;
use super::manifest::ManifestError;
use super::platform::PlatformError;
use crate::architecture::Architecture;
use crate::cache::Cache;
use crate::catalog::Image;
use crate::disk::tar::TarError;
use crate::progress::{Event, Progress, Step};

mod archive;
mod docker;
mod layout;

use archive::Archive;

/// How many names of an archive an error lists.
const SHOWN_MAX: usize = 30;

/// What came out of an archive.
#[derive(Debug)]
pub struct Imported {
    pub image: Image,
    /// What the archive calls it, in its own words: `busybox:latest`, `docker.io/library/busybox:1`
    /// or a tag alone. The image has not been given these names.
    pub names: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("could not {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("could not read {path} as a tar archive")]
    Tar { path: PathBuf, source: TarError },
    #[error("{path} is neither an OCI layout nor an archive of `docker save`")]
    Unknown { path: PathBuf },
    #[error("the archive has no {name}")]
    Part { name: String },
    #[error("the archive's {name} is not what it should be")]
    Json { name: &'static str, source: serde_json::Error },
    #[error("the archive's {name} cannot be used")]
    Manifest { name: String, source: ManifestError },
    #[error("the archive's config {name} cannot be used")]
    Config { name: String, source: ConfigError },
    #[error("the archive's {name} has more {what} than the limit of {limit}")]
    Limit { name: String, what: &'static str, limit: u64 },
    #[error("the archive holds no image that is called {wanted:?}, but {found}")]
    NoSuchName { wanted: String, found: String },
    #[error("the archive holds several images: name one of {found}")]
    Several { found: String },
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Convert(#[from] ConvertError),
}

/// The image in `path`, its blobs filed and converted. Of several images the one that the archive
/// calls `wanted`, in full or but for what comes before a slash.
pub fn import(
    cache: &Cache,
    blobs: &Blobs,
    path: &Path,
    wanted: Option<&str>,
    progress: Progress<'_>,
) -> Result<Imported, ImportError> {
    progress(Event::Began(Step::ReadArchive));
    let archive = Archive::open(cache, path, progress)?;
    let parts = Parts {
        archive: &archive,
        blobs,
        architecture: cache.architecture(),
        filed: RefCell::default(),
        present: blobs.list()?.into_iter().map(|kept| kept.digest).collect(),
    };
    let imported = parts.manifest(path, wanted).and_then(|(manifest, names)| {
        let image = convert::convert(cache, blobs, &manifest, None, progress)?;
        Ok(Imported { image, names })
    });
    if imported.is_err() {
        parts.forget();
    }
    imported
}

/// What the readers of both forms need.
struct Parts<'a> {
    archive: &'a Archive,
    blobs: &'a Blobs,
    architecture: Architecture,
    /// What came from this archive.
    filed: RefCell<Vec<Digest>>,
    /// What was there before.
    present: BTreeSet<Digest>,
}

impl Parts<'_> {
    /// Files the blobs of one image; gives its manifest and its names.
    fn manifest(
        &self,
        path: &Path,
        wanted: Option<&str>,
    ) -> Result<(Digest, Vec<String>), ImportError> {
        match self.archive {
            archive if archive.has("index.json") => layout::import(self, wanted),
            // Its names lead anywhere, so that they are not looked for in a folder.
            Archive::Tar(_) if self.archive.has("manifest.json") => docker::import(self, wanted),
            Archive::Tar(_) | Archive::Folder(_) => {
                Err(ImportError::Unknown { path: path.to_owned() })
            }
        }
    }

    /// Files the part of that name, which is to have this digest and size.
    fn file(&self, name: &str, digest: Digest, bytes: u64) -> Result<(), ImportError> {
        if self.blobs.size(&digest)? == Some(bytes) {
            return Ok(());
        }
        match self.take(name, bytes)? {
            (found, _) if found != digest => Err(BlobError::Digest { digest, found }.into()),
            (_, found) if found != bytes => {
                Err(BlobError::Size { digest, expected: bytes, found }.into())
            }
            _ => Ok(()),
        }
    }

    /// Files the part of that name, whatever it is, of at most `limit` bytes.
    fn take(&self, name: &str, limit: u64) -> Result<(Digest, u64), ImportError> {
        let (digest, bytes) = self.archive.file(name, self.blobs, limit)?;
        self.filed.borrow_mut().push(digest);
        Ok((digest, bytes))
    }

    fn put(&self, bytes: &[u8]) -> Result<Digest, ImportError> {
        let digest = self.blobs.put(bytes)?;
        self.filed.borrow_mut().push(digest);
        Ok(digest)
    }

    /// Leaves the blobs as they were.
    fn forget(&self) {
        for digest in self.filed.borrow().iter().filter(|digest| !self.present.contains(digest)) {
            if let Err(error) = self.blobs.remove(digest) {
                tracing::warn!(%digest, %error, "a blob of an archive was left");
            }
        }
    }
}

/// The only one, or the one of that name.
fn pick<'a, T>(
    items: &'a [T],
    names: impl Fn(&T) -> Vec<String>,
    wanted: Option<&str>,
) -> Result<&'a T, ImportError> {
    let found = || {
        let all: Vec<_> = items.iter().flat_map(&names).take(SHOWN_MAX).collect();
        if all.is_empty() { "ones without names".to_owned() } else { all.join(", ") }
    };
    match (wanted, items) {
        (None, [only]) => Ok(only),
        (None, []) => Err(ImportError::Part { name: "image".to_owned() }),
        (None, _) => Err(ImportError::Several { found: found() }),
        (Some(wanted), _) => {
            let is_in_full = |item: &&T| names(item).iter().any(|name| name == wanted);
            let end = format!("/{wanted}");
            let is_in_part = |item: &&T| names(item).iter().any(|name| name.ends_with(&end));
            let exact = items.iter().find(is_in_full);
            exact.or_else(|| items.iter().find(is_in_part)).ok_or_else(|| ImportError::NoSuchName {
                wanted: wanted.to_owned(),
                found: found(),
            })
        }
    }
}

fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImportError {
    let path = path.to_owned();
    move |source| ImportError::Io { action, path, source }
}

/// A file to be read, and not something that reading from would wait or have an effect.
fn open_file(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    File::open(path)
}
