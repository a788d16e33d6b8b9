//! Bytes between a thread, which may wait, and the loop, which may not. Holds at most a window.

use std::{
    io::{self, ErrorKind, Read, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::{Buf, Bytes, BytesMut};
use protocol::WINDOW;
use rustix::{
    event::{EventfdFlags, eventfd},
    fd::{AsFd, OwnedFd},
};

const CAPACITY: usize = 256 << 10;
const _: () = assert!(CAPACITY as u64 == WINDOW, "what a stream may have under way fits");

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
    bytes: BytesMut,
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

/// What the loop took.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Perhaps none.
    Bytes(Bytes),
    /// The last of them.
    Last(Bytes),
    Broken,
}

impl Pipe {
    pub(crate) fn new(wake: Arc<Wake>) -> Self {
        let state = State { bytes: BytesMut::new(), taken: 0, end: End::Open };
        Self { state: Mutex::new(state), changed: Condvar::new(), wake }
    }

    /// The loop puts bytes in; the stream's window bounds them.
    pub(crate) fn put(&self, bytes: &[u8]) {
        let mut state = self.lock();
        if state.end == End::Open {
            state.bytes.extend_from_slice(bytes);
            self.changed.notify_one();
        }
    }

    /// The loop takes up to `room` bytes out.
    pub(crate) fn take(&self, room: usize) -> Taken {
        let mut state = self.lock();
        if state.end == End::Broken {
            return Taken::Broken;
        }
        let count = state.bytes.len().min(room);
        let bytes = state.bytes.split_to(count).freeze();
        self.changed.notify_one();
        if state.end == End::Ended && state.bytes.is_empty() {
            return Taken::Last(bytes);
        }
        Taken::Bytes(bytes)
    }

    /// How many bytes the thread has taken since this was last asked.
    pub(crate) fn taken(&self) -> usize {
        std::mem::take(&mut self.lock().taken)
    }

    /// Whether the end has come and the thread has taken everything.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.lock();
        state.end == End::Ended && state.bytes.is_empty()
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

/// The thread takes bytes out.
impl Read for &Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.wait_while(|state| state.bytes.is_empty() && state.end == End::Open);
        if state.end == End::Broken {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let count = state.bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&state.bytes[..count]);
        state.bytes.advance(count);
        state.taken += count;
        drop(state);
        self.wake.ring();
        Ok(count)
    }
}

/// The thread puts bytes in.
impl Write for &Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state =
            self.wait_while(|state| state.bytes.len() >= CAPACITY && state.end == End::Open);
        if state.end != End::Open {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(CAPACITY - state.bytes.len());
        state.bytes.extend_from_slice(&bytes[..count]);
        drop(state);
        self.wake.ring();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
