//! Sending one file.

use std::{fs::File, io, path::Path};

use protocol::{EntryKind, Refusal, RefusalCode, Response};
use rustix::{
    fs::{Mode, OFlags, fstat, open},
    io::Errno,
};

use super::{Over, paths, pipe::Pipe, source::Source};
use crate::refusal::{refuse, refuse_errno};

/// Answers with what the file is, then sends it to its end, whatever its size is said to be.
pub(super) fn read(path: &Path, pipe: &Pipe, over: &Over) {
    let (file, stat) = match open_file(path) {
        Ok(opened) => opened,
        Err(refusal) => return over.answer(Err(refusal)),
    };
    let source = Source::new(&file, stat.size);
    over.answer(Ok(Response::Reading(stat)));
    if copy(source, pipe).is_ok() {
        pipe.end();
    }
}

fn open_file(path: &Path) -> Result<(File, protocol::Stat), Refusal> {
    let what = path.display().to_string();
    let refused = |errno| refuse_errno(errno, &what);
    // A FIFO without a writer is not waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = open(path, flags, Mode::empty()).map_err(refused)?;
    let stat = fstat(&fd).map_err(refused)?;
    match paths::kind(stat.st_mode) {
        EntryKind::File => Ok((fd.into(), paths::stat_of(&stat))),
        EntryKind::Folder => Err(refused(Errno::ISDIR)),
        EntryKind::Link | EntryKind::Other => {
            Err(refuse(RefusalCode::Invalid, format!("{what}: not a regular file")))
        }
    }
}

/// To its end; says how many bytes were sent.
pub(super) fn copy(mut source: Source<'_>, pipe: &Pipe) -> io::Result<u64> {
    loop {
        let chunks = source.next()?;
        if chunks.is_empty() {
            return Ok(source.at());
        }
        pipe.put_chunks(chunks)?;
    }
}
