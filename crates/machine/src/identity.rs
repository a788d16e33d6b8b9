//! Which process is which machine: pid and start time and uuid, never the pid alone.
use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// A machine's own name, the `-uuid` of its QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MachineId([u8; 16]);

impl MachineId {
    /// A new random one (a version 4 uuid).
    #[must_use]
    pub fn random() -> Self {
        todo!()
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x?}", self.0)
    }
}

impl From<MachineId> for String {
    fn from(id: MachineId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for MachineId {
    type Error = String;

    fn try_from(_text: String) -> Result<Self, String> {
        todo!()
    }
}

/// A QEMU process whose machine folder lies under a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    pub pid: u32,
    pub id: Option<MachineId>,
    pub folder: PathBuf,
}

/// All QEMU processes on this host whose machine folder lies under `root`.
#[must_use]
pub fn strays(root: &Path) -> Vec<Stray> {
    let _ = root;
    todo!()
}

impl Stray {
    /// Kills it and waits until it is gone.
    pub async fn kill(self) -> std::io::Result<()> {
        todo!()
    }
}
