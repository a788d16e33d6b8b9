//! The QEMU of this host.
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// QEMU's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub micro: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// An emulator that was found and is recent enough.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    version: Version,
    build: String,
}

#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error(
        "{program} was not found; on Debian 12 install it with: apt install -t bookworm-backports qemu-system-x86 qemu-utils"
    )]
    Absent { program: String },
    #[error("{program} does not run")]
    DoesNotRun { program: PathBuf, source: std::io::Error },
    #[error("{program} does not say its version")]
    NoVersion { program: PathBuf },
    #[error(
        "{program} is version {found}, and 10.0 is needed; on Debian 12 install it with: apt install -t bookworm-backports qemu-system-x86 qemu-utils"
    )]
    TooOld { program: PathBuf, found: Version },
}

impl Qemu {
    /// Finds `qemu-system-x86_64` in the path, or at `program`.
    pub async fn find(_program: Option<&Path>) -> Result<Self, FindError> {
        todo!()
    }

    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// Changes when the program does: path, size, modification time, version.
    #[must_use]
    pub fn build(&self) -> &str {
        &self.build
    }
}
