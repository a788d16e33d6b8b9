//! A sandbox's disk as an image. The sandbox goes on; its root waits while the disk is copied.
//!
//! What is read is a copy, and who the guest is has been taken out of it: see [`image::volume`].

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use image::{
    catalog::Image,
    oci::{
        blob::Blobs,
        commit::{self, Changes, Commit},
    },
    volume::Own,
};
use protocol::Request;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{ImageError, Images, Progress, obtain};
use crate::{
    agent::{Agent, AgentError},
    clock, limits, platform,
};

/// A guest that writes much has much to write out first.
const HOLD_DEADLINE: Duration = Duration::from_secs(120);
/// The agent lets go by itself after so long.
const HELD: Duration = Duration::from_secs(60);
const RELEASE_DEADLINE: Duration = Duration::from_secs(30);
/// Is left free on the host's disk.
const FREE_BYTES: u64 = 1 << 30;

/// A running sandbox, as far as its disk goes.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) base: Image,
    /// What its machine writes to.
    pub(crate) overlay: PathBuf,
    /// What that stands on above the image, the uppermost first.
    pub(crate) layers: Vec<PathBuf>,
    /// The certificates that were put into it.
    pub(crate) trusted: Vec<Vec<u8>>,
}

/// Why the disk of a running sandbox could not be copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("the guest did not hold its disk still")]
    Hold(#[source] AgentError),
    #[error("the guest let its disk go before it was copied; it may be too busy or too large")]
    LetGo(#[source] AgentError),
    #[error("the disk could not be copied")]
    Io(#[from] io::Error),
    #[error("the disk has {needed} MiB to copy, and too few are free here")]
    NoRoom { needed: u64 },
}

impl Images {
    /// Makes an image of what the disk is now, and calls it so.
    pub(crate) async fn commit(
        &self,
        (agent, disk): (Agent, Disk),
        name: String,
        changes: Changes,
        report: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Image, ImageError> {
        let copy = self.copy(&agent, disk.overlay.clone()).await?;
        self.blocking(move |paths| {
            let cache = platform::cache(paths)?;
            let lower = disk.layers.iter().map(|layer| open(layer));
            let layers = [Ok(copy)].into_iter().chain(lower).collect::<Result<_, _>>();
            let job = Commit {
                cache: &cache,
                blobs: &Blobs::of(&cache),
                base: &disk.base,
                layers: layers.map_err(CopyError::Io)?,
                own: &Own::new(disk.trusted),
                changes: &changes,
                name: &name,
                created: clock::since_1970().as_secs(),
            };
            Ok(commit::commit(job, &obtain::telling(&report)).map_err(Box::new)?)
        })
        .await
    }

    /// The disk at one moment. It has no name, so that nothing of it is left whatever happens.
    async fn copy(&self, agent: &Agent, overlay: PathBuf) -> Result<File, ImageError> {
        let for_ms = u64::try_from(HELD.as_millis()).unwrap_or(u64::MAX);
        let held = agent.request(Request::Hold { for_ms }, HOLD_DEADLINE).await;
        held.map_err(CopyError::Hold)?;
        let copied = self.blocking(move |paths| Ok(copy(&overlay, paths.cache())?)).await;
        let released = agent.request(Request::Release, RELEASE_DEADLINE).await;
        let copied = copied?;
        released.map_err(CopyError::LetGo)?;
        Ok(copied)
    }
}

fn copy(overlay: &Path, folder: &Path) -> Result<File, CopyError> {
    let mut from = open(overlay)?;
    let bytes = from.metadata()?.len();
    let free = limits::Host::now(folder)?.disk_free_mib << 20;
    if free < bytes.saturating_add(FREE_BYTES) {
        return Err(CopyError::NoRoom { needed: bytes >> 20 });
    }
    let mut to = tempfile::tempfile_in(folder)?;
    io::copy(&mut from, &mut to)?;
    Ok(to)
}

/// A regular file and no link: QEMU can write to the folder.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(CWD, path, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
