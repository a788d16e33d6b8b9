//! Bytes between a thread, which may wait, and the loop, which may not. Holds at most a window of what comes, and of what
//! goes a window and what a thread puts in at once.

use std::{
    collections::VecDeque,
    io::{self, BufRead, ErrorKind, Read, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use protocol::{CHUNK_MAX, Chunk};
use rustix::{
    event::{EventfdFlags, eventfd},
    fd::{AsFd, OwnedFd},
};

use crate::sys::copy::copy;

/// So many chunks a thread puts in before it waits.
const CHUNKS_MAX: usize = 32;
/// So many it takes out at once.
const TAKEN_MAX: usize = 32;
/// So much a thread takes out before it says so: the sender has room for more until then.
const WORTH_SAYING: usize = 4 * CHUNK_MAX;

/// Rings in the loop.
#[derive(Debug)]
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn fd(&self) -> impl AsFd {
        &self.0
    }

    pub(crate) fn ring(&self) {
        // It fails only when it rings already.
        let _rings = rustix::io::write(&self.0, &1_u64.to_ne_bytes()).is_ok();
    }

    pub(crate) fn clear(&self) {
        // It fails only when it was not rung.
        let _rang = rustix::io::read(&self.0, &mut [0; 8]).is_ok();
    }
}

#[derive(Debug)]
pub(crate) struct Pipe {
    state: Mutex<State>,
    changed: Condvar,
    wake: Arc<Wake>,
}

#[derive(Debug)]
struct State {
    chunks: VecDeque<Chunk>,
    /// Bytes that the thread has taken since the loop last asked.
    taken: usize,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    /// No more bytes follow.
    Ended,
    /// One side has given up.
    Broken,
}

/// What can be read from several places at once.
pub(super) trait Pieces: BufRead {
    /// As [`BufRead::fill_buf`], and what stands behind that, as far as it is there.
    fn pieces(&mut self) -> io::Result<Vec<&[u8]>>;
}

/// What the loop took.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Perhaps none.
    Some(Vec<Chunk>),
    /// The last of them.
    Last(Vec<Chunk>),
    Broken,
}

impl Pipe {
    pub(crate) fn new(wake: Arc<Wake>) -> Self {
        let state = State { chunks: VecDeque::new(), taken: 0, end: End::Open };
        Self { state: Mutex::new(state), changed: Condvar::new(), wake }
    }

    /// The loop puts bytes in; the stream's window bounds them.
    pub(crate) fn put(&self, bytes: &[u8]) {
        self.put_by(|state| state.append(bytes));
    }

    /// The same for bytes that are in a chunk.
    pub(crate) fn put_chunk(&self, chunk: Chunk) {
        self.put_by(|state| state.chunks.extend(Some(chunk).filter(|chunk| !chunk.is_empty())));
    }

    fn put_by(&self, put: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        if state.end == End::Open {
            let was_empty = state.chunks.is_empty();
            put(&mut state);
            if was_empty {
                self.changed.notify_one();
            }
        }
    }

    /// The loop takes out the chunks that there is room for.
    pub(crate) fn take(&self, mut room: usize) -> Taken {
        let mut state = self.lock();
        if state.end == End::Broken {
            return Taken::Broken;
        }
        let was_full = state.is_full();
        let mut chunks = Vec::new();
        while let Some(chunk) = state.chunks.pop_front_if(|chunk| chunk.len() <= room) {
            room -= chunk.len();
            chunks.push(chunk);
        }
        if was_full {
            self.changed.notify_one();
        }
        if state.end == End::Ended && state.chunks.is_empty() {
            return Taken::Last(chunks);
        }
        Taken::Some(chunks)
    }

    /// How many bytes the thread has taken since this was last asked.
    pub(crate) fn taken(&self) -> usize {
        std::mem::take(&mut self.lock().taken)
    }

    /// Whether the end has come and the thread has taken everything.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.lock();
        state.end == End::Ended && state.chunks.is_empty()
    }

    /// No more bytes follow.
    pub(crate) fn end(&self) {
        self.finish(End::Ended, |end| end == End::Open);
    }

    /// Gives up, unless all was said.
    pub(crate) fn give_up(&self) {
        self.finish(End::Broken, |end| end == End::Open);
    }

    /// The other side finds it broken at once.
    pub(crate) fn break_off(&self) {
        self.finish(End::Broken, |_| true);
    }

    /// The thread puts chunks in.
    pub(super) fn put_chunks(&self, chunks: Vec<Chunk>) -> io::Result<()> {
        self.fill(|state| state.chunks.extend(chunks))
    }

    /// What the thread takes out is read by this.
    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { pipe: self, chunks: VecDeque::new() }
    }

    /// The next ones, once there is one; none if no more follow.
    fn take_chunks(&self) -> io::Result<VecDeque<Chunk>> {
        let mut state = self.wait_while(|state| state.chunks.is_empty() && state.end == End::Open);
        if state.end == End::Broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let count = state.chunks.len().min(TAKEN_MAX);
        let chunks: VecDeque<Chunk> = state.chunks.drain(..count).collect();
        state.taken += chunks.iter().map(Chunk::len).sum::<usize>();
        let is_worth_saying = state.taken >= WORTH_SAYING;
        drop(state);
        if is_worth_saying {
            self.wake.ring();
        }
        Ok(chunks)
    }

    /// The thread puts something in, once there is room; it rings if there was nothing.
    fn fill(&self, put: impl FnOnce(&mut State)) -> io::Result<()> {
        let mut state = self.wait_while(|state| state.is_full() && state.end == End::Open);
        if state.end != End::Open {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let was_empty = state.chunks.is_empty();
        put(&mut state);
        drop(state);
        if was_empty {
            self.wake.ring();
        }
        Ok(())
    }

    fn finish(&self, to: End, may: impl Fn(End) -> bool) {
        let mut state = self.lock();
        if may(state.end) {
            state.end = to;
        }
        drop(state);
        self.changed.notify_one();
        self.wake.ring();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let waited = self.changed.wait_while(self.lock(), |state| condition(state));
        waited.unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.chunks.len() >= CHUNKS_MAX
    }

    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.chunks.back_mut().map_or(0, |chunk| chunk.append(bytes));
            bytes = &bytes[taken..];
            if !bytes.is_empty() {
                self.chunks.push_back(Chunk::new());
            }
        }
    }
}

/// The thread takes bytes out, and reads them where they are.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pipe: &'a Pipe,
    /// None of them is empty.
    chunks: VecDeque<Chunk>,
}

impl BufRead for Reader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunks.is_empty() {
            self.chunks = self.pipe.take_chunks()?;
        }
        Ok(self.chunks.front().map_or(&[], Chunk::bytes))
    }

    fn consume(&mut self, mut count: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            let len = chunk.len().min(count);
            chunk.advance(len);
            count -= len;
            if !chunk.is_empty() {
                return;
            }
            self.chunks.pop_front();
        }
    }
}

impl Pieces for Reader<'_> {
    fn pieces(&mut self) -> io::Result<Vec<&[u8]>> {
        self.fill_buf()?;
        Ok(self.chunks.iter().map(Chunk::bytes).collect())
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = copy(self.fill_buf()?, buffer);
        self.consume(count);
        Ok(count)
    }
}

/// The thread puts bytes in.
impl Write for &Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK_MAX);
        self.fill(|state| state.append(&bytes[..count]))?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
