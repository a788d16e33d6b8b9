//! What images there are, what they take, and taking them away: never one that a sandbox stands on.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use image::{
    cache::Cache,
    catalog::{self, Image},
    oci::{
        blob::Blobs,
        digest::Digest,
        layered,
        manifest::{Document, MANIFEST_BYTES_MAX},
    },
    progress::silent,
    reference::Reference,
};

use super::{ImageError, choice, usage};
use crate::{clock, config::Paths, context::Context, platform, templates::Templates};

/// What is left over of blobs that belong to no image is kept so long: somebody may be at it.
const LEFT_OVER_KEPT: Duration = Duration::from_secs(3600);

/// The digests of the disks that sandboxes of this server stand on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stood(pub(crate) BTreeSet<String>);

/// An image and what it takes.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    pub(crate) image: Image,
    pub(crate) size_bytes: u64,
    pub(crate) templates_bytes: u64,
    pub(crate) in_use: bool,
    /// Of its layers, whether others have them too or not.
    blobs_bytes: u64,
    /// In seconds since 1970.
    pub(crate) last_used: Option<u64>,
}

/// All images, and the blobs that are kept.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) images: Vec<Described>,
    pub(crate) blobs_bytes: u64,
}

/// What was taken away.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    pub(crate) images: Vec<Described>,
    pub(crate) freed_bytes: u64,
}

/// What prunes are asked for, see [`api::PruneImages`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Prune {
    pub(crate) older_than: Option<Duration>,
    pub(crate) keep_bytes: Option<u64>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Upkeep<'a> {
    pub(crate) context: &'a Context,
    pub(crate) stood: Stood,
}

impl Upkeep<'_> {
    pub(crate) async fn list(&self) -> Result<Listing, ImageError> {
        let (templates, stood) = (self.context.templates.clone(), self.stood.clone());
        self.context
            .images
            .blocking(move |paths| Ground::new(paths, templates, stood)?.list())
            .await
    }

    /// The image that is called so.
    pub(crate) async fn inspect(&self, name: &str) -> Result<Described, ImageError> {
        self.describe(self.named(name).await?).await
    }

    pub(crate) async fn describe(&self, image: Image) -> Result<Described, ImageError> {
        let (templates, stood) = (self.context.templates.clone(), self.stood.clone());
        let describe = move |paths: &Paths| Ground::new(paths, templates, stood)?.describe(image);
        self.context.images.blocking(describe).await
    }

    /// Takes the name away, and the image with its templates and layers when it was the last.
    pub(crate) async fn remove(&self, name: &str) -> Result<Removed, ImageError> {
        let image = self.named(name).await?;
        let full = canonical(name);
        // Machines that nobody has asked for yet do not keep it.
        if !self.stood.0.contains(image.digest()) {
            self.context.pool.let_go(self.context, image.digest()).await;
        }
        let (templates, stood) = (self.context.templates.clone(), self.stood.clone());
        let remove = move |paths: &Paths| {
            let ground = Ground::new(paths, templates, stood)?;
            if image.names().len() > 1 && image.names().contains(&full) {
                catalog::forget(&ground.cache, &full)?;
                return Ok(Removed::default());
            }
            let described = ground.describe(image)?;
            if described.in_use {
                return Err(ImageError::InUse(full));
            }
            let mut removed = Removed::default();
            ground.remove(described, &mut removed)?;
            Ok(removed)
        };
        self.context.images.blocking(remove).await
    }

    pub(crate) async fn prune(&self, asked: Prune) -> Result<Removed, ImageError> {
        let (templates, stood) = (self.context.templates.clone(), self.stood.clone());
        let prune = move |paths: &Paths| Ground::new(paths, templates, stood)?.prune(asked);
        self.context.images.blocking(prune).await
    }

    async fn named(&self, name: &str) -> Result<Image, ImageError> {
        let (shown, full) = (name.to_owned(), canonical(name));
        let find = move |paths: &Paths| {
            let all = catalog::list(&platform::cache(paths)?)?;
            let is_it = |image: &&Image| {
                image.names().contains(&full)
                    || image.digest() == shown
                    || image.manifest().is_some_and(|manifest| manifest.to_string() == shown)
            };
            let of_recipe = || all.iter().find(|image| image.name() == full);
            let found = all.iter().find(is_it).or_else(of_recipe);
            found.or_else(|| of_digits(&all, &shown)).cloned().ok_or(ImageError::Unknown(shown))
        };
        self.context.images.blocking(find).await
    }
}

/// The only image whose digest begins so, as lists show it.
fn of_digits<'a>(all: &'a [Image], digits: &str) -> Option<&'a Image> {
    const DIGITS_MIN: usize = 6;
    let digits = digits.strip_prefix("sha256:").unwrap_or(digits);
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits.len() < DIGITS_MIN || !is_plain {
        return None;
    }
    let begins = |image: &&Image| match image.manifest() {
        Some(manifest) => manifest.hex().starts_with(digits),
        None => image.digest().starts_with(digits),
    };
    let mut fitting = all.iter().filter(begins);
    let first = fitting.next();
    first.filter(|_| fitting.next().is_none())
}

/// The name in full, where it is one.
pub(super) fn canonical(name: &str) -> String {
    match name.parse::<Reference>() {
        Ok(reference) => reference.to_string(),
        Err(_) => name.to_owned(),
    }
}

/// Cache and templates, looked at together; it blocks.
struct Ground {
    paths: Paths,
    cache: Cache,
    blobs: Blobs,
    templates: Templates,
    stood: Stood,
    /// Every file that a process of ours has open.
    open: BTreeSet<PathBuf>,
}

