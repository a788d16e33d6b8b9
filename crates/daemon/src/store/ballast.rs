//! Room on the disk that is kept for the store: to delete takes some too, and who has filled the disk
//! could otherwise not make room again.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::StoreError;

/// What is kept.
const BYTES: u64 = 8 << 20;
/// So much of it is given at a time: what others take meanwhile is not all of it.
const PIECE_BYTES: u64 = 256 << 10;
/// It is made while so much is free.
const FREE_BYTES_MIN: u64 = 64 << 20;

/// A file beside the store that is of no use but for its size.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub(super) fn beside(store: &Path) -> Self {
        Self { path: store.with_extension("ballast") }
    }

    /// Does the work; as long as there is no room for it, some is given, and it is done again.
    pub(super) fn with_room<T>(
        &self,
        mut work: impl FnMut() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            match work() {
                Err(error) if error.is_disk_full() && self.give() => {}
                outcome => return outcome,
            }
        }
    }

    /// Makes what is missing of it while there is room.
    pub(super) fn keep_whole(&self) {
        if self.len() < BYTES
            && let Err(error) = self.fill()
        {
            tracing::warn!(%error, "no room is kept for a full disk");
        }
    }

    fn give(&self) -> bool {
        let less = self.len().checked_sub(PIECE_BYTES);
        let file = OpenOptions::new().write(true).open(&self.path);
        less.zip(file.ok()).is_some_and(|(less, file)| {
            tracing::warn!(left = less, "the disk is full: the store uses what is kept for it");
            file.set_len(less).is_ok()
        })
    }

    fn fill(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let disk = rustix::fs::statvfs(folder)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < FREE_BYTES_MIN {
            return Ok(());
        }
        let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
        // Neither holes nor what a file system makes smaller.
        let mut random = File::open("/dev/urandom")?.take(BYTES.saturating_sub(self.len()));
        io::copy(&mut random, &mut file).map(drop)
    }

    fn len(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |found| found.len())
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{Error, ffi};

    use super::*;

    fn failed(code: i32) -> StoreError {
        Error::SqliteFailure(ffi::Error::new(code), None).into()
    }

    #[test]
    fn room_is_given_while_there_is_none_and_kept_again() {
        let folder = tempfile::tempdir().unwrap();
        let ballast = Ballast::beside(&folder.path().join("store.db"));
        ballast.keep_whole();
        assert_eq!(ballast.len(), BYTES);

        for (code, tries) in [(ffi::SQLITE_FULL, 3), (ffi::SQLITE_IOERR_SHMSIZE, 2)] {
            let mut left = tries;
            let done = ballast.with_room(|| {
                left -= 1;
                if left == 0 { Ok(()) } else { Err(failed(code)) }
            });
            done.unwrap();
        }
        assert_eq!(ballast.len(), BYTES - 3 * PIECE_BYTES);
        // Another failure is none of its own.
        ballast.with_room(|| Err::<(), _>(failed(ffi::SQLITE_IOERR_WRITE))).unwrap_err();
        assert_eq!(ballast.len(), BYTES - 3 * PIECE_BYTES);
        let failed = ballast.with_room(|| Err::<(), _>(failed(ffi::SQLITE_FULL))).unwrap_err();
        assert!(failed.is_disk_full(), "{failed:?}");
        assert_eq!(ballast.len(), 0);
        ballast.keep_whole();
        assert_eq!(ballast.len(), BYTES);
    }
}
