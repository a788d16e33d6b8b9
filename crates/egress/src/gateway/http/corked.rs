//! A stream on which small writes wait for each other.
//!
//! HTTP/2 flushes after every frame, and a frame of the usual size is nine bytes longer than a
//! record of TLS. Written as it comes, each frame would be two records and one call of the kernel.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As much waits at most: four records.
const CORK_BYTES: usize = 64 * 1024;

/// Writes are kept until they are many, or until [`Release`] sends them.
pub(crate) struct Corked<S>(Rc<RefCell<Inner<S>>>);

/// Sends what waits. Whoever polls the writer polls this after it.
pub(crate) struct Release<S>(Rc<RefCell<Inner<S>>>);

struct Inner<S> {
    stream: S,
    waiting: BytesMut,
}

pub(crate) fn cork<S>(stream: S) -> (Corked<S>, Release<S>) {
    let inner = Rc::new(RefCell::new(Inner { stream, waiting: BytesMut::new() }));
    (Corked(Rc::clone(&inner)), Release(inner))
}

impl<S: AsyncWrite + Unpin> Release<S> {
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.send(context))?;
        Pin::new(&mut inner.stream).poll_flush(context)
    }
}

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.waiting.advance(written);
        }
        // An idle connection has no buffer.
        self.waiting = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Makes room for something, by sending what waits.
    fn room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if CORK_BYTES <= self.waiting.len() {
            ready!(self.send(context))?;
        }
        if self.waiting.capacity() == 0 {
            self.waiting.reserve(CORK_BYTES);
        }
        Poll::Ready(Ok(CORK_BYTES - self.waiting.len()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.0.borrow_mut();
        let mut room = ready!(inner.room(context))?;
        let mut written = 0;
        for slice in slices {
            let length = slice.len().min(room);
            inner.waiting.extend_from_slice(&slice[..length]);
            written += length;
            room -= length;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Nothing is sent now; [`Release`] does it.
    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.send(context))?;
        Pin::new(&mut inner.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn writes_wait_for_each_other_and_none_is_lost() {
        let (mut far, near) = tokio::io::duplex(1000);
        let (mut corked, release) = cork(near);
        corked.write_all(b"one ").await.unwrap();
        corked.write_all(b"two").await.unwrap();
        corked.flush().await.unwrap();
        let mut bytes = [0; 7];
        tokio::select! {
            biased;
            _ = far.read(&mut bytes) => panic!("it was to wait"),
            () = tokio::task::yield_now() => (),
        }
        poll_fn(|context| release.poll(context)).await.unwrap();
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"one two");
        // More than waits goes through by itself.
        let many: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        let reading = async {
            let mut got = Vec::new();
            far.read_to_end(&mut got).await.unwrap();
            got
        };
        let writing = async {
            corked.write_all(&many).await.unwrap();
            corked.shutdown().await.unwrap();
            drop((corked, release));
        };
        let (got, ()) = tokio::join!(reading, writing);
        assert!(got == many);
    }
}
