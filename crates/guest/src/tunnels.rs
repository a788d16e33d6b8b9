//! Connections of the host to ports of the guest: each a socket of the agent's, whose two directions
//! are a stream each. What one end does not take, the other does not send; one that waits holds up
//! nothing else.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
};

use protocol::{
    Body, Data, Refusal, RefusalCode, Reset, Response, StreamId,
    network::{GUEST_V4, GUEST_V6},
};
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt},
};

use crate::{
    input::{Answer, Input},
    outgoing::Outgoing,
    output::{Output, Progress},
    poll::{Poll, Ready, Source},
    refusal::{refuse, refuse_errno},
};

const TUNNELS_MAX: usize = 256;

#[derive(Debug)]
pub(crate) struct Tunnels {
    poll: Rc<Poll>,
    known: BTreeMap<StreamId, Tunnel>,
}

#[derive(Debug)]
enum Tunnel {
    Connecting(Connecting),
    Open(Open),
}

#[derive(Debug)]
struct Connecting {
    /// The request that is not answered yet.
    request: u64,
    socket: OwnedFd,
    port: u16,
    /// Where else to try.
    others: VecDeque<SocketAddr>,
}

#[derive(Debug)]
struct Open {
    input: Input,
    /// None once all was read.
    output: Option<Output>,
    /// Until then it is full, or its server slow.
    is_fed: bool,
}

/// A request and its answer.
pub(crate) type Answered = (u64, Result<Response, Refusal>);

impl Tunnels {
    pub(crate) fn new(poll: Rc<Poll>) -> Self {
        Self { poll, known: BTreeMap::new() }
    }

    pub(crate) fn knows(&self, stream: StreamId) -> bool {
        self.known.contains_key(&stream.forth())
    }

    /// Begins to connect. Gives the answer, if there is one at once.
    pub(crate) fn connect(
        &mut self,
        request: u64,
        stream: StreamId,
        port: u16,
        outgoing: &mut Outgoing,
    ) -> Option<Answered> {
        let refused = |code, why: String| Some((request, Err(refuse(code, why))));
        let is_new = stream.is_transfer() && stream == stream.forth() && !self.knows(stream);
        if !is_new || outgoing.knows(stream) || outgoing.knows(stream.back()) {
            return refused(RefusalCode::Invalid, format!("stream {} cannot be used", stream.0));
        }
        if self.known.len() >= TUNNELS_MAX {
            let why = format!("{TUNNELS_MAX} connections are open");
            return refused(RefusalCode::TooManyConnections, why);
        }
        let others = addresses(port).into();
        self.try_next(stream, (request, port, others), Errno::CONNREFUSED, outgoing)
    }

    /// Tries one address after another. The last one's error counts, unless it only says that the
    /// guest has no such address.
    fn try_next(
        &mut self,
        stream: StreamId,
        (request, port, mut others): (u64, u16, VecDeque<SocketAddr>),
        mut last: Errno,
        outgoing: &mut Outgoing,
    ) -> Option<Answered> {
        while let Some(address) = others.pop_front() {
            match begin(address) {
                Ok((socket, Began::UnderWay)) => {
                    if let Err(errno) = self.watch(&socket, stream) {
                        last = errno;
                        continue;
                    }
                    let connecting = Connecting { request, socket, port, others };
                    self.known.insert(stream, Tunnel::Connecting(connecting));
                    return None;
                }
                Ok((socket, Began::Connected)) => {
                    let watched = self.watch(&socket, stream);
                    let opened = watched.and_then(|()| self.open(stream, socket, outgoing));
                    return Some((request, opened.map_err(|errno| refused(errno, port))));
                }
                Err(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT | Errno::NETUNREACH) => {}
                Err(errno) => last = errno,
            }
        }
        Some((request, Err(refused(last, port))))
    }

    /// The socket, which is watched, is connected.
    fn open(
        &mut self,
        stream: StreamId,
        socket: OwnedFd,
        outgoing: &mut Outgoing,
    ) -> Result<Response, Errno> {
        // It fails only for what is no TCP socket.
        let _is_prompt = sockopt::set_tcp_nodelay(&socket, true).is_ok();
        let read = rustix::io::fcntl_dupfd_cloexec(&socket, 0)?;
        self.watch(&read, stream.back())?;
        outgoing.open(stream.back());
        let mut input = Input::socket(stream, socket);
        say(stream, input.state(), outgoing);
        let output = Some(Output::new(stream.back(), read));
        self.known.insert(stream, Tunnel::Open(Open { input, output, is_fed: true }));
        Ok(Response::Connected)
    }

