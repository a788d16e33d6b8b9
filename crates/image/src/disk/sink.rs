//! Where the ext4 writer writes: a file that stays sparse where the disk is all zeros.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use mkext4::sink::RegionSink;

use super::neighbours::Sharing;

/// Shorter runs of zeros are not worth a system call of their own.
const PIECE_BYTES: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct SparseSink<'a, 'b> {
    file: File,
    sharing: Option<&'a Sharing<'b>>,
}

impl<'a, 'b> SparseSink<'a, 'b> {
    pub(super) fn create(
        path: &Path,
        bytes: u64,
        sharing: Option<&'a Sharing<'b>>,
    ) -> io::Result<Self> {
        let file = File::create(path)?;
        file.set_len(bytes)?;
        Ok(Self { file, sharing })
    }
}

impl RegionSink for SparseSink<'_, '_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let shared = self.sharing.map_or(0, |it| it.fill(&self.file, offset, bytes.len() as u64));
        let mut at = offset + shared;
        let bytes = usize::try_from(shared).ok().and_then(|done| bytes.get(done..)).unwrap_or(&[]);
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
