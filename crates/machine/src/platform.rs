//! What all machines of one server have in common.
use std::path::{Path, PathBuf};

use crate::{Accel, Qemu};

/// A file and the digest of what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    path: PathBuf,
    digest: String,
}

#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be read")]
pub struct ArtifactError {
    pub path: PathBuf,
    #[source]
    pub source: std::io::Error,
}

impl Artifact {
    /// Reads the file and computes its SHA-256.
    pub async fn read(_path: &Path) -> Result<Self, ArtifactError> {
        todo!()
    }

    /// For a file whose digest is known.
    #[must_use]
    pub fn known(path: PathBuf, digest: String) -> Self {
        Self { path, digest }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// What all machines of one server have in common.
#[derive(Clone, Debug)]
pub struct Platform {
    pub qemu: Qemu,
    pub accel: Accel,
    /// An uncompressed `vmlinux` with a PVH entry.
    pub kernel: Artifact,
    pub initramfs: Artifact,
    /// A raw read-only disk with the kernel's modules, `modules` in the guest.
    pub modules: Option<Artifact>,
}
