//! A tar stream of a guest's, unpacked on this computer.
//!
//! The guest may have made every byte of it to harm us. So: names are taken apart and walked from
//! the target's descriptor, one part at a time, through nothing but real folders; a file is always
//! made new, never written through a name that is there; no device nodes, pipes, set-user-ID bits
//! or foreign owners; and nothing is kept in memory that the stream can make grow.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use tar::{Archive, EntryType, Header, PaxExtensions};

/// Long names and the like, read into memory.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;

/// What becomes of the first part of every name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rename {
    /// It becomes this, whatever the guest calls it.
    Top(OsString),
    /// It goes away: what was in it goes into the target.
    Strip,
    Keep,
}

/// What was not unpacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Devices, pipes and entries of kinds unknown.
    pub(crate) special: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    #[error("the target {path} cannot be opened")]
    Target { path: String, source: io::Error },
    #[error("the stream is damaged")]
    Damaged(#[source] io::Error),
    #[error("{name} points outside the target")]
    Escapes { name: String },
    #[error("{name} is not a folder, and nothing is unpacked through it")]
    NotAFolder { name: String },
    #[error("{name} cannot be written")]
    Write { name: String, source: io::Error },
}

/// Unpacks everything below `target`, which is there.
pub(crate) fn unpack(
    stream: impl Read,
    target: &Path,
    rename: &Rename,
) -> Result<LeftOut, UnpackError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(target, flags, Mode::empty()).map_err(|fault| {
        UnpackError::Target { path: target.display().to_string(), source: fault.into() }
    })?;
    let mut left_out = LeftOut::default();
    let mut extensions = Extensions::default();
    let mut archive = Archive::new(stream);
    for entry in archive.entries().map_err(UnpackError::Damaged)?.raw(true) {
        let mut entry = entry.map_err(UnpackError::Damaged)?;
        if extensions.take(&mut entry)? {
            continue;
        }
        let named = std::mem::take(&mut extensions);
        let item = Item::new(entry.header(), named, rename)?;
        // The folder that everything goes into is there already.
        if item.parts.is_empty() && item.kind == EntryType::Directory {
            continue;
        }
        let done = item.write(&root, &mut entry)?;
        left_out.special += u64::from(done == Done::LeftOut);
    }
    Ok(left_out)
}

/// What entries before an entry say about it.
#[derive(Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Extensions {
    /// Whether the entry was about the next one.
    fn take(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<bool, UnpackError> {
        let kind = entry.header().entry_type();
        let about_next = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if !about_next {
            return Ok(false);
        }
        let damaged = |text: &str| UnpackError::Damaged(io::Error::other(text.to_owned()));
        if entry.size() > EXTENSION_BYTES_MAX {
            return Err(damaged("a name longer than any can be"));
        }
        let mut data = Vec::new();
        entry.read_to_end(&mut data).map_err(UnpackError::Damaged)?;
        if kind.is_gnu_longname() {
            self.name = Some(until_nul(data));
        } else if kind.is_gnu_longlink() {
            self.link = Some(until_nul(data));
        } else if kind.is_pax_local_extensions() {
            for extension in PaxExtensions::new(&data) {
                let extension = extension.map_err(UnpackError::Damaged)?;
                match extension.key_bytes() {
                    b"path" => self.name = Some(extension.value_bytes().to_vec()),
                    b"linkpath" => self.link = Some(extension.value_bytes().to_vec()),
                    // The reader goes by the header's size, and would lose its place.
                    b"size" => return Err(damaged("a size outside the header")),
                    _ => {}
                }
            }
        }
        Ok(true)
    }
}

fn until_nul(mut data: Vec<u8>) -> Vec<u8> {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    data.truncate(end);
    data
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Written,
    LeftOut,
}

/// An entry, its names checked.
struct Item {
    kind: EntryType,
    /// For messages.
    name: String,
    parts: Vec<OsString>,
    link: Vec<u8>,
    /// Where a hard link leads, renamed like any name.
    link_parts: Vec<OsString>,
    mode: Mode,
    mtime: i64,
    size: u64,
}

impl Item {
    fn new(header: &Header, said: Extensions, rename: &Rename) -> Result<Self, UnpackError> {
        let kind = header.entry_type();
        let name = said.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = said.link.or_else(|| Some(header.link_name_bytes()?.into_owned()));
        let link = link.unwrap_or_default();
        let link_parts = if kind.is_hard_link() { parts(&link, rename)? } else { Vec::new() };
        // Read, write and execute alone; our umask does the rest.
        let mode = header.mode().map_err(UnpackError::Damaged)? & 0o777;
        let mtime = header.mtime().map_err(UnpackError::Damaged)?;
        Ok(Self {
            kind,
            parts: parts(&name, rename)?,
            name: String::from_utf8_lossy(&name).into_owned(),
            link,
            link_parts,
            mode: Mode::from_raw_mode(mode),
            mtime: i64::try_from(mtime).unwrap_or(0),
            size: header.entry_size().map_err(UnpackError::Damaged)?,
        })
    }

