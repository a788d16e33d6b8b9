//! One TCP connection with the guest.
//!
//! Each has a smoltcp interface of its own, with the address that the guest dialled: a segment is
//! worked on by the connection that it belongs to, whatever else is open, and none sees another's.

use std::{
    cell::{Cell, RefCell, RefMut},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use smoltcp::{
    iface::{Config, Interface, PollResult, SocketHandle, SocketSet},
    socket::tcp::{Socket, SocketBuffer, State},
    time::{self, Instant},
    wire::{HardwareAddress, IpCidr},
};

use super::{pace, rescue::Rescue, share::Share, sys, wire::Wire};
use crate::{
    address::MTU,
    gateway::{
        craft::{self, Heard, Syn, Version},
        frames::Outbox,
        packet::Segment,
    },
};

/// A guest that is gone is asked for a sign of life this often,
const KEEP_ALIVE: time::Duration = pace::told(Duration::from_secs(60));
/// and given up after this long without one. A machine that is paused is as quiet as that.
const SILENCE: time::Duration = pace::told(Duration::from_secs(600));

/// What the guest has sent is acknowledged after so long, if no answer does it before: each frame
/// interrupts the guest. Much shorter than Linux's 40 ms, since a guest whose small writes wait for
/// one another (Nagle) stands still meanwhile.
const ACK_DELAY: time::Duration = pace::told(Duration::from_millis(2));

/// Three of the largest segments: at least two of them are on their way when a short one is next, and
/// a guest acknowledges two at once.
const MUCH_TO_SEND: usize = 3 * MTU as usize;

/// As much that the guest says after the end is read and dropped.
pub(super) const UNHEARD_BYTES_MAX: usize = if cfg!(test) { 4 << 20 } else { 64 << 20 };

/// Which connection: the guest's port, and the address that it dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ends {
    pub(super) guest_port: u16,
    pub(super) to: SocketAddr,
}

impl Ends {
    pub(super) fn of(segment: &Segment<'_>) -> Self {
        Self { guest_port: segment.from.port(), to: segment.to }
    }

    pub(super) fn version(self) -> Version {
        Version::of(self.to.ip())
    }
}

pub(super) struct Connection {
    pub(super) ends: Ends,
    tcp: RefCell<Tcp>,
    /// It waits to be looked at.
    pub(super) queued: Cell<bool>,
    /// When it is to be looked at again.
    pub(super) alarm: Cell<Option<Instant>>,
    /// When it is given up, whatever else happens.
    pub(super) limit: Cell<Option<Instant>>,
    /// Whether somebody holds its other end.
    holder: Cell<Holder>,
    /// It is over, and not to be looked at again.
    pub(super) over: Cell<bool>,
    _share: Share,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("ends", &self.ends).finish_non_exhaustive()
    }
}

/// What becomes of what the guest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Reads,
    /// Nobody listens any more. The connection was ended before: the guest may not have read all that
    /// was said to it, and a reset would take that from it.
    Ended,
    /// Nobody listens any more, and that is to be known.
    Gone,
}

/// The state that smoltcp keeps.
pub(super) struct Tcp {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// The number of the first byte from the guest that has not been read yet.
    unread: u32,
    /// Bytes read since the guest was last told how much it may send.
    read: usize,
    /// Bytes that have been dropped.
    unheard: usize,
    /// The write side is to be closed once the connection stands.
    closing: bool,
    refill: Refill,
    rescue: Rescue,
}

/// When more is taken to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refill {
    AtOnce,
    /// The buffer was full: when half of it is free.
    AtHalf,
}

/// What became of a connection when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is to be looked at again then, if at all before something happens.
    Waits(Option<Instant>),
    /// There is more to send than there is room.
    Blocked,
    /// It is over; what has arrived can still be read.
    Over,
}

