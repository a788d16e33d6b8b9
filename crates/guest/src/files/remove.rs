//! Removing files and trees. No link is ever followed.

use std::{ffi::CString, path::Path};

use protocol::{Refusal, RefusalCode, RemoveMode};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, renameat, unlinkat},
    io::Errno,
};

use crate::refusal::{refuse, refuse_errno};

/// Folders held open at a time; a deeper one is moved up first.
const DEPTH_MAX: usize = 64;

pub(super) fn remove(path: &Path, mode: RemoveMode) -> Result<(), Refusal> {
    if path.file_name().is_none() {
        return Err(refuse(RefusalCode::Invalid, format!("{} is not removed", path.display())));
    }
    let removed = match (unlink(CWD, path), mode) {
        (Err(Errno::NOENT), RemoveMode::Tree) => Ok(()),
        (Err(Errno::NOTEMPTY | Errno::EXIST), RemoveMode::Tree) => tree(path),
        (removed, RemoveMode::One | RemoveMode::Tree) => removed,
    };
    removed.map_err(|errno| refuse_errno(errno, &path.display().to_string()))
}

/// A file, a link, or an empty folder.
fn unlink(folder: impl AsFd, name: impl rustix::path::Arg + Copy) -> rustix::io::Result<()> {
    match unlinkat(&folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => match unlinkat(&folder, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTDIR) => Err(Errno::PERM),
            removed => removed,
        },
        removed => removed,
    }
}

/// A folder on the way down: its own descriptor, and its name in its parent.
struct Level {
    folder: OwnedFd,
    name: CString,
}

fn tree(path: &Path) -> rustix::io::Result<()> {
    let mut levels = vec![Level { folder: open_folder(CWD, path)?, name: CString::default() }];
    let mut moved = 0_u64;
    while let Some(level) = levels.last() {
        match first_full_folder(&level.folder)? {
            Some(name) if levels.len() < DEPTH_MAX => {
                let folder = open_folder(&level.folder, name.as_c_str())?;
                levels.push(Level { folder, name });
            }
            // Deeper than we go: it is removed from the top.
            Some(name) => {
                let top = &levels[0].folder;
                let up = format!(".fumehood-removed-{moved}");
                moved += 1;
                match renameat(&level.folder, &name, top, up) {
                    Ok(()) | Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                    Err(errno) => return Err(errno),
                }
            }
            None => {
                let Some(level) = levels.pop() else { break };
                if let Some(parent) = levels.last() {
                    unlinkat(&parent.folder, &level.name, AtFlags::REMOVEDIR)?;
                }
            }
        }
    }
    unlinkat(CWD, path, AtFlags::REMOVEDIR)
}

fn open_folder(parent: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Removes all that can be removed at once, until a folder is found that holds something.
fn first_full_folder(folder: &OwnedFd) -> rustix::io::Result<Option<CString>> {
    let mut entries = Dir::read_from(folder)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match unlink(folder, name) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(Some(name.to_owned())),
            Err(errno) => return Err(errno),
        }
    }
    Ok(None)
}
