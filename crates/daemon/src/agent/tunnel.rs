//! A connection to a port of the guest.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    incoming::{Incoming, Over, Reader},
    outgoing::{Closed, Outgoing},
};

/// Bytes to and from a server in the guest. What is not read is not sent: each direction holds at
/// most a window. Shutting it down waits until all that was written has arrived. Dropped before both
/// directions have ended, the server sees it broken off.
#[derive(Debug)]
pub struct Tunnel {
    incoming: Arc<Incoming>,
    outgoing: Arc<Outgoing>,
    /// Taken from the stream and not read yet.
    rest: Bytes,
}

impl Tunnel {
    pub(super) fn new(incoming: Arc<Incoming>, outgoing: Arc<Outgoing>) -> Self {
        Self { incoming, outgoing, rest: Bytes::new() }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            match ready!(self.incoming.poll_take(context)) {
                Some(batch) => self.rest = batch.into_bytes(),
                None => return Poll::Ready(self.incoming.completed().map_err(broken)),
            }
        }
        let count = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        self.incoming.used(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.outgoing.poll_write(context, bytes).map_err(|Closed| io::ErrorKind::BrokenPipe.into())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.poll_end(context).map(Ok)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let is_through = self.rest.is_empty() && self.incoming.completed().is_ok();
        self.incoming.leave(if is_through { Reader::Through } else { Reader::Left });
        self.outgoing.leave();
    }
}

fn broken(over: Over) -> io::Error {
    match over {
        Over::Gone => io::Error::new(io::ErrorKind::ConnectionAborted, "the machine is gone"),
        Over::Reset | Over::Unknown => io::ErrorKind::ConnectionReset.into(),
    }
}
