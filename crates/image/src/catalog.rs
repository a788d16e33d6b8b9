//! The images in the cache: what there is, and the one of a name.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, CacheError, Entry, Shelf};
use crate::oci::digest::Digest;
use crate::progress::Progress;
use crate::recipe;

mod config;
mod names;

pub use config::Config;
pub(crate) use config::DEFAULT_PATH;
use names::Names;
pub use names::NamesError;

/// An image in the cache.
#[derive(Debug, Clone)]
pub struct Image {
    folder: PathBuf,
    record: Record,
    names: Vec<String>,
}

/// What is written beside the disk, as `image.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// That of a recipe; `sha256:…` of the manifest for others, whose names are kept apart.
    pub(crate) name: String,
    /// Of the disk's content.
    pub(crate) digest: String,
    /// What the image was made from, for one that we make ourselves; else the key of the conversion.
    pub(crate) recipe: String,
    /// Of an image that was converted: its manifest, whose blobs may still be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) manifest: Option<Digest>,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) content_bytes: u64,
    pub(crate) config: Config,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("there is no image {name:?} in {folder}; `fumehood setup` makes the default one")]
    Missing { name: String, folder: PathBuf },
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Names(#[from] NamesError),
}

impl Image {
    pub(crate) fn new(folder: PathBuf, record: Record) -> Self {
        Self { folder, record, names: Vec::new() }
    }

    /// The first of its names, or else what always leads to it.
    pub fn name(&self) -> &str {
        self.names.first().unwrap_or(&self.record.name)
    }

    /// Those that it was given with [`name`], in their order. The default image has none of these.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether this is one of its names, or what always leads to it.
    pub fn is_called(&self, name: &str) -> bool {
        self.record.name == name || self.names.iter().any(|own| own == name)
    }

    /// The same under this of its names alone, if that is one of them.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        if self.names.iter().any(|own| own == name) {
            self.names.retain(|own| own == name);
        }
        self
    }

    /// The manifest of an image that was converted.
    pub fn manifest(&self) -> Option<Digest> {
        self.record.manifest
    }

    /// What it was made of: the digest of its manifest, or the key of its recipe. Images of one disk may
    /// run commands otherwise; this and the disk's digest are of one image alone.
    pub fn origin(&self) -> String {
        let manifest = self.record.manifest.map(|digest| digest.to_string());
        manifest.unwrap_or_else(|| self.record.recipe.clone())
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

/// All images, the newest first; there may be several of one recipe.
pub fn list(cache: &Cache) -> Result<Vec<Image>, OpenError> {
    let names = Names::read(&folder(cache))?;
    let with_names = |Entry { folder, record }| {
        let names = names.of(&entry_name(&folder));
        Image { names, ..Image::new(folder, record) }
    };
    Ok(cache.entries(Shelf::Images)?.into_iter().map(with_names).collect())
}

/// The image that has been given the name, or else the newest one of the recipe, or the one of the
/// manifest `sha256:…`. Of default images one that this version makes comes before newer ones of
/// another, which may use the same cache.
pub fn open(cache: &Cache, name: &str) -> Result<Image, OpenError> {
    let images = list(cache)?;
    let named = images.iter().find(|image| image.names.iter().any(|other| other == name));
    let of_recipe = || images.iter().filter(|image| image.record.name == name);
    let ours = || {
        let recipe = recipe::recipe_key(cache);
        of_recipe().find(|image| image.recipe() == recipe)
    };
    let found = named.or_else(ours).or_else(|| of_recipe().next());
    let missing =
        || OpenError::Missing { name: name.to_owned(), folder: cache.folder().to_owned() };
    found.cloned().ok_or_else(missing)
}

/// Gives the image a further name, and takes it from the image that had it.
pub fn name(cache: &Cache, image: &Image, name: &str) -> Result<(), NamesError> {
    let entry = entry_name(&image.folder);
    Names::change(&folder(cache), |names| names.set(name, entry))
}

/// Takes a name away from whatever image has it. The image stays.
pub fn forget(cache: &Cache, name: &str) -> Result<(), NamesError> {
    Names::change(&folder(cache), |names| {
        names.forget(name);
        Ok(())
    })
}

/// Takes the image out of the cache, with its names. Nothing may stand on its disk any more.
pub fn remove(cache: &Cache, image: &Image, progress: Progress<'_>) -> Result<(), OpenError> {
    let claim = cache.claim(Shelf::Images, progress)?;
    let entry = entry_name(&image.folder);
    claim.withdraw(&entry)?;
    // Most have none.
    drop(fs::remove_file(layered_path(cache, image)));
    Names::change(&folder(cache), |names| {
        names.forget_all(&entry);
        Ok(())
    })?;
    Ok(())
}

/// The manifest of the layers that were made out of an image's disk, of one that was not made of layers.
pub(crate) fn layered(cache: &Cache, image: &Image) -> Option<Digest> {
    let text = fs::read_to_string(layered_path(cache, image)).ok()?;
    text.trim().parse().ok()
}

/// Keeps in mind what [`layered`] tells.
pub(crate) fn set_layered(cache: &Cache, image: &Image, manifest: &Digest) -> io::Result<()> {
    let path = layered_path(cache, image);
    let folder = path.parent().unwrap_or(&path);
    fs::create_dir_all(folder)?;
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    io::Write::write_all(&mut draft, manifest.to_string().as_bytes())?;
    draft.as_file().sync_all()?;
    draft.persist(&path).map(drop).map_err(|error| error.error)
}

fn layered_path(cache: &Cache, image: &Image) -> PathBuf {
    folder(cache).join(".layered").join(entry_name(&image.folder))
}

fn folder(cache: &Cache) -> PathBuf {
    cache.shelf(Shelf::Images)
}

/// What an entry is called on its shelf.
fn entry_name(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn allocated_bytes(path: &Path) -> io::Result<u64> {
    const STAT_BLOCK_BYTES: u64 = 512;
    Ok(fs::metadata(path)?.blocks() * STAT_BLOCK_BYTES)
}

#[cfg(test)]
mod tests;