impl Connection {
    /// Answers the guest's SYN.
    pub(super) fn open(ends: Ends, syn: Syn, share: Share, moment: &mut Moment<'_>) -> Self {
        let mut wire = Wire::new(&mut *moment.out, ends.version());
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = moment.seed;
        let mut interface = Interface::new(config, &mut wire, moment.now);
        let own = match ends.to.ip() {
            IpAddr::V4(address) => IpCidr::new(address.into(), 32),
            IpAddr::V6(address) => IpCidr::new(address.into(), 128),
        };
        // All others are reached through the one that it speaks for.
        interface.update_ip_addrs(|addresses| addresses.extend([own]));
        let routes = interface.routes_mut();
        let routed = match ends.to.ip() {
            IpAddr::V4(address) => routes.add_default_ipv4_route(address).map(drop),
            IpAddr::V6(address) => routes.add_default_ipv6_route(address).map(drop),
        };
        debug_assert!(routed.is_ok(), "there is room for one");
        let mut socket = Socket::new(buffer(share.received_bytes), buffer(share.sent_bytes));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(Some(ACK_DELAY));
        socket.set_keep_alive(Some(KEEP_ALIVE));
        socket.set_timeout(Some(SILENCE));
        let listening = socket.listen(ends.to);
        debug_assert!(listening.is_ok(), "the port is not zero");
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        let mut tcp = Tcp {
            interface,
            sockets,
            handle,
            unread: syn.sequence.wrapping_add(1),
            read: 0,
            unheard: 0,
            closing: false,
            refill: Refill::AtOnce,
            rescue: Rescue::default(),
        };
        let packet = craft::syn(ends.to, ends.guest_port, syn);
        let mut wire = Wire::carrying(&packet, &mut *moment.out, ends.version());
        tcp.interface.poll_ingress_single(moment.now, &mut wire, &mut tcp.sockets);
        Self {
            ends,
            tcp: RefCell::new(tcp),
            queued: Cell::new(false),
            alarm: Cell::new(None),
            limit: Cell::new(None),
            holder: Cell::new(Holder::Reads),
            over: Cell::new(false),
            _share: share,
        }
    }

    pub(super) fn tcp(&self) -> RefMut<'_, Tcp> {
        self.tcp.borrow_mut()
    }

    /// Takes a segment of the guest.
    pub(super) fn receive(&self, segment: &Segment<'_>, out: &mut Outbox, now: Instant) {
        let mut tcp = self.tcp();
        if !tcp.fits(segment) {
            return;
        }
        let mut wire = Wire::carrying(segment.packet, out, self.ends.version());
        let Tcp { interface, sockets, .. } = &mut *tcp;
        interface.poll_ingress_single(now, &mut wire, sockets);
        tcp.rescue.heard(segment);
        tcp.settle();
        if tcp.socket().state() == State::Established && self.holder.get() == Holder::Reads {
            self.limit.set(None);
        }
        self.hear(&mut tcp);
    }

    /// Nobody holds its other end any more.
    pub(super) fn let_go(&self) {
        let mut tcp = self.tcp();
        self.holder.set(if tcp.closing { Holder::Ended } else { Holder::Gone });
        if !tcp.stands() {
            tcp.socket().abort();
        }
        self.hear(&mut tcp);
        if tcp.socket().state() != State::Closed {
            tcp.close();
        }
    }

    /// What the guest says to nobody.
    fn hear(&self, tcp: &mut Tcp) {
        match self.holder.get() {
            Holder::Reads => {}
            Holder::Ended => tcp.discard(),
            Holder::Gone if tcp.socket().can_recv() => tcp.socket().abort(),
            Holder::Gone => {}
        }
    }

    /// Sends what there is to send.
    pub(super) fn send(&self, out: &mut Outbox, now: Instant) -> Outcome {
        let mut tcp = self.tcp();
        if self.limit.get().is_some_and(|limit| limit <= now) {
            tcp.socket().abort();
        }
        tcp.read = 0;
        if let Some(heard) = tcp.rescue.is_due(now) {
            self.lost(&mut tcp, heard, out, now);
        }
        // Behind so much that is on its way a last short segment waits for more to come: a frame costs
        // the guest almost the same however long it is. What is on its way is acknowledged soon.
        let busy = MUCH_TO_SEND <= tcp.socket().send_queue();
        tcp.socket().set_nagle_enabled(busy);
        let mut wire = Wire::new(out, self.ends.version());
        let Tcp { interface, sockets, .. } = &mut *tcp;
        while interface.poll_egress(now, &mut wire, sockets) == PollResult::SocketStateChanged {}
        tcp.settle();
        let over = match tcp.socket().state() {
            State::Closed => tcp.socket().local_endpoint().is_none(),
            State::TimeWait => out.has_room(),
            State::Listen
            | State::SynSent
            | State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck => false,
        };
        let unheard_of = 0 < tcp.socket().send_queue();
        let Tcp { interface, sockets, rescue, .. } = &mut *tcp;
        match interface.poll_at(now, sockets) {
            _ if over => Outcome::Over,
            Some(at) if at <= now && !out.has_room() => Outcome::Blocked,
            at => {
                let rescue = if unheard_of { rescue.by(at, now) } else { None };
                Outcome::Waits(at.into_iter().chain(self.limit.get()).chain(rescue).min())
            }
        }
    }

    /// Has smoltcp send anew what the guest has not acknowledged: it does after the third time that
    /// it hears the same.
    fn lost(&self, tcp: &mut Tcp, heard: Heard, out: &mut Outbox, now: Instant) {
        let Ends { guest_port, to } = self.ends;
        let sequence = tcp.expected();
        let packet = craft::acknowledgement(to, guest_port, sequence, heard);
        for _ in 0..3 {
            let mut wire = Wire::carrying(&packet, out, self.ends.version());
            tcp.interface.poll_ingress_single(now, &mut wire, &mut tcp.sockets);
        }
    }
}

