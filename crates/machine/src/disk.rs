//! Disks as QEMU is given them.
use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Every root disk has this size, so that a template's device fits any of them.
pub const DISK_GIB: u64 = 32;

/// How a file holds a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Raw,
    Qcow2,
}

/// A read-only file below an overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    pub path: PathBuf,
    pub format: Format,
}

/// The machine's first disk, `root` in the guest (`/dev/disk/by-id/virtio-root`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Root {
    /// Reads as zeroes, keeps nothing: for bare templates.
    Blank,
    /// A qcow2 file that takes the writes, on top of read-only layers, the uppermost first.
    Overlay { file: PathBuf, layers: Vec<Layer> },
}

/// A disk to be plugged into a running machine; the guest knows it by `serial`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Drive {
    ReadOnly { layer: Layer, serial: String },
    Writable { layer: Layer, serial: String },
}

/// Makes an empty qcow2 overlay of [`DISK_GIB`] at `file` that names no backing file. `cache` is a
/// folder in which a prepared one is kept, since `qemu-img` costs more than a copy.
pub async fn make_blank_overlay(cache: &Path, file: &Path) -> io::Result<()> {
    let _ = (cache, file);
    todo!()
}
