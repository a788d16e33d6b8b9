//! Chunks: room for one frame of a stream. Bytes are put into it once, where they are read, and sent
//! from there: under an emulator each copy is felt.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{CHUNK_MAX, HEADER_LEN, Place, lent::within};

/// Chunks that are kept for the next ones: fresh memory is a fault for each of its pages.
const SPARE_MAX: usize = 64;

static SPARE: Mutex<Spare> =
    Mutex::new(Spare { slots: Vec::new(), boxes: Vec::new(), returned: Vec::new() });

#[derive(Debug)]
struct Spare {
    slots: Vec<Slot>,
    boxes: Vec<Box<[u8]>>,
    returned: Vec<(u16, Slot)>,
}

fn spare() -> MutexGuard<'static, Spare> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Length of a chunk's memory in bytes.
pub const SLOT_LEN: usize = HEADER_LEN + CHUNK_MAX;

/// Memory for one chunk that stays where it is, and where that is for the host.
#[derive(Debug)]
pub struct Slot {
    bytes: &'static mut [u8],
    places: Vec<Place>,
}

impl Slot {
    /// None unless there are [`SLOT_LEN`] bytes, in as many places.
    pub fn new(bytes: &'static mut [u8], places: Vec<Place>) -> Option<Self> {
        let placed: usize = places.iter().map(Place::len).sum();
        (bytes.len() == SLOT_LEN && placed == SLOT_LEN).then_some(Self { bytes, places })
    }

    /// Where it is.
    pub fn places(&self) -> &[Place] {
        &self.places
    }
}

/// From now on chunks are made of these as long as there are some.
pub fn provide(slots: impl IntoIterator<Item = Slot>) {
    spare().slots.extend(slots);
}

/// The slots of [`Chunk::received`] that nobody uses any more.
pub fn take_returned() -> Vec<(u16, Slot)> {
    mem::take(&mut spare().returned)
}

#[derive(Debug)]
enum Buffer {
    Own(Box<[u8]>),
    Slot(Slot),
    /// With its number.
    Received(u16, Slot),
}

impl Buffer {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Slot(slot) | Self::Received(_, slot) => slot.bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Slot(slot) | Self::Received(_, slot) => slot.bytes,
        }
    }
}

/// At most [`CHUNK_MAX`] bytes of a stream, with room for a header before them.
#[derive(Debug)]
pub struct Chunk {
    buffer: Buffer,
    /// Where its bytes begin and end.
    start: usize,
    end: usize,
}

impl Chunk {
    /// An empty one.
    pub fn new() -> Self {
        let mut spare = spare();
        let slot = spare.slots.pop().map(Buffer::Slot);
        let buffer = slot.or_else(|| spare.boxes.pop().map(Buffer::Own));
        drop(spare);
        Self::of(buffer.unwrap_or_else(|| Buffer::Own(vec![0; SLOT_LEN].into_boxed_slice())))
    }

    /// An empty one whose bytes begin at a multiple of so many bytes, as a disk wants it; as many fewer fit.
    ///
    /// # Panics
    ///
    /// If that is no power of two.
    pub fn aligned(align: usize) -> Self {
        let mut chunk = Self::new();
        let room = chunk.room();
        chunk.start += room.as_ptr().align_offset(align).min(room.len());
        chunk.end = chunk.start;
        chunk
    }

    #[cfg(test)]
    pub(crate) fn in_slot(slot: Slot) -> Self {
        Self::of(Buffer::Slot(slot))
    }

    fn of(buffer: Buffer) -> Self {
        Self { buffer, start: HEADER_LEN, end: HEADER_LEN }
    }

    /// Of a slot that somebody else has put so many bytes into.
    pub fn received(number: u16, slot: Slot, bytes: u16) -> Self {
        let end = (HEADER_LEN + usize::from(bytes)).min(SLOT_LEN);
        Self { buffer: Buffer::Received(number, slot), start: HEADER_LEN, end }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer.bytes()[self.start..self.end]
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is not filled. What is there is of no meaning.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.buffer.bytes_mut()[self.end..]
    }

    /// The first `count` bytes of [`Chunk::room`] belong to it now.
    pub fn fill(&mut self, count: usize) {
        self.end = (self.end + count).min(SLOT_LEN);
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
        &mut self.buffer.bytes_mut()[self.start - HEADER_LEN..self.end]
    }

    /// Whether it is known where its bytes are.
    pub(crate) fn is_placed(&self) -> bool {
        matches!(self.buffer, Buffer::Slot(_))
    }

    /// Where they are, if that is known.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        let places: &[Place] = match &self.buffer {
            Buffer::Own(_) | Buffer::Received(..) => &[],
            Buffer::Slot(slot) => &slot.places,
        };
        within(places, self.start..self.end)
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
        match mem::replace(&mut self.buffer, Buffer::Own(Box::default())) {
            Buffer::Received(number, slot) => spare.returned.push((number, slot)),
            Buffer::Slot(slot) => spare.slots.push(slot),
            Buffer::Own(bytes) if spare.boxes.len() < SPARE_MAX => spare.boxes.push(bytes),
            Buffer::Own(_) => {}
        }
    }
}
