//! Sending one file.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
};

use protocol::{Chunk, EntryKind, Refusal, RefusalCode, Response};
use rustix::{
    fs::{Mode, OFlags, fstat, open},
    io::Errno,
};

use super::{Over, direct::Source, paths, pipe::Pipe};
use crate::refusal::{refuse, refuse_errno};

const CHUNKS: usize = 16;

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

/// Into the chunks that it is sent from; several at a time, so that the loop is not woken for each.
pub(super) fn copy(mut file: impl Read, pipe: &Pipe) -> io::Result<()> {
    let mut chunks = Vec::with_capacity(CHUNKS);
    loop {
        let mut chunk = Chunk::new();
        while !chunk.room().is_empty() {
            match file.read(chunk.room()) {
                Ok(0) => {
                    chunks.push(chunk);
                    return pipe.put_chunks(&mut chunks);
                }
                Ok(count) => chunk.fill(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        chunks.push(chunk);
        if chunks.len() == CHUNKS {
            pipe.put_chunks(&mut chunks)?;
        }
    }
}
