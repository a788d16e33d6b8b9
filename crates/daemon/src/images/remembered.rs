//! What a sandbox, a snapshot or a parked machine remembers of its image, and which one that is.
//!
//! Whoever may pull an image can make one whose disk is that of another, with an environment of its own:
//! the disk alone says nothing of how commands run.

use image::{
    cache::Cache,
    catalog::{self, Image},
};

use super::{ImageError, upkeep::canonical};
use crate::{
    pool::Kind,
    store::{SandboxRecord, SnapshotRecord},
};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    /// As people know it.
    name: String,
    /// Of the disk; sandboxes of early versions have none.
    digest: Option<String>,
    /// See [`Image::origin`]; what earlier versions made has none.
    origin: Option<String>,
}

impl From<&SandboxRecord> for Remembered {
    fn from(record: &SandboxRecord) -> Self {
        let (digest, origin) = (record.image_digest.clone(), record.image_origin.clone());
        Self { name: record.image.clone(), digest, origin }
    }
}

impl From<&SnapshotRecord> for Remembered {
    fn from(record: &SnapshotRecord) -> Self {
        let (digest, origin) = (record.image_digest.clone(), record.image_origin.clone());
        Self { name: record.image.clone(), digest, origin }
    }
}

impl From<&Kind> for Remembered {
    fn from(kind: &Kind) -> Self {
        let (digest, origin) = (Some(kind.digest.clone()), kind.origin.clone());
        Self { name: kind.image.clone(), digest, origin }
    }
}

impl Remembered {
    pub(super) fn find(self, cache: &Cache) -> Result<Image, ImageError> {
        let Self { name, digest, origin } = self;
        let Some(digest) = digest else { return Ok(catalog::open(cache, &name)?) };
        let mut of_disk = catalog::list(cache)?;
        of_disk.retain(|image| image.digest() == digest);
        let place = match origin {
            Some(origin) => of_disk.iter().position(|image| image.origin() == origin),
            None => {
                let full = canonical(&name);
                let named = of_disk.iter().rposition(|image| image.is_called(&full));
                // The name has gone to another image. The oldest was there when this was noted, or before;
                // the newest may be anybody's.
                named.or(of_disk.len().checked_sub(1))
            }
        };
        let found = place.map(|place| of_disk.swap_remove(place));
        found.ok_or(ImageError::Gone(name))
    }
}

#[cfg(test)]
mod tests;
