//! What others do with the same: `skopeo copy`, `umoci unpack`, `runc run`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::bench::place::timed;

/// A folder of the peers' own.
pub(super) struct Peer {
    folder: PathBuf,
}

impl Peer {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.join("peer") }
    }

    /// From a registry to a layout, whose name with the tag comes with it.
    pub(super) fn copy(&self, name: &str) -> Result<(Duration, String)> {
        fs::create_dir_all(&self.folder)?;
        let layout = format!("{}:bench", self.folder.join("layout").display());
        let mut copy = Command::new("skopeo");
        copy.args(["copy", "-q", "--src-tls-verify=false", &format!("docker://{name}")]);
        Ok((timed(copy.arg(format!("oci:{layout}")))?, layout))
    }

    /// From the image of a layout to a bundle.
    pub(super) fn unpack(&self, image: &str) -> Result<Duration> {
        timed(Command::new("umoci").args(["unpack", "--image", image]).arg(self.bundle()))
    }

    /// `true` in a container of the bundle.
    pub(super) fn run(&self) -> Result<Duration> {
        let path = self.bundle().join("config.json");
        let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
        spec["process"]["args"] = ["true"].as_slice().into();
        spec["process"]["terminal"] = false.into();
        fs::write(&path, serde_json::to_vec(&spec)?)?;
        let mut run = Command::new("runc");
        run.arg("--root").arg(self.folder.join("runc")).args(["run", "bench"]);
        timed(run.current_dir(self.bundle())).context("runc is missing: apt install runc")
    }

    /// Nothing of an image is here again.
    pub(super) fn forget(&self) -> Result<()> {
        Ok(fs::remove_dir_all(&self.folder)?)
    }

    fn bundle(&self) -> PathBuf {
        self.folder.join("bundle")
    }
}
