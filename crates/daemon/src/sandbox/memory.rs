//! Where a paused session has its memory: in a file of its own, in its session's folder, which its machine
//! cannot reach.
//!
//! The file says more than the store, which may forget its last changes in a loss of power. Where it is
//! whole and no machine runs, the session is paused, whatever is stored. Before a machine that was made of it
//! may go on, it is renamed, and that is on the disk: by then its disk is about to be another.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use crate::{context::Context, ids::SessionId};

const NAME: &str = "memory";

/// The file, under either of its names.
#[derive(Clone, Debug)]
pub(crate) struct MemoryPlace {
    folder: PathBuf,
    boot: String,
}

impl MemoryPlace {
    pub(crate) fn of(context: &Context, session: &SessionId) -> Self {
        let folder = context.paths.sessions().join(session.as_str());
        Self { folder, boot: context.host_boot.clone() }
    }

    /// As it is called once it is whole.
    pub(super) fn whole(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// As it is called once a machine is made of it, which may have gone on. Only while the host has not
    /// been started anew does the store know whether it has.
    fn taken(&self) -> PathBuf {
        self.folder.join(format!("{NAME}-{}", self.boot))
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.whole().exists()
    }

    /// Where it is, if it is there.
    pub(super) fn find(&self) -> io::Result<PathBuf> {
        let names = [self.whole(), self.taken()];
        names.into_iter().find(|path| path.exists()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Gives it its other name, if it has not that already. It is on the disk after [`Self::sync`].
    pub(super) fn take(&self) -> io::Result<PathBuf> {
        let taken = self.taken();
        match std::fs::rename(self.whole(), &taken) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(taken),
        }
    }

    /// Gives it its first name again, of a machine that has not gone on.
    pub(super) fn put_back(&self) {
        if let Err(error) = std::fs::rename(self.taken(), self.whole()) {
            tracing::warn!(%error, "a saved memory keeps the name that it was taken under");
        }
    }

    pub(super) async fn sync(&self) -> io::Result<()> {
        let folder = self.folder.clone();
        let synced = tokio::task::spawn_blocking(move || File::open(folder)?.sync_all());
        synced.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Removes it, whatever it is called.
    pub(super) fn forget(&self) -> io::Result<()> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            if is_memory(&path) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// A draft of one too.
fn is_memory(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix(NAME)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-') || rest.starts_with('.'))
}
