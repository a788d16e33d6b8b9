//! The one file that holds the contents of all files of a tree until the disk is written.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use super::sink::is_zero;

/// Large enough that system calls do not matter, small enough not to matter itself.
const CHUNK_BYTES: usize = 1 << 17;

pub(super) struct Spool {
    file: File,
    end: u64,
    /// How long the file is.
    written: u64,
    chunk: Vec<u8>,
}

/// The content of one regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) sha256: [u8; 32],
}

/// Which end of the copy failed.
#[derive(Debug)]
pub(super) enum Copying {
    Read(io::Error),
    Write(io::Error),
}

impl fmt::Debug for Spool {
    /// Without the buffer.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Spool").field("end", &self.end).finish_non_exhaustive()
    }
}

impl Spool {
    pub(super) fn new(file: File) -> Self {
        Self { file, end: 0, written: 0, chunk: vec![0; CHUNK_BYTES] }
    }

    /// Appends exactly `len` bytes of `source`. Zeros are left out, as the file is sparse: so they
    /// cost no more than the time to make them.
    pub(super) fn append(&mut self, source: &mut impl Read, len: u64) -> Result<Body, Copying> {
        let offset = self.end;
        let mut hash = Sha256::new();
        let mut left = len;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(self.chunk.len());
            let chunk = &mut self.chunk[..want];
            source.read_exact(chunk).map_err(Copying::Read)?;
            hash.update(&*chunk);
            if !is_zero(chunk) {
                self.file.write_all_at(chunk, self.end).map_err(Copying::Write)?;
                self.written = self.end + want as u64;
            }
            self.end += want as u64;
            left -= want as u64;
        }
        if self.written < self.end {
            self.file.set_len(self.end).map_err(Copying::Write)?;
            self.written = self.end;
        }
        Ok(Body { offset, len, sha256: hash.finalize().into() })
    }

    pub(super) fn reader(&self, body: Body) -> impl Read + '_ {
        BodyReader { file: &self.file, at: body.offset, end: body.offset + body.len }
    }
}

struct BodyReader<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let want = buf.len().min(left);
        let got = self.file.read_at(&mut buf[..want], self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}
