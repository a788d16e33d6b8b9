//! Making folders, and saying what a path is.

use std::{
    fs::{self, Metadata},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, lchown},
    path::Path,
};

use protocol::{EntryKind, Parents, Refusal, Stat};
use rustix::{fs::FileType, io::Errno};

use super::MadeBy;
use crate::refusal::{refuse_errno, refuse_io};

/// Makes a folder. It and the parents made for it belong to `made_by`.
pub(super) fn mkdir(path: &Path, parents: Parents, made_by: MadeBy) -> Result<(), Refusal> {
    let refused = |error: &std::io::Error| refuse_io(error, &path.display().to_string());
    if parents == Parents::MustExist {
        return make(path, made_by).map_err(|error| refused(&error));
    }
    // From the first that is there downwards.
    let is_missing = |path: &&Path| matches!(fs::metadata(path), Err(error) if is_absent(&error));
    let missing: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
    for folder in missing.into_iter().rev() {
        match make(folder, made_by) {
            // Another was quicker.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
            made => made.map_err(|error| refused(&error))?,
        }
    }
    let folder = fs::metadata(path).map_err(|error| refused(&error))?;
    if folder.is_dir() {
        return Ok(());
    }
    Err(refuse_errno(Errno::EXIST, &path.display().to_string()))
}

fn is_absent(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

fn make(path: &Path, made_by: MadeBy) -> std::io::Result<()> {
    fs::create_dir(path)?;
    made_by.map_or(Ok(()), |(uid, gid)| lchown(path, Some(uid), Some(gid)))
}

/// What a path leads to; a link that leads nowhere is itself.
pub(super) fn stat(path: &Path) -> Result<Stat, Refusal> {
    let metadata = fs::metadata(path).or_else(|_nowhere| fs::symlink_metadata(path));
    let metadata = metadata.map_err(|error| refuse_io(&error, &path.display().to_string()))?;
    Ok(stat_of_metadata(&metadata))
}

pub(super) fn stat_of_metadata(metadata: &Metadata) -> Stat {
    Stat {
        kind: kind(metadata.mode()),
        size: metadata.size(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: metadata.mtime(),
    }
}

pub(super) fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    Stat {
        kind: kind(stat.st_mode),
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
    }
}

/// Of what kind a file of this mode is.
pub(super) fn kind(mode: u32) -> EntryKind {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Folder,
        FileType::Symlink => EntryKind::Link,
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => EntryKind::Other,
    }
}
