//! From a manifest whose blobs are here to an image in the catalogue.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use super::blob::{BlobError, Blobs};
use super::config::{ConfigError, ImageConfig};
use super::digest::Digest;
use super::layer::{self, LayerError};
use super::manifest::{CONFIG_BYTES_MAX, Document, MANIFEST_BYTES_MAX, Manifest, ManifestError};
use super::platform::{Platform, PlatformError};
use crate::cache::{Cache, CacheError, Claim, Shelf};
use crate::catalog::{self, Config, DISK_NAME, Image, NamesError, OpenError, Record};
use crate::disk::ext4::{self, ROOT_DISK, WRITER_VERSION, WriteError};
use crate::disk::neighbours::Neighbours;
use crate::disk::path::TreePath;
use crate::disk::tree::{Found, Limits, Meta, Time, Tree};
use crate::progress::{Event, Progress, Step};

/// Part of every key: raise it when the same manifest gives another disk or record than before.
const CONVERSION_VERSION: u32 = 2;

/// How often the reading is reported.
const REPORT_BYTES: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("the manifest {digest} cannot be used")]
    Manifest { digest: Digest, source: ManifestError },
    #[error("{digest} is an index; it is one of its images that can be converted")]
    Index { digest: Digest },
    #[error("the config {digest} cannot be used")]
    Config { digest: Digest, source: ConfigError },
    #[error("the image has {layers} layers, and its config says {diff_ids}")]
    LayerCount { layers: usize, diff_ids: usize },
    #[error(transparent)]
    Platform(#[from] PlatformError),
    #[error("the layer {digest} cannot be used")]
    Layer { digest: Digest, source: LayerError },
    #[error("could not write the image's disk")]
    Disk(#[from] WriteError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Catalog(#[from] OpenError),
    #[error(transparent)]
    Names(#[from] NamesError),
    #[error("could not {action} {path}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// The image of a manifest whose config and layers are all in `blobs`; it is made unless it is in
/// the cache. With a `name` the image is called so from now on, whatever was before. The same
/// manifest gives the same disk, byte for byte.
pub fn convert(
    cache: &Cache,
    blobs: &Blobs,
    manifest: &Digest,
    name: Option<&str>,
    progress: Progress<'_>,
) -> Result<Image, ConvertError> {
    let image = match find(cache, manifest)? {
        Some(image) => image,
        None => {
            let source = Source::read(cache, blobs, manifest)?;
            let claim = cache.claim(Shelf::Images, progress)?;
            match find(cache, manifest)? {
                Some(image) => image,
                None => source.build(cache, &claim, progress)?,
            }
        }
    };
    match name {
        Some(name) => {
            catalog::name(cache, &image, name)?;
            Ok(catalog::open(cache, name)?)
        }
        None => Ok(image),
    }
}

/// The image of this manifest, if it was converted already; its blobs need not be here.
pub fn find(cache: &Cache, manifest: &Digest) -> Result<Option<Image>, OpenError> {
    let key = key(cache, manifest);
    Ok(catalog::list(cache)?.into_iter().find(|image| image.recipe() == key))
}

/// A manifest that is in `blobs`.
pub fn manifest(blobs: &Blobs, digest: &Digest) -> Result<Manifest, ConvertError> {
    let bytes = blobs.read(digest, MANIFEST_BYTES_MAX)?;
    match Document::parse(&bytes, None) {
        Ok(Document::Manifest(manifest)) => Ok(manifest),
        Ok(Document::Index(_)) => Err(ConvertError::Index { digest: *digest }),
        Err(source) => Err(ConvertError::Manifest { digest: *digest, source }),
    }
}

/// Changes with everything that the disk and its record depend on.
fn key(cache: &Cache, manifest: &Digest) -> String {
    let all = (CONVERSION_VERSION, WRITER_VERSION, ROOT_DISK, cache.architecture(), manifest);
    let digest = Sha256::digest(format!("{all:?}"));
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("oci-{digits}")
}

/// All that an image is made from, known to be there.
struct Source<'a> {
    blobs: &'a Blobs,
    digest: Digest,
    manifest: Manifest,
    config: ImageConfig,
}

impl<'a> Source<'a> {
    fn read(cache: &Cache, blobs: &'a Blobs, digest: &Digest) -> Result<Self, ConvertError> {
        let manifest = manifest(blobs, digest)?;
        let of_config = manifest.config.digest;
        let config = blobs.read(&of_config, CONFIG_BYTES_MAX)?;
        let config = ImageConfig::parse(&config)
            .map_err(|source| ConvertError::Config { digest: of_config, source })?;
        let wanted = Platform::of(cache.architecture());
        if !config.platform.suits(&wanted) {
            let found = config.platform.to_string();
            return Err(PlatformError::Other { wanted, found }.into());
        }
        let (layers, diff_ids) = (manifest.layers.len(), config.diff_ids.len());
        if layers != diff_ids {
            return Err(ConvertError::LayerCount { layers, diff_ids });
        }
        for layer in &manifest.layers {
            let (digest, expected) = (layer.digest, layer.size);
            match blobs.size(&digest)? {
                Some(found) if found == expected => {}
                Some(found) => return Err(BlobError::Size { digest, expected, found }.into()),
                None => return Err(BlobError::Missing { digest }.into()),
            }
        }
        Ok(Self { blobs, digest: *digest, manifest, config })
    }

    fn build(
        self,
        cache: &Cache,
        claim: &Claim,
        progress: Progress<'_>,
    ) -> Result<Image, ConvertError> {
        let draft = claim.draft()?;
        let spool =
            tempfile::tempfile_in(draft.path()).map_err(fault("make a file in", draft.path()))?;
        let mut tree = Tree::new(spool, Limits::default());
        self.lay(&mut tree, progress)?;
        make_folder(&mut tree, &self.config.run.cwd);

        progress(Event::Began(Step::WriteDisk));
        let disk = draft.path().join(DISK_NAME);
        let neighbours = Neighbours::of(draft.path());
        let digest = ext4::write_beside(neighbours.as_ref(), &tree, &disk, ROOT_DISK)?.to_string();
        let made = fs::metadata(&disk).map_err(fault("look at", &disk))?.mtime();
        let record = Record {
            name: self.digest.to_string(),
            digest,
            recipe: key(cache, &self.digest),
            manifest: Some(self.digest),
            created: u64::try_from(made).unwrap_or_default(),
            disk_bytes: ROOT_DISK.size_bytes,
            content_bytes: tree.content_bytes(),
            config: self.run(),
        };
        let path = draft.path().join("image.json");
        let text = serde_json::to_vec_pretty(&record).map_err(io::Error::from);
        text.and_then(|text| fs::write(&path, text)).map_err(fault("write", &path))?;
        let folder = draft.publish(&record.recipe)?;
        Ok(Image::new(folder, record))
    }

    fn lay(&self, tree: &mut Tree, progress: Progress<'_>) -> Result<(), ConvertError> {
        progress(Event::Began(Step::UnpackLayers));
        let total = self.manifest.layers.iter().map(|layer| layer.size).sum();
        let done = AtomicU64::new(0);
        let tell = |more: u64| {
            let before = done.fetch_add(more, Ordering::Relaxed);
            let bytes = before + more;
            if before / REPORT_BYTES != bytes / REPORT_BYTES || bytes == total {
                progress(Event::Advanced { bytes, total: Some(total) });
            }
        };
        for (layer, diff_id) in self.manifest.layers.iter().zip(&self.config.diff_ids) {
            let digest = layer.digest;
            let laid = layer::lay(self.blobs.open(&digest)?, diff_id, tree, &tell);
            if let Err(source) = laid {
                // What was damaged here is not the image's fault.
                self.blobs.check(&digest)?;
                return Err(ConvertError::Layer { digest, source });
            }
        }
        Ok(())
    }

    fn run(self) -> Config {
        let run = self.config.run;
        Config {
            user: run.user,
            runtime_user: None,
            cwd: run.cwd,
            env: run.env,
            entrypoint: run.entrypoint,
            cmd: run.cmd,
        }
    }
}

/// As runtimes do, which make a working directory that is missing. One that cannot be made, as a
/// link leads elsewhere, is left to who wants to be there.
fn make_folder(tree: &mut Tree, path: &str) {
    if let Ok(parsed) = TreePath::parse(path.as_bytes())
        && tree.look_up(path) == Found::Nothing
        && let Err(error) = tree.put_directory(&parsed, Meta::new(0o755, Time::default()))
    {
        tracing::debug!(%error, "no working directory");
    }
}

fn fault(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ConvertError {
    let path = path.to_owned();
    move |source| ConvertError::Io { action, path, source }
}
