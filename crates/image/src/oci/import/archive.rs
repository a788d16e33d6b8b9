//! The parts of an archive by name, be it a folder or a tar.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::super::blob::{BlobError, Blobs};
use super::super::digest::Digest;
use super::super::layer;
use super::{ImportError, fault, open_file};
use crate::cache::Cache;
use crate::disk::tar;
use crate::disk::tree::{Found, Limits, Tree};
use crate::progress::{Event, Progress};

/// Of a tar: several images, their layers perhaps not compressed.
const LIMITS: Limits =
    Limits { entries: 200_000, metadata_bytes: 128 << 20, content_bytes: 64 << 30 };
const REPORT_BYTES: u64 = 8 << 20;

#[derive(Debug)]
pub(super) enum Archive {
    Folder(PathBuf),
    Tar(Box<Tree>),
}

impl Archive {
    pub(super) fn open(
        cache: &Cache,
        path: &Path,
        progress: Progress<'_>,
    ) -> Result<Self, ImportError> {
        let kind = fs::metadata(path).map_err(fault("look at", path))?.file_type();
        if kind.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        if !kind.is_file() {
            return Err(ImportError::Unknown { path: path.to_owned() });
        }
        let file = open_file(path).map_err(fault("open", path))?;
        let source = layer::unpacked(file).map_err(fault("read", path))?;
        let root = cache.root();
        fs::create_dir_all(root).map_err(fault("make", root))?;
        let spool = tempfile::tempfile_in(root).map_err(fault("make a file in", root))?;
        let counted = Counted { source, bytes: 0, progress };
        let tree = tar::tree_from_tar(counted, spool, LIMITS);
        let tree = tree.map_err(|source| ImportError::Tar { path: path.to_owned(), source })?;
        Ok(Self::Tar(Box::new(tree)))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        match self {
            Self::Folder(folder) => folder.join(name).is_file(),
            Self::Tar(tree) => matches!(tree.look_up(name), Found::File { .. }),
        }
    }

    /// The whole of a part of at most `limit` bytes.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, ImportError> {
        self.with(name, |source| {
            let mut bytes = Vec::new();
            source.take(limit + 1).read_to_end(&mut bytes).map_err(fault("read", name.as_ref()))?;
            if bytes.len() as u64 > limit {
                let (name, what) = (name.to_owned(), "bytes");
                return Err(ImportError::Limit { name, what, limit });
            }
            Ok(bytes)
        })
    }

    /// Files a part of at most `limit` bytes as a blob, and says what it is.
    pub(super) fn file(
        &self,
        name: &str,
        blobs: &Blobs,
        limit: u64,
    ) -> Result<(Digest, u64), ImportError> {
        self.with(name, |source| match blobs.take(source, limit) {
            Err(BlobError::TooLarge { limit, .. }) => {
                Err(ImportError::Limit { name: name.to_owned(), what: "bytes", limit })
            }
            taken => Ok(taken?),
        })
    }

    fn with<T>(
        &self,
        name: &str,
        take: impl FnOnce(&mut dyn Read) -> Result<T, ImportError>,
    ) -> Result<T, ImportError> {
        let missing = || ImportError::Part { name: name.chars().take(200).collect() };
        match self {
            Self::Folder(folder) => {
                let path = folder.join(name);
                let mut file = match open_file(&path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
                    Err(error) => return Err(fault("open", &path)(error)),
                };
                take(&mut file)
            }
            Self::Tar(tree) => take(&mut tree.open(name).ok_or_else(missing)?),
        }
    }
}

struct Counted<'a, R> {
    source: R,
    bytes: u64,
    progress: Progress<'a>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.source.read(buf)?;
        let before = self.bytes;
        self.bytes += got as u64;
        if before / REPORT_BYTES != self.bytes / REPORT_BYTES {
            (self.progress)(Event::Advanced { bytes: self.bytes, total: None });
        }
        Ok(got)
    }
}
