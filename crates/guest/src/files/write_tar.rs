//! Taking in a tar stream.

use std::{
    ffi::CString,
    fs::File,
    io::{self, ErrorKind, IoSlice, Read, Write},
    path::Path,
};

use protocol::{EntryKind, Owner, Parents, Refusal, RefusalCode, Response};
use rustix::{
    fd::OwnedFd,
    fs::{
        AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, futimens, linkat, mkdirat,
        openat, statat, symlinkat, unlinkat, utimensat,
    },
    io::Errno,
};

use super::{
    MadeBy,
    archive::{Archive, ArchiveError, Entry, Kind},
    direct::{Direct, Room},
    paths,
    pipe::Pieces,
    walk::{Walk, WalkError, chown},
};
use crate::refusal::{refuse, refuse_errno, refuse_io};

/// Folders whose time is set at the end: everything made in them would change it again.
const FOLDERS_MAX: usize = 1 << 16;

/// Whom entries belong to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ownership {
    pub(super) made_by: MadeBy,
    pub(super) owner: Owner,
}

/// Why an entry was not taken.
#[derive(Debug, thiserror::Error)]
enum EntryError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Walk(#[from] WalkError),
    #[error(transparent)]
    Kernel(#[from] Errno),
    #[error("write")]
    Write(#[from] io::Error),
}

struct Writer {
    walk: Walk,
    ownership: Ownership,
    /// Folders made, with their times.
    folders: Vec<(Vec<u8>, i64)>,
    bytes: u64,
    room: Room,
}

/// Takes the stream in below `base`, which is made if missing.
pub(super) fn write_tar(
    base: &Path,
    ownership: Ownership,
    source: impl Pieces,
) -> Result<Response, Refusal> {
    paths::mkdir(base, Parents::Create, ownership.made_by)?;
    let walk = Walk::new(base, ownership.made_by)
        .map_err(|errno| refuse_errno(errno, &base.display().to_string()))?;
    let mut archive = Archive::new(source);
    let mut writer =
        Writer { walk, ownership, folders: Vec::new(), bytes: 0, room: Room::default() };
    let mut entries = 0;
    while let Some(entry) = archive.next().map_err(|error| refuse_entry(&error.into(), b""))? {
        let taken = writer.take(&entry, &mut archive);
        taken.map_err(|error| refuse_entry(&error, &entry.name))?;
        entries += 1;
    }
    writer.set_folder_times();
    Ok(Response::Written { entries, bytes: writer.bytes })
}

fn refuse_entry(error: &EntryError, name: &[u8]) -> Refusal {
    let name = String::from_utf8_lossy(name);
    match error {
        EntryError::Archive(ArchiveError::Io(error)) => refuse_io(error, "the archive"),
        EntryError::Archive(error) => refuse(RefusalCode::BadArchive, error.to_string()),
        EntryError::Kernel(errno) | EntryError::Walk(WalkError::Kernel(errno)) => {
            refuse_errno(*errno, &name)
        }
        EntryError::Walk(error) => refuse(RefusalCode::BadArchive, format!("{name} {error}")),
        EntryError::Write(error) => refuse_io(error, &name),
    }
}

impl Writer {
    fn take(
        &mut self,
        entry: &Entry,
        content: &mut Archive<impl Pieces>,
    ) -> Result<(), EntryError> {
        let Some((folder, name)) = self.walk.parent(&entry.name)? else {
            // The base itself stays as it is.
            return Ok(());
        };
        match &entry.kind {
            Kind::Folder => self.take_folder(entry, &folder, &name),
            Kind::File => self.take_file(entry, (&folder, &name), content),
            Kind::Link(target) => self.take_link(entry, (&folder, &name), target),
            Kind::HardLink(target) => self.take_hard_link((&folder, &name), target),
        }
    }

    /// A folder that is there stays as it is, and so does a link to one.
    fn take_folder(
        &mut self,
        entry: &Entry,
        folder: &OwnedFd,
        name: &CString,
    ) -> Result<(), EntryError> {
        match mkdirat(folder, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                match paths::kind(stat.st_mode) {
                    EntryKind::Folder => return Ok(()),
                    EntryKind::Link if !self.walk.is_own_link(&stat) => {
                        let target = statat(folder, name, AtFlags::empty())?;
                        let kind = paths::kind(target.st_mode);
                        let is_folder = kind == EntryKind::Folder;
                        return if is_folder { Ok(()) } else { Err(Errno::NOTDIR.into()) };
                    }
                    EntryKind::File | EntryKind::Link | EntryKind::Other => {
                        unlinkat(folder, name, AtFlags::empty())?;
                        mkdirat(folder, name, Mode::from_raw_mode(0o700))?;
                    }
                }
            }
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(folder, name, flags, Mode::empty())?;
        chown(&made, c"", self.owner_of(entry))?;
        fchmod(&made, Mode::from_raw_mode(entry.mode))?;
        if self.folders.len() < FOLDERS_MAX {
            self.folders.push((entry.name.clone(), entry.mtime));
        }
        Ok(())
    }

    fn take_file(
        &mut self,
        entry: &Entry,
        (folder, name): (&OwnedFd, &CString),
        content: &mut Archive<impl Pieces>,
    ) -> Result<(), EntryError> {
        remove_old(folder, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o600);
        let mut file: File = openat(folder, name, flags | OFlags::CLOEXEC, mode)?.into();
        self.take_direct(&file, content)?;
        while content.left() > 0 {
            let pieces = content.pieces().map_err(ArchiveError::Io)?;
            let pieces: Vec<_> = pieces.into_iter().map(IoSlice::new).collect();
            let count = match file.write_vectored(&pieces) {
                Ok(0) => return Err(Errno::NOSPC.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            content.consume(count);
            self.bytes += count as u64;
        }
        // The owner first: giving a file away clears its setuid bit.
        chown(&file, c"", self.owner_of(entry))?;
        fchmod(&file, Mode::from_raw_mode(entry.mode))?;
        Ok(futimens(&file, &times(entry.mtime))?)
    }

    /// As much of the content as is better written past the kernel's memory.
    fn take_direct(
        &mut self,
        file: &File,
        content: &mut Archive<impl Pieces>,
    ) -> Result<(), EntryError> {
        let direct = Direct::begin(file, &mut self.room, content.left());
        let Some(mut direct) = direct else { return Ok(()) };
        while let Some(piece) = direct.piece(content.left()) {
            let len = piece.len();
            content.read_exact(piece).map_err(ArchiveError::Io)?;
            direct.write(len)?;
            self.bytes += len as u64;
        }
        Ok(())
    }

    fn take_link(
        &mut self,
        entry: &Entry,
        (folder, name): (&OwnedFd, &CString),
        target: &[u8],
    ) -> Result<(), EntryError> {
        remove_old(folder, name)?;
        symlinkat(target, folder, name)?;
        self.walk.made_link(folder, name)?;
        chown(folder, name, self.owner_of(entry))?;
        Ok(utimensat(folder, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn take_hard_link(
        &mut self,
        (folder, name): (&OwnedFd, &CString),
        target: &[u8],
    ) -> Result<(), EntryError> {
        let Some((target_folder, target_name)) = self.walk.parent(target)? else {
            return Err(Errno::INVAL.into());
        };
        remove_old(folder, name)?;
        Ok(linkat(target_folder, &target_name, folder, name, AtFlags::empty())?)
    }

    fn owner_of(&self, entry: &Entry) -> MadeBy {
        match self.ownership.owner {
            Owner::DefaultUser => self.ownership.made_by,
            // Where nothing is given away at all, nothing is here.
            Owner::Keep => self.ownership.made_by.map(|_| (entry.uid, entry.gid)),
        }
    }

    /// The innermost first, so that none changes one that is done.
    fn set_folder_times(&self) {
        for (name, mtime) in self.folders.iter().rev() {
            if let Ok(Some((folder, name))) = self.walk.parent(name) {
                // A folder that is gone again has no time.
                let times = times(*mtime);
                let _is_set = utimensat(folder, &name, &times, AtFlags::SYMLINK_NOFOLLOW).is_ok();
            }
        }
    }
}

/// Makes place for an entry. A folder gives way only if it is empty.
fn remove_old(folder: &OwnedFd, name: &CString) -> rustix::io::Result<()> {
    let removed = match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => unlinkat(folder, name, AtFlags::REMOVEDIR),
        removed => removed,
    };
    match removed {
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Err(Errno::ISDIR),
        removed => removed,
    }
}

fn times(mtime: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime, tv_nsec: 0 },
    }
}
