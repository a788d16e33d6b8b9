//! QEMU's arguments, as a pure function.
use serde::{Deserialize, Serialize};

/// How large a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    pub vcpus: u32,
    pub memory_mib: u32,
}
