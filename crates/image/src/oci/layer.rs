//! One layer onto a tree: decompressed in a thread of its own while it is read, held to its digest.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use crate::disk::tar::{self, TarError};
use crate::disk::tree::Tree;

const CHUNK_BYTES: usize = 1 << 18;
/// How far the decompression may be ahead, in chunks.
const CHUNKS_AHEAD: usize = 8;
const COMPRESSED_BUFFER_BYTES: usize = 1 << 17;

/// 128 MiB of window, which is what `zstd` itself takes without being told to.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What a layer may decompress to.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// For each of its compressed bytes; that of source code is 5, that of text that repeats 50.
    ratio: u64,
    /// What any layer may have on top.
    free_bytes: u64,
    /// Whatever the ratio.
    bytes: u64,
}

const BOUNDS: Bounds = Bounds {
    ratio: 200,
    free_bytes: 1 << 30,
    // More than the disk has, since headers and padding come on top.
    bytes: 40 << 30,
};

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("could not decompress it")]
    Decompress(#[source] io::Error),
    #[error("it decompresses to more than the {limit} bytes that one of its size may have")]
    Bomb { limit: u64 },
    #[error("it decompresses to {found}, and the image's config says {expected}")]
    DiffId { expected: Digest, found: Digest },
    #[error(transparent)]
    Tar(#[from] TarError),
}

/// Lays the layer in `file` over `tree`, which is of no use after an error. `tell` hears how many
/// compressed bytes more were read.
pub(super) fn lay(
    file: File,
    diff_id: &Digest,
    tree: &mut Tree,
    tell: &(dyn Fn(u64) + Sync),
) -> Result<(), LayerError> {
    let source = Source { file, tell, bounds: BOUNDS };
    source.lay(diff_id, tree)
}

/// Where the bytes come from.
struct Source<'a> {
    file: File,
    tell: &'a (dyn Fn(u64) + Sync),
    bounds: Bounds,
}

impl Source<'_> {
    fn lay(self, diff_id: &Digest, tree: &mut Tree) -> Result<(), LayerError> {
        let (sender, receiver) = sync_channel(CHUNKS_AHEAD);
        let (unpacked, laid) = thread::scope(|scope| {
            let producer = scope.spawn(move || self.unpack(&sender));
            let mut chunks = Chunks { receiver, chunk: Vec::new(), at: 0 };
            let laid = tar::lay_layer(&mut chunks, tree).and_then(|()| chunks.drain());
            drop(chunks);
            let died = || Err(LayerError::Decompress(io::ErrorKind::Other.into()));
            (producer.join().unwrap_or_else(|_| died()), laid)
        });
        // A stream that breaks off is a fault of its decompression first.
        let found = unpacked?;
        laid?;
        match found {
            found if found == *diff_id => Ok(()),
            found => Err(LayerError::DiffId { expected: *diff_id, found }),
        }
    }

    /// Sends the decompressed bytes on, and gives their digest once they are all gone; that of nothing
    /// in particular where nobody wants more of them.
    fn unpack(self, sender: &SyncSender<Vec<u8>>) -> Result<Digest, LayerError> {
        let Self { file, tell, bounds } = self;
        let compressed = file.metadata().map_err(LayerError::Decompress)?.len();
        let limit = compressed.saturating_mul(bounds.ratio).saturating_add(bounds.free_bytes);
        let limit = limit.min(bounds.bytes);
        let mut source = decoder(Told { file, tell }).map_err(LayerError::Decompress)?;
        let mut hash = Sha256::new();
        let mut bytes = 0;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let read = source.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk);
            read.map_err(LayerError::Decompress)?;
            bytes += chunk.len() as u64;
            if bytes > limit {
                return Err(LayerError::Bomb { limit });
            }
            hash.update(&chunk);
            if chunk.is_empty() || sender.send(chunk).is_err() {
                return Ok(Digest::finish(hash));
            }
        }
    }
}

/// By the first bytes, as every tool does it.
fn decoder<'a>(source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut source = BufReader::with_capacity(COMPRESSED_BUFFER_BYTES, source);
    let start = source.fill_buf()?;
    if start.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(MultiGzDecoder::new(source)));
    }
    if is_zstd(start) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(source))
}

/// A frame of data, or one to be skipped, of which there are sixteen kinds.
fn is_zstd(start: &[u8]) -> bool {
    matches!(start, [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// Decompresses an archive if it is compressed, within the bounds of a layer.
pub(super) fn unpacked(file: File) -> io::Result<impl Read> {
    decoder(file).map(|source| source.take(BOUNDS.bytes))
}

/// Says how much has been read.
struct Told<'a> {
    file: File,
    tell: &'a (dyn Fn(u64) + Sync),
}

impl Read for Told<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read(buf)?;
        (self.tell)(got as u64);
        Ok(got)
    }
}

/// The other end.
struct Chunks {
    receiver: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Chunks {
    /// What comes after the end of the archive is of its digest too.
    fn drain(&mut self) -> Result<(), TarError> {
        while self.receiver.recv().is_ok() {}
        Ok(())
    }
}

impl Read for Chunks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() {
            let Ok(next) = self.receiver.recv() else { return Ok(0) };
            self.chunk = next;
            self.at = 0;
        }
        let rest = &self.chunk[self.at..];
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        self.at += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests;
