//! Sending a file or folder as a tar stream.

use std::{
    collections::VecDeque,
    ffi::CString,
    fs::File,
    io::{self, BufWriter, Read, Write},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use protocol::{EntryKind, Refusal, RefusalCode, Response};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat, fstat, openat, readlinkat, statat},
    io::Errno,
};
use tar::{Builder, EntryType, Header};

use super::{Over, archive::padding, paths, pipe::Pipe, read::copy, source::Source};
use crate::refusal::{refuse, refuse_errno};

const BUFFER: usize = 64 << 10;
/// From this size on a file's content is not put together with other things.
const LARGE: u64 = 256 << 10;
/// Folders open at a time. A path of the kernel's greatest length has no more that matter.
const DEPTH_MAX: usize = 1024;
/// Names of one folder, in bytes, since they are sorted.
const NAMES_MAX: usize = 32 << 20;

type Sink<'a> = BufWriter<&'a Pipe>;

/// A folder that is being sent.
struct Level {
    folder: OwnedFd,
    /// Its name in the archive.
    name: PathBuf,
    names: VecDeque<CString>,
}

/// Answers with what `path` is, then sends it. Names begin with the last name of `path`; a link is
/// sent as a link, but `path` itself is followed.
pub(super) fn read_tar(path: &Path, pipe: &Pipe, over: &Over) {
    let start = match Start::new(path) {
        Ok(start) => start,
        Err(refusal) => return over.answer(Err(refusal)),
    };
    over.answer(Ok(Response::Reading(paths::stat_of(&start.stat))));
    let sink = BufWriter::with_capacity(BUFFER, pipe);
    let sent = send(start, Builder::new(sink)).and_then(|mut sink| sink.flush());
    if sent.is_ok() {
        pipe.end();
    }
}

struct Start {
    node: OwnedFd,
    stat: Stat,
    name: PathBuf,
}

impl Start {
    fn new(path: &Path) -> Result<Self, Refusal> {
        let what = path.display().to_string();
        let refused = |errno| refuse_errno(errno, &what);
        let node = openat(CWD, path, READ, Mode::empty()).map_err(refused)?;
        let stat = fstat(&node).map_err(refused)?;
        match paths::kind(stat.st_mode) {
            EntryKind::File | EntryKind::Folder => {
                let name = path.file_name().map(PathBuf::from).unwrap_or_default();
                Ok(Self { node, stat, name })
            }
            EntryKind::Link | EntryKind::Other => {
                Err(refuse(RefusalCode::Invalid, format!("{what}: neither file nor folder")))
            }
        }
    }
}

/// A FIFO without a writer is not waited for.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

fn send<'a>(start: Start, mut tar: Builder<Sink<'a>>) -> io::Result<Sink<'a>> {
    let mut levels = Vec::new();
    if paths::kind(start.stat.st_mode) == EntryKind::Folder {
        levels.push(enter(start.node, start.name, &start.stat, &mut tar)?);
    } else {
        send_file(&start.node.into(), &start.name, &start.stat, &mut tar)?;
    }
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.pop_front() else {
            levels.pop();
            continue;
        };
        let below = send_node(level, &name, start.stat.st_dev, &mut tar)?;
        if below.is_some() && levels.len() >= DEPTH_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        levels.extend(below);
    }
    tar.into_inner()
}

