//! Waiting for descriptors. All are watched edge-triggered: a hung-up port, whose `POLLHUP` stays,
//! wakes nobody twice.

use std::io;

use protocol::StreamId;
use rustix::{
    event::{
        Timespec,
        epoll::{self, EventData, EventFlags},
    },
    fd::{AsFd, OwnedFd},
    io::Errno,
};

const WATCHED: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::ET);
const EVENTS_A_TURN: usize = 64;
const CHANNEL: u64 = 1 << 32;
const LISTENER: u64 = 2 << 32;
const CHILDREN: u64 = 3 << 32;
const WAKE: u64 = 4 << 32;

/// What became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The port or connection to the host.
    Channel,
    Listener,
    /// A child has ended.
    Children,
    /// A thread has something to say.
    Wake,
    /// A command's end of a stream.
    Stream(StreamId),
}

impl Source {
    fn token(self) -> u64 {
        match self {
            Self::Channel => CHANNEL,
            Self::Listener => LISTENER,
            Self::Children => CHILDREN,
            Self::Wake => WAKE,
            Self::Stream(stream) => u64::from(stream.0),
        }
    }

    fn of(token: u64) -> Option<Self> {
        match token {
            CHANNEL => Some(Self::Channel),
            LISTENER => Some(Self::Listener),
            CHILDREN => Some(Self::Children),
            WAKE => Some(Self::Wake),
            stream => u32::try_from(stream).ok().map(|id| Self::Stream(StreamId(id))),
        }
    }
}

/// Which directions of a descriptor can be used without waiting, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ready(EventFlags);

impl Ready {
    /// Of a descriptor that was not tried yet.
    pub(crate) const UNTRIED: Self = Self(EventFlags::IN.union(EventFlags::OUT));

    pub(crate) fn can_read(self) -> bool {
        self.0.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
    }

    pub(crate) fn can_write(self) -> bool {
        self.0.intersects(EventFlags::OUT | EventFlags::ERR)
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.0 |= more.0;
    }

    /// A read would have blocked.
    pub(crate) fn no_read(&mut self) {
        self.0 -= EventFlags::IN | EventFlags::HUP | EventFlags::ERR;
    }

    /// A write would have blocked.
    pub(crate) fn no_write(&mut self) {
        self.0 -= EventFlags::OUT | EventFlags::ERR;
    }
}

/// An epoll instance.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
}

impl Poll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Watches a descriptor until it is closed.
    pub(crate) fn watch(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(source.token()), WATCHED)?)
    }

    /// Reports a watched descriptor anew if it is ready now.
    pub(crate) fn watch_again(&self, fd: impl AsFd, source: Source) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(source.token()), WATCHED)?)
    }

    /// What became ready, after at most `timeout_ms`.
    pub(crate) fn wait(&self, timeout_ms: Option<u64>) -> io::Result<Vec<(Source, Ready)>> {
        let timeout = timeout_ms.map(|ms| Timespec {
            tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(ms % 1000 * 1_000_000).unwrap_or(0),
        });
        let mut events = Vec::with_capacity(EVENTS_A_TURN);
        let buffer = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, buffer, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let known = events
            .iter()
            .filter_map(|event| Some((Source::of(event.data.u64())?, Ready(event.flags))));
        Ok(known.collect())
    }
}