    fn watch(&self, socket: &OwnedFd, stream: StreamId) -> Result<(), Errno> {
        let watched = self.poll.watch(socket, Source::Stream(stream));
        watched.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// A socket can be read or written. Gives the answer to a request that waited for it.
    pub(crate) fn on_ready(
        &mut self,
        stream: StreamId,
        ready: Ready,
        outgoing: &mut Outgoing,
    ) -> Option<Answered> {
        let key = stream.forth();
        match self.known.get_mut(&key)? {
            Tunnel::Connecting(_) => return self.settle(key, outgoing),
            Tunnel::Open(open) if stream == key => {
                let answer = open.input.on_ready(ready);
                open.note(answer, key, outgoing);
            }
            Tunnel::Open(open) => {
                if let Some(output) = &mut open.output {
                    output.on_ready(ready);
                }
            }
        }
        self.pump(key, outgoing);
        None
    }

    /// An attempt has succeeded or failed, or neither yet.
    fn settle(&mut self, stream: StreamId, outgoing: &mut Outgoing) -> Option<Answered> {
        let Some(Tunnel::Connecting(connecting)) = self.known.get(&stream) else { return None };
        let is_connected = rustix::net::getpeername(&connecting.socket).is_ok();
        let failed = sockopt::socket_error(&connecting.socket).and_then(|error| error).err();
        if !is_connected && failed.is_none() {
            return None;
        }
        let Some(Tunnel::Connecting(connecting)) = self.known.remove(&stream) else { return None };
        let Connecting { request, socket, port, others } = connecting;
        if let Some(errno) = failed {
            return self.try_next(stream, (request, port, others), errno, outgoing);
        }
        let opened = self.open(stream, socket, outgoing);
        Some((request, opened.map_err(|errno| refused(errno, port))))
    }

    /// There is room in a stream.
    pub(crate) fn on_room(&mut self, stream: StreamId, outgoing: &mut Outgoing) {
        self.pump(stream.forth(), outgoing);
    }

    /// Bytes for a port.
    pub(crate) fn on_data(&mut self, data: &Data, outgoing: &mut Outgoing) {
        let stream = data.stream;
        let Some(Tunnel::Open(open)) = self.known.get_mut(&stream) else {
            return outgoing.say(Body::Reset(Reset { stream }));
        };
        let answer = open.input.on_data(data).unwrap_or_else(|_violation| open.input.give_up());
        open.note(answer, stream, outgoing);
        self.forget_if_over(stream);
    }

    /// The host gave one direction up, and with it the connection: the server is to see that it was
    /// broken off and did not end.
    pub(crate) fn on_reset(&mut self, stream: StreamId, outgoing: &mut Outgoing) {
        let Some(tunnel) = self.known.remove(&stream.forth()) else { return };
        tunnel.break_off();
        outgoing.close(stream.forth().back());
    }

    /// Where every stream to a port stands, for a new epoch.
    pub(crate) fn tell_states(&mut self, outgoing: &mut Outgoing) {
        for (stream, tunnel) in &mut self.known {
            if let Tunnel::Open(open) = tunnel {
                say(*stream, open.input.state(), outgoing);
            }
        }
    }

    /// Another host process has come: it knows nothing of these connections.
    pub(crate) fn drop_all(&mut self, outgoing: &mut Outgoing) {
        for (stream, tunnel) in std::mem::take(&mut self.known) {
            tunnel.break_off();
            outgoing.close(stream.back());
        }
    }

    fn pump(&mut self, stream: StreamId, outgoing: &mut Outgoing) {
        let Some(Tunnel::Open(open)) = self.known.get_mut(&stream) else { return };
        let Some(output) = &mut open.output else { return };
        match output.pump(outgoing) {
            Progress::Open => return,
            Progress::Ended | Progress::LeftOver => {
                outgoing.end(stream.back());
                open.output = None;
            }
            Progress::Failed => {
                open.output = None;
                outgoing.close(stream.back());
                outgoing.say(Body::Reset(Reset { stream: stream.back() }));
                let answer = open.input.give_up();
                open.note(answer, stream, outgoing);
            }
        }
        self.forget_if_over(stream);
    }

    fn forget_if_over(&mut self, stream: StreamId) {
        if let Some(Tunnel::Open(open)) = self.known.get(&stream)
            && open.output.is_none()
            && !open.is_fed
        {
            self.known.remove(&stream);
        }
    }
}

impl Open {
    /// Tells the host where the direction to the port stands.
    fn note(&mut self, answer: Answer, stream: StreamId, outgoing: &mut Outgoing) {
        self.is_fed = self.input.fd().is_some();
        say(stream, answer, outgoing);
    }
}

impl Tunnel {
    fn break_off(self) {
        let socket = match &self {
            Self::Connecting(connecting) => Some(&connecting.socket),
            Self::Open(open) => open.output.as_ref().map(Output::fd).or(open.input.fd()),
        };
        // Closed at once, a socket says so to its peer.
        let _is_abrupt =
            socket.is_some_and(|socket| sockopt::set_socket_linger(socket, Some(ZERO)).is_ok());
    }
}

const ZERO: std::time::Duration = std::time::Duration::ZERO;

/// Where a server may listen, the likeliest first. One on all addresses is found at the first.
fn addresses(port: u16) -> [SocketAddr; 4] {
    let v4 = |address: Ipv4Addr| SocketAddr::from((address, port));
    let v6 = |address: Ipv6Addr| SocketAddr::from((address, port));
    [v4(Ipv4Addr::LOCALHOST), v6(Ipv6Addr::LOCALHOST), v4(GUEST_V4), v6(GUEST_V6)]
}

enum Began {
    Connected,
    UnderWay,
}

fn begin(address: SocketAddr) -> Result<(OwnedFd, Began), Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) => Ok((socket, Began::Connected)),
        Err(Errno::INPROGRESS) => Ok((socket, Began::UnderWay)),
        Err(errno) => Err(errno),
    }
}

fn refused(errno: Errno, port: u16) -> Refusal {
    // All of the addresses are the guest's own: one that cannot be reached is not there.
    if matches!(errno, Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) {
        return refuse(RefusalCode::NotListening, format!("nothing listens on port {port}"));
    }
    refuse_errno(errno, &format!("port {port}"))
}

fn say(stream: StreamId, answer: Answer, outgoing: &mut Outgoing) {
    match answer {
        Answer::Nothing => {}
        Answer::Ack(ack) => outgoing.say(Body::Ack(ack)),
        Answer::Reset => outgoing.say(Body::Reset(Reset { stream })),
    }
}
