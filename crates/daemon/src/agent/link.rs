//! One connection: bytes in and out, cut into frames.

use std::{cell::RefCell, io};

use bytes::{Buf, BufMut, BytesMut};
use protocol::{Body, Decoder, Epoch, Frame, PAYLOAD_MAX, Skipped};
use tokio::{
    io::{Interest, Ready},
    net::UnixStream,
};

/// How much is read at once: a port is several times as fast with large reads.
const READ_BYTES: usize = 256 << 10;
/// So much is ready to be written at a time.
const BATCH: usize = 64 << 10;
/// What is no frame, one by one: an agent that says so much of it is hung up on.
const GARBAGE_MAX: u32 = 4096;

thread_local! {
    // One for all connections: it is used between two awaits, and an idle sandbox holds none.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    decoder: Decoder,
    out: BytesMut,
    epoch: Epoch,
    garbage: u32,
}

/// The connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("the connection was closed")]
    Closed,
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("too much came that is no frame")]
    Garbage,
}

impl Link {
    /// Before [`Link::begin`] nothing is to be said or read.
    pub(super) fn new(stream: UnixStream) -> Self {
        let (decoder, out) = (Decoder::default(), BytesMut::new());
        Self { stream, decoder, out, epoch: Epoch(0), garbage: 0 }
    }

    pub(super) fn begin(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// Waits until it can be read, or what is asked for.
    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        self.stream.ready(interest).await
    }

    /// Takes in what is there, up to a limit.
    pub(super) fn read(&mut self) -> Result<(), Lost> {
        let (stream, decoder) = (&self.stream, &mut self.decoder);
        let read = SCRATCH.with_borrow_mut(|scratch| {
            let count = stream.try_read(scratch)?;
            decoder.push(&scratch[..count]);
            Ok(count)
        });
        match read {
            Ok(0) => Err(Lost::Closed),
            Ok(_) => Ok(()),
            Err(error) => would_block(error),
        }
    }

    /// The next thing in what was read.
    pub(super) fn next_frame(&mut self) -> Result<Option<Received>, Lost> {
        let Some(next) = self.decoder.next_frame() else { return Ok(None) };
        match next {
            Ok(frame) if frame.epoch == self.epoch => Ok(Some(Received::Body(frame.body))),
            Ok(_) => Ok(Some(Received::Nothing)),
            Err(skipped) => self.on_garbage(skipped).map(Some),
        }
    }

    /// A frame that was cut off will not be completed.
    pub(super) fn forget_partial_frame(&mut self) {
        self.decoder.clear();
    }

    fn on_garbage(&mut self, skipped: Skipped) -> Result<Received, Lost> {
        self.garbage += 1;
        if self.garbage == 1 {
            tracing::debug!(?skipped, "the agent says what is no frame");
        }
        if self.garbage == GARBAGE_MAX { Err(Lost::Garbage) } else { Ok(Received::Garbage) }
    }

    pub(super) fn say(&mut self, body: Body) {
        Frame { epoch: self.epoch, body }.encode(&mut self.out);
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Says a frame of this epoch.
    pub(super) fn put(&mut self, frame: &[u8]) {
        self.out.extend_from_slice(frame);
    }

    /// Zeros that end any frame an agent may be in the middle of.
    pub(super) fn pad(&mut self) {
        self.out.put_bytes(0, PAYLOAD_MAX);
    }

    /// Whether more should be said before this is written: a control frame waits for no more.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() < BATCH
    }

    /// Bytes that wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// Writes what the connection takes.
    pub(super) fn write(&mut self) -> Result<(), Lost> {
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(count) => self.out.advance(count),
                Err(error) => return would_block(error),
            }
        }
        if self.out.capacity() > READ_BYTES {
            self.out = BytesMut::new();
        }
        Ok(())
    }
}

/// What was received.
#[derive(Debug)]
pub(super) enum Received {
    Body(Body),
    /// Of an earlier epoch.
    Nothing,
    Garbage,
}

fn would_block(error: io::Error) -> Result<(), Lost> {
    if error.kind() == io::ErrorKind::WouldBlock { Ok(()) } else { Err(error.into()) }
}
