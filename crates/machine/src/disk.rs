//! Disks as QEMU is given them: explicit trees, never by the names that a file's header has.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{LayerError, check_layer};

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
    ReadOnly {
        layer: Layer,
        serial: String,
    },
    Writable {
        layer: Layer,
        serial: String,
    },
    /// A qcow2 file that takes the writes, on top of read-only layers, the uppermost first.
    Overlay {
        file: PathBuf,
        layers: Vec<Layer>,
        serial: String,
    },
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
        Root::Overlay { file, layers } => overlay_nodes("root", file, layers),
    }
}

/// The tree of nodes for an overlay, by the node name `name`.
fn overlay_nodes(name: &str, file: &Path, layers: &[Layer]) -> Value {
    let mut top = node(Format::Qcow2, &file_node(file, Mode::Writable));
    top["node-name"] = name.into();
    top["discard"] = "unmap".into();
    top["backing"] = chain(layers, Mode::ReadOnly, Some(&base_of(name)));
    top
}

/// The node name of the lowest layer below a node.
pub(crate) fn base_of(name: &str) -> String {
    format!("{name}-base")
}

/// Layers on one another, the uppermost first; at most the lowest is named. `uppermost` is for that one;
/// those below are read.
fn chain(layers: &[Layer], uppermost: Mode, lowest: Option<&str>) -> Value {
    let mut below = Value::Null;
    for (depth, layer) in layers.iter().enumerate().rev() {
        let mode = if depth == 0 { uppermost } else { Mode::ReadOnly };
        let mut node = node(layer.format, &file_node(&layer.path, mode));
        node["read-only"] = mode.is_read_only().into();
        if layer.format == Format::Qcow2 {
            node["backing"] = below;
        }
        if let Some(name) = lowest.filter(|_| depth + 1 == layers.len()) {
            node["node-name"] = name.into();
        }
        below = node;
    }
    below
}

/// The nodes for a drive, by the node name `name`; `path_of` says by which path each file is opened.
pub(crate) fn drive_nodes(name: &str, drive: &Drive, path_of: impl Fn(usize) -> PathBuf) -> Value {
    match drive {
        Drive::ReadOnly { layer, .. } => {
            single_node(name, layer.format, &path_of(0), Mode::ReadOnly)
        }
        Drive::Writable { layer, .. } => {
            single_node(name, layer.format, &path_of(0), Mode::Writable)
        }
        Drive::Overlay { layers, .. } => {
            let place =
                |(at, layer): (usize, &Layer)| Layer { path: path_of(at + 1), ..layer.clone() };
            let layers: Vec<Layer> = layers.iter().enumerate().map(place).collect();
            overlay_nodes(name, &path_of(0), &layers)
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

/// The node below one that takes writes.
pub(crate) fn writable_file(path: &Path) -> Value {
    file_node(path, Mode::Writable)
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
    pub(crate) fn serial(&self) -> &str {
        match self {
            Self::ReadOnly { serial, .. }
            | Self::Writable { serial, .. }
            | Self::Overlay { serial, .. } => serial,
        }
    }

    /// The files it is made of, the uppermost first, and what is done with each.
    pub(crate) fn files(&self) -> Vec<(&Path, Mode)> {
        match self {
            Self::ReadOnly { layer, .. } => vec![(layer.path.as_path(), Mode::ReadOnly)],
            Self::Writable { layer, .. } => vec![(layer.path.as_path(), Mode::Writable)],
            Self::Overlay { file, layers, .. } => {
                let below = layers.iter().map(|layer| (layer.path.as_path(), Mode::ReadOnly));
                std::iter::once((file.as_path(), Mode::Writable)).chain(below).collect()
            }
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
    if let Err(error) = make_overlay(&draft, DISK_GIB << 30).await {
        if let Err(error) = tokio::fs::remove_file(&draft).await {
            tracing::debug!(%error, "there was no half-made overlay to remove");
        }
        return Err(error);
    }
    tokio::fs::rename(&draft, prepared).await
}

/// Makes an empty qcow2 overlay of so many bytes at `file` that names no backing file.
pub async fn make_overlay(file: &Path, bytes: u64) -> io::Result<()> {
    let size = bytes.to_string();
    qemu_img(&[
        "create".as_ref(),
        "-q".as_ref(),
        "-f".as_ref(),
        "qcow2".as_ref(),
        file.as_os_str(),
        size.as_ref(),
    ])
    .await
}

/// Writes what the qcow2 file `overlay` holds into the uppermost of `layers`, on which it was made.
/// Done half, it can be done again: what a reader sees through the overlay is the same all the time.
///
/// A machine wrote the files: what their headers name is not opened.
pub async fn merge_overlay(overlay: &Path, layers: &[Layer]) -> io::Result<()> {
    let files = layers.iter().filter(|layer| layer.format == Format::Qcow2);
    for path in files.map(|layer| layer.path.as_path()).chain([overlay]) {
        check_layer(path, None).map_err(|error| match error {
            LayerError::Io(error) => error,
            LayerError::Header(why) => {
                let text = format!("the header of {} {why}", path.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            }
        })?;
    }
    let mut top = node(Format::Qcow2, &file_node(overlay, Mode::Writable));
    top["backing"] = chain(layers, Mode::Writable, None);
    let name = format!("json:{top}");
    qemu_img(&["commit".as_ref(), "-q".as_ref(), "-d".as_ref(), name.as_ref()]).await
}

async fn qemu_img(arguments: &[&std::ffi::OsStr]) -> io::Result<()> {
    let output = tokio::process::Command::new("qemu-img")
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("qemu-img: {why}")))
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
        assert_eq!((&first["node-name"], &last["node-name"]), (&Value::Null, &json!("root-base")));
        assert_eq!(last["file"]["filename"], "/i/debian");
        assert_eq!(last["file"]["read-only"], true);
        assert_eq!(root.files().0, Some(Path::new("/m/root.qcow2")));
        assert_eq!(root.files().1.len(), 2);
    }

    #[tokio::test]
    async fn an_overlay_is_merged_into_the_layer_below_and_names_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let (base, overlay) = (place("base"), place("overlay.qcow2"));
        let mut file = std::fs::File::create(&base).unwrap();
        file.set_len(1 << 20).unwrap();
        io::Write::write_all(&mut file, b"below").unwrap();
        make_overlay(&overlay, 1 << 20).await.unwrap();
        let written = std::process::Command::new("qemu-io")
            .args(["-f", "qcow2", "-c", "write -P 0x61 65536 512"])
            .arg(&overlay)
            .output()
            .unwrap();
        assert!(written.status.success(), "{written:?}");
        let layers = [Layer { path: base.clone(), format: Format::Raw }];
        for _ in 0..2 {
            merge_overlay(&overlay, &layers).await.unwrap();
        }
        let merged = std::fs::read(&base).unwrap();
        assert_eq!((&merged[..5], &merged[65536..66048]), (&b"below"[..], &[b'a'; 512][..]));

        // A machine that was broken out of may have written it.
        let hostile = place("hostile.qcow2");
        let made = std::process::Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd"])
            .arg(&hostile)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let refused = merge_overlay(&hostile, &layers).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
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
