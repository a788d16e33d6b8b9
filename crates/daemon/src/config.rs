//! What a server is told when it starts: where its things are and whom it listens to.

use std::path::{Path, PathBuf};

/// The guest agent's program, as it goes into the initramfs.
#[derive(Clone, Copy)]
pub struct AgentProgram(pub &'static [u8]);

impl std::fmt::Debug for AgentProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AgentProgram({} bytes)", self.0.len())
    }
}

/// Where things are. Below `state` is what belongs to one server: its socket, store, machines and
/// logs. Below `cache` is what any server of this user can use and anyone can make again: kernel,
/// images, templates.
#[derive(Clone, Debug)]
pub struct Paths {
    state: PathBuf,
    cache: PathBuf,
    qemu: Option<PathBuf>,
}

/// What `scripts/qemu.sh` builds, below the cache.
const OWN_QEMU: &str = "x86_64/qemu/current/bin/qemu-system-x86_64";

impl Paths {
    pub fn new(state: PathBuf, cache: PathBuf) -> Self {
        Self { state, cache, qemu: None }
    }

    /// With an emulator that was asked for by name.
    #[must_use]
    pub fn with_qemu(self, qemu: Option<PathBuf>) -> Self {
        Self { qemu, ..self }
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// The emulator that was asked for, else our own build; where there is none, the one of the path is meant. Without
    /// links, since a newer build does not take the place of the one that a server has found.
    pub(crate) fn qemu(&self) -> Option<PathBuf> {
        self.qemu.clone().or_else(|| self.cache.join(OWN_QEMU).canonicalize().ok())
    }

    /// The socket of the API, for this user alone.
    pub fn socket(&self) -> PathBuf {
        self.state.join("api.sock")
    }

    pub fn store(&self) -> PathBuf {
        self.state.join("store.db")
    }

    /// The bearer token for who comes over TCP; mode 0600.
    pub fn token(&self) -> PathBuf {
        self.state.join("token")
    }

    /// What the store's secrets are sealed with; mode 0600.
    pub fn seal_key(&self) -> PathBuf {
        self.state.join("seal.key")
    }

    /// What tokens of projects are signed with; mode 0600.
    pub fn token_key(&self) -> PathBuf {
        self.state.join("token.key")
    }

    /// What the identity of a sandbox is signed with; mode 0600.
    pub(crate) fn identity_key(&self) -> PathBuf {
        self.state.join("identity.key")
    }

    /// What passes for private ports are signed with; mode 0600.
    pub(crate) fn pass_key(&self) -> PathBuf {
        self.state.join("pass.key")
    }

    /// The port that the ingress had, so that its URLs stay.
    pub(crate) fn ingress_port(&self) -> PathBuf {
        self.state.join("ingress.port")
    }

    /// The port of this computer that clients were told.
    pub fn port(&self) -> PathBuf {
        self.state.join("port")
    }

    /// Held by the one server that owns this state.
    pub fn lock(&self) -> PathBuf {
        self.state.join("server.lock")
    }

    /// One folder per running machine.
    pub fn machines(&self) -> PathBuf {
        self.state.join("machines")
    }

    /// One folder per session, for what outlives its machine: the logs of its commands.
    pub fn sessions(&self) -> PathBuf {
        self.state.join("sessions")
    }

    /// The files of drives.
    pub fn drives(&self) -> PathBuf {
        self.state.join("drives")
    }

    /// One file for each layer of the snapshots' disks.
    pub fn layers(&self) -> PathBuf {
        self.state.join("layers")
    }

    /// One file for each memory of the snapshots; for this user alone.
    pub fn memories(&self) -> PathBuf {
        self.state.join("memories")
    }

    /// Those memories as machines map them, made of the files when one is wanted.
    pub fn unpacked(&self) -> PathBuf {
        self.state.join("unpacked")
    }

    /// Where the memory may be that machines are cloned from.
    pub(crate) fn bases(&self) -> Vec<PathBuf> {
        vec![self.templates(), self.unpacked()]
    }

    /// What live forks start from, each for as long as its children are made.
    pub fn forks(&self) -> PathBuf {
        self.state.join("forks")
    }

    /// All that is known of boots that failed.
    pub fn failures(&self) -> PathBuf {
        self.state.join("failures")
    }

    pub fn templates(&self) -> PathBuf {
        self.cache.join("templates")
    }

    /// Small files that are dear to make: the blank overlay, the answer about KVM, initramfs.
    pub fn pieces(&self) -> PathBuf {
        self.cache.join("pieces")
    }

    /// Makes the folders, for this user alone; a state folder that others could look into is closed.
    pub fn make(&self) -> std::io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let all = [
            self.machines(),
            self.sessions(),
            self.drives(),
            self.layers(),
            self.memories(),
            self.unpacked(),
            self.failures(),
            self.templates(),
            self.pieces(),
        ];
        all.iter().try_for_each(|folder| builder.create(folder))?;
        close(&self.state)
    }
}

/// Who can open the socket in the state folder owns the server: the folder has to be this user's,
/// and nobody else's to look into.
fn close(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let found = std::fs::metadata(folder)?;
    if found.uid() != rustix::process::geteuid().as_raw() {
        let text = format!("{} belongs to another user", folder.display());
        return Err(std::io::Error::new(std::io::ErrorKind::PermissionDenied, text));
    }
    if found.mode() & 0o077 != 0 {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_state_folder_that_others_could_look_into_is_closed() {
        let place = tempfile::tempdir().unwrap();
        let state = place.path().join("state");
        std::fs::create_dir(&state).unwrap();
        std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
        let paths = Paths::new(state.clone(), place.path().join("cache"));
        paths.make().unwrap();
        for folder in [state, paths.machines(), paths.sessions(), paths.templates()] {
            assert_eq!(std::fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn the_emulator_is_what_was_asked_for_then_our_own_build_then_the_paths() {
        let place = tempfile::tempdir().unwrap();
        let paths = Paths::new(place.path().join("state"), place.path().join("cache"));
        assert_eq!(paths.qemu(), None);
        let built = place.path().join("cache/x86_64/qemu/5eed/bin/qemu-system-x86_64");
        std::fs::create_dir_all(built.parent().unwrap()).unwrap();
        std::fs::write(&built, "").unwrap();
        assert_eq!(paths.qemu(), None, "nothing says that it is the one");
        std::os::unix::fs::symlink("5eed", place.path().join("cache/x86_64/qemu/current")).unwrap();
        assert_eq!(paths.qemu(), Some(built.canonicalize().unwrap()));
        let named = Some(PathBuf::from("/opt/qemu"));
        assert_eq!(paths.with_qemu(named.clone()).qemu(), named);
    }
}