impl Ground {
    fn new(paths: &Paths, templates: Templates, stood: Stood) -> Result<Self, ImageError> {
        let cache = platform::cache(paths)?;
        let (blobs, open) = (Blobs::of(&cache), open_files(cache.folder()));
        Ok(Self { paths: paths.clone(), cache, blobs, templates, stood, open })
    }

    fn list(&self) -> Result<Listing, ImageError> {
        let images = catalog::list(&self.cache)?.into_iter();
        let images = images.map(|image| self.describe(image)).collect::<Result<_, _>>()?;
        let kept = self.blobs.list()?.into_iter().chain(self.blobs.partials()?);
        Ok(Listing { images, blobs_bytes: kept.map(|blob| blob.bytes).sum() })
    }

    fn describe(&self, image: Image) -> Result<Described, ImageError> {
        let templates = self.templates.of_image(image.digest())?;
        let templates = templates.iter().map(|one| one.allocated_bytes().unwrap_or_default());
        let layers = self.layers(&image);
        let layers = layers.iter().map(|digest| self.blobs.size(digest).ok().flatten());
        let disk = image.disk();
        let is_open = disk.canonicalize().is_ok_and(|disk| self.open.contains(&disk));
        Ok(Described {
            size_bytes: image.allocated_bytes().unwrap_or_default(),
            templates_bytes: templates.sum(),
            in_use: is_open || self.stood.0.contains(image.digest()),
            blobs_bytes: layers.map(Option::unwrap_or_default).sum(),
            last_used: usage::last(&self.paths, image.digest()),
            image,
        })
    }

    /// The blobs of an image, as far as its manifest is here.
    fn layers(&self, image: &Image) -> BTreeSet<Digest> {
        let Some(manifest) = layered::known(&self.cache, image) else { return BTreeSet::new() };
        let bytes = self.blobs.read(&manifest, MANIFEST_BYTES_MAX).ok();
        let document = bytes.and_then(|bytes| Document::parse(&bytes, None).ok());
        let mut all = BTreeSet::from([manifest]);
        if let Some(Document::Manifest(manifest)) = document {
            all.extend(manifest.blobs().map(|blob| blob.digest));
        }
        all
    }

    /// The image, its templates, and those of its layers that no other has.
    fn remove(&self, described: Described, removed: &mut Removed) -> Result<(), ImageError> {
        let Described { image, size_bytes, templates_bytes, .. } = &described;
        let layers = self.layers(image);
        self.templates.remove_of_image(image.digest())?;
        catalog::remove(&self.cache, image, &silent)?;
        usage::forget(&self.paths, image.digest());
        removed.freed_bytes += size_bytes + templates_bytes;
        let needed = self.needed()?;
        for digest in layers.difference(&needed) {
            removed.freed_bytes += self.blobs.size(digest)?.unwrap_or_default();
            self.blobs.remove(digest)?;
        }
        removed.images.push(described);
        Ok(())
    }

    /// All blobs of all images.
    fn needed(&self) -> Result<BTreeSet<Digest>, ImageError> {
        let images = catalog::list(&self.cache)?;
        Ok(images.iter().flat_map(|image| self.layers(image)).collect())
    }

    fn prune(&self, asked: Prune) -> Result<Removed, ImageError> {
        let listing = self.list()?;
        let newest = listing.images.iter().position(|it| it.image.name() == image::recipe::NAME);
        let candidates: Vec<choice::Candidate> = listing
            .images
            .iter()
            .enumerate()
            .map(|(index, it)| choice::Candidate {
                bytes: it.size_bytes + it.templates_bytes + it.blobs_bytes,
                last_used: it.last_used.unwrap_or(it.image.created()),
                hold: match (it.in_use || Some(index) == newest, it.image.names()) {
                    (true, _) => choice::Hold::Fast,
                    (false, []) => choice::Hold::None,
                    (false, _) => choice::Hold::Name,
                },
            })
            .collect();
        let now = clock::since_1970().as_secs();
        let chosen = choice::choose(&candidates, asked, now);
        let mut removed = Removed::default();
        for (index, described) in listing.images.into_iter().enumerate() {
            if chosen.contains(&index) {
                self.remove(described, &mut removed)?;
            }
        }
        removed.freed_bytes += self.sweep()?;
        Ok(removed)
    }

    /// Blobs that belong to no image, whole or not.
    fn sweep(&self) -> Result<u64, ImageError> {
        let needed = self.needed()?;
        let mut freed = 0;
        for blob in self.blobs.list()?.into_iter().chain(self.blobs.partials()?) {
            let filed = blob.filed.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let age = clock::since_1970().saturating_sub(filed);
            if !needed.contains(&blob.digest) && age >= LEFT_OVER_KEPT {
                self.blobs.remove(&blob.digest)?;
                freed += blob.bytes;
            }
        }
        Ok(freed)
    }
}

/// The files below a folder that processes have open, as far as we may look: machines of other
/// servers of this user are among them.
fn open_files(folder: &Path) -> BTreeSet<PathBuf> {
    let Ok(folder) = folder.canonicalize() else { return BTreeSet::new() };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let descriptors = processes.flat_map(|it| fs::read_dir(it.path().join("fd")).into_iter());
    let targets = descriptors.flatten().flatten().filter_map(|it| fs::read_link(it.path()).ok());
    targets.filter(|target| target.starts_with(&folder)).collect()
}
