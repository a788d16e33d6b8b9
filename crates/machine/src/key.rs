//! The key of a template: everything that its saved state depends on.
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Platform, Shape};

/// A digest over all that a template depends on; hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key(String);

impl Key {
    /// `image` is the image's digest for a warm template, none for a bare one.
    #[must_use]
    pub fn of(platform: &Platform, shape: Shape, image: Option<&str>) -> Self {
        let _ = (platform, shape, image);
        todo!()
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
