//! Where the ext4 writer writes: a file that stays sparse where the disk is all zeros.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mkext4::sink::RegionSink;

/// Shorter runs of zeros are not worth a system call of their own.
const PIECE_BYTES: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct SparseSink {
    file: File,
}

impl SparseSink {
    pub(super) fn create(path: &Path, bytes: u64) -> io::Result<Self> {
        let file = File::create(path)?;
        file.set_len(bytes)?;
        Ok(Self { file })
    }
}

impl RegionSink for SparseSink {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut at = offset;
        for piece in bytes.chunks(PIECE_BYTES) {
            if !is_zero(piece) {
                self.file.write_all_at(piece, at)?;
            }
            at += piece.len() as u64;
        }
        Ok(())
    }

    /// The file begins as zeros, and no region is written twice.
    fn zeros(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| *word == [0; 16]) && rest.iter().all(|byte| *byte == 0)
}
