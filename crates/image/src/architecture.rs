//! The processor architecture, which is part of every key.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An architecture that machines can have; guests always have their host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    X86_64,
}

/// This host is of an architecture that we cannot serve yet.
#[derive(Debug, thiserror::Error)]
#[error("{found} is not supported yet; only x86_64 is")]
pub struct UnsupportedArchitecture {
    found: &'static str,
}

impl Architecture {
    /// That of the host.
    pub fn host() -> Result<Self, UnsupportedArchitecture> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            found => Err(UnsupportedArchitecture { found }),
        }
    }

    /// The name in keys and paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
        }
    }

    /// Debian's name for it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
