//! Writing and reading a large file past the kernel's memory for files.
//!
//! Under an emulator each page of that is microseconds of bookkeeping, while the host passes what is in one
//! place as fast as anybody. Whoever reads a written file next finds it in the host's memory.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    ops::Range,
    os::unix::fs::FileExt,
    sync::OnceLock,
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::sys::{
    self,
    copy::copy,
    pinned::{Large, PAGE},
};

/// A multiple of what any disk wants addresses and lengths to be.
const ALIGNED: usize = 4096;
/// Written at once.
const PIECE: usize = 1 << 20;
/// Smaller files are written sooner than the disk's answers would come.
const WORTH_IT: u64 = 4 << 20;

/// Room for a piece, kept for the next file. In a large page it is one place for the disk, and not one for each page.
#[derive(Default)]
pub(super) struct Room(Option<Large>);

impl Room {
    fn aligned(&mut self, len: usize) -> io::Result<&mut [u8]> {
        let large = match self.0.take() {
            Some(large) => large,
            None => Large::new(PIECE)?,
        };
        Ok(&mut self.0.insert(large).bytes()[..len])
    }
}

/// While it is there the file is read and written past the kernel's memory.
struct Past<'a> {
    file: &'a File,
    flags: OFlags,
}

impl<'a> Past<'a> {
    /// An error where the file system cannot.
    fn begin(file: &'a File) -> io::Result<Self> {
        let flags = fcntl_getfl(file)?;
        fcntl_setfl(file, flags | OFlags::DIRECT)?;
        Ok(Self { file, flags })
    }
}

impl Drop for Past<'_> {
    fn drop(&mut self) {
        // It was so before.
        let _is_usual = fcntl_setfl(self.file, self.flags).is_ok();
    }
}

/// A file that is written so.
pub(super) struct Direct<'a> {
    file: &'a File,
    room: &'a mut Room,
    /// None once it did not do.
    past: Option<Past<'a>>,
}

impl<'a> Direct<'a> {
    /// None if so many bytes, or this file system, had better go the usual way.
    pub(super) fn begin(file: &'a File, room: &'a mut Room, len: u64) -> Option<Self> {
        if len < WORTH_IT || !is_emulated() {
            return None;
        }
        Self::of(file, room)
    }

    fn of(file: &'a File, room: &'a mut Room) -> Option<Self> {
        let past = Some(Past::begin(file).ok()?);
        Some(Self { file, room, past })
    }

    /// Room for the next piece of so many bytes that are left; none for a rest that cannot be written so.
    pub(super) fn piece(&mut self, left: u64) -> Option<&mut [u8]> {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE) / ALIGNED * ALIGNED;
        if len == 0 {
            return None;
        }
        self.room.aligned(len).ok()
    }

    /// Writes the piece of this length that was put there.
    pub(super) fn write(&mut self, len: usize) -> io::Result<()> {
        let piece = &*self.room.aligned(len)?;
        let written = match self.file.write(piece) {
            Err(error) if error.kind() == ErrorKind::InvalidInput => 0,
            written => written?,
        };
        if written < len {
            // The usual way can what this cannot, or says why it cannot either.
            self.past = None;
            self.file.write_all(&piece[written..])?;
        }
        Ok(())
    }
}

/// A file that is read from its beginning: what is in the kernel's memory there, the rest past it.
pub(super) struct Source<'a> {
    file: &'a File,
    at: u64,
    /// None if it had better be read the usual way.
    ahead: Option<Ahead>,
}

/// What was read past the kernel's memory, and not taken yet.
#[derive(Default)]
struct Ahead {
    room: Room,
    unread: Range<usize>,
    /// Up to here the kernel's memory was found to have the file.
    cached_until: u64,
}

impl<'a> Source<'a> {
    /// Of a file that is said to be so long.
    pub(super) fn new(file: &'a File, len: u64) -> Self {
        let ahead = (WORTH_IT <= len && is_emulated()).then(Ahead::default);
        Self { file, at: 0, ahead }
    }
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(ahead) = &mut self.ahead {
            if ahead.unread.is_empty() && ahead.cached_until <= self.at {
                // Where it cannot be done, the usual way can.
                let _is_filled = ahead.fill(self.file, self.at).is_ok();
            }
            let count = ahead.take(into);
            self.at += count as u64;
            if count > 0 {
                return Ok(count);
            }
        }
        let count = self.file.read_at(into, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Ahead {
    /// Reads what is at this place, unless the kernel's memory has much of it.
    fn fill(&mut self, file: &File, at: u64) -> io::Result<()> {
        self.cached_until = at + PIECE as u64;
        let cached = sys::cached_pages(file, at, PIECE as u64)?;
        if (PIECE / PAGE / 2) as u64 <= cached {
            return Ok(());
        }
        let skip = usize::try_from(at % ALIGNED as u64).unwrap_or(0);
        let _past = Past::begin(file)?;
        let read = file.read_at(self.room.aligned(PIECE)?, at - skip as u64)?;
        self.unread = skip..read.max(skip);
        self.cached_until = at;
        Ok(())
    }

    fn take(&mut self, into: &mut [u8]) -> usize {
        if self.unread.is_empty() {
            return 0;
        }
        let Ok(read) = self.room.aligned(PIECE) else { return 0 };
        let count = copy(&read[self.unread.clone()], into);
        self.unread.start += count;
        count
    }
}

/// Whether the processor is QEMU's emulated one, by its name.
fn is_emulated() -> bool {
    static IS_EMULATED: OnceLock<bool> = OnceLock::new();
    *IS_EMULATED.get_or_init(|| {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        processors.contains("QEMU TCG CPU") || processors.contains("QEMU Virtual CPU")
    })
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;

    #[test]
    fn what_is_written_past_the_memory_is_read_past_it() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..=250).cycle().take(3 * PIECE + 5 * ALIGNED + 77).collect();
        let (mut room, mut left) = (Room::default(), &content[..]);
        // Not every file system can.
        if let Some(mut direct) = Direct::of(&file, &mut room) {
            while let Some(piece) = direct.piece(left.len() as u64) {
                let len = piece.len();
                left.read_exact(piece).unwrap();
                direct.write(len).unwrap();
            }
            assert_eq!(left.len(), 77);
        }
        assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT));
        file.write_all(left).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();

        let mut found = Vec::new();
        let mut source = Source { file: &file, at: 0, ahead: Some(Ahead::default()) };
        let mut some = [0; 1000];
        while let count @ 1.. = source.read(&mut some).unwrap() {
            found.extend_from_slice(&some[..count]);
        }
        assert!(found == content, "{} bytes for {}", found.len(), content.len());
        assert!(!fcntl_getfl(&file).unwrap().contains(OFlags::DIRECT));
        assert_eq!(file.stream_position().unwrap(), content.len() as u64);
    }
}
