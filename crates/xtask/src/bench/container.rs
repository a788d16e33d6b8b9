//! The native peer: busybox in a container of `runc`, as `runc spec` makes it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::place::{Place, timed};

/// One that runs, and a bundle of which others can be started.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    bundle: PathBuf,
    root: PathBuf,
}

impl Container {
    pub(crate) fn new(place: &Place) -> Result<Self> {
        let (bundle, root) = (place.folder.join("bundle"), place.folder.join("runc"));
        fs::create_dir_all(bundle.join("rootfs/bin"))?;
        let busybox =
            fs::read("/bin/busybox").context("busybox is missing: apt install busybox-static")?;
        let path = bundle.join("rootfs/bin/busybox");
        fs::write(&path, busybox)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        timed(Command::new("runc").arg("spec").current_dir(&bundle))
            .context("runc is missing: apt install runc")?;
        let container = Self { bundle, root };
        container.configure(&["/bin/busybox", "sleep", "100000"])?;
        let status = container
            .runc(&["run", "-d", "bench"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()?;
        ensure!(status.success(), "runc run does not work here");
        container.configure(&["/bin/busybox", "true"])?;
        Ok(container)
    }

    fn configure(&self, argv: &[&str]) -> Result<()> {
        let path = self.bundle.join("config.json");
        let mut spec: serde_json::Value = serde_json::from_slice(&fs::read(&path)?)?;
        spec["process"]["args"] = argv.into();
        spec["process"]["terminal"] = false.into();
        fs::write(path, serde_json::to_vec(&spec)?)?;
        Ok(())
    }

    fn runc(&self, words: &[&str]) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(&self.root).args(words).current_dir(&self.bundle);
        command
    }

    /// `true` in a container of its own.
    pub(crate) fn run(&self, turn: usize) -> Result<Duration> {
        timed(&mut self.runc(&["run", &format!("turn-{turn}")]))
    }

    /// `true` in namespaces alone, if bubblewrap is here.
    pub(crate) fn bwrap(&self) -> Option<Duration> {
        let mut command = Command::new("bwrap");
        command.args(["--unshare-all", "--ro-bind"]).arg(self.bundle.join("rootfs"));
        timed(command.args(["/", "/bin/busybox", "true"])).ok()
    }

    /// `true` in the one that runs.
    pub(crate) fn exec(&self) -> Result<Duration> {
        timed(&mut self.runc(&["exec", "bench", "/bin/busybox", "true"]))
    }
}
