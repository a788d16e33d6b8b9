//! From a manifest whose blobs are here to an image in the catalogue.

use super::blob::{BlobError, Blobs};
use super::digest::Digest;
use crate::cache::{Cache, CacheError};
use crate::catalog::{Image, NamesError, OpenError};
use crate::progress::Progress;

#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Catalog(#[from] OpenError),
    #[error(transparent)]
    Names(#[from] NamesError),
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
    // Not written yet: the shape alone, for those who call it.
    progress(crate::progress::Event::Began(crate::progress::Step::WriteDisk));
    let _named = name.map(|name| crate::catalog::open(cache, name));
    let missing = BlobError::Missing { digest: *manifest };
    blobs.open(manifest).and(Err(missing)).map_err(ConvertError::from)
}