fn buffer(bytes: usize) -> SocketBuffer<'static> {
    // Zeroed memory in pages of its own comes from the system untouched, and takes none until it is
    // used; what is cut off never is.
    let mut memory = vec![0; bytes.max(sys::APART)];
    memory.truncate(bytes);
    SocketBuffer::new(memory)
}

/// What the world outside of a connection is like just now.
pub(super) struct Moment<'a> {
    pub(super) now: Instant,
    pub(super) out: &'a mut Outbox,
    /// For the first sequence number.
    pub(super) seed: u64,
}

impl Tcp {
    pub(super) fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Whether the data lie within the buffer. smoltcp checks against the window that it announced,
    /// and that can be more than there is: the first one it announces unscaled, and reads scaled.
    fn fits(&mut self, segment: &Segment<'_>) -> bool {
        if segment.data_bytes == 0 {
            return true;
        }
        let capacity = self.socket().recv_capacity();
        let end = segment.sequence.wrapping_add(segment.data_bytes).wrapping_sub(self.unread);
        // What lies behind has been received before.
        let behind = 1 << 31 <= end;
        behind || usize::try_from(end).is_ok_and(|end| end <= capacity)
    }

    /// The number of the next byte from the guest.
    fn expected(&mut self) -> u32 {
        // A buffer holds less than 4 GiB.
        let waits = u32::try_from(self.socket().recv_queue()).unwrap_or(u32::MAX);
        self.unread.wrapping_add(waits)
    }

    /// As many bytes from the guest have been read. Says whether the guest should hear of it.
    pub(super) fn took(&mut self, bytes: usize) -> bool {
        // A buffer holds less than 4 GiB.
        self.unread = self.unread.wrapping_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.read += bytes;
        self.socket().recv_capacity() / 4 <= self.read
    }

    /// Reads what has arrived and drops it.
    fn discard(&mut self) {
        while self.socket().can_recv() {
            let Ok(bytes) = self.socket().recv(|data| (data.len(), data.len())) else { return };
            self.took(bytes);
            self.unheard += bytes;
            if UNHEARD_BYTES_MAX < self.unheard {
                self.socket().abort();
            }
        }
    }

    /// Whether nothing more is taken to send for now. Once the buffer was full, that is until the guest
    /// has taken half of it: a burst costs the guest an interrupt and an acknowledgement at least,
    /// and each acknowledgement that is answered at once makes the next burst as short.
    pub(super) fn is_resting(&mut self) -> bool {
        let (queue, capacity) = (self.socket().send_queue(), self.socket().send_capacity());
        let limit = match self.refill {
            Refill::AtOnce => capacity,
            Refill::AtHalf => capacity / 2 + 1,
        };
        let rests = limit <= queue;
        self.refill = if rests { Refill::AtHalf } else { Refill::AtOnce };
        rests
    }

    /// Whether the guest has answered the answer to its SYN.
    pub(super) fn stands(&mut self) -> bool {
        self.socket().state() != State::SynReceived
    }

    /// Closes the side that writes, now or once the connection stands.
    pub(super) fn close(&mut self) {
        self.closing = true;
        self.settle();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    fn settle(&mut self) {
        match self.socket().state() {
            // The guest took its SYN back.
            State::Listen => self.socket().abort(),
            State::SynReceived => {}
            State::Established | State::CloseWait if self.closing => self.socket().close(),
            State::Closed
            | State::SynSent
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => {}
        }
    }
}
