//! Chunks: room for one frame of a stream. Bytes are put into it once, where they are read, and sent
//! from there: under an emulator each copy is felt.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{CHUNK_MAX, HEADER_LEN};

/// Chunks that are kept for the next ones: fresh memory is a fault for each of its pages.
const SPARE_MAX: usize = 64;

static SPARE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

fn spare() -> MutexGuard<'static, Vec<Box<[u8]>>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// At most [`CHUNK_MAX`] bytes of a stream, with room for a header before them.
#[derive(Debug)]
pub struct Chunk {
    buffer: Box<[u8]>,
    /// Where its bytes begin and end.
    start: usize,
    end: usize,
}

impl Chunk {
    /// An empty one.
    pub fn new() -> Self {
        let buffer = spare().pop();
        let buffer = buffer.unwrap_or_else(|| vec![0; HEADER_LEN + CHUNK_MAX].into_boxed_slice());
        Self { buffer, start: HEADER_LEN, end: HEADER_LEN }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is not filled. What is there is of no meaning.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.end..]
    }

    /// The first `count` bytes of [`Chunk::room`] belong to it now.
    pub fn fill(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// Takes as many of the bytes as it has room for, and says how many.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let room = self.room();
        let count = bytes.len().min(room.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.fill(count);
        count
    }

    /// Forgets the first `count` bytes.
    pub fn advance(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// The header's room, and the bytes.
    pub(crate) fn frame(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start - HEADER_LEN..self.end]
    }
}

impl Default for Chunk {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut spare = spare();
        if spare.len() < SPARE_MAX {
            spare.push(std::mem::take(&mut self.buffer));
        }
    }
}
