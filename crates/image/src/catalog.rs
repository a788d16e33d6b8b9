//! The images in the cache: what there is, and the one of a name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, CacheError, Entry, Shelf};

/// An image in the cache.
#[derive(Debug, Clone)]
pub struct Image {
    folder: PathBuf,
    record: Record,
}

/// What is written beside the disk, as `image.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) name: String,
    /// Of the disk's content.
    pub(crate) digest: String,
    /// What the image was made from, for one that we make ourselves.
    pub(crate) recipe: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) content_bytes: u64,
    pub(crate) config: Config,
}

/// How a command runs when its caller does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub user: String,
    pub home: String,
    pub cwd: String,
    pub env: BTreeMap<String, String>,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("there is no image {name:?} in {folder}; `fumehood setup` makes the default one")]
    Missing { name: String, folder: PathBuf },
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Image {
    pub(crate) fn new(folder: PathBuf, record: Record) -> Self {
        Self { folder, record }
    }

    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Hexadecimal SHA-256 over everything on the disk.
    pub fn digest(&self) -> &str {
        &self.record.digest
    }

    /// Seconds since 1970.
    pub fn created(&self) -> u64 {
        self.record.created
    }

    /// The raw, sparse ext4; never to be written to.
    pub fn disk(&self) -> PathBuf {
        self.folder.join(DISK_NAME)
    }

    /// How large the guest sees the disk.
    pub fn disk_bytes(&self) -> u64 {
        self.record.disk_bytes
    }

    /// The sum of all files in it.
    pub fn content_bytes(&self) -> u64 {
        self.record.content_bytes
    }

    /// What the disk takes of the host's.
    pub fn allocated_bytes(&self) -> io::Result<u64> {
        allocated_bytes(&self.disk())
    }

    pub fn config(&self) -> &Config {
        &self.record.config
    }

    pub(crate) fn recipe(&self) -> &str {
        &self.record.recipe
    }
}

pub(crate) const DISK_NAME: &str = "disk.ext4";

/// All images, the newest first; there may be several of one name.
pub fn list(cache: &Cache) -> Result<Vec<Image>, CacheError> {
    let entries = cache.entries(Shelf::Images)?.into_iter();
    Ok(entries.map(|Entry { folder, record }| Image::new(folder, record)).collect())
}

/// The newest image of that name.
pub fn open(cache: &Cache, name: &str) -> Result<Image, OpenError> {
    let found = list(cache)?.into_iter().find(|image| image.name() == name);
    let missing =
        || OpenError::Missing { name: name.to_owned(), folder: cache.folder().to_owned() };
    found.ok_or_else(missing)
}

fn allocated_bytes(path: &Path) -> io::Result<u64> {
    const STAT_BLOCK_BYTES: u64 = 512;
    Ok(fs::metadata(path)?.blocks() * STAT_BLOCK_BYTES)
}

#[cfg(test)]
mod tests;
