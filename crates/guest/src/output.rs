//! Bytes of a descriptor on their way to a stream: a command's output, or a socket. It is read only
//! while its stream has room.

use protocol::{CHUNK_MAX, Chunk, StreamId};
use rustix::{
    fd::OwnedFd,
    io::{Errno, ioctl_fionread},
    pipe::fcntl_setpipe_size,
};

use crate::{outgoing::Outgoing, poll::Ready};

/// A terminal hides how much it holds; no more than this is read after its command's end.
const TERMINAL_REST_MAX: u64 = 64 << 10;
const PIPE_WIDE: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stream: StreamId,
    fd: OwnedFd,
    ready: Ready,
    /// Once the command has ended: how much of what is there belongs to it.
    rest: Option<u64>,
    width: Width,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    AsMade,
    /// Or it cannot be made wide.
    Wide,
}

/// How far an output is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It waits for more bytes or for room.
    Open,
    /// The command has closed it.
    Ended,
    /// A connection was broken off.
    Failed,
    /// Its command has ended and all its output is taken; others still hold it open.
    LeftOver,
}

impl Output {
    pub(crate) fn new(stream: StreamId, fd: OwnedFd) -> Self {
        Self { stream, fd, ready: Ready::UNTRIED, rest: None, width: Width::AsMade }
    }

    pub(crate) fn on_ready(&mut self, ready: Ready) {
        self.ready.add(ready);
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(crate) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// The command has ended: what is there now is the last of it.
    pub(crate) fn finish(&mut self) {
        let is_terminal = rustix::termios::isatty(&self.fd);
        let rest = if is_terminal { Ok(TERMINAL_REST_MAX) } else { ioctl_fionread(&self.fd) };
        self.rest = Some(rest.unwrap_or(0));
        self.ready.add(Ready::UNTRIED);
    }

    /// Reads what is there, as far as the stream has room.
    pub(crate) fn pump(&mut self, outgoing: &mut Outgoing) -> Progress {
        loop {
            if self.rest == Some(0) {
                return Progress::LeftOver;
            }
            let rest = self.rest.and_then(|rest| usize::try_from(rest).ok()).unwrap_or(usize::MAX);
            let room = outgoing.room(self.stream).min(rest).min(CHUNK_MAX);
            if room == 0 || !self.ready.can_read() {
                return Progress::Open;
            }
            let mut chunk = Chunk::new();
            match rustix::io::read(&self.fd, &mut chunk.room()[..room]) {
                Ok(0) => return Progress::Ended,
                Ok(count) => {
                    chunk.fill(count);
                    self.widen_for(count);
                    outgoing.push_chunk(self.stream, chunk);
                    self.rest = self.rest.map(|rest| rest.saturating_sub(count as u64));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.rest.is_some() => return Progress::LeftOver,
                Err(Errno::AGAIN) => self.ready.no_read(),
                // The other end of a terminal is closed.
                Err(Errno::IO) => return Progress::Ended,
                Err(_) => return Progress::Failed,
            }
        }
    }

    /// Whoever writes much is woken less often by a wide pipe.
    fn widen_for(&mut self, count: usize) {
        if count == CHUNK_MAX && self.width == Width::AsMade {
            self.width = Width::Wide;
            let _is_wider = fcntl_setpipe_size(&self.fd, PIPE_WIDE).is_ok();
        }
    }
}
