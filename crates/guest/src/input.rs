//! Bytes of a stream on their way to a descriptor: a command's standard input, or a socket.

use bytes::{Buf, BytesMut};
use protocol::{Ack, Data, Inbox, StreamId, Violation};
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{Shutdown, shutdown},
    termios::{SpecialCodeIndex, tcgetattr},
};

use crate::poll::Ready;

/// ^D, unless the terminal says otherwise.
const END_OF_FILE: u8 = 4;

#[derive(Debug)]
pub(crate) struct Input {
    inbox: Inbox,
    /// Received and not yet taken by the command; at most a window.
    pending: BytesMut,
    /// The last byte that the command took.
    last: u8,
    end: End,
    ready: Ready,
}

#[derive(Debug)]
enum End {
    Pipe(OwnedFd),
    Terminal(OwnedFd),
    /// Shut down at the end: another descriptor of it is still read.
    Socket(OwnedFd),
    /// All was handed over.
    Closed,
    /// The command takes no more; the host was told.
    Broken,
}

/// What the host must hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    Ack(Ack),
    /// The command takes no more.
    Reset,
}

impl Input {
    pub(crate) fn new(stream: StreamId, fd: OwnedFd) -> Self {
        let end = if rustix::termios::isatty(&fd) { End::Terminal(fd) } else { End::Pipe(fd) };
        Self::with(stream, end)
    }

    pub(crate) fn socket(stream: StreamId, fd: OwnedFd) -> Self {
        Self::with(stream, End::Socket(fd))
    }

    fn with(stream: StreamId, end: End) -> Self {
        Self {
            inbox: Inbox::new(stream),
            pending: BytesMut::new(),
            last: b'\n',
            end,
            ready: Ready::UNTRIED,
        }
    }

    pub(crate) fn fd(&self) -> Option<&OwnedFd> {
        match &self.end {
            End::Pipe(fd) | End::Terminal(fd) | End::Socket(fd) => Some(fd),
            End::Closed | End::Broken => None,
        }
    }

    /// Its descriptor, if it is open.
    pub(crate) fn into_fd(self) -> Option<OwnedFd> {
        match self.end {
            End::Pipe(fd) | End::Terminal(fd) | End::Socket(fd) => Some(fd),
            End::Closed | End::Broken => None,
        }
    }

    /// Where the stream stands, for a new epoch or a new stream.
    pub(crate) fn state(&mut self) -> Answer {
        match self.end {
            End::Broken => Answer::Reset,
            End::Pipe(_) | End::Terminal(_) | End::Socket(_) | End::Closed => {
                Answer::Ack(self.inbox.ack())
            }
        }
    }

    pub(crate) fn on_ready(&mut self, ready: Ready) -> Answer {
        self.ready.add(ready);
        self.pump()
    }

    pub(crate) fn on_data(&mut self, data: &Data) -> Result<Answer, Violation> {
        if let End::Broken = self.end {
            return Ok(Answer::Reset);
        }
        let fresh = self.inbox.on_data(data)?;
        self.pending.extend_from_slice(&fresh);
        Ok(self.pump())
    }

    /// The command takes no more, or the host gave the stream up.
    pub(crate) fn give_up(&mut self) -> Answer {
        self.pending = BytesMut::new();
        match self.end {
            End::Pipe(_) | End::Terminal(_) | End::Socket(_) => {
                self.end = End::Broken;
                Answer::Reset
            }
            End::Closed | End::Broken => Answer::Nothing,
        }
    }

    fn pump(&mut self) -> Answer {
        while let (Some(fd), true) = (self.fd(), self.ready.can_write())
            && !self.pending.is_empty()
        {
            match rustix::io::write(fd, &self.pending) {
                Ok(count) => {
                    self.last = self.pending[..count].last().copied().unwrap_or(self.last);
                    self.pending.advance(count);
                    self.inbox.handle(count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.ready.no_write(),
                Err(_) => return self.give_up(),
            }
        }
        if self.pending.is_empty() {
            self.pending = BytesMut::new();
            if self.inbox.is_ended() {
                self.close();
            }
        }
        self.inbox.due_ack().map_or(Answer::Nothing, Answer::Ack)
    }

    fn close(&mut self) {
        match &self.end {
            End::Pipe(_) => {}
            // It fails only where the connection is over anyway.
            End::Socket(fd) => drop(shutdown(fd, Shutdown::Write)),
            End::Terminal(fd) => {
                let code = tcgetattr(fd)
                    .map_or(END_OF_FILE, |state| state.special_codes[SpecialCodeIndex::VEOF]);
                // Within a line, the first one only hands over what is there.
                let codes = [code, code];
                let codes = if self.last == b'\n' { &codes[..1] } else { &codes[..] };
                if rustix::io::write(fd, codes) == Err(Errno::AGAIN) {
                    return self.ready.no_write();
                }
            }
            End::Closed | End::Broken => return,
        }
        self.end = End::Closed;
        self.inbox.handle_end();
    }
}
