//! An image on its way to a registry.

use std::collections::BTreeMap;

use image::{
    cache::Cache,
    catalog::{self, Image},
    oci::{blob::Blobs, convert, digest::Digest, layered},
    reference::{Reference, Remote},
    registry::{self, Push, Pushed},
};
use tokio_util::sync::CancellationToken;

use super::{ImageError, Images, Progress, Reach, obtain, origin};
use crate::platform;

impl Images {
    /// Sends what the registry does not have, and gives the digest of the manifest. Dropped, it is
    /// broken off.
    pub(crate) async fn push(
        &self,
        image: Image,
        target: Remote,
        report: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<(Digest, Pushed), ImageError> {
        let settings = origin::settings(&self.uplink, Reach::All, |name| std::env::var(name).ok())?;
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        self.blocking(move |paths| {
            let cache = platform::cache(paths)?;
            let blobs = Blobs::of(&cache);
            let telling = obtain::telling(&report);
            let manifest = layered::layered(&cache, &blobs, &image, &telling)?;
            let neighbours = neighbours(&cache, &blobs, target.registry())?;
            let (settings, neighbours) = (&settings, &neighbours);
            let job = Push { settings, target: &target, blobs: &blobs, manifest, neighbours };
            let pushed = registry::push(job, &telling, &stop);
            let fault = |source| {
                let target = target.familiar();
                ImageError::Push { target, source: Box::new(source) }
            };
            pushed.map(|pushed| (manifest, pushed)).map_err(fault)
        })
        .await
    }
}

/// Which repositories of a registry the blobs here came from, or went to.
fn neighbours(
    cache: &Cache,
    blobs: &Blobs,
    registry: &str,
) -> Result<BTreeMap<Digest, String>, ImageError> {
    let mut all = BTreeMap::new();
    for image in catalog::list(cache)? {
        let of_registry = image.names().iter().find_map(|name| match name.parse() {
            Ok(Reference::Registry(remote)) if remote.registry() == registry => Some(remote),
            Ok(_) | Err(_) => None,
        });
        let Some(remote) = of_registry else { continue };
        // One whose manifest is not kept has nothing to say.
        let Some(Ok(manifest)) = image.manifest().map(|it| convert::manifest(blobs, &it)) else {
            continue;
        };
        let repository = remote.repository();
        all.extend(manifest.blobs().map(|blob| (blob.digest, repository.to_owned())));
    }
    Ok(all)
}
