//! Streams of the guest's whose bytes pass from and to where they lie.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// A stream that others read into and write from.
pub(crate) trait InPlace: AsyncRead + AsyncWrite + Unpin {
    /// Has `reader` fill free space, and sends that. Zero is the reader's end, and all before it has
    /// been taken.
    fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<io::Result<usize>>;

    /// Has `writer` take what has come. Zero is the end of this stream.
    fn poll_drain<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<usize>>;
}

/// More than that is not read at once: the guest takes the first of it while the next is read.
const READ_BYTES_MAX: usize = 256 * 1024;

/// What a reader puts into this space.
pub(crate) fn poll_read_into<R: AsyncRead + Unpin>(
    reader: &mut R,
    context: &mut Context<'_>,
    space: &mut [u8],
) -> Poll<io::Result<usize>> {
    let most = space.len().min(READ_BYTES_MAX);
    let mut space = ReadBuf::new(&mut space[..most]);
    ready!(Pin::new(reader).poll_read(context, &mut space))?;
    Poll::Ready(Ok(space.filled().len()))
}

/// What a writer takes of these bytes, of which there are some.
pub(crate) fn poll_write_from<W: AsyncWrite + Unpin>(
    writer: &mut W,
    context: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    match ready!(Pin::new(writer).poll_write(context, bytes))? {
        0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(Ok(written)),
    }
}

/// One buffer in each direction. Larger ones make nothing faster, and a gateway may have hundreds.
const BUFFER_BYTES: usize = 64 * 1024;

/// Any other stream, with buffers of its own; they are there only while bytes are on their way.
#[derive(Debug)]
pub(crate) struct Buffered<S> {
    stream: S,
    /// To the stream,
    there: BytesMut,
    /// and from it.
    back: BytesMut,
    unflushed: bool,
}

impl<S> Buffered<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, there: BytesMut::new(), back: BytesMut::new(), unflushed: false }
    }
}

impl<S: AsyncWrite + Unpin> Buffered<S> {
    /// Writes what is on its way to the stream.
    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.there.is_empty() {
            let written = ready!(poll_write_from(&mut self.stream, context, &self.there))?;
            self.there.advance(written);
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> InPlace for Buffered<S> {
    fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_write_out(context))?;
        self.there.reserve(BUFFER_BYTES);
        let read = poll_read_buf(Pin::new(reader), context, &mut self.there)?;
        if read.is_pending() {
            self.there = BytesMut::new();
            if self.unflushed {
                ready!(Pin::new(&mut self.stream).poll_flush(context))?;
                self.unflushed = false;
            }
        }
        read.map(Ok)
    }

    fn poll_drain<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<usize>> {
        if self.back.is_empty() {
            self.back.reserve(BUFFER_BYTES);
            match poll_read_buf(Pin::new(&mut self.stream), context, &mut self.back)? {
                Poll::Ready(0) => return Poll::Ready(Ok(0)),
                Poll::Ready(_) => {}
                Poll::Pending => {
                    self.back = BytesMut::new();
                    return Poll::Pending;
                }
            }
        }
        let written = ready!(poll_write_from(writer, context, &self.back))?;
        self.back.advance(written);
        Poll::Ready(Ok(written))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Buffered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.back.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.back.len().min(buffer.remaining());
        buffer.put_slice(&self.back.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Buffered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_write_out(context))?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_out(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
