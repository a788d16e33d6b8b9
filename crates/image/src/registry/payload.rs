//! What a request carries: nothing, bytes in memory, or a part of a blob's file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::turns::Counter;

const PIECE_BYTES: usize = 128 << 10;

/// See the module.
pub(super) enum Payload {
    Whole(Option<Bytes>),
    Part(Part),
}

/// What is left of a file, counted as it goes.
pub(super) struct Part {
    file: File,
    left: u64,
    counters: [Arc<Counter>; 2],
}

impl Payload {
    pub(super) fn empty() -> Self {
        Self::Whole(None)
    }

    /// The file from a byte on, `left` bytes of it. Each counter counts what has gone.
    pub(super) fn part(
        mut file: File,
        (from, left): (u64, u64),
        counters: [Arc<Counter>; 2],
    ) -> io::Result<Self> {
        file.seek(SeekFrom::Start(from))?;
        Ok(Self::Part(Part { file, left, counters }))
    }

    /// Counts what has gone, where that takes time.
    pub(super) fn counter(&self) -> Arc<Counter> {
        match self {
            Self::Whole(_) => Arc::default(),
            Self::Part(part) => Arc::clone(&part.counters[0]),
        }
    }

    fn left(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Self::Part(part) => part.left,
        }
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self::Whole(Some(text.into()))
    }
}

impl Part {
    /// The next piece. The file is a blob here, mostly in the page cache: it is read where it is
    /// sent, on a thread of its own as downloads are.
    fn next(&mut self) -> io::Result<Bytes> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let mut piece = vec![0; room];
        self.file.read_exact(&mut piece)?;
        self.left -= room as u64;
        self.counters.iter().for_each(|counter| counter.add(room as u64));
        Ok(piece.into())
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(match &mut *self {
            Self::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Self::Part(part) if part.left == 0 => None,
            Self::Part(part) => Some(part.next().map(Frame::data)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
