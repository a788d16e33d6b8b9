//! Large files past the kernel's memory for files.
//!
//! Under an emulator each page of that is microseconds of bookkeeping, while the host passes what is in one
//! place as fast as anybody. Whoever reads a written file next finds it in the host's memory.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    sync::OnceLock,
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::sys::pinned::Large;

/// A multiple of what any disk wants addresses and lengths to be.
pub(super) const ALIGNED: usize = 4096;
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
pub(super) struct Past<'a> {
    file: &'a File,
    flags: OFlags,
}

impl<'a> Past<'a> {
    /// An error where the file system cannot.
    pub(super) fn begin(file: &'a File) -> io::Result<Self> {
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
        if is_worth_it(len) { Self::of(file, room) } else { None }
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

/// Whether a file of so many bytes had better go past the kernel's memory.
pub(super) fn is_worth_it(len: u64) -> bool {
    WORTH_IT <= len && is_emulated()
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
    use std::{
        io::{Read, Seek},
        os::unix::fs::FileExt,
    };

    use super::*;

    #[test]
    fn what_is_written_past_the_memory_is_in_the_file() {
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

        let mut found = vec![0; content.len()];
        file.read_exact_at(&mut found, 0).unwrap();
        assert!(found == content);
        assert_eq!(file.stream_position().unwrap(), content.len() as u64);
    }
}
