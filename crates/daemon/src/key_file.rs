//! Files that hold a key of the server's own: 32 bytes, for this user alone, whole or not there.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::ids;

pub(crate) const KEY_BYTES: usize = 32;

pub(crate) type Key = Zeroizing<[u8; KEY_BYTES]>;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("the key {path} cannot be used")]
    Io { path: PathBuf, source: io::Error },
    #[error("the key {0} can be read by others: make it this user's alone (chmod 600)")]
    Open(PathBuf),
    #[error("the key {0} does not have {KEY_BYTES} bytes")]
    Length(PathBuf),
}

/// The key of a file that is made if it is not there.
pub(crate) fn load_or_make(path: &Path) -> Result<Key, KeyFileError> {
    if !path.exists() {
        replace(path)?;
    }
    read(path, is_private)
}

/// Puts a new key in the place of the one before: under its name is one or the other, whole.
pub(crate) fn replace(path: &Path) -> Result<Key, KeyFileError> {
    make(path).map_err(|source| KeyFileError::Io { path: path.to_owned(), source })
}

fn make(path: &Path) -> io::Result<Key> {
    let draft = path.with_extension("draft");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let key: Key = Zeroizing::new(ids::random());
    file.write_all(&*key)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    Ok(key)
}

pub(crate) fn read(
    path: &Path,
    may_be_used: impl Fn(&std::fs::Metadata) -> bool,
) -> Result<Key, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // Of the file that is open, so that it is the one that is read.
    if !may_be_used(&file.metadata().map_err(failed)?) {
        return Err(KeyFileError::Open(path.to_owned()));
    }
    let mut key: Key = Zeroizing::new([0; KEY_BYTES]);
    let mut more = [0];
    match (&file).read_exact(&mut *key) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(KeyFileError::Length(path.to_owned()));
        }
        Err(error) => return Err(failed(error)),
    }
    match (&file).read(&mut more).map_err(failed)? {
        0 => Ok(key),
        _ => Err(KeyFileError::Length(path.to_owned())),
    }
}

fn is_private(file: &std::fs::Metadata) -> bool {
    file.mode() & 0o077 == 0 && file.uid() == rustix::process::geteuid().as_raw()
}
