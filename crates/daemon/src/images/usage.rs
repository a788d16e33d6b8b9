//! When images were last used: an empty file for each, as old as its last use.

use std::{fs::File, io, path::PathBuf, time::SystemTime};

use crate::config::Paths;

fn file(paths: &Paths, digest: &str) -> PathBuf {
    paths.cache().join("used").join(&digest[..digest.len().min(64)])
}

/// Notes that the image of this digest is used now.
pub(super) fn note(paths: &Paths, digest: &str, now: SystemTime) -> io::Result<()> {
    let path = file(paths, digest);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::create(path)?.set_modified(now)
}

/// When it was last used, in seconds since 1970; none if that is not known.
pub(super) fn last(paths: &Paths, digest: &str) -> Option<u64> {
    let modified = std::fs::metadata(file(paths, digest)).ok()?.modified().ok()?;
    Some(modified.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

/// Forgets an image that is gone.
pub(super) fn forget(paths: &Paths, digest: &str) {
    // It may never have been used.
    drop(std::fs::remove_file(file(paths, digest)));
}
