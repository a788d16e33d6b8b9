//! The root file system as it may be: with anything in place of anything. What is written here ends
//! up on the root file system and in a regular file, wherever links lead.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use rustix::{
    fd::OwnedFd,
    fs::{
        AtFlags, Mode, OFlags, ResolveFlags, fchmod, mkdirat, open, openat, openat2, readlinkat,
        renameat, symlinkat, unlinkat,
    },
    io::Errno,
};

/// More of a file is not read, and larger ones are not written on.
const FILE_BYTES_MAX: u64 = protocol::trust::BUNDLE_BYTES_MAX;

/// Links lead nowhere out of the root, into no other file system (of the kernel, for one), and
/// through no descriptor of ours.
const BENEATH: ResolveFlags =
    ResolveFlags::IN_ROOT.union(ResolveFlags::NO_XDEV).union(ResolveFlags::NO_MAGICLINKS);
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// A FIFO that nobody writes to is not waited for.
const NEVER_WAITING: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// An opened root. All paths are relative to it.
#[derive(Debug)]
pub(crate) struct Tree(OwnedFd);

impl Tree {
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        Ok(Self(open(root, FOLDER, Mode::empty())?))
    }

    pub(crate) fn has_folder(&self, path: &str) -> bool {
        self.folder(path).is_ok()
    }

    /// The folder itself, wherever links lead, on the root file system.
    pub(crate) fn open_folder(&self, path: &str) -> io::Result<OwnedFd> {
        Ok(self.folder(path)?)
    }

    /// Makes the folder and those above it, where they are missing.
    pub(crate) fn make_folder(&self, path: &str) -> io::Result<()> {
        if self.has_folder(path) {
            return Ok(());
        }
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        for end in ends {
            let (above, name) = split(&path[..end]);
            match mkdirat(&self.folder(above)?, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    pub(crate) fn is_file(&self, path: &str) -> bool {
        self.regular(path, OFlags::RDONLY).is_ok()
    }

    /// The content of a regular file.
    pub(crate) fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.regular(path, OFlags::RDONLY)?.take(FILE_BYTES_MAX).read_to_end(&mut content)?;
        Ok(content)
    }

    /// Writes behind what the file has. It must be there.
    pub(crate) fn append(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let mut file = self.regular(path, OFlags::RDWR)?;
        if file.seek(SeekFrom::End(-1)).is_ok() {
            let mut last = [0];
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        file.write_all(content)
    }

    /// Gives a file that is there another content.
    pub(crate) fn rewrite(&self, path: &str, content: &[u8]) -> io::Result<()> {
        overwrite(&self.regular(path, OFlags::WRONLY)?, 0, content)
    }

    /// Puts `new` in place of `old` where that is the end of a file, and tells whether it was.
    pub(crate) fn swap_end(&self, path: &str, old: &[u8], new: &[u8]) -> io::Result<bool> {
        let file = self.regular(path, OFlags::RDWR)?;
        let len = file.metadata()?.len();
        let begin_of = |end: &[u8]| -> io::Result<Option<u64>> {
            let Some(at) = len.checked_sub(end.len() as u64) else { return Ok(None) };
            let mut there = vec![0; end.len()];
            file.read_exact_at(&mut there, at)?;
            Ok((there == end).then_some(at))
        };
        let Some(at) = begin_of(old)? else { return Ok(false) };
        // Under another name it may have been done.
        if !new.ends_with(old) || begin_of(new)?.is_none() {
            overwrite(&file, at, new)?;
        }
        Ok(true)
    }

    /// A new file in place of whatever is there: a link is replaced and not followed.
    pub(crate) fn replace(&self, path: &str, content: &[u8], mode: u32) -> io::Result<()> {
        let (folder, name) = self.clear(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(mode);
        let mut file: File = openat(&folder, name, flags | OFlags::CLOEXEC, mode)?.into();
        fchmod(&file, mode)?;
        file.write_all(content)
    }

    /// Gives a file this content: in place if it is a regular one with this name alone, which is
    /// less work, and else as [`Tree::replace`] does.
    pub(crate) fn write(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let (above, name) = split(path);
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | NEVER_WAITING;
        let found = openat(self.folder(above)?, name, flags, Mode::empty()).map(File::from);
        match found {
            Ok(file) if file.metadata().is_ok_and(|is| is.is_file() && is.nlink() == 1) => {
                overwrite(&file, 0, content)
            }
            _ => self.replace(path, content, 0o644),
        }
    }

    /// A link in place of whatever is there.
    pub(crate) fn link(&self, path: &str, target: &str) -> io::Result<()> {
        let (folder, name) = self.clear(path)?;
        Ok(symlinkat(target, &folder, name)?)
    }

    /// Gives what is there another name in its folder, where nothing has that.
    pub(crate) fn rename(&self, path: &str, name: &str) -> io::Result<()> {
        let (above, old) = split(path);
        let folder = self.folder(above)?;
        Ok(renameat(&folder, old, &folder, name)?)
    }

    /// Takes away what is there, if anything is; no folder.
    pub(crate) fn remove(&self, path: &str) -> io::Result<()> {
        self.clear(path).map(drop)
    }

    /// Where a link leads to, if there is one.
    pub(crate) fn link_target(&self, path: &str) -> Option<Vec<u8>> {
        let (above, name) = split(path);
        let target = readlinkat(&self.folder(above).ok()?, name, Vec::new()).ok()?;
        Some(target.into_bytes())
    }

    /// Whether anything is there, be it a link that leads nowhere.
    pub(crate) fn is_taken(&self, path: &str) -> bool {
        let (above, name) = split(path);
        let stat = |folder| rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        self.folder(above).is_ok_and(|folder| stat(folder).is_ok())
    }

    fn clear<'a>(&self, path: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        let (above, name) = split(path);
        let folder = self.folder(above)?;
        match unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok((folder, name)),
            Err(errno) => Err(errno.into()),
        }
    }

    fn folder(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        openat2(&self.0, if path.is_empty() { "." } else { path }, FOLDER, Mode::empty(), BENEATH)
    }

    fn regular(&self, path: &str, access: OFlags) -> io::Result<File> {
        let flags = access | NEVER_WAITING;
        let file: File = openat2(&self.0, path, flags, Mode::empty(), BENEATH)?.into();
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("no regular file"));
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(file)
    }
}

/// Writes to the end of a file, from `at` on. It is never cut to nothing in between: ext4 would write such a
/// file out to the disk on closing it. Nor cut for nothing, which is work too.
fn overwrite(file: &File, at: u64, content: &[u8]) -> io::Result<()> {
    file.write_all_at(content, at)?;
    let end = at + content.len() as u64;
    if end < file.metadata()?.len() { file.set_len(end) } else { Ok(()) }
}

/// The folder that a path is in, and its last name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

#[cfg(test)]
mod tests;
