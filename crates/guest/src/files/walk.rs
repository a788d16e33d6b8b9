//! Finding the folder of an archive's entry. Links that were there before are followed as everybody
//! follows them; one that the archive itself made is never followed.

use std::{
    collections::{HashSet, VecDeque},
    ffi::{CStr, CString},
    path::Path,
};

use protocol::EntryKind;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat, fstat, mkdirat, openat, readlinkat},
    io::Errno,
};

use super::{MadeBy, paths};

/// As many links may be on a path as the kernel allows.
const LINKS_MAX: usize = 40;
/// As many links may an archive make.
const MADE_MAX: usize = 1 << 18;

/// Why a folder was not found.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalkError {
    #[error("leads out of its folder")]
    Escape,
    #[error("leads through a link of the same archive")]
    OwnLink,
    #[error(transparent)]
    Kernel(#[from] Errno),
}

/// The folder an archive goes to, and the links that it made.
#[derive(Debug)]
pub(super) struct Walk {
    base: OwnedFd,
    root: OwnedFd,
    made_by: MadeBy,
    links: HashSet<(u64, u64)>,
}

impl Walk {
    pub(super) fn new(base: &Path, made_by: MadeBy) -> rustix::io::Result<Self> {
        let open = |path: &Path| openat(CWD, path, FOLDER, Mode::empty());
        Ok(Self { base: open(base)?, root: open(Path::new("/"))?, made_by, links: HashSet::new() })
    }

    /// The open folder of an entry, made if missing, and the entry's last name; none for the base
    /// itself.
    pub(super) fn parent(&self, name: &[u8]) -> Result<Option<(OwnedFd, CString)>, WalkError> {
        let mut names: VecDeque<CString> = VecDeque::new();
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(WalkError::Escape),
                name => names.push_back(c_name(name)?),
            }
        }
        let Some(last) = names.pop_back() else { return Ok(None) };
        Ok(Some((self.descend(names)?, last)))
    }

    /// Remembers a link that the archive made.
    pub(super) fn made_link(&mut self, folder: &OwnedFd, name: &CString) -> Result<(), WalkError> {
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if self.links.len() >= MADE_MAX {
            return Err(Errno::MLINK.into());
        }
        self.links.insert((stat.st_dev, stat.st_ino));
        Ok(())
    }

    /// Whether the archive made this link.
    pub(super) fn is_own_link(&self, stat: &rustix::fs::Stat) -> bool {
        self.links.contains(&(stat.st_dev, stat.st_ino))
    }

    fn descend(&self, mut names: VecDeque<CString>) -> Result<OwnedFd, WalkError> {
        let mut folder = self.base.try_clone().map_err(|_full| Errno::MFILE)?;
        let mut links = 0;
        while let Some(name) = names.pop_front() {
            let next = match openat(&folder, &name, NODE, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::NOENT) => {
                    folder = self.make(&folder, &name)?;
                    continue;
                }
                Err(errno) => return Err(errno.into()),
            };
            let stat = fstat(&next)?;
            match paths::kind(stat.st_mode) {
                EntryKind::Folder => folder = next,
                EntryKind::Link if self.is_own_link(&stat) => return Err(WalkError::OwnLink),
                EntryKind::Link if links == LINKS_MAX => return Err(Errno::LOOP.into()),
                EntryKind::Link => {
                    links += 1;
                    let target = readlinkat(&next, c"", Vec::new())?;
                    if target.as_bytes().starts_with(b"/") {
                        folder = self.root.try_clone().map_err(|_full| Errno::MFILE)?;
                    }
                    let parts = target.as_bytes().split(|byte| *byte == b'/').rev();
                    for part in parts.filter(|part| !part.is_empty() && *part != b".") {
                        names.push_front(c_name(part)?);
                    }
                }
                EntryKind::File | EntryKind::Other => return Err(Errno::NOTDIR.into()),
            }
        }
        Ok(folder)
    }

    fn make(&self, folder: &OwnedFd, name: &CString) -> Result<OwnedFd, WalkError> {
        mkdirat(folder, name, Mode::from_raw_mode(0o755))?;
        chown(folder, name, self.made_by)?;
        Ok(openat(folder, name, FOLDER | OFlags::NOFOLLOW, Mode::empty())?)
    }
}

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Whatever is there, a link itself included.
const NODE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Gives a file away: the one of this name, a link itself and not what it leads to; or, without a
/// name, the open one.
pub(super) fn chown(folder: impl AsFd, name: &CStr, to: MadeBy) -> rustix::io::Result<()> {
    let Some((uid, gid)) = to else { return Ok(()) };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)
}

fn c_name(name: &[u8]) -> Result<CString, WalkError> {
    CString::new(name).map_err(|_nul| Errno::INVAL.into())
}
