//! What all machines of one server have in common.

use std::{
    fmt::Write as _,
    io::{self, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

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
    pub source: io::Error,
}

impl Artifact {
    /// Reads the file and computes its SHA-256.
    pub async fn read(path: &Path) -> Result<Self, ArtifactError> {
        let file = path.to_owned();
        let digest = tokio::task::spawn_blocking(move || digest_of(&file)).await;
        match digest.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(digest) => Ok(Self { path: path.to_owned(), digest }),
            Err(source) => Err(ArtifactError { path: path.to_owned(), source }),
        }
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

fn digest_of(path: &Path) -> io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; 256 * 1024];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&block[..read]),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// What all machines of one server have in common.
#[derive(Clone, Debug)]
pub struct Platform {
    pub qemu: Qemu,
    pub accel: Accel,
    /// An uncompressed `vmlinux` with a PVH entry.
    pub kernel: Artifact,
    pub initramfs: Artifact,
    /// A raw read-only disk with the kernel's modules; its serial number in the guest is `modules`.
    pub modules: Option<Artifact>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_artifact_is_known_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel");
        std::fs::write(&path, "abc").unwrap();
        let artifact = Artifact::read(&path).await.unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(artifact.digest(), expected);
        assert!(Artifact::read(&folder.path().join("absent")).await.is_err());
    }
}
