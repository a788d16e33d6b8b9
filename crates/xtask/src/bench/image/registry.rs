//! A registry on this computer, with one image.
#![expect(clippy::disallowed_methods, reason = "it waits for another program")]

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::bench::place::timed;

/// Debian's `docker-registry`, until it is dropped.
pub(super) struct Registry {
    child: Child,
    place: String,
}

impl Registry {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        const TRIES: u32 = 200;
        let place = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let (config, data) = (folder.join("registry.yml"), folder.join("registry"));
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\n\
             http: {{addr: '{place}'}}\n",
            data.display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("apt install docker-registry")?;
        let registry = Self { child, place };
        for _ in 0..TRIES {
            if TcpStream::connect(&registry.place).is_ok() {
                return Ok(registry);
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("docker-registry does not listen")
    }

    /// Puts the image of a layout there, and gives its name.
    pub(super) fn push(&self, image: &str) -> Result<String> {
        let name = format!("{}/bench:1", self.place);
        let mut copy = Command::new("skopeo");
        copy.args(["copy", "-q", "--dest-tls-verify=false", &format!("oci:{image}")]);
        timed(copy.arg(format!("docker://{name}")))
            .context("skopeo is missing: apt install skopeo")?;
        Ok(name)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It has nothing to lose.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
