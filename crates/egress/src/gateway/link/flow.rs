//! The gateway's end of a connection with the guest.

use std::{
    io::{self, ErrorKind, IoSlice},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use smoltcp::socket::tcp::RecvError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{connection::Connection, hub::Hub};
use crate::gateway::in_place::{InPlace, poll_read_into, poll_write_from};

/// A stream of bytes. Shutting it down sends a FIN and leaves the other direction open; dropping it
/// does too, but resets the connection if the guest says something that nobody reads. After it has
/// been shut down that is dropped, for a while: a reset would take from the guest what it has not read
/// yet. Reads and writes are refused once the guest has reset it or is gone.
#[derive(Debug)]
pub struct Flow {
    hub: Rc<Hub>,
    connection: Rc<Connection>,
}

impl Flow {
    pub(super) fn new(hub: Rc<Hub>, connection: Rc<Connection>) -> Self {
        Self { hub, connection }
    }

    /// Where the guest thinks that it is connected to.
    #[must_use]
    pub fn to(&self) -> SocketAddr {
        self.connection.ends.to
    }

    /// The port of the guest's end.
    #[must_use]
    pub fn guest_port(&self) -> u16 {
        self.connection.ends.guest_port
    }

    /// Cuts the connection at once.
    pub fn reset(self) {
        self.connection.tcp().socket().abort();
    }

    /// Lets `take` have what has arrived, in place, and say how much of it it took. Zero is the end:
    /// the guest has shut down. An error of `take` is passed on, and takes nothing; after
    /// `WouldBlock` the caller waits for whatever would block.
    pub fn poll_take(
        &self,
        context: &Context<'_>,
        take: impl FnOnce(&[u8]) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let mut tcp = self.connection.tcp();
        let empty = tcp.socket().may_recv() && !tcp.socket().can_recv();
        if empty || !tcp.stands() {
            tcp.socket().register_recv_waker(context.waker());
            return Poll::Pending;
        }
        let taken = tcp.socket().recv(|data| {
            let taken = take(data);
            let bytes = taken.as_ref().map_or(0, |&bytes| bytes.min(data.len()));
            (bytes, taken)
        });
        match taken {
            Ok(Ok(bytes)) => {
                if tcp.took(bytes) {
                    drop(tcp);
                    self.nudge();
                }
                Poll::Ready(Ok(bytes))
            }
            Ok(Err(error)) => Poll::Ready(Err(error)),
            Err(RecvError::Finished) => Poll::Ready(Ok(0)),
            Err(RecvError::InvalidState) => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
        }
    }

    /// Lets `put` fill free space in place, and say how much it filled; zero and errors are passed
    /// on, and put nothing.
    pub fn poll_put(
        &self,
        context: &Context<'_>,
        put: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let mut tcp = self.connection.tcp();
        if tcp.is_closing() {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if !tcp.stands() || (tcp.socket().may_send() && tcp.is_resting()) {
            tcp.socket().register_send_waker(context.waker());
            return Poll::Pending;
        }
        let put = tcp.socket().send(|space| {
            let length = space.len();
            let put = put(space);
            let bytes = put.as_ref().map_or(0, |&bytes| bytes.min(length));
            (bytes, put)
        });
        match put {
            Ok(Ok(bytes)) => {
                drop(tcp);
                if 0 < bytes {
                    self.nudge();
                }
                Poll::Ready(Ok(bytes))
            }
            Ok(Err(error)) => Poll::Ready(Err(error)),
            Err(_) => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
        }
    }

    /// Sends no more than what has been written: the guest reads an end after it.
    pub fn shut_down(&self) {
        self.connection.tcp().close();
        self.nudge();
    }

    fn nudge(&self) {
        if !self.hub.is_closed() {
            self.hub.queue(Rc::clone(&self.connection));
            self.hub.wake();
        }
    }
}

impl InPlace for Flow {
    fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        reader: &mut R,
    ) -> Poll<io::Result<usize>> {
        let waits = &mut Context::from_waker(context.waker());
        blocking(self.poll_put(context, |space| unblocked(poll_read_into(reader, waits, space))))
    }

    fn poll_drain<W: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        writer: &mut W,
    ) -> Poll<io::Result<usize>> {
        let waits = &mut Context::from_waker(context.waker());
        blocking(self.poll_take(context, |bytes| unblocked(poll_write_from(writer, waits, bytes))))
    }
}

/// Who waits for something else than the connection, as [`Flow::poll_take`] has it.
fn unblocked(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

/// The other way round.
fn blocking(polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    match polled {
        Poll::Ready(Err(error)) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        Poll::Ready(_) | Poll::Pending => polled,
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        if self.hub.is_closed() {
            return;
        }
        self.hub.orphan(Rc::clone(&self.connection));
    }
}

impl AsyncRead for Flow {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        self.poll_take(context, |data| {
            let bytes = data.len().min(buffer.remaining());
            buffer.put_slice(&data[..bytes]);
            Ok(bytes)
        })
        .map_ok(drop)
    }
}

impl AsyncWrite for Flow {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        self.poll_put(context, |space| {
            let mut written = 0;
            for slice in slices {
                let bytes = slice.len().min(space.len() - written);
                space[written..written + bytes].copy_from_slice(&slice[..bytes]);
                written += bytes;
            }
            Ok(written)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut_down();
        Poll::Ready(Ok(()))
    }
}
