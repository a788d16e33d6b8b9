//! Files that hold a key of the server's own: 32 bytes, if it is no key pair, for this user alone, whole or not there.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::ids;

pub(crate) const KEY_BYTES: usize = 32;

/// Of a key pair; one of 2048 bits has some 1200.
const CONTENT_BYTES_MAX: usize = 16 << 10;

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
    let key: Key = Zeroizing::new(ids::random());
    keep(path, &*key)?;
    Ok(key)
}

/// Puts this into the file, in place of what was there.
pub(crate) fn keep(path: &Path, content: &[u8]) -> Result<(), KeyFileError> {
    write(path, content).map_err(|source| KeyFileError::Io { path: path.to_owned(), source })
}

/// The same, for whoever has errors of their own.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("draft");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

pub(crate) fn read(
    path: &Path,
    may_be_used: impl Fn(&std::fs::Metadata) -> bool,
) -> Result<Key, KeyFileError> {
    let content = content(path, may_be_used)?;
    let key = <[u8; KEY_BYTES]>::try_from(content.as_slice());
    key.map(Zeroizing::new).map_err(|_length| KeyFileError::Length(path.to_owned()))
}

/// What is in the file.
pub(crate) fn content(
    path: &Path,
    may_be_used: impl Fn(&std::fs::Metadata) -> bool,
) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    // Of the file that is open, so that it is the one that is read.
    if !may_be_used(&file.metadata().map_err(failed)?) {
        return Err(KeyFileError::Open(path.to_owned()));
    }
    // With room for all of it, so that nothing of it is left behind where it grew out of.
    let mut content = Zeroizing::new(Vec::with_capacity(CONTENT_BYTES_MAX));
    file.take(CONTENT_BYTES_MAX as u64).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

pub(crate) fn is_private(file: &std::fs::Metadata) -> bool {
    file.mode() & 0o077 == 0 && file.uid() == rustix::process::geteuid().as_raw()
}
