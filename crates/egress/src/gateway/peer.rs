//! The guest's end of a link, without a guest: for tests and measurements.
//!
//! It has the guest's addresses, speaks TCP by smoltcp and takes part as fast as it can.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, ErrorKind},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use smoltcp::{
    iface::{Config, Interface, SocketHandle, SocketSet},
    phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken},
    socket::tcp::{RecvError, Socket, SocketBuffer, State},
    time::Instant,
    wire::{HardwareAddress, IpCidr},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};

use super::{
    card::Card,
    frames::{ETHERNET, Inbox, Outbox},
};
use crate::address::{GATEWAY_MAC, GUEST_MAC, GUEST_V4, GUEST_V6};

/// One end of a link.
#[derive(Clone, Debug)]
pub struct Peer(Rc<RefCell<Inner>>);

struct Inner {
    card: Card,
    inbox: Inbox,
    out: Outbox,
    mtu: usize,
    interface: Interface,
    sockets: SocketSet<'static>,
    start: tokio::time::Instant,
    waker: Option<Waker>,
    next_port: u16,
    buffer_bytes: usize,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("card", &self.card).finish_non_exhaustive()
    }
}

impl Peer {
    /// A peer whose packets have at most `mtu` bytes, with buffers of `buffer_bytes` each way.
    pub fn new(card: UnixStream, mtu: usize, buffer_bytes: usize) -> io::Result<Self> {
        let (mut inbox, mut out) = (Inbox::default(), Outbox::default());
        let mut port = Port { inbox: &mut inbox, out: &mut out, mtu };
        let config = Config::new(HardwareAddress::Ip);
        let mut interface = Interface::new(config, &mut port, Instant::ZERO);
        // All others are neighbours.
        interface.update_ip_addrs(|addresses| {
            addresses.extend([IpCidr::new(GUEST_V4.into(), 0), IpCidr::new(GUEST_V6.into(), 0)]);
        });
        Ok(Self(Rc::new(RefCell::new(Inner {
            card: Card::new(card)?,
            inbox,
            out,
            mtu,
            interface,
            sockets: SocketSet::new(Vec::new()),
            start: tokio::time::Instant::now(),
            waker: None,
            next_port: 32_768,
            buffer_bytes,
        }))))
    }

