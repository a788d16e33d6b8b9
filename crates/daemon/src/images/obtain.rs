//! Bringing one image here: fetched, checked, and made into a disk.

use std::sync::{Mutex, PoisonError};

use image::{
    catalog::{self, Image},
    oci::{blob::Blobs, convert, import},
    progress::Event,
    recipe,
    reference::{Local, Reference, Remote},
    registry::{self, Pull, Settings, settings::SettingsError},
};
use tokio_util::sync::CancellationToken;

use super::{ImageError, origin};
use crate::{config::Paths, platform};

/// How far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// What is being done, for people; empty before anything is.
    pub(crate) step: String,
    /// Bytes done and bytes in all, where they are counted.
    pub(crate) bytes: Option<(u64, Option<u64>)>,
}

/// What is to be brought, and how.
pub(super) struct Job {
    pub(super) paths: Paths,
    pub(super) settings: Result<Settings, SettingsError>,
    pub(super) reference: Reference,
    /// What a file's image is to be called.
    pub(super) name: Option<String>,
    pub(super) stop: CancellationToken,
}

/// Blocks until the image is here or the job is stopped.
pub(super) fn obtain(job: Job, report: &(dyn Fn(Progress) + Sync)) -> Result<Image, ImageError> {
    let Job { paths, settings, reference, name, stop } = job;
    let cache = platform::cache(&paths)?;
    let progress = telling(report);
    let work = Work { cache: &cache, blobs: &Blobs::of(&cache), progress: &progress, stop: &stop };
    match &reference {
        Reference::Default => Ok(catalog::open(&cache, &reference.to_string())?),
        Reference::Builder => {
            let image = reference.to_string();
            let fault = |source| ImageError::Recipe { image, source: Box::new(source) };
            recipe::build_builder(&cache, &progress).map_err(fault)
        }
        Reference::Debian(suite) => {
            let image = reference.to_string();
            let fault = |source| ImageError::Recipe { image, source: Box::new(source) };
            recipe::build_release(&cache, *suite, &progress).map_err(fault)
        }
        Reference::Registry(remote) => work.pull(&settings?, remote),
        Reference::Local(local) => work.import(local, name.as_deref()),
    }
}

/// What the library says of a long call, as it stands.
pub(super) fn telling(report: &(dyn Fn(Progress) + Sync)) -> impl Fn(Event<'_>) + Sync {
    let now = Mutex::new(Progress::default());
    move |event: Event<'_>| {
        let mut now = now.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Began(step) => *now = Progress { step: step.to_string(), bytes: None },
            Event::Advanced { bytes, total } => now.bytes = Some((bytes, total)),
            Event::Percent(_) | Event::Said(_) => return,
        }
        report(now.clone());
    }
}

/// What all ways share.
struct Work<'a> {
    cache: &'a image::cache::Cache,
    blobs: &'a Blobs,
    progress: image::progress::Progress<'a>,
    stop: &'a CancellationToken,
}

impl Work<'_> {
    fn pull(&self, settings: &Settings, remote: &Remote) -> Result<Image, ImageError> {
        let architecture = self.cache.architecture();
        let job = Pull { settings, image: remote, blobs: self.blobs, architecture };
        let image = || remote.familiar();
        let fault = |source| ImageError::Registry { image: image(), source: Box::new(source) };
        let manifest = registry::pull(job, self.progress, self.stop).map_err(fault)?;
        let name = origin::name_of(&Reference::Registry(remote.clone()));
        let fault = |source| ImageError::Convert { image: image(), source: Box::new(source) };
        convert::convert(self.cache, self.blobs, &manifest, name.as_deref(), self.progress)
            .map_err(fault)
    }

    /// Without a name the image is called after its file, which is looked at each time.
    fn import(&self, local: &Local, name: Option<&str>) -> Result<Image, ImageError> {
        let shown = local.to_string();
        let wanted = local.tag.as_deref();
        let imported = import::import(self.cache, self.blobs, &local.path, wanted, self.progress);
        let imported = imported.map_err(|source| ImageError::Import {
            image: shown.clone(),
            source: Box::new(source),
        })?;
        let name = name.map_or(shown, str::to_owned);
        catalog::name(self.cache, &imported.image, &name)?;
        Ok(catalog::open(self.cache, &name)?)
    }
}
