//! The gateway's end of the guest's network card: Ethernet, IP and TCP in user space.
//!
//! Every frame is understood by [`packet`](super::packet) first; the link answers what concerns
//! itself, refuses what nobody may send, and tells of the rest: connections that the guest asks for
//! ([`Arrival`], accepted as a [`Flow`]), questions to the resolver ([`Question`]), and what was
//! refused ([`Refused`]). What a guest can make it hold is bounded by [`LIMITS`].

use std::{
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::{
    net::UnixStream,
    sync::mpsc,
    time::{Instant, Sleep},
};

mod arrival;
mod connection;
mod flow;
mod hub;
mod pace;
mod rescue;
mod share;
mod sys;
mod wire;

pub use arrival::{Arrival, Gone};
pub use flow::Flow;
pub use share::Taken;

use super::{
    bucket::Bucket,
    card::Card,
    craft,
    frames::{Inbox, InvalidLength},
    packet::{Datagram, Junk, Packet, is_gateway},
};
use hub::{Hub, Outlets};

/// What a guest may use at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections, with those that wait to be let in.
    pub connections: usize,
    /// Connections that wait to be let in.
    pub waiting: usize,
    /// Bytes that the buffers of all connections take; beyond it each gets the least.
    pub buffer_bytes: usize,
    /// The next connection gets one part in so many of what is left of it, each way,
    pub buffer_part: usize,
    /// at most
    pub buffer_bytes_max: usize,
    /// and at least this many bytes;
    pub buffer_bytes_min: usize,
    /// of what has come from the guest at most this many: it goes on at once.
    pub received_bytes_max: usize,
    /// Questions to the resolver that wait.
    pub questions: usize,
    /// Refusals that wait to be told.
    pub refusals: usize,
}

pub const LIMITS: Limits = Limits {
    connections: 512,
    waiting: 256,
    buffer_bytes: 64 << 20,
    buffer_part: 32,
    buffer_bytes_max: 2 << 20,
    buffer_bytes_min: 32 << 10,
    received_bytes_max: 512 << 10,
    questions: 128,
    refusals: 256,
};

/// Refusals by ICMP: at once, and a second.
const UNREACHABLE: (u32, f64) = (100, 100.0);

const DNS_PORT: u16 = 53;
/// Longer than any lawful question.
const QUESTION_BYTES_MAX: usize = 1024;

/// Frames are taken up this often before others get their turn, one at a time from a guest's card,
const READS_AT_ONCE: usize = 64;
/// or until they have so many bytes: as many as a few large frames.
const BYTES_AT_ONCE: usize = 256 << 10;

/// A question to the gateway's resolver, over UDP.
#[derive(Debug)]
pub struct Question {
    pub bytes: Vec<u8>,
    hub: Rc<Hub>,
    to: SocketAddr,
    guest_port: u16,
}

impl Question {
    /// Sends the reply, which is at most as long as a datagram on this link.
    pub fn answer(self, reply: &[u8]) {
        if !self.hub.is_closed() {
            craft::datagram(&mut self.hub.out.borrow_mut(), self.to, self.guest_port, reply);
            self.hub.wake();
        }
    }
}

/// Something that the link refused by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub what: Refusal,
    pub to: Option<IpAddr>,
    pub port: Option<u16>,
    pub from_port: Option<u16>,
}