    fn write(&self, root: &OwnedFd, content: &mut impl Read) -> Result<Done, UnpackError> {
        let Some((last, parents)) = self.parts.split_last() else {
            return Err(UnpackError::NotAFolder { name: self.name.clone() });
        };
        if !matches!(
            self.kind,
            EntryType::Regular
                | EntryType::Continuous
                | EntryType::Directory
                | EntryType::Symlink
                | EntryType::Link
        ) {
            return Ok(Done::LeftOut);
        }
        let folder = walk(root, parents, Missing::Make)?;
        let failed =
            |fault: io::Error| UnpackError::Write { name: self.name.clone(), source: fault };
        if self.kind.is_dir() {
            // What is still to come goes into it, so its owner can always write.
            return match rustix::fs::mkdirat(&folder, last, self.mode | Mode::RWXU) {
                Err(Errno::EXIST) => enter(folder.as_fd(), last).map(|_| Done::Written),
                made => made.map(|()| Done::Written).map_err(|fault| failed(fault.into())),
            };
        }
        make_way(&folder, last).map_err(failed)?;
        if self.kind.is_symlink() {
            rustix::fs::symlinkat(OsStr::from_bytes(&self.link), &folder, last)
                .map_err(|fault| failed(fault.into()))?;
        } else if self.kind.is_hard_link() {
            self.link(root, &folder, last)?;
        } else {
            self.file(&folder, last, content).map_err(failed)?;
        }
        Ok(Done::Written)
    }

    fn file(&self, folder: &OwnedFd, name: &OsStr, content: &mut impl Read) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(folder, name, flags, self.mode)?);
        if io::copy(content, &mut file)? != self.size {
            return Err(io::Error::other("the stream ends in the middle of it"));
        }
        let time = Timespec { tv_sec: self.mtime, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(&file, &times)?;
        Ok(())
    }

    /// A second name for a file below the target; a link there is not followed.
    fn link(&self, root: &OwnedFd, folder: &OwnedFd, name: &OsStr) -> Result<(), UnpackError> {
        let Some((last, parents)) = self.link_parts.split_last() else {
            return Err(UnpackError::Escapes { name: self.name.clone() });
        };
        let from = walk(root, parents, Missing::Fail)?;
        rustix::fs::linkat(&from, last, folder, name, AtFlags::empty())
            .map_err(|fault| UnpackError::Write { name: self.name.clone(), source: fault.into() })
    }
}

/// A name's parts, renamed. None of them is `..`, so that none leads up.
fn parts(name: &[u8], rename: &Rename) -> Result<Vec<OsString>, UnpackError> {
    let escapes = || UnpackError::Escapes { name: String::from_utf8_lossy(name).into_owned() };
    let mut parts = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(escapes()),
            part => parts.push(OsStr::from_bytes(part).to_owned()),
        }
    }
    match rename {
        Rename::Top(top) => match parts.first_mut() {
            Some(first) => first.clone_from(top),
            None => parts.push(top.clone()),
        },
        Rename::Strip if !parts.is_empty() => drop(parts.remove(0)),
        Rename::Strip | Rename::Keep => {}
    }
    Ok(parts)
}

/// What to do about a folder that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Make,
    Fail,
}

fn walk(root: &OwnedFd, parts: &[OsString], missing: Missing) -> Result<OwnedFd, UnpackError> {
    let failed = |name: &OsString, fault: io::Error| UnpackError::Write {
        name: name.to_string_lossy().into_owned(),
        source: fault,
    };
    let mut folder = root.try_clone().map_err(|fault| failed(&OsString::from("."), fault))?;
    for part in parts {
        if missing == Missing::Make {
            match rustix::fs::mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(fault) => return Err(failed(part, fault.into())),
            }
        }
        folder = enter(folder.as_fd(), part)?;
    }
    Ok(folder)
}

/// Opens a real folder; a link to one is none.
fn enter(folder: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, UnpackError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(folder, name, flags, Mode::empty()).map_err(|fault| {
        let name = name.to_string_lossy().into_owned();
        match fault {
            Errno::NOTDIR | Errno::LOOP => UnpackError::NotAFolder { name },
            fault => UnpackError::Write { name, source: fault.into() },
        }
    })
}

/// Removes what has the name; a folder stays and is a fault.
fn make_way(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}