    /// Takes part until the other end is closed.
    pub async fn run(self) -> io::Result<()> {
        let mut alarm = Box::pin(tokio::time::sleep(std::time::Duration::ZERO));
        poll_fn(|context| {
            let mut inner = self.0.borrow_mut();
            if let Poll::Ready(ended) = inner.poll(context) {
                return Poll::Ready(ended);
            }
            if let Some(next) = inner.next_alarm() {
                alarm.as_mut().reset(next);
                if alarm.as_mut().poll(context).is_ready() {
                    context.waker().wake_by_ref();
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Connects, or is refused.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<PeerFlow> {
        let flow = self.start(to)?;
        poll_fn(|context| {
            let mut inner = flow.peer.0.borrow_mut();
            let socket = inner.sockets.get_mut::<Socket<'_>>(flow.handle);
            match socket.state() {
                State::SynSent | State::SynReceived => {
                    socket.register_recv_waker(context.waker());
                    Poll::Pending
                }
                State::Closed => Poll::Ready(Err(io::Error::from(ErrorKind::ConnectionRefused))),
                State::Listen
                | State::Established
                | State::FinWait1
                | State::FinWait2
                | State::CloseWait
                | State::Closing
                | State::LastAck
                | State::TimeWait => Poll::Ready(Ok(())),
            }
        })
        .await?;
        Ok(flow)
    }

    /// Asks for a connection, and does not wait for it.
    pub fn start(&self, to: SocketAddr) -> io::Result<PeerFlow> {
        let mut inner = self.0.borrow_mut();
        let buffer = |bytes: usize| SocketBuffer::new(vec![0; bytes]);
        let mut socket = Socket::new(buffer(inner.buffer_bytes), buffer(inner.buffer_bytes));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let port = inner.next_port;
        inner.next_port = port.checked_add(1).unwrap_or(32_768);
        let from: SocketAddr =
            if to.is_ipv4() { (GUEST_V4, port).into() } else { (GUEST_V6, port).into() };
        let connecting = socket.connect(inner.interface.context(), to, from);
        connecting.map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        let handle = inner.sockets.add(socket);
        inner.wake();
        drop(inner);
        Ok(PeerFlow { peer: self.clone(), handle, port })
    }
}

impl Inner {
    fn now(&self) -> Instant {
        let micros = self.start.elapsed().as_micros();
        Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    fn next_alarm(&mut self) -> Option<tokio::time::Instant> {
        let now = self.now();
        let delay = self.interface.poll_delay(now, &self.sockets)?;
        let delay = std::time::Duration::from_micros(delay.total_micros());
        Some(tokio::time::Instant::now() + delay)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waker = Some(context.waker().clone());
        for _ in 0..4 {
            let read = self.card.poll_read(context, self.inbox.spare())?;
            if let Poll::Ready(bytes) = read {
                self.inbox.filled(bytes);
            }
            loop {
                let now = self.now();
                let Self { inbox, out, mtu, interface, sockets, .. } = self;
                interface.poll(now, &mut Port { inbox, out, mtu: *mtu }, sockets);
                if self.out.unsent().is_empty() {
                    break;
                }
                match self.card.poll_write(context, self.out.unsent())? {
                    Poll::Ready(bytes) => self.out.sent(bytes),
                    Poll::Pending => break,
                }
            }
            match read {
                Poll::Ready(0) => return Poll::Ready(Ok(())),
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// A connection of the peer's. Dropping it resets the connection.
#[derive(Debug)]
pub struct PeerFlow {
    peer: Peer,
    handle: SocketHandle,
    pub port: u16,
}

impl PeerFlow {
    fn with<R>(&self, f: impl FnOnce(&mut Socket<'static>) -> R) -> R {
        let mut inner = self.peer.0.borrow_mut();
        let result = f(inner.sockets.get_mut(self.handle));
        inner.wake();
        result
    }

    /// Bytes that the other end has not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.with(|socket| socket.send_queue())
    }
}

impl Drop for PeerFlow {
    fn drop(&mut self) {
        let mut inner = self.peer.0.borrow_mut();
        inner.sockets.get_mut::<Socket<'_>>(self.handle).abort();
        // The reset is sent before the socket goes.
        let now = inner.now();
        let Inner { inbox, out, mtu, interface, sockets, .. } = &mut *inner;
        interface.poll_egress(now, &mut Port { inbox, out, mtu: *mtu }, sockets);
        sockets.remove(self.handle);
        inner.wake();
    }
}

impl AsyncRead for PeerFlow {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.with(|socket| {
            if socket.may_recv() && !socket.can_recv() {
                socket.register_recv_waker(context.waker());
                return Poll::Pending;
            }
            let received = socket.recv(|data| {
                let bytes = data.len().min(buffer.remaining());
                buffer.put_slice(&data[..bytes]);
                (bytes, ())
            });
            Poll::Ready(match received {
                Ok(()) | Err(RecvError::Finished) => Ok(()),
                Err(RecvError::InvalidState) => Err(ErrorKind::ConnectionReset.into()),
            })
        })
    }
}

impl AsyncWrite for PeerFlow {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with(|socket| {
            if socket.may_send() && !socket.can_send() {
                socket.register_send_waker(context.waker());
                return Poll::Pending;
            }
            let sent = socket.send_slice(data);
            Poll::Ready(sent.map_err(|error| io::Error::new(ErrorKind::BrokenPipe, error)))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(Socket::close);
        Poll::Ready(Ok(()))
    }
}

/// The peer's network card, as smoltcp sees it.
struct Port<'a> {
    inbox: &'a mut Inbox,
    out: &'a mut Outbox,
    mtu: usize,
}

impl Device for Port<'_> {
    type RxToken<'b>
        = Arrived<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Place<'b>
    where
        Self: 'b;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, Place<'_>)> {
        let frame = self.inbox.frame().ok()??;
        // What is no packet is an empty one.
        let packet = if frame.starts_with(&GUEST_MAC) { frame.get(ETHERNET..) } else { None };
        Some((Arrived(packet.unwrap_or_default()), Place(self.out)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Place<'_>> {
        if self.out.has_room() { Some(Place(self.out)) } else { None }
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        // It checks what it is sent, as a guest does.
        capabilities.checksum.tcp = Checksum::Both;
        capabilities
    }
}

struct Arrived<'a>(&'a [u8]);

impl RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

struct Place<'a>(&'a mut Outbox);

impl TxToken for Place<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut f = Some(f);
        let pushed = self.0.push(ETHERNET + length, |frame| {
            frame[..6].copy_from_slice(&GATEWAY_MAC);
            frame[6..12].copy_from_slice(&GUEST_MAC);
            let result = f.take().map(|f| f(&mut frame[ETHERNET..]));
            let v6 = frame.get(ETHERNET).is_some_and(|first| first >> 4 == 6);
            frame[12..14].copy_from_slice(if v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
            result
        });
        match (pushed.flatten(), f) {
            (Some(result), _) => result,
            (None, Some(f)) => f(&mut vec![0; length]),
            (None, None) => unreachable!("a packet is written once"),
        }
    }
}
