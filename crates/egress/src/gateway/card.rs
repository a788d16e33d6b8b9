//! The socket of a guest's network card, as QEMU has it: one that keeps messages apart, so that a
//! gateway that is lost leaves no half of a frame behind. Plain streams do as well, for tests.
//!
//! tokio's own reading is for streams alone: it takes a read that does not fill its buffer for the
//! last one, and then waits for news that do not come while there are messages left.

use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    os::fd::{AsFd, OwnedFd},
    task::{Context, Poll, ready},
};

use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt::set_socket_send_buffer_size};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixStream,
};

use super::frames::MESSAGE_BYTES_MAX;

/// Twice this much waits in the socket for the machine. Linux says that a full one is writable when
/// three quarters of it have been read: with its 208 KiB, three large frames, the machine would run
/// out of them each time.
const SEND_BUFFER_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Card {
    socket: AsyncFd<OwnedFd>,
    /// Another descriptor of it, while it takes no more: only then is it waited for to be writable. It
    /// becomes that again with each message that the other end reads, which would wake us as often.
    full: RefCell<Option<AsyncFd<OwnedFd>>>,
}

impl Card {
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        let socket = OwnedFd::from(socket.into_std()?);
        // As much as the system allows, which may be less.
        set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES)?;
        let socket = register(socket, Interest::READABLE)?;
        Ok(Self { socket, full: RefCell::default() })
    }

    /// Reads once; zero is the end. A message that the buffer has no room for is cut off.
    pub(super) fn poll_read(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(context))?;
            let read = |socket: &AsyncFd<OwnedFd>| {
                Ok(recv(socket.as_fd(), &mut *buffer, RecvFlags::empty())?.0)
            };
            match ready.try_io(read) {
                Ok(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Ok(read) => return Poll::Ready(read),
                Err(_would_block) => {}
            }
        }
    }

    /// Writes some of it, which may end in the middle of a frame.
    pub(super) fn poll_write(
        &self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let message = &bytes[..bytes.len().min(MESSAGE_BYTES_MAX)];
        let mut full = self.full.borrow_mut();
        loop {
            if let Some(waiting) = &*full {
                drop(ready!(waiting.poll_write_ready(context))?);
                *full = None;
            }
            match send(&self.socket, message, SendFlags::NOSIGNAL).map_err(io::Error::from) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let other = self.socket.get_ref().try_clone()?;
                    *full = Some(register(other, Interest::WRITABLE)?);
                }
                written => return Poll::Ready(written),
            }
        }
    }
}

#[expect(unsafe_code, reason = "tokio cannot know that the descriptor stays the same")]
fn register(socket: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is one and the same open descriptor until it is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::Write, os::unix::net::UnixStream as Socket};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair(kind: SocketType) -> (Card, Socket) {
        let flags = SocketFlags::CLOEXEC;
        let (card, other) = socketpair(AddressFamily::UNIX, kind, flags, None).unwrap();
        let card = Socket::from(card);
        card.set_nonblocking(true).unwrap();
        (Card::new(UnixStream::from_std(card).unwrap()).unwrap(), other.into())
    }

    async fn all_is_read(kind: SocketType, buffer: &mut [u8]) {
        let (card, mut other) = pair(kind);
        for left in [400, 300, 200, 100, 400, 300, 200, 100] {
            if left == 400 {
                (0..4).for_each(|_| other.write_all(&[7; 100]).unwrap());
            }
            let read = poll_fn(|context| card.poll_read(context, buffer)).await;
            assert_eq!(read.unwrap(), 100, "{left} left");
        }
        drop(other);
        assert_eq!(poll_fn(|context| card.poll_read(context, buffer)).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn messages_that_came_together_are_all_read() {
        // A buffer that no message fills, and for a stream one that is filled.
        all_is_read(SocketType::SEQPACKET, &mut [0; 1000]).await;
        all_is_read(SocketType::STREAM, &mut [0; 100]).await;
    }

    #[tokio::test]
    async fn no_message_is_longer_than_what_is_read_at_once() {
        let (card, other) = pair(SocketType::SEQPACKET);
        let bytes = vec![7; 300_000];
        let reader = tokio::task::spawn_blocking(move || {
            let (mut buffer, mut read) = (vec![0; MESSAGE_BYTES_MAX], 0);
            while read < 300_000 {
                read += recv(&other, buffer.as_mut_slice(), RecvFlags::empty()).unwrap().0;
            }
            read
        });
        let mut written = 0;
        while written < bytes.len() {
            let write = poll_fn(|context| card.poll_write(context, &bytes[written..])).await;
            written += write.unwrap();
        }
        assert_eq!(reader.await.unwrap(), bytes.len());
    }
}
