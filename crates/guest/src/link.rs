//! The byte channel to the host: a virtio-serial port that is there for good, or the latest
//! connection to a Unix socket.

use std::{io, os::unix::net::UnixListener, path::Path};

use bytes::{Buf, BytesMut};
use protocol::{Decoder, Frame};
use rustix::{
    fd::OwnedFd,
    io::{Errno, ioctl_fionbio},
};

use crate::{
    outgoing::Outgoing,
    poll::{Poll, Ready, Source},
};

const READ_SIZE: usize = 64 << 10;

/// What reading gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// Bytes went to the decoder.
    Some,
    /// Nothing is there until the next event, perhaps since the host is gone.
    Nothing,
}

/// Whether the host is there. A port's kernel hears of its coming and going on another queue than its bytes come on, perhaps
/// after them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    There,
    /// It said hello, and was told nothing since: it is there, whatever the kernel says.
    Greeted,
    /// It has hung up: nothing is said until it is heard, or the next one.
    Away,
}

#[derive(Debug)]
pub(crate) struct Link {
    listener: Option<UnixListener>,
    channel: Option<OwnedFd>,
    ready: Ready,
    host: Host,
    decoder: Decoder,
    scratch: Vec<u8>,
    /// Frames on their way out, the first perhaps in part.
    out: BytesMut,
}

impl Link {
    /// Serves connections to a Unix socket, the newest one only.
    pub(crate) fn listen(socket: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(socket)?;
        listener.set_nonblocking(true)?;
        Ok(Self::new(Some(listener), None))
    }

    /// Serves the host behind a virtio-serial port, which is there for good.
    pub(crate) fn port(port: OwnedFd) -> Self {
        Self::new(None, Some(port))
    }

    fn new(listener: Option<UnixListener>, channel: Option<OwnedFd>) -> Self {
        Self {
            listener,
            channel,
            ready: Ready::UNTRIED,
            host: Host::There,
            decoder: Decoder::default(),
            scratch: vec![0; READ_SIZE],
            out: BytesMut::new(),
        }
    }

    pub(crate) fn watch(&self, poll: &Poll) -> io::Result<()> {
        if let Some(listener) = &self.listener {
            poll.watch(listener, Source::Listener)?;
        }
        self.channel.as_ref().map_or(Ok(()), |channel| poll.watch(channel, Source::Channel))
    }

    /// Takes the newest connection in place of the one before. Says whether there was one.
    pub(crate) fn accept(&mut self, poll: &Poll) -> io::Result<bool> {
        let mut newest = None;
        while let Some(Ok((connection, _))) = self.listener.as_ref().map(UnixListener::accept) {
            newest = Some(connection);
        }
        let Some(connection) = newest else { return Ok(false) };
        ioctl_fionbio(&connection, true)?;
        poll.watch(&connection, Source::Channel)?;
        self.decoder.clear();
        self.out.clear();
        self.channel = Some(connection.into());
        self.ready = Ready::UNTRIED;
        self.host = Host::There;
        Ok(true)
    }

    pub(crate) fn on_ready(&mut self, ready: Ready) {
        self.ready.add(ready);
    }

    /// Whether a read may give something at once.
    pub(crate) fn can_read(&self) -> bool {
        self.channel.is_some() && self.ready.can_read()
    }

    pub(crate) fn read(&mut self) -> Incoming {
        let Some(channel) = self.channel.as_ref().filter(|_| self.ready.can_read()) else {
            return Incoming::Nothing;
        };
        match rustix::io::read(channel, &mut self.scratch) {
            Ok(0) => self.hang_up(),
            Ok(count) => {
                self.decoder.push(&self.scratch[..count]);
                Incoming::Some
            }
            Err(Errno::INTR) => Incoming::Some,
            Err(Errno::AGAIN) => {
                self.ready.no_read();
                Incoming::Nothing
            }
            Err(_) => self.hang_up(),
        }
    }

    /// The next whole frame; what is no frame is passed over.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Ok(frame) = self.decoder.next_frame()? {
                return Some(frame);
            }
        }
    }

    /// Writes what there is to say, until there is no more or the channel takes no more.
    pub(crate) fn write(&mut self, outgoing: &mut Outgoing) {
        if self.host == Host::Away {
            return;
        }
        while let Some(channel) = self.channel.as_ref().filter(|_| self.ready.can_write()) {
            let large = if self.out.is_empty() { outgoing.fill(&mut self.out) } else { None };
            let bytes = large.unwrap_or(&self.out);
            if bytes.is_empty() {
                break;
            }
            let written = match rustix::io::write(channel, bytes) {
                Ok(count) => count,
                Err(Errno::INTR) => 0,
                // It takes no more now; or the host is gone, as reading says.
                Err(_) => {
                    self.ready.no_write();
                    0
                }
            };
            if written > 0 {
                self.host = Host::There;
            }
            match large {
                Some(frame) => self.out.extend_from_slice(&frame[written..]),
                None => self.out.advance(written),
            }
        }
    }

    /// The host has said hello. What was cut off when it went is over.
    pub(crate) fn greeted(&mut self) {
        if self.host == Host::Away {
            self.out.clear();
        }
        self.host = Host::Greeted;
    }

    /// The host has said something else.
    pub(crate) fn heard(&mut self) {
        if self.host == Host::Away {
            self.host = Host::There;
        }
    }

    fn hang_up(&mut self) -> Incoming {
        self.decoder.clear();
        self.ready.no_read();
        if self.listener.is_some() {
            self.channel = None;
        }
        if self.host == Host::There {
            self.host = Host::Away;
        }
        Incoming::Nothing
    }
}
