//! Disks as QEMU is given them: explicit trees, never by the names that a file's header has.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Every root disk has this size, so that a template's device fits any of them.
pub const DISK_GIB: u64 = 32;

/// How a file holds a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Raw,
    Qcow2,
}

/// A file that holds a disk, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    pub path: PathBuf,
    pub format: Format,
}

/// The machine's first disk; its serial number in the guest is `root`.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    ReadOnly,
    Writable,
}

impl Mode {
    fn is_read_only(self) -> bool {
        self == Self::ReadOnly
    }
}

impl Format {
    fn driver(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// The tree of nodes for a root disk, by the node name `root`.
pub(crate) fn root_nodes(root: &Root) -> Value {
    match root {
        Root::Blank => json!({
            "driver": "null-co", "node-name": "root",
            "size": DISK_GIB << 30, "read-zeroes": true,
        }),
        Root::Overlay { file, layers } => {
            let mut below = Value::Null;
            for layer in layers.iter().rev() {
                let mut node = node(layer.format, &file_node(&layer.path, Mode::ReadOnly));
                node["read-only"] = true.into();
                if layer.format == Format::Qcow2 {
                    node["backing"] = below;
                }
                below = node;
            }
            let mut top = node(Format::Qcow2, &file_node(file, Mode::Writable));
            top["node-name"] = "root".into();
            top["discard"] = "unmap".into();
            top["backing"] = below;
            top
        }
    }
}

/// The nodes for a single file without layers below it.
pub(crate) fn single_node(name: &str, format: Format, path: &Path, mode: Mode) -> Value {
    let mut node = node(format, &file_node(path, mode));
    node["node-name"] = name.into();
    node["read-only"] = mode.is_read_only().into();
    if format == Format::Qcow2 {
        node["backing"] = Value::Null;
    }
    node
}

fn node(format: Format, file: &Value) -> Value {
    json!({ "driver": format.driver(), "file": file })
}

fn file_node(path: &Path, mode: Mode) -> Value {
    // Read-only files are shared by many machines and never written, so a lock would say nothing.
    let locking = if mode.is_read_only() { "off" } else { "auto" };
    json!({
        "driver": "file", "filename": path.to_string_lossy(), "read-only": mode.is_read_only(),
        "aio": "threads", "discard": "unmap", "locking": locking,
    })
}

impl Root {
    /// The files it is made of: those that are written, those that are only read.
    pub(crate) fn files(&self) -> (Option<&Path>, Vec<&Path>) {
        match self {
            Self::Blank => (None, Vec::new()),
            Self::Overlay { file, layers } => {
                (Some(file), layers.iter().map(|layer| layer.path.as_path()).collect())
            }
        }
    }
}

impl Drive {
    pub(crate) fn parts(&self) -> (&Layer, &str, Mode) {
        match self {
            Self::ReadOnly { layer, serial } => (layer, serial, Mode::ReadOnly),
            Self::Writable { layer, serial } => (layer, serial, Mode::Writable),
        }
    }
}

/// Makes an empty qcow2 overlay of [`DISK_GIB`] at `file` that names no backing file. `cache` is a
/// folder in which a prepared one is kept, since `qemu-img` costs more than a copy.
pub async fn make_blank_overlay(cache: &Path, file: &Path) -> io::Result<()> {
    let prepared = cache.join(format!("blank-{DISK_GIB}g.qcow2"));
    match tokio::fs::copy(&prepared, file).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            prepare_blank_overlay(cache, &prepared).await?;
            tokio::fs::copy(&prepared, file).await.map(drop)
        }
        result => result.map(drop),
    }
}

async fn prepare_blank_overlay(cache: &Path, prepared: &Path) -> io::Result<()> {
    tokio::fs::create_dir_all(cache).await?;
    let draft = cache.join(format!(".blank-{}", crate::MachineId::random()));
    let output = tokio::process::Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .arg(&draft)
        .arg(format!("{DISK_GIB}G"))
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        if let Err(error) = tokio::fs::remove_file(&draft).await {
            tracing::debug!(%error, "there was no half-made overlay to remove");
        }
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("qemu-img: {why}")));
    }
    tokio::fs::rename(&draft, prepared).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_is_a_tree_with_every_layer_named() {
        let layer = |path: &str, format| Layer { path: path.into(), format };
        let root = Root::Overlay {
            file: "/m/root.qcow2".into(),
            layers: vec![layer("/s/a.qcow2", Format::Qcow2), layer("/i/debian", Format::Raw)],
        };
        let tree = root_nodes(&root);
        assert_eq!(tree["file"]["filename"], "/m/root.qcow2");
        assert_eq!(tree["file"]["read-only"], false);
        let first = &tree["backing"];
        assert_eq!(first["file"]["filename"], "/s/a.qcow2");
        assert_eq!(first["read-only"], true);
        let last = &first["backing"];
        assert_eq!((&last["driver"], &last["read-only"]), (&json!("raw"), &json!(true)));
        assert_eq!(last["file"]["filename"], "/i/debian");
        assert_eq!(last["file"]["read-only"], true);
        assert_eq!(root.files().0, Some(Path::new("/m/root.qcow2")));
        assert_eq!(root.files().1.len(), 2);
    }

    #[test]
    fn what_has_no_layer_below_says_so() {
        // Without the null QEMU would open what the file's header names.
        let root = Root::Overlay { file: "/m/root.qcow2".into(), layers: Vec::new() };
        assert_eq!(root_nodes(&root).get("backing"), Some(&Value::Null));
        let single = single_node("d", Format::Qcow2, Path::new("/d"), Mode::ReadOnly);
        assert_eq!(single.get("backing"), Some(&Value::Null));
    }
}
