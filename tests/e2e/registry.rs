//! A registry on this computer, with images that tools of others have made.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::hood::wait_until;

/// Debian's `docker-registry`, until it is dropped.
pub(crate) struct Registry {
    child: Child,
    folder: tempfile::TempDir,
    pub(crate) place: String,
}

impl Registry {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = free.local_addr().unwrap().to_string();
        drop(free);
        let at = folder.path().display();
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {at}/data}}}}\n\
             http: {{addr: '{place}'}}\n"
        );
        fs::write(folder.path().join("config.yml"), config).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", &format!("{at}/config.yml")])
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the registry listens", || TcpStream::connect(&place).is_ok());
        Self { child, folder, place }
    }

    /// Puts an image there whose only program is a static busybox.
    pub(crate) fn push(&self, name: &str, settings: &[&str]) -> String {
        self.push_with(name, settings, |_| {})
    }

    /// With what else is put into its root.
    pub(crate) fn push_with(
        &self,
        name: &str,
        settings: &[&str],
        fill: impl FnOnce(&Path),
    ) -> String {
        let place = |name: &str| self.folder.path().join(name).display().to_string();
        let (layout, bundle) = (place("layout"), place("bundle"));
        let image = format!("{layout}:{name}");
        if !Path::new(&layout).exists() {
            run("umoci", &["init", "--layout", &layout]);
        }
        run("umoci", &["new", "--image", &image]);
        run("umoci", &["unpack", "--rootless", "--image", &image, &bundle]);
        let program = format!("{bundle}/rootfs/busybox");
        fs::copy("/bin/busybox", &program).unwrap();
        fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        fill(&Path::new(&bundle).join("rootfs"));
        run("umoci", &["repack", "--image", &image, &bundle]);
        run("umoci", &[&["config", "--image", &image], settings].concat());
        fs::remove_dir_all(bundle).unwrap();
        self.send(name, &image)
    }

    /// One that has the layers of another which was pushed, with further settings.
    pub(crate) fn push_twin(&self, name: &str, of: &str, settings: &[&str]) -> String {
        let layout = self.folder.path().join("layout").display().to_string();
        let from = format!("{layout}:{of}");
        run("umoci", &[&["config", "--image", &from, "--tag", name], settings].concat());
        self.send(name, &format!("{layout}:{name}"))
    }

    fn send(&self, name: &str, image: &str) -> String {
        let target = format!("{}/test/{name}:1", self.place);
        let from = format!("oci:{image}");
        let to = format!("docker://{target}");
        run("skopeo", &["copy", "-q", "--dest-tls-verify=false", &from, &to]);
        target
    }

    /// How often a blob or manifest was given out.
    pub(crate) fn given(&self, what: &str) -> usize {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        let is_it = |line: &&str| line.contains("\"GET /v2/") && line.contains(what);
        log.lines().filter(is_it).count()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}
