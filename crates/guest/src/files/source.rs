//! A file on its way out, read into the chunks that it is sent from.

use std::{
    fs::File,
    io::{self, IoSliceMut},
};

use protocol::{CHUNK_MAX, Chunk};
use rustix::io::{preadv, retry_on_intr};

use super::direct::{ALIGNED, Past, is_worth_it};
use crate::sys;

/// So many chunks are read at once and handed on: as many as are a MiB where each begins at a page.
const CHUNKS: u64 = 37;

/// A file that is read from its beginning. What is not in the kernel's memory of a large one is read past that.
pub(super) struct Source<'a> {
    file: &'a File,
    at: u64,
    /// It is said to be so long.
    len: u64,
    /// No more of it is read.
    end: u64,
    goes_past: bool,
}

impl<'a> Source<'a> {
    /// All of a file, whatever its length is said to be.
    pub(super) fn new(file: &'a File, len: u64) -> Self {
        Self { file, at: 0, len, end: u64::MAX, goes_past: is_worth_it(len) }
    }

    /// At most so many bytes of it.
    pub(super) fn of_most(file: &'a File, len: u64) -> Self {
        Self { end: len, ..Self::new(file, len) }
    }

    /// How many bytes were read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next chunks; none at the end.
    pub(super) fn next(&mut self) -> io::Result<Vec<Chunk>> {
        if self.at == self.end {
            return Ok(Vec::new());
        }
        let count = 1 + self.len.saturating_sub(self.at) / CHUNK_MAX as u64;
        let chunk = || if self.goes_past { Chunk::aligned(ALIGNED) } else { Chunk::new() };
        let mut chunks: Vec<Chunk> = (0..count.min(CHUNKS)).map(|_| chunk()).collect();
        let read = self.read(&mut chunks)? as u64;
        let mut left = read.min(self.end - self.at);
        self.at += left;
        for chunk in &mut chunks {
            let count = self.room(chunk).len();
            let count = usize::try_from(left).map_or(count, |left| left.min(count));
            chunk.fill(count);
            left -= count as u64;
        }
        chunks.retain(|chunk| !chunk.is_empty());
        Ok(chunks)
    }

    fn read(&self, chunks: &mut [Chunk]) -> io::Result<usize> {
        let mut rooms =
            Vec::from_iter(chunks.iter_mut().map(|chunk| IoSliceMut::new(self.room(chunk))));
        let len = rooms.iter().map(|room| room.len() as u64).sum();
        if self.goes_past
            && let Ok(cached) = sys::cached_pages(self.file, self.at, len)
            && cached < len / ALIGNED as u64 / 2
            && let Ok(_past) = Past::begin(self.file)
            && let Ok(count) = preadv(self.file, &mut rooms, self.at)
        {
            return Ok(count);
        }
        // Where that cannot be done, this can, or says why it cannot either.
        Ok(retry_on_intr(|| preadv(self.file, &mut rooms, self.at))?)
    }

    /// Where a disk can put bytes.
    fn room<'c>(&self, chunk: &'c mut Chunk) -> &'c mut [u8] {
        let room = chunk.room();
        let len = if self.goes_past { room.len() / ALIGNED * ALIGNED } else { room.len() };
        &mut room[..len]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::{Advice, OFlags, fadvise, fcntl_getfl};

    use super::*;

    /// All of it, as chunks.
    fn read(mut source: Source<'_>) -> Vec<u8> {
        let mut found = Vec::new();
        loop {
            let chunks = source.next().unwrap();
            if chunks.is_empty() {
                assert_eq!(source.at(), found.len() as u64);
                return found;
            }
            chunks.iter().for_each(|chunk| found.extend_from_slice(chunk.bytes()));
        }
    }

    #[test]
    fn a_file_is_read_whole_whichever_way() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..=250).cycle().take((3 << 20) + 5 * ALIGNED + 77).collect();
        file.write_all(&content).unwrap();
        file.sync_all().unwrap();
        let len = content.len() as u64;
        for said in [len, 0, 2 * len] {
            for goes_past in [true, false] {
                let source = |source| Source { goes_past, ..source };
                // Past the memory, then what is in it.
                fadvise(&file, 0, None, Advice::DontNeed).unwrap();
                assert!(read(source(Source::new(&file, said))) == content);
                fadvise(&file, 0, None, Advice::WillNeed).unwrap();
                assert!(read(source(Source::new(&file, said))) == content);
                assert!(read(source(Source::of_most(&file, 1 << 20))) == content[..1 << 20]);
                assert!(read(source(Source::of_most(&file, 12_345))) == content[..12_345]);
                assert!(read(source(Source::of_most(&file, 2 * len))) == content);
                assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT));
            }
        }
    }
}