impl Refused {
    fn junk(junk: Junk) -> Self {
        Self { what: Refusal::Junk(junk), to: junk.to(), port: None, from_port: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    TooManyConnections,
    /// A datagram that is none to the resolver.
    Udp,
    /// A frame that goes nowhere.
    Junk(Junk),
}

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the guest's network card cannot be read or written")]
    Io(#[from] io::Error),
    #[error("the other end is no network card")]
    Framing(#[from] InvalidLength),
}

/// What comes from a link.
#[derive(Debug)]
pub struct News {
    pub arrivals: mpsc::Receiver<Arrival>,
    pub questions: mpsc::Receiver<Question>,
    pub refused: mpsc::Receiver<Refused>,
    hub: Rc<Hub>,
}

impl News {
    /// What the connections use now.
    #[must_use]
    pub fn taken(&self) -> Taken {
        self.hub.taken()
    }
}

/// Works while [`Link::run`] is awaited; when it is dropped, all that is on it ends.
#[derive(Debug)]
pub struct Link {
    card: Card,
    inbox: Inbox,
    hub: Rc<Hub>,
    alarm: Pin<Box<Sleep>>,
    unreachable: Bucket,
}

impl Link {
    /// Takes the far end of the guest's network card. From the first one on this process holds large
    /// pieces of memory in pages of their own, so that idle connections take next to none.
    pub fn new(card: UnixStream) -> io::Result<(Self, News)> {
        sys::hold_buffers_apart();
        let (arrivals_to, arrivals) = mpsc::channel(LIMITS.waiting);
        let (questions_to, questions) = mpsc::channel(LIMITS.questions);
        let (refused_to, refused) = mpsc::channel(LIMITS.refusals);
        let outlets =
            Outlets { arrivals: arrivals_to, questions: questions_to, refused: refused_to };
        let now = Instant::now();
        let hub = Rc::new(Hub::new(outlets));
        let link = Self {
            card: Card::new(card)?,
            inbox: Inbox::default(),
            hub: Rc::clone(&hub),
            alarm: Box::pin(tokio::time::sleep_until(now)),
            unreachable: Bucket::new(UNREACHABLE.0, UNREACHABLE.1, now),
        };
        Ok((link, News { arrivals, questions, refused, hub }))
    }

    /// Works until the other end is closed.
    pub async fn run(mut self) -> Result<(), LinkError> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LinkError>> {
        self.hub.wakes(context.waker());
        let now = self.hub.now();
        self.hub.ring(now);
        // What was read the last time has been worked on by now, so that answers go out together
        // with what they acknowledge.
        self.write(context)?;
        let (mut reads, mut bytes) = (0, 0);
        while reads < READS_AT_ONCE && bytes < BYTES_AT_ONCE {
            match self.read(context)? {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(read) => (reads, bytes) = (reads + 1, bytes + read),
                Poll::Pending => break,
            }
        }
        self.wait(context);
        if 0 < reads {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Sends all that there is, as far as the other end takes it.
    fn write(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let now = self.hub.now();
        loop {
            self.hub.send(now);
            let mut out = self.hub.out.borrow_mut();
            if out.unsent().is_empty() {
                return Ok(());
            }
            match self.card.poll_write(context, out.unsent())? {
                Poll::Ready(bytes) => out.sent(bytes),
                Poll::Pending => return Ok(()),
            }
        }
    }

    /// Reads once, and takes all whole frames. Zero is the end.
    fn read(&mut self, context: &mut Context<'_>) -> Result<Poll<usize>, LinkError> {
        let Poll::Ready(bytes) = self.card.poll_read(context, self.inbox.spare())? else {
            return Ok(Poll::Pending);
        };
        self.inbox.filled(bytes);
        let now = self.hub.now();
        while let Some(frame) = self.inbox.frame()? {
            match Packet::parse(frame) {
                Ok(packet) => take(&self.hub, &mut self.unreachable, &packet, now),
                Err(Junk::Chatter) => {}
                Err(junk) => self.hub.refused(Refused::junk(junk)),
            }
        }
        Ok(Poll::Ready(bytes))
    }

    /// Has itself woken at the next moment at which there is something to do.
    fn wait(&mut self, context: &mut Context<'_>) {
        let Some(next) = self.hub.next_alarm() else { return };
        let next = self.hub.at(next);
        if self.alarm.is_elapsed() || next < self.alarm.deadline() {
            self.alarm.as_mut().reset(next);
        }
        if self.alarm.as_mut().poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.hub.close();
    }
}

fn take(hub: &Rc<Hub>, unreachable: &mut Bucket, packet: &Packet<'_>, now: smoltcp::time::Instant) {
    let out = || hub.out.borrow_mut();
    match packet {
        Packet::WhoHas => craft::i_have(&mut out()),
        Packet::Solicit { source, target } => craft::advertise(&mut out(), *source, *target),
        Packet::Tcp(segment) => hub.segment(segment, now),
        Packet::Echo(echo) => craft::echo(&mut out(), echo),
        Packet::Udp(datagram) if is_question(datagram) => hub.question(Question {
            bytes: datagram.data.to_vec(),
            hub: Rc::clone(hub),
            to: datagram.to,
            guest_port: datagram.from.port(),
        }),
        Packet::Udp(datagram) => {
            if unreachable.take(Instant::now()) {
                craft::port_unreachable(&mut out(), datagram);
            }
            hub.refused(Refused {
                what: Refusal::Udp,
                to: Some(datagram.to.ip()),
                port: Some(datagram.to.port()),
                from_port: Some(datagram.from.port()),
            });
        }
    }
}

fn is_question(datagram: &Datagram<'_>) -> bool {
    is_gateway(datagram.to.ip())
        && datagram.to.port() == DNS_PORT
        && datagram.data.len() <= QUESTION_BYTES_MAX
}

#[cfg(test)]
mod tests;
