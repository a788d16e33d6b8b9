//! Why an image cannot be had.

use std::{error::Error, io, sync::Arc};

use image::{
    cache::CacheError,
    catalog::{NamesError, OpenError},
    oci::{
        blob::BlobError, commit::CommitError, convert::ConvertError, import::ImportError,
        layered::LayeredError, save::SaveError,
    },
    recipe::RecipeError,
    reference::{Reference, ReferenceError},
    registry::{RegistryError, settings::SettingsError},
};

use super::CopyError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("{0} is an image of Vercel's own; leave `image` out, or name any image of a registry")]
    Vercel(String),
    #[error("the default image is not here; `fumehood setup` makes it")]
    NotSetUp,
    #[error("the image {0} is not here")]
    NotHere(Reference),
    #[error("the image {0} was removed while a sandbox of it started")]
    Gone(String),
    #[error("there is no image {0}")]
    Unknown(String),
    #[error("a sandbox stands on the image {0}")]
    InUse(String),
    #[error("only who is on this computer can name a file of it; import the image instead")]
    Elsewhere,
    #[error("the registries are configured wrongly")]
    Settings(#[from] SettingsError),
    #[error("the image {image} could not be fetched")]
    Registry { image: String, source: Box<RegistryError> },
    #[error("the image could not be pushed to {target}")]
    Push { target: String, source: Box<RegistryError> },
    #[error(transparent)]
    Layered(#[from] LayeredError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Commit(#[from] Box<CommitError>),
    #[error("say where to push it: {0:?} is not the name of a registry's image")]
    NoTarget(String),
    #[error("the image {image} could not be made into a disk")]
    Convert { image: String, source: Box<ConvertError> },
    #[error("the image {image} could not be taken in")]
    Import { image: String, source: Box<ImportError> },
    #[error("the image cannot be saved")]
    Save(#[from] SaveError),
    #[error("the image {image} could not be made of packages")]
    Recipe { image: String, source: Box<RecipeError> },
    #[error(transparent)]
    Cache(#[from] Arc<CacheError>),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Names(#[from] NamesError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("the templates of an image cannot be used")]
    Templates(#[from] machine::TemplateError),
    #[error("{what}")]
    Io { what: &'static str, source: io::Error },
    #[error("the server is closing")]
    Closing,
}

impl ImageError {
    /// Whether there was no room on the host's disk, at the end of all causes.
    pub(crate) fn is_disk_full(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if error.downcast_ref::<io::Error>().is_some_and(is_full) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_seen_through_all_causes() {
        let full = |kind: io::ErrorKind| {
            let (action, path) = ("write", "/x".into());
            let blob = BlobError::Io { action, path, source: kind.into() };
            let source = Box::new(RegistryError::Blob(blob));
            ImageError::Registry { image: "x".into(), source }
        };
        assert!(full(io::ErrorKind::StorageFull).is_disk_full());
        assert!(!full(io::ErrorKind::PermissionDenied).is_disk_full());
        assert!(!ImageError::Closing.is_disk_full());
    }
}