/// Sends what has this name. Gives a folder whose content is to be sent.
fn send_node(
    level: &Level,
    name: &CString,
    device: u64,
    tar: &mut Builder<Sink<'_>>,
) -> io::Result<Option<Level>> {
    let folder = &level.folder;
    let path = level.name.join(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        // Gone meanwhile.
        Err(Errno::NOENT) => return Ok(None),
        stat => stat?,
    };
    match paths::kind(stat.st_mode) {
        EntryKind::Link => {
            let target = readlinkat(folder, name, Vec::new())?.into_bytes();
            let mut header = header(&stat, EntryType::Symlink);
            let target = std::ffi::OsString::from_vec(target);
            tar.append_link(&mut header, path, target)?;
            Ok(None)
        }
        EntryKind::File | EntryKind::Folder => {
            let node = match openat(folder, name, READ | OFlags::NOFOLLOW, Mode::empty()) {
                Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
                node => node?,
            };
            let stat = fstat(&node)?;
            match paths::kind(stat.st_mode) {
                EntryKind::File => send_file(&node.into(), &path, &stat, tar).map(|()| None),
                EntryKind::Folder => {
                    let mut below = enter(node, path, &stat, tar)?;
                    if stat.st_dev != device {
                        // Other file systems, `/proc` among them, are sent empty.
                        below.names.clear();
                    }
                    Ok(Some(below))
                }
                EntryKind::Link | EntryKind::Other => Ok(None),
            }
        }
        // Sockets, FIFOs and devices mean nothing elsewhere.
        EntryKind::Other => Ok(None),
    }
}

fn enter(
    folder: OwnedFd,
    name: PathBuf,
    stat: &Stat,
    tar: &mut Builder<Sink<'_>>,
) -> io::Result<Level> {
    if !name.as_os_str().is_empty() {
        tar.append_data(&mut header(stat, EntryType::Directory), &name, io::empty())?;
    }
    let mut names = Vec::new();
    let mut size = 0;
    let mut entries = Dir::read_from(&folder)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let entry = entry.file_name();
        if entry == c"." || entry == c".." {
            continue;
        }
        size += size_of::<CString>() + entry.count_bytes();
        if size > NAMES_MAX {
            return Err(Errno::NOMEM.into());
        }
        names.push(entry.to_owned());
    }
    names.sort_unstable();
    Ok(Level { folder, name, names: names.into() })
}

fn send_file(file: &File, name: &Path, stat: &Stat, tar: &mut Builder<Sink<'_>>) -> io::Result<()> {
    let mut header = header(stat, EntryType::Regular);
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    header.set_size(size);
    // As many bytes as the header says: a file that shrinks meanwhile is filled up with zeros.
    if size < LARGE {
        return tar.append_data(&mut header, name, file.chain(io::repeat(0)).take(size));
    }
    // Behind the header, into the chunks that it is sent from.
    tar.append_data(&mut header, name, io::empty())?;
    let sink = tar.get_mut();
    sink.flush()?;
    let sent = copy(Source::of_most(file, size), sink.get_ref())?;
    io::copy(&mut io::repeat(0).take(size - sent + padding(size)), sink).map(drop)
}

fn header(stat: &Stat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header
}

#[cfg(test)]
mod tests {
    use std::{io::Seek, sync::Arc};

    use super::*;
    use crate::files::pipe::Wake;

    #[test]
    fn a_file_is_as_long_as_its_header_says_whatever_becomes_of_it() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (1..=251).cycle().take(300_000).collect();
        file.write_all(&content).unwrap();
        for said in [0, 1000, LARGE - 1, LARGE, 299_999, 300_000, 300_001, 700_000] {
            let mut stat = fstat(&file).unwrap();
            stat.st_size = said.try_into().unwrap();
            file.rewind().unwrap();
            // All of it fits.
            let pipe = Pipe::new(Arc::new(Wake::new().unwrap()));
            let mut tar = Builder::new(BufWriter::with_capacity(BUFFER, &pipe));
            send_file(&file, Path::new("name"), &stat, &mut tar).unwrap();
            tar.into_inner().unwrap().flush().unwrap();
            pipe.end();

            let mut found = Vec::new();
            let mut archive = tar::Archive::new(pipe.reader());
            let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
            entry.read_to_end(&mut found).unwrap();
            let len = usize::try_from(said).unwrap();
            let mut expected = content[..len.min(content.len())].to_vec();
            expected.resize(len, 0);
            assert!(found == expected, "{} bytes for {said}", found.len());
        }
    }
}
